//! Closing: what happens to windows when time passes.
//!
//! **In** a watermark that moved. **Out** finals, tombstones of retired rows, and marks for the journal.
//!
//! ```text
//! watermark ≥ end + grace            → closed: each row once more, final; only the keys stay
//! data watermark ≥ … + retain        → retired: a tombstone per key
//! ```
//!
//! **Invariant:** closing walks the buckets that exist, whatever the jump in time, oldest first, and drops them; what was
//! closed never opens again. With `late = "update"` a closed bucket stays until it retires, and is settled at the cut.
//! **Not here:** whether one record is late (`view`).

use super::view::{Staged, View};
use crate::{
    plan::Shape,
    spec::LatePolicy,
    state::{Bucket, Retained},
};

impl View {
    /// Follows the watermark.
    pub(super) fn flow(&mut self) {
        if !self.plan.is_windowed() {
            return;
        }
        let spec = &self.plan.spec;
        let closed = self.watermark.ms().saturating_sub(spec.grace_ms);
        self.closed_end_ms = self.closed_end_ms.max(closed);
        if let Staged::Scatter(_) = self.stage {
            // Nothing closes here. What the other stage would no longer take is refused: it goes by the least of all
            // partitions' watermarks, which is never past this one's.
            let updates = spec.late == LatePolicy::Update;
            let retired = || spec.retain_ms.map_or(i64::MIN, |retain_ms| closed.saturating_sub(retain_ms));
            let dropped = if updates { retired() } else { self.closed_end_ms };
            self.dropped_end_ms = self.dropped_end_ms.max(dropped);
            return;
        }
        if spec.late == LatePolicy::Update {
            // Finals of one epoch go out together, so that a late record in it does not make two.
            self.dropped_end_ms = self.dropped_end_ms.max(self.retired_end_ms());
            return;
        }
        self.dropped_end_ms = self.closed_end_ms;
        while self.buckets.front().is_some_and(|bucket| bucket.end_ms <= self.closed_end_ms) {
            self.close_first();
        }
        self.retire();
    }

    /// Moves time on without records, to infinity at the end of a bounded input.
    pub(super) fn flow_to(&mut self, ms: i64) {
        let merges = matches!(self.stage, Staged::Merge(_));
        if !merges && ms > self.watermark.ms() {
            self.watermark.flow_to(ms);
            self.flow();
        }
    }

    /// Windows that end at or before it have been in the channel for long enough. Data says so, not the end of the input.
    fn retired_end_ms(&self) -> i64 {
        let spec = &self.plan.spec;
        let Some(retain_ms) = spec.retain_ms else { return i64::MIN };
        self.watermark.data_ms().saturating_sub(spec.grace_ms).saturating_sub(retain_ms)
    }

    /// Closes the oldest window before its time, or forgets the oldest closed one; `false` when there is none.
    pub(super) fn close_oldest(&mut self) -> bool {
        if self.plan.shape == Shape::Running {
            return false;
        }
        let Some(end_ms) = self.buckets.front().map(|bucket| bucket.end_ms) else {
            return self.retire_first();
        };
        self.stats.closed_early += 1;
        self.closed_end_ms = self.closed_end_ms.max(end_ms);
        self.dropped_end_ms = self.closed_end_ms;
        self.close_first();
        true
    }

    /// Emits the finals of the oldest bucket and drops it.
    fn close_first(&mut self) {
        let Some(mut bucket) = self.buckets.pop_front() else { return };
        self.forget_current();
        if !bucket.closed {
            self.emit_finals(&mut bucket);
        }
        self.drop_closed(bucket);
    }

    fn emit_finals(&mut self, bucket: &mut Bucket) {
        for row in 0..bucket.len() as u32 {
            self.write(bucket, row, true);
        }
    }

    /// Keeps the keys that the channel has, marks the journal, lets the rest go.
    fn drop_closed(&mut self, bucket: Bucket) {
        self.state_bytes = self.state_bytes.saturating_sub(bucket.bytes);
        self.touched -= bucket.touched.len();
        let retains = self.plan.spec.retain_ms.is_some();
        self.journal.closed(&bucket, retains);
        if retains {
            let retained = retained_of(&bucket);
            self.state_bytes += retained.bytes();
            self.retained.push_back(retained);
        }
    }

    /// Writes tombstones for windows whose time in the channel is over.
    fn retire(&mut self) {
        let end_ms = self.retired_end_ms();
        while self.retained.front().is_some_and(|retained| retained.end_ms <= end_ms) {
            self.retire_first();
        }
    }

    fn retire_first(&mut self) -> bool {
        let Some(retained) = self.retained.pop_front() else { return false };
        self.state_bytes = self.state_bytes.saturating_sub(retained.bytes());
        for key in retained.iter() {
            self.rows.retire(retained.end_ms, key);
        }
        self.journal.retired(retained.end_ms);
        true
    }

    /// Writes what changed in the buckets that stay, and settles closed ones that late records may update.
    pub(super) fn emit_changes(&mut self) {
        let updates = self.plan.spec.late == LatePolicy::Update && self.plan.is_windowed();
        let mut buckets = std::mem::take(&mut self.buckets);
        for bucket in &mut buckets {
            let closed = updates && bucket.end_ms <= self.closed_end_ms;
            if closed && !bucket.closed {
                self.emit_finals(bucket);
                bucket.closed = true;
                self.journal.settled(bucket.end_ms);
            } else if closed || self.rows.wants_changes() {
                for i in 0..bucket.touched.len() {
                    let row = bucket.touched[i];
                    self.write(bucket, row, closed);
                }
            }
        }
        self.buckets = buckets;
        if updates {
            self.retire_updated();
        }
    }

    /// Retires closed buckets themselves, where there are no retained keys beside them.
    fn retire_updated(&mut self) {
        while self.buckets.front().is_some_and(|bucket| bucket.end_ms <= self.dropped_end_ms) {
            let Some(bucket) = self.buckets.pop_front() else { return };
            self.forget_current();
            self.drop_closed(bucket);
        }
        self.retire();
    }
}

/// Collects the keys of a bucket that the channel has.
pub(super) fn retained_of(bucket: &Bucket) -> Retained {
    let mut retained = Retained::new(bucket.end_ms);
    for row in (0..bucket.len() as u32).filter(|row| bucket.is_shown(*row)) {
        retained.push(bucket.key(row));
    }
    retained
}
