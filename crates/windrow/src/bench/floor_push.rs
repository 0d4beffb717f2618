//! The floor of pushing: one thread, epoll, one frame encoded per message and shared by all sockets.
//!
//! **In** `POST` with one message a line. **Out** each line as a WebSocket text frame to every client.
//! **Invariant:** all messages that one round brought go to a socket in one write. There are no timers, pings, limits or
//! checks: it is a limit to compare with, not a server.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    rc::Rc,
};

use super::poll::{Poll, Ready, write_pieces};

/// Arguments of the hidden `bench floor-push`.
#[derive(Debug, Clone, clap::Args)]
pub struct FloorPushArgs {
    /// Port to listen on
    #[arg(long)]
    pub port: u16,
}

/// Pieces given to one write.
const PIECES_MAX: usize = 64;
const LISTENER: usize = usize::MAX;

/// One connection: a publisher until it asks for an upgrade.
struct Peer {
    socket: TcpStream,
    subscribed: bool,
    input: Vec<u8>,
    waiting: VecDeque<Rc<[u8]>>,
    /// Bytes of the first waiting frame that went out already.
    sent: usize,
}

struct Server {
    poll: Poll,
    peers: Vec<Option<Peer>>,
    /// Frames of this round.
    frames: Vec<Rc<[u8]>>,
    /// Publishers to answer after this round.
    publishers: Vec<usize>,
}

/// Serves until killed.
pub(super) fn run(args: &FloorPushArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))?;
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let mut server = Server { poll, peers: Vec::new(), frames: Vec::new(), publishers: Vec::new() };
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
            self.poll.add(&socket, self.peers.len())?;
            let waiting = VecDeque::new();
            self.peers.push(Some(Peer { socket, subscribed: false, input: Vec::new(), waiting, sent: 0 }));
        }
        Ok(())
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        match peer.socket.read(buffer) {
            Ok(0) => self.peers[token] = None,
            Ok(_) if peer.subscribed => {}
            Ok(n) => {
                peer.input.extend_from_slice(&buffer[..n]);
                self.request(token)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.peers[token] = None,
        }
        Ok(())
    }

    /// Handles a request once it is whole.
    fn request(&mut self, token: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[token] else { return Ok(()) };
        let Some(head) = memchr::memmem::find(&peer.input, b"\r\n\r\n").map(|at| at + 4) else {
            return Ok(());
        };
        if peer.input.starts_with(b"GET") {
            peer.subscribed = true;
            peer.input = Vec::new();
            // The load sends the sample key of RFC 6455, so the answer is the sample answer.
            return peer.socket.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
        }
        let length = body_length(&peer.input[..head]);
        let Some(body) = peer.input.get(head..head + length) else { return Ok(()) };
        self.frames.extend(body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(frame));
        self.publishers.push(token);
        peer.input.clear();
        Ok(())
    }

    /// Sends the round's frames to everyone, then answers the publishers.
    fn publish(&mut self) -> io::Result<()> {
        if self.frames.is_empty() {
            return Ok(());
        }
        let pieces: Vec<IoSlice<'_>> = self.frames.iter().map(|frame| IoSlice::new(frame)).collect();
        let bytes: usize = self.frames.iter().map(|frame| frame.len()).sum();
        for (token, peer) in self.peers.iter_mut().enumerate() {
            let Some(peer) = peer.as_mut().filter(|p| p.subscribed) else { continue };
            let idle = peer.waiting.is_empty();
            let sent = if idle { write_pieces(&peer.socket, &pieces).unwrap_or(0) } else { 0 };
            if sent < bytes {
                peer.waiting.extend(self.frames.iter().cloned());
                peer.forget(sent);
            }
            if idle && sent < bytes {
                self.poll.want_room(&peer.socket, token, true)?;
            }
        }
        self.frames.clear();
        for token in self.publishers.drain(..) {
            if let Some(peer) = &mut self.peers[token] {
                peer.socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
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

impl Peer {
    /// Writes what waits; tells whether all went out.
    fn flush(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            for (piece, frame) in pieces.iter_mut().zip(&self.waiting) {
                *piece = IoSlice::new(frame);
            }
            pieces[0] = IoSlice::new(&self.waiting[0][self.sent..]);
            let count = self.waiting.len().min(PIECES_MAX);
            match write_pieces(&self.socket, &pieces[..count]) {
                Ok(n) => self.forget(n),
                Err(_) => return false,
            }
        }
        true
    }

    fn forget(&mut self, mut bytes: usize) {
        while let Some(left) = self.waiting.front().map(|frame| frame.len() - self.sent) {
            if bytes < left {
                self.sent += bytes;
                return;
            }
            bytes -= left;
            self.sent = 0;
            self.waiting.pop_front();
        }
    }
}

fn body_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Makes the text frame of one message, unmasked, of at most 64 KiB.
fn frame(text: &[u8]) -> Rc<[u8]> {
    let mut out = vec![0x81];
    match u16::try_from(text.len()).unwrap_or(u16::MAX) {
        short @ ..126 => out.push(short as u8),
        long => {
            out.push(126);
            out.extend(long.to_be_bytes());
        }
    }
    out.extend_from_slice(text);
    out.into()
}
