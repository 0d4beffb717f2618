//! Folding: a batch goes through a task.
//!
//! **In** batches, in offset order. **Out** every view has taken the records that it had not; or the task cannot go on.
//! **Before** this file: `batch`, `decode`. **After** it: `view` (takes a row), `merge` (takes partials).
//!
//! **Invariant:** a record is decoded once for all views; nothing is allocated for one that is good.

use std::mem;

use bumpalo::Bump;

use super::{
    Sample, SampleKind, StopReason, Task,
    dead::Source,
    view::{Reading, Staged},
};
use crate::{
    batch::{Batch, Record, Records},
    decode::BadReason,
    plan::StreamPlan,
    spec::OnBad,
};

/// Records between two clearings of the arena: it then holds what their text needed, not what a whole batch does.
const ARENA_RECORDS: usize = 1024;

impl Task {
    /// Folds the records of one batch that are not folded yet.
    ///
    /// - **Errors:** the task cannot go on; drop it, its epoch is half folded.
    pub fn fold(&mut self, batch: &Batch, now_ms: i64) -> Result<(), StopReason> {
        if self.merges() {
            self.merge_batch(batch)?;
        } else if !batch.is_control() {
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

    fn merges(&self) -> bool {
        self.views.first().is_some_and(|view| matches!(view.stage, Staged::Merge(_)))
    }

    /// Merges the partials of one batch.
    fn merge_batch(&mut self, batch: &Batch) -> Result<(), StopReason> {
        let Some(view) = self.views.first_mut().filter(|_| !batch.is_control()) else { return Ok(()) };
        let plan = view.plan.clone();
        for record in batch.records_from(view.position) {
            if view.is_stopped() {
                break;
            }
            view.merge(&plan, record.value).map_err(|why| StopReason::Partial {
                view: plan.spec.name.clone(),
                topic: self.source.topic.clone(),
                partition: self.source.partition,
                offset: record.offset,
                why,
            })?;
        }
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
}
