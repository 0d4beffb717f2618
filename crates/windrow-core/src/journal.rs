//! The journal: a view's state as records of its own topic, enough to restore it exactly.
//!
//! **In** what was touched since the last cut. **Out** records; and on restoring, sections to apply in order.
//! **Before** this file: `state`. **After** it: `out`.
//!
//! Two kinds of records. A *delta* holds what one commit touched: absolute values of scalars, added elements of sets, windows
//! closed and retired, and the view's own position and watermark. A *slice* holds a part of the whole state, as it is at
//! one commit. Slices of one *series* together hold all that was there when it began; what came later is in the deltas
//! beside them. So a journal can be cut off before the commit that holds the first slice of any complete series. In a commit the
//! delta comes first.
//!
//! **Invariant:** every record names the commit and the plan's fingerprint; a record that does not fit what came before is an
//! error, never a guess. No record is larger than its bound, but for one element that is so by itself.
//! **Not here:** the topic, its purge, and reading it (the worker); applying sections (`engine`).

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    block::Cells,
    engine::{SeriesEvent, TaskOptions},
    out::{OutRecord, Place, Target},
    plan::ViewPlan,
    state::{Bucket, Retained, canon},
};

mod read;
mod series;
mod write;

use read::{Block, Kind, Restoring};
pub(crate) use read::{ClosedWindow, Section};
use series::Series;
use write::BlockWriter;

/// A journal of positions alone begins its next series, of one empty slice, after this many bytes: some 2,000 commits.
const POSITIONS_EVERY_BYTES: u64 = 64 << 10;
/// First byte of every record.
const VERSION: u8 = 1;

/// How far a view has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) position: i64,
    pub(crate) highest_ms: i64,
    pub(crate) watermark_ms: i64,
    pub(crate) closed_end_ms: i64,
    pub(crate) dropped_end_ms: i64,
}

/// How far a source partition has come, as a task knows it that merges partials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceMark {
    pub(crate) partition: i32,
    /// First offset that is not merged.
    pub(crate) next_offset: i64,
    pub(crate) watermark_ms: i64,
    /// The same as records alone say it.
    pub(crate) data_ms: i64,
    /// It came when the others had begun, and has not caught up.
    pub(crate) added: bool,
    /// The journal has not seen it like this.
    pub(crate) changed: bool,
}

/// Which part of a view's aggregation a journal belongs to: they are not the same state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Local,
    Scatter,
    Merge,
}

impl Part {
    /// What tells the records of one part from those of another. Of a local view it is nothing, as it always was.
    pub(crate) fn salt(self) -> u64 {
        match self {
            Part::Local => 0,
            Part::Scatter => 0x5363_6174_7465_7231,
            Part::Merge => 0x4d65_7267_6532_7374,
        }
    }
}

/// What happened to a window since the last cut.
#[derive(Debug)]
enum Mark {
    Closed { end_ms: i64, retains: bool, keys: Vec<u8> },
    Settled { end_ms: i64 },
    Retired { end_ms: i64 },
}

/// The journal of one view over one partition.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) options: TaskOptions,
    /// Keys of a window that is being closed, of which more are to come.
    pub(crate) closing: Vec<u8>,
    view: Arc<ViewPlan>,
    part: Part,
    commit: u64,
    progress: Option<Progress>,
    marks: Vec<Mark>,
    series: Series,
    restoring: Restoring,
}

/// All rows of a view: those of its windows, and what the finals of each key add up to, in a bucket that ends after all windows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowsOf<'a> {
    pub(crate) buckets: &'a VecDeque<Bucket>,
    pub(crate) over: Option<&'a Bucket>,
}

impl<'a> RowsOf<'a> {
    fn all(self) -> impl Iterator<Item = &'a Bucket> {
        self.buckets.iter().chain(self.over)
    }

    /// Returns the first bucket that ends there or later.
    fn from(self, end_ms: i64) -> Option<&'a Bucket> {
        let at = self.buckets.partition_point(|bucket| bucket.end_ms < end_ms);
        self.buckets.get(at).or(self.over)
    }
}

/// What one cut writes.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) series: Vec<SeriesEvent>,
}

