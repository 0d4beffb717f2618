//! Missed: what a watcher that came back is told before anything live.
//!
//! **In** where it stood, and what there is to tell since (`resume` decided that). **Out** steps, until it stands where everybody does.
//! **Invariant:** the steps of a table hold together only in the end, so none but the last has a position; they tell rows as they are when
//! the step is made, so that whoever was cut off between two of them and comes back is never led back to a former state, nor left with
//! a row that is no more. A row that the client never had is not named, unless it was cut off like that. Those of a sequence are exact
//! one by one.
//! **Not here:** whether it can be told at all (`resume`).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bumpalo::Bump;
use bytes::Bytes;

use super::{
    Change, Channel, FilterId, Mark, Pulled, SnapshotCursor, Tick, Watch,
    filters::{Slot, Touch},
    snapshot::matches,
    step::{self, Members, STEP_MAX_BYTES, Step},
};
use crate::position::Position;

/// What a resumed watcher is told before anything live.
#[derive(Debug)]
pub(super) struct Resuming {
    /// Rows that left, told last: a row that left in one step must not be named in the next.
    pub(super) left: Option<Bytes>,
    pub(super) missed: Missed,
    pub(super) told: Told,
    /// Where the client stood: ahead of the ring's order in some partitions, perhaps.
    pub(super) since: Vec<(i32, i64)>,
    /// The moment that all of it leads up to.
    pub(super) until: Arc<Mark>,
}

/// Changes noted at once for a client that comes back: what it makes the channel hold while it does not read. Few under test, so that
/// random lives meet the bound.
pub(super) const NOTED_MAX: usize = if cfg!(test) { 5 } else { 1_000 };

/// Rows noted at once as told to such a client; past it rows are named to it that it may not have.
const TOLD_MAX: usize = if cfg!(test) { 64 } else { 4_000 };

#[derive(Debug)]
pub(super) enum Missed {
    /// Changes in the ring, oldest first.
    Changes(Noted),
    /// Rows of the table that changed.
    Rows(Box<SnapshotCursor>),
}

/// Changes of the ring that a client missed; those past the noted ones are found when it is their turn.
#[derive(Debug, Default)]
pub(super) struct Noted {
    touches: VecDeque<Touch>,
    /// Changes up to this one are noted, told or none of the client's.
    looked_to: u64,
    /// How many are still to be told.
    pub(super) left: u64,
}

impl Noted {
    /// Notes one more change of the client's, if there is room.
    pub(super) fn note(&mut self, touch: Touch) {
        if self.touches.len() < NOTED_MAX {
            let before = self.touches.back().map_or(0, |last| last.bytes_total);
            self.looked_to = touch.no;
            self.touches.push_back(Touch { bytes_total: before + touch.bytes_total, ..touch });
        }
    }
}

/// Which rows the client has by what it was told since it is back, in steps before this one.
#[derive(Debug)]
pub(super) enum Told {
    Rows(HashMap<Box<[u8]>, bool, foldhash::fast::RandomState>),
    /// Any may have been told: it was cut off in the middle the last time, or they are too many to be noted.
    Any,
}

impl Told {
    /// Returns what a client has been told that brings back a position.
    pub(super) fn before(position: &Position) -> Self {
        if position.is_begun { Told::Any } else { Told::Rows(HashMap::default()) }
    }

    /// Tells whether the client may have the row; `at_position` says whether it did at its position.
    fn may_have(&self, key: &[u8], at_position: bool) -> bool {
        match self {
            Told::Rows(rows) => rows.get(key).copied().unwrap_or(at_position),
            Told::Any => true,
        }
    }

    fn note(&mut self, key: &[u8], is_there: bool) {
        let Told::Rows(rows) = self else { return };
        rows.insert(key.into(), is_there);
        if rows.len() > TOLD_MAX {
            *self = Told::Any;
        }
    }
}

impl Resuming {
    /// Returns how many changes are still to be told, as far as that is known.
    pub(super) fn len(&self) -> u64 {
        match &self.missed {
            Missed::Changes(noted) => noted.left,
            Missed::Rows(_) => 0,
        }
    }

