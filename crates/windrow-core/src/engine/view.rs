//! One view of a task: its position, its watermark, its windows.
//!
//! **In** decoded records, in offset order. **Out** rows and late records, held until the cut.
//! **Before** this file: `decode`, `keys`. **After** it: `close` (windows close), `cut` (everything is handed over).
//!
//! **Invariant:** whether a record is late depends on the records before it in its partition, never on where batches,
//! cuts or restarts fall. Every record is folded, filtered out, or counted as late or refused.

use std::{collections::VecDeque, sync::Arc};

use bumpalo::Bump;
use foldhash::fast::RandomState;

use super::{
    Sample, SampleKind, TaskError, ViewStats,
    dead::{DeadLetters, Lateness, Source},
    keys::Keys,
    over::Over,
    rows::{self, Rows},
    scatter::Scatter,
    sources::Sources,
};
use crate::{
    batch::Record,
    decode::KEY_MAX_BYTES,
    journal::{Journal, Progress},
    out::Target,
    plan::{AggregateKind, Shape, ViewPlan},
    spec::{LatePolicy, OnFull, StreamSpec},
    state::{Bucket, Reserve, Retained, canon},
    value::Datum,
    watermark::{ENDED_MS, Watermark},
    window::{RUNNING_END_MS, Window},
};

/// One record while views look at it.
pub(super) struct Reading<'r, 'a> {
    pub(super) record: &'r Record<'a>,
    pub(super) ts_ms: i64,
    pub(super) row: &'r [Datum<'a>],
    pub(super) arena: &'a Bump,
    pub(super) source: &'a Source,
}

/// Which part of a view's aggregation is done here.
#[derive(Debug)]
pub(super) enum Staged {
    /// All of it.
    Local,
    /// Records become partials.
    Scatter(Box<Scatter>),
    /// Partials become rows.
    Merge(Sources),
}

/// One view over one partition.
#[derive(Debug)]
pub(super) struct View {
    pub(super) plan: Arc<ViewPlan>,
    pub(super) stage: Staged,
    /// Topic of the stream; its name, where there are several.
    pub(super) stream_topic: Arc<str>,
    pub(super) position: i64,
    /// Position at the last cut.
    pub(super) cut_position: i64,
    pub(super) watermark: Watermark,
    /// Windows that end at or before it have closed: a final is out, or nothing was in them.
    pub(super) closed_end_ms: i64,
    /// Windows that end at or before it take nothing more. Less than the above only when late records update finals.
    pub(super) dropped_end_ms: i64,
    /// By window end.
    pub(super) buckets: VecDeque<Bucket>,
    /// What the finals of each key add up to, where the query asks for it.
    pub(super) over: Option<Over>,
    pub(super) reserve: Option<Reserve>,
    /// By window end.
    pub(super) retained: VecDeque<Retained>,
    pub(super) state_bytes: usize,
    pub(super) rows: Rows,
    pub(super) late_letters: DeadLetters,
    pub(super) journal: Journal,
    pub(super) samples: Vec<Sample>,
    pub(super) hasher: RandomState,
    pub(super) touched: usize,
    pub(super) stats: ViewStats,
    /// What it held when it stopped is gone.
    pub(super) dropped: bool,
    /// The bucket of the last record.
    current: (Window, usize),
    pub(super) has_sets: bool,
}

/// No time is inside.
const NOWHERE: (Window, usize) = (Window { start_ms: 0, end_ms: 0 }, 0);
/// What one touched row is taken to bring to the next cut: its row, its headers, its journal entry.
const TOUCHED_BYTES: usize = 320;

impl View {
    pub(super) fn new(
        plan: Arc<ViewPlan>,
        stream: &StreamSpec,
        hasher: RandomState,
        journal: Journal,
        stage: Staged,
    ) -> Result<Self, TaskError> {
        let spec = &plan.spec;
        // Partials bring watermarks, of which lateness has been taken off.
        let lateness_ms = if let Staged::Merge(_) = stage { 0 } else { stream.lateness_ms };
        if spec.late == LatePolicy::Update && spec.on_full == OnFull::CloseOldest {
            let why = "late = \"update\" keeps closed windows, so on_full = \"close-oldest\" would free nothing; set \
                       on_full = \"refuse-new-keys\" or \"stop\"";
            return Err(TaskError::Options { view: spec.name.clone(), why });
        }
        let over = Over::new(&plan, &stage);
        Ok(Self {
            rows: Rows::new(plan.clone())?,
            reserve: Reserve::of(&plan.over),
            state_bytes: over.as_ref().map_or(0, |over| over.bucket.bytes),
            over,
            stage,
            stream_topic: stream.topics.one().unwrap_or(&stream.name).clone(),
            position: 0,
            cut_position: 0,
            dropped: false,
            watermark: Watermark::new(lateness_ms),
            closed_end_ms: i64::MIN,
            dropped_end_ms: i64::MIN,
            buckets: VecDeque::new(),
            retained: VecDeque::new(),
            late_letters: DeadLetters::default(),
            journal,
            samples: Vec::new(),
            hasher,
            touched: 0,
            stats: ViewStats::default(),
            current: NOWHERE,
            has_sets: plan.aggregates.iter().any(|call| call.kind == AggregateKind::CountDistinct),
            plan,
        })
    }

