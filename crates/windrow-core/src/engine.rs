//! The engine: one partition of one stream, with all views over it.
//!
//! **In** record batches. **Out** at each cut, everything that changed: rows, tombstones, late and bad records, journal.
//! **Before** this file: `batch`, `decode`, `expr`. **After** it: `out`, which the worker sends in one transaction.
//!
//! **Invariant:** after a cut, memory is what the journal will hold once those records are committed; folding the same
//! records gives the same finals however they are batched, cut and restarted; a (key, window) becomes final exactly once.
//! **Not here:** topics, transactions, the wall clock (`now_ms` is an argument).

use std::{mem, sync::Arc};

use bumpalo::Bump;
use foldhash::fast::RandomState;

use crate::{
    batch::{Batch, Record, Records},
    decode::{BadReason, Decoder},
    journal::{Journal, JournalError},
    out::OutRecord,
    plan::StreamPlan,
    spec::OnBad,
};

mod close;
mod cut;
mod dead;
mod keys;
mod report;
mod restore;
mod rows;
mod view;

use dead::{DeadLetters, Source};
use keys::Keys;
pub use report::{Cut, Sample, SampleKind, SeriesEvent, StopReason, TaskError, TaskStats, ViewStats};
use view::{Reading, View};

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

/// One partition of one stream with all its views.
///
/// The life of a task: [`new`](Self::new), [`restore`](Self::restore) for each journal record, [`restored`](Self::restored),
/// [`start`](Self::start), then [`fold`](Self::fold) and [`cut`](Self::cut) until it is dropped. A commit that failed
/// leaves memory ahead of the log: drop the task and restore a new one.
#[derive(Debug)]
pub struct Task {
    plan: Arc<StreamPlan>,
    source: Source,
    options: TaskOptions,
    decoder: Decoder,
    keys: Keys,
    views: Vec<View>,
    /// Views whose position comes from their journal.
    restored: Vec<bool>,
    /// First offset that the task as a whole has not seen.
    next_offset: i64,
    /// Records below were bad once already, when their partition was read the first time.
    handled_offset: i64,
    bad_letters: DeadLetters,
    samples: Vec<Sample>,
    stats: TaskStats,
    arena: Bump,
}

/// Records between two clearings of the arena: it then holds what their text needed, not what a whole batch does.
const ARENA_RECORDS: usize = 1024;

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
        let hasher = RandomState::default();
        let views = plan.views.iter().map(|view| {
            let journal = Journal::new(view.clone(), options.clone());
            View::new(view.clone(), plan.spec.lateness_ms, hasher.clone(), journal)
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let decoder = Decoder::new(&plan).with_value_max_bytes(options.record_max_bytes);
        let stats = TaskStats { mistyped: vec![0; decoder.width()], ..TaskStats::default() };
        Ok(Self {
            source: Source { topic, partition },
            options,
            decoder,
            keys: Keys::new(&plan, hasher),
            restored: vec![false; views.len()],
            views,
            next_offset: 0,
            handled_offset: 0,
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
        self.views[view].restore(value)
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
        }
        self.next_offset = self.next_offset.max(offset);
    }

    /// Returns the lowest next offset of all views: where reading goes on, and what the group's offset becomes. A stopped
    /// view holds it back.
    pub fn position(&self) -> i64 {
        let active = self.views.iter().filter(|view| view.is_active());
        active.map(|view| view.position).min().unwrap_or(self.next_offset)
    }

    /// Folds the records of one batch that are not folded yet.
    ///
    /// - **Errors:** the task cannot go on; drop it, its epoch is half folded.
    pub fn fold(&mut self, batch: &Batch, now_ms: i64) -> Result<(), StopReason> {
        if !batch.is_control() {
            let (plan, source) = (self.plan.clone(), self.source.clone());
            let mut arena = mem::take(&mut self.arena);
            let mut records = batch.records_from(self.reading_position());
            while self.fold_some(&plan, &source, &mut records, now_ms, &arena)? {
                arena.reset();
            }
            arena.reset();
            self.arena = arena;
        }
        self.advance(batch.last_offset() + 1);
        Ok(())
    }

    /// Folds the next few records; tells whether there may be more.
    fn fold_some<'a, 'b: 'a>(
        &mut self,
        plan: &'a StreamPlan,
        source: &'a Source,
        records: &mut Records<'b>,
        now_ms: i64,
        arena: &'a Bump,
    ) -> Result<bool, StopReason> {
        let mut row = Vec::with_capacity(self.decoder.width());
        let tp = (&*source.topic, source.partition);
        for _ in 0..ARENA_RECORDS {
            let record: Option<Record<'a>> = records.next();
            let Some(record) = record else { return Ok(false) };
            self.stats.records += u64::from(record.offset >= self.handled_offset);
            let mistyped = &mut self.stats.mistyped;
            let ts_ms = match self.decoder.decode(tp, &record, now_ms, arena, &mut row, mistyped) {
                Ok(ts_ms) => ts_ms,
                Err(reason) => {
                    self.bad(source, &record, reason)?;
                    continue;
                }
            };
            self.keys.next();
            let read = Reading { record: &record, ts_ms, row: &row, arena, source };
            for (view, plan) in self.views.iter_mut().zip(&plan.views) {
                if record.offset >= view.position && !view.is_stopped() {
                    view.accept(plan, &read, &mut self.keys);
                }
            }
        }
        Ok(true)
    }

    /// Lowest offset that a view still takes.
    fn reading_position(&self) -> i64 {
        let going = self.views.iter().filter(|view| view.is_active() && !view.is_stopped());
        going.map(|view| view.position).min().unwrap_or(self.next_offset)
    }

    #[cold]
    fn bad(&mut self, source: &Source, record: &Record<'_>, reason: BadReason) -> Result<(), StopReason> {
        if record.offset < self.handled_offset {
            return Ok(());
        }
        self.stats.bad += 1;
        *self.stats.bad_by_reason.entry(reason).or_default() += 1;
        if self.samples.len() < self.options.samples_max {
            let (kind, detail) = (SampleKind::Bad(reason), reason.to_string());
            self.samples.push(Sample { kind, view: None, offset: record.offset, detail });
        }
        match self.plan.spec.on_bad {
            OnBad::Skip => {}
            OnBad::DeadLetter => self.bad_letters.bad(source, record, reason.label()),
            OnBad::Stop => {
                let stream = self.plan.spec.name.clone();
                return Err(StopReason::Bad { stream, offset: record.offset, reason });
            }
        }
        Ok(())
    }

    /// Moves the position past offsets that hold no records: control batches, aborted and compacted ones.
    pub fn advance(&mut self, next_offset: i64) {
        for view in self.views.iter_mut().filter(|view| !view.is_stopped()) {
            view.position = view.position.max(next_offset);
        }
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// Ends a bounded input: the watermark goes to infinity, so every open window closes at the next cut.
    pub fn end(&mut self) {
        self.views.iter_mut().filter(|view| !view.is_stopped()).for_each(View::end);
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
            view.cut(self.source.partition, now_ms, out, &mut cut);
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
    /// - **Limits:** `view < plan.views.len()`; zeros otherwise.
    pub fn view_stats(&self, view: usize) -> ViewStats {
        self.views.get(view).map(View::stats).unwrap_or_default()
    }
}
