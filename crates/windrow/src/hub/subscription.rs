//! Subscriptions: one client's watch of one channel, pulled by its session whenever its socket takes more.
//!
//! **In** a request. **Out** messages, one at a time: pieces of a snapshot, then rows, in every dialect the same.
//! **Invariant:** snapshot, then live, no gap, no double. A client that does not read makes nobody hold more than the message
//! it was about to get; past the outbox bound a client of a table begins anew, one of a sequence drops or ends.
//! **Before** this file: `request`.
//! **Not here:** framing and sockets (the dialects), limits per connection (`session`).

use std::sync::Arc;

use bytes::Bytes;
use windrow_core::{
    hub::{Lapse, Pulled, Resumed, STEP_MAX_BYTES, SnapshotCursor, Watch},
    position::Position,
};

use super::{
    Fault, Source,
    bell::Seat,
    room::{Phase, Room, State},
};

/// One message to a client, without its head and tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A piece of a snapshot: a JSON array.
    Snapshot {
        /// The rows.
        rows: Bytes,
        /// Whether another piece follows; the last one alone has a position.
        more: bool,
        /// Whether it is the first piece.
        first: bool,
        /// Whether it is the first piece of a snapshot that replaces all the client has.
        reset: bool,
        /// Why the client's position was not taken up, or no longer holds; on the first piece alone.
        why: Option<Lapse>,
        /// Position.
        at: Option<Bytes>,
    },
    /// `"rows":[…],"gone":[…],"retired":ms`.
    Rows {
        /// The members.
        members: Bytes,
        /// Position; of the message before when this one is a part.
        at: Option<Bytes>,
    },
    /// Rows that the client will not get.
    Dropped {
        /// How many.
        count: u64,
        /// Position after them.
        at: Option<Bytes>,
    },
    /// Nothing left but to disconnect or to say why.
    End(Fault),
}

/// One client's subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(super) room: Arc<Room>,
    pub(super) watch: Watch,
    pub(super) seat: Seat,
    pub(super) place: u32,
    /// Whether a position was taken up again.
    pub recovered: bool,
    /// Why it was not.
    pub lapse: Option<Lapse>,
    pub(super) snapshot: Option<Box<Reading>>,
    /// What the client missed is read from the log again, from this position on.
    pub(super) catching_up: Option<Box<Position>>,
    /// Whose turn it is of the partitions that are read again.
    pub(super) turn: usize,
    /// Fell behind past the outbox bound while its socket took nothing.
    pub(super) overrun: bool,
    /// The last position told.
    pub(super) at: Option<Bytes>,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) cursor: SnapshotCursor,
    /// Replaces what the client has.
    pub(super) reset: bool,
    /// The first piece was taken.
    pub(super) begun: bool,
    pub(super) why: Option<Lapse>,
    pub(super) at: Option<Bytes>,
}

/// How far a subscription is that reads the log again.
enum CaughtUp {
    /// The channel's own changes go on from here.
    Yes,
    /// It waits for the log.
    NotYet,
    Told(Message),
}

/// A piece of a snapshot for a caller that wants only so many rows.
pub(super) struct LimitedPiece {
    pub(super) rows: Bytes,
    pub(super) count: usize,
    pub(super) more: bool,
    pub(super) at: Option<Bytes>,
}

impl Subscription {
    /// Returns the last position told.
    pub fn at(&self) -> Option<Bytes> {
        self.at.clone()
    }

    /// Tells whether a snapshot is still being sent.
    pub fn in_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Returns the names of the key columns.
    pub fn key_names(&self) -> &[Arc<str>] {
        &self.room.spec.key_names
    }

    /// Takes the next message, or `None` when the client has everything up to its tick.
    ///
    /// - **Cost:** holds the channel for one step or one piece.
    pub fn next_message(&mut self) -> Option<Message> {
        self.take(false)
    }

    /// Takes the next message up to the last commit, whatever the tick.
    pub fn next_message_now(&mut self) -> Option<Message> {
        self.take(true)
    }

