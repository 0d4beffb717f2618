//! Events: the body of one SSE response.
//!
//! **In** the subscriptions of one request. **Out** bytes, whenever the connection takes some: a head of its own, shared
//! members, an end.
//! **Invariant:** every event's data is one line; the id names a position of every channel, in the order of the request, and
//! stands only on events after which all of them are known to hold.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::time::{Instant, Sleep};
use windrow_core::value::write_text;

use crate::{
    dialect::Gateway,
    hub::{Bell, Fault, Message, Rung, Seat, SessionGuard, Subscription},
    session::POSITION_EVERY,
    stats::Counter,
};

/// The id after which nothing more will come.
pub(super) const TERMINAL_ID: &str = "end";
/// When browsers come back after a lost connection.
const RETRY: Duration = Duration::from_secs(2);
/// When they come back to what only an operator, or other clients that leave, can mend.
const RETRY_LASTING: Duration = Duration::from_secs(30);

/// The body.
pub(super) struct Events {
    bell: Arc<Bell>,
    guard: SessionGuard,
    channels: Vec<(Box<str>, Box<Subscription>)>,
    /// When the positions of quiet channels were last asked for.
    positions_at: Instant,
    news: Rung,
    out: VecDeque<Bytes>,
    ended: bool,
    timer: Pin<Box<Sleep>>,
    spoke: Instant,
    frames: Arc<Counter>,
}

