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
    rows::{self, Rows},
};
use crate::{
    batch::Record,
    decode::KEY_MAX_BYTES,
    journal::{Journal, Progress},
    out::Target,
    plan::{AggregateKind, Shape, ViewPlan},
    spec::{LatePolicy, OnFull},
    state::{Bucket, Retained, canon},
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

/// One view over one partition.
#[derive(Debug)]
pub(super) struct View {
    pub(super) plan: Arc<ViewPlan>,
    pub(super) position: i64,
    pub(super) watermark: Watermark,
    /// Windows that end at or before it have closed: a final is out, or nothing was in them.
    pub(super) closed_end_ms: i64,
    /// Windows that end at or before it take nothing more. Less than the above only when late records update finals.
    pub(super) dropped_end_ms: i64,
    /// By window end.
    pub(super) buckets: VecDeque<Bucket>,
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
    /// The bucket of the last record.
    current: (Window, usize),
    has_sets: bool,
}

/// No time is inside.
const NOWHERE: (Window, usize) = (Window { start_ms: 0, end_ms: 0 }, 0);
/// What one touched row is taken to bring to the next cut: its row, its headers, its journal entry.
const TOUCHED_BYTES: usize = 320;

impl View {
    pub(super) fn new(
        plan: Arc<ViewPlan>,
        lateness_ms: i64,
        hasher: RandomState,
        journal: Journal,
    ) -> Result<Self, TaskError> {
        let spec = &plan.spec;
        if spec.late == LatePolicy::Update && spec.on_full == OnFull::CloseOldest {
            let why = "late = \"update\" keeps closed windows, so on_full = \"close-oldest\" would free nothing; set \
                       on_full = \"refuse-new-keys\" or \"stop\"";
            return Err(TaskError::Options { view: spec.name.clone(), why });
        }
        Ok(Self {
            rows: Rows::new(plan.clone())?,
            position: 0,
            watermark: Watermark::new(lateness_ms),
            closed_end_ms: i64::MIN,
            dropped_end_ms: i64::MIN,
            buckets: VecDeque::new(),
            retained: VecDeque::new(),
            state_bytes: 0,
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
                let Source { topic, partition } = read.source;
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
            if !self.make_room(plan, read, window, hash, key) || self.is_dropped(read, window, key) {
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

    fn would_grow<'a>(&self, plan: &'a ViewPlan, read: &Reading<'_, 'a>, at: usize, row: u32) -> bool {
        let mut calls = plan.aggregates.iter().zip(&self.buckets[at].columns);
        calls.any(|(call, column)| {
            call.filter.as_ref().is_none_or(|filter| filter.holds(read.row, read.arena))
                && call.argument.as_ref().is_some_and(|argument| {
                    column.would_grow(row as usize, argument.eval(read.row, read.arena))
                })
        })
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
    fn is_dropped(&mut self, read: &Reading<'_, '_>, window: Window, key: &[u8]) -> bool {
        self.plan.is_windowed() && window.end_ms <= self.dropped_end_ms && self.is_late(read, window, key)
    }

    #[inline]
    fn locate(&mut self, window: Window, hash: u64, key: &[u8]) -> Option<(usize, u32)> {
        let at = if self.current.0 == window { self.current.1 } else { self.find(window)? };
        Some((at, self.buckets[at].find(hash, key)?))
    }

    /// Looks the window's bucket up and remembers it.
    fn find(&mut self, window: Window) -> Option<usize> {
        let at = self.buckets.binary_search_by_key(&window.end_ms, |bucket| bucket.end_ms).ok()?;
        self.current = (window, at);
        Some(at)
    }

    fn insert(&mut self, plan: &ViewPlan, window: Window, hash: u64, key: &[u8]) -> Option<(usize, u32)> {
        let at = match self.find(window) {
            Some(at) => at,
            None => {
                let at = self.buckets.partition_point(|bucket| bucket.end_ms < window.end_ms);
                let bucket = Bucket::new(window.end_ms, &plan.aggregates);
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

    /// Answers a full state; tells whether the record may go in after all.
    #[cold]
    fn make_room<'a>(
        &mut self,
        plan: &'a ViewPlan,
        read: &Reading<'_, 'a>,
        window: Window,
        hash: u64,
        key: &[u8],
    ) -> bool {
        let max = plan.spec.state_max_bytes;
        while self.state_bytes >= max {
            let place = self.locate(window, hash, key);
            if place.is_some_and(|(at, row)| !(self.has_sets && self.would_grow(plan, read, at, row))) {
                return true;
            }
            match plan.spec.on_full {
                OnFull::CloseOldest if self.close_oldest() => {}
                OnFull::RefuseNewKeys | OnFull::CloseOldest => {
                    let what = if place.is_some() { "a new element of a set" } else { "a new key" };
                    self.refuse(read, &format!("the state holds {max} bytes, its bound, and this is {what}"));
                    return false;
                }
                OnFull::Stop => {
                    self.stop(read, max);
                    return false;
                }
            }
        }
        true
    }

    fn stop(&mut self, read: &Reading<'_, '_>, max: usize) {
        let why = format!(
            "view {} stops at offset {}: its state holds {max} bytes, which is state_max, and on_full = \"stop\"",
            self.plan.spec.name, read.record.offset
        );
        self.sample(SampleKind::Stopped, read.record.offset, || why.clone());
        self.position = read.record.offset;
        self.stats.stopped = Some(why.into());
    }

    fn refuse(&mut self, read: &Reading<'_, '_>, why: &str) {
        self.stats.refused += 1;
        self.sample(SampleKind::Refused, read.record.offset, || why.to_owned());
    }

    fn late(&mut self, read: &Reading<'_, '_>, window: Window, key: &[u8]) {
        let plan = &self.plan;
        let arena = Bump::new();
        let mut reader = canon::Reader(key);
        let datums: Vec<Datum<'_>> =
            plan.keys.iter().map(|column| reader.datum(column.ty, &arena).unwrap_or(Datum::Null)).collect();
        let mut json = Vec::new();
        rows::group_json(&datums, &mut json);
        let closes_ms = window.end_ms.saturating_add(plan.spec.grace_ms);
        let watermark_ms = self.watermark.ms();
        // A window that was closed early, to make room, is late by nothing.
        let late_ms = (watermark_ms != ENDED_MS).then(|| watermark_ms.saturating_sub(closes_ms).max(0));
        let late = Lateness { key: &json, window: window.header(), late_ms };
        if plan.spec.late == LatePolicy::Topic {
            self.late_letters.late(Target::Late(plan.index), read.source, read.record, &late);
        }
        self.sample(SampleKind::Late, read.record.offset, || {
            let key = String::from_utf8_lossy(&json[..json.len().min(200)]).into_owned();
            format!("window {} of {key} had closed {} ms before", late.window, late.text())
        });
    }

    fn sample(&mut self, kind: SampleKind, offset: i64, detail: impl FnOnce() -> String) {
        if self.samples.len() < self.journal.options.samples_max {
            let view = Some(self.plan.spec.name.clone());
            self.samples.push(Sample { kind, view, offset, detail: detail() });
        }
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.rows.bytes() + self.late_letters.bytes() + self.touched * TOUCHED_BYTES
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
        let open = self.buckets.iter().filter(|bucket| !bucket.closed);
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
