//! One partition: batches, transactions that are open in it, and where it begins.
//!
//! **Invariant:** offsets only grow; the last stable offset lies before the first record of any open transaction, whatever was
//! decided about it elsewhere, until its marker is here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use windrow::log::{Ends, Outgoing};
use windrow_core::batch::{Batch, BatchBuilder, Compression, ControlType, control_batch};

/// One transaction, of all there ever were.
pub(crate) type Txn = u64;

#[derive(Debug)]
struct Entry {
    batch: Batch,
    txn: Option<Txn>,
}

/// Batches as a broker stores them.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    start: i64,
    end: i64,
    entries: Vec<Entry>,
    /// Open transactions and their first offset.
    open: BTreeMap<Txn, i64>,
    aborted: BTreeSet<Txn>,
}

impl Partition {
    /// Appends records as one batch and returns its first offset.
    pub(crate) fn append(&mut self, records: &[Outgoing], txn: Option<Txn>) -> i64 {
        let mut builder = BatchBuilder::new(Compression::None);
        for record in records {
            let headers: Vec<_> =
                record.headers.iter().map(|(name, value)| (*name, Some(&value[..]))).collect();
            builder
                .push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers)
                .expect("simulated records are small");
        }
        let base = self.end;
        self.push(builder.build(base, -1, -1, -1, txn.is_some()), txn);
        if let Some(txn) = txn {
            self.open.entry(txn).or_insert(base);
        }
        base
    }

    /// Ends a transaction here.
    pub(crate) fn mark(&mut self, txn: Txn, commit: bool) {
        let kind = if commit { ControlType::Commit } else { ControlType::Abort };
        self.push(control_batch(self.end, 1, 0, kind, 0), Some(txn));
        self.open.remove(&txn);
        if !commit {
            self.aborted.insert(txn);
        }
    }

    fn push(&mut self, bytes: Bytes, txn: Option<Txn>) {
        let (batch, _) = Batch::parse(&bytes).expect("what was built can be read");
        self.end = batch.last_offset() + 1;
        self.entries.push(Entry { batch, txn });
    }

    pub(crate) fn ends(&self) -> Ends {
        let last_stable = self.open.values().min().copied().unwrap_or(self.end);
        Ends { earliest: self.start, high_watermark: self.end, last_stable }
    }

    /// Reads committed batches from `from`, a few; returns them and the position after.
    pub(crate) fn read(&self, from: i64, batches_max: usize) -> (Vec<Batch>, i64) {
        let stable = self.ends().last_stable;
        let first = self.entries.partition_point(|entry| entry.batch.last_offset() < from);
        let mut next = from;
        let mut batches = Vec::new();
        for entry in self.entries[first..].iter().take_while(|entry| entry.batch.base_offset() < stable) {
            if batches.len() == batches_max {
                break;
            }
            next = entry.batch.last_offset() + 1;
            let aborted = entry.txn.is_some_and(|txn| self.aborted.contains(&txn));
            if !aborted && !entry.batch.is_control() {
                batches.push(entry.batch.clone());
            }
        }
        (batches, next)
    }

    /// Forgets what lies below `offset`; a batch goes when all of it does.
    pub(crate) fn delete_below(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.end));
        let start = self.start;
        self.entries.retain(|entry| entry.batch.last_offset() >= start);
    }
}
