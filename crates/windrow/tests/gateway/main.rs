//! The gateway on real sockets and a real log: what clients of each dialect see.
#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod document;
mod rude;
mod slow;
mod sse;
mod streams;
mod websocket;
mod world;
