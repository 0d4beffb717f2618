//! The Kafka log: reading through a fetcher of our own, membership and transactions through librdkafka.
//!
//! | file | job |
//! |---|---|
//! | `wire`, `cluster` | one connection; which broker answers what |
//! | `admin` | topics, ends, committed offsets, purges |
//! | `fetcher` | records, read_committed, without copies |
//! | `group` | membership: librdkafka joins, its own fetching stays paused |
//! | `writer` | transactions: records and offsets together |
//! | `trouble` | what error codes mean |
//!
//! **Invariant:** no call blocks a runtime thread; every wait has a bound; a cluster that is away is an error to retry, never a hang.
//! **Not here:** TLS and SASL in the fetcher (PLAINTEXT so far).

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use self::cluster::Cluster;
use crate::log::{
    Ends, Group, GroupOptions, Log, LogError, Reader, ReaderOptions, Result, TopicInfo, TopicSpec, Tp,
    Writer, WriterOptions,
};

mod admin;
mod cluster;
mod fetcher;
mod group;
mod trouble;
mod wire;
mod writer;

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
    "delivery.report.only.error",
];

/// A Kafka cluster as a log.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    config: ClientConfig,
}

impl KafkaLog {
    /// Connects to a cluster.
    ///
    /// - **Shape:** `bootstrap` holds `host:port`, also comma-separated; `kafka://` in front is tolerated; the port defaults to
    ///   9092. `properties` are librdkafka's.
    /// - **Errors:** `Retry` within a few seconds when no broker answers; `Fatal` for a property that is unknown or not open.
    pub async fn connect(bootstrap: &[String], properties: &BTreeMap<String, String>) -> Result<Arc<Self>> {
        let cluster = Cluster::new(bootstrap)?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap()).set("client.id", "windrow");
        // A commit is a handful of small requests: none may wait for the acknowledgement of the one before it.
        config.set("socket.nagle.disable", "true");
        for (name, value) in properties {
            if OURS.contains(&name.as_str()) {
                return Err(LogError::Fatal(format!(
                    "log.properties: {name} is set by Windrow and not open"
                )));
            }
            if name == "security.protocol" && !value.eq_ignore_ascii_case("plaintext") {
                return Err(LogError::Fatal(format!(
                    "log.properties: security.protocol {value} is not supported yet, only PLAINTEXT"
                )));
            }
            config.set(name, value);
        }
        config.create_native_config().map_err(|error| LogError::Fatal(format!("log.properties: {error}")))?;
        cluster.metadata(Some(&[])).await?;
        Ok(Arc::new(Self { cluster: Arc::new(cluster), config }))
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

    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        Ok(Box::new(group::Member::join(self.cluster.clone(), &self.config, options)?))
    }

    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(fetcher::Fetcher::new(self.cluster.clone(), options)))
    }

    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        Ok(Box::new(writer::KafkaWriter::open(&self.config, options).await?))
    }
}