impl Journal {
    pub(crate) fn new(view: Arc<ViewPlan>, part: Part, mut options: TaskOptions) -> Self {
        if part == Part::Scatter {
            options.snapshot_every_bytes = options.snapshot_every_bytes.min(POSITIONS_EVERY_BYTES);
        }
        Self {
            options,
            closing: Vec::new(),
            view,
            part,
            commit: 0,
            progress: None,
            marks: Vec::new(),
            series: Series::default(),
            restoring: Restoring::default(),
        }
    }

    /// Number of the last commit; 0 = none.
    pub(crate) fn commit(&self) -> u64 {
        self.commit
    }

    /// Notes a window whose bucket is dropped. Rows that the journal has not seen as they are now go along.
    pub(crate) fn closed(&mut self, bucket: &Bucket, retains: bool) {
        let mut keys = Vec::new();
        for row in bucket.touched.iter().filter(|_| retains) {
            keys.push(u8::from(bucket.is_shown(*row)));
            canon::put_unsigned(bucket.key(*row).len() as u64, &mut keys);
            keys.extend_from_slice(bucket.key(*row));
        }
        self.marks.push(Mark::Closed { end_ms: bucket.end_ms, retains, keys });
    }

    /// Notes a window whose finals are out but which stays for late records.
    pub(crate) fn settled(&mut self, end_ms: i64) {
        self.marks.push(Mark::Settled { end_ms });
    }

    /// Notes a window whose keys are forgotten.
    pub(crate) fn retired(&mut self, end_ms: i64) {
        self.marks.push(Mark::Retired { end_ms });
    }

    /// Writes what changed since the last call, if anything did.
    pub(crate) fn write(
        &mut self,
        progress: Progress,
        rows: RowsOf<'_>,
        retained: &VecDeque<Retained>,
        sources: &[SourceMark],
    ) -> Written {
        let mut written = Written::default();
        let still = self.progress == Some(progress) && self.marks.is_empty();
        let changed = || sources.iter().filter(|mark| mark.changed);
        if still && changed().next().is_none() && rows.all().all(|bucket| bucket.touched.is_empty()) {
            return written;
        }
        self.commit += 1;
        self.progress = Some(progress);
        let mut writer =
            BlockWriter::new(self.fingerprint(), self.commit, self.options.journal_block_max_bytes);
        writer.progress(&progress);
        changed().for_each(|mark| writer.source(mark));
        for bucket in rows.all() {
            for row in &bucket.touched {
                writer.row(bucket, *row, Cells::Changed);
            }
        }
        for mark in self.marks.drain(..) {
            match mark {
                Mark::Closed { end_ms, retains, keys } => writer.closed(end_ms, retains, &keys),
                Mark::Settled { end_ms } => writer.settled(end_ms),
                Mark::Retired { end_ms } => writer.retired(end_ms),
            }
        }
        writer.finish_delta();
        self.series.count(writer.records_bytes());
        // Slices show the state after the delta, so they come after it.
        self.series.write(&self.options, rows, retained, sources, &mut writer);
        let view = self.view.index;
        written.series.extend(self.series.take_began().map(|series| SeriesEvent::Began { view, series }));
        let completed = self.series.take_completed();
        written.series.extend(completed.map(|series| SeriesEvent::Completed { view, series }));
        written.records = writer.into_records();
        written
    }

    /// Addresses one record. The key only helps people who look into the topic.
    pub(crate) fn record(&self, value: Vec<u8>, partition: i32, now_ms: i64) -> OutRecord {
        let key = match Kind::of(&value) {
            Some(Kind::Slice { series, index }) => format!("slice/{series}/{index}").into(),
            _ => Bytes::from_static(b"delta"),
        };
        OutRecord {
            target: Target::Journal(self.view.index),
            place: Place::Exact(partition),
            key: Some(key),
            value: Some(value.into()),
            headers: Vec::new(),
            timestamp_ms: now_ms,
        }
    }

