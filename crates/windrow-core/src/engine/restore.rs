//! Restoring: a view's state out of its journal.
//!
//! **In** journal records, in offset order. **Out** the view as it was after the last commit among them.
//! **Invariant:** a bucket that is only partly there yet (the snapshot series that the journal begins with is still coming)
//! is made whole by what follows; at the end everything is whole, or it is an error.

use std::hash::BuildHasher;

use super::{
    close::retained_of,
    view::{Staged, View},
};
use crate::{
    block::RowRun,
    journal::{ClosedWindow, JournalError, Section},
    plan::Shape,
    spec::{Emit, LatePolicy},
    state::{Bucket, Retained, canon::Reader},
    window::RUNNING_END_MS,
};

impl View {
    /// Applies one journal record.
    pub(super) fn restore(&mut self, value: Option<&[u8]>) -> Result<(), JournalError> {
        let block = self.journal.read(value)?;
        if self.journal.is_redundant(&block) {
            return self.journal.applied(&block);
        }
        let mut reader = block.sections();
        let plan = self.plan.clone();
        let cells = |end_ms| match end_ms {
            RUNNING_END_MS if plan.is_windowed() => plan.over.len(),
            _ => plan.aggregates.len(),
        };
        while let Some(section) = reader.next(cells) {
            let applied = section.and_then(|section| self.apply(section));
            applied.ok_or_else(|| self.journal.corrupt("a section cannot be read"))?;
        }
        self.journal.applied(&block)
    }

    fn apply(&mut self, section: Section<'_>) -> Option<()> {
        match section {
            Section::Progress(progress) => self.journal.set_progress(progress),
            Section::Source(mark) => match &mut self.stage {
                Staged::Merge(sources) => sources.restore(mark),
                Staged::Local | Staged::Scatter(_) => return None,
            },
            Section::Rows(RowRun { end_ms, closed, count, mut keys, mut columns }) => {
                let bucket = match (self.plan.is_windowed(), end_ms == RUNNING_END_MS) {
                    (true, true) => &mut self.over.as_mut()?.bucket,
                    (false, false) => return None,
                    _ => {
                        let at = self.bucket_at(end_ms);
                        &mut self.buckets[at]
                    }
                };
                bucket.closed = closed;
                for _ in 0..count {
                    let key = keys.prefixed()?;
                    bucket.apply(self.hasher.hash_one(key), key, &mut columns)?;
                }
            }
            Section::Closed(closed) => self.apply_closed(&closed)?,
            Section::Retired { end_ms } => self.retained.retain(|retained| retained.end_ms != end_ms),
            Section::Retained { end_ms, first, keys } => {
                let at = self.retained_at(end_ms);
                if first {
                    self.retained[at] = Retained::new(end_ms);
                }
                let mut reader = keys;
                while !reader.is_empty() {
                    self.retained[at].push(reader.prefixed()?);
                }
            }
        }
        Some(())
    }

    fn apply_closed(&mut self, closed: &ClosedWindow<'_>) -> Option<()> {
        if closed.stays {
            // Its rows may all be in slices that are still to come.
            let at = self.bucket_at(closed.end_ms);
            self.buckets[at].closed = true;
            return Some(());
        }
        let at = self.buckets.binary_search_by_key(&closed.end_ms, |bucket| bucket.end_ms);
        if !closed.last {
            self.journal.closing.extend_from_slice(closed.keys);
            return Some(());
        }
        let mut listed = std::mem::take(&mut self.journal.closing);
        listed.extend_from_slice(closed.keys);
        let bucket = at.ok().and_then(|at| self.buckets.remove(at));
        if !closed.retains {
            return Some(());
        }
        let mut bucket = bucket.unwrap_or_else(|| Bucket::new(closed.end_ms, &self.plan.aggregates));
        for row in 0..bucket.len() as u32 {
            let holds = self.rows.holds(&bucket, row);
            bucket.set_shown(row, holds);
        }
        let mut keys = Reader(&listed);
        while !keys.is_empty() {
            let shown = keys.byte()? != 0;
            let key = keys.prefixed()?;
            let hash = self.hasher.hash_one(key);
            let row = match bucket.find(hash, key) {
                Some(row) => row,
                None => bucket.insert(hash, key)?,
            };
            bucket.set_shown(row, shown);
        }
        let at = self.retained_at(closed.end_ms);
        self.retained[at] = retained_of(&bucket);
        Some(())
    }

    fn bucket_at(&mut self, end_ms: i64) -> usize {
        self.buckets.binary_search_by_key(&end_ms, |bucket| bucket.end_ms).unwrap_or_else(|at| {
            let bucket = Bucket::new(end_ms, &self.plan.aggregates).with_reserve(self.reserve);
            self.buckets.insert(at, bucket);
            at
        })
    }

    fn retained_at(&mut self, end_ms: i64) -> usize {
        self.retained.binary_search_by_key(&end_ms, |retained| retained.end_ms).unwrap_or_else(|at| {
            self.retained.insert(at, Retained::new(end_ms));
            at
        })
    }

    /// Ends restoring; returns the view's position if it ever committed one.
    pub(super) fn restored(&mut self) -> Result<Option<i64>, JournalError> {
        let progress = self.journal.finish()?;
        if let Some(progress) = progress {
            self.position = progress.position;
            self.watermark.observe(progress.highest_ms);
            self.watermark.flow_to(progress.watermark_ms);
            self.closed_end_ms = progress.closed_end_ms;
            self.dropped_end_ms = progress.dropped_end_ms;
            self.cut_position = progress.position;
        }
        let watermark = (self.watermark.ms(), self.watermark.data_ms());
        match &mut self.stage {
            Staged::Local => {}
            Staged::Scatter(scatter) => scatter.sent = watermark,
            Staged::Merge(sources) => sources.restored(progress.is_some(), watermark.0),
        }
        let updates = self.plan.spec.late == LatePolicy::Update;
        let changes = self.plan.spec.emit == Emit::Changes || self.plan.shape == Shape::Running;
        self.state_bytes = self.retained.iter().map(Retained::bytes).sum();
        self.state_bytes += self.over.as_ref().map_or(0, |over| over.bucket.bytes);
        let mut buckets = std::mem::take(&mut self.buckets);
        for bucket in &mut buckets {
            bucket.settle();
            self.state_bytes += bucket.bytes;
            for row in 0..bucket.len() as u32 {
                let shown = (changes || bucket.closed) && self.rows.holds(bucket, row);
                bucket.set_shown(row, shown);
            }
        }
        self.buckets = buckets;
        if !updates {
            // Closed windows that were kept for updates are of no more use; they are final already.
            self.dropped_end_ms = self.closed_end_ms;
        }
        self.forget_current();
        self.rows.set_seq(self.journal.commit() + 1);
        Ok(progress.map(|progress| progress.position))
    }
}
