//! Sources: how far each partition of the stream has come, as the task knows it that merges their partials.
//!
//! **In** heads of partial records. **Out** one watermark: the least of all.
//! **Before** this file: `partial`. **After** it: `merge`.
//!
//! **Invariant:** a partition that has not been heard from counts as minus infinity, one that came when the others had begun as
//! their minimum then; so the watermark never moves back, whatever is added or leaves. What has left is known for ever: should
//! something of it still come, it must not hold the others.
//! **Not here:** idle and empty partitions, which flow where their records are read.

use std::sync::Arc;

use crate::{
    journal::SourceMark,
    ledger::SourceSet,
    partial::Head,
    watermark::{GONE_MS, NEVER_MS},
};

/// The source set of a view.
#[derive(Debug)]
pub(super) struct Sources {
    /// By number.
    marks: Vec<SourceMark>,
    set: SourceSet,
}

impl Sources {
    /// Makes the set, none heard from. Those that are gone count as well until they [`leave`](Self::leave): what they sent may be
    /// still to come.
    pub(super) fn new(set: SourceSet) -> Self {
        let mut numbers: Vec<i32> = set.living().into_iter().chain(set.gone()).collect();
        numbers.sort_unstable();
        Self { marks: numbers.into_iter().map(unheard).collect(), set }
    }

    /// Names a source: its topic, when there are several, and its partition.
    pub(super) fn named(&self, number: i32) -> (Option<Arc<str>>, i32) {
        self.set.named(number)
    }

    pub(super) fn marks(&self) -> &[SourceMark] {
        &self.marks
    }

    /// Takes what the journal says.
    pub(super) fn restore(&mut self, mark: SourceMark) {
        match self.at(mark.partition) {
            Ok(at) => self.marks[at] = mark,
            Err(at) => self.marks.insert(at, mark),
        }
    }

    /// Ends restoring: where there was a journal, partitions that it does not know were added since, and those that had left and are
    /// among the living again are back.
    pub(super) fn restored(&mut self, existed: bool, minimum_ms: i64) {
        let fresh = self.marks.iter_mut().filter(|mark| existed && mark.changed);
        fresh.for_each(|mark| *mark = added(mark.partition, minimum_ms));
        for number in self.set.living() {
            let Ok(at) = self.at(number) else { continue };
            let mark = &mut self.marks[at];
            if mark.watermark_ms == GONE_MS {
                *mark = SourceMark { watermark_ms: minimum_ms, added: true, changed: true, ..*mark };
            }
        }
    }

    /// Takes out the sources that are gone: nothing that counts will come from them.
    pub(super) fn leave(&mut self) {
        for number in self.set.gone() {
            let Ok(at) = self.at(number) else { continue };
            let mark = &mut self.marks[at];
            mark.changed |= mark.watermark_ms != GONE_MS;
            // What comes all the same is judged like what a source brings that was added: it may be late, and breaks nothing.
            (mark.watermark_ms, mark.added) = (GONE_MS, true);
        }
    }

    /// Returns what is known of a partition, which may be one that nobody told of.
    pub(super) fn mark(&mut self, partition: i32, minimum_ms: i64) -> SourceMark {
        let at = self.at(partition).unwrap_or_else(|at| {
            self.marks.insert(at, added(partition, minimum_ms));
            at
        });
        self.marks[at]
    }

    /// Takes the head of a commit whose rows are all merged.
    pub(super) fn take(&mut self, head: &Head) {
        let Ok(at) = self.at(head.source) else { return };
        let before = self.marks[at];
        let mark = &mut self.marks[at];
        mark.next_offset = before.next_offset.max(head.to);
        mark.watermark_ms = before.watermark_ms.max(head.watermark_ms);
        mark.data_ms = before.data_ms.max(head.data_ms);
        // From its own watermark on, a partition judges lateness no less strictly than its place in the set.
        mark.added &= head.watermark_ms < before.watermark_ms;
        mark.changed |= *mark != before;
    }

    /// Returns the watermark of the whole set.
    pub(super) fn watermark_ms(&self) -> i64 {
        let there = self.marks.iter().map(|mark| mark.watermark_ms).filter(|ms| *ms != GONE_MS);
        there.min().unwrap_or(NEVER_MS)
    }

    /// The same without what no record has said: the highest of all partitions, as far as the whole set has come.
    pub(super) fn data_ms(&self) -> i64 {
        let highest = self.marks.iter().map(|mark| mark.data_ms).max().unwrap_or(NEVER_MS);
        highest.min(self.watermark_ms())
    }

    /// Notes that the journal has everything.
    pub(super) fn settle(&mut self) {
        self.marks.iter_mut().for_each(|mark| mark.changed = false);
    }

    fn at(&self, partition: i32) -> Result<usize, usize> {
        self.marks.binary_search_by_key(&partition, |mark| mark.partition)
    }
}

fn unheard(partition: i32) -> SourceMark {
    added(partition, NEVER_MS)
}

fn added(partition: i32, minimum_ms: i64) -> SourceMark {
    SourceMark {
        partition,
        next_offset: 0,
        watermark_ms: minimum_ms,
        data_ms: NEVER_MS,
        added: minimum_ms != NEVER_MS,
        changed: true,
    }
}
