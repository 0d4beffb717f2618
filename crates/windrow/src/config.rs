//! The configuration, resolved: every default filled in, every reference checked, every unit in the name.
//!
//! **In** TOML text and variables (`config/`). **Out** these structs, which the rest of the program reads.
//! **Invariant:** whoever holds a [`Config`] holds a valid one; all mistakes were told at once with their lines.
//! **Not here:** SQL (planned after this), the log (opened after this).

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use windrow_core::spec::{StreamSpec, ViewSpec};

pub(crate) use self::names::is_topic;
pub use self::{
    error::ConfigError,
    load::{load, parse},
    log::is_secret,
    originals::{
        CounterEvent, EventChannel, Mirrored, Originals, RealtimeEvents, Secret, SensorMirror, VideoCounter,
        VisitAggregator,
    },
    planned::{Planned, load_planned, plan},
    registry::{RegistryAuth, RegistryConfig, RegistryTls},
    variables::Variables,
};

mod console;
mod error;
mod formats;
mod limits;
mod listeners;
mod load;
mod log;
mod names;
mod originals;
mod planned;
mod reader;
mod registry;
mod socketio;
mod streams;
#[cfg(test)]
mod tests;
mod topics;
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
    /// Where schemas are kept.
    pub registry: Option<RegistryConfig>,
    /// Streams, by name.
    pub streams: BTreeMap<String, StreamConfig>,
    /// Views, in the order of the file.
    pub views: Vec<ViewConfig>,
    /// Listeners, by name.
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// What is told on standard error while records come.
    pub console: ConsoleConfig,
    /// Every bound.
    pub limits: Limits,
}

/// `[console]`.
#[derive(Debug, Clone, Default)]
pub struct ConsoleConfig {
    /// Records between two lines; 0 = there are none.
    pub every: u64,
    /// Views whose newest closed row is told along.
    pub views: Vec<Arc<str>>,
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
    /// `/socket.io/`, or where the listener says.
    Socketio,
    /// `/api`, `/healthz`, `/readyz`, `/metrics`.
    Http,
    /// `/`.
    Dashboard,
    /// `/socket.io/` as the original of this name speaks it, and its likes.
    VideoCounter,
    /// `/ws`, `/ready` and `/` of the original of this name.
    VisitAggregator,
    /// `/getEvents` and `/` of the original of this name.
    RealtimeEvents,
    /// `/socket.io/` and `/` as the original of this name speaks there, and what its sisters answered at `/topics`.
    SensorMirror,
}

impl Dialect {
    /// Returns the name in a configuration.
    pub fn name(self) -> &'static str {
        listeners::DIALECTS.iter().find(|(_, d)| *d == self).map_or("", |(name, _)| name)
    }

    /// Returns the paths it claims on its listener, each but `/` with all below it.
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Dialect::Websocket => &["/ws"],
            Dialect::Sse => &["/sse"],
            Dialect::Socketio | Dialect::VideoCounter => &["/socket.io"],
            Dialect::Http => &["/api", "/healthz", "/readyz", "/metrics"],
            Dialect::Dashboard => &["/"],
            Dialect::VisitAggregator => &["/ws", "/ready", "/"],
            Dialect::RealtimeEvents => &["/getEvents", "/"],
            Dialect::SensorMirror => &["/socket.io", "/", "/topics", "/topic"],
        }
    }

    /// Returns a path that both claim on one listener, if there is one.
    pub fn clash(self, other: Dialect) -> Option<&'static str> {
        // An original of Socket.IO has namespace `/`, and the general API lives beside it.
        let is_shared = self != other && (self == Dialect::Socketio || other == Dialect::Socketio);
        let claimed = |path: &&&'static str| !is_shared && other.paths().contains(path);
        self.paths().iter().find(claimed).copied()
    }

    /// Tells whether it is an original that has namespace `/` of Socket.IO for itself.
    pub fn owns_namespace(self) -> bool {
        matches!(self, Dialect::VideoCounter | Dialect::SensorMirror)
    }

    /// Tells whether Socket.IO carries it.
    pub fn speaks_socketio(self) -> bool {
        matches!(self, Dialect::Socketio) || self.owns_namespace()
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
    /// How Socket.IO is spoken, where it is.
    pub socketio: SocketioConfig,
    /// What the originals that are spoken there serve.
    pub originals: Originals,
}

/// `socketio` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketioConfig {
    /// With a slash at both ends.
    pub path: String,
    /// Revisions of Engine.IO: 3, 4 or both.
    pub versions: Vec<u8>,
    /// Whether clients may poll.
    pub polling: bool,
    /// Whether they may use WebSockets, at once or after polling.
    pub websocket: bool,
    /// Time between two pings.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    pub ping_timeout: Duration,
    /// One body of a poll, one frame, all attachments of one packet.
    pub max_payload_bytes: usize,
    /// How long a client may be in no namespace.
    pub connect_timeout: Duration,
    /// Where the general API is served.
    pub namespaces: Vec<String>,
    /// Whether every event carries what a client needs to be recovered.
    pub recovery: bool,
    /// Name of the cookie that holds the sid, for balancers that keep a client at one node by it.
    pub cookie: Option<String>,
}

impl SocketioConfig {
    /// What `video-counter` offers where the listener does not say otherwise.
    pub fn of_video_counter() -> Self {
        Self {
            versions: vec![4],
            ping_timeout: Duration::from_secs(60),
            namespaces: vec!["/windrow".to_owned()],
            ..Self::default()
        }
    }

    /// What `sensor-mirror` offers where the listener does not say otherwise.
    pub fn of_sensor_mirror() -> Self {
        Self {
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(10),
            namespaces: vec!["/windrow".to_owned()],
            ..Self::default()
        }
    }
}

impl Default for SocketioConfig {
    fn default() -> Self {
        Self {
            path: "/socket.io/".to_owned(),
            versions: vec![3, 4],
            polling: true,
            websocket: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload_bytes: 1_000_000,
            connect_timeout: Duration::from_secs(45),
            namespaces: vec!["/".to_owned()],
            recovery: false,
            cookie: None,
        }
    }
}

/// `[limits]`: every bound by name. `docs/CONFIG.md` holds the sums behind the defaults.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections of one listener.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_address_max: usize,
    /// Sessions of one listener that poll: they are no connections.
    pub sessions_max: usize,
    /// Sessions of one address that poll.
    pub sessions_per_address_max: usize,
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
            sessions_max: 100_000,
            sessions_per_address_max: 100_000,
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
