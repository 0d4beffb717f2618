//! Answer: what one partition's part of a Fetch answer means for a read_committed reader.
//!
//! **In** the answer's fields; record bytes that are slices of the socket's buffer. **Out** committed batches and the next position.
//! **Invariant:** the position moves past control batches, aborted batches and batches that compaction emptied, and never back. A
//! batch that is broken ends the reading in front of it.
//!
//! Source: KIP-98; `CompletedFetch.java` of Kafka's consumer: an aborted transaction begins at its first offset and ends at its
//! producer's abort marker.

use bytes::Bytes;
use hashbrown::HashSet;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};
use windrow_core::batch::{Batch, BatchError, ControlType};

use crate::log::{Fetched, Gap, LogError, Tp};

/// One partition's answer, read.
pub(super) struct Reading {
    pub(super) fetched: Fetched,
    /// Leader epoch of the last batch; `None` when there was none.
    pub(super) epoch: Option<i32>,
    /// A broken batch at `fetched.next`.
    pub(super) broken: Option<LogError>,
}

/// Reads an answer without an error code, given for `position`.
pub(super) fn read(tp: &Tp, position: i64, data: PartitionData) -> Reading {
    let mut fetched = Fetched {
        tp: tp.clone(),
        batches: Vec::new(),
        from: position,
        next: position,
        high_watermark: data.high_watermark,
        last_stable: if data.last_stable_offset < 0 { data.high_watermark } else { data.last_stable_offset },
        gap: None,
    };
    let diverged_at = data.diverging_epoch.end_offset;
    if diverged_at >= 0 {
        // The log was cut below what we read: what came from there on never was.
        fetched.next = diverged_at.min(position);
        fetched.gap = Some(Gap { from: position, to: fetched.next });
        return Reading { fetched, epoch: Some(-1), broken: None };
    }
    let mut aborted = Aborted::new(data.aborted_transactions.unwrap_or_default());
    let mut rest = data.records.unwrap_or_default();
    let mut epoch = None;
    let mut broken = None;
    loop {
        let (batch, size) = match Batch::parse(&rest) {
            Ok(parsed) => parsed,
            Err(BatchError::Incomplete { .. }) => break,
            Err(error) => {
                broken = Some(corrupt(tp, fetched.next, &error));
                break;
            }
        };
        advance(&mut rest, size);
        epoch = Some(batch.leader_epoch());
        let visible = aborted.is_committed(&batch);
        if batch.last_offset() < position {
            continue;
        }
        fetched.next = batch.last_offset() + 1;
        if visible && !batch.is_empty() {
            fetched.batches.push(batch);
        }
    }
    Reading { fetched, epoch, broken }
}

fn advance(bytes: &mut Bytes, by: usize) {
    *bytes = bytes.slice(by..);
}

fn corrupt(tp: &Tp, position: i64, error: &BatchError) -> LogError {
    let offset = error.offset().unwrap_or(position);
    LogError::Corrupt { tp: tp.clone(), offset, reason: error.to_string() }
}

/// Which producers are inside an aborted transaction at the place the reading has reached.
struct Aborted {
    /// Transactions not reached yet, by first offset, the nearest last.
    ahead: Vec<AbortedTransaction>,
    inside: HashSet<i64>,
}

impl Aborted {
    fn new(mut ahead: Vec<AbortedTransaction>) -> Self {
        ahead.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { ahead, inside: HashSet::new() }
    }

    /// Takes the next batch in order; tells whether its records are committed data.
    fn is_committed(&mut self, batch: &Batch) -> bool {
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= batch.last_offset()) {
            self.inside.insert(next.producer_id.0);
        }
        if batch.is_control() {
            if batch.control_type() == Some(ControlType::Abort) {
                self.inside.remove(&batch.producer_id());
            }
            return false;
        }
        !(batch.is_transactional() && self.inside.contains(&batch.producer_id()))
    }
}

#[cfg(test)]
mod tests;
