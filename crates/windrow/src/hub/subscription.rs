//! Subscriptions: one client's watch of one channel, pulled by its session whenever its socket takes more.
//!
//! **In** a request. **Out** messages, one at a time: pieces of a snapshot, then rows, in every dialect the same.
//! **Invariant:** snapshot, then live, no gap, no double. A client that does not read makes nobody hold more than the message
//! it was about to get; past the outbox bound a client of a table begins anew, one of a sequence drops or ends.
//! **Not here:** framing and sockets (the dialects), limits per connection (`session`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use windrow_core::{
    hub::{Pulled, Resumed, Rule, STEP_MAX_BYTES, SnapshotCursor, Tick, Watch},
    position::Position,
};

use super::{
    Fault, POSITION_WAIT, READY_WAIT,
    bell::Seat,
    room::{Phase, Room, State},
};

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// All rows, then live.
    Snapshot,
    /// Live alone.
    Now,
    /// After what the client has.
    Position(Box<Position>),
}

impl StartFrom {
    /// Reads what a client said; nothing said is a snapshot.
    pub fn parse(text: Option<&str>) -> Result<Self, Fault> {
        match text {
            None | Some("snapshot") => Ok(StartFrom::Snapshot),
            Some("now") => Ok(StartFrom::Now),
            Some(text) => match Position::decode(text) {
                Ok(position) => Ok(StartFrom::Position(Box::new(position))),
                Err(e) => Err(Fault {
                    hint: Some("from is \"snapshot\", \"now\" or an \"at\" as it was received".to_owned()),
                    ..Fault::new("bad_position", e.to_string())
                }),
            },
        }
    }
}

/// What a client asked for, compiled.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) room: Arc<Room>,
    pub(super) rule: Option<Arc<dyn Rule>>,
    /// Where to begin.
    pub from: StartFrom,
    /// How often.
    pub tick: Tick,
}

/// What became of a request.
#[derive(Debug)]
pub enum Tried {
    /// Subscribed.
    Ready(Box<Subscription>),
    /// Not yet: the seat's bell rings when it is worth trying again.
    NotYet,
}

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
    room: Arc<Room>,
    watch: Watch,
    seat: Seat,
    place: u32,
    /// Whether a position was taken up again.
    pub recovered: bool,
    snapshot: Option<Box<Reading>>,
    /// Fell behind past the outbox bound while its socket took nothing.
    overrun: bool,
    /// The last position told.
    at: Option<Bytes>,
}

#[derive(Debug)]
struct Reading {
    cursor: SnapshotCursor,
    /// Replaces what the client has.
    reset: bool,
    /// The first piece was taken.
    begun: bool,
    at: Option<Bytes>,
}

/// A piece of a snapshot for a caller that wants only so many rows.
pub(super) struct LimitedPiece {
    pub(super) rows: Bytes,
    pub(super) count: usize,
    pub(super) more: bool,
    pub(super) at: Option<Bytes>,
}

impl Request {
    pub(super) fn new(room: Arc<Room>, rule: Option<Arc<dyn Rule>>, from: StartFrom, tick: Tick) -> Self {
        Self { room, rule, from, tick }
    }

    /// Returns how long it is worth trying.
    pub fn patience(&self) -> Duration {
        let is_live = matches!(self.room.lock().phase, Phase::Live);
        if is_live { POSITION_WAIT } else { READY_WAIT }
    }

