//! The floor of pushing: one thread, epoll, bytes made once per message and shared by all sockets.
//!
//! **In** `POST` with one message a line. **Out** to every client each line as a WebSocket text frame; or the lines of a round as
//! one event of Socket.IO, in a frame or as the answer to a poll.
//! **Invariant:** all messages that one round brought go to a socket in one write. There are no timers, pings, limits or
//! checks: it is a limit to compare with, not a server.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Ipv4Addr, TcpListener},
    rc::Rc,
};

use memchr::memmem;

use self::peer::Peer;
use super::{
    fanout::Over,
    poll::{Poll, Ready},
};

mod peer;
mod shape;

/// Arguments of the hidden `bench floor-push`.
#[derive(Debug, Clone, clap::Args)]
pub struct FloorPushArgs {
    /// Port to listen on
    #[arg(long)]
    pub port: u16,
    /// What carries the messages
    #[arg(long, default_value = "websocket")]
    pub over: Over,
}

const LISTENER: usize = usize::MAX;

struct Server {
    over: Over,
    poll: Poll,
    peers: Vec<Option<Peer>>,
    /// Messages of this round.
    messages: Vec<Vec<u8>>,
    /// Publishers to answer after this round.
    publishers: Vec<usize>,
}

/// Serves until killed.
pub(super) fn run(args: &FloorPushArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))?;
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let (over, peers) = (args.over, Vec::new());
    let mut server = Server { over, poll, peers, messages: Vec::new(), publishers: Vec::new() };
    let mut ready = Ready::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        server.poll.wait(&mut ready, None)?;
        for (token, room, input) in ready.tokens() {
            if token == LISTENER {
                server.accept(&listener)?;
                continue;
            }
            if room {
                server.resume(token)?;
            }
            if input {
                server.read(token, &mut buffer)?;
            }
        }
        server.publish()?;
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let token = self.peers.len();
            self.poll.add(&socket, token)?;
            self.peers.push(Some(Peer::new(socket, token)));
        }
        Ok(())
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        match peer.socket.read(buffer) {
            Ok(0) => self.peers[token] = None,
            Ok(n) if peer.is_upgraded => self.frame(token, &buffer[..n])?,
            Ok(n) => {
                peer.input.extend_from_slice(&buffer[..n]);
                self.request(token)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.peers[token] = None,
        }
        Ok(())
    }

    /// Hears a frame: short, whole, masked with zeros, as the load sends it.
    fn frame(&mut self, token: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        let Some((text, subscribes)) = bytes.get(6..).and_then(shape::answer) else { return Ok(()) };
        peer.is_subscribed |= subscribes;
        peer.send(&self.poll, shape::frame(text.as_bytes()))
    }

    /// Handles a request once it is whole.
    fn request(&mut self, token: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        let Some(head) = memmem::find(&peer.input, b"\r\n\r\n").map(|at| at + 4) else { return Ok(()) };
        let length = body_length(&peer.input[..head]);
        if peer.input.len() < head + length {
            return Ok(());
        }
        let input = std::mem::take(&mut peer.input);
        let (line, body) = (&input[..head], &input[head..]);
        let is_get = line.starts_with(b"GET");
        match self.over {
            Over::Polling if memmem::find(line, b"/socket.io/").is_some() => self.session(token, line, body),
            Over::Websocket | Over::Socketio if is_get => self.upgrade(token),
            _ => {
                let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
                self.messages.extend(lines.map(<[u8]>::to_vec));
                self.publishers.push(token);
                Ok(())
            }
        }
    }

    fn upgrade(&mut self, token: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        peer.is_upgraded = true;
        let mut hello = shape::UPGRADED.to_vec();
        match self.over {
            Over::Socketio => hello.extend_from_slice(&shape::frame(shape::open().as_bytes())),
            Over::Websocket | Over::Polling => peer.is_subscribed = true,
        }
        peer.send(&self.poll, hello.into())
    }

    /// Handles a request of a client that polls; its connection stands for its session.
    fn session(&mut self, token: usize, head: &[u8], body: &[u8]) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        if head.starts_with(b"POST") {
            if let Some((text, subscribes)) = shape::answer(body) {
                peer.is_subscribed |= subscribes;
                peer.unread.push(text.into_bytes().into());
            }
            return peer.send(&self.poll, shape::payload(&[(*b"ok").into()]));
        }
        if memmem::find(head, b"sid=").is_none() {
            peer.unread.push(shape::open().into_bytes().into());
        }
        if peer.unread.is_empty() {
            peer.polls = true;
            return Ok(());
        }
        let payload = shape::payload(&std::mem::take(&mut peer.unread));
        peer.send(&self.poll, payload)
    }

    /// Sends the round's messages to everyone, then answers the publishers.
    fn publish(&mut self) -> io::Result<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let event = || shape::event(self.messages.iter().map(Vec::as_slice));
        let mut packet: Option<Rc<[u8]>> = None;
        let frames: Vec<Rc<[u8]>> = match self.over {
            Over::Websocket => self.messages.iter().map(|message| shape::frame(message)).collect(),
            Over::Socketio => vec![shape::frame(&event())],
            Over::Polling => {
                let packet = packet.insert(event().into());
                vec![shape::payload(std::slice::from_ref(packet))]
            }
        };
        let slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
        for peer in self.peers.iter_mut().flatten().filter(|peer| peer.is_subscribed) {
            match &packet {
                Some(packet) if !peer.polls => peer.unread.push(packet.clone()),
                _ => {
                    peer.polls = false;
                    peer.write(&self.poll, &frames, &slices)?;
                }
            }
        }
        self.messages.clear();
        for token in self.publishers.drain(..) {
            if let Some(peer) = &mut self.peers[token] {
                peer.socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            }
        }
        Ok(())
    }

    fn resume(&mut self, token: usize) -> io::Result<()> {
        if let Some(peer) = &mut self.peers[token]
            && peer.flush()
        {
            self.poll.want_room(&peer.socket, token, false)?;
        }
        Ok(())
    }
}

fn body_length(head: &[u8]) -> usize {
    const LENGTH: &[u8] = b"Content-Length: ";
    let Some(at) = memmem::find(head, LENGTH) else { return 0 };
    let digits = head[at + LENGTH.len()..].iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0, |n: usize, b| n.saturating_mul(10) + usize::from(b - b'0'))
}
