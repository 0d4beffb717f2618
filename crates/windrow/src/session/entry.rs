//! Entries: one subscription of a session, from its request to its end.
//!
//! **In** a channel that is read, or not yet. **Out** the answer to the subscribe, once, when there is one.
//! **Not here:** what follows (`session`), what a channel holds (`hub`).

use tokio::time::Instant;

use super::{Outgoing, recovery::Asked, voice::Voice, wire};
use crate::hub::{Fault, Request, Seat, Subscription, Tried};

/// One subscription of a session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: i64,
    pub(super) channel: Box<str>,
    pub(super) state: State,
    /// When something was last told.
    pub(super) told: Instant,
    /// What it was asked with, where that is needed again.
    pub(super) kept: Option<Box<Asked>>,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    /// The channel is still being read, or has not reached the client's position.
    Waiting(Box<Waiting>),
    Subscribed(Box<Subscription>),
}

/// A subscribe that cannot be answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) deadline: Instant,
    /// The message of the client that is still to be answered.
    pub(super) ack: Option<u64>,
}

impl Entry {
    /// Tries again to subscribe.
    pub(super) fn retry(
        &mut self,
        seat: Seat,
        now: Instant,
        voice: &Voice,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), (Option<u64>, Fault)> {
        let State::Waiting(waiting) = &self.state else { return Ok(()) };
        let (ack, is_late) = (waiting.ack, waiting.deadline <= now);
        if let Tried::Ready(subscription) =
            waiting.request.attempt(seat, is_late).map_err(|fault| (ack, fault))?
        {
            self.state = State::Subscribed(subscription);
            self.greet(voice, ack, out);
        }
        Ok(())
    }

    /// Answers a subscribe that has begun, with the first piece of its snapshot.
    pub(super) fn greet(&mut self, voice: &Voice, ack: Option<u64>, out: &mut Vec<Outgoing>) {
        let State::Subscribed(subscription) = &mut self.state else { return };
        let first = if subscription.in_snapshot() { subscription.next_message() } else { None };
        let answer = voice.answer(&self.channel, self.number, ack);
        out.push(wire::subscribed(answer, voice, &self.channel, subscription, first));
        self.told = Instant::now();
    }
}