    /// Returns how many changes are noted.
    #[cfg(test)]
    pub(super) fn noted(&self) -> usize {
        match &self.missed {
            Missed::Changes(noted) => noted.touches.len(),
            Missed::Rows(_) => 0,
        }
    }

    fn is_done(&self) -> bool {
        self.left.is_none() && matches!(&self.missed, Missed::Changes(noted) if noted.left == 0)
    }
}

/// A position's offsets, asked by partition.
pub(super) struct Since<'a>(pub(super) &'a [(i32, i64)]);

impl Since<'_> {
    /// Returns where the client stands; `None` for a partition that it never saw.
    pub(super) fn known(&self, partition: i32) -> Option<i64> {
        self.0.binary_search_by_key(&partition, |(p, _)| *p).ok().map(|i| self.0[i].1)
    }

    /// Returns from where on the client has nothing: a partition that it never saw, from its start.
    pub(super) fn from(&self, partition: i32) -> i64 {
        self.known(partition).unwrap_or(0)
    }
}

impl Channel {
    /// Tells a resumed watcher the next part of what it missed.
    pub(super) fn pull_missed(&mut self, watch: &mut Watch) -> Pulled {
        if self.lead_on(watch).is_none() {
            return Pulled::Lost;
        }
        let Some(resuming) = &mut watch.resuming else { return Pulled::Nothing };
        if self.note_more(watch.filter, resuming).is_none() {
            return Pulled::Lost;
        }
        let until = resuming.until.clone();
        let mut told_no = until.no;
        let step = match &mut resuming.missed {
            Missed::Changes(noted) if noted.left == 0 => {
                let members = resuming.left.take().unwrap_or_default();
                Step { members, rows: 0, conflated: 0 }
            }
            Missed::Changes(noted) => {
                let all = noted.touches.make_contiguous();
                let taken = step::width(all);
                told_no = all[taken - 1].no;
                let is_last = noted.left == taken as u64;
                let told = &mut resuming.told;
                let made = self.missed_step(watch.filter, &all[..taken], told, is_last);
                noted.touches.drain(..taken);
                noted.left -= taken as u64;
                let Some(step) = made else { return Pulled::Lost };
                step
            }
            Missed::Rows(cursor) => {
                let Some(slot) = self.filters.get(watch.filter) else { return Pulled::Nothing };
                let tables = (&self.table, &self.ring, &self.fields);
                let Ok(piece) = cursor.read(tables, slot, STEP_MAX_BYTES, usize::MAX) else {
                    return Pulled::Lost;
                };
                if !piece.more {
                    resuming.missed = Missed::Changes(Noted::default());
                }
                let members = match piece.count {
                    0 => Bytes::new(),
                    _ => [b"\"rows\":", piece.rows.as_ref()].concat().into(),
                };
                Step { members, rows: piece.count, conflated: 0 }
            }
        };
        let at = if resuming.is_done() {
            self.at(watch.filter, &until)
        } else {
            self.at_change(watch.filter, told_no, &resuming.since, &until)
        };
        if resuming.is_done() {
            watch.resuming = None;
        }
        Pulled::Step(Arc::new(step), at)
    }

    /// Encodes what became of the rows that some missed changes are of.
    ///
    /// Of a table it is what they are now, not what they were then: the client may have been told more than its position says, where
    /// the line was cut between two steps. So no row goes back to a former state.
    fn missed_step(
        &self,
        filter: FilterId,
        touches: &[Touch],
        told: &mut Told,
        is_last: bool,
    ) -> Option<Step> {
        if !self.shape.is_table {
            return step::encode_each(&self.ring, touches);
        }
        let slot = self.filters.get(filter)?;
        let (mut members, mut arena, mut seen) = (Members::default(), Bump::new(), HashSet::new());
        let least = self.table.window_end_min_ms();
        for touch in touches {
            let change = self.ring.get(touch.no)?;
            let key = change.key();
            if !seen.insert(key) {
                continue;
            }
            arena.reset();
            let now = self.table.get(key);
            let row = now.filter(|row| matches(slot, &self.fields, row, &arena));
            match (row, told.may_have(key, touch.old)) {
                (Some(row), _) => members.row(row),
                (None, false) => {}
                (None, true) => {
                    let end = change.new.as_ref().or(change.old.as_ref()).and_then(|row| row.window_end_ms);
                    match end.filter(|end| now.is_none() && least.is_none_or(|least| *end < least)) {
                        Some(end) if self.shape.windowed => {
                            members.retired_ms = members.retired_ms.max(Some(end));
                        }
                        _ => members.gone(&self.shape.keys, key),
                    }
                }
            }
            if !is_last {
                told.note(key, row.is_some());
            }
        }
        let (rows, conflated) = (members.rows, touches.len() - seen.len());
        Some(Step { rows, conflated, members: members.finish() })
    }