impl Events {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let bell: Arc<Bell> = Arc::default();
        let listener: Arc<str> = gateway.listener.name.as_str().into();
        let retry = format!("retry: {}\n\n", RETRY.as_millis());
        Self {
            guard: gateway.hub.enter(&listener, &bell),
            frames: gateway.stats.counter(("listener", listener, None), "frames", ""),
            bell,
            channels: Vec::new(),
            positions_at: Instant::now(),
            news: Rung::default(),
            out: VecDeque::from([retry.into()]),
            ended: false,
            timer: Box::pin(tokio::time::sleep(POSITION_EVERY)),
            spoke: Instant::now(),
        }
    }

    /// Makes the body of a request that was refused for now: a browser comes back after it, which it does after no status but 200.
    pub(super) fn refused(gateway: &Gateway, fault: &Fault) -> Self {
        let mut events = Self::new(gateway);
        events.out.clear();
        if fault.code == "draining" {
            events.goodbye();
            return events;
        }
        let mut data = Vec::new();
        data.extend_from_slice(b"{\"error\":");
        fault.write_json(&mut data);
        events.fault(fault, data);
        events
    }

    /// Returns the seat of the next channel.
    pub(super) fn next_seat(&self) -> Seat {
        Seat { bell: self.bell.clone(), number: self.channels.len() as u32 }
    }

    pub(super) fn add(&mut self, channel: &str, subscription: Box<Subscription>) {
        self.news.add(self.channels.len());
        self.channels.push((channel.into(), subscription));
    }

    /// Takes one message of the channels that have news.
    fn pull(&mut self) {
        let mut left = Rung::default();
        for seat in 0..self.channels.len() {
            if !self.news.has(seat) {
                continue;
            }
            if !self.out.is_empty() {
                left.add(seat);
                continue;
            }
            if let Some(message) = self.channels[seat].1.next_message() {
                left.add(seat);
                self.tell(seat, message);
            }
        }
        self.news = left;
    }

    fn tell(&mut self, seat: usize, message: Message) {
        let mut data = b"{\"channel\":".to_vec();
        write_text(&self.channels[seat].0, &mut data);
        data.push(b',');
        match message {
            Message::Snapshot { rows, more, first, why, at, .. } => {
                let key = self.channels[seat].1.key_names();
                data.extend_from_slice(b"\"key\":[");
                for (i, name) in key.iter().enumerate() {
                    if i > 0 {
                        data.push(b',');
                    }
                    write_text(name, &mut data);
                }
                data.extend_from_slice(if first { b"],\"reset\":true," } else { b"]," });
                if let Some(why) = why {
                    let reason = format!("\"recovered\":false,\"reason\":\"{}\",", why.name());
                    data.extend_from_slice(reason.as_bytes());
                }
                data.extend_from_slice(b"\"snapshot\":");
                let tail = if more { ",\"more\":true}" } else { "}" };
                // The first piece of several takes the former id away: who is cut off among them has neither the old rows nor all the new.
                self.event("snapshot", at.is_some() || (first && more), data, rows, tail);
            }
            Message::Rows { members, at } => self.event("rows", at.is_some(), data, members, "}"),
            Message::Dropped { count, at } => {
                data.extend_from_slice(format!("\"dropped\":{count}").as_bytes());
                self.event("dropped", at.is_some(), data, Bytes::new(), "}");
            }
            Message::End(fault) => {
                data.extend_from_slice(b"\"error\":");
                fault.write_json(&mut data);
                self.fault(&fault, data);
            }
        }
    }

    /// Tells a fault and ends. What may pass says when to come back and leaves the id as it was; else the next request finds the end.
    fn fault(&mut self, fault: &Fault, data: Vec<u8>) {
        let then = if fault.passes() {
            let spread = self.guard.goodbye().reconnect_after;
            let after = if is_lasting(fault) { RETRY_LASTING + spread } else { spread };
            format!("retry: {}", after.as_millis())
        } else {
            format!("id: {TERMINAL_ID}")
        };
        let mut head = format!("event: fault\n{then}\ndata: ").into_bytes();
        head.extend_from_slice(&data);
        head.extend_from_slice(b"}\n\n");
        self.out.push_back(head.into());
        self.frames.add(1);
        self.ended = true;
    }

    fn event(&mut self, name: &str, has_id: bool, data: Vec<u8>, body: Bytes, tail: &str) {
        let mut head = format!("event: {name}\n").into_bytes();
        if has_id {
            self.refresh_positions();
            self.write_id(&mut head);
        }
        head.extend_from_slice(b"data: ");
        head.extend_from_slice(&data);
        let tail = Bytes::from(format!("{tail}\n\n"));
        self.out.extend([head.into(), body, tail].into_iter().filter(|piece: &Bytes| !piece.is_empty()));
        self.frames.add(1);
        self.spoke = Instant::now();
    }

    /// Takes the positions of quiet channels forward now and then: beside a busy one they would grow old.
    fn refresh_positions(&mut self) {
        let now = Instant::now();
        if self.channels.len() > 1 && self.positions_at + POSITION_EVERY <= now {
            self.positions_at = now;
            for (_, subscription) in &mut self.channels {
                subscription.position();
            }
        }
    }

    /// Writes `id:` with the last position of every channel; one that has none yet begins anew.
    fn write_id(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id: ");
        for (seat, (_, subscription)) in self.channels.iter().enumerate() {
            if seat > 0 {
                out.push(b'.');
            }
            if let Some(at) = subscription.at().filter(|_| !subscription.in_snapshot()) {
                out.extend_from_slice(&at);
            }
        }
        out.push(b'\n');
    }

    /// Says something if nothing was said for long: the positions, or a comment where there are none.
    fn heartbeat(&mut self, now: Instant) {
        if self.spoke + POSITION_EVERY > now {
            return;
        }
        let mut told = false;
        for (_, subscription) in &mut self.channels {
            told |= subscription.position().is_some();
        }
        let mut line = Vec::new();
        if told {
            self.write_id(&mut line);
            line.push(b'\n');
        } else {
            line.extend_from_slice(b":\n\n");
        }
        self.out.push_back(line.into());
        self.spoke = now;
    }

    fn goodbye(&mut self) {
        let after_ms = self.guard.goodbye().reconnect_after.as_millis();
        let text = format!(
            "event: bye\nretry: {after_ms}\ndata: {{\"code\":\"draining\",\"reconnect_after_ms\":{after_ms}}}\n\n"
        );
        self.out.push_back(text.into());
        self.ended = true;
    }
}

fn is_lasting(fault: &Fault) -> bool {
    matches!(fault.code, "channel_full" | "too_many_filters")
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(piece) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Poll::Ready(rung) = self.bell.poll(cx) {
                self.news.merge(rung);
                if rung.is_goodbye() {
                    self.goodbye();
                }
                continue;
            }
            if self.news.any_seat() {
                self.pull();
                continue;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            self.heartbeat(now);
            let next = self.spoke + POSITION_EVERY;
            self.timer.as_mut().reset(next);
        }
    }
}
