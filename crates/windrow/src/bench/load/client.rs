//! One WebSocket client: upgrade, subscribe, count what arrives.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use super::Target;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
/// What stands before the send time in a message.
const SENT: &[u8] = br#""t":"#;

/// A connected, subscribed client.
#[derive(Debug)]
pub(super) struct Client {
    socket: TcpStream,
    /// The beginning of a frame that has not arrived whole.
    rest: Vec<u8>,
}

impl Client {
    /// Connects, upgrades and subscribes; what follows the answer already is kept.
    pub(super) fn connect(target: &Target, buffer: &mut [u8]) -> Result<Self> {
        let mut socket =
            TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)).context("connect a client")?;
        socket.set_nodelay(true)?;
        let port = target.port;
        // The sample key of RFC 6455.
        write!(
            socket,
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut client = Self { socket, rest: Vec::new() };
        let head = client.read_past(b"\r\n\r\n", buffer)?;
        ensure!(head.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", String::from_utf8_lossy(&head));
        if let Some(subscribe) = target.subscribe {
            client.socket.write_all(&masked(TEXT, subscribe.as_bytes()))?;
            while !client.subscribed()? {
                client.read_more(buffer)?;
            }
        }
        client.socket.set_nonblocking(true)?;
        Ok(client)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads what is there and calls `message` with the send time of each message.
    pub(super) fn read(&mut self, buffer: &mut [u8], message: impl FnMut(u64)) -> Result<()> {
        let n = match self.socket.read(buffer) {
            Ok(0) => bail!("the server closed a client's connection"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("read as a client"),
        };
        if self.rest.is_empty() {
            let used = self.frames(&buffer[..n], message)?;
            self.rest.extend_from_slice(&buffer[used..n]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(&buffer[..n]);
            let used = self.frames(&bytes, message)?;
            bytes.drain(..used);
            self.rest = bytes;
        }
        Ok(())
    }

    /// Handles all whole frames; tells how many bytes they were.
    fn frames(&mut self, bytes: &[u8], mut message: impl FnMut(u64)) -> Result<usize> {
        let mut used = 0;
        while let Some((opcode, payload, len)) = frame(&bytes[used..]) {
            match opcode {
                TEXT => sent_times(payload, &mut message),
                PING => self.socket.write_all(&masked(0xA, payload))?,
                CLOSE => bail!("the server closed a client: {}", String::from_utf8_lossy(payload)),
                _ => {}
            }
            used += len;
        }
        Ok(used)
    }

    /// Takes frames off until one says that the client is subscribed.
    fn subscribed(&mut self) -> Result<bool> {
        while let Some((_, payload, len)) = frame(&self.rest) {
            let answer = String::from_utf8_lossy(payload).into_owned();
            self.rest.drain(..len);
            ensure!(!answer.contains("\"error\"") && !answer.contains("\"bye\""), "not subscribed: {answer}");
            if answer.contains("\"subscribed\"") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_past(&mut self, mark: &[u8], buffer: &mut [u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = memmem::find(&self.rest, mark) {
                return Ok(self.rest.drain(..at + mark.len()).collect());
            }
            self.read_more(buffer)?;
        }
    }

    fn read_more(&mut self, buffer: &mut [u8]) -> Result<()> {
        let n = self.socket.read(buffer).context("read as a client")?;
        ensure!(n > 0, "the server closed a client's connection");
        self.rest.extend_from_slice(&buffer[..n]);
        Ok(())
    }
}

/// Calls `message` with each send time in a payload.
fn sent_times(payload: &[u8], message: &mut impl FnMut(u64)) {
    for at in memmem::find_iter(payload, SENT) {
        let digits = payload[at + SENT.len()..].iter().take_while(|b| b.is_ascii_digit());
        message(digits.fold(0, |n, b| n * 10 + u64::from(b - b'0')));
    }
}

/// Cuts a server's frame off the front: opcode, payload, bytes in all. `None` when it is not whole.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, len) = match bytes.get(1)? & 0x7F {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let end = head + len;
    Some((bytes[0] & 0xF, bytes.get(head..end)?, end))
}

/// Makes a client's frame of less than 64 KiB, masked with zeros, which is as good as any mask on a loopback.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match u16::try_from(payload.len()).unwrap_or(u16::MAX) {
        short @ ..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend(long.to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
    out
}
