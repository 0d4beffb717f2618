//! Admin: topics made and described, ends, committed offsets, purges; each is one question to the right broker.
//!
//! **In** names. **Out** facts as the brokers hold them now. **Invariant:** nothing is cached; a leader or a coordinator that just
//! moved is asked for again, for at most [`SETTLE_MAX`]; offsets of a pending transaction are waited for, never told.
//! **Not here:** records.
//!
//! Source: KIP-447 (require_stable), KIP-516 (topic ids), KIP-107 (DeleteRecords).

use std::collections::BTreeMap;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        CreateTopicsRequest, DeleteRecordsRequest, GroupId, ListOffsetsRequest, OffsetFetchRequest,
        TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_response::MetadataResponseTopic,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
        offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponsePartitions},
    },
    protocol::StrBytes,
};

use super::{
    cluster::{ANSWER_MAX, Cluster, Pause, SETTLE_MAX, find, leader},
    trouble,
};
use crate::log::{Ends, LogError, Result, TOMBSTONES_KEPT, Topic, TopicInfo, TopicSpec, Tp};

/// ListOffsets: the first offset held.
pub(super) const EARLIEST: i64 = -2;
/// ListOffsets: the end; with isolation level 1 the last stable offset.
pub(super) const LATEST: i64 = -1;
/// How long tombstones are kept after they were compacted.
pub(super) const TOMBSTONES: &str = "delete.retention.ms";

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Creates a topic and waits until its partitions have leaders.
pub(super) async fn create(cluster: &Cluster, spec: &TopicSpec) -> Result<bool> {
    let config = |(name, value): (&'static str, String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(&spec.name))
        .with_num_partitions(spec.partitions)
        .with_replication_factor(spec.replication)
        .with_configs(configs(spec).into_iter().map(config).collect());
    let timeout_ms = ANSWER_MAX.as_millis() as i32 / 2;
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        // With KRaft any broker passes it on; before that only the controller takes it.
        let controller = cluster.metadata(Some(&[])).await?.controller_id.0;
        let answer = cluster.ask_node(controller, &request).await?;
        let Some(result) = answer.topics.first() else {
            return Err(LogError::Retry(format!("the broker said nothing about topic {}", spec.name)));
        };
        match ResponseError::try_from_code(result.error_code) {
            None => break,
            Some(ResponseError::TopicAlreadyExists) => return Ok(false),
            Some(ResponseError::NotController) if pause.again().await => {}
            Some(_) => {
                let why = result.error_message.as_ref().map_or("", |m| m.as_str());
                let what = format!("topic {} cannot be made ({why})", spec.name);
                return Err(trouble::of_code(result.error_code, &what));
            }
        }
    }
    let all: Vec<Tp> = (0..spec.partitions).map(|p| Tp::new(spec.name.clone(), p)).collect();
    led(cluster, &all).await?;
    Ok(true)
}

/// What a topic must not take from the broker's defaults.
fn configs(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let policy = match (spec.compact, spec.retention) {
        (true, None) => "compact",
        (true, Some(_)) => "compact,delete",
        (false, _) => "delete",
    };
    let retention_ms = spec.retention.map_or("-1".to_owned(), |age| age.as_millis().to_string());
    let retention_bytes = spec.retention_bytes.map_or("-1".to_owned(), |bytes| bytes.to_string());
    let mut configs = vec![
        ("cleanup.policy", policy.to_owned()),
        ("retention.ms", retention_ms),
        ("retention.bytes", retention_bytes),
    ];
    if spec.compact {
        configs.push((TOMBSTONES, TOMBSTONES_KEPT.as_millis().to_string()));
    }
    configs
}

/// Waits until partitions that were just made have leaders.
pub(super) async fn led(cluster: &Cluster, tps: &[Tp]) -> Result<()> {
    by_leader(cluster, tps, true).await.map(drop)
}

/// Describes one topic.
pub(super) async fn topic(cluster: &Cluster, topic: &str) -> Result<Option<TopicInfo>> {
    let answer = cluster.metadata(Some(&[topic])).await?;
    match find(&answer, topic) {
        None => Ok(None),
        Some(found) if found.error_code == ResponseError::UnknownTopicOrPartition.code() => Ok(None),
        Some(found) if found.error_code == 0 => Ok(info(found)),
        Some(found) => Err(trouble::of_code(found.error_code, &format!("topic {topic}"))),
    }
}

/// Lists all topics but Kafka's own.
pub(super) async fn topics(cluster: &Cluster) -> Result<Vec<TopicInfo>> {
    let answer = cluster.metadata(None).await?;
    Ok(answer.topics.iter().filter(|t| !t.is_internal && t.error_code == 0).filter_map(info).collect())
}