    fn take(&mut self, now: bool) -> Option<Message> {
        let room = self.room.clone();
        let mut state = room.lock();
        match &state.phase {
            Phase::Refused(fault) => return Some(Message::End(fault.clone())),
            // The channel begins anew: it rings when there is something to tell.
            Phase::Warming => return None,
            Phase::Live => {}
        }
        let overrun = std::mem::take(&mut self.overrun);
        if let Some(message) = if overrun { self.behind(&mut state) } else { None } {
            return Some(message);
        }
        loop {
            if let Some(reading) = &mut self.snapshot {
                let piece =
                    state.channel.piece(&self.watch, &mut reading.cursor, PIECE_MAX_BYTES, usize::MAX);
                match piece {
                    Ok(piece) if piece.more && piece.count == 0 => {
                        // Nothing matched for a long stretch: let others have the channel, and come back.
                        self.seat.ring();
                        return None;
                    }
                    Ok(piece) => return Some(self.piece(piece.rows, piece.more)),
                    Err(_) => {
                        let why = reading.why;
                        self.reset(&mut state, why);
                    }
                }
                continue;
            }
            match self.catch_up(&mut state) {
                CaughtUp::Yes => {}
                CaughtUp::NotYet => return None,
                CaughtUp::Told(message) => return Some(message),
            }
            let pulled = match now {
                true => state.channel.pull_now(&mut self.watch),
                false => state.channel.pull(&mut self.watch),
            };
            match pulled {
                Pulled::Nothing => return None,
                Pulled::Step(step, at) => {
                    self.room.counters.conflated.add(step.conflated as u64);
                    if at.is_some() {
                        self.at = at;
                    } else if !step.members.is_empty() {
                        self.begin_part();
                    }
                    if !step.members.is_empty() {
                        return Some(Message::Rows { members: step.members.clone(), at: self.at.clone() });
                    }
                    if self.watch.is_resuming() {
                        // Nothing matched for a long stretch: let others have the channel, and come back.
                        self.seat.ring();
                        return None;
                    }
                }
                Pulled::Restarted => {
                    let why = state.restarted;
                    self.reset(&mut state, Some(why));
                    if let Some((cursor, position)) = state.channel.begin_anew(&mut self.watch) {
                        let at = position.encode().map(Bytes::from);
                        let why = Some(why);
                        self.snapshot =
                            Some(Box::new(Reading { cursor, reset: true, begun: false, why, at }));
                        self.catching_up = Some(Box::new(position));
                    }
                }
                Pulled::Lost => {
                    if self.go_back() {
                        continue;
                    }
                    if let Some(message) = self.behind(&mut state) {
                        return Some(message);
                    }
                }
            }
        }
    }

    /// Where the ring has passed a client that may not miss anything, goes back to the log for it, if there is one.
    fn go_back(&mut self) -> bool {
        let spec = &self.room.spec;
        if self.room.is_table() || spec.may_drop || matches!(spec.source, Source::Local) {
            return false;
        }
        self.catching_up = self.told_up_to();
        self.catching_up.is_some()
    }

    /// Says in the position of a table that a part of what follows it was told.
    fn begin_part(&mut self) {
        let Some(mut position) = self.told_up_to().filter(|_| self.room.is_table()) else { return };
        if !std::mem::replace(&mut position.is_begun, true) {
            self.at = position.encode().map(Bytes::from);
        }
    }

    fn told_up_to(&self) -> Option<Box<Position>> {
        let at = self.at.as_deref().and_then(|at| std::str::from_utf8(at).ok());
        at.and_then(|at| Position::decode(at).ok()).map(Box::new)
    }

    /// Tells the next part of what is read from the log again, until the ring takes over.
    fn catch_up(&mut self, state: &mut State) -> CaughtUp {
        if !state.channel.is_of_this_life(&self.watch) {
            // The position is of what the channel was before.
            self.catching_up = None;
        }
        let Some(position) = &mut self.catching_up else { return CaughtUp::Yes };
        // A topic that left meanwhile has nothing more to tell.
        state.channel.forget_unknown(position);
        let lapse = match state.channel.resume(&mut self.watch, position) {
            Resumed::Yes => {
                self.catching_up = None;
                return CaughtUp::Yes;
            }
            Resumed::Log(places) => {
                let place = places[self.turn % places.len()];
                let Some(chunk) = self.room.history.chunk(place, &self.seat) else { return CaughtUp::NotYet };
                self.turn += 1;
                if !chunk.is_gap {
                    let next = (place.0, chunk.next);
                    let told = state.channel.replay(&self.watch, position, next, &chunk.rows);
                    self.at = told.at.or(self.at.take());
                    if told.members.is_empty() {
                        self.seat.ring();
                        return CaughtUp::NotYet;
                    }
                    return CaughtUp::Told(Message::Rows { members: told.members, at: self.at.clone() });
                }
                Lapse::History
            }
            Resumed::Ahead(_) => {
                // The chunk was read before the channel's own reader came there.
                state.wait(&self.seat);
                return CaughtUp::NotYet;
            }
            // The channel began anew, or its topic lost what was to be read.
            Resumed::No(lapse) => lapse,
        };
        self.reset(state, Some(lapse));
        CaughtUp::NotYet
    }

    /// Reads a piece of at most so many rows; `None` = nothing matched for a long stretch, come again.
    pub(super) fn piece_of(&mut self, rows_max: usize) -> Option<Result<LimitedPiece, Fault>> {
        let Some(reading) = &mut self.snapshot else {
            let rows = Bytes::from_static(b"[]");
            return Some(Ok(LimitedPiece { rows, count: 0, more: false, at: None }));
        };
        let at = reading.at.clone();
        let piece =
            self.room.lock().channel.piece(&self.watch, &mut reading.cursor, PIECE_MAX_BYTES, rows_max);
        match piece {
            Ok(piece) if piece.more && piece.count == 0 && rows_max > 0 => None,
            Ok(piece) => {
                Some(Ok(LimitedPiece { rows: piece.rows, count: piece.count, more: piece.more, at }))
            }
            Err(_) => Some(Err(Fault::new(
                "overloaded",
                "the channel changed too fast for this snapshot, try again",
            ))),
        }
    }

