//! Requests: what a client asked a channel for, tried until it can be answered.
//!
//! **In** a channel, a filter, where to begin. **Out** a [`Subscription`], or word that it is too early.
//! **Before** this file: sessions. **After** it: `subscription`.
//!
//! **Invariant:** a position is taken up exactly, or the client is told why not; it never gets rows older than it has. **Not here:**
//! what follows (`subscription`), what the channel holds (`windrow_core::hub`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use windrow_core::{
    hub::{Lapse, Named, Resumed, Rule, Tick, Watch},
    position::Position,
};

use super::{
    Fault, READY_WAIT, Source,
    bell::Seat,
    room::{Phase, Room, State},
    subscription::{Reading, Subscription},
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
    /// Whether every state of a row is told.
    each: bool,
    made: Instant,
}

/// Whether a position is taken up.
enum TakenUp {
    /// From what this node holds.
    Here,
    /// By reading the log again.
    FromLog,
    No(Lapse),
    /// Not known yet: the seat is rung.
    NotYet,
}

/// What became of a request.
#[derive(Debug)]
pub enum Tried {
    /// Subscribed.
    Ready(Box<Subscription>),
    /// Not yet: the seat's bell rings when it is worth trying again.
    NotYet,
}

impl Request {
    pub(super) fn new(room: Arc<Room>, rule: Option<Arc<dyn Rule>>, from: StartFrom, tick: Tick) -> Self {
        Self { room, rule, from, tick, each: false, made: Instant::now() }
    }

    /// Asks for every state of a table's rows after its snapshot, in the order of the channel; see [`Watch::each`].
    ///
    /// - **Limits:** a client that the ring has passed is told the table anew; what it missed is counted as dropped.
    pub fn each(self) -> Self {
        Self { each: true, ..self }
    }

    /// Returns how long it is worth trying.
    pub fn patience(&self) -> Duration {
        READY_WAIT
    }

    /// Tries to subscribe; the seat's bell is rung whenever there is news.
    ///
    /// - **Errors:** with `give_up`, `not_ready` for what is still waited for: rows older than what the client has would be wrong.
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
                state.wait(&seat);
                return Ok(Tried::NotYet);
            }
            Phase::Live => {}
        }
        let mut watch = watch(&mut state, self.rule.clone(), self.tick)?;
        if self.each {
            watch = watch.each();
        }
        let (mut recovered, mut snapshot, mut catching_up, mut at, mut why) = (false, None, None, None, None);
        let counters = &self.room.counters;
        match &self.from {
            StartFrom::Now => at = state.channel.idle_position(&mut watch),
            StartFrom::Snapshot => {}
            StartFrom::Position(position) => {
                let mut position = position.clone();
                let taken_up = self.take_up(&mut state, &mut watch, &mut position, &seat);
                match taken_up {
                    TakenUp::NotYet => {
                        state.channel.unwatch(&watch);
                        if give_up {
                            let name = &self.room.spec.name;
                            let rule = format!("channel {name} has not been read up to this position yet");
                            return Err(Fault::new("not_ready", rule));
                        }
                        return Ok(Tried::NotYet);
                    }
                    TakenUp::No(lapse) => {
                        counters.unrecovered(lapse);
                        why = Some(lapse);
                    }
                    TakenUp::Here | TakenUp::FromLog => {
                        counters.recovered.add(1);
                        recovered = true;
                        at = position.encode().map(Bytes::from);
                        catching_up = matches!(taken_up, TakenUp::FromLog).then_some(position);
                    }
                }
            }
        }
        if !recovered && self.from != StartFrom::Now {
            let (cursor, at) = state.channel.snapshot(&mut watch);
            snapshot = Some(Box::new(Reading { cursor, reset: false, begun: false, why, at }));
        }
        let place = state.sit(&watch, seat.clone());
        drop(state);
        Ok(Tried::Ready(Box::new(Subscription {
            room: self.room.clone(),
            watch,
            seat,
            place,
            recovered,
            lapse: why,
            snapshot,
            catching_up,
            turn: 0,
            overrun: false,
            at,
        })))
    }

    fn take_up(&self, state: &mut State, watch: &mut Watch, position: &mut Position, seat: &Seat) -> TakenUp {
        let (ahead, missing) = match state.channel.resume(watch, position) {
            Resumed::Yes => return TakenUp::Here,
            Resumed::No(why) => return TakenUp::No(why),
            Resumed::Log(places) => (Vec::new(), places),
            Resumed::Ahead(places) => (places, Vec::new()),
        };
        if matches!(self.room.spec.source, Source::Local) {
            return TakenUp::No(Lapse::Ahead);
        }
        let Some(ends) = self.room.history.ends(self.made, seat) else { return TakenUp::NotYet };
        if ahead.is_empty() {
            let of = |place: i32| state.channel.named(place).and_then(|named| ends.get(&named));
            let is_held = |(place, o): &(i32, i64)| of(*place).is_some_and(|ends| *o >= ends.earliest);
            return if missing.iter().all(is_held) { TakenUp::FromLog } else { TakenUp::No(Lapse::History) };
        }
        // What is nowhere any more: not in the log, and not in the channel, which looks less often.
        let is_gone = |epoch: u64| {
            !state.channel.has_topic(epoch) && ends.range((epoch, 0)..=(epoch, i32::MAX)).next().is_none()
        };
        if state.channel.has_topics() && ahead.iter().any(|((epoch, _), _)| is_gone(*epoch)) {
            position.topics.retain(|topic| !is_gone(topic.epoch));
            if self.room.is_table() || position.topics.is_empty() {
                return TakenUp::No(Lapse::Epoch);
            }
            return self.take_up(state, watch, position, seat);
        }
        // What other nodes have read is below the log's end, unless that was cut off.
        let is_beyond =
            |(named, o): &(Named, i64)| ends.get(named).is_none_or(|ends| *o > ends.high_watermark);
        if ahead.iter().any(is_beyond) {
            return TakenUp::No(Lapse::Ahead);
        }
        state.wait(seat);
        TakenUp::NotYet
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
