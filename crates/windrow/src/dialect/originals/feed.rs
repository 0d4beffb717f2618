//! Feed: one channel as an original's client sees it: rows that match a filter, which may change at any time.
//!
//! **In** a channel, filters. **Out** rows, pulled: those that match, or begin to, then their changes; or, where a client wants no past,
//! changes alone.
//! **Invariant:** a channel that is not there yet is waited for, for ever, and told when it is; rows that leave are told to nobody. A client
//! that takes nothing begins anew past the outbox bound, or ends.
//! **Not here:** what a row is told as (the originals).

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use windrow_core::{
    hub::{Lapse, Tick},
    position::Position,
};

use crate::{
    hub::{Fault, Hub, Message, Request, Seat, StartFrom, Subscription, Tried},
    session::{BEHIND_MAX, Verdict},
};

/// What stands before the rows in the members of a message.
const ROWS: &[u8] = b"\"rows\":";

/// One channel, watched.
pub(super) struct Feed {
    hub: Hub,
    channel: Arc<str>,
    seat: Seat,
    state: State,
    /// What matches already is not told.
    is_live_only: bool,
    /// What came after it is told first.
    after: Option<Box<Position>>,
    /// Every state of a row is told, not only the newest.
    is_each: bool,
    /// How often.
    tick: Tick,
    /// Since when more waits than the outbox bound.
    behind_since: Option<Instant>,
}

enum State {
    /// Nothing is asked for.
    Off,
    /// The channel is still being read.
    Waiting(Box<Request>),
    On(Box<Subscription>),
}

/// Rows to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    /// Begins with a JSON array of rows; what follows it does not matter.
    pub(super) json: Bytes,
    /// They match newly, so the client may get several states of one thing of which only the last is news.
    pub(super) are_new: bool,
    /// Position after them, where the channel has positions.
    pub(super) at: Option<Bytes>,
    /// Why the client may have missed some before them.
    pub(super) lapse: Option<Lapse>,
}

impl Feed {
    /// Makes a feed that asks for nothing.
    pub(super) fn new(hub: Hub, channel: Arc<str>, seat: Seat) -> Self {
        Self {
            hub,
            channel,
            seat,
            state: State::Off,
            is_live_only: false,
            after: None,
            is_each: false,
            tick: Tick::Now,
            behind_since: None,
        }
    }

    /// Tells nothing but what changes from now on.
    pub(super) fn live_only(self) -> Self {
        Self { is_live_only: true, ..self }
    }

    /// Begins after that position, where there is one.
    pub(super) fn after(self, position: Option<Box<Position>>) -> Self {
        Self { after: position, ..self }
    }

    /// Returns the position when nothing waits.
    pub(super) fn position(&mut self) -> Option<Bytes> {
        let State::On(subscription) = &mut self.state else { return None };
        subscription.position()
    }

    /// Tells every state of a table's row that comes, in order, as of a stream without a table.
    pub(super) fn each(self) -> Self {
        Self { is_each: true, ..self }
    }

    /// Tells what came since at every tick.
    pub(super) fn every(self, tick: Tick) -> Self {
        Self { tick, ..self }
    }

    /// Asks for nothing any more.
    pub(super) fn stop(&mut self) {
        self.state = State::Off;
    }

    /// Asks for the rows that match. What waited for the former filter is told first, then what matches newly; [`Self::next`] may have
    /// more.
    ///
    /// - **Limits:** about `bytes_max` are told; past that all that match come anew.
    pub(super) fn watch(
        &mut self,
        filter: Option<&str>,
        bytes_max: usize,
        mut tell: impl FnMut(Rows),
    ) -> Result<(), Fault> {
        if let State::On(subscription) = &mut self.state {
            let mut bytes = 0;
            while bytes < bytes_max && !subscription.in_snapshot() {
                let Some(message) = subscription.next_message_now() else { break };
                let Some(rows) = rows_of(message, self.is_live_only)? else { continue };
                bytes += rows.json.len();
                tell(rows);
            }
            match subscription.refilter(filter) {
                Ok((members, at)) => {
                    let members = members.filter(|_| !self.is_live_only);
                    members.and_then(|members| of_members(&members, true, at)).into_iter().for_each(tell);
                    return Ok(());
                }
                // It is asked for anew below.
                Err(fault) if fault.code == "not_ready" => {}
                Err(fault) => return Err(fault),
            }
        }
        let from = match self.after.take() {
            Some(position) => StartFrom::Position(position),
            None if self.is_live_only => StartFrom::Now,
            None => StartFrom::Snapshot,
        };
        let request = self.hub.request(&self.channel, filter, from, self.tick)?;
        let request = if self.is_each { request.each() } else { request };
        // Its place is free again before another is taken.
        self.state = State::Off;
        self.state = State::Waiting(Box::new(request));
        self.begin()
    }

    /// Begins as soon as the channel is there: what matches now is told, then what comes.
    fn begin(&mut self) -> Result<(), Fault> {
        if let State::Waiting(request) = &self.state
            && let Tried::Ready(subscription) = request.attempt(self.seat.clone(), false)?
        {
            self.state = State::On(subscription);
        }
        Ok(())
    }

    /// Takes the next rows; `None`: the bell will ring.
    pub(super) fn next(&mut self) -> Result<Option<Rows>, Fault> {
        self.begin()?;
        let State::On(subscription) = &mut self.state else { return Ok(None) };
        while let Some(message) = subscription.next_message() {
            if let Some(rows) = rows_of(message, self.is_live_only)? {
                return Ok(Some(rows));
            }
        }
        self.behind_since = None;
        Ok(None)
    }

    /// Notes that the socket takes nothing while there is news: as in a session, who is past the outbox bound for [`BEHIND_MAX`] begins
    /// anew, or ends.
    pub(super) fn blocked(&mut self, now: Instant) -> Verdict {
        let State::On(subscription) = &mut self.state else { return Verdict::Fine };
        if !subscription.is_past_bound() {
            self.behind_since = None;
        } else if *self.behind_since.get_or_insert(now) + BEHIND_MAX <= now {
            self.behind_since = None;
            return subscription.overrun().map_or(Verdict::Fine, Verdict::Close);
        }
        Verdict::Fine
    }
}

fn rows_of(message: Message, is_live_only: bool) -> Result<Option<Rows>, Fault> {
    match message {
        // What there was already; but not where it replaces what the client fell behind.
        Message::Snapshot { reset: false, why: lapse, at, .. } if is_live_only => {
            Ok(Some(Rows { json: Bytes::from_static(b"[]"), are_new: true, at, lapse }))
        }
        Message::Snapshot { rows, why: lapse, at, .. } => {
            Ok(Some(Rows { json: rows, are_new: true, at, lapse }))
        }
        Message::Rows { members, at } => Ok(of_members(&members, false, at)),
        // The channel has counted them.
        Message::Dropped { .. } => Ok(None),
        Message::End(fault) => Err(fault),
    }
}

fn of_members(members: &Bytes, are_new: bool, at: Option<Bytes>) -> Option<Rows> {
    let rows = |json| Rows { json, are_new, at, lapse: None };
    members.starts_with(ROWS).then(|| rows(members.slice(ROWS.len()..)))
}
