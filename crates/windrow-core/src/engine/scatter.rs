//! Scattering: a view's first stage folds its partition's records into partials, which another task merges.
//!
//! **In** the buckets of an epoch. **Out** partial records at the cut; nothing is kept past it but position and watermark.
//! **Before** this file: `view` (folds, judges lateness). **After** it: `partial`, then `merge` in another task.
//!
//! **Invariant:** a group goes to the partition that its channel row is in, whichever source it comes from; whenever the
//! watermark moved, every target partition is told.

use bumpalo::Bump;

use super::{
    Cut,
    rows::{self, push_keys},
    view::{Staged, View},
};
use crate::{
    batch::murmur2,
    journal::Part,
    out::{OutRecord, Place, Target},
    partial::{Head, PartialWriter},
    plan::ViewPlan,
    watermark::NEVER_MS,
};

/// What the first stage has beside the buckets of the epoch.
#[derive(Debug)]
pub(super) struct Scatter {
    /// Watermark, with and without silence, as the targets know it.
    pub(super) sent: (i64, i64),
    writers: Vec<PartialWriter>,
    arena: Bump,
    json: Vec<u8>,
}

impl Scatter {
    /// - **Limits:** at least one target; a topic has no fewer.
    pub(super) fn new(targets: i32, block_max_bytes: usize) -> Self {
        Self {
            sent: (NEVER_MS, NEVER_MS),
            writers: (0..targets.max(1)).map(|_| PartialWriter::new(block_max_bytes)).collect(),
            arena: Bump::new(),
            json: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.writers.iter().map(PartialWriter::bytes).sum()
    }

    /// Returns the partition of a group, as the hash of its JSON says.
    fn target(&mut self, plan: &ViewPlan, key: &[u8]) -> usize {
        self.arena.reset();
        self.json.clear();
        let mut datums = bumpalo::collections::Vec::with_capacity_in(plan.keys.len(), &self.arena);
        push_keys(plan, key, &self.arena, &mut datums);
        rows::group_json(&datums, &mut self.json);
        (murmur2(&self.json) & 0x7fff_ffff) as usize % self.writers.len()
    }
}

impl View {
    /// Brings the buckets into the form in which they go out, and empties them.
    pub(super) fn spill(&mut self) {
        let Self { stage: Staged::Scatter(scatter), buckets, plan, .. } = self else { return };
        for bucket in buckets.iter() {
            for row in 0..bucket.len() as u32 {
                let target = scatter.target(plan, bucket.key(row));
                scatter.writers[target].row(bucket, row);
            }
        }
        self.buckets.clear();
        self.state_bytes = 0;
        self.touched = 0;
        self.forget_current();
    }

    /// Appends the partials of the epoch.
    pub(super) fn scatter(&mut self, partition: i32, now_ms: i64, out: &mut Vec<OutRecord>, cut: &mut Cut) {
        self.spill();
        let (watermark_ms, data_ms) = (self.watermark.ms(), self.watermark.data_ms());
        let Self { stage: Staged::Scatter(scatter), plan, position, cut_position, .. } = self else { return };
        let fingerprint = plan.fingerprint ^ Part::Merge.salt();
        let head = Head {
            fingerprint,
            source: partition,
            // A log that was cut at its end takes the position back.
            from: (*cut_position).min(*position),
            to: *position,
            watermark_ms,
            data_ms,
        };
        let moved = scatter.sent != (watermark_ms, data_ms);
        scatter.sent = (watermark_ms, data_ms);
        for (target, writer) in (0_i32..).zip(&mut scatter.writers) {
            for value in writer.finish(&head, moved) {
                cut.partial_records += 1;
                cut.partial_bytes += value.len() as u64;
                out.push(OutRecord {
                    target: Target::Partials(plan.index),
                    place: Place::Exact(target),
                    // For people who look into the topic.
                    key: Some(format!("source/{partition}").into()),
                    value: Some(value.into()),
                    headers: Vec::new(),
                    timestamp_ms: now_ms,
                });
            }
        }
    }
}
