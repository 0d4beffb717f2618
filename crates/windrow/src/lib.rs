//! Windrow, the product: configuration, log, workers, gateway, command line.
//!
//! Start with `pipeline`, which draws the whole path in data order.

pub mod bench;
pub mod config;
pub mod dialect;
pub mod gateway;
pub mod hub;
pub mod log;
mod reader;
pub mod session;
pub mod publish;
pub mod stats;
pub mod topics;
pub mod worker;
pub mod workers;
