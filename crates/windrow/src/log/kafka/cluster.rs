//! Cluster: which broker answers what; connections for small questions.
//!
//! **In** bootstrap addresses. **Out** answers of any broker, of a partition's leader, of the controller, of a group's coordinator.
//! **Invariant:** at most [`IDLE_MAX`] idle connections per broker; a broker that fails is asked last the next time; every retry is bounded by [`ANSWER_MAX`] or [`SETTLE_MAX`]. **Not here:** fetching, which has connections of its own.

use std::{borrow::Borrow, fmt::Write as _, sync::Arc, time::Duration};

use hashbrown::HashMap;
use kafka_protocol::{
    messages::{
        FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::StrBytes,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    access::Access,
    address, addresses, trouble,
    wire::{Call, Connection},
};
use crate::log::{LogError, Result};

/// Idle connections kept per broker.
const IDLE_MAX: usize = 2;
/// Longest wait for one answer; brokers answer metadata in milliseconds, and make topics in a few hundred.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for one answer that any broker gives out of its memory; then the next one is asked.
const QUICK_MAX: Duration = Duration::from_secs(3);
/// Longest wait for a cluster to settle (a leader elected, a coordinator loaded, a pending transaction decided).
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(15);

/// A Kafka cluster.
pub(super) struct Cluster {
    bootstrap: Vec<String>,
    access: Arc<Access>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Addresses by node id, as the last metadata told.
    brokers: HashMap<i32, String>,
    idle: HashMap<String, Vec<Connection>>,
    /// Who answered last is asked first: one that is mute costs each question its deadline.
    answered: Option<String>,
}

impl Cluster {
    /// Names a cluster by addresses that may lead to it; `kafka://` in front is tolerated.
    pub(super) fn new(bootstrap: &[String], access: Access) -> Result<Self> {
        let bootstrap: Vec<String> = bootstrap
            .iter()
            .flat_map(|list| addresses(list))
            .map(|text| address(text).map_err(|rule| LogError::Fatal(format!("bootstrap_servers: {rule}"))))
            .collect::<Result<_>>()?;
        if bootstrap.is_empty() {
            return Err(LogError::Fatal("bootstrap_servers names no broker".into()));
        }
        Ok(Self { bootstrap, access: Arc::new(access), known: Mutex::default() })
    }

    /// Returns the bootstrap addresses, comma-separated.
    pub(super) fn bootstrap(&self) -> String {
        self.bootstrap.join(",")
    }

    /// How its brokers are entered.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Opens a connection to one of its brokers, for the caller alone.
    pub(super) async fn connect(&self, address: &str) -> Result<Connection> {
        Connection::open(address, &self.access).await
    }

    /// Returns the address of a broker, as the last metadata told.
    pub(super) fn address(&self, node: i32) -> Option<String> {
        self.known.lock().brokers.get(&node).cloned()
    }

    /// Asks any broker for metadata: of the topics named, or of all.
    pub(super) async fn metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let named = |name: &&str| {
            MetadataRequestTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string((*name).to_owned()))))
        };
        let request = MetadataRequest::default()
            .with_topics(topics.map(|names| names.iter().map(named).collect()))
            .with_allow_auto_topic_creation(false);
        let answer = self.ask_any(&request).await?;
        let brokers = answer.brokers.iter().map(|b| (b.node_id.0, format!("{}:{}", b.host.as_str(), b.port)));
        self.known.lock().brokers = brokers.collect();
        Ok(answer)
    }

    /// Asks whoever answers: brokers known, then the bootstrap addresses.
    ///
    /// - **Errors:** `Retry` that names every address tried and why it failed.
    pub(super) async fn ask_any<C: Call>(&self, request: &C) -> Result<C::Answer> {
        let mut addresses: Vec<String> = self.known.lock().brokers.values().cloned().collect();
        addresses
            .extend(self.bootstrap.iter().filter(|a| !addresses.contains(a)).cloned().collect::<Vec<_>>());
        let first = self.known.lock().answered.clone();
        addresses.sort_by_key(|address| Some(address) != first.as_ref());
        let mut failures = String::new();
        for address in addresses {
            match self.ask_within::<C, &C>(&address, |_| request, QUICK_MAX).await {
                Err(LogError::Retry(why)) => {
                    let _ = write!(failures, "{}{why}", if failures.is_empty() { "" } else { "; " });
                }
                other => {
                    self.known.lock().answered = Some(address);
                    return other;
                }
            }
        }
        Err(LogError::Retry(failures))
    }

    /// Asks one broker by its node id.
    pub(super) async fn ask_node<C: Call>(&self, node: i32, request: &C) -> Result<C::Answer> {
        let address = self.address(node);
        let address = address.ok_or_else(|| LogError::Retry(format!("broker {node} is not there")))?;
        self.ask(&address, request).await
    }

    /// Asks one broker by its address.
    pub(super) async fn ask<C: Call>(&self, address: &str, request: &C) -> Result<C::Answer> {
        self.ask_as::<C, &C>(address, |_| request).await
    }

    /// Asks one broker a question whose shape depends on the version it will be sent in.
    pub(super) async fn ask_as<C, B>(&self, address: &str, request: impl Fn(i16) -> B) -> Result<C::Answer>
    where
        C: Call,
        B: Borrow<C>,
    {
        self.ask_within::<C, B>(address, request, ANSWER_MAX).await
    }

    /// An idle connection may have died unnoticed: then a new one gets a second try.
    async fn ask_within<C, B>(
        &self,
        address: &str,
        request: impl Fn(i16) -> B,
        wait: Duration,
    ) -> Result<C::Answer>
    where
        C: Call,
        B: Borrow<C>,
    {
        let idle = self.known.lock().idle.get_mut(address).and_then(Vec::pop);
        if let Some(mut connection) = idle {
            let version = connection.version::<C>()?;
            match connection.call(request(version).borrow(), wait).await {
                Err(LogError::Retry(_)) => {}
                other => {
                    self.keep(connection);
                    return other;
                }
            }
        }
        let mut connection = self.connect(address).await?;
        let version = connection.version::<C>()?;
        let answer = connection.call(request(version).borrow(), wait).await?;
        self.keep(connection);
        Ok(answer)
    }

    fn keep(&self, connection: Connection) {
        let mut known = self.known.lock();
        let idle = known.idle.entry_ref(connection.address()).or_default();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// Returns the address of a group's coordinator.
    pub(super) async fn coordinator(&self, group: &str) -> Result<String> {
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
        let answer = self.ask_any(&request).await?;
        if answer.error_code != 0 {
            return Err(trouble::of_code(answer.error_code, &format!("coordinator of group {group}")));
        }
        Ok(format!("{}:{}", answer.host.as_str(), answer.port))
    }
}

