//! The gateway on real sockets and a real log: what clients of each dialect see.

mod rude;
mod sse;
mod streams;
mod websocket;
mod world;
