//! Connection: one WebSocket client's life on its raw socket.
//!
//! **In** bytes from the socket, rings of the bell, time. **Out** frames, as vectored writes of a head of its own, shared
//! members and a tail.
//! **Invariant:** news are pulled only when everything before them is written, so a client that does not read holds one
//! message and makes nothing grow. What it sends past the message rate waits unread in its socket.
//! **Not here:** what messages mean (`session`).

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
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
    time::{Instant, Sleep},
};

use super::{
    close,
    frame::{self, Decoder, Event, HEADER_MAX_BYTES, Violation},
};
use crate::{
    dialect::Gateway,
    hub::{Bell, Fault, SessionGuard},
    session::{Outgoing, Session, Verdict},
    stats::Counter,
};

/// Gathered before one write: enough to make the system call cheap.
const GATHER_BYTES: usize = 64 << 10;
/// A shared body up to this is copied: cheaper than a piece of its own in the vectored write.
const COPY_MAX_BYTES: usize = 1 << 10;
/// Pieces of one vectored write; Linux takes 1,024.
const SLICES_MAX: usize = 64;
/// One read. Shared by all clients of a thread: an idle client holds none.
const READ_BYTES: usize = 16 << 10;
/// How long a client may leave a whole socket buffer unread.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long the closing handshake may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Serves one client until it is gone.
pub(super) async fn run(upgraded: Upgraded, gateway: Gateway) {
    let mut connection = Connection::new(upgraded, gateway);
    poll_fn(|cx| connection.poll(cx)).await;
}

struct Connection {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    session: Session,
    bell: Arc<Bell>,
    guard: SessionGuard,
    out: VecDeque<Bytes>,
    /// Begins when everything is said: nothing more is pulled, and it ends at this time at the latest.
    closing: Option<Instant>,
    heard_close: bool,
    /// After a breach nothing that comes is looked at.
    deaf: bool,
    /// When the socket last took something, while something waits for it.
    stalled_since: Option<Instant>,
    allowance: Allowance,
    timer: Pin<Box<Sleep>>,
    armed: bool,
    counters: Counters,
}

struct Counters {
    frames: Arc<Counter>,
    bytes: Arc<Counter>,
    messages_in: Arc<Counter>,
    held_back: Arc<Counter>,
    slow: Arc<Counter>,
    refused: Arc<Counter>,
}

impl Connection {
    fn new(upgraded: Upgraded, gateway: Gateway) -> Self {
        let bell: Arc<Bell> = Arc::default();
        let listener: Arc<str> = gateway.listener.name.as_str().into();
        let counter =
            |name, reason| gateway.stats.counter(("listener", listener.clone(), None), name, reason);
        let counters = Counters {
            frames: counter("frames", ""),
            bytes: counter("bytes_out", ""),
            messages_in: counter("messages_in", ""),
            held_back: counter("held_back", "message_rate"),
            slow: counter("closed", "slow"),
            refused: counter("closed", "protocol"),
        };
        let limits = &gateway.limits;
        Self {
            io: TokioIo::new(upgraded),
            decoder: Decoder::new(limits.frame_max_bytes),
            allowance: Allowance::new(limits.messages_per_second_max, limits.subscriptions_max),
            guard: gateway.hub.enter(&listener, &bell),
            session: Session::new(gateway, bell.clone()),
            bell,
            out: VecDeque::new(),
            closing: None,
            heard_close: false,
            deaf: false,
            stalled_since: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: false,
            counters,
        }
    }

