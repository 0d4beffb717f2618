//! The gateway on real sockets and a real log: what clients of each dialect see.
#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod cut;
mod document;
mod originals;
mod resume;
mod rude;
#[path = "../common/sensors.rs"]
mod sensors;
mod slow;
mod socketio;
mod sse;
mod streams;
mod topics;
mod websocket;
mod world;
