//! Connection: one WebSocket client's life, in any dialect.
//!
//! **In** events of its pipe, rings of the bell, time. **Out** its speaker's messages.
//! **Invariant:** news are pulled only when everything before them is written, so a client that does not read holds one
//! message and makes nothing grow. What it sends past the message rate waits unread in its socket.
//! **Not here:** the socket (`pipe`), what messages mean (`speaker`).

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::upgrade::Upgraded;
use tokio::time::Instant;

use super::{
    close,
    frame::{self, Decoder, Event, Violation},
    pipe::{As, Broken, Pipe, STALL_MAX},
    speaker::{Next, Speaker},
};
use crate::{
    dialect::{Gateway, alarm::Alarm, allowance::Allowance},
    hub::{Bell, Fault, SessionGuard},
    session::{Outgoing, Verdict},
    stats::Counter,
};

/// Gathered before one write: enough to make the system call cheap.
const GATHER_BYTES: usize = 64 << 10;

/// What a dialect takes from a client.
#[derive(Debug, Clone, Copy)]
pub(in crate::dialect) struct Terms {
    /// One message.
    pub(in crate::dialect) message_max_bytes: usize,
    /// Whether binary messages are no breach.
    pub(in crate::dialect) takes_binary: bool,
    /// How long it may leave a whole socket buffer unread.
    pub(in crate::dialect) stall_max: Duration,
    /// How often it is pinged, in the framing; one that says nothing until the next ping is over. `None`: never.
    pub(in crate::dialect) keepalive: Option<Duration>,
}

impl Terms {
    /// Text alone, within the listener's bound.
    pub(in crate::dialect) fn of(gateway: &Gateway) -> Self {
        let message_max_bytes = gateway.limits.frame_max_bytes;
        Self { message_max_bytes, takes_binary: false, stall_max: STALL_MAX, keepalive: None }
    }
}

/// Serves one client until it is gone; its speaker is made with the bell that it is rung by.
pub(in crate::dialect) async fn run<S: Speaker>(
    upgraded: Upgraded,
    gateway: Gateway,
    terms: Terms,
    speaker: impl FnOnce(Arc<Bell>) -> S,
) {
    let mut connection = Connection::new(upgraded, &gateway, terms, speaker);
    drop(gateway);
    poll_fn(|cx| connection.poll(cx)).await;
}

struct Connection<S> {
    pipe: Pipe,
    speaker: S,
    bell: Arc<Bell>,
    guard: SessionGuard,
    allowance: Allowance,
    alarm: Alarm,
    pulse: Option<Box<Pulse>>,
    counters: Counters,
}

/// Whether the client still lives.
struct Pulse {
    every: Duration,
    next: Instant,
    /// It said something since the last ping, or there was none yet.
    was_heard: bool,
}

struct Counters {
    frames: Arc<Counter>,
    messages_in: Arc<Counter>,
    held_back: Arc<Counter>,
    slow: Arc<Counter>,
    stalled: Arc<Counter>,
    refused: Arc<Counter>,
    timeout: Arc<Counter>,
}

impl<S: Speaker> Connection<S> {
    fn new(
        upgraded: Upgraded,
        gateway: &Gateway,
        terms: Terms,
        speaker: impl FnOnce(Arc<Bell>) -> S,
    ) -> Self {
        let bell: Arc<Bell> = Arc::default();
        let listener: Arc<str> = gateway.listener.name.as_str().into();
        let counter =
            |name, reason| gateway.stats.counter(("listener", listener.clone(), None), name, reason);
        let counters = Counters {
            frames: counter("frames", ""),
            messages_in: counter("messages_in", ""),
            held_back: counter("held_back", "message_rate"),
            slow: counter("closed", "slow"),
            stalled: counter("closed", "stalled"),
            refused: counter("closed", "protocol"),
            timeout: counter("closed", "timeout"),
        };
        let limits = &gateway.limits;
        let decoder = Decoder::new(terms.message_max_bytes);
        let decoder = if terms.takes_binary { decoder.with_binary() } else { decoder };
        let mut speaker = speaker(bell.clone());
        let mut greeting = Vec::new();
        speaker.greet(Instant::now(), &mut greeting);
        let pipe = Pipe::new(upgraded, decoder, counter("bytes_out", ""));
        let mut connection = Self {
            pipe: pipe.with_stall_max(terms.stall_max),
            allowance: Allowance::new(limits.messages_per_second_max, limits.subscriptions_max),
            guard: gateway.hub.enter(&listener, &bell),
            speaker,
            bell,
            alarm: Alarm::new(),
            pulse: terms
                .keepalive
                .map(|every| Box::new(Pulse { every, next: Instant::now() + every, was_heard: true })),
            counters,
        };
        connection.send(greeting);
        connection
    }