    /// Does all there is to do; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut moved = false;
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) if self.closing.is_some() && (self.heard_close || self.deaf) => {
                    // What a client still sends after a breach is read until it stops: a reset would overtake the close.
                    let shut = self.poll_shutdown(cx);
                    if self.heard_close {
                        return shut;
                    }
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
            if let Poll::Ready(rung) = self.bell.poll(cx) {
                moved = true;
                self.session.rang(rung);
                if rung.is_goodbye() {
                    self.goodbye();
                }
                if !self.out.is_empty() && self.closing.is_none() {
                    let verdict = self.session.blocked(Instant::now());
                    self.obey(verdict);
                }
            }
            if self.out.is_empty() && self.session.has_news() && self.closing.is_none() {
                moved = true;
                let mut messages = Vec::new();
                let verdict = self.session.pull(GATHER_BYTES, &mut messages);
                self.send(messages);
                self.obey(verdict);
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            match self.poll_time(cx) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(Expired)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Writes what waits; ready when nothing does.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let Poll::Ready(written) = Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])
            else {
                self.stalled_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            let mut written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if self.stalled_since.take().is_some() {
                self.armed = false;
            }
            self.counters.bytes.add(written as u64);
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

    /// Reads and obeys while answers find room; the rest waits in the socket.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.out.is_empty() && self.closing.is_none() {
            return Poll::Pending;
        }
        let now = Instant::now();
        loop {
            if !self.allowance.has(now) {
                return Poll::Pending;
            }
            match self.decoder.next_event() {
                Ok(Some(event)) => {
                    self.armed = false;
                    if self.allowance.take(now) == 0 {
                        self.counters.held_back.add(1);
                    }
                    self.on_event(event);
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
                Err(violation) => {
                    self.violated(violation);
                    return Poll::Ready(Ok(()));
                }
            }
            let read = READ.with_borrow_mut(|bytes| {
                let mut bytes = ReadBuf::new(bytes);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes))?;
                // A client that is to go is no longer listened to, but for its own close.
                self.decoder.feed(bytes.filled());
                Poll::Ready(Ok::<_, io::Error>(bytes.filled().len()))
            });
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Close(code) => {
                self.heard_close = true;
                self.close(code.map(|_| close::NORMAL), "");
            }
            _ if self.closing.is_some() => {}
            Event::Text(text) => {
                self.counters.messages_in.add(1);
                let mut messages = Vec::new();
                self.session.on_text(&text, &mut messages);
                self.send(messages);
            }
            Event::Ping(payload) => {
                let mut pong = Vec::with_capacity(payload.len() + 2);
                frame::pong(&payload, &mut pong);
                self.out.push_back(pong.into());
            }
            Event::Pong => {}
        }
    }

    fn violated(&mut self, violation: Violation) {
        self.counters.refused.add(1);
        let (code, name) = close::of_violation(violation);
        if self.closing.is_some() {
            self.deaf = true;
            return self.decoder.deafen();
        }
        let fault = Fault::new(name, violation.to_string());
        self.send([Outgoing::error(&fault)]);
        self.close(Some(code), &fault.message);
        // The rest of the stream cannot be read, so its close would not be found.
        self.deaf = true;
        self.decoder.deafen();
    }

    fn send(&mut self, messages: impl IntoIterator<Item = Outgoing>) {
        let mut own = Vec::new();
        for message in messages {
            let copied = if message.body.len() <= COPY_MAX_BYTES { message.body.len() } else { 0 };
            own.reserve(HEADER_MAX_BYTES + message.head.len() + copied + message.tail.len());
            frame::text_header(message.len_bytes(), &mut own);
            own.extend_from_slice(&message.head);
            if copied == message.body.len() {
                own.extend_from_slice(&message.body);
            } else {
                self.out.push_back(std::mem::take(&mut own).into());
                self.out.push_back(message.body);
            }
            own.extend_from_slice(&message.tail);
            self.counters.frames.add(1);
        }
        if !own.is_empty() {
            self.out.push_back(own.into());
        }
    }

    fn obey(&mut self, verdict: Verdict) {
        if let Verdict::Close(fault) = verdict {
            self.counters.slow.add(1);
            self.close(Some(close::of_fault(&fault)), &fault.message);
        }
    }

    fn goodbye(&mut self) {
        if self.closing.is_none() {
            self.send([Outgoing::bye("draining", self.guard.goodbye().reconnect_after)]);
            self.close(Some(close::DRAINING), "draining");
        }
    }

    fn close(&mut self, code: Option<u16>, reason: &str) {
        if self.closing.is_none() {
            let mut bytes = Vec::new();
            frame::close_frame(code, reason, &mut bytes);
            self.out.push_back(bytes.into());
            self.closing = Some(Instant::now() + CLOSE_MAX);
            self.armed = false;
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.io).poll_shutdown(cx).map(drop)
    }

    /// Does what is due; ready when something was.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Expired>> {
        if !self.armed {
            let Some(when) = self.due() else { return Poll::Pending };
            self.timer.as_mut().reset(when);
            self.armed = true;
        }
        ready!(self.timer.as_mut().poll(cx));
        self.armed = false;
        let now = Instant::now();
        let is_past = |when: Option<Instant>, most: Duration| when.is_some_and(|when| when + most <= now);
        if is_past(self.closing, Duration::ZERO) || is_past(self.stalled_since, STALL_MAX) {
            return Poll::Ready(Err(Expired));
        }
        if self.closing.is_none() && self.out.is_empty() {
            let mut messages = Vec::new();
            self.session.on_time(now, &mut messages);
            self.send(messages);
        }
        Poll::Ready(Ok(()))
    }

    /// Returns when there is something to do even if nothing happens.
    fn due(&self) -> Option<Instant> {
        let stall = self.stalled_since.map(|since| since + STALL_MAX);
        // While something waits to be written, positions wait too.
        let session = if self.out.is_empty() { self.session.wakes_at() } else { None };
        let all = [self.closing, stall, session, self.allowance.back_at()];
        all.into_iter().flatten().min()
    }
}

