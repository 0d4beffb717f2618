//! One connection of the floor, and what waits to be written to it.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::TcpStream,
    rc::Rc,
};

use crate::bench::poll::{Poll, write_pieces};

/// Pieces given to one write.
const PIECES_MAX: usize = 64;

/// A publisher until it asks for something else.
pub(super) struct Peer {
    pub(super) socket: TcpStream,
    token: usize,
    /// It speaks in frames now.
    pub(super) is_upgraded: bool,
    /// It gets every message from now on.
    pub(super) is_subscribed: bool,
    /// A poll waits for an answer.
    pub(super) polls: bool,
    /// Packets for the next poll.
    pub(super) unread: Vec<Rc<[u8]>>,
    pub(super) input: Vec<u8>,
    waiting: VecDeque<Rc<[u8]>>,
    /// Bytes of the first waiting piece that went out already.
    sent: usize,
}

impl Peer {
    pub(super) fn new(socket: TcpStream, token: usize) -> Self {
        Self {
            socket,
            token,
            is_upgraded: false,
            is_subscribed: false,
            polls: false,
            unread: Vec::new(),
            input: Vec::new(),
            waiting: VecDeque::new(),
            sent: 0,
        }
    }

    /// Writes what all peers share, and keeps what does not go out.
    pub(super) fn write(
        &mut self,
        poll: &Poll,
        shared: &[Rc<[u8]>],
        slices: &[IoSlice<'_>],
    ) -> io::Result<()> {
        let bytes: usize = shared.iter().map(|piece| piece.len()).sum();
        let idle = self.waiting.is_empty();
        let sent = if idle { write_pieces(&self.socket, slices).unwrap_or(0) } else { 0 };
        if sent < bytes {
            self.waiting.extend(shared.iter().cloned());
            self.forget(sent);
        }
        if idle && sent < bytes { poll.want_room(&self.socket, self.token, true) } else { Ok(()) }
    }

    /// Writes one piece.
    pub(super) fn send(&mut self, poll: &Poll, piece: Rc<[u8]>) -> io::Result<()> {
        self.write(poll, std::slice::from_ref(&piece), &[IoSlice::new(&piece)])
    }

    /// Writes what waits; tells whether all went out.
    pub(super) fn flush(&mut self) -> bool {
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
