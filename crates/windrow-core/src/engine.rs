//! The engine: one partition of one stream, with all views over it.
//!
//! **In** record batches. **Out** at each cut, everything that changed: rows, tombstones, late and bad records, journal.
//! **Before** this file: `batch`, `decode`, `expr`. **After** it: `out`, which the worker sends in one transaction.
//!
//! **Invariant:** after a cut, memory is what the journal will hold once those records are committed; folding the same
//! records gives the same finals however they are batched, cut and restarted; a (key, window) becomes final exactly once.
//! **Not here:** topics, transactions, the wall clock (`now_ms` is an argument).

use std::sync::Arc;

use crate::{batch::Batch, journal::JournalError, out::OutRecord, plan::StreamPlan};

mod report;

pub use report::{Cut, Sample, SampleKind, SeriesEvent, StopReason, TaskError, TaskStats, ViewStats};

/// Bounds of a task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Largest journal record before compression: half of what the topic takes.
    pub journal_block_max_bytes: usize,
    /// Largest snapshot slice written in one cut.
    pub snapshot_slice_max_bytes: usize,
    /// Journal bytes since the last snapshot series began that begin the next one.
    pub snapshot_every_bytes: u64,
    /// Most samples a cut hands to the log.
    pub samples_max: usize,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            journal_block_max_bytes: 512 << 10,
            snapshot_slice_max_bytes: 256 << 10,
            snapshot_every_bytes: 8 << 20,
            samples_max: 8,
        }
    }
}

/// One partition of one stream with all its views.
///
/// The life of a task: [`new`](Self::new), [`restore`](Self::restore) for each journal record, [`restored`](Self::restored),
/// [`start`](Self::start), then [`fold`](Self::fold) and [`cut`](Self::cut) until it is dropped. A commit that failed
/// leaves memory ahead of the log: drop the task and restore a new one.
#[derive(Debug)]
pub struct Task {
    plan: Arc<StreamPlan>,
    position: i64,
}

impl Task {
    /// Makes an empty task.
    ///
    /// - **Errors:** options of a view that exclude each other.
    pub fn new(
        plan: Arc<StreamPlan>,
        topic: Arc<str>,
        partition: i32,
        options: TaskOptions,
    ) -> Result<Self, TaskError> {
        let _ = (topic, partition, options);
        Ok(Self { plan, position: 0 })
    }

    /// Applies one journal record of a view; call in offset order.
    pub fn restore(
        &mut self,
        view: usize,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), JournalError> {
        let _ = (view, key, value);
        Ok(())
    }

    /// Ends restoring; returns the lowest next offset of the views that ever committed, `None` when none did.
    ///
    /// - **Errors:** the journal ends inside a commit or a snapshot series.
    pub fn restored(&mut self) -> Result<Option<i64>, JournalError> {
        Ok(None)
    }

    /// Tells whether some view that keeps a position never committed one: it begins at [`start`](Self::start)'s offset,
    /// which should then be where the view's history begins, not where the others stand.
    pub fn has_fresh_views(&self) -> bool {
        true
    }

    /// Places the views that have no position of their own at `offset`. Restored views keep theirs: records below are
    /// passed over.
    pub fn start(&mut self, offset: i64) {
        self.position = offset;
    }

    /// Returns the lowest next offset of all views: where reading goes on.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Folds the records of one batch that are not folded yet.
    ///
    /// - **Errors:** the task cannot go on; drop it, its epoch is half folded.
    pub fn fold(&mut self, batch: &Batch, now_ms: i64) -> Result<(), StopReason> {
        let _ = now_ms;
        self.advance(batch.last_offset() + 1);
        Ok(())
    }

    /// Moves the position past offsets that hold no records: control batches, aborted and compacted ones.
    pub fn advance(&mut self, next_offset: i64) {
        self.position = self.position.max(next_offset);
    }

    /// Ends a bounded input: the watermark goes to infinity, so every open window closes at the next cut.
    pub fn end(&mut self) {}

    /// Estimates the bytes that the next cut writes, so that the worker can cut sooner.
    pub fn pending_bytes(&self) -> usize {
        0
    }

    /// Appends everything since the last cut to `out`.
    ///
    /// - **Shape:** per view channel rows (finals first, by window; then changes), user rows, tombstones, late records,
    ///   then journal; bad records of the stream last. The order is a function of the records folded.
    pub fn cut(&mut self, now_ms: i64, out: &mut Vec<OutRecord>) -> Cut {
        let _ = (now_ms, out);
        Cut { next_offset: self.position, ..Cut::default() }
    }

    /// Returns the numbers of the task.
    pub fn stats(&self) -> TaskStats {
        TaskStats { position: self.position, ..TaskStats::default() }
    }

    /// Returns the numbers of one view.
    ///
    /// - **Limits:** `view < plan.views.len()`; zeros otherwise.
    pub fn view_stats(&self, view: usize) -> ViewStats {
        let _ = (&self.plan, view);
        ViewStats::default()
    }
}
