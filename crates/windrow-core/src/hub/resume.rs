//! Resuming: a watcher that comes back with a position is told what came after it.
//!
//! **In** a decoded position. **Out** what it missed, then live changes; or why that can't be told.
//!
//! | what the channel is | where what was missed comes from |
//! |---|---|
//! | any | the ring, while it reaches back to the position |
//! | a table | then the table itself: rows whose state came after the position, and the rows that departed since |
//! | a sequence | then the log, which the caller reads again ([`Channel::replay`]) until the ring takes over |
//!
//! **Invariant:** resumed means exactly: everything that matches after the position, nothing from before, and `gone` for what the
//! client may have been shown and nothing else. A compacted topic does not tell what a row was like before its oldest state still there; wherever
//! that would decide about `gone`, the answer is no. **Not here:** telling it (`missed`), reading the log.

use std::collections::VecDeque;

use bumpalo::Bump;
use bytes::Bytes;

use super::{
    Channel, FilterId, Mark, SnapshotCursor, Tick, Watch,
    filters::Slot,
    missed::{Missed, Noted, Resuming, Since, Told},
    places::{Named, Sorted},
    snapshot::matches,
    step::{Members, STEP_MAX_BYTES},
    table::begins_with_elements,
};
use crate::{position::Position, value::Datum};

/// Whether a position can be resumed here and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// The watcher will be told what it missed.
    Yes,
    /// What it missed is no longer here: the log is to be read again, from these places' offsets on.
    Log(Vec<(i32, i64)>),
    /// It can't be.
    No(Lapse),
    /// This node has not read that far yet, or not found the topic, or the topic is no more: these offsets are beyond it.
    Ahead(Vec<(Named, i64)>),
}

/// Why a position is not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lapse {
    /// It was told for another channel, plan, filter or access.
    Question,
    /// The topic is another: it was deleted and made anew.
    Epoch,
    /// The log ends before it: its end was cut off.
    Ahead,
    /// What came after it is no longer known in full.
    History,
}

impl Lapse {
    /// All of them.
    pub const ALL: [Lapse; 4] = [Lapse::Question, Lapse::Epoch, Lapse::Ahead, Lapse::History];

    /// Returns the name that clients are told.
    pub fn name(self) -> &'static str {
        match self {
            Lapse::Question => "question",
            Lapse::Epoch => "epoch",
            Lapse::Ahead => "ahead",
            Lapse::History => "history",
        }
    }
}

/// Where it is told that a row has left.
enum ToldBy {
    /// The changes in the ring, if its states were seen at all.
    Ring,
    /// Nothing else: it is named if it may have been there at the position.
    Name,
    /// Nothing else, and it may have been told after the position, too.
    NameAny,
}

/// The answer would not be exact.
struct Doubt;

impl Channel {
    /// Takes a watcher back to `position`; it must be up to date or fresh.
    pub fn resume(&self, watch: &mut Watch, position: &Position) -> Resumed {
        let Some(slot) = self.filters.get(watch.filter) else { return Resumed::No(Lapse::Question) };
        if position.question != slot.question {
            return Resumed::No(Lapse::Question);
        }
        if !self.options.has_topics {
            let [topic] = position.topics.as_slice() else { return Resumed::No(Lapse::Question) };
            if !self.places.has(topic.epoch) {
                return Resumed::No(Lapse::Epoch);
            }
        }
        let mark = self.marks[Tick::Now as usize].clone();
        let Sorted { known, unknown: mut ahead } = self.places.sort(&position.topics);
        let beyond = known.iter().filter(|(p, o)| self.next.get(p).is_none_or(|next| o > next));
        ahead.extend(beyond.filter_map(|(place, offset)| Some((self.places.named(*place)?, *offset))));
        if !ahead.is_empty() {
            return Resumed::Ahead(ahead);
        }
        let since = Since(&known);
        let missing = mark.offsets.iter().map(|&(p, _)| (p, since.from(p)));
        let missing: Vec<_> = missing.filter(|&(p, from)| !self.ring.holds(p, from)).collect();
        let resuming = match (self.shape.is_table, missing.is_empty()) {
            (true, _) if known.iter().any(|(p, o)| self.floor.get(p).is_some_and(|floor| o < floor)) => {
                Err(Doubt)
            }
            (_, true) => self.missed_in_ring(watch.filter, &since),
            (true, false) => self.missed_in_table(watch.filter, &since, mark.no, position.is_begun),
            (false, false) => return Resumed::Log(missing),
        };
        let Ok((left, missed)) = resuming else { return Resumed::No(Lapse::History) };
        (watch.no, watch.touched, watch.generation) = (mark.no, slot.touched, self.generation);
        let told = Told::before(position);
        watch.resuming = Some(Box::new(Resuming { left, missed, told, since: known, until: mark }));
        Resumed::Yes
    }

