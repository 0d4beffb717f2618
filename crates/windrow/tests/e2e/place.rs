//! A place for one run: which log, and names that no other test has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use serde_json::Value;
use windrow::{
    config::Sync,
    log::{Log, Outgoing, TopicSpec, WriterOptions, embedded::EmbeddedLog, kafka::KafkaLog},
};

use crate::{
    client::get_until,
    process::{Windrow, free_port},
    topic::read_all,
};

/// Head of every configuration: `${APP}`, the log, and a listener at `${PORT}`.
const HEAD: &str = r#"
app = "${APP}"
[log]
kind = "${KIND}"
directory = "${DATA}"
bootstrap_servers = "${KAFKA}"
[listeners.main]
bind = "127.0.0.1:${PORT}"
"#;

pub(crate) struct Place {
    folder: tempfile::TempDir,
    kafka: Option<String>,
    pub(crate) app: String,
    pub(crate) port: u16,
}

fn kind(kafka: Option<&str>) -> &'static str {
    if kafka.is_some() { "kafka" } else { "embedded" }
}

impl Place {
    pub(crate) fn new(app: &str, kafka: Option<String>) -> Self {
        let app = format!("{app}-{}-{}", kind(kafka.as_deref()), std::process::id());
        Self { folder: tempfile::tempdir().unwrap(), kafka, app, port: free_port() }
    }

    /// The broker, or where one would be.
    pub(crate) fn broker(&self) -> String {
        self.kafka.clone().unwrap_or_else(|| "localhost:9092".to_owned())
    }

    /// A topic that no other test has.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.app)
    }

    /// The variables by which every example is told its log.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("WINDROW_LOG", kind(self.kafka.as_deref()).to_owned()),
            ("WINDROW_DATA", self.directory().display().to_string()),
        ]
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts `windrow serve` on this configuration.
    pub(crate) fn serve(&self, config: &str, arguments: &[&str]) -> Windrow {
        self.serve_at(config, arguments, self.port)
    }

    pub(crate) fn serve_at(&self, config: &str, arguments: &[&str], port: u16) -> Windrow {
        let file = self.folder.path().join("windrow.toml");
        std::fs::write(&file, format!("{HEAD}{config}")).unwrap();
        let file = file.display().to_string();
        let variables = [
            ("APP", self.app.clone()),
            ("KIND", kind(self.kafka.as_deref()).to_owned()),
            ("DATA", self.directory().display().to_string()),
            ("KAFKA", self.broker()),
            ("PORT", port.to_string()),
        ];
        Windrow::start(&[&["serve", "--config", &file], arguments].concat(), &variables)
    }

    /// Opens the log; on the embedded one while no process has it.
    pub(crate) async fn log(&self) -> Arc<dyn Log> {
        match &self.kafka {
            Some(kafka) => KafkaLog::connect(std::slice::from_ref(kafka), &BTreeMap::new()).await.unwrap(),
            None => EmbeddedLog::open(&self.directory(), Sync::Commit).unwrap(),
        }
    }

    pub(crate) async fn make_topic(&self, topic: &str, partitions: i32) {
        let spec = TopicSpec {
            name: topic.into(),
            partitions,
            replication: -1,
            compact: false,
            retention: None,
            retention_bytes: None,
        };
        self.log().await.create_topic(&spec).await.unwrap();
    }

    /// Writes values, round about over these partitions.
    pub(crate) async fn write(&self, topic: &str, partitions: std::ops::Range<i32>, values: &[Value]) {
        let log = self.log().await;
        let record = |(partition, value): (i32, &Value)| Outgoing {
            topic: topic.into(),
            partition,
            key: None,
            value: Some(Bytes::from(value.to_string())),
            headers: Vec::new(),
            timestamp_ms: jiff::Timestamp::now().as_millisecond(),
        };
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.send(partitions.cycle().zip(values).map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }

    /// Reads a topic to its end.
    pub(crate) async fn values(&self, topic: &str) -> Vec<Option<Value>> {
        let records = read_all(&self.log().await, topic).await;
        let parse = |value: &Bytes| serde_json::from_slice(value).unwrap();
        records.iter().map(|(_, value)| value.as_ref().map(parse)).collect()
    }

    /// Waits until the sum of a column over a channel's rows is that.
    pub(crate) async fn until_sum(&self, channel: &str, column: &str, sum: u64) {
        let is_there = |status, body: &str| {
            let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
            let rows = body["rows"].as_array().into_iter().flatten();
            status == 200 && rows.filter_map(|row| row[column].as_u64()).sum::<u64>() == sum
        };
        get_until(self.port, &format!("/api/channels/{channel}?limit=10000"), is_there).await;
    }

    /// Waits until the process is not ready because of this.
    pub(crate) async fn until_trouble(&self, why: &[&str]) -> String {
        let has = |status, body: &str| status == 503 && why.iter().all(|why| body.contains(why));
        get_until(self.port, "/readyz", has).await.1
    }

    pub(crate) async fn until_ready(&self) {
        get_until(self.port, "/readyz", |status, _| status == 200).await;
    }

    /// Ends a process in peace.
    pub(crate) fn end(&self, mut process: Windrow) {
        process.terminate();
        assert!(process.wait().success(), "{}", process.said());
    }
}

/// Tells whether all of these are different, and how many there are.
pub(crate) fn distinct(values: &[Option<Value>], column: &str) -> usize {
    let seen: BTreeSet<String> = values.iter().flatten().map(|value| value[column].to_string()).collect();
    assert_eq!(seen.len(), values.len(), "one of them is there twice: {values:?}");
    seen.len()
}
