//! `[log]`: where records live.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::{LogConfig, LogKind, Sync, reader::Reader};

/// A commit may not outlive the transaction that it is part of (10 s); five seconds leave room for the commit itself.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Below this, commits cost more than the records in them.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(5);

const DEFAULT_DIRECTORY: &str = "windrow-data";
const DEFAULT_SERVER: &str = "localhost:9092";
const KAFKA_PORT: u16 = 9092;

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

/// A list or comma-separated text, `kafka://` tolerated, the port 9092 when none is given.
fn servers(log: &Reader<'_>) -> Option<Vec<String>> {
    let mut servers = Vec::new();
    for (text, offset) in log.texts("bootstrap_servers")? {
        for server in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            match address(server) {
                Some(address) => servers.push(address),
                None => {
                    let message = "`bootstrap_servers` must be host:port, or several with commas between";
                    log.source.wrong(offset, message, None);
                }
            }
        }
    }
    if servers.is_empty() {
        log.wrong("bootstrap_servers", "`bootstrap_servers` must name at least one server", None);
    }
    Some(servers)
}

fn address(server: &str) -> Option<String> {
    let server = server.strip_prefix("kafka://").unwrap_or(server);
    let server = server.strip_suffix('/').unwrap_or(server);
    if server.is_empty() || server.contains(|c: char| c.is_whitespace() || c == '/' || c == '@') {
        return None;
    }
    // An IPv6 address has its colons in brackets.
    let after_host = server.rsplit_once(']').map_or(server, |(_, rest)| rest);
    match after_host.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok().map(|_| server.to_owned()),
        None => Some(format!("{server}:{KAFKA_PORT}")),
    }
}

/// Properties that Windrow needs at one value to keep its promises.
const OURS: [&str; 8] = [
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "transactional.id",
];

fn properties(log: &Reader<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (name, value, offset) in log.pairs("properties") {
        if OURS.contains(&name.as_str()) {
            let hint = "Windrow sets it itself, by `app`, `bootstrap_servers`, `delivery` and `instance_id`";
            log.source.wrong(offset, format!("property `{name}` cannot be set"), Some(hint.to_owned()));
        }
        if name == "security.protocol" && !value.eq_ignore_ascii_case("plaintext") {
            let hint = "available is \"PLAINTEXT\"".to_owned();
            log.source.wrong(offset, "TLS and SASL to Kafka are not available yet", Some(hint));
        }
        properties.insert(name, value);
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
