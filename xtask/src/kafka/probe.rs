//! Probe: does a broker answer, and does it know itself? A port that is open is not enough: a broker that still starts accepts and waits.
//!
//! **In** a port. **Out** yes or no. Source: the Kafka protocol guide, Metadata request version 1.

use std::{
    io::{Read as _, Result, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// A broker that is up answers in a millisecond.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Asks for the metadata of no topic; true when the answer names at least one broker.
pub(super) fn answers(port: u16) -> bool {
    brokers(port).is_ok_and(|n| n > 0)
}

fn brokers(port: u16) -> Result<i32> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut socket = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    // length 14 | api 3 | version 1 | correlation 0 | client id: none | topics: 0
    socket.write_all(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0])?;
    let mut head = [0; 12]; // length | correlation | broker count
    socket.read_exact(&mut head)?;
    Ok(i32::from_be_bytes([head[8], head[9], head[10], head[11]]))
}
