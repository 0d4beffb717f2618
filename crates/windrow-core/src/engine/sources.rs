//! Sources: how far each partition of the stream has come, as the task knows it that merges their partials.
//!
//! **In** heads of partial records. **Out** one watermark: the least of all.
//! **Before** this file: `partial`. **After** it: `merge`.
//!
//! **Invariant:** a partition that has not been heard from counts as minus infinity, one that came when the others had begun as
//! their minimum then; so the watermark never moves back, whatever is added.
//! **Not here:** idle and empty partitions, which flow where their records are read.

use crate::{journal::SourceMark, partial::Head, watermark::NEVER_MS};

/// The source set of a view.
#[derive(Debug)]
pub(super) struct Sources {
    /// By partition.
    marks: Vec<SourceMark>,
}

impl Sources {
    /// Makes the set of partitions `0..count`, none heard from.
    pub(super) fn new(count: i32) -> Self {
        Self { marks: (0..count).map(unheard).collect() }
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

    /// Ends restoring: where there was a journal, partitions that it does not know were added since.
    pub(super) fn restored(&mut self, existed: bool, minimum_ms: i64) {
        let fresh = self.marks.iter_mut().filter(|mark| existed && mark.changed);
        fresh.for_each(|mark| *mark = added(mark.partition, minimum_ms));
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
        self.marks.iter().map(|mark| mark.watermark_ms).min().unwrap_or(NEVER_MS)
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