    /// Tells whether the view has anything to do in a task: a stateless view without a topic is served from the source.
    pub(super) fn is_active(&self) -> bool {
        self.plan.shape != Shape::Stateless || self.plan.spec.topic.is_some()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stats.stopped.is_some()
    }

    /// Takes one record at or past the view's position.
    #[inline]
    pub(super) fn accept<'a>(&mut self, plan: &'a ViewPlan, read: &Reading<'_, 'a>, keys: &mut Keys) {
        if self.watermark.observe(read.ts_ms) {
            self.flow();
        }
        if plan.filter.as_ref().is_some_and(|filter| !filter.holds(read.row, read.arena)) {
            return;
        }
        let window = match plan.shape {
            Shape::Tumbling { .. } if self.current.0.holds(read.ts_ms) => self.current.0,
            Shape::Tumbling { size_ms } => Window::tumbling(read.ts_ms, size_ms),
            Shape::Running => Window { start_ms: i64::MIN, end_ms: RUNNING_END_MS },
            Shape::Stateless => {
                let Source { topic, partition, .. } = read.source;
                let (partition, offset) = (Datum::Int(i64::from(*partition)), Datum::Int(read.record.offset));
                self.rows.project(plan, read.row, read.arena, [Datum::Text(topic), partition, offset]);
                return;
            }
        };
        let (hash, key) = keys.of(plan, read.row, read.arena);
        if window.end_ms <= self.closed_end_ms && plan.is_windowed() && self.is_late(read, window, key) {
            return;
        }
        let mut place = self.locate(window, hash, key);
        if self.state_bytes >= plan.spec.state_max_bytes {
            if !self.make_room_for_record(plan, read, window, hash, key) || self.is_gone(read, window, key) {
                return;
            }
            place = self.locate(window, hash, key);
        }
        if place.is_none() {
            if key.len() > KEY_MAX_BYTES {
                self.refuse(read, "the group key is larger than 64 KiB");
                return;
            }
            place = self.insert(plan, window, hash, key);
        }
        if let Some((at, row)) = place {
            self.fold(plan, read, at, row);
        }
    }

    #[inline]
    fn fold<'a>(&mut self, plan: &'a ViewPlan, read: &Reading<'_, 'a>, at: usize, row: u32) {
        let bucket = &mut self.buckets[at];
        self.touched += usize::from(bucket.touch(row));
        let row = row as usize;
        let mut grown = 0;
        for (call, column) in plan.aggregates.iter().zip(&mut bucket.columns) {
            if call.filter.as_ref().is_some_and(|filter| !filter.holds(read.row, read.arena)) {
                continue;
            }
            match &call.argument {
                None => column.count(row),
                Some(argument) => grown += column.fold(row, argument.eval(read.row, read.arena)),
            }
        }
        if grown != 0 {
            bucket.bytes = bucket.bytes.saturating_add_signed(grown);
            self.state_bytes = self.state_bytes.saturating_add_signed(grown);
        }
    }

    /// Counts a record of a closed window; tells whether it is lost to the view.
    #[cold]
    fn is_late(&mut self, read: &Reading<'_, '_>, window: Window, key: &[u8]) -> bool {
        self.stats.late += 1;
        let dropped = window.end_ms <= self.dropped_end_ms;
        if dropped {
            self.late(read, window, key);
        }
        dropped
    }

    /// The same after windows were closed to make room: it may have been this one.
    fn is_gone(&mut self, read: &Reading<'_, '_>, window: Window, key: &[u8]) -> bool {
        self.plan.is_windowed() && window.end_ms <= self.dropped_end_ms && self.is_late(read, window, key)
    }

    #[inline]
    pub(super) fn locate(&mut self, window: Window, hash: u64, key: &[u8]) -> Option<(usize, u32)> {
        let at = if self.current.0 == window { self.current.1 } else { self.find(window)? };
        Some((at, self.buckets[at].find(hash, key)?))
    }

    /// Looks the window's bucket up and remembers it.
    fn find(&mut self, window: Window) -> Option<usize> {
        let at = self.buckets.binary_search_by_key(&window.end_ms, |bucket| bucket.end_ms).ok()?;
        self.current = (window, at);
        Some(at)
    }

    pub(super) fn insert(
        &mut self,
        plan: &ViewPlan,
        window: Window,
        hash: u64,
        key: &[u8],
    ) -> Option<(usize, u32)> {
        let at = match self.find(window) {
            Some(at) => at,
            None => {
                let at = self.buckets.partition_point(|bucket| bucket.end_ms < window.end_ms);
                let bucket = Bucket::new(window.end_ms, &plan.aggregates).with_reserve(self.reserve);
                self.state_bytes += bucket.bytes;
                self.buckets.insert(at, bucket);
                self.current = (window, at);
                at
            }
        };
        let before = self.buckets[at].bytes;
        let row = self.buckets[at].insert(hash, key);
        debug_assert!(row.is_some(), "a bucket outgrew its 32 bits below the state's bound");
        self.state_bytes += self.buckets[at].bytes - before;
        row.map(|row| (at, row))
    }

    /// Forgets the remembered bucket: buckets moved.
    pub(super) fn forget_current(&mut self) {
        self.current = NOWHERE;
    }

    pub(super) fn refuse(&mut self, read: &Reading<'_, '_>, why: &str) {
        self.stats.refused += 1;
        self.sample(SampleKind::Refused, read.record.offset, || why.to_owned());
    }

    fn late(&mut self, read: &Reading<'_, '_>, window: Window, key: &[u8]) {
        let plan = self.plan.clone();
        let json = self.key_json(key);
        let late_ms = self.late_by(window.end_ms.saturating_add(plan.spec.grace_ms));
        let late = Lateness { key: &json, window: window.header(), late_ms };
        if plan.spec.late == LatePolicy::Topic {
            self.late_letters.late(Target::Late(plan.index), read.source, read.record, &late);
        }
        self.sample(SampleKind::Late, read.record.offset, || {
            let key = String::from_utf8_lossy(&json[..json.len().min(200)]).into_owned();
            format!("window {} of {key} had closed {} ms before", late.window, late.text())
        });
    }

    pub(super) fn key_json(&self, key: &[u8]) -> Vec<u8> {
        let arena = Bump::new();
        let mut reader = canon::Reader(key);
        let keys = self.plan.keys.iter();
        let datums: Vec<Datum<'_>> =
            keys.map(|column| reader.datum(column.ty, &arena).unwrap_or(Datum::Null)).collect();
        let mut json = Vec::new();
        rows::group_json(&datums, &mut json);
        json
    }

    /// By how much a close has passed; `None` at the end of a bounded input.
    pub(super) fn late_by(&self, closes_ms: i64) -> Option<i64> {
        let watermark_ms = self.watermark.ms();
        // A window that was closed early, to make room, is late by nothing.
        (watermark_ms != ENDED_MS).then(|| watermark_ms.saturating_sub(closes_ms).max(0))
    }

    pub(super) fn sample(&mut self, kind: SampleKind, offset: i64, detail: impl FnOnce() -> String) {
        if self.samples.len() < self.journal.options.samples_max {
            let view = Some(self.plan.spec.name.clone());
            self.samples.push(Sample { kind, view, offset, detail: detail() });
        }
    }

    pub(super) fn pending_bytes(&self) -> usize {
        if self.dropped {
            return 0;
        }
        let state = match &self.stage {
            Staged::Scatter(scatter) => scatter.bytes() + self.state_bytes,
            Staged::Local | Staged::Merge(_) => self.touched * TOUCHED_BYTES,
        };
        self.rows.bytes() + self.late_letters.bytes() + state
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            position: self.position,
            highest_ms: self.watermark.highest_ms(),
            watermark_ms: self.watermark.ms(),
            closed_end_ms: self.closed_end_ms,
            dropped_end_ms: self.dropped_end_ms,
        }
    }

    pub(super) fn stats(&self) -> ViewStats {
        // What is scattered is counted where it is merged.
        let scatters = matches!(self.stage, Staged::Scatter(_));
        let open = self.buckets.iter().filter(|bucket| !bucket.closed && !scatters);
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        ViewStats {
            watermark_ms: self.watermark.ms(),
            open_windows: count(open.clone().count()),
            keys: count(open.map(Bucket::len).sum()),
            state_bytes: count(self.state_bytes),
            position: self.position,
            seq: self.journal.commit(),
            ..self.stats.clone()
        }
    }
}
