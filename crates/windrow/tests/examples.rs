//! Every example's configuration, and README's, loads and plans, with nothing set in the environment but what its README names.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{path::PathBuf, sync::Arc};

use windrow::config::{self, Config, LogKind, RegistryAuth, Variables};
use windrow_core::plan::Stage;

fn configurations() -> Vec<PathBuf> {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let folders = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect()
}

#[test]
fn every_example_loads_and_plans() {
    let all = configurations();
    assert!(all.len() >= 2, "{all:?}");
    for path in all {
        let planned = config::load_planned(&path, &Variables::default());
        let planned = planned.unwrap_or_else(|errors| panic!("{errors:?}"));
        // Their records have no keys, so their groups are gathered from all partitions.
        let is_gathered =
            ["video-counter", "visit-aggregator"].iter().any(|name| path.to_string_lossy().contains(name));
        let stage = if is_gathered { Stage::Two } else { Stage::Local };
        check_stages(&planned.config, stage);
    }
}

#[test]
fn readme_s_configuration_loads_and_plans() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let config = config::parse(text, "README.md", &Variables::default());
    check_stages(&config.unwrap_or_else(|errors| panic!("{errors:?}")), Stage::Local);
}

fn check_stages(config: &Config, stage: Stage) {
    let streams: Vec<_> = config.streams.values().map(|stream| stream.spec.clone()).collect();
    let views: Vec<_> = config.views.iter().map(|view| Arc::clone(&view.spec)).collect();
    let plans = windrow_core::sql::plan(&streams, &views).unwrap_or_else(|errors| panic!("{errors:?}"));
    for plan in &plans {
        let partitions = config.streams[&*plan.spec.name].partitions;
        for view in &plan.views {
            let reason = windrow_core::plan::stage_reason(plan, view, partitions);
            assert_eq!(windrow_core::plan::stage(plan, view, partitions), stage, "{reason}");
        }
    }
}

#[test]
fn every_configuration_in_the_documentation_loads_and_plans() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let secrets = ["KAFKA_PASSWORD", "KAFKA_KEY", "KAFKA_SECRET"].map(|name| (name, "secret"));
    let mut seen = 0;
    for name in ["CONFIG.md", "MIGRATING.md", "OPERATING.md"] {
        let text = std::fs::read_to_string(docs.join(name)).unwrap();
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            let config = config::parse(block, name, &secrets.into_iter().collect());
            let config =
                config.unwrap_or_else(|errors| panic!("block {} of {name}: {errors:#?}", number + 1));
            let streams: Vec<_> = config.streams.values().map(|stream| stream.spec.clone()).collect();
            let views: Vec<_> = config.views.iter().map(|view| Arc::clone(&view.spec)).collect();
            if let Err(errors) = windrow_core::sql::plan(&streams, &views) {
                panic!("block {} of {name}: {errors:#?}", number + 1);
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_documented_limits_are_the_defaults() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONFIG.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let table = text.split("### `[limits]`").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split("` | `");
        Some(format!("{} = {}\n", cells.next()?, cells.next()?.split('`').next()?))
    });
    let limits: String = rows.collect();
    assert_eq!(limits.lines().count(), 17, "{limits}");
    let written =
        config::parse(&format!("[streams.s]\n[limits]\n{limits}"), "docs", &Variables::default()).unwrap();
    let default = config::parse("[streams.s]\n", "none", &Variables::default()).unwrap();
    assert_eq!(format!("{:?}", written.limits), format!("{:?}", default.limits));
}

/// An example with its settings as its program's users have them.
fn with_settings(path: &str, settings: &[(&str, &str)]) -> Config {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path);
    let variables: Variables = settings.iter().copied().collect();
    config::load_planned(&path, &variables).unwrap_or_else(|errors| panic!("{errors:?}")).config
}

fn kafka(config: &Config) -> (&[String], &std::collections::BTreeMap<String, String>) {
    match &config.log.kind {
        LogKind::Kafka { bootstrap_servers, properties } => (bootstrap_servers, properties),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_setting_of_realtime_events_reaches_what_it_is_for() {
    let config = with_settings(
        "realtime-events/windrow.toml",
        &[
            ("KAFKA_BOOTSTRAP_SERVER", "pkc-1.example.org:9092"),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA_GROUP_ID", "events-dev"),
            ("KAFKA_SASL_MECHANISMS", "PLAIN"),
            ("KAFKA_SASL_USERNAME", "key"),
            ("KAFKA_SASL_PASSWORD", "se\"cret"),
            ("KAFKA_SCHEMA_REGISTRY_URL", "https://psrc-1.example.org"),
            ("KAFKA_SCHEMA_REGISTRY_USER", "registry:secret"),
            ("PAYMENT_TOPIC", "prod.payment"),
            ("GUEST_TOPIC", "prod.guest"),
            ("RESERVATION_TOPIC", "prod.reservation"),
            ("KAFKA_SESSION_TIMEOUT", "30000"),
            ("HEART_BEAT_INTERVAL", "3"),
            ("PING_INTERVAL", "30"),
        ],
    );
    assert_eq!(config.app, "events-dev");
    let (servers, properties) = kafka(&config);
    assert_eq!(servers, ["pkc-1.example.org:9092"]);
    for (name, value) in [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "key"),
        ("sasl.password", "se\"cret"),
        ("session.timeout.ms", "30000"),
    ] {
        assert_eq!(properties.get(name).map(String::as_str), Some(value), "{name}");
    }
    let registry = config.registry.as_ref().unwrap();
    assert_eq!(registry.urls, ["https://psrc-1.example.org"]);
    let auth = RegistryAuth::Basic { key: "registry".to_owned(), secret: "secret".to_owned() };
    assert_eq!(registry.auth, auth);
    for (stream, topic) in
        [("payments", "prod.payment"), ("guests", "prod.guest"), ("reservations", "prod.reservation")]
    {
        assert_eq!(config.streams[stream].spec.topics.to_string(), topic);
    }
    let listener = &config.listeners["events"];
    assert_eq!(listener.bind.to_string(), "0.0.0.0:5000");
    let events = listener.originals.realtime_events.as_ref().unwrap();
    assert_eq!((events.ping_interval.as_secs(), events.heartbeat.as_secs()), (30, 3));
    assert_eq!(events.secret, None);
}

#[test]
fn every_setting_of_visit_aggregator_reaches_what_it_is_for() {
    for (spelling, partitions) in [("TOPIC_PARITIONS", 6), ("TOPIC_PARTITIONS", 8)] {
        let config = with_settings(
            "visit-aggregator/windrow.toml",
            &[
                ("KAFKA_BROKER", "kafka://kafka:9092"),
                ("STORE", "rocksdb://"),
                ("WINDOW_SIZE", "30"),
                ("WINDOW_EXPIRES", "5"),
                ("FAUST_WEB_PORT", "6067"),
                (spelling, &partitions.to_string()),
            ],
        );
        assert_eq!(config.app, "visitor-aggregator");
        assert_eq!(kafka(&config).0, ["kafka:9092"]);
        assert_eq!(config.streams["visits"].partitions, partitions);
        assert_eq!(config.listeners["visits"].bind.port(), 6067);
        let view = &config.views[0].spec;
        assert_eq!(view.grace_ms, 5_000);
        assert!(view.sql.contains("interval '30 seconds'"), "{}", view.sql);
        assert_eq!(view.topic.as_ref().map(|topic| &*topic.topic), Some("active-visitors"));
    }
}
