//! Sessions: one connection's subscriptions, whatever carries it.
//!
//! **In** what a client asks for, rings of its bell. **Out** messages in pieces: a head of its own, members that all
//! clients of a filter share, a tail with the position; in the voice of its dialect.
//! **Before** this file: `dialect::websocket`, `dialect::socketio` (framing). **After** it: `hub`.
//!
//! **Invariant:** the session never speaks first and never holds more than the messages it was just asked for: news stay in
//! the channel until the socket takes them. Every refusal is an answer with a code. **Not here:** sockets, close codes.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use windrow_core::hub::Tick;

use self::{
    entry::{Entry, State, Waiting},
    wire::{Call, Incoming, Request as Asked},
};
use crate::{
    dialect::Gateway,
    hub::{Bell, Fault, Message, Request, Rung, Seat, StartFrom, Tried},
};

mod entry;
mod outgoing;
mod recovery;
mod token;
mod voice;
mod wire;

pub use outgoing::Outgoing;
pub use recovery::Identity;
pub use voice::Voice;
pub use wire::{bye, every_ms};

/// Without rows for this long, a subscription tells its position.
pub const POSITION_EVERY: Duration = Duration::from_secs(15);

/// How long more than the outbox bound may wait: a burst that the socket takes bit by bit is no reason to begin anew.
pub const BEHIND_MAX: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub struct Session {
    gateway: Gateway,
    bell: Arc<Bell>,
    voice: Voice,
    /// Who the client is when it comes back, where it may.
    recovery: Option<Box<Identity>>,
    /// By seat.
    entries: Vec<Option<Entry>>,
    /// Seats that may have news.
    news: Rung,
    /// Since when more waits than the outbox bound.
    behind_since: Option<Instant>,
}

/// What is left to do with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Fine,
    /// Say why and close.
    Close(Fault),
}

impl Session {
    /// Begins a session that has no subscriptions.
    pub fn new(gateway: Gateway, bell: Arc<Bell>, voice: Voice) -> Self {
        Self {
            gateway,
            bell,
            voice,
            recovery: None,
            entries: Vec::new(),
            news: Rung::default(),
            behind_since: None,
        }
    }

    /// Answers one message of the client: JSON of protocol v1.
    pub fn on_text(&mut self, text: &str, out: &mut Vec<Outgoing>) {
        let asked = Incoming::parse(text);
        self.answer_or_refuse(asked, None, out);
    }

    /// Answers one event of the client: its name and its only argument, if it has just one.
    pub fn on_event(
        &mut self,
        name: &str,
        argument: Option<&str>,
        ack: Option<u64>,
        out: &mut Vec<Outgoing>,
    ) {
        let asked = Call::parse(name, argument);
        self.answer_or_refuse(asked, ack, out);
    }

    fn answer_or_refuse(
        &mut self,
        asked: Result<Asked, (Option<i64>, Fault)>,
        ack: Option<u64>,
        out: &mut Vec<Outgoing>,
    ) {
        let (number, answered) = match asked {
            Ok(asked) => (asked.number(), self.answer(asked, ack, out)),
            Err((number, fault)) => (number, Err(fault)),
        };
        if let Err(fault) = answered {
            out.push(self.voice.refusal(number, ack, &fault));
        }
    }

    fn answer(&mut self, asked: Asked, ack: Option<u64>, out: &mut Vec<Outgoing>) -> Result<(), Fault> {
        match asked {
            Asked::Ping(value) => out.push(Outgoing::whole(format!("{{\"pong\":{}}}", value.get()))),
            Asked::Auth => {
                return Err(Fault::new("no_auth", "this server has no [auth] configured"));
            }
            Asked::Subscribe { channel, number, filter, from, tick } => {
                let request = self.request(&channel, number, filter.as_deref(), from, tick)?;
                let kept = self.keep(filter.as_deref(), tick);
                self.subscribe(number, channel.into(), request, (ack, kept), out)?;
            }
            Asked::Unsubscribe(number) => {
                let seat = self.seat(number)?;
                if let Some(entry) = self.entries[seat].take() {
                    out.push(wire::unsubscribed(&self.voice, &entry.channel, number, ack));
                    self.seal_answer(out.len() - 1, out);
                }
            }
            Asked::Filter { number, filter } => self.refilter(number, filter.as_deref(), ack, out)?,
        }
        Ok(())
    }