    /// Does all there is to do; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut moved = false;
            if self.pipe.poll_write(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Poll::Ready(rung) = self.bell.poll(cx) {
                self.speaker.rang(rung);
                if rung.is_goodbye() {
                    self.goodbye();
                    moved = true;
                }
                if !self.pipe.is_clear() && !self.pipe.is_closing() {
                    let verdict = self.speaker.blocked(Instant::now());
                    moved |= verdict != Verdict::Fine;
                    self.obey(verdict);
                }
            }
            // Before the news: there may always be more of them, and a client is to be heard all the same.
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(Gone)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if self.has_news() {
                let mut messages = Vec::new();
                let verdict = self.speaker.pull(GATHER_BYTES, &mut messages);
                self.send(messages);
                self.obey(verdict);
                // News mostly go out at once: then there is nothing to look at anew.
                if self.pipe.poll_write(cx).is_ready() {
                    return Poll::Ready(());
                }
                moved |= self.has_news();
            }
            match self.poll_time(cx) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(Gone)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Tells whether there are news that the socket takes.
    fn has_news(&self) -> bool {
        self.pipe.is_clear() && self.speaker.has_news() && !self.pipe.is_closing()
    }

    /// Reads and obeys while answers find room; the rest waits in the socket.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if !self.pipe.is_clear() && !self.pipe.is_closing() {
            return Poll::Pending;
        }
        let now = Instant::now();
        if !self.allowance.has(now) {
            return Poll::Pending;
        }
        match ready!(self.pipe.poll_event(cx)) {
            Ok(event) => {
                if let Some(pulse) = &mut self.pulse {
                    pulse.was_heard = true;
                }
                if self.allowance.take(now) == 0 {
                    self.counters.held_back.add(1);
                }
                self.on_event(event);
            }
            Err(Broken::Violation(violation)) => self.violated(violation),
            Err(Broken::Gone) => return Poll::Ready(Err(Gone)),
        }
        Poll::Ready(Ok(()))
    }

    fn on_event(&mut self, event: Event) {
        match event {
            // A client that is to go is no longer listened to, but for its own close.
            _ if self.pipe.is_closing() => {}
            Event::Text(text) => {
                self.counters.messages_in.add(1);
                let mut messages = Vec::new();
                let next = self.speaker.on_text(&text, &mut messages);
                self.send(messages);
                match next {
                    Next::Stay => {}
                    Next::Leave => self.pipe.close(Some(close::NORMAL), ""),
                    Next::Close(fault) => self.obey(Verdict::Close(fault)),
                }
            }
            Event::Binary(_) => {
                self.counters.messages_in.add(1);
                self.speaker.on_binary();
            }
            Event::Ping(payload) => self.pipe.pong(&payload),
            Event::Pong | Event::Close(_) => {}
        }
    }

    fn violated(&mut self, violation: Violation) {
        self.counters.refused.add(1);
        if !self.pipe.is_closing() {
            let (code, name) = S::CODES.of_violation(violation);
            let fault = Fault::new(name, violation.to_string());
            self.send(self.speaker.refusal(&fault).into_iter().collect());
            self.pipe.close(Some(code), &fault.message);
        }
        self.pipe.deafen();
    }

    fn send(&mut self, messages: Vec<Outgoing>) {
        self.counters.frames.add(messages.len() as u64);
        self.pipe.send(messages.into_iter().map(|message| (As::Text, message)));
    }

    fn obey(&mut self, verdict: Verdict) {
        if let Verdict::Close(fault) = verdict {
            self.counters.slow.add(1);
            self.pipe.close(Some(S::CODES.of_fault(&fault)), &fault.message);
        }
    }

    fn goodbye(&mut self) {
        if !self.pipe.is_closing() {
            self.send(self.speaker.goodbye(self.guard.goodbye()).into_iter().collect());
            self.pipe.close(Some(S::CODES.draining()), "draining");
        }
    }

    /// Does what is due; ready when something was.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let due = self.due();
        ready!(self.alarm.poll(cx, due));
        let now = Instant::now();
        if self.pipe.due().is_some_and(|when| when <= now) {
            self.counters.stalled.add(u64::from(!self.pipe.is_closing()));
            return Poll::Ready(Err(Gone));
        }
        if !self.pipe.is_closing() && self.pipe.is_clear() {
            let mut messages = Vec::new();
            let verdict = self.speaker.on_time(now, &mut messages);
            self.send(messages);
            self.obey(verdict);
        }
        if !self.pipe.is_closing() && self.pipe.is_clear() {
            self.feel(now);
        }
        Poll::Ready(Ok(()))
    }

    /// Pings the client when it is time, or gives it up.
    fn feel(&mut self, now: Instant) {
        let Some(pulse) = self.pulse.as_mut().filter(|pulse| pulse.next <= now) else { return };
        pulse.next = now + pulse.every;
        if std::mem::take(&mut pulse.was_heard) {
            let mut ping = Vec::new();
            frame::ping(&mut ping);
            self.pipe.push(ping);
        } else {
            self.counters.timeout.add(1);
            self.pipe.close(Some(S::CODES.of_fault(&Fault::new("silent", ""))), "no answer to a ping");
        }
    }

    /// Returns when there is something to do even if nothing happens.
    fn due(&self) -> Option<Instant> {
        let (is_clear, is_closing) = (self.pipe.is_clear(), self.pipe.is_closing());
        // While something waits to be written, positions wait too, and nothing is read.
        let speaker = if is_clear && !is_closing { self.speaker.wakes_at() } else { None };
        let heard_again = if is_clear || is_closing { self.allowance.back_at() } else { None };
        let pulse = self.pulse.as_ref().filter(|_| is_clear && !is_closing).map(|pulse| pulse.next);
        [self.pipe.due(), speaker, pulse, heard_again].into_iter().flatten().min()
    }
}

/// The connection is over.
struct Gone;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    #[test]
    fn an_idle_client_is_small() {
        // With its task, timer, bell, seat and subscription it must stay within 6 KiB.
        assert!(size_of::<Connection<Session>>() <= 1_024, "{}", size_of::<Connection<Session>>());
    }
}
