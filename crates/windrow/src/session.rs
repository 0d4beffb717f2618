//! Sessions: one connection's subscriptions in protocol v1, whatever carries it.
//!
//! **In** a client's JSON messages, rings of its bell. **Out** JSON messages in pieces: a head of its own, members that all
//! clients of a filter share, a tail with the position.
//! **Before** this file: `dialect::websocket` (framing). **After** it: `hub`.
//!
//! **Invariant:** the session never speaks first and never holds more than the messages it was just asked for: news stay in
//! the channel until the socket takes them. Every refusal is an answer with a code. **Not here:** sockets, close codes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use windrow_core::hub::Tick;

use self::wire::{Incoming, Request as Asked};
use crate::{
    dialect::Gateway,
    hub::{Bell, Fault, Message, Request, Rung, Seat, StartFrom, Subscription, Tried},
};

mod wire;

pub use wire::every_ms;

/// Without rows for this long, a subscription tells its position.
pub const POSITION_EVERY: Duration = Duration::from_secs(15);

/// How long more than the outbox bound may wait: a burst that the socket takes bit by bit is no reason to begin anew.
pub const BEHIND_MAX: Duration = Duration::from_secs(1);

/// One message to a client: head, shared members, tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What differs by client.
    pub head: Vec<u8>,
    /// What is shared; may be empty.
    pub body: Bytes,
    /// What ends the message.
    pub tail: Vec<u8>,
}

impl Outgoing {
    /// Makes an error of the connection.
    pub fn error(fault: &Fault) -> Self {
        wire::error(None, fault)
    }

    /// Makes the last message before the server closes.
    pub fn bye(code: &str, reconnect_after: Duration) -> Self {
        wire::bye(code, reconnect_after)
    }

    /// Returns the size of the message.
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.body.len() + self.tail.len()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    gateway: Gateway,
    bell: Arc<Bell>,
    /// By seat.
    entries: Vec<Option<Entry>>,
    /// Seats that may have news.
    news: Rung,
    /// Since when more waits than the outbox bound.
    behind_since: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    number: i64,
    channel: Box<str>,
    state: State,
    /// When something was last told.
    told: Instant,
}

#[derive(Debug)]
enum State {
    /// The channel is still being read, or has not reached the client's position.
    Waiting(Box<Request>, Instant),
    Subscribed(Box<Subscription>),
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
    pub fn new(gateway: Gateway, bell: Arc<Bell>) -> Self {
        Self { gateway, bell, entries: Vec::new(), news: Rung::default(), behind_since: None }
    }

    /// Answers one message of the client.
    pub fn on_text(&mut self, text: &str, out: &mut Vec<Outgoing>) {
        let asked = match Incoming::parse(text) {
            Ok(asked) => asked,
            Err((number, fault)) => return out.push(wire::error(number, &fault)),
        };
        let number = asked.number();
        if let Err(fault) = self.answer(asked, out) {
            out.push(wire::error(number, &fault));
        }
    }

