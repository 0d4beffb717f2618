//! Reset: a view forgets its state, so that it reads its history from the stream's start again.
//!
//! **In** a view. **Out** an empty journal, empty partials, and tombstones for every row of its channel.
//! **Invariant:** nobody else folds meanwhile: a member of the app that is alive holds state that it would go on writing. It is done
//! when it returns; interrupted, it is to be asked for once more.
//! **Not here:** the view's own topic and its letters, which are the user's: rows written before stay, and come again.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use windrow_core::{batch::Record, plan::ViewPlan};

use crate::{
    log::{Log, LogError, Outgoing, Result, Tp, WriterOptions, read_whole},
    topics,
};

/// Wait for members that are about to go: one without an `instance_id` that was killed counts for 10 s.
const MEMBERS_WAIT: Duration = Duration::from_secs(12);
const MEMBERS_PAUSE: Duration = Duration::from_millis(250);
/// Rows of a channel that get their tombstones with one commit.
const TOMBSTONES_MAX: usize = 10_000;

pub(super) async fn reset(log: &dyn Log, app: &str, view: &ViewPlan) -> Result<()> {
    let name = &view.spec.name;
    let deadline = Instant::now() + MEMBERS_WAIT;
    let mut members = log.roster(app).await?.members;
    while members > 0 && Instant::now() < deadline {
        tokio::time::sleep(MEMBERS_PAUSE).await;
        members = log.roster(app).await?.members;
    }
    if members > 0 {
        return Err(LogError::Fatal(format!(
            "view {name} can't be reset while {members} {} of app {app} {} alive: stop the other engines first (one that was \
             killed counts until its session ends: 45 s with an instance_id)",
            if members == 1 { "member" } else { "members" },
            if members == 1 { "is" } else { "are" }
        )));
    }
    tracing::warn!(view = %name, "resetting: its state is forgotten, its history is read again");
    for tp in partitions(log, &topics::channel(app, name)).await? {
        bury(log, &tp).await?;
    }
    // The journals last: as long as one is there, a reset that was interrupted is seen as a view that holds state.
    for topic in [topics::partials(app, name), topics::sources(app, name), topics::journal(app, name)] {
        for tp in partitions(log, &topic).await? {
            let ends = log.ends(std::slice::from_ref(&tp)).await?;
            if let Some(ends) = ends.first().filter(|ends| ends.earliest < ends.high_watermark) {
                log.delete_records(&tp, ends.high_watermark).await?;
            }
        }
    }
    Ok(())
}

async fn partitions(log: &dyn Log, topic: &str) -> Result<Vec<Tp>> {
    let count = log.topic(topic).await?.map_or(0, |info| info.partitions);
    Ok((0..count).map(|p| Tp::new(topic, p)).collect())
}

/// Writes a tombstone for every row of a channel's partition, so that gateways and their clients see it leave.
async fn bury(log: &dyn Log, tp: &Tp) -> Result<()> {
    let rows = living(log, tp).await?;
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await?;
    let timestamp_ms = jiff::Timestamp::now().as_millisecond();
    let tombstone = |key: &Bytes| Outgoing {
        topic: tp.topic.clone(),
        partition: tp.partition,
        key: Some(key.clone()),
        value: None,
        headers: Vec::new(),
        timestamp_ms,
    };
    let keys: Vec<Bytes> = rows.into_iter().collect();
    for some in keys.chunks(TOMBSTONES_MAX) {
        writer.begin().await?;
        writer.send(some.iter().map(tombstone).collect()).await?;
        writer.commit().await?;
    }
    Ok(())
}

/// Reads the keys of the rows that are there.
async fn living(log: &dyn Log, tp: &Tp) -> Result<BTreeSet<Bytes>> {
    let mut rows = BTreeSet::new();
    let take = |record: &Record<'_>| {
        match (record.key.map(Bytes::copy_from_slice), record.value) {
            (Some(key), Some(_)) => _ = rows.insert(key),
            (Some(key), None) => _ = rows.remove(&key),
            (None, _) => {}
        }
        Ok(())
    };
    read_whole(log, tp, take).await?;
    Ok(rows)
}
