//! One client that polls: a handshake, bodies for what it says, then one poll after the other on the same connection.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context, Result};

use super::{
    Target, http,
    talk::{Step, Talk, sent_times},
};

/// What stands between the packets of a payload.
const BETWEEN: u8 = 0x1E;

/// A client and how far it has come.
#[derive(Debug)]
pub(super) struct Polling {
    socket: TcpStream,
    port: u16,
    channel: &'static str,
    step: Step,
    /// A poll, ready to be sent; empty before the handshake.
    poll: Vec<u8>,
}

impl Polling {
    /// Connects and asks for a session.
    pub(super) fn begin(target: &Target) -> Result<Self> {
        let port = target.port;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect a client")?;
        socket.set_nodelay(true)?;
        let mut client = Self { socket, port, channel: target.channel, step: Step::Open, poll: Vec::new() };
        client.write(request("GET", port, "", ""))?;
        client.socket.set_nonblocking(true)?;
        Ok(client)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn is_ready(&self) -> bool {
        self.step == Step::Ready
    }

    /// Handles all whole answers; tells how many bytes they were.
    pub(super) fn take(&mut self, bytes: &[u8], message: &mut impl FnMut(u64)) -> Result<usize> {
        let mut used = 0;
        while let Some((body, len)) = http::answer(&bytes[used..])? {
            self.hear(body, message)?;
            used += len;
        }
        Ok(used)
    }

    fn hear(&mut self, body: &[u8], message: &mut impl FnMut(u64)) -> Result<()> {
        if body == b"ok" {
            // The poll that follows a pong is under way already.
            return if self.step == Step::Ready { Ok(()) } else { self.ask() };
        }
        if self.step == Step::Open {
            self.poll = request("GET", self.port, &sid(body)?, "");
        }
        for packet in body.split(|b| *b == BETWEEN) {
            match self.step {
                _ if packet == b"2" => self.say("3")?,
                Step::Ready => sent_times(packet, message),
                _ => {
                    let (step, say) = Talk::Polling.heard(self.step, packet, self.channel)?;
                    self.step = step;
                    if let Some(text) = say {
                        // Its "ok" asks again.
                        return self.say(&text);
                    }
                }
            }
        }
        self.ask()
    }

    fn ask(&mut self) -> Result<()> {
        (&self.socket).write_all(&self.poll).context("poll as a client")
    }

    fn say(&mut self, packet: &str) -> Result<()> {
        let sid = sid(&self.poll)?;
        self.write(request("POST", self.port, &sid, packet))
    }

    fn write(&mut self, request: Vec<u8>) -> Result<()> {
        self.socket.write_all(&request).context("speak as a client")
    }
}

fn request(method: &str, port: u16, sid: &str, body: &str) -> Vec<u8> {
    let session = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    let entity = match method {
        "GET" => String::new(),
        _ => format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n", body.len()),
    };
    format!(
        "{method} /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{entity}\r\n{body}"
    )
    .into_bytes()
}

/// Finds the session's name, in an open packet or in a request.
fn sid(bytes: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(bytes);
    let after = text.split_once("\"sid\":\"").or_else(|| text.split_once("&sid=")).map(|(_, after)| after);
    let sid = after.and_then(|after| after.split(['"', ' ']).next());
    sid.map(str::to_owned).with_context(|| format!("no session: {text}"))
}
