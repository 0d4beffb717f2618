//! The ledger of a stream over several topics, as it stands in `<app>.<stream>.topics`.
//!
//! **In** the topics that the log has now. **Out** the ledger that says them all; entries that were missing are written first.
//! **Invariant:** it is appended to and never purged, because numbers follow from all of it. A topic is said to be gone only when two
//! looks in a row do not find it: a broker that was just started may not know all.
//! **Not here:** what an entry means (`windrow_core::ledger`).

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use windrow_core::{
    ledger::{Entry, Found, Ledger},
    topics::Topics,
};

use super::sources::look_beside;
use crate::log::{Log, LogError, Outgoing, Result, Topic, TopicInfo, Tp, WriterOptions, read_whole};

/// Between the two looks that must not find a topic.
const LOOK_AGAIN_PAUSE: Duration = Duration::from_secs(2);
/// Times that entries are written before it is told that another process keeps saying something else.
const ROUNDS_MAX: u32 = 5;

/// Brings a ledger up to date and returns it with the topics that were found.
///
/// - **Errors:** [`LogError::UnknownTopic`] when a topic that the configuration lists was never there: wait for it.
pub(super) async fn settle(
    log: &dyn Log,
    topic: &Topic,
    topics: &Topics,
    taken: &BTreeSet<Topic>,
) -> Result<(Ledger, Vec<TopicInfo>)> {
    for _ in 0..ROUNDS_MAX {
        let ledger = read(log, topic).await?;
        let found = look_beside(log, topics, taken).await?;
        let is_missing = |name: &&Topic| !ledger.knows(name) && !found.iter().any(|info| info.name == **name);
        if let Some(name) = topics.listed().iter().find(is_missing) {
            return Err(LogError::UnknownTopic(name.clone()));
        }
        let mut entries = ledger.losses(named(&found));
        if !entries.is_empty() {
            tokio::time::sleep(LOOK_AGAIN_PAUSE).await;
            let again = ledger.losses(named(&look_beside(log, topics, taken).await?));
            entries.retain(|entry| again.contains(entry));
        }
        entries.extend(ledger.news(named(&found)));
        if entries.is_empty() {
            return Ok((ledger, found));
        }
        write(log, topic, &entries).await?;
    }
    Err(LogError::Retry(format!("{topic} does not settle: another process finds other topics than this one")))
}

fn named(found: &[TopicInfo]) -> impl Iterator<Item = Found<'_>> {
    found.iter().map(|info| (&*info.name, info.epoch, info.partitions))
}

async fn read(log: &dyn Log, topic: &Topic) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let take = |record: &windrow_core::batch::Record<'_>| {
        ledger.take(record.value).map_err(|why| {
            LogError::Fatal(format!(
                "{topic} at offset {}: {why}; it holds the numbers that views over several topics keep their state by, and \
                 Windrow alone writes it: give the app another name to begin anew",
                record.offset
            ))
        })
    };
    read_whole(log, &Tp::new(topic.clone(), 0), take).await?;
    Ok(ledger)
}

/// Writes entries, without a transaction: each says how things are, and may be said twice.
async fn write(log: &dyn Log, topic: &Topic, entries: &[Entry]) -> Result<()> {
    let timestamp_ms = jiff::Timestamp::now().as_millisecond();
    let record = |entry: &Entry| {
        let what = if entry.is_gone() { "is gone" } else { "is read" };
        tracing::info!(%topic, "topic {} {what}", entry.topic());
        Outgoing {
            topic: topic.clone(),
            partition: 0,
            key: Some(Bytes::copy_from_slice(entry.topic().as_bytes())),
            value: Some(entry.to_json().into()),
            headers: Vec::new(),
            timestamp_ms,
        }
    };
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await?;
    writer.begin().await?;
    writer.send(entries.iter().map(record).collect()).await?;
    writer.commit().await
}
