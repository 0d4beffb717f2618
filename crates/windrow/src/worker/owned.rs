//! One owned partition: its task, its position, and the numbers it shows.
//!
//! **In** what the reader fetched. **Out** folds, cuts, and the moment a bounded input is over.
//! **Invariant:** the end of a bounded input is reported once, after the commit that held the last finals.

use std::{collections::BTreeMap, sync::Arc};

use windrow_core::{
    decode::BadReason,
    engine::{SeriesEvent, Task},
    out::OutRecord,
};

use super::commit::Epoch;
use crate::{
    log::{Fetched, Log, LogError, Result, Topic, Tp},
    stats::{Counter, Gauge, Stats},
    topics::{StreamWork, Targets},
};

/// How far a bounded input has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The stream is endless, or its end is reported already.
    None,
    /// The end is not known yet: nothing has come so far, or the input is still being written.
    Unknown,
    /// Folding up to here.
    At(i64),
    /// Folded; the finals go with the next commit.
    Folded,
    /// The finals are in the commit in flight.
    Sent,
}

pub(super) struct Owned {
    pub(super) task: Task,
    /// Where reading begins.
    pub(super) start: i64,
    committed: i64,
    end: End,
    work: StreamWork,
    numbers: Numbers,
    scratch: Vec<OutRecord>,
}

impl Owned {
    pub(super) fn new(task: Task, work: StreamWork, tp: &Tp, start: i64, stats: &Stats) -> Self {
        let end = if work.plan.spec.until_end { End::Unknown } else { End::None };
        let numbers = Numbers::new(stats, &work, tp);
        Self { task, start, committed: start, end, work, numbers, scratch: Vec::new() }
    }

    pub(super) fn fold(&mut self, item: &Fetched, now_ms: i64) -> Result<()> {
        if let Some(gap) = item.gap {
            self.numbers.gap.add((gap.to - gap.from).max(0).cast_unsigned());
            tracing::error!(partition = %item.tp, from = gap.from, to = gap.to, "retention overtook the position: records are lost");
            if self.work.gap_stops {
                return Err(LogError::Fatal(format!(
                    "{}: offsets {}..{} are no longer held and on_gap = \"stop\"; raise the topic's retention, or set \
                     on_gap = \"continue\" to go on without them",
                    item.tp, gap.from, gap.to
                )));
            }
        }
        for batch in &item.batches {
            self.task.fold(batch, now_ms).map_err(|stop| LogError::Fatal(stop.to_string()))?;
        }
        self.task.advance(item.next);
        self.numbers.lag.set((item.last_stable - item.next).max(0));
        Ok(())
    }

    pub(super) fn wants_end(&self) -> bool {
        matches!(self.end, End::Unknown | End::At(_))
    }

    /// Finds the end of a bounded input, and closes every window once it is folded.
    pub(super) async fn check_end(&mut self, log: &dyn Log, tp: &Tp, next: i64) -> Result<()> {
        if self.end == End::Unknown && *self.work.input_complete.borrow() {
            let ends = log.ends(std::slice::from_ref(tp)).await?;
            let end = ends.first().map_or(0, |e| e.high_watermark);
            // An empty partition of a file that is still to be loaded is not at its end.
            if end > 0 || self.work.empty_is_end {
                self.end = End::At(end);
            }
        }
        if let End::At(end) = self.end
            && next >= end
        {
            self.task.end();
            self.end = End::Folded;
        }
        Ok(())
    }