    fn missed_in_ring(&self, filter: FilterId, since: &Since<'_>) -> Result<(Option<Bytes>, Missed), Doubt> {
        let slot = self.filters.get(filter).ok_or(Doubt)?;
        let by_key = self.is_decided_by_key(slot);
        let (mut missed, mut arena) = (Noted::default(), Bump::new());
        let all = self.ring.after(self.ring.first_no() - 1).ok_or(Doubt)?;
        for (no, change) in all.filter(|(_, change)| self.is_news(change, since)) {
            arena.reset();
            if let Some(touch) = self.touch(slot, no, change, since, &arena) {
                missed.left += 1;
                missed.note(touch);
            }
            if !by_key
                && change.old.is_none()
                && self.is_unknown_before(change.partition, change.offset, since)
            {
                // The client may have known it as it was before. If it matches now that does not matter.
                let now = self.table.get(change.key());
                if now.is_some_and(|row| !matches(slot, &self.fields, row, &arena)) {
                    return Err(Doubt);
                }
            }
        }
        // What left after a state in the ring is told from there; what was never seen is in doubt, or in windows that left.
        let is_from_before = |(partition, offset): &(i32, i64)| {
            self.live_from.get(partition).is_some_and(|live| offset < live)
        };
        let mut left = None;
        if self.shape.is_table && since.0.iter().any(is_from_before) {
            let is_held = |(p, o): &(i32, i64)| self.departed.holds(*p, *o);
            if !since.0.iter().filter(|place| is_from_before(place)).all(is_held)
                || self.came_back_unlike(slot, since)
            {
                return Err(Doubt);
            }
            left = self.left(slot, since, &ToldBy::Ring)?;
        }
        Ok((left, Missed::Changes(missed)))
    }

    /// Tells whether a row that left and came again does not match now, but may have before, when the client knew it: what it was like
    /// then is not known, so nothing in the ring says that it is gone.
    fn came_back_unlike(&self, slot: &Slot, since: &Since<'_>) -> bool {
        let mut arena = Bump::new();
        self.departed.back().any(|(key, left)| {
            arena.reset();
            since.known(left.partition).is_some_and(|at| left.offset >= at)
                && self.is_unknown_before(left.partition, left.first_born, since)
                && self.may_match(slot, key)
                && self.table.get(key).is_some_and(|row| !matches(slot, &self.fields, row, &arena))
        })
    }

    fn missed_in_table(
        &self,
        filter: FilterId,
        since: &Since<'_>,
        base_no: u64,
        is_begun: bool,
    ) -> Result<(Option<Bytes>, Missed), Doubt> {
        let slot = self.filters.get(filter).ok_or(Doubt)?;
        let is_held = |(partition, offset): &(i32, i64)| self.departed.holds(*partition, *offset);
        if self.is_mixed || !self.is_decided_by_key(slot) || !since.0.iter().all(is_held) {
            return Err(Doubt);
        }
        let told_by = if is_begun { ToldBy::NameAny } else { ToldBy::Name };
        let left = self.left(slot, since, &told_by)?;
        let cursor = SnapshotCursor::new(base_no, self.prefixes(slot), VecDeque::new());
        Ok((left, Missed::Rows(Box::new(cursor.since(since.0.to_vec())))))
    }

