//! The configuration, resolved: every default filled in, every reference checked, every unit in the name.
//!
//! **In** TOML text and variables (`config/`). **Out** these structs, which the rest of the program reads.
//! **Invariant:** whoever holds a [`Config`] holds a valid one; all mistakes were told at once with their lines.
//! **Not here:** SQL (planned after this), the log (opened after this).

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use windrow_core::spec::{StreamSpec, ViewSpec};

pub use self::{
    error::ConfigError,
    load::{load, parse},
    log::is_secret,
    planned::{Planned, load_planned, plan},
    variables::Variables,
};

mod error;
mod limits;
mod listeners;
mod load;
mod log;
mod names;
mod planned;
mod reader;
mod streams;
#[cfg(test)]
mod tests;
pub mod units;
mod variables;
mod views;

/// Everything the user said.
#[derive(Debug, Clone)]
pub struct Config {
    /// Consumer group, transactional ids, prefix of internal topics.
    pub app: String,
    /// Where records live.
    pub log: LogConfig,
    /// Streams, by name.
    pub streams: BTreeMap<String, StreamConfig>,
    /// Views, in the order of the file.
    pub views: Vec<ViewConfig>,
    /// Listeners, by name.
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// Every bound.
    pub limits: Limits,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Which kind, with what only that kind has.
    pub kind: LogKind,
    /// Exactly-once, or at least once.
    pub exactly_once: bool,
    /// Time between commits.
    pub commit_interval: Duration,
    /// Static membership; also part of the transactional id.
    pub instance_id: Option<String>,
}

/// The two logs. Printing one hides what is secret in its properties.
#[derive(Clone)]
pub enum LogKind {
    /// One directory.
    Embedded {
        /// The directory.
        directory: PathBuf,
        /// When data is forced to disk.
        sync: Sync,
    },
    /// A Kafka cluster.
    Kafka {
        /// `host:port`, at least one.
        bootstrap_servers: Vec<String>,
        /// librdkafka properties.
        properties: BTreeMap<String, String>,
    },
}

/// When the embedded log calls fsync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// At each commit.
    Commit,
    /// Every second.
    Interval,
    /// When the operating system likes.
    Never,
}

/// One stream: the spec for the core, and how its topic is made and read.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// For the planner and the engine.
    pub spec: Arc<StreamSpec>,
    /// Partitions when Windrow creates the topic.
    pub partitions: i32,
    /// Replication when Windrow creates the topic; -1 = the broker's default.
    pub replication: i16,
    /// Retention when Windrow creates the topic.
    pub retention: Option<Duration>,
    /// Whether a group without offsets starts at the beginning.
    pub start_earliest: bool,
    /// Whether retention overtaking the position stops the stream.
    pub gap_stops: bool,
}

/// One view: the spec for the core, and where it stands in the file.
#[derive(Debug, Clone)]
pub struct ViewConfig {
    /// For the planner and the engine.
    pub spec: Arc<ViewSpec>,
    /// Line of the file where the first line of its query stands, for plan errors; 0 when not from a file.
    pub sql_line: usize,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// `/ws`.
    Websocket,
    /// `/sse`.
    Sse,
    /// `/api`, `/healthz`, `/readyz`, `/metrics`.
    Http,
    /// `/`.
    Dashboard,
}

impl Dialect {
    /// Returns the name in a configuration.
    pub fn name(self) -> &'static str {
        listeners::DIALECTS.iter().find(|(_, d)| *d == self).map_or("", |(name, _)| name)
    }

    /// Returns the path it claims on its listener, with all below it.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Websocket => "/ws",
            Dialect::Sse => "/sse",
            Dialect::Http => "/api",
            Dialect::Dashboard => "/",
        }
    }
}

/// `[listeners.*]`.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Name in the file.
    pub name: String,
    /// Address.
    pub bind: SocketAddr,
    /// What is spoken there.
    pub dialects: Vec<Dialect>,
    /// Channels served; `None` = every view, no stream (and `_stats`, `_clients` on loopback).
    pub channels: Option<Vec<String>>,
    /// Streams that may be published to; `None` = every stream on a loopback bind, none elsewhere.
    pub publish: Option<Vec<String>>,
    /// Origins allowed beside the same origin.
    pub origins: Vec<String>,
}

/// `[limits]`: every bound by name. `docs/CONFIG.md` holds the sums behind the defaults.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections of one listener.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_address_max: usize,
    /// One frame from a client.
    pub frame_max_bytes: usize,
    /// Subscriptions of one connection.
    pub subscriptions_max: usize,
    /// One publish request's body.
    pub publish_max_bytes: usize,
    /// One record.
    pub record_max_bytes: usize,
    /// Bytes of one `where`.
    pub filter_max_bytes: usize,
    /// Filters of one channel that the index cannot answer.
    pub unindexed_filters_max: usize,
    /// Bytes waiting for one client.
    pub outbox_max_bytes: usize,
    /// Bytes of one channel's table.
    pub table_max_bytes: usize,
    /// Bytes of one channel's ring of recent changes.
    pub ring_max_bytes: usize,
    /// Rows of one HTTP answer.
    pub rows_max: usize,
    /// Time for a handshake.
    pub handshake_timeout: Duration,
    /// Messages a second from one client.
    pub messages_per_second_max: u32,
    /// Time that a drain may take.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 100_000,
            frame_max_bytes: 64 << 10,
            subscriptions_max: 100,
            publish_max_bytes: 16 << 20,
            record_max_bytes: 1 << 20,
            filter_max_bytes: 8 << 10,
            unindexed_filters_max: 1_000,
            outbox_max_bytes: 1 << 20,
            table_max_bytes: 1 << 30,
            ring_max_bytes: 64 << 20,
            rows_max: 10_000,
            handshake_timeout: Duration::from_secs(10),
            messages_per_second_max: 100,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
