//! Recovery: a session that a client takes up again, on any node, with the token that came with the last event it heard.
//!
//! ```text
//! 42["windrow:offset",""]      what follows changes what is held: from here on there is nothing to take up
//! 437[{"ok":true,"as":1,…}]    the answer
//! 42["windrow:offset","…"]     from here on there is
//! 42["likes",{…},"…"]          every event has its token as the last argument
//! ```
//!
//! **In** a token. **Out** the same subscriptions, each exactly where it was; or none of them.
//! **Invariant:** a client that heard a token heard everything up to it; one that was cut off around an answer begins anew, rather than
//! believe in a subscription that nobody holds. **Not here:** the bytes of a token (`token`).

use std::sync::Arc;

use super::{
    Outgoing, Session,
    entry::{Entry, State, Waiting},
    token::{self, Held, TOKEN_MAX_BYTES, Taken},
    voice::Voice,
};
use crate::{
    dialect::Gateway,
    hub::{Bell, Fault, StartFrom, Tried},
};
use tokio::time::Instant;
use windrow_core::hub::Tick;

/// Who a client is to us when it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it shows us.
    pub pid: Box<str>,
    /// Its name.
    pub sid: Box<str>,
}

/// What a subscription was asked with, for the token.
#[derive(Debug)]
pub(super) struct Asked {
    filter: Option<Box<str>>,
    tick: Tick,
}

impl Session {
    /// Begins a session that can be taken up again.
    pub fn recoverable(gateway: Gateway, bell: Arc<Bell>, voice: Voice, identity: Identity) -> Self {
        Self { recovery: Some(Box::new(identity)), ..Self::new(gateway, bell, voice) }
    }

    /// Takes up the session of a token; `None` when it cannot be. It has begun when [`Self::is_recovered`] says so.
    pub fn recover(gateway: Gateway, bell: Arc<Bell>, voice: Voice, pid: &str, token: &str) -> Option<Self> {
        let (sid, taken) = token::read(pid, token)?;
        let identity = Identity { pid: pid.into(), sid: sid.into() };
        let mut session = Self::recoverable(gateway, bell, voice, identity);
        for taken in taken {
            session.take_up(taken).ok()?;
        }
        Some(session)
    }

    fn take_up(&mut self, taken: Taken) -> Result<(), Fault> {
        let Taken { number, tick, channel, filter, at } = taken;
        let from = StartFrom::Position(Box::new(at));
        let request = self.request(&channel, number, filter.as_deref(), from, tick)?;
        let deadline = Instant::now() + request.patience();
        let kept = self.keep(filter.as_deref(), tick);
        let state = State::Waiting(Box::new(Waiting { request, deadline, ack: None }));
        self.news.add(self.entries.len());
        self.entries.push(Some(Entry { number, channel: channel.into(), state, told: Instant::now(), kept }));
        Ok(())
    }

    /// Tells whether every subscription goes on where it was; `None` while that is not known.
    pub fn is_recovered(&mut self, give_up: bool) -> Option<bool> {
        let mut is_known = true;
        for seat in 0..self.entries.len() {
            let seat_of = self.seat_of(seat);
            let Some(Entry { state, .. }) = &mut self.entries[seat] else { continue };
            let State::Waiting(waiting) = &*state else { continue };
            match waiting.request.attempt(seat_of, give_up) {
                Ok(Tried::Ready(subscription)) if subscription.recovered => {
                    *state = State::Subscribed(subscription);
                }
                Ok(Tried::Ready(_)) | Err(_) => return Some(false),
                Ok(Tried::NotYet) => is_known = false,
            }
        }
        is_known.then_some(true)
    }

    /// Returns who the client is, where it can come back.
    pub fn identity(&self) -> Option<&Identity> {
        self.recovery.as_deref()
    }

    /// Returns what has to be remembered of a request.
    pub(super) fn keep(&self, filter: Option<&str>, tick: Tick) -> Option<Box<Asked>> {
        self.recovery.as_ref().map(|_| Box::new(Asked { filter: filter.map(Into::into), tick }))
    }

    /// Writes the token of the session as it was told so far; empty when it cannot be taken up from here.
    fn token(&self, identity: &Identity) -> String {
        let mut at = Vec::new();
        for entry in self.entries.iter().flatten() {
            // A subscribe that was not answered is none.
            let State::Subscribed(subscription) = &entry.state else { continue };
            let (Some(told), Some(kept), false) =
                (subscription.at(), &entry.kept, subscription.in_snapshot())
            else {
                return String::new();
            };
            at.push((entry, kept, told));
            if at.len() > TOKEN_MAX_BYTES {
                return String::new();
            }
        }
        let held = at.iter().filter_map(|(entry, kept, told)| {
            let at = std::str::from_utf8(told).ok()?;
            let (filter, channel) = (kept.filter.as_deref(), &*entry.channel);
            Some(Held { number: entry.number, tick: kept.tick, channel, filter, at })
        });
        token::write(&identity.pid, &identity.sid, held).unwrap_or_default()
    }

    /// Puts the token into the event that was said last.
    pub(super) fn seal(&self, out: &mut [Outgoing]) {
        let (Some(identity), Some(last)) = (&self.recovery, out.last_mut()) else { return };
        self.voice.add_argument(&self.token(identity), last);
    }

    /// Puts an answer that changed what is held between two tokens, so that a cut on either side of it does no harm.
    pub(super) fn seal_answer(&self, from: usize, out: &mut Vec<Outgoing>) {
        let Some(identity) = &self.recovery else { return };
        if out.len() > from {
            out.insert(from, self.voice.offset(""));
            out.push(self.voice.offset(&self.token(identity)));
        }
    }
}

impl Entry {
    /// Notes another filter.
    pub(super) fn refiltered(&mut self, filter: Option<&str>) {
        if let Some(kept) = &mut self.kept {
            kept.filter = filter.map(Into::into);
        }
    }
}
