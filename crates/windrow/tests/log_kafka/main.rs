//! What only the Kafka log has to prove: members that return or lose everything, processes that are killed or stopped in the middle of a
//! transaction, topics that vanish, brokers at fault.
//!
//! `faults` plays its brokers itself; the others need `WINDROW_TEST_KAFKA=host:port`; without it, they fail and say so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/eventually.rs"]
mod eventually;
mod fake;
mod faults;
mod fences;
mod logins;
mod members;
mod near;
mod other;
mod reading;
mod settings;
mod world;
