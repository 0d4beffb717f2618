//! `[log]`: where records live.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::{LogConfig, LogKind, Sync, reader::Reader};
use crate::log::kafka;

/// Beyond this a page does not feel live, and a crash folds much again.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Below this, commits cost more than the records in them.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(5);

const DEFAULT_DIRECTORY: &str = "windrow-data";
const DEFAULT_SERVER: &str = "localhost:9092";

/// Which log was asked for; needed before the rest of the file can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Kafka,
}

pub(super) fn read(log: Reader<'_>) -> (Kind, LogConfig) {
    let kinds = [("embedded", Kind::Embedded), ("kafka", Kind::Kafka)];
    let kind = log.choice("kind", &kinds, &[]).unwrap_or(Kind::Embedded);
    let directory = log.text("directory");
    let syncs = [("commit", Sync::Commit), ("interval", Sync::Interval), ("never", Sync::Never)];
    let sync = log.choice("sync", &syncs, &[]);
    let servers = servers(&log);
    let properties = properties(&log);
    let deliveries = [("exactly_once", true), ("at_least_once", false)];
    let config = LogConfig {
        exactly_once: log.choice("delivery", &deliveries, &[]).unwrap_or(true),
        commit_interval: log
            .duration("commit_interval", COMMIT_INTERVAL_MIN..=COMMIT_INTERVAL_MAX)
            .unwrap_or(Duration::from_millis(100)),
        instance_id: log.text("instance_id").filter(|id| !id.is_empty()),
        kind: match kind {
            Kind::Embedded => LogKind::Embedded {
                directory: PathBuf::from(directory.unwrap_or_else(|| DEFAULT_DIRECTORY.to_owned())),
                sync: sync.unwrap_or(Sync::Commit),
            },
            Kind::Kafka => LogKind::Kafka {
                bootstrap_servers: servers.unwrap_or_else(|| vec![DEFAULT_SERVER.to_owned()]),
                properties,
            },
        },
    };
    forgotten_kind(&log);
    log.finish();
    (kind, config)
}

/// Keys of Kafka without a `kind` are a sign that it was forgotten; with a `kind`, keys of the other one may stay, so that
/// moving from one log to the other is a change of one line.
fn forgotten_kind(log: &Reader<'_>) {
    for key in ["bootstrap_servers", "properties"] {
        if !log.has("kind") && log.has(key) {
            log.wrong(key, format!("`{key}` needs kind = \"kafka\""), None);
        }
    }
}

/// A list or a text with commas (or semicolons) between, `kafka://` tolerated, the port 9092 when none is given.
fn servers(log: &Reader<'_>) -> Option<Vec<String>> {
    let mut servers = Vec::new();
    for (text, offset) in log.texts("bootstrap_servers")? {
        for server in kafka::addresses(&text) {
            match kafka::address(server) {
                Ok(address) => servers.push(address),
                Err(rule) => log.source.wrong(offset, format!("`bootstrap_servers`: {rule}"), None),
            }
        }
    }
    if servers.is_empty() {
        log.wrong("bootstrap_servers", "`bootstrap_servers` must name at least one server", None);
    }
    Some(servers)
}

fn properties(log: &Reader<'_>) -> BTreeMap<String, String> {
    let (mut properties, mut places) = (BTreeMap::new(), BTreeMap::new());
    for (name, value, offset) in log.pairs("properties") {
        places.insert(name.clone(), offset);
        properties.insert(name, value);
    }
    for mistake in kafka::mistakes(&properties) {
        match places.get(&mistake.property) {
            Some(offset) => log.source.wrong(*offset, mistake.message, mistake.hint),
            None => log.wrong("properties", mistake.message, mistake.hint),
        }
    }
    properties
}

/// Tells whether a librdkafka property must never be printed.
pub fn is_secret(property: &str) -> bool {
    let property = property.to_ascii_lowercase();
    ["password", "secret", "sasl.jaas", ".pem", "oauthbearer.config", "token"]
        .iter()
        .any(|part| property.contains(part))
}

impl fmt::Debug for LogKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogKind::Embedded { directory, sync } => {
                f.debug_struct("Embedded").field("directory", directory).field("sync", sync).finish()
            }
            LogKind::Kafka { bootstrap_servers, properties } => {
                let shown: BTreeMap<&str, &str> = properties
                    .iter()
                    .map(|(k, v)| (k.as_str(), if is_secret(k) { "***" } else { v.as_str() }))
                    .collect();
                f.debug_struct("Kafka")
                    .field("bootstrap_servers", bootstrap_servers)
                    .field("properties", &shown)
                    .finish()
            }
        }
    }
}
