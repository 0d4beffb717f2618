//! The Kafka log: reading through a fetcher of our own, membership and transactions through librdkafka.
//!
//! | file | job |
//! |---|---|
//! | `security` | TLS, SASL and tokens, from one set of properties for both |
//! | `address`, `access`, `wire`, `cluster` | names of brokers; how to enter; one connection; which broker answers what |
//! | `admin` | topics, ends, committed offsets, purges |
//! | `settings` | limits, growth and end of topics, who is in a group |
//! | `fetcher` | records, read_committed, without copies |
//! | `group` | membership: librdkafka joins, its own fetching stays paused |
//! | `writer` | transactions: records and offsets together |
//! | `trouble` | what error codes mean |
//!
//! **Invariant:** no call blocks a runtime thread; every wait has a bound; a cluster that is away is an error to retry, never a hang.
//! Whatever a property says about entering a cluster holds for both halves, or is refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError, types::RDKafkaConfRes};

pub(crate) use self::address::{address, addresses};
use self::{
    access::Access,
    cluster::Cluster,
    security::{Entry, Mistake, token::Giver},
};
use crate::log::{
    Ends, Group, GroupOptions, Log, LogError, Reader, ReaderOptions, Result, Roster, TopicInfo, TopicSpec,
    Tp, Writer, WriterOptions,
};

mod access;
mod address;
mod admin;
mod cluster;
mod fetcher;
mod group;
mod security;
mod settings;
mod trouble;
mod wire;
mod writer;

/// librdkafka's own `message.max.bytes`.
const CLIENT_MAX_BYTES: usize = 1_000_000;
/// A batch with one record: its head, and the lengths, deltas and counts around key, value and headers, rounded up.
const BATCH_HEAD_BYTES: usize = 128;

/// Properties that carry Windrow's guarantees: another value would break them without a sign.
const OURS: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "transactional.id",
    "acks",
    "request.required.acks",
    "isolation.level",
    "delivery.report.only.error",
];

/// Finds every mistake in properties, without a connection and without reading a file.
pub(crate) fn mistakes(properties: &BTreeMap<String, String>) -> Vec<Mistake> {
    let mut mistakes = security::mistakes(properties);
    for (name, value) in properties {
        let known = mistakes.iter().any(|mistake| mistake.property == *name);
        if OURS.contains(&name.as_str()) {
            let hint = "Windrow sets it itself, by `app`, `bootstrap_servers`, `delivery` and `instance_id`";
            mistakes.push(Mistake::new(name, format!("property `{name}` cannot be set"), Some(hint)));
        } else if !known && !Entry::is_ours(name) {
            mistakes.extend(refused_by_librdkafka(name, value));
        }
    }
    mistakes
}

/// Says in a few words how a cluster is entered: `SASL_SSL with SCRAM-SHA-512`.
pub(crate) fn entrance(properties: &BTreeMap<String, String>) -> String {
    security::words(properties)
}

/// Asks the library itself; what it says is not passed on, since that holds the value.
fn refused_by_librdkafka(name: &str, value: &str) -> Option<Mistake> {
    let error = ClientConfig::new().set(name, value).create_native_config().err()?;
    let rule = match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            "librdkafka has no such property"
        }
        _ => "librdkafka does not take this value",
    };
    Some(Mistake::new(name, format!("property `{name}`: {rule}"), None))
}

/// Longest pause of librdkafka before it knocks at a broker again; its own default is 10 s.
const RECONNECT_MAX_MS: &str = "1000";

/// A Kafka cluster as a log.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    config: ClientConfig,
}

