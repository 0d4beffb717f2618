//! Settings: how much a topic takes, how it grows, how it goes, who is in a group.
//!
//! **In** names. **Out** facts as the brokers hold them now. **Invariant:** nothing is cached; each question is repeated for at most
//! [`SETTLE_MAX`]. **Not here:** making topics (`admin`).
//!
//! Source: KIP-133 (DescribeConfigs), KIP-195 (CreatePartitions).

use bytes::{Buf, Bytes};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ConsumerProtocolAssignment, CreatePartitionsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
        DescribeGroupsRequest, GroupId, create_partitions_request::CreatePartitionsTopic,
        delete_topics_request::DeleteTopicState, describe_configs_request::DescribeConfigsResource,
        describe_groups_response::DescribedGroup,
    },
    protocol::{Decodable, Message, StrBytes},
};

use super::{
    admin,
    cluster::{ANSWER_MAX, Cluster, Pause, SETTLE_MAX},
    trouble,
};
use crate::log::{LogError, Result, Roster, Topic, Tp};

/// DescribeConfigs: the resource is a topic.
const OF_TOPIC: i8 = 2;
/// DeleteTopics: from this version on topics are named in a structure of their own.
const DELETE_BY_STATE: i16 = 6;
/// The broker's default, for one that does not tell.
const BATCH_MAX_BYTES: usize = 1_048_588;

/// Adds partitions and waits until they have leaders; `false` when there are as many already.
pub(super) async fn add_partitions(cluster: &Cluster, topic: &str, count: i32) -> Result<bool> {
    let timeout_ms = ANSWER_MAX.as_millis() as i32 / 2;
    let wanted = CreatePartitionsTopic::default()
        .with_name(admin::name(topic))
        .with_count(count)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(timeout_ms);
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        let have = admin::topic(cluster, topic).await?.map(|info| info.partitions);
        if have.ok_or_else(|| LogError::UnknownTopic(topic.into()))? >= count {
            return Ok(false);
        }
        let controller = cluster.metadata(Some(&[])).await?.controller_id.0;
        let answer = cluster.ask_node(controller, &request).await?;
        let Some(result) = answer.results.first() else {
            return Err(LogError::Retry(format!("the broker said nothing about topic {topic}")));
        };
        match ResponseError::try_from_code(result.error_code) {
            None => break,
            // Another process may have been faster, or the controller moved: look again.
            Some(ResponseError::NotController | ResponseError::InvalidPartitions) if pause.again().await => {}
            Some(_) => {
                let why = result.error_message.as_ref().map_or("", |m| m.as_str());
                let what = format!("topic {topic} cannot get {count} partitions ({why})");
                return Err(trouble::of_code(result.error_code, &what));
            }
        }
    }
    let all: Vec<Tp> = (0..count).map(|p| Tp::new(Topic::from(topic), p)).collect();
    admin::led(cluster, &all).await?;
    Ok(true)
}

/// Deletes a topic and waits until the broker that answers has forgotten it; `false` when there is none.
pub(super) async fn delete_topic(cluster: &Cluster, topic: &str) -> Result<bool> {
    let request = |version: i16| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(ANSWER_MAX.as_millis() as i32 / 2);
        if version < DELETE_BY_STATE {
            return request.with_topic_names(vec![admin::name(topic)]);
        }
        request.with_topics(vec![DeleteTopicState::default().with_name(Some(admin::name(topic)))])
    };
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        let controller = cluster.metadata(Some(&[])).await?.controller_id.0;
        let address = cluster.address(controller);
        let address = address.ok_or_else(|| LogError::Retry(format!("broker {controller} is not there")))?;
        let answer = cluster.ask_as::<DeleteTopicsRequest, _>(&address, request).await?;
        let Some(result) = answer.responses.first() else {
            return Err(LogError::Retry(format!("the broker said nothing about topic {topic}")));
        };
        match ResponseError::try_from_code(result.error_code) {
            None => break,
            Some(ResponseError::UnknownTopicOrPartition) => return Ok(false),
            Some(ResponseError::NotController) if pause.again().await => {}
            Some(_) => {
                let what = format!("topic {topic} cannot be deleted");
                return Err(trouble::of_code(result.error_code, &what));
            }
        }
    }
    while admin::topic(cluster, topic).await?.is_some() {
        if !pause.again().await {
            return Err(LogError::Retry(format!("topic {topic} is deleted, but still there")));
        }
    }
    Ok(true)
}

