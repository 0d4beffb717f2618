//! The engine: one partition of one stream, with all views over it; or one partition of a view's partials.
//!
//! **In** record batches. **Out** at each cut, everything that changed: rows, tombstones, late and bad records, journal.
//! **Before** this file: `batch`, `decode`, `expr`. **After** it: `out`, which the worker sends in one transaction.
//!
//! **Invariant:** after a cut, memory is what the journal will hold once those records are committed; folding the same
//! records gives the same finals however they are batched, cut and restarted; a (key, window) becomes final exactly once.
//! **Not here:** topics, transactions, the wall clock (`now_ms` is an argument).

use std::sync::Arc;

use bumpalo::Bump;
use foldhash::fast::RandomState;

use crate::{
    decode::Decoder,
    journal::{Journal, JournalError, Part},
    ledger::SourceSet,
    out::OutRecord,
    plan::{Stage, StreamPlan},
    watermark::{ENDED_MS, NEVER_MS},
};

mod close;
mod cut;
mod dead;
mod fold;
mod full;
mod keys;
mod merge;
mod over;
mod report;
mod restore;
mod rows;
mod scatter;
mod sources;
mod view;

use dead::{DeadLetters, Source};
use keys::Keys;
pub use report::{Cut, Sample, SampleKind, SeriesEvent, StopReason, TaskError, TaskStats, ViewStats};
use scatter::Scatter;
use sources::Sources;
use view::{Staged, View};

/// Bounds of a task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Largest value of a record; a larger one is bad.
    pub record_max_bytes: usize,
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
            record_max_bytes: crate::decode::VALUE_MAX_BYTES,
            journal_block_max_bytes: 512 << 10,
            snapshot_slice_max_bytes: 256 << 10,
            snapshot_every_bytes: 8 << 20,
            samples_max: 8,
        }
    }
}

/// One partition of one stream with all its views, or one partition of the partials of one view.
///
/// The life of a task: [`new`](Self::new) or [`merge`](Self::merge), [`restore`](Self::restore) for each journal record,
/// [`restored`](Self::restored), [`start`](Self::start), then [`fold`](Self::fold) and [`cut`](Self::cut) until it is
/// dropped. A commit that failed leaves memory ahead of the log: drop the task and restore a new one.
#[derive(Debug)]
pub struct Task {
    plan: Arc<StreamPlan>,
    source: Source,
    options: TaskOptions,
    decoder: Decoder,
    keys: Keys,
    views: Vec<View>,
    /// Index in the plan of the first of them.
    first_view: usize,
    /// Views whose position comes from their journal.
    restored: Vec<bool>,
    /// First offset that the task as a whole has not seen.
    next_offset: i64,
    /// Records below were bad once already, when their partition was read the first time.
    handled_offset: i64,
    /// Position from which on the sources that are gone hold nobody.
    leave_at: Option<i64>,
    bad_letters: DeadLetters,
    samples: Vec<Sample>,
    stats: TaskStats,
    arena: Bump,
}

impl Task {
    /// Makes an empty task over a partition of a stream.
    ///
    /// - **Shape:** `stages` and `targets` have one entry per view of the plan; a view in two stages is scattered over that
    ///   many partitions of its partials topic, the number of others is not looked at.
    /// - **Errors:** options of a view that exclude each other.
    pub fn new(
        plan: Arc<StreamPlan>,
        stages: &[Stage],
        targets: &[i32],
        topic: Arc<str>,
        partition: i32,
        options: TaskOptions,
    ) -> Result<Self, TaskError> {
        debug_assert_eq!((stages.len(), targets.len()), (plan.views.len(), plan.views.len()));
        let staged = |view: usize| match (stages.get(view), targets.get(view)) {
            (Some(Stage::Two), Some(targets)) => {
                Staged::Scatter(Box::new(Scatter::new(*targets, options.journal_block_max_bytes)))
            }
            _ => Staged::Local,
        };
        let stages = (0..plan.views.len()).map(staged).collect();
        Self::with(plan, 0, stages, Source { topic, partition, number: partition }, options)
    }