    /// Encodes which rows left since, and windows that left altogether.
    fn left(&self, slot: &Slot, since: &Since<'_>, told_by: &ToldBy) -> Result<Option<Bytes>, Doubt> {
        let mut members = Members::default();
        members.retired_ms = self.departed.retired_ms();
        let window_end_min_ms = self.table.window_end_min_ms();
        for (key, left) in self.departed.away() {
            if since.known(left.partition).is_none_or(|at| left.offset < at) {
                continue;
            }
            if let Some(end) = left.window_end_ms.filter(|end| window_end_min_ms.is_none_or(|min| *end < min))
            {
                members.retired_ms = members.retired_ms.max(Some(end));
                continue;
            }
            let may_match = || self.may_match(slot, key);
            let is_unknown = || self.is_unknown_before(left.partition, left.first_born, since);
            let was_there = || left.first_born < since.from(left.partition) || is_unknown();
            match told_by {
                ToldBy::Name if was_there() && may_match() => members.gone(&self.shape.keys, key),
                ToldBy::NameAny if may_match() => members.gone(&self.shape.keys, key),
                ToldBy::Ring if is_unknown() && may_match() => return Err(Doubt),
                _ => {}
            }
        }
        if members.len_bytes() > STEP_MAX_BYTES {
            return Err(Doubt);
        }
        Ok(Some(members.finish()).filter(|members| !members.is_empty()))
    }

    /// Tells whether a row whose first state was seen at `offset` may have been there before, where the client stands:
    /// whatever was read before the channel went live came from a topic that may be compacted.
    pub(super) fn is_unknown_before(&self, partition: i32, offset: i64, since: &Since<'_>) -> bool {
        let live = self.live_from.get(&partition).copied().unwrap_or(0);
        since.known(partition).is_some_and(|at| at <= offset && at < live && offset < live)
    }

    /// Tells whether the filter matches all states of a row or none.
    pub(super) fn is_decided_by_key(&self, slot: &Slot) -> bool {
        let is_key = |column: &usize| {
            self.options.columns.get(*column).is_some_and(|(name, _)| self.options.key_names.contains(name))
        };
        slot.rule.as_ref().is_none_or(|rule| rule.columns().iter().all(is_key))
    }

    /// Tells whether some state of the row of that key can match.
    fn may_match(&self, slot: &Slot, key: &[u8]) -> bool {
        let is_possible = self.prefixes(slot).iter().any(|prefix| begins_with_elements(key, prefix));
        is_possible && (!self.is_decided_by_key(slot) || self.key_matches(slot, key))
    }

    /// Tells whether the row of that key matches a filter that is decided by it.
    fn key_matches(&self, slot: &Slot, key: &[u8]) -> bool {
        let Some(rule) = &slot.rule else { return true };
        let (arena, mut named, mut columns) = (Bump::new(), Vec::new(), Vec::<Datum<'_>>::new());
        self.shape.keys.write(key, &mut named);
        self.fields.read(&named, &arena, &mut columns).is_ok() && rule.holds(&columns, &arena)
    }

    /// Returns the position after a change in the middle of a sequence, for a client that stood at `since`; tables have none:
    /// their steps only hold together.
    pub(super) fn at_change(
        &self,
        filter: FilterId,
        no: u64,
        since: &[(i32, i64)],
        until: &Mark,
    ) -> Option<Bytes> {
        if self.shape.is_table {
            return None;
        }
        let mut offsets = until.offsets.clone();
        let mut found = vec![false; offsets.len()];
        let mut left = offsets.len();
        for (_, change) in self.ring.after(no)?.take_while(|(no, _)| *no <= until.no) {
            let Ok(place) = offsets.binary_search_by_key(&change.partition, |(p, _)| *p) else { continue };
            if !std::mem::replace(&mut found[place], true) {
                offsets[place].1 = change.offset.max(Since(since).from(change.partition));
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        self.position(filter, &offsets)
    }

    /// Returns the text of a position of that filter.
    pub(super) fn position(&self, filter: FilterId, offsets: &[(i32, i64)]) -> Option<Bytes> {
        let question = self.filters.get(filter)?.question;
        self.places.text(question, offsets).map(Bytes::from)
    }

    /// Takes topics out of a position that the channel does not have; tells whether there were any. Only a sequence goes on from
    /// what is left: it does not take back the rows of a topic that is no more.
    pub fn forget_unknown(&self, position: &mut Position) -> bool {
        let had = position.topics.len();
        position.topics.retain(|topic| !self.options.has_topics || self.places.has(topic.epoch));
        position.topics.len() < had
    }
}
