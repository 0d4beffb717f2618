//! The originals that speak plain WebSocket: what their clients say and hear, byte by byte.

mod client;
mod python;
mod realtime_events;
mod visit_aggregator;