fn info(found: &MetadataResponseTopic) -> Option<TopicInfo> {
    let name = found.name.as_ref()?.as_str();
    // Brokers before 2.8 have no topic ids; 1 stands for "unknown", since 0 is never an epoch.
    let epoch = found.topic_id.as_u128().max(1);
    let partitions = i32::try_from(found.partitions.len()).ok()?;
    Some(TopicInfo { name: Topic::from(name), epoch, partitions })
}

/// Groups partitions by the broker that leads them; the indices point into `tps`.
///
/// - **Errors:** `UnknownTopic`, after some patience when it was `just_made`; `Retry` when one stays without a leader.
async fn by_leader(cluster: &Cluster, tps: &[Tp], just_made: bool) -> Result<BTreeMap<i32, Vec<usize>>> {
    let mut names: Vec<&str> = tps.iter().map(|tp| &*tp.topic).collect();
    names.sort_unstable();
    names.dedup();
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        let answer = cluster.metadata(Some(&names)).await?;
        let mut nodes: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        let mut missing = None;
        for (index, tp) in tps.iter().enumerate() {
            match leader(&answer, tp) {
                Ok(Some((_, partition))) => nodes.entry(partition.leader_id.0).or_default().push(index),
                Ok(None) => missing = Some(LogError::Retry(format!("{tp} has no leader"))),
                Err(error @ LogError::UnknownTopic(_)) if just_made => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            None => return Ok(nodes),
            Some(error) if !pause.again().await => return Err(error),
            Some(_) => {}
        }
    }
}

/// Asks for one kind of offset of each partition, in the order asked.
///
/// - **Shape:** `at` is [`EARLIEST`] or [`LATEST`]; `stable` turns the latter into the last stable offset.
pub(super) async fn offsets(cluster: &Cluster, tps: &[Tp], at: i64, stable: bool) -> Result<Vec<i64>> {
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        match offsets_once(cluster, tps, at, stable).await {
            Err(LogError::Retry(why)) if !pause.again().await => return Err(LogError::Retry(why)),
            Err(LogError::Retry(_)) => {}
            other => return other,
        }
    }
}

async fn offsets_once(cluster: &Cluster, tps: &[Tp], at: i64, stable: bool) -> Result<Vec<i64>> {
    let mut found = vec![0; tps.len()];
    for (node, indices) in by_leader(cluster, tps, false).await? {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for tp in indices.iter().map(|&index| &tps[index]) {
            let partition =
                ListOffsetsPartition::default().with_partition_index(tp.partition).with_timestamp(at);
            topics.entry(&tp.topic).or_default().push(partition);
        }
        let topics = topics
            .into_iter()
            .map(|(topic, list)| ListOffsetsTopic::default().with_name(name(topic)).with_partitions(list));
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(i8::from(stable))
            .with_topics(topics.collect());
        let answer = cluster.ask_node(node, &request).await?;
        for index in indices {
            let tp = &tps[index];
            let topic = answer.topics.iter().find(|t| t.name.as_str() == &*tp.topic);
            let partition =
                topic.and_then(|t| t.partitions.iter().find(|p| p.partition_index == tp.partition));
            let partition = partition.ok_or_else(|| LogError::Retry(format!("no offsets of {tp}")))?;
            if partition.error_code != 0 {
                return Err(trouble::of_code(partition.error_code, &format!("offsets of {tp}")));
            }
            found[index] = partition.offset;
        }
    }
    Ok(found)
}

/// Tells where partitions begin and end.
pub(super) async fn ends(cluster: &Cluster, tps: &[Tp]) -> Result<Vec<Ends>> {
    // In this order each is at most the next one, whatever is appended meanwhile.
    let earliest = offsets(cluster, tps, EARLIEST, false).await?;
    let stable = offsets(cluster, tps, LATEST, true).await?;
    let high = offsets(cluster, tps, LATEST, false).await?;
    let ends = earliest.into_iter().zip(stable).zip(high);
    Ok(ends
        .map(|((earliest, last_stable), high_watermark)| Ends { earliest, high_watermark, last_stable })
        .collect())
}

/// Tells a group's stable offsets.
pub(super) async fn committed(cluster: &Cluster, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        let tried = match cluster.coordinator(group).await {
            Ok(address) => committed_once(cluster, &address, group, tps).await,
            Err(error) => Err(error),
        };
        match tried {
            Err(LogError::Retry(why)) if !pause.again().await => return Err(LogError::Retry(why)),
            Err(LogError::Retry(_)) => {}
            other => return other,
        }
    }
}