    /// Says by which number state knows the partition: its place in the [`Ledger`](crate::ledger::Ledger) of a stream that reads
    /// several topics. Journal and partials go by it; rows and letters name topic and partition.
    #[must_use]
    pub fn numbered(mut self, number: i32) -> Self {
        self.source.number = number;
        self
    }

    /// Makes an empty task over a partition of the partials of one view: it merges what the sources of the stream bring. Its
    /// journal is the view's, its source the partials topic, read from the beginning when nothing was committed.
    ///
    /// - **Errors:** options of the view that exclude each other.
    /// - **Limits:** `view_index < plan.views.len()`.
    pub fn merge(
        plan: Arc<StreamPlan>,
        view_index: usize,
        sources: SourceSet,
        topic: Arc<str>,
        partition: i32,
        options: TaskOptions,
    ) -> Result<Self, TaskError> {
        let stages = vec![Staged::Merge(Sources::new(sources))];
        Self::with(plan, view_index, stages, Source { topic, partition, number: partition }, options)
    }

    fn with(
        plan: Arc<StreamPlan>,
        first_view: usize,
        stages: Vec<Staged>,
        source: Source,
        options: TaskOptions,
    ) -> Result<Self, TaskError> {
        let hasher = RandomState::default();
        let views = plan.views[first_view..].iter().zip(stages).map(|(view, stage)| {
            let part = match stage {
                Staged::Local => Part::Local,
                Staged::Scatter(_) => Part::Scatter,
                Staged::Merge(_) => Part::Merge,
            };
            let journal = Journal::new(view.clone(), part, options.clone());
            View::new(view.clone(), &plan.spec, hasher.clone(), journal, stage)
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let decoder = Decoder::new(&plan).with_value_max_bytes(options.record_max_bytes);
        let stats = TaskStats { mistyped: vec![0; decoder.width()], ..TaskStats::default() };
        Ok(Self {
            source,
            options,
            decoder,
            keys: Keys::new(&plan, hasher),
            restored: vec![false; views.len()],
            views,
            first_view,
            next_offset: 0,
            handled_offset: 0,
            leave_at: None,
            bad_letters: DeadLetters::default(),
            samples: Vec::new(),
            stats,
            arena: Bump::new(),
            plan,
        })
    }

    /// Applies one journal record of a view; call in offset order.
    ///
    /// - **Errors:** the record does not fit; the task is not to be used any more.
    pub fn restore(
        &mut self,
        view: usize,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), JournalError> {
        // All that counts stands in the value.
        let _ = key;
        self.views[view - self.first_view].restore(value)
    }

    /// Ends restoring; returns the lowest next offset of the views that ever committed, `None` when none did.
    ///
    /// - **Errors:** the journal ends inside a commit or a snapshot series.
    pub fn restored(&mut self) -> Result<Option<i64>, JournalError> {
        let mut lowest: Option<i64> = None;
        for (view, restored) in self.views.iter_mut().zip(&mut self.restored) {
            if let Some(position) = view.restored()? {
                *restored = true;
                lowest = Some(lowest.map_or(position, |lowest| lowest.min(position)));
                self.next_offset = self.next_offset.max(position);
            }
        }
        self.handled_offset = self.next_offset;
        Ok(lowest)
    }

    /// Tells whether some view that keeps a position never committed one: it begins at [`start`](Self::start)'s offset,
    /// which should then be where the view's history begins, not where the others stand.
    pub fn has_fresh_views(&self) -> bool {
        self.views.iter().zip(&self.restored).any(|(view, restored)| view.is_active() && !restored)
    }

    /// Places the views that have no position of their own at `offset`. Restored views keep theirs: records below are
    /// passed over.
    pub fn start(&mut self, offset: i64) {
        for (view, _) in self.views.iter_mut().zip(&self.restored).filter(|(_, restored)| !**restored) {
            view.position = offset;
            view.cut_position = offset;
        }
        self.next_offset = self.next_offset.max(offset);
    }

    /// Returns the lowest next offset of all views: where reading goes on, and what the group's offset becomes. A stopped
    /// view holds it back.
    pub fn position(&self) -> i64 {
        let active = self.views.iter().filter(|view| view.is_active());
        active.map(|view| view.position).min().unwrap_or(self.next_offset)
    }

    /// Moves the position past offsets that hold no records: control batches, aborted and compacted ones.
    pub fn advance(&mut self, next_offset: i64) {
        for view in self.views.iter_mut().filter(|view| !view.is_stopped()) {
            view.position = view.position.max(next_offset);
        }
        self.next_offset = self.next_offset.max(next_offset);
        self.leave();
    }

    /// Takes the sources that are gone out of what a merged view waits for, once everything below `offset` is merged: what they sent
    /// before they went still finds its windows open. Call after [`start`](Self::start); until then they hold the others.
    pub fn leave_at(&mut self, offset: i64) {
        self.leave_at = Some(offset);
        self.leave();
    }

    fn leave(&mut self) {
        if self.leave_at.is_some_and(|at| self.position() >= at) {
            self.leave_at = None;
            self.going().for_each(View::leave);
        }
    }

    /// Moves the position back: the log was cut at its end, and other records will have these offsets. What was folded stays.
    pub fn rewind(&mut self, next_offset: i64) {
        self.going().for_each(|view| view.position = view.position.min(next_offset));
        self.next_offset = self.next_offset.min(next_offset);
        self.handled_offset = self.handled_offset.min(next_offset);
    }

    /// Moves time on without records: silence. What is lower than the watermark changes nothing; where partials are merged
    /// it is the sources' time that counts, and nothing happens.
    pub fn flow_to(&mut self, watermark_ms: i64) {
        self.going().for_each(|view| view.flow_to(watermark_ms));
    }

    /// Ends a bounded input: the watermark goes to infinity, so every open window closes at the next cut. Where partials are
    /// merged nothing happens: that input ends when all its sources have.
    pub fn end(&mut self) {
        self.going().for_each(|view| view.flow_to(ENDED_MS));
    }

    fn going(&mut self) -> impl Iterator<Item = &mut View> {
        self.views.iter_mut().filter(|view| view.is_active() && !view.is_stopped())
    }

    /// Returns the watermark of the partition as all its views have it: the lowest of those that go on;
    /// [`NEVER_MS`] when there is none.
    pub fn watermark_ms(&self) -> i64 {
        let going = self.views.iter().filter(|view| view.is_active() && !view.is_stopped());
        going.map(|view| view.watermark.ms()).min().unwrap_or(NEVER_MS)
    }

    /// Stops one view at its last cut: what it took since is dropped, the others go on, and [`position`](Self::position) stays
    /// there until the task is made anew. `why` says the rule and a way out.
    pub fn stop_view(&mut self, view: usize, why: Arc<str>) {
        let at = view.checked_sub(self.first_view);
        if let Some(view) = at.and_then(|at| self.views.get_mut(at)) {
            view.stop_at_cut(why);
        }
    }

    /// Estimates the bytes that the next cut writes, so that the worker can cut sooner.
    pub fn pending_bytes(&self) -> usize {
        self.views.iter().map(View::pending_bytes).sum::<usize>() + self.bad_letters.bytes()
    }

    /// Appends everything since the last cut to `out`.
    ///
    /// - **Shape:** per view channel rows and user rows (finals and tombstones as windows closed, then changes), late
    ///   records, then journal; bad records of the stream last. The order is a function of the records folded.
    /// - **Cost:** linear in what changed, and one slice of a snapshot series while one runs.
    pub fn cut(&mut self, now_ms: i64, out: &mut Vec<OutRecord>) -> Cut {
        let mut cut = Cut::default();
        for view in self.views.iter_mut().filter(|view| view.is_active()) {
            view.cut(self.source.number, now_ms, out, &mut cut);
        }
        self.bad_letters.drain(now_ms, out);
        cut.samples.append(&mut self.samples);
        cut.samples.truncate(self.options.samples_max);
        cut.next_offset = self.position();
        cut
    }

    /// Returns the numbers of the task.
    pub fn stats(&self) -> TaskStats {
        TaskStats { position: self.position(), ..self.stats.clone() }
    }

    /// Returns the numbers of one view.
    ///
    /// - **Limits:** a view of this task; zeros otherwise.
    pub fn view_stats(&self, view: usize) -> ViewStats {
        let at = view.checked_sub(self.first_view);
        at.and_then(|at| self.views.get(at)).map(View::stats).unwrap_or_default()
    }
}
