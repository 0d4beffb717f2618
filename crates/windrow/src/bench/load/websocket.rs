//! One client on a WebSocket: upgrade, talk, then count what arrives.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use super::{
    Target,
    talk::{Step, Talk, sent_times},
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// A client and how far it has come.
#[derive(Debug)]
pub(super) struct Socket {
    socket: TcpStream,
    talk: Talk,
    channel: &'static str,
    step: Step,
}

impl Socket {
    /// Connects and asks for the upgrade.
    pub(super) fn begin(target: &Target) -> Result<Self> {
        let port = target.port;
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect a client")?;
        socket.set_nodelay(true)?;
        let path = match target.talk {
            Talk::Bare | Talk::Plain => "/ws",
            Talk::SocketIo | Talk::SocketIoJoin | Talk::Polling => "/socket.io/?EIO=4&transport=websocket",
        };
        // The sample key of RFC 6455.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, talk: target.talk, channel: target.channel, step: Step::Upgrade })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn is_ready(&self) -> bool {
        self.step == Step::Ready
    }

    /// Handles all that is whole; tells how many bytes that were.
    pub(super) fn take(&mut self, bytes: &[u8], message: &mut impl FnMut(u64)) -> Result<usize> {
        let mut used = 0;
        if self.step == Step::Upgrade {
            let Some(head) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            ensure!(bytes.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", String::from_utf8_lossy(bytes));
            used = head + 4;
            let (step, say) = self.talk.upgraded(self.channel);
            self.go(step, say)?;
        }
        while let Some((opcode, payload, len)) = frame(&bytes[used..]) {
            match opcode {
                // The heartbeat of Engine.IO.
                TEXT if payload == b"2" => self.say(TEXT, b"3")?,
                TEXT if self.step == Step::Ready => sent_times(payload, message),
                TEXT => {
                    let (step, say) = self.talk.heard(self.step, payload, self.channel)?;
                    self.go(step, say)?;
                }
                PING => self.say(0xA, payload)?,
                CLOSE => bail!("the server closed a client: {}", String::from_utf8_lossy(payload)),
                _ => {}
            }
            used += len;
        }
        Ok(used)
    }

    fn go(&mut self, step: Step, say: Option<String>) -> Result<()> {
        self.step = step;
        say.map_or(Ok(()), |text| self.say(TEXT, text.as_bytes()))
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.socket.write_all(&masked(opcode, payload)).context("speak as a client")
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