    /// Moves the end of what was missed to the last commit while rows of a table are still to be told: they are told as they are now
    /// ([`Self::missed_step`]), so what changes them from here on must follow. `None` when the ring has passed it, or a topic left.
    fn lead_on(&self, watch: &mut Watch) -> Option<()> {
        let Some(resuming) = &mut watch.resuming else { return Some(()) };
        let Resuming { missed: Missed::Changes(noted), since, until, .. } = &mut **resuming else {
            return Some(());
        };
        let mark = &self.marks[Tick::Now as usize];
        if !self.shape.is_table || noted.left == 0 || until.no == mark.no {
            return Some(());
        }
        let (slot, since, mut arena) = (self.filters.get(watch.filter)?, Since(since), Bump::new());
        for (no, change) in self.ring.after(until.no)?.take_while(|(no, _)| *no <= mark.no) {
            arena.reset();
            // A topic left meanwhile: which of its rows the client has, and must hear are gone, is not known any more.
            self.next.contains_key(&change.partition).then_some(())?;
            let is_missed =
                self.is_news(change, &since) && self.touch(slot, no, change, &since, &arena).is_some();
            noted.left += u64::from(is_missed);
        }
        *until = mark.clone();
        (watch.no, watch.touched) = (mark.no, slot.touched);
        Some(())
    }

    /// Notes the next changes that the client missed, when those noted are told; `None` when the ring has passed them.
    fn note_more(&self, filter: FilterId, resuming: &mut Resuming) -> Option<()> {
        let Resuming { missed: Missed::Changes(noted), since, until, .. } = resuming else { return Some(()) };
        if noted.left == 0 || !noted.touches.is_empty() {
            return Some(());
        }
        let (slot, since, mut arena) = (self.filters.get(filter)?, Since(since), Bump::new());
        let rest = self.ring.after(noted.looked_to)?.take_while(|(no, _)| *no <= until.no);
        for (no, change) in rest.filter(|(_, change)| self.is_news(change, &since)) {
            arena.reset();
            if let Some(touch) = self.touch(slot, no, change, &since, &arena) {
                noted.note(touch);
            }
            if noted.touches.len() == NOTED_MAX {
                break;
            }
        }
        Some(()).filter(|()| !noted.touches.is_empty())
    }

    /// Tells whether a change came after what the client has. Of a topic that was forgotten since it has nothing, and is told nothing.
    pub(super) fn is_news(&self, change: &Change, since: &Since<'_>) -> bool {
        self.next.contains_key(&change.partition) && change.offset >= since.from(change.partition)
    }

    /// Tells whether a change concerns a filter. What a row was like before its first state that is known may have matched, unless the
    /// key decides.
    pub(super) fn touch(
        &self,
        slot: &Slot,
        no: u64,
        change: &Change,
        since: &Since<'_>,
        arena: &Bump,
    ) -> Option<Touch> {
        let is =
            |row: &Option<Arc<_>>| row.as_ref().is_some_and(|row| matches(slot, &self.fields, row, arena));
        let may_have_matched = change.old.is_none()
            && change.new.is_some()
            && self.is_unknown_before(change.partition, change.offset, since)
            && !self.is_decided_by_key(slot);
        let (old, new) = (is(&change.old) || may_have_matched, is(&change.new));
        let bytes_total = change.new.as_ref().map_or(0, |row| row.json.len()) as u64;
        (old || new).then_some(Touch { no, bytes_total, old, new })
    }
}
