//! The real binary on real parts: both logs, killed, moved, and watched by real clients.
//!
//! Kafka's address comes from `WINDROW_TEST_KAFKA`, the table of flights from `WINDROW_TEST_FLIGHTS`; `cargo xtask test`
//! sets both. Without them the tests that need them fail and say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod client;
mod flights;
mod gateways;
mod kills;
mod process;
mod restart;
mod topic;
mod world;
