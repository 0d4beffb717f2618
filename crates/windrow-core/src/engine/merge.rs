//! Merging: a view's second stage puts the partials of all source partitions together.
//!
//! **In** partial records, in offset order. **Out** state, as if all records had been in one partition.
//! **Before** this file: `partial`, `sources`. **After** it: `close`, `cut`, as for a local view.
//!
//! **Invariant:** cells add up in any order; a commit's rows are merged before its watermark counts, and once: what a source
//! sends again, because its commit was not a transaction, is passed over.
//! **Not here:** whether a record is late, which is judged where it is read: so a partial for a window that has closed is a
//! broken invariant, unless its source came later than the others or the window was closed to make room.

use std::{hash::BuildHasher, sync::Arc};

use super::{
    SampleKind,
    dead::{Lateness, Range},
    full::Full,
    rows::window_of,
    view::{Staged, View},
};
use crate::{
    block::RowRun,
    decode::{KEY_MAX_BYTES, TS_MS_MAX, TS_MS_MIN},
    journal::Part,
    out::Target,
    partial::{Head, PartialBlock},
    plan::{Shape, ViewPlan},
    spec::LatePolicy,
    state::{Bucket, canon::Reader},
    window::{RUNNING_END_MS, Window},
};

/// One row on its way into the state.
struct PartialRow<'r> {
    head: &'r Head,
    /// Its source may be late: it was added when others had gone ahead.
    added: bool,
    window: Window,
    key: &'r [u8],
}