    /// Tries to subscribe; the seat's bell is rung whenever there is news.
    ///
    /// - **Shape:** with `give_up`, a position that this node has not reached is not waited for any longer.
    pub fn attempt(&self, seat: Seat, give_up: bool) -> Result<Tried, Fault> {
        let mut state = self.room.lock();
        match &state.phase {
            Phase::Refused(fault) => return Err(fault.clone()),
            Phase::Warming if give_up => {
                let name = &self.room.spec.name;
                return Err(Fault::new("not_ready", format!("channel {name} is still being read")));
            }
            Phase::Warming => {
                self.room.wanted.notify_one();
                state.wait(seat);
                return Ok(Tried::NotYet);
            }
            Phase::Live => {}
        }
        let mut watch = watch(&mut state, self.rule.clone(), self.tick)?;
        let mut recovered = false;
        let mut snapshot = None;
        let mut at = None;
        let resumed = match &self.from {
            StartFrom::Position(position) => state.channel.resume(&mut watch, position),
            _ => Resumed::No,
        };
        match (&self.from, resumed) {
            (StartFrom::Position(_), Resumed::Ahead) if !give_up => {
                state.channel.unwatch(&watch);
                state.wait(seat);
                return Ok(Tried::NotYet);
            }
            (StartFrom::Position(position), Resumed::Yes) => {
                recovered = true;
                at = position.encode().map(Bytes::from);
            }
            (StartFrom::Now, _) => at = state.channel.idle_position(&mut watch),
            _ => {
                let (cursor, at) = state.channel.snapshot(&mut watch);
                snapshot = Some(Box::new(Reading { cursor, reset: false, begun: false, at }));
            }
        }
        let place = state.sit(&watch, seat.clone());
        drop(state);
        let room = self.room.clone();
        let overrun = false;
        Ok(Tried::Ready(Box::new(Subscription {
            room,
            watch,
            seat,
            place,
            recovered,
            snapshot,
            overrun,
            at,
        })))
    }

    /// Returns the names of the key columns.
    pub fn key_names(&self) -> &[Arc<str>] {
        &self.room.spec.key_names
    }
}

fn watch(state: &mut State, rule: Option<Arc<dyn Rule>>, tick: Tick) -> Result<Watch, Fault> {
    state.channel.watch(rule, tick).map_err(|e| Fault {
        hint: Some("a filter with an equality, like id = 'a', does not count".to_owned()),
        ..Fault::new("too_many_filters", e.to_string())
    })
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
        if let Phase::Refused(fault) = &state.phase {
            return Some(Message::End(fault.clone()));
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
                    Err(_) => self.reset(&mut state),
                }
                continue;
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
                    }
                    if !step.members.is_empty() {
                        return Some(Message::Rows { members: step.members.clone(), at: self.at.clone() });
                    }
                }
                Pulled::Lost => {
                    if let Some(message) = self.behind(&mut state) {
                        return Some(message);
                    }
                }
            }
        }
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
            return Message::Snapshot { rows, more, first: true, reset: false, at: self.at.clone() };
        };
        let (first, reset) = (!reading.begun, reading.reset && !reading.begun);
        reading.begun = true;
        if !more {
            self.at = reading.at.take();
            self.snapshot = None;
        }
        Message::Snapshot { rows, more, first, reset, at: if more { None } else { self.at.clone() } }
    }

    /// What a client gets that fell too far behind: a snapshot (then `None`: go on), a count, or the end.
    fn behind(&mut self, state: &mut State) -> Option<Message> {
        if self.room.is_table() {
            self.reset(state);
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

    fn reset(&mut self, state: &mut State) {
        self.room.counters.resets.add(1);
        let (cursor, at) = state.channel.snapshot(&mut self.watch);
        self.snapshot = Some(Box::new(Reading { cursor, reset: true, begun: false, at }));
    }

    /// Tells whether more waits for the client than its outbox bound.
    pub fn is_past_bound(&self) -> bool {
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
        if self.snapshot.is_some() {
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
        let before = self.watch.filter;
        let told = match state.channel.refilter(&mut self.watch, rule) {
            Ok(told) => told,
            Err(e) => return Err(Fault::new("too_many_filters", e.to_string())),
        };
        state.stand_up(before, self.place);
        self.place = state.sit(&self.watch, self.seat.clone());
        if self.snapshot.is_some() || (told.members.is_none() && room.is_table()) {
            self.reset(&mut state);
            return Ok((None, None));
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
