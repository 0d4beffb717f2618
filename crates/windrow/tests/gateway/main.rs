//! The gateway on real sockets and a real log: what clients of each dialect see.

mod rude;
mod slow;
mod sse;
mod streams;
mod websocket;
mod world;