impl KafkaLog {
    /// Connects to a cluster.
    ///
    /// - **Shape:** `bootstrap` holds `host:port`, also comma-separated; `kafka://` in front is tolerated; the port defaults to
    ///   9092. `properties` are librdkafka's; those of TLS and SASL drive both halves.
    /// - **Errors:** `Retry` within a few seconds when no broker answers; `Fatal` for a property that is unknown or not open.
    pub async fn connect(bootstrap: &[String], properties: &BTreeMap<String, String>) -> Result<Arc<Self>> {
        let mistakes: Vec<String> = mistakes(properties).iter().map(ToString::to_string).collect();
        if !mistakes.is_empty() {
            return Err(LogError::Fatal(format!("log.properties: {}", mistakes.join("; "))));
        }
        let mut config = ClientConfig::new();
        config.set("client.id", "windrow");
        // A commit is a handful of small requests: none may wait for the acknowledgement of the one before it.
        config.set("socket.nagle.disable", "true");
        for (name, value) in properties {
            if !Entry::is_ours(name) {
                config.set(name, value);
            }
        }
        let entry = Entry::prepare(properties).await?;
        entry.tell(&mut config);
        let named = |name: &str| config.get(name).unwrap_or_default();
        let access = Access::new(entry, named("client.id"), named("client.rack"));
        let cluster = Cluster::new(bootstrap, access)?;
        config.set("bootstrap.servers", cluster.bootstrap());
        // A broker that restarts is back within seconds, and a commit in flight holds its partitions until it is reached again.
        set_default(&mut config, &["reconnect.backoff.max.ms"], RECONNECT_MAX_MS);
        config.create_native_config().map_err(|error| LogError::Fatal(format!("log.properties: {error}")))?;
        cluster.metadata(Some(&[])).await?;
        Ok(Arc::new(Self { cluster: Arc::new(cluster), config }))
    }
}

impl KafkaLog {
    /// Gives tokens to one client of librdkafka.
    fn giver(&self) -> Giver {
        Giver::new(self.cluster.access().entry.tokens())
    }
}

/// Sets a default that the user's properties win over; `names` are one property and its aliases.
fn set_default(config: &mut ClientConfig, names: &[&str], value: &str) {
    if names.iter().all(|name| config.get(name).is_none()) {
        config.set(names[0], value);
    }
}

/// Passes librdkafka's own words on: what it calls an error, a broker that is away for instance, is an ordinary day here.
fn librdkafka_says(level: RDKafkaLogLevel, facility: &str, message: &str) {
    if matches!(level, RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug) {
        tracing::trace!(facility, "{message}");
    } else {
        tracing::debug!(facility, "{message}");
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        admin::create(&self.cluster, spec).await
    }

    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        admin::topic(&self.cluster, name).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        admin::topics(&self.cluster).await
    }

    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        admin::ends(&self.cluster, tps).await
    }

    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        admin::committed(&self.cluster, group, tps).await
    }

    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        admin::delete_records(&self.cluster, tp, offset).await
    }

    async fn delete_topic(&self, name: &str) -> Result<bool> {
        settings::delete_topic(&self.cluster, name).await
    }

    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        settings::add_partitions(&self.cluster, name, partitions).await
    }

    async fn record_max_bytes(&self, name: &str) -> Result<usize> {
        let of_topic = settings::batch_max_bytes(&self.cluster, name).await?;
        let of_client = self.config.get("message.max.bytes").and_then(|text| text.parse().ok());
        Ok(of_topic.min(of_client.unwrap_or(CLIENT_MAX_BYTES)).saturating_sub(BATCH_HEAD_BYTES))
    }

    async fn tombstones_kept(&self, name: &str) -> Result<Option<Duration>> {
        let kept_ms = settings::of_topic(&self.cluster, name, admin::TOMBSTONES).await?;
        Ok(kept_ms.and_then(|text| text.parse().ok()).map(Duration::from_millis))
    }

    async fn forgets(&self, name: &str) -> Result<Option<String>> {
        settings::forgets(&self.cluster, name).await
    }

    async fn roster(&self, group: &str) -> Result<Roster> {
        settings::roster(&self.cluster, group).await
    }

    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        Ok(Box::new(group::Member::join(self.cluster.clone(), &self.config, options)?))
    }

    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(fetcher::Fetcher::new(self.cluster.clone(), options)))
    }

    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        Ok(Box::new(writer::KafkaWriter::open(&self.config, self.giver(), options).await?))
    }
}