async fn committed_once(
    cluster: &Cluster,
    address: &str,
    group: &str,
    tps: &[Tp],
) -> Result<Vec<Option<i64>>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for tp in tps {
        topics.entry(&tp.topic).or_default().push(tp.partition);
    }
    let old = |(topic, list): (&&str, &Vec<i32>)| {
        OffsetFetchRequestTopic::default().with_name(name(topic)).with_partition_indexes(list.clone())
    };
    let new = |(topic, list): (&&str, &Vec<i32>)| {
        OffsetFetchRequestTopics::default().with_name(name(topic)).with_partition_indexes(list.clone())
    };
    let id = GroupId(StrBytes::from_string(group.to_owned()));
    let request = |version: i16| {
        let request = OffsetFetchRequest::default().with_require_stable(true);
        if version < 8 {
            return request.with_group_id(id.clone()).with_topics(Some(topics.iter().map(old).collect()));
        }
        let group = OffsetFetchRequestGroup::default().with_group_id(id.clone());
        request.with_groups(vec![group.with_topics(Some(topics.iter().map(new).collect()))])
    };
    let answer = cluster.ask_as(address, request).await?;
    let group_error = answer.groups.first().map_or(answer.error_code, |g| g.error_code);
    if group_error != 0 {
        return Err(trouble::of_code(group_error, &format!("offsets of group {group}")));
    }
    let mut found: BTreeMap<(&str, i32), (i64, i16)> = BTreeMap::new();
    for topic in &answer.topics {
        let told = |p: &OffsetFetchResponsePartition| (p.partition_index, p.committed_offset, p.error_code);
        let told = topic.partitions.iter().map(told);
        found.extend(told.map(|(number, offset, code)| ((topic.name.as_str(), number), (offset, code))));
    }
    for topic in answer.groups.iter().flat_map(|g| &g.topics) {
        let told = |p: &OffsetFetchResponsePartitions| (p.partition_index, p.committed_offset, p.error_code);
        let told = topic.partitions.iter().map(told);
        found.extend(told.map(|(number, offset, code)| ((topic.name.as_str(), number), (offset, code))));
    }
    let offset_of = |tp: &Tp| match found.get(&(&*tp.topic, tp.partition)) {
        None => Ok(None),
        Some(&(offset, 0)) => Ok((offset >= 0).then_some(offset)),
        Some(&(_, code)) if code == ResponseError::UnknownTopicOrPartition.code() => Ok(None),
        Some(&(_, code)) => Err(trouble::of_code(code, &format!("offset of group {group} in {tp}"))),
    };
    tps.iter().map(offset_of).collect()
}

/// Purges everything below `offset`.
pub(super) async fn delete_records(cluster: &Cluster, tp: &Tp, offset: i64) -> Result<()> {
    let partition = DeleteRecordsPartition::default().with_partition_index(tp.partition).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(name(&tp.topic)).with_partitions(vec![partition]);
    let timeout_ms = ANSWER_MAX.as_millis() as i32 / 2;
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        let nodes = by_leader(cluster, std::slice::from_ref(tp), false).await?;
        let node = nodes.keys().next().copied().unwrap_or(-1);
        let answer = cluster.ask_node(node, &request).await?;
        let code = answer.topics.first().and_then(|t| t.partitions.first()).map_or(0, |p| p.error_code);
        if code == 0 {
            return Ok(());
        }
        match trouble::of_code(code, &format!("purge of {tp} below offset {offset}")) {
            LogError::Retry(why) if !pause.again().await => return Err(LogError::Retry(why)),
            LogError::Retry(_) => {}
            error => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_state_and_resuming_rely_on_is_pinned_whatever_the_brokers_defaults_are() {
        let spec = |compact, retention| TopicSpec {
            name: "t".into(),
            partitions: 1,
            replication: 1,
            compact,
            retention,
            retention_bytes: None,
        };
        let day = Some(Duration::from_hours(24));
        for (compact, retention, want) in [
            (
                true,
                None,
                "cleanup.policy=compact retention.ms=-1 retention.bytes=-1 delete.retention.ms=86400000",
            ),
            (false, None, "cleanup.policy=delete retention.ms=-1 retention.bytes=-1"),
            (false, day, "cleanup.policy=delete retention.ms=86400000 retention.bytes=-1"),
        ] {
            let found =
                configs(&spec(compact, retention)).into_iter().map(|(name, value)| format!("{name}={value}"));
            assert_eq!(found.collect::<Vec<_>>().join(" "), want);
        }
    }
}