    /// Reads one record and checks that it comes next.
    pub(crate) fn read(&mut self, value: Option<&[u8]>) -> Result<Block, JournalError> {
        let value = value.ok_or_else(|| self.corrupt("a record has no value"))?;
        if let Some(version) = value.first().copied().filter(|version| *version != VERSION) {
            return Err(JournalError::Version { view: self.view.spec.name.clone(), version });
        }
        let block = Block::parse(value).ok_or_else(|| self.corrupt("a record cannot be read"))?;
        if block.fingerprint != self.fingerprint() {
            return Err(self.other(block.fingerprint));
        }
        if let Some(commit) = self.restoring.begin(&block) {
            self.commit = commit;
        }
        self.restoring.check(&block, self.commit).map_err(|why| self.hole(why))?;
        Ok(block)
    }

    /// Tells whether a record may be passed over. A slice of a series that was never completed *must* be: it holds only a
    /// part of what is known.
    pub(crate) fn is_redundant(&self, block: &Block) -> bool {
        self.restoring.is_redundant(block)
    }

    /// Notes that all sections of a record are applied.
    pub(crate) fn applied(&mut self, block: &Block) -> Result<(), JournalError> {
        match block.kind {
            Kind::Slice { series, index } => self.series.seen(series, index),
            Kind::Delta { .. } => self.series.count(block.bytes),
        }
        if self.restoring.applied(block) {
            self.commit = block.commit;
            if self.progress.is_none() {
                return Err(self.corrupt("a commit has no position"));
            }
        }
        Ok(())
    }

    pub(crate) fn set_progress(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    /// Ends restoring; returns how far the view had come.
    pub(crate) fn finish(&mut self) -> Result<Option<Progress>, JournalError> {
        self.restoring.finish().map_err(|why| self.hole(why))?;
        self.closing = Vec::new();
        Ok(self.progress)
    }

    /// What the records of this part of this plan carry.
    fn fingerprint(&self) -> u64 {
        self.view.fingerprint ^ self.part.salt()
    }

    fn other(&self, found: u64) -> JournalError {
        let (view, plan) = (self.view.spec.name.clone(), self.view.fingerprint);
        let parts = [Part::Local, Part::Scatter, Part::Merge];
        if parts.iter().any(|part| found == plan ^ part.salt()) {
            let then = if found == plan { "where its records are" } else { "in two stages" };
            return JournalError::OtherStage { view, then };
        }
        JournalError::OtherPlan { view, expected: self.fingerprint(), found }
    }

    pub(crate) fn corrupt(&self, why: &'static str) -> JournalError {
        JournalError::Corrupt { view: self.view.spec.name.clone(), why }
    }

    fn hole(&self, why: &'static str) -> JournalError {
        JournalError::Hole { view: self.view.spec.name.clone(), why }
    }
}

/// Why a journal cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A record that this version cannot read.
    #[error(
        "journal of view {view}: format version {version} is not known; it was written by another version of windrow"
    )]
    Version {
        /// Name of the view.
        view: Arc<str>,
        /// The version found.
        version: u8,
    },
    /// The bytes are not what was written.
    #[error("journal of view {view} is damaged: {why}")]
    Corrupt {
        /// Name of the view.
        view: Arc<str>,
        /// What is wrong.
        why: &'static str,
    },
    /// The view's meaning changed since the journal was written.
    #[error(
        "view {view} is not the one its journal was written by (plan {found:016x} then, {expected:016x} now): its state \
         means something else; take the change back, give the view a new name, or start once with --reset {view} to build it \
         anew from the stream's history"
    )]
    OtherPlan {
        /// Name of the view.
        view: Arc<str>,
        /// Fingerprint of today's plan.
        expected: u64,
        /// Fingerprint in the journal.
        found: u64,
    },
    /// Groups were put together in another place when the journal was written.
    #[error(
        "view {view} was aggregated {then} when its journal was written, which is no longer so: its stream has another number \
         of partitions or another keyed_by; take the change back, give the view a new name, or start once with --reset {view}"
    )]
    OtherStage {
        /// Name of the view.
        view: Arc<str>,
        /// Where, in words.
        then: &'static str,
    },
    /// Records are missing at the front, in the middle or at the end.
    #[error("journal of view {view} has a hole: {why}")]
    Hole {
        /// Name of the view.
        view: Arc<str>,
        /// What is missing.
        why: &'static str,
    },
}
