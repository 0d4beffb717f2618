//! Pipe: one WebSocket, both ways, for any dialect that speaks on one.
//!
//! **In** bytes from the socket; pieces to write. **Out** events; vectored writes of heads of their own, shared bodies and tails.
//! **Invariant:** it reads only when asked to, and holds what was given to it until the socket takes it. A client that leaves a
//! socket buffer unread for as long as its dialect bears it, or takes longer than [`CLOSE_MAX`] to say goodbye, is over.
//! **Not here:** what messages mean, how fast they may come (its owner).

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    close,
    frame::{self, Decoder, Event, Violation},
};
use crate::{session::Outgoing, stats::Counter};

/// A shared body up to this is copied: cheaper than a piece of its own in the vectored write.
const COPY_MAX_BYTES: usize = 1 << 10;
/// Pieces of one vectored write; Linux takes 1,024.
const SLICES_MAX: usize = 64;
/// One read. Shared by all clients of a thread: an idle client holds none.
const READ_BYTES: usize = 16 << 10;
/// How long a client may leave a whole socket buffer unread, where its dialect does not say.
pub(in crate::dialect) const STALL_MAX: Duration = Duration::from_secs(60);
/// How long the closing handshake may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// One WebSocket.
#[derive(Debug)]
pub(in crate::dialect) struct Pipe {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    out: VecDeque<Bytes>,
    /// Begins when everything is said: it ends at this time at the latest.
    closing: Option<Instant>,
    heard_close: bool,
    /// After a breach nothing that comes is looked at.
    deaf: bool,
    /// When the socket last took something, while something waits for it.
    stalled_since: Option<Instant>,
    stall_max_ms: u32,
    bytes: Arc<Counter>,
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum As {
    /// As a text frame.
    Text,
    /// As a binary frame.
    Binary,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(in crate::dialect) enum Broken {
    /// The socket is gone.
    Gone,
    /// The client does not keep to RFC 6455 or to a bound.
    Violation(Violation),
}

impl Pipe {
    pub(in crate::dialect) fn new(upgraded: Upgraded, decoder: Decoder, bytes: Arc<Counter>) -> Self {
        Self {
            io: TokioIo::new(upgraded),
            decoder,
            out: VecDeque::new(),
            closing: None,
            heard_close: false,
            deaf: false,
            stalled_since: None,
            stall_max_ms: millis(STALL_MAX),
            bytes,
        }
    }

    /// Bears a client that takes nothing for so long.
    pub(in crate::dialect) fn with_stall_max(self, stall_max: Duration) -> Self {
        Self { stall_max_ms: millis(stall_max), ..self }
    }

    /// Tells whether everything is written.
    pub(in crate::dialect) fn is_clear(&self) -> bool {
        self.out.is_empty()
    }

    /// Tells whether the goodbye was said.
    pub(in crate::dialect) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Writes what waits; ready when the connection is over.
    pub(in crate::dialect) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.write(cx) {
            Poll::Ready(Ok(())) if self.closing.is_some() && (self.heard_close || self.deaf) => {
                // What a client still sends after a breach is read until it stops: a reset would overtake the close.
                let shut = Pin::new(&mut self.io).poll_shutdown(cx).map(drop);
                if self.heard_close { shut } else { Poll::Pending }
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(()),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let Poll::Ready(written) = self.write_some(cx) else {
                self.stalled_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            let mut written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.stalled_since = None;
            self.bytes.add(written as u64);
            while let Some(first) = self.out.front_mut() {
                if first.len() > written {
                    let _ = first.split_to(written);
                    break;
                }
                written -= first.len();
                self.out.pop_front();
            }
        }
        if self.out.capacity() > SLICES_MAX {
            self.out = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much as the socket takes, with one call. One piece alone, as most are, is cheaper without a list.
    fn write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        if let (1, Some(piece)) = (self.out.len(), self.out.front()) {
            return io.poll_write(cx, piece);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.out) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        io.poll_write_vectored(cx, &slices[..count])
    }

    /// Reads the next event. A close is answered here, and told.
    pub(in crate::dialect) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Broken>> {
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => {
                    if let Event::Close(code) = event {
                        self.heard_close = true;
                        self.close(code.map(|_| close::NORMAL), "");
                    }
                    return Poll::Ready(Ok(event));
                }
                Ok(None) => {}
                Err(violation) => return Poll::Ready(Err(Broken::Violation(violation))),
            }
            let read = READ.with_borrow_mut(|bytes| {
                let mut bytes = ReadBuf::new(bytes);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes))?;
                self.decoder.feed(bytes.filled());
                Poll::Ready(Ok::<_, io::Error>(bytes.filled().len()))
            });
            if ready!(read).unwrap_or(0) == 0 {
                return Poll::Ready(Err(Broken::Gone));
            }
        }
    }

    /// Queues messages, each one frame: small ones in one piece, shared bodies as they are.
    pub(in crate::dialect) fn send(&mut self, messages: impl IntoIterator<Item = (As, Outgoing)>) {
        let mut own = Vec::new();
        for (kind, message) in messages {
            let copied = if message.body.len() <= COPY_MAX_BYTES { message.body.len() } else { 0 };
            // To the byte: what fits needs no second allocation to be shared.
            let header = frame::header_bytes(message.len_bytes());
            own.reserve(header + message.head.len() + copied + message.tail.len());
            match kind {
                As::Text => frame::text_header(message.len_bytes(), &mut own),
                As::Binary => frame::binary_header(message.len_bytes(), &mut own),
            }
            own.extend_from_slice(&message.head);
            if copied == message.body.len() {
                own.extend_from_slice(&message.body);
            } else {
                self.out.push_back(std::mem::take(&mut own).into());
                self.out.push_back(message.body);
            }
            own.extend_from_slice(&message.tail);
        }
        self.push(own);
    }

    /// Queues bytes that are frames already.
    pub(in crate::dialect) fn push(&mut self, frames: impl Into<Bytes>) {
        let frames = frames.into();
        if !frames.is_empty() {
            self.out.push_back(frames);
        }
    }

    /// Answers a ping.
    pub(in crate::dialect) fn pong(&mut self, payload: &[u8]) {
        let mut pong = Vec::with_capacity(payload.len() + 2);
        frame::pong(payload, &mut pong);
        self.out.push_back(pong.into());
    }

    /// Says goodbye; what was queued before is still written.
    pub(in crate::dialect) fn close(&mut self, code: Option<u16>, reason: &str) {
        if self.closing.is_none() {
            let mut bytes = Vec::new();
            frame::close_frame(code, reason, &mut bytes);
            self.out.push_back(bytes.into());
            self.closing = Some(Instant::now() + CLOSE_MAX);
        }
    }

    /// Stops making sense of what comes: after a breach the client's close would not be found.
    pub(in crate::dialect) fn deafen(&mut self) {
        self.deaf = true;
        self.decoder.deafen();
    }

    /// Returns when its time is over, as things stand.
    pub(in crate::dialect) fn due(&self) -> Option<Instant> {
        let stall = self.stalled_since.map(|since| since + Duration::from_millis(self.stall_max_ms.into()));
        self.closing.into_iter().chain(stall).min()
    }
}

/// There may be very many pipes: a time in them is small.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
