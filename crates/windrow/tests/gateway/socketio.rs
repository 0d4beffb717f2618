//! Socket.IO on real sockets: raw requests and raw WebSockets, so that every byte is the protocol's and no library's.

mod abuse;
mod api;
mod client;
mod handshake;
mod layer;
mod polling;
mod recovery;
mod sensor_mirror;
mod upgrade;
mod video_counter;
