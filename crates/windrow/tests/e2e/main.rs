//! The real binary on real parts: both logs, killed, moved, and watched by real clients.
//!
//! Kafka's address comes from `WINDROW_TEST_KAFKA`, the table of flights from `WINDROW_TEST_FLIGHTS`; `cargo xtask test`
//! sets both. Without them the tests that need them fail and say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod anew;
mod broker;
mod client;
#[path = "../common/registry.rs"]
mod double;
mod flights;
mod foreign;
mod frame_metrics;
mod gateways;
#[path = "../common/kafka.rs"]
mod kafka;
mod kills;
mod place;
mod poison;
mod process;
mod protobuf;
mod publish;
#[path = "../../../windrow-core/tests/common/python.rs"]
mod python;
mod realtime_events;
mod reconnects;
mod registry;
mod restart;
mod sensor_mirror;
#[path = "../common/sensors.rs"]
mod sensors;
mod several;
mod silence;
mod topic;
mod topics;
mod video_counter;
mod visit_aggregator;
mod world;
mod written;
