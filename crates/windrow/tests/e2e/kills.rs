//! Killed while windows close one after the other: every window is final exactly once, with the right count, on both logs.
//!
//! The oracle counts the records of the source topic itself and knows nothing of the engine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use windrow::{
    config::Sync,
    log::{Log, embedded::EmbeddedLog, kafka::KafkaLog},
};

use crate::{
    process::{Windrow, given},
    topic::read_all,
};

const CONFIG: &str = r#"
app = "${APP}"
[log]
kind = "${KIND}"
directory = "${DATA}"
bootstrap_servers = "${KAFKA}"
commit_interval = "20ms"
instance_id = "one"
[streams.clicks]
topic = "${APP}-clicks"
time = { column = "ts", unit = "ms" }
lateness = "2s"
max_ahead = "30d"
until = "end"
keyed_by = ["video"]
[views.counted]
sql = "SELECT video, window_start AS at, count(*) AS n FROM clicks GROUP BY video, tumble(interval '10 seconds')"
topic = "${APP}-finals"
[listeners.main]
bind = "127.0.0.1:0"
"#;

/// Video and window start.
type Window = (String, i64);

async fn finals_are_right(app: &str, kafka: Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("windrow.toml"), folder.path().join("data"));
    std::fs::write(&config, CONFIG).unwrap();
    let (config, data) = (config.display().to_string(), data.display().to_string());
    let app = format!("{app}-{}", std::process::id());
    let clicks = format!("{app}-clicks");
    let to = kafka.as_ref().map_or(["--directory", data.as_str()], |kafka| ["--kafka", kafka.as_str()]);
    let what = ["produce", "--topic", &clicks, "--partitions", "2", "--key", "video", "--count", "150000"];
    Windrow::run(&[&what[..], &["--disorder", "1s"], &to[..]].concat(), &[]);

    let kind = if kafka.is_some() { "kafka" } else { "embedded" };
    let variables = [
        ("APP", app.clone()),
        ("KIND", kind.to_owned()),
        ("DATA", data.clone()),
        ("KAFKA", kafka.clone().unwrap_or_else(|| "localhost:9092".to_owned())),
    ];
    let serve = || Windrow::start(&["serve", "--config", &config, "--until-end"], &variables);
    // Later and later, so that each run gets further than the one before it.
    for time_ms in [400, 700, 1000, 1300, 1600] {
        let mut process = serve();
        if let Some(status) = process.lives_for(Duration::from_millis(time_ms)) {
            assert!(status.success(), "{status}:\n{}", process.said());
        }
        process.kill();
    }
    let mut last = serve();
    let status = last.wait();
    assert!(status.success(), "{status}:\n{}", last.said());

    let log: Arc<dyn Log> = match kafka {
        Some(kafka) => KafkaLog::connect(&[kafka], &BTreeMap::new()).await.unwrap(),
        None => EmbeddedLog::open(data.as_ref(), Sync::Commit).unwrap(),
    };
    let mut wanted: BTreeMap<Window, u64> = BTreeMap::new();
    for click in rows(&log, &clicks).await {
        let (video, ts) = (click["video"].as_str().unwrap(), click["ts"].as_i64().unwrap());
        *wanted.entry((video.to_owned(), ts - ts % 10_000)).or_default() += 1;
    }
    let mut found: BTreeMap<Window, u64> = BTreeMap::new();
    for row in rows(&log, &format!("{app}-finals")).await {
        let window = (row["video"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap());
        let twice = found.insert(window, row["n"].as_u64().unwrap());
        assert_eq!(twice, None, "a window was final twice: {row}");
    }
    assert!(wanted.len() > 1000, "{} windows are too few to prove anything", wanted.len());
    assert_eq!(found, wanted);
}

async fn rows(log: &Arc<dyn Log>, topic: &str) -> Vec<Value> {
    let records = read_all(log, topic).await;
    records.iter().map(|(_, value)| serde_json::from_slice(value.as_ref().unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_window_is_final_once_on_the_embedded_log() {
    finals_are_right("kills-embedded", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_window_is_final_once_on_kafka() {
    finals_are_right("kills-kafka", Some(given("WINDROW_TEST_KAFKA"))).await;
}