    /// Drains the task into the epoch.
    pub(super) fn cut(&mut self, tp: &Tp, now_ms: i64, epoch: &mut Epoch) {
        let cut = self.task.cut(now_ms, &mut self.scratch);
        let targets: &Targets = &self.work.targets;
        for record in self.scratch.drain(..) {
            let target = record.target;
            match targets.resolve(record) {
                Some(record) => epoch.records.push(record),
                // The plan and the topics disagree: a bug of ours, and never one to keep quiet about.
                None => tracing::error!(partition = %tp, ?target, "a record has no topic to go to"),
            }
        }
        epoch.offsets.push((tp.clone(), cut.next_offset));
        epoch.moved |= cut.next_offset != self.committed;
        self.committed = cut.next_offset;
        for event in cut.series {
            match event {
                SeriesEvent::Began { view, .. } => {
                    epoch.began.extend(targets.journal(view).map(|t| at(t, tp)))
                }
                SeriesEvent::Completed { view, .. } => {
                    epoch.completed.extend(targets.journal(view).map(|t| at(t, tp)))
                }
            }
        }
        if self.end == End::Folded {
            self.end = End::Sent;
            epoch.moved = true;
        }
        for sample in cut.samples {
            let view = sample.view.as_deref().unwrap_or("-");
            tracing::warn!(partition = %tp, offset = sample.offset, view, kind = ?sample.kind, "{}", sample.detail);
        }
        self.numbers.show(&self.task);
    }

    /// Tells, once, that the commit which just returned held the last finals.
    pub(super) fn committed(&mut self) -> bool {
        let done = self.end == End::Sent;
        if done {
            self.end = End::None;
        }
        done
    }
}

fn at(topic: Topic, tp: &Tp) -> Tp {
    Tp { topic, partition: tp.partition }
}

/// The numbers of one partition, and of each view in it.
struct Numbers {
    records: Arc<Counter>,
    bad: BTreeMap<BadReason, (Arc<Counter>, u64)>,
    gap: Arc<Counter>,
    lag: Arc<Gauge>,
    position: Arc<Gauge>,
    views: Vec<ViewNumbers>,
    seen_records: u64,
}

struct ViewNumbers {
    watermark: Arc<Gauge>,
    open_windows: Arc<Gauge>,
    keys: Arc<Gauge>,
    state_bytes: Arc<Gauge>,
    late: Arc<Counter>,
    refused: Arc<Counter>,
    seen_late: u64,
    seen_refused: u64,
}

impl Numbers {
    fn new(stats: &Stats, work: &StreamWork, tp: &Tp) -> Self {
        let of = || ("partition", work.plan.spec.name.clone(), Some(tp.partition));
        let views = work.plan.views.iter().map(|view| {
            let of = || ("view", view.spec.name.clone(), Some(tp.partition));
            ViewNumbers {
                watermark: stats.gauge(of(), "watermark"),
                open_windows: stats.gauge(of(), "open_windows"),
                keys: stats.gauge(of(), "keys"),
                state_bytes: stats.gauge(of(), "state_bytes"),
                late: stats.counter(of(), "late", ""),
                refused: stats.counter(of(), "refused", ""),
                seen_late: 0,
                seen_refused: 0,
            }
        });
        Self {
            records: stats.counter(of(), "records", ""),
            bad: BadReason::ALL
                .iter()
                .map(|reason| (*reason, (stats.counter(of(), "bad", reason.label()), 0)))
                .collect(),
            gap: stats.counter(of(), "gap", ""),
            lag: stats.gauge(of(), "lag"),
            position: stats.gauge(of(), "position"),
            views: views.collect(),
            seen_records: 0,
        }
    }

    fn show(&mut self, task: &Task) {
        let stats = task.stats();
        self.records.add(stats.records - self.seen_records);
        self.seen_records = stats.records;
        for (reason, total) in &stats.bad_by_reason {
            if let Some((counter, seen)) = self.bad.get_mut(reason) {
                counter.add(total - *seen);
                *seen = *total;
            }
        }
        self.position.set(stats.position);
        for (i, numbers) in self.views.iter_mut().enumerate() {
            let view = task.view_stats(i);
            numbers.watermark.set(view.watermark_ms);
            numbers.open_windows.set(view.open_windows);
            numbers.keys.set(view.keys);
            numbers.state_bytes.set(view.state_bytes);
            numbers.late.add(view.late - numbers.seen_late);
            numbers.refused.add(view.refused - numbers.seen_refused);
            (numbers.seen_late, numbers.seen_refused) = (view.late, view.refused);
        }
    }
}