impl View {
    /// Merges one record of partials.
    ///
    /// - **Errors:** the record is not one of ours; the state is half merged.
    pub(super) fn merge(&mut self, plan: &ViewPlan, value: Option<&[u8]>) -> Result<(), &'static str> {
        let value = value.ok_or("it has no value")?;
        let block = PartialBlock::parse(value, plan.fingerprint ^ Part::Merge.salt())?;
        let watermark_ms = self.watermark.ms();
        let Staged::Merge(sources) = &mut self.stage else { return Err("this task does not merge") };
        let mark = sources.mark(block.head.source, watermark_ms);
        if block.head.from < mark.next_offset && block.head.to > mark.next_offset {
            // No transaction of ours does that; which of the rows came before cannot be told.
            self.repeated(&block.head, mark.next_offset, "in part, and is added as a whole");
        }
        for run in block.runs(plan.aggregates.len()) {
            if block.head.to <= mark.next_offset {
                self.repeated(&block.head, mark.next_offset, "and is passed over");
                break;
            }
            let run = run.ok_or("a run of rows cannot be read")?;
            self.merge_run(plan, &block.head, mark.added, run).ok_or("a row cannot be read")?;
            if self.is_stopped() {
                return Ok(());
            }
        }
        if block.last {
            self.merge_head(&block.head);
        }
        Ok(())
    }

    fn merge_head(&mut self, head: &Head) {
        let Staged::Merge(sources) = &mut self.stage else { return };
        sources.take(head);
        self.follow_sources();
    }

    /// Takes the sources that are gone out of the set.
    pub(super) fn leave(&mut self) {
        let Staged::Merge(sources) = &mut self.stage else { return };
        sources.leave();
        self.follow_sources();
    }

    /// Goes to the watermark of the set.
    fn follow_sources(&mut self) {
        let Staged::Merge(sources) = &self.stage else { return };
        let (watermark_ms, data_ms) = (sources.watermark_ms(), sources.data_ms());
        if self.watermark.observe(data_ms) || watermark_ms > self.watermark.ms() {
            self.watermark.flow_to(watermark_ms);
            self.flow();
        }
    }

    /// Names where a partial comes from.
    fn source_of(&self, head: &Head) -> String {
        match self.named(head) {
            (Some(topic), partition) => format!("{topic}/{partition}"),
            (None, partition) => format!("partition {partition}"),
        }
    }

    fn named(&self, head: &Head) -> (Option<Arc<str>>, i32) {
        match &self.stage {
            Staged::Merge(sources) => sources.named(head.source),
            Staged::Local | Staged::Scatter(_) => (None, head.source),
        }
    }

    #[cold]
    fn repeated(&mut self, head: &Head, next_offset: i64, how: &str) {
        self.stats.repeated += 1;
        let Head { from, to, .. } = *head;
        let source = self.source_of(head);
        self.sample(SampleKind::Repeated, from, || {
            format!("partial of offsets {from} to {to} of {source} was sent before {how}: its next offset is {next_offset}")
        });
    }

    fn merge_run(&mut self, plan: &ViewPlan, head: &Head, added: bool, run: RowRun<'_>) -> Option<()> {
        let RowRun { end_ms, closed: _, count, mut keys, mut columns } = run;
        let window = window_at(plan, end_ms)?;
        for _ in 0..count {
            let key = keys.prefixed().filter(|key| is_key(plan, key))?;
            self.merge_row(plan, &PartialRow { head, added, window, key }, &mut columns)?;
            if self.is_stopped() {
                break;
            }
        }
        Some(())
    }

    fn merge_row(&mut self, plan: &ViewPlan, row: &PartialRow<'_>, cells: &mut [Reader<'_>]) -> Option<()> {
        let (window, key, hash) = (row.window, row.key, self.hasher.hash_one(row.key));
        let dropped = |view: &Self| plan.is_windowed() && window.end_ms <= view.dropped_end_ms;
        if dropped(self) {
            return self.too_late(plan, row, cells);
        }
        let mut place = self.locate(window, hash, key);
        if self.state_bytes >= plan.spec.state_max_bytes {
            if !self.make_room_for(plan, row, hash, cells)? {
                return Some(());
            }
            if dropped(self) {
                return self.too_late(plan, row, cells);
            }
            place = self.locate(window, hash, key);
        }
        if place.is_none() {
            place = self.insert(plan, window, hash, key);
        }
        let (at, row) = place?;
        let bucket = &mut self.buckets[at];
        self.touched += usize::from(bucket.touch(row));
        let grown = bucket.merge(row, cells)?;
        self.state_bytes = self.state_bytes.saturating_add_signed(grown);
        Some(())
    }

    /// Answers a full state; tells whether the row may go in after all. If not, its cells are passed over.
    #[cold]
    fn make_room_for(
        &mut self,
        plan: &ViewPlan,
        row: &PartialRow<'_>,
        hash: u64,
        cells: &mut [Reader<'_>],
    ) -> Option<bool> {
        let brought = scratch(plan, row, &mut cells.to_vec())?;
        let max = plan.spec.state_max_bytes;
        let grows = |view: &Self, at: usize, row: u32| view.buckets[at].would_grow(row, &brought);
        let why = match self.make_room(plan, row.window, hash, row.key, grows) {
            Ok(()) => return Some(true),
            Err(Full::Key) => "a new key",
            Err(Full::Element) => "a new element of a set",
            Err(Full::Stop) => {
                self.stop_at_cut(
                    format!("its state holds {max} bytes, which is state_max, and on_full = \"stop\"").into(),
                );
                return Some(false);
            }
        };
        scratch(plan, row, cells)?;
        self.stats.refused += 1;
        let Head { from, to, .. } = *row.head;
        let source = self.source_of(row.head);
        self.sample(SampleKind::Refused, from, || {
            format!(
                "offsets {from} to {to} of {source}: the state holds {max} bytes, its bound, and this is {why}"
            )
        });
        Some(false)
    }

    /// Writes a letter about a row whose window takes nothing more, and passes its cells over.
    #[cold]
    fn too_late(&mut self, plan: &ViewPlan, row: &PartialRow<'_>, cells: &mut [Reader<'_>]) -> Option<()> {
        let brought = scratch(plan, row, cells)?;
        let closes_ms = row.window.end_ms.saturating_add(plan.spec.grace_ms);
        let broken = !row.added && closes_ms <= self.watermark.ms();
        let (reason, kind) =
            if broken { ("partial", SampleKind::Partial) } else { ("late", SampleKind::Late) };
        self.stats.late += 1;
        let key = self.key_json(row.key);
        let late = Lateness { key: &key, window: row.window.header(), late_ms: self.late_by(closes_ms) };
        let Head { from, to, .. } = *row.head;
        if plan.spec.late == LatePolicy::Topic {
            let text = self.rows.letter(&brought, 0);
            let (topic, partition) = self.named(row.head);
            let topic = topic.as_ref().unwrap_or(&self.stream_topic);
            let range = Range { topic, partition, from, to, row: &text };
            self.late_letters.partial(Target::Late(plan.index), &range, reason, &late);
        }
        let source = self.source_of(row.head);
        self.sample(kind, from, || {
            let key = String::from_utf8_lossy(&key[..key.len().min(200)]).into_owned();
            let (window, by) = (&late.window, late.text());
            format!("partial of offsets {from} to {to} of {source}: window {window} of {key} had closed {by} ms before")
        });
        Some(())
    }
}

/// Reads the row's cells into a bucket of its own.
fn scratch(plan: &ViewPlan, row: &PartialRow<'_>, cells: &mut [Reader<'_>]) -> Option<Bucket> {
    let mut bucket = Bucket::new(row.window.end_ms, &plan.aggregates);
    let at = bucket.insert(0, row.key)?;
    bucket.merge(at, cells)?;
    Some(bucket)
}

/// Returns the window that ends there, if the view has such windows.
fn window_at(plan: &ViewPlan, end_ms: i64) -> Option<Window> {
    match plan.shape {
        Shape::Tumbling { size_ms } => {
            let inside = (TS_MS_MIN..=TS_MS_MAX.saturating_add(size_ms)).contains(&end_ms);
            window_of(plan, end_ms).filter(|_| inside && end_ms.rem_euclid(size_ms) == 0)
        }
        Shape::Running => {
            (end_ms == RUNNING_END_MS).then_some(Window { start_ms: i64::MIN, end_ms: RUNNING_END_MS })
        }
        Shape::Stateless => None,
    }
}

/// Tells whether the bytes are the canonical key of a group.
fn is_key(plan: &ViewPlan, key: &[u8]) -> bool {
    let mut reader = Reader(key);
    key.len() <= KEY_MAX_BYTES
        && plan.keys.iter().all(|_| reader.skip_text_value().is_some())
        && reader.is_empty()
}