    fn piece(&mut self, rows: Bytes, more: bool) -> Message {
        let Some(reading) = &mut self.snapshot else {
            return Message::Snapshot {
                rows,
                more,
                first: true,
                reset: false,
                why: None,
                at: self.at.clone(),
            };
        };
        let (first, reset) = (!reading.begun, reading.reset && !reading.begun);
        reading.begun = true;
        let why = if first { reading.why } else { None };
        if !more {
            self.at = reading.at.take();
            self.snapshot = None;
        }
        Message::Snapshot { rows, more, first, reset, why, at: if more { None } else { self.at.clone() } }
    }

    /// What a client gets that fell too far behind: a snapshot (then `None`: go on), a count, or the end.
    fn behind(&mut self, state: &mut State) -> Option<Message> {
        if self.room.is_table() {
            self.reset(state, None);
            return None;
        }
        if !self.room.spec.may_drop {
            let message = format!("channel {}: more than the outbox bound was waiting", self.room.spec.name);
            return Some(Message::End(Fault::new("slow", message)));
        }
        let (count, at) = state.channel.skip(&mut self.watch);
        self.room.counters.dropped.add(count);
        self.at = at;
        Some(Message::Dropped { count, at: self.at.clone() })
    }

    fn reset(&mut self, state: &mut State, why: Option<Lapse>) {
        self.room.counters.resets.add(1);
        self.catching_up = None;
        if self.watch.is_each() {
            let (missed, _) = state.channel.skip(&mut self.watch);
            self.room.counters.dropped.add(missed);
            tracing::warn!(channel = %self.room.spec.name, missed, "a client fell behind and begins anew");
        }
        let (cursor, at) = state.channel.snapshot(&mut self.watch);
        self.snapshot = Some(Box::new(Reading { cursor, reset: true, begun: false, why, at }));
        self.seat.ring();
    }

    /// Tells whether more waits for the client than its outbox bound.
    pub fn is_past_bound(&self) -> bool {
        // What is read again waits in the log.
        if self.catching_up.is_some() {
            return false;
        }
        self.room.lock().channel.waiting_bytes(&self.watch) > self.room.outbox_max_bytes
    }

    /// Gives up on what waits: the next message begins anew. Returns the reason when the client must go instead.
    pub fn overrun(&mut self) -> Option<Fault> {
        self.overrun = true;
        self.room.counters.overruns.add(1);
        let ends = !self.room.is_table() && !self.room.spec.may_drop;
        ends.then(|| {
            let (name, bound) = (&self.room.spec.name, self.room.outbox_max_bytes);
            Fault::new(
                "slow",
                format!("channel {name}: more than {bound} bytes were waiting for this client"),
            )
        })
    }

    /// Returns the position when nothing waits, for clients that heard nothing for long.
    pub fn position(&mut self) -> Option<Bytes> {
        if self.snapshot.is_some() || self.catching_up.is_some() {
            return None;
        }
        let at = self.room.lock().channel.idle_position(&mut self.watch)?;
        self.at = Some(at.clone());
        Some(at)
    }

    /// Changes the filter in place. Call [`Self::next_message_now`] until it gives nothing before, so that nothing is mixed up.
    ///
    /// - **Shape:** the members of the answer, or `None` when a reset with a snapshot follows instead.
    pub fn refilter(&mut self, filter: Option<&str>) -> Result<(Option<Bytes>, Option<Bytes>), Fault> {
        let rule = self.room.compile(filter)?;
        let room = self.room.clone();
        let mut state = room.lock();
        if !matches!(state.phase, Phase::Live) {
            let rule = format!("channel {} is being read anew", room.spec.name);
            return Err(Fault::new("not_ready", rule));
        }
        if !room.is_table() && self.snapshot.is_none() && !state.channel.is_up_to_date(&self.watch) {
            // What waits is told from here on, as the new filter has it.
            let Some(position) = self.catching_up.take().or_else(|| self.told_up_to()) else {
                let rule =
                    format!("more waits for this client of channel {} than one answer takes", room.spec.name);
                return Err(Fault::new("not_ready", rule));
            };
            self.catching_up = Some(position);
        }
        let before = self.watch.filter;
        let told = match state.channel.refilter(&mut self.watch, rule) {
            Ok(told) => told,
            Err(e) => return Err(Fault::new("too_many_filters", e.to_string())),
        };
        state.stand_up(before, self.place);
        self.place = state.sit(&self.watch, self.seat.clone());
        if self.snapshot.is_some() || (told.members.is_none() && room.is_table()) {
            self.reset(&mut state, None);
            return Ok((None, None));
        }
        if let Some(position) = &mut self.catching_up {
            self.at = state.channel.requestion(&self.watch, position);
            return Ok((told.members, self.at.clone()));
        }
        self.at = told.at;
        Ok((told.members, self.at.clone()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.stand_up(self.watch.filter, self.place);
        state.channel.unwatch(&self.watch);
    }
}

/// Bytes of one piece of a snapshot: with its head (names of the channel and its key) and its tail (a position of at most
/// 1 KiB) a message stays within 256 KiB.
const PIECE_MAX_BYTES: usize = STEP_MAX_BYTES - (4 << 10);
