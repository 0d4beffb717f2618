//! One owned partition: its task, its position, its end.
//!
//! **In** what the reader fetched. **Out** folds, cuts, and the moment a bounded input is over.
//! **Invariant:** the end of a bounded input is reported once, after the commit that held the last finals.

use std::sync::Arc;

use bytes::Bytes;
use windrow_core::{
    engine::{SeriesEvent, Task},
    out::{OutRecord, Place, Target},
    watermark::ENDED_MS,
};

use super::{commit::Epoch, numbers::Numbers, source::Source};
use crate::{
    log::{Fetched, Gap, GapKind, Log, LogError, Result, Topic, Tp},
    stats::Stats,
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
    /// The position of the last cut.
    committed: i64,
    /// Position of each view at the last cut, and at the last cut that was committed: where a failure is counted.
    cut: Vec<i64>,
    safe: Vec<i64>,
    /// Records about the stream itself, which go with the next cut.
    letters: Vec<OutRecord>,
    end: End,
    source: Source,
    work: StreamWork,
    numbers: Numbers,
    scratch: Vec<OutRecord>,
}

impl Owned {
    pub(super) fn new(
        task: Task,
        work: StreamWork,
        (tp, source): (&Tp, Source),
        start: i64,
        stats: &Arc<Stats>,
    ) -> Self {
        let end = if work.plan.spec.until_end { End::Unknown } else { End::None };
        let numbers = Numbers::new(stats, &work, tp);
        let cut = positions(&task, &work);
        let (safe, letters, scratch) = (cut.clone(), Vec::new(), Vec::new());
        Self { task, start, committed: start, cut, safe, letters, end, source, work, numbers, scratch }
    }

    /// Returns the topics that the task writes to.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.work.targets.topics()
    }

    /// Returns the views that write to `topic`, each with its last committed position.
    pub(super) fn writers_of(&self, topic: &str) -> impl Iterator<Item = (usize, i64)> {
        let views = self.work.targets.writers_of(topic);
        views.into_iter().filter_map(|view| Some((view, *self.safe.get(view)?)))
    }

    /// Returns all views, each with its last committed position.
    pub(super) fn views(&self) -> impl Iterator<Item = (usize, i64)> {
        self.work.views().filter_map(|view| Some((view, *self.safe.get(view)?)))
    }

    /// Returns the position that was committed, when what lies below it in the source is needed no more.
    pub(super) fn consumed(&self) -> Option<i64> {
        self.work.merges().then_some(self.committed)
    }

    /// Names a view.
    pub(super) fn view_name(&self, view: usize) -> &str {
        self.work.plan.views.get(view).map_or("", |view| &view.spec.name)
    }

    pub(super) fn fold(&mut self, item: &Fetched, now_ms: i64) -> Result<()> {
        if let Some(gap) = item.gap {
            self.on_gap(&item.tp, gap)?;
        }
        for batch in &item.batches {
            self.task.fold(batch, now_ms).map_err(|stop| LogError::Fatal(stop.to_string()))?;
        }
        self.task.advance(item.next);
        self.numbers.lag.set((item.last_stable - item.next).max(0));
        Ok(())
    }

    /// Returns the position that the journals say, once the last cut is committed.
    pub(super) fn last_cut(&self) -> i64 {
        self.committed
    }

    /// Records are gone that were never folded (or that were folded and are gone since): counted, logged, told in a letter.
    fn on_gap(&mut self, tp: &Tp, gap: Gap) -> Result<()> {
        let (kind, (from, to)) = (gap.kind(), gap.range());
        self.numbers.gap.add(gap.count());
        tracing::error!(partition = %tp, from, to, "{kind}: records are lost");
        if self.work.gap_stops {
            return Err(LogError::Fatal(format!(
                "{tp}: {kind}, so offsets {from} to {to} are gone, and on_gap = \"stop\"; raise the topic's retention, or set \
                 on_gap = \"continue\" to go on without them"
            )));
        }
        if gap.kind() == GapKind::Truncated {
            // Other records will have those offsets.
            self.task.rewind(gap.to);
        }
        if self.work.targets.has_letters() {
            self.letters.push(gap_letter(tp, gap));
        }
        Ok(())
    }

    pub(super) fn wants_end(&self) -> bool {
        matches!(self.end, End::Unknown | End::At(_))
    }

    /// Finds the end of a bounded input, and closes every window once it is folded.
    pub(super) async fn check_end(&mut self, log: &dyn Log, tp: &Tp, next: i64) -> Result<()> {
        if self.work.merges() {
            // It ends when all its sources have said so.
            if self.task.watermark_ms() == ENDED_MS {
                self.end = End::Folded;
            }
            return Ok(());
        }
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
    ///
    /// - **Errors:** a record that its topic will not take; nothing of this epoch may be sent then.
    pub(super) fn cut(&mut self, tp: &Tp, now_ms: i64, epoch: &mut Epoch) -> Result<()> {
        let cut = self.task.cut(now_ms, &mut self.scratch);
        let letters = self.letters.drain(..).map(|letter| OutRecord { timestamp_ms: now_ms, ..letter });
        self.scratch.extend(letters);
        let targets: &Targets = &self.work.targets;
        for mut record in self.scratch.drain(..) {
            self.source.mark(&mut record);
            epoch.records.push(targets.resolve(record)?);
        }
        epoch.offsets.push((tp.clone(), cut.next_offset));
        epoch.moved |= cut.next_offset != self.committed;
        self.committed = cut.next_offset;
        for event in cut.series {
            match event {
                SeriesEvent::Began { view, .. } => epoch.began.extend(self.work.journal(view, tp)),
                SeriesEvent::Completed { view, .. } => epoch.completed.extend(self.work.journal(view, tp)),
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
        self.cut = positions(&self.task, &self.work);
        self.numbers.show(&self.task);
        Ok(())
    }

    /// The partition goes to another worker.
    pub(super) fn forget(&self) {
        self.numbers.forget();
    }

    /// Tells, once, that the commit which just returned held the last finals.
    pub(super) fn committed(&mut self) -> bool {
        self.safe.clone_from(&self.cut);
        let done = self.end == End::Sent;
        if done {
            self.end = End::None;
        }
        done
    }
}

fn positions(task: &Task, work: &StreamWork) -> Vec<i64> {
    (0..work.plan.views.len()).map(|view| task.view_stats(view).position).collect()
}

fn gap_letter(tp: &Tp, gap: Gap) -> OutRecord {
    let (from, to) = gap.range();
    let headers = vec![
        ("reason", Bytes::from_static(b"gap")),
        ("cause", gap.kind().to_string().into()),
        ("source_topic", Bytes::copy_from_slice(tp.topic.as_bytes())),
        ("source_partition", tp.partition.to_string().into()),
        ("source_offset", from.to_string().into()),
        ("source_end", to.to_string().into()),
        ("count", gap.count().to_string().into()),
    ];
    let place = Place::Hash(tp.partition.cast_unsigned());
    OutRecord { target: Target::Bad, place, key: None, value: None, headers, timestamp_ms: 0 }
}