/// Finds a partition in an answer; `Ok(None)` when it has no leader just now.
///
/// - **Errors:** `UnknownTopic` when the topic or the partition does not exist.
pub(super) fn leader<'a>(
    answer: &'a MetadataResponse,
    tp: &crate::log::Tp,
) -> Result<Option<(&'a MetadataResponseTopic, &'a MetadataResponsePartition)>> {
    let topic = find(answer, &tp.topic);
    let topic = topic.ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))?;
    match topic.error_code {
        0 => {}
        3 => return Err(LogError::UnknownTopic(tp.topic.clone())),
        code => match trouble::of_code(code, &format!("topic {}", tp.topic)) {
            LogError::Retry(_) => return Ok(None),
            error => return Err(error),
        },
    }
    let partition = topic.partitions.iter().find(|p| p.partition_index == tp.partition);
    let partition = partition.ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))?;
    Ok((partition.leader_id.0 >= 0).then_some((topic, partition)))
}

/// Finds a topic in an answer.
pub(super) fn find<'a>(answer: &'a MetadataResponse, name: &str) -> Option<&'a MetadataResponseTopic> {
    answer.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|n| n.as_str() == name))
}

/// Pauses between tries: doubles from 20 ms to 1 s, with jitter, so that clients of a restarted broker do not come as one.
pub(super) struct Pause {
    next: Duration,
    until: Instant,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(20);
    const MAX: Duration = Duration::from_secs(1);

    /// Starts a series of tries that ends after `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { next: Self::FIRST, until: Instant::now() + limit }
    }

    /// Starts a series of tries that goes on until one works; whoever tries makes its failures seen.
    pub(super) fn endless() -> Self {
        Self::new(Duration::from_secs(365 * 24 * 3600))
    }

    /// Waits before the next try; false when the limit is reached.
    pub(super) async fn again(&mut self) -> bool {
        let pause = jittered(self.next);
        if Instant::now() + pause > self.until {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.next = (self.next * 2).min(Self::MAX);
        true
    }

    /// Starts from the shortest pause again.
    pub(super) fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

/// Spreads a pause over half to one and a half of it.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause.mul_f64(random())
}

/// A number from 0 up to 1, good enough to spread things.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    (RandomState::new().hash_one(0u8) % 1000) as f64 / 1000.0
}
