//! One client, whatever carries it.
//!
//! **In** what its socket brings. **Out** the send time of each message. **Invariant:** it never waits for its server.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
};

use anyhow::{Context, Result, bail};

use super::{Target, polling::Polling, talk::Talk, websocket::Socket};

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    side: Side,
    /// The beginning of something that has not arrived whole.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum Side {
    Socket(Socket),
    Polling(Polling),
}

impl Client {
    /// Connects and says the first word.
    pub(super) fn begin(target: &Target) -> Result<Self> {
        let side = match target.talk {
            Talk::Polling => Side::Polling(Polling::begin(target)?),
            _ => Side::Socket(Socket::begin(target)?),
        };
        Ok(Self { side, rest: Vec::new() })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match &self.side {
            Side::Socket(client) => client.socket(),
            Side::Polling(client) => client.socket(),
        }
    }

    /// Tells whether it is subscribed, or whatever its talk ends with.
    pub(super) fn is_ready(&self) -> bool {
        match &self.side {
            Side::Socket(client) => client.is_ready(),
            Side::Polling(client) => client.is_ready(),
        }
    }

    /// Reads what is there and calls `message` with the send time of each message.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut message: impl FnMut(u64)) -> Result<()> {
        let n = match self.socket().read(buffer) {
            Ok(0) => bail!("the server closed a client's connection"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("read as a client"),
        };
        if self.rest.is_empty() {
            let used = self.take(&buffer[..n], &mut message)?;
            self.rest.extend_from_slice(&buffer[used..n]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(&buffer[..n]);
            let used = self.take(&bytes, &mut message)?;
            bytes.drain(..used);
            self.rest = bytes;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], message: &mut impl FnMut(u64)) -> Result<usize> {
        match &mut self.side {
            Side::Socket(client) => client.take(bytes, message),
            Side::Polling(client) => client.take(bytes, message),
        }
    }
}