    fn answer(&mut self, asked: Asked, out: &mut Vec<Outgoing>) -> Result<(), Fault> {
        match asked {
            Asked::Ping(value) => out.push(wire::pong(value.get())),
            Asked::Auth => {
                return Err(Fault::new("no_auth", "this server has no [auth] configured"));
            }
            Asked::Subscribe { channel, number, filter, from, tick } => {
                let request = self.request(&channel, number, filter.as_deref(), from, tick)?;
                self.subscribe(number, channel.into(), request, out)?;
            }
            Asked::Unsubscribe(number) => {
                let seat = self.seat(number)?;
                self.entries[seat] = None;
                out.push(wire::unsubscribed(number));
            }
            Asked::Filter { number, filter } => self.refilter(number, filter.as_deref(), out)?,
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
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Fault> {
        let seat = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        let now = Instant::now();
        let deadline = now + request.patience();
        let state = match request.attempt(self.seat_of(seat), false)? {
            Tried::Ready(subscription) => State::Subscribed(subscription),
            Tried::NotYet => State::Waiting(Box::new(request), deadline),
        };
        let mut entry = Entry { number, channel, state, told: now };
        entry.greet(out);
        if seat == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[seat] = Some(entry);
        self.news.add(seat);
        Ok(())
    }

    fn refilter(&mut self, number: i64, filter: Option<&str>, out: &mut Vec<Outgoing>) -> Result<(), Fault> {
        let seat = self.seat(number)?;
        let Some(entry) = &mut self.entries[seat] else { return Err(unknown(number)) };
        let State::Subscribed(subscription) = &mut entry.state else {
            return Err(Fault::new("not_ready", format!("subscription {number} has not begun yet")));
        };
        let bound = self.gateway.limits.outbox_max_bytes;
        let mut sent_bytes = 0;
        while sent_bytes < bound && !subscription.in_snapshot() {
            let Some(message) = subscription.next_message_now() else { break };
            let message = wire::message(number, message);
            sent_bytes += message.len_bytes();
            out.push(message);
        }
        let (members, at) = subscription.refilter(filter)?;
        out.push(wire::filtered(number, members, at));
        entry.told = Instant::now();
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
            let seat_of = self.seat_of(seat);
            let Some(entry) = &mut self.entries[seat] else { continue };
            if let Err(fault) = entry.retry(seat_of, now, out) {
                out.push(wire::error(Some(entry.number), &fault));
                self.entries[seat] = None;
                continue;
            }
            let State::Subscribed(subscription) = &mut entry.state else { continue };
            while let Some(message) = subscription.next_message() {
                if let Message::End(fault) = message {
                    if fault.code == "slow" {
                        return Verdict::Close(fault);
                    }
                    out.push(wire::error(Some(entry.number), &fault));
                    self.entries[seat] = None;
                    break;
                }
                entry.told = now;
                let message = wire::message(entry.number, message);
                bytes += message.len_bytes();
                out.push(message);
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
        let mut next = now + POSITION_EVERY;
        for (seat, slot) in self.entries.iter_mut().enumerate() {
            let Some(entry) = slot else { continue };
            match &mut entry.state {
                State::Waiting(_, deadline) => {
                    if *deadline <= now {
                        self.news.add(seat);
                    } else {
                        next = next.min(*deadline);
                    }
                }
                State::Subscribed(subscription) => {
                    if entry.told + POSITION_EVERY <= now {
                        entry.told = now;
                        if let Some(at) = subscription.position() {
                            out.push(wire::position(entry.number, &at));
                        }
                    }
                    next = next.min(entry.told + POSITION_EVERY);
                }
            }
        }
        next
    }

    /// Returns when [`Self::on_time`] has something to do; `None` while there are no subscriptions.
    pub fn wakes_at(&self) -> Option<Instant> {
        let when = self.entries.iter().flatten().map(|entry| match &entry.state {
            State::Waiting(_, deadline) => *deadline,
            State::Subscribed(_) => entry.told + POSITION_EVERY,
        });
        when.min()
    }
}

impl Entry {
    /// Tries again to subscribe.
    fn retry(&mut self, seat: Seat, now: Instant, out: &mut Vec<Outgoing>) -> Result<(), Fault> {
        let State::Waiting(request, deadline) = &self.state else { return Ok(()) };
        if let Tried::Ready(subscription) = request.attempt(seat, *deadline <= now)? {
            self.state = State::Subscribed(subscription);
            self.greet(out);
        }
        Ok(())
    }

    /// Answers a subscribe that has begun, with the first piece of its snapshot.
    fn greet(&mut self, out: &mut Vec<Outgoing>) {
        let State::Subscribed(subscription) = &mut self.state else { return };
        let first = if subscription.in_snapshot() { subscription.next_message() } else { None };
        out.push(wire::subscribed(self.number, &self.channel, subscription, first));
        self.told = Instant::now();
    }
}

fn unknown(number: i64) -> Fault {
    Fault::new("unknown_as", format!("there is no subscription {number}"))
}
