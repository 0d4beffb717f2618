//! Retention: what is too old or too much goes, from the front.
//!
//! **In** the time, or an offset. **Out** a higher low watermark. **Invariant:** the low watermark moves in memory before the
//! batches go from disk, so that a reader sees a gap and never a hole. **Not here:** compacted topics (`compact`).

use std::{sync::Arc, sync::atomic::Ordering::SeqCst};

use windrow_core::batch::BatchHead;

use super::{
    State, compact,
    store::{Marks, Write},
    topics::{Partition, TopicState, Topics},
};
use crate::log::{LogError, Result};

/// Batches removed with one write: a commit waits no longer than that takes.
const REMOVE_MAX: usize = 256;

/// One pass over all topics.
pub(super) fn pass(state: &State, now_ms: i64) -> Result<()> {
    for topic in state.topics.all() {
        let oldest_ms = topic.meta.retention_ms.map(|ms| now_ms.saturating_sub_unsigned(ms));
        let bytes_max = topic.meta.retention_bytes;
        for partition in &topic.partitions {
            if state.closing.load(SeqCst) {
                return Ok(());
            }
            if topic.meta.compact {
                compact::pass(state, partition, now_ms)?;
                continue;
            }
            remove_while(state, partition, |head, held| {
                oldest_ms.is_some_and(|oldest| head.max_timestamp_ms < oldest)
                    || bytes_max.is_some_and(|max| held > max)
            })?;
        }
    }
    Ok(())
}

/// Removes everything below `offset`.
pub(super) fn delete_below(state: &State, partition: &Arc<Partition>, offset: i64) -> Result<()> {
    let next = partition.marks().next;
    if !(0..=next).contains(&offset) {
        let reason =
            format!("cannot purge partition {} up to {offset}: it ends at {next}", partition.tp.partition);
        return Err(LogError::Refused { topic: partition.tp.topic.clone(), reason });
    }
    remove_while(state, partition, |head, _| head.last_offset < offset)?;
    // The offset may lie inside a batch, which stays.
    let _append = state.append.lock();
    let before = partition.marks();
    let after = Marks { low: before.low.max(offset), ..before };
    if after == before { Ok(()) } else { apply(partition, before, after, state.store.write()) }
}

/// Deletes a topic: nothing is appended from the first step on, and its number is free only when its records are gone, so that a
/// deletion which was cut short leaves an emptied topic, never records that a later topic would find.
pub(super) fn delete_topic(state: &State, topic: &TopicState) -> Result<()> {
    {
        let _append = state.append.lock();
        Topics::close(topic, true);
    }
    let deleted = topic
        .partitions
        .iter()
        .try_for_each(|partition| delete_below(state, partition, partition.marks().next))
        .and_then(|()| state.topics.forget(topic, &state.store));
    deleted.inspect_err(|_| {
        let _append = state.append.lock();
        Topics::close(topic, false);
    })
}

/// Removes batches from the front as long as `goes` says so of the batch and the bytes held.
fn remove_while(
    state: &State,
    partition: &Arc<Partition>,
    goes: impl Fn(&BatchHead, u64) -> bool,
) -> Result<()> {
    while !state.closing.load(SeqCst) {
        let _append = state.append.lock();
        let before = partition.marks();
        let mut after = before;
        let mut write = state.store.write();
        let mut removed = 0;
        for entry in state.store.batches(partition.place, before.low)?.take(REMOVE_MAX) {
            let (base, stored) = entry?;
            let head = BatchHead::read(&stored).ok_or_else(|| cut(partition, base))?;
            if !goes(&head, after.bytes) {
                break;
            }
            write.remove(partition.place, base);
            after.low = after.low.max(head.last_offset + 1);
            after.bytes = after.bytes.saturating_sub(stored.len() as u64);
            removed += 1;
        }
        if removed > 0 {
            apply(partition, before, after, write)?;
        }
        if removed < REMOVE_MAX {
            break;
        }
    }
    Ok(())
}

/// Writes new marks with what belongs to them. The append lock is held.
pub(super) fn apply(partition: &Partition, before: Marks, after: Marks, mut write: Write<'_>) -> Result<()> {
    partition.set_marks(after);
    write.marks(partition.place, after);
    write.commit().inspect_err(|_| partition.set_marks(before))
}

pub(super) fn cut(partition: &Partition, offset: i64) -> LogError {
    LogError::Corrupt { tp: partition.tp.clone(), offset, reason: "batch shorter than its head".to_owned() }
}