/// Tells a topic's `max.message.bytes`, which bounds a whole batch.
pub(super) async fn batch_max_bytes(cluster: &Cluster, topic: &str) -> Result<usize> {
    // Not allowed to look: what is too large is found out by sending it.
    let told = of_topic(cluster, topic, "max.message.bytes").await?;
    Ok(told.and_then(|value| value.parse().ok()).unwrap_or(BATCH_MAX_BYTES))
}

/// Tells one setting of a topic; `None` when it may not be looked at.
pub(super) async fn of_topic(cluster: &Cluster, topic: &str, key: &'static str) -> Result<Option<String>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(OF_TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str(key)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = cluster.ask_any(&request).await?;
    let Some(result) = answer.results.first() else { return Ok(None) };
    match ResponseError::try_from_code(result.error_code) {
        None => {}
        Some(ResponseError::UnknownTopicOrPartition) => return Err(LogError::UnknownTopic(topic.into())),
        Some(ResponseError::TopicAuthorizationFailed | ResponseError::ClusterAuthorizationFailed) => {
            return Ok(None);
        }
        Some(_) => return Err(trouble::of_code(result.error_code, &format!("settings of topic {topic}"))),
    }
    let value = result.configs.first().and_then(|config| config.value.as_ref());
    Ok(value.map(|value| value.as_str().to_owned()))
}

/// Tells by which settings a topic loses records by itself, if it does.
pub(super) async fn forgets(cluster: &Cluster, topic: &str) -> Result<Option<String>> {
    let Some(policy) = of_topic(cluster, topic, "cleanup.policy").await? else { return Ok(None) };
    let mut found = Vec::new();
    if policy.contains("compact") {
        found.push(format!("cleanup.policy={policy}"));
    }
    if policy.contains("delete") {
        for key in ["retention.ms", "retention.bytes"] {
            if let Some(most) = of_topic(cluster, topic, key).await?.filter(|most| most != "-1") {
                found.push(format!("{key}={most}"));
            }
        }
    }
    Ok((!found.is_empty()).then(|| found.join(", ")))
}

/// Tells who is in a group.
pub(super) async fn roster(cluster: &Cluster, group: &str) -> Result<Roster> {
    let id = GroupId(StrBytes::from_string(group.to_owned()));
    let request = DescribeGroupsRequest::default().with_groups(vec![id]);
    let mut pause = Pause::new(SETTLE_MAX);
    loop {
        let tried = async {
            let coordinator = cluster.coordinator(group).await?;
            let answer = cluster.ask(&coordinator, &request).await?;
            let Some(found) = answer.groups.into_iter().next() else { return Ok(Roster::default()) };
            match ResponseError::try_from_code(found.error_code) {
                None => Ok(roster_of(&found)),
                // Nobody ever joined.
                Some(ResponseError::GroupIdNotFound) => Ok(Roster::default()),
                Some(_) => Err(trouble::of_code(found.error_code, &format!("members of group {group}"))),
            }
        };
        match tried.await {
            Err(LogError::Retry(why)) if !pause.again().await => return Err(LogError::Retry(why)),
            Err(LogError::Retry(_)) => {}
            other => return other,
        }
    }
}

fn roster_of(group: &DescribedGroup) -> Roster {
    let owned = group.members.iter().filter_map(|member| owned(member.member_assignment.clone()));
    Roster {
        members: group.members.len(),
        is_settled: group.group_state.as_str() == "Stable",
        owned: owned.flatten().collect(),
    }
}

/// Reads an assignment: its version, then topics with their partitions.
fn owned(mut assignment: Bytes) -> Option<Vec<Tp>> {
    let version = assignment.try_get_i16().ok()?.min(ConsumerProtocolAssignment::VERSIONS.max);
    let read = ConsumerProtocolAssignment::decode(&mut assignment, version).ok()?;
    let topics = read.assigned_partitions.into_iter();
    Some(
        topics
            .flat_map(|topic| {
                let name = Topic::from(topic.topic.as_str());
                topic.partitions.into_iter().map(move |partition| Tp::new(name.clone(), partition))
            })
            .collect(),
    )
}
