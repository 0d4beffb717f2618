//! Resuming: a watcher that comes back with a position is told what came after it, out of the ring.
//!
//! **In** a decoded position. **Out** the changes it missed, then live ones.
//! **Invariant:** resumed means exactly: every matching change after the position, none before, and `gone` for what the
//! client knew. Where the ring does not reach back, the answer is no. **Not here:** reading the log again.

use std::{collections::VecDeque, sync::Arc};

use bumpalo::Bump;

use super::{Channel, FilterId, Pulled, Tick, Watch, filters::Touch, snapshot::matches, step};
use crate::position::Position;

/// Whether a position can be resumed here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// The watcher will be told what it missed.
    Yes,
    /// Another question, another topic, or history that is no longer held.
    No,
    /// This node has not read that far yet.
    Ahead,
}

impl Channel {
    /// Takes a fresh watcher back to `position`.
    pub fn resume(&self, watch: &mut Watch, position: &Position) -> Resumed {
        let mark = self.marks[Tick::Now as usize].clone();
        let Some(slot) = self.filters.get(watch.filter) else { return Resumed::No };
        let [topic] = position.topics.as_slice() else { return Resumed::No };
        if position.question != slot.question || topic.epoch != self.epoch {
            return Resumed::No;
        }
        if topic.offsets.iter().any(|(p, _)| !self.next.contains_key(p)) {
            return Resumed::Ahead;
        }
        let from = |partition: i32| {
            let at = topic.offsets.binary_search_by_key(&partition, |(p, _)| *p);
            at.map_or_else(|_| self.start.get(&partition).copied().unwrap_or(0), |i| topic.offsets[i].1)
        };
        if mark.offsets.iter().any(|&(p, reached)| from(p) > reached) {
            return Resumed::Ahead;
        }
        if mark.offsets.iter().any(|&(p, _)| !self.ring.holds(p, from(p))) {
            return Resumed::No;
        }
        let Some(missed) = self.missed(watch.filter, from) else { return Resumed::No };
        watch.missed = missed;
        watch.missed_until = Some(mark);
        Resumed::Yes
    }

    fn missed(&self, filter: FilterId, from: impl Fn(i32) -> i64) -> Option<VecDeque<Touch>> {
        let slot = self.filters.get(filter)?;
        let (mut missed, mut bytes_total, mut arena) = (VecDeque::new(), 0, Bump::new());
        for (no, change) in self.ring.after(self.ring.first_no() - 1)? {
            if change.offset < from(change.partition) {
                continue;
            }
            arena.reset();
            let is = |row: &Option<_>| {
                row.as_ref().is_some_and(|row: &Arc<_>| matches(slot, &self.fields, row, &arena))
            };
            let (old, new) = (is(&change.old), is(&change.new));
            if old || new {
                bytes_total += change.new.as_ref().map_or(0, |row| row.json.len()) as u64;
                missed.push_back(Touch { no, bytes_total, old, new });
            }
        }
        Some(missed)
    }

    /// Tells a resumed watcher the next part of what it missed.
    pub(super) fn pull_missed(&mut self, watch: &mut Watch) -> Pulled {
        let Some(mark) = watch.missed_until.clone() else { return Pulled::Nothing };
        let touches = watch.missed.make_contiguous();
        let taken = step::width(touches);
        let Some(step) = step::encode(&self.shape, &self.ring, &touches[..taken], mark.window_end_min_ms)
        else {
            return Pulled::Lost;
        };
        watch.missed.drain(..taken);
        let done = watch.missed.is_empty();
        if done {
            watch.missed_until = None;
        }
        Pulled::Step(Arc::new(step), if done { self.at(watch.filter, &mark) } else { None })
    }
}
