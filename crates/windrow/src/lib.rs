//! Windrow, the product: configuration, log, workers, gateway, command line.
//!
//! Start with `pipeline`, which draws the whole path in data order.

pub mod bench;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod gateway;
pub mod hub;
pub mod log;
mod pem;
pub mod pipeline;
mod protobuf;
pub mod publish;
mod reader;
pub mod registry;
pub mod session;
pub mod stats;
pub mod topics;
pub mod watermarks;
pub mod worker;
pub mod workers;
