//! Compaction: of each key only the newest record stays, and a tombstone for a day.
//!
//! **In** one partition. **Out** the same offsets with holes. **Invariant:** the newest record of a key is never touched; a
//! reader at any position sees the old batches or the new one, never neither. **Not here:** retention by age.

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering::SeqCst};

use bytes::Bytes;
use windrow_core::batch::{Batch, BatchBuilder, Compression};

use super::{State, retain::apply, topics::Partition};
use crate::log::{LogError, Result, TOMBSTONES_KEPT};

/// Readers that are slower than this may miss that a key was deleted.
const TOMBSTONE_KEEP_MS: i64 = TOMBSTONES_KEPT.as_millis() as i64;
/// Memory for the newest offset of each key; what does not fit waits for the next pass.
const KEYS_MAX_BYTES: usize = 64 << 20;
/// Bytes of a map entry beside its key.
const ENTRY_BYTES: usize = 48;
/// Rewritten with one write: a commit waits no longer than that takes.
const REWRITE_MAX_BYTES: usize = 1 << 20;
/// Below this nothing is worth a pass.
const DIRTY_MIN_BYTES: u64 = 1 << 20;

/// Compacts a partition that has doubled since the last time.
pub(super) fn pass(state: &State, partition: &Arc<Partition>, now_ms: i64) -> Result<()> {
    if partition.marks().bytes < partition.compacted_bytes() * 2 + DIRTY_MIN_BYTES {
        return Ok(());
    }
    run(state, partition, now_ms)
}

/// Compacts a partition.
pub(super) fn run(state: &State, partition: &Arc<Partition>, now_ms: i64) -> Result<()> {
    let (newest, end) = newest(state, partition)?;
    let stays = |offset: i64, key: Option<&[u8]>, tombstone_ms: Option<i64>| match key.map(|k| newest.get(k))
    {
        // Only an import brings records without a key; nothing replaces them.
        None => true,
        Some(Some(newest)) if *newest > offset => false,
        Some(_) => tombstone_ms.is_none_or(|at| at > now_ms - TOMBSTONE_KEEP_MS),
    };
    let mut from = partition.marks().low;
    while from < end && !state.closing.load(SeqCst) {
        from = rewrite(state, partition, from, end, &stays)?;
    }
    partition.set_compacted(end, partition.marks().bytes);
    Ok(())
}

/// Finds the newest offset of each key since the last pass, and how far the memory reached.
fn newest(state: &State, partition: &Arc<Partition>) -> Result<(HashMap<Vec<u8>, i64>, i64)> {
    let mut newest = HashMap::new();
    let mut bytes = 0;
    let mut end = partition.compacted_to();
    for entry in state.store.batches(partition.place, end)? {
        let (base, stored) = entry?;
        let batch = parse(partition, base, &stored)?;
        for record in batch.records_from(end) {
            let Some(key) = record.key else { continue };
            if newest.insert(key.to_vec(), record.offset).is_none() {
                bytes += key.len() + ENTRY_BYTES;
            }
        }
        end = end.max(batch.last_offset() + 1);
        if bytes > KEYS_MAX_BYTES || state.closing.load(SeqCst) {
            break;
        }
    }
    Ok((newest, end))
}

/// Rewrites one stretch of batches into one; returns where to go on.
fn rewrite(
    state: &State,
    partition: &Arc<Partition>,
    from: i64,
    end: i64,
    stays: &impl Fn(i64, Option<&[u8]>, Option<i64>) -> bool,
) -> Result<i64> {
    let _append = state.append.lock();
    let before = partition.marks();
    let mut after = before;
    let mut write = state.store.write();
    let mut builder = BatchBuilder::new(Compression::None);
    let mut span: Option<(i64, i64)> = None;
    let mut gone = Vec::new();
    let (mut next, mut read, mut changed) = (from, 0, false);
    for entry in state.store.batches(partition.place, from)? {
        let (base, stored) = entry?;
        let batch = parse(partition, base, &stored)?;
        if batch.last_offset() < from {
            continue;
        }
        if base >= end || read + stored.len() > REWRITE_MAX_BYTES && read > 0 {
            break;
        }
        read += stored.len();
        for record in batch.records() {
            let tombstone = record.value.is_none().then_some(record.timestamp_ms);
            if !stays(record.offset, record.key, tombstone) {
                changed = true;
                continue;
            }
            let (first, last) = span.unwrap_or((record.offset, record.offset - 1));
            let fits = builder.skip(record.offset - last - 1)
                && builder.push(record.timestamp_ms, record.key, record.value, record.headers).is_ok();
            if !fits {
                return Err(corrupt(partition, base, "compaction would make too large a batch".to_owned()));
            }
            span = Some((first, record.offset));
        }
        gone.push(base);
        after.bytes = after.bytes.saturating_sub(stored.len() as u64);
        next = batch.last_offset() + 1;
    }
    // A single batch that stays whole is left alone, and so is the end, where nothing was read.
    if gone.is_empty() {
        return Ok(end);
    }
    if changed || gone.len() > 1 {
        let first = span.map(|(first, _)| first);
        // One write must not name a key twice: the new batch replaces an old one of the same offset.
        gone.iter()
            .filter(|base| Some(**base) != first)
            .for_each(|base| write.remove(partition.place, *base));
        if let Some(first) = first {
            let mut bytes = builder.build_vec();
            windrow_core::batch::assign_offset(&mut bytes, first);
            after.bytes += bytes.len() as u64;
            write.put(partition.place, first, bytes);
        }
        apply(partition, before, after, write)?;
    }
    Ok(next)
}

fn parse(partition: &Partition, base: i64, stored: &Bytes) -> Result<Batch> {
    Batch::parse(stored).map(|(batch, _)| batch).map_err(|e| corrupt(partition, base, e.to_string()))
}

fn corrupt(partition: &Partition, offset: i64, reason: String) -> LogError {
    LogError::Corrupt { tp: partition.tp.clone(), offset, reason }
}
