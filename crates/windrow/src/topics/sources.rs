//! Sources: the topics that a stream reads now, each partition with the number that state knows it by.
//!
//! **In** a stream of the configuration and the log. **Out** [`Sources`].
//! **Invariant:** the partitions of one topic are their own numbers; over several topics a ledger gives them.
//! **Not here:** what is made for them (`ensure`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use windrow_core::{
    ledger::{Ledger, SOURCES_MAX, SourceSet},
    topics::Topics,
};

use super::{
    ensure::{ensure_ledger, ensure_source},
    ledger,
};
use crate::{
    config::StreamConfig,
    log::{Log, Result, Topic, TopicInfo},
};

/// What a stream reads.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Its topics, by name.
    pub(super) topics: BTreeMap<Topic, Source>,
    /// Partitions that a topic needs in which each number has its own.
    pub(super) numbers: i32,
    /// Partitions of what is made for the stream's views.
    pub(super) width: i32,
    pub(super) set: SourceSet,
    /// Topics of other streams, which a pattern does not take from them.
    taken: BTreeSet<Topic>,
}

/// One topic that is read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `None` where there is one topic: its journals say by themselves which one they are of.
    pub(super) epoch: Option<u128>,
    /// By partition.
    pub(super) numbers: Arc<[i32]>,
    partitions: i32,
}

impl Source {
    /// A topic that no other stands beside.
    pub(super) fn alone(partitions: i32) -> Self {
        Self { epoch: None, numbers: (0..partitions).collect(), partitions }
    }
}

/// Lists the topics that are meant and there.
pub async fn look(log: &dyn Log, topics: &Topics) -> Result<Vec<TopicInfo>> {
    if let Topics::Pattern(pattern) = topics {
        return Ok(log.topics().await?.into_iter().filter(|info| pattern.matches(&info.name)).collect());
    }
    let mut found = Vec::new();
    for name in topics.listed() {
        found.extend(log.topic(name).await?);
    }
    Ok(found)
}

/// The same without what is taken.
pub(super) async fn look_beside(
    log: &dyn Log,
    topics: &Topics,
    taken: &BTreeSet<Topic>,
) -> Result<Vec<TopicInfo>> {
    let mut found = look(log, topics).await?;
    found.retain(|info| !taken.contains(&info.name));
    Ok(found)
}

impl Sources {
    /// Finds the topics of a stream, and gives numbers to what has none. Topics that the configuration lists are made where Windrow may;
    /// what other streams have `taken` is left out by a pattern, because two would share its position in the group.
    ///
    /// - **Errors:** [`LogError::UnknownTopic`](crate::log::LogError::UnknownTopic) when one that is listed is missing: wait for it.
    pub async fn find(
        log: &dyn Log,
        app: &str,
        stream: &StreamConfig,
        may_create: bool,
        taken: &BTreeSet<Topic>,
    ) -> Result<Self> {
        if let Some(topic) = stream.spec.topics.one() {
            return Ok(Self::one(topic, ensure_source(log, stream, may_create).await?));
        }
        if may_create {
            ensure_source(log, stream, true).await?;
        }
        let topic = ensure_ledger(log, app, &stream.spec.name).await?;
        let taken = if stream.spec.topics.listed().is_empty() { taken.clone() } else { BTreeSet::new() };
        let (ledger, found) = ledger::settle(log, &topic, &stream.spec.topics, &taken).await?;
        Ok(Self::several(ledger, &found, stream.partitions, taken))
    }

    /// The partitions of one topic are their own numbers.
    pub fn one(topic: &Topic, partitions: i32) -> Self {
        Self {
            topics: [(topic.clone(), Source::alone(partitions))].into(),
            numbers: partitions,
            width: partitions,
            set: SourceSet::Partitions(partitions),
            taken: BTreeSet::new(),
        }
    }

    fn several(ledger: Ledger, found: &[TopicInfo], partitions: i32, taken: BTreeSet<Topic>) -> Self {
        let source = |info: &TopicInfo| {
            let numbers: Arc<[i32]> = ledger.numbers(&info.name, info.epoch).into();
            if numbers.len() < usize::try_from(info.partitions).unwrap_or(0) {
                tracing::error!(
                    topic = %info.name, read = numbers.len(), has = info.partitions,
                    "partitions are left out: over time a stream's views read at most {SOURCES_MAX} partitions of all its topics"
                );
            }
            (info.name.clone(), Source { epoch: Some(info.epoch), numbers, partitions: info.partitions })
        };
        Self {
            topics: found.iter().map(source).collect(),
            // A topic has a partition at least, also where no source was found yet.
            numbers: i32::try_from(ledger.len()).unwrap_or(i32::MAX).max(1),
            width: found.iter().map(|info| info.partitions).fold(partitions, i32::max),
            set: SourceSet::Ledger(Arc::new(ledger)),
            taken,
        }
    }

    /// Looks what is there now.
    pub async fn look(&self, log: &dyn Log, topics: &Topics) -> Result<Vec<TopicInfo>> {
        look_beside(log, topics, &self.taken).await
    }

    /// Tells whether what is there now is something else: topics came, grew, or are others of the same name. What is gone is told
    /// apart, because one look does not prove it.
    pub fn have_news(&self, found: &[TopicInfo]) -> bool {
        let is_news = |info: &TopicInfo| {
            self.topics.get(&info.name).is_none_or(|source| {
                info.partitions > source.partitions || source.epoch.is_some_and(|epoch| epoch != info.epoch)
            })
        };
        found.iter().any(is_news)
    }

    /// Tells whether a topic that is read was not found; of one by name never, for it is waited for.
    pub fn have_losses(&self, found: &[TopicInfo]) -> bool {
        let is_there = |name: &Topic| found.iter().any(|info| info.name == *name);
        self.topics.iter().any(|(name, source)| source.epoch.is_some() && !is_there(name))
    }
}

#[cfg(test)]
mod tests;