/// The connection's time is over.
struct Expired;

/// How many messages a client may still send: a bucket that fills with time.
struct Allowance {
    per_second: u32,
    burst: u32,
    left: u32,
    filled_at: Instant,
}

impl Allowance {
    /// The bucket holds a second's worth and all subscriptions that may be made at once after connecting.
    fn new(per_second: u32, subscriptions_max: usize) -> Self {
        let per_second = per_second.max(1);
        let burst = per_second.saturating_add(u32::try_from(subscriptions_max).unwrap_or(u32::MAX));
        Self { per_second, burst, left: burst, filled_at: Instant::now() }
    }

    fn has(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            let filled = now.duration_since(self.filled_at).as_secs_f64() * f64::from(self.per_second);
            self.left = (filled as u32).min(self.burst);
            if self.left > 0 {
                self.filled_at = now;
            }
        }
        self.left > 0
    }

    /// Uses one up and returns how many are left.
    fn take(&mut self, now: Instant) -> u32 {
        if self.left == self.burst {
            self.filled_at = now;
        }
        self.left = self.left.saturating_sub(1);
        self.left
    }

    /// Returns when a client that has used everything up is heard again.
    fn back_at(&self) -> Option<Instant> {
        (self.left == 0).then(|| self.filled_at + Duration::from_secs(1) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_small() {
        // With its task, timer, bell, seat and subscription it must stay within 6 KiB.
        assert!(size_of::<Connection>() <= 1_024, "{}", size_of::<Connection>());
    }

    #[test]
    fn an_allowance_is_a_burst_then_a_rate() {
        let mut allowance = Allowance::new(100, 50);
        let count = |allowance: &mut Allowance, now| {
            let mut taken = 0;
            while allowance.has(now) {
                allowance.take(now);
                taken += 1;
            }
            taken
        };
        let start = Instant::now();
        assert_eq!(count(&mut allowance, start), 150);
        assert_eq!(allowance.back_at(), Some(start + Duration::from_millis(10)));
        assert_eq!(count(&mut allowance, start + Duration::from_millis(100)), 10);
        assert_eq!(count(&mut allowance, start + Duration::from_secs(60)), 150);
    }
}