    fn request(
        &self,
        channel: &str,
        number: i64,
        filter: Option<&str>,
        from: StartFrom,
        tick: Tick,
    ) -> Result<Request, Fault> {
        if self.seat(number).is_ok() {
            return Err(Fault::new("as_in_use", format!("subscription {number} exists already")));
        }
        let max = self.gateway.limits.subscriptions_max;
        if self.entries.iter().flatten().count() >= max {
            let rule = format!("a connection has at most {max} subscriptions");
            return Err(Fault::new("too_many_subscriptions", rule));
        }
        self.gateway.request(channel, filter, from, tick)
    }

    fn subscribe(
        &mut self,
        number: i64,
        channel: Box<str>,
        request: Request,
        (ack, kept): (Option<u64>, Option<Box<recovery::Asked>>),
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Fault> {
        let seat = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        let now = Instant::now();
        let deadline = now + request.patience();
        let state = match request.attempt(self.seat_of(seat), false)? {
            Tried::Ready(subscription) => State::Subscribed(subscription),
            Tried::NotYet => State::Waiting(Box::new(Waiting { request, deadline, ack })),
        };
        let mut entry = Entry { number, channel, state, told: now, kept };
        let from = out.len();
        entry.greet(&self.voice, ack, out);
        if seat == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[seat] = Some(entry);
        self.news.add(seat);
        self.seal_answer(from, out);
        Ok(())
    }

    fn refilter(
        &mut self,
        number: i64,
        filter: Option<&str>,
        ack: Option<u64>,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Fault> {
        let seat = self.seat(number)?;
        let bound = self.gateway.limits.outbox_max_bytes;
        let mut sent_bytes = 0;
        loop {
            let Some(Entry { channel, state: State::Subscribed(subscription), .. }) = &mut self.entries[seat]
            else {
                return Err(not_begun(number));
            };
            if sent_bytes >= bound || subscription.in_snapshot() {
                break;
            }
            let Some(message) = subscription.next_message_now() else { break };
            if let Message::End(fault) = message {
                // What comes of it is up to the next pull.
                self.news.add(seat);
                return Err(fault);
            }
            let message = wire::message(&self.voice, channel, number, message);
            sent_bytes += message.len_bytes();
            out.push(message);
            self.seal(out);
        }
        let Some(entry) = &mut self.entries[seat] else { return Err(unknown(number)) };
        let State::Subscribed(subscription) = &mut entry.state else { return Err(not_begun(number)) };
        let (members, at) = subscription.refilter(filter)?;
        entry.refiltered(filter);
        entry.told = Instant::now();
        out.push(wire::filtered(&self.voice, &entry.channel, number, ack, members, at));
        self.seal_answer(out.len() - 1, out);
        self.news.add(seat);
        Ok(())
    }

    fn seat(&self, number: i64) -> Result<usize, Fault> {
        let found = self.entries.iter().position(|e| e.as_ref().is_some_and(|e| e.number == number));
        found.ok_or_else(|| unknown(number))
    }

    fn seat_of(&self, seat: usize) -> Seat {
        Seat { bell: self.bell.clone(), number: seat as u32 }
    }

    /// Notes what rang.
    pub fn rang(&mut self, rung: Rung) {
        self.news.merge(rung);
    }

    /// Tells whether [`Self::pull`] may have something to say.
    pub fn has_news(&self) -> bool {
        self.news.any_seat()
    }

    /// Appends messages until about `bytes_max` are ready or there is no more news.
    pub fn pull(&mut self, bytes_max: usize, out: &mut Vec<Outgoing>) -> Verdict {
        let now = Instant::now();
        let mut bytes = 0;
        let mut left = Rung::default();
        for seat in 0..self.entries.len() {
            if !self.news.has(seat) {
                continue;
            }
            if bytes >= bytes_max {
                left.add(seat);
                continue;
            }
            let (seat_of, from) = (self.seat_of(seat), out.len());
            let Some(entry) = &mut self.entries[seat] else { continue };
            if let Err((ack, fault)) = entry.retry(seat_of, now, &self.voice, out) {
                out.push(self.voice.refusal(Some(entry.number), ack, &fault));
                self.entries[seat] = None;
                continue;
            }
            self.seal_answer(from, out);
            while let Some(Entry { number, channel, state: State::Subscribed(subscription), told, .. }) =
                &mut self.entries[seat]
            {
                let Some(message) = subscription.next_message() else { break };
                if let Message::End(fault) = message {
                    if fault.code == "slow" {
                        return Verdict::Close(fault);
                    }
                    out.push(wire::ended(&self.voice, channel, *number, &fault));
                    self.entries[seat] = None;
                    self.seal(out);
                    break;
                }
                *told = now;
                let message = wire::message(&self.voice, channel, *number, message);
                bytes += message.len_bytes();
                out.push(message);
                self.seal(out);
                if bytes >= bytes_max {
                    left.add(seat);
                    break;
                }
            }
        }
        self.news = left;
        if !left.any_seat() {
            self.behind_since = None;
        }
        Verdict::Fine
    }

    /// Notes that the socket takes nothing while there is news. Whoever is past the outbox bound for [`BEHIND_MAX`] without
    /// ever catching up begins anew, or ends.
    pub fn blocked(&mut self, now: Instant) -> Verdict {
        let news = self.news;
        let subscriptions = self.entries.iter_mut().enumerate().filter_map(|(seat, entry)| match entry {
            Some(Entry { state: State::Subscribed(subscription), .. }) if news.has(seat) => {
                Some(subscription)
            }
            _ => None,
        });
        let mut past: Vec<_> = subscriptions.filter(|subscription| subscription.is_past_bound()).collect();
        if past.is_empty() {
            self.behind_since = None;
        } else if *self.behind_since.get_or_insert(now) + BEHIND_MAX <= now {
            self.behind_since = None;
            if let Some(fault) = past.iter_mut().find_map(|subscription| subscription.overrun()) {
                return Verdict::Close(fault);
            }
        }
        Verdict::Fine
    }

    /// Tells the positions of subscriptions that were silent for long, and gives up waiting for channels. Returns when to
    /// come again.
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<Outgoing>) -> Instant {
        let (mut next, mut quiet) = (now + POSITION_EVERY, Vec::new());
        for (seat, slot) in self.entries.iter_mut().enumerate() {
            let Some(entry) = slot else { continue };
            match &mut entry.state {
                State::Waiting(waiting) => {
                    if waiting.deadline <= now {
                        self.news.add(seat);
                    } else {
                        next = next.min(waiting.deadline);
                    }
                }
                State::Subscribed(subscription) => {
                    if entry.told + POSITION_EVERY <= now {
                        entry.told = now;
                        if let Some(at) = subscription.position() {
                            quiet.push(wire::position(&self.voice, &entry.channel, entry.number, &at));
                        }
                    }
                    next = next.min(entry.told + POSITION_EVERY);
                }
            }
        }
        for position in quiet {
            out.push(position);
            self.seal(out);
        }
        next
    }

    /// Returns when [`Self::on_time`] has something to do; `None` while there are no subscriptions.
    pub fn wakes_at(&self) -> Option<Instant> {
        let when = self.entries.iter().flatten().map(|entry| match &entry.state {
            State::Waiting(waiting) => waiting.deadline,
            State::Subscribed(_) => entry.told + POSITION_EVERY,
        });
        when.min()
    }
}

fn not_begun(number: i64) -> Fault {
    Fault::new("not_ready", format!("subscription {number} has not begun yet"))
}

fn unknown(number: i64) -> Fault {
    Fault::new("unknown_as", format!("there is no subscription {number}"))
}
