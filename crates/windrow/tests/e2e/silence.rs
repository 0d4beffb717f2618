//! Silence: time flows on when nothing comes, as far as it may, on both logs and between processes.
//!
//! Windows are two seconds, `idle` is one. All event times lie years back: only silence can close the last windows, never the wall clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::Value;
use windrow::{
    config::Sync,
    log::{Log, Outgoing, TopicSpec, Tp, WriterOptions, embedded::EmbeddedLog, kafka::KafkaLog},
};
use windrow_core::batch::murmur2;

use crate::{
    client::{get_until, publish},
    process::{DEADLINE, Windrow, free_port, given},
};

const CONFIG: &str = r#"
app = "${APP}"
[log]
kind = "${KIND}"
directory = "${DATA}"
bootstrap_servers = "${KAFKA}"
[streams.clicks]
topic = "${APP}-clicks"
time = { column = "ts", unit = "ms" }
keyed_by = ["video"]
idle = "${IDLE}"
[views.counted]
sql = "SELECT video, count(*) AS n FROM clicks GROUP BY video, tumble(interval '2 seconds')"
[listeners.main]
bind = "127.0.0.1:${PORT}"
"#;

const BASE_MS: i64 = 1_700_000_000_000;
/// Longer than `idle` and a window together: whatever silence may close is closed by then.
const LONG_QUIET_MS: i64 = 4_500;

/// A place for one test: a log, a topic, and names that no other test has.
struct Place {
    folder: tempfile::TempDir,
    app: String,
    kafka: Option<String>,
    partitions: i32,
    port: u16,
}

impl Place {
    async fn new(name: &str, kafka: Option<String>, partitions: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("windrow.toml"), CONFIG).unwrap();
        let app = format!("{name}-{}", std::process::id());
        let place = Self { folder, app, kafka, partitions, port: free_port() };
        let spec = TopicSpec {
            name: place.topic().into(),
            partitions,
            replication: 1,
            compact: false,
            retention: None,
            retention_bytes: None,
        };
        place.log().await.create_topic(&spec).await.unwrap();
        place
    }

    fn topic(&self) -> String {
        format!("{}-clicks", self.app)
    }

    async fn log(&self) -> Arc<dyn Log> {
        match &self.kafka {
            Some(kafka) => KafkaLog::connect(std::slice::from_ref(kafka), &BTreeMap::new()).await.unwrap(),
            None => EmbeddedLog::open(&self.folder.path().join("data"), Sync::Commit).unwrap(),
        }
    }

    /// A video whose messages go to this partition.
    fn video(&self, partition: i32) -> String {
        let at = |name: &str| ((murmur2(name.as_bytes()) & 0x7fff_ffff).cast_signed()) % self.partitions;
        (0..).map(|i| format!("v{i}")).find(|name| at(name) == partition).unwrap()
    }

    /// Appends clicks: partition and milliseconds after the base.
    async fn produce(&self, clicks: &[(i32, i64)]) {
        let log = self.log().await;
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        let record = |(partition, after_ms): &(i32, i64)| Outgoing {
            topic: self.topic().into(),
            partition: *partition,
            key: Some(Bytes::from(self.video(*partition))),
            value: Some(Bytes::from(click(&self.video(*partition), *after_ms))),
            headers: Vec::new(),
            timestamp_ms: BASE_MS,
        };
        writer.send(clicks.iter().map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }

    fn serve(&self, idle: &str, role: &str) -> Windrow {
        let config = self.folder.path().join("windrow.toml").display().to_string();
        let variables = [
            ("APP", self.app.clone()),
            ("KIND", if self.kafka.is_some() { "kafka" } else { "embedded" }.to_owned()),
            ("DATA", self.folder.path().join("data").display().to_string()),
            ("KAFKA", self.kafka.clone().unwrap_or_else(|| "localhost:9092".to_owned())),
            ("IDLE", idle.to_owned()),
            ("PORT", self.port.to_string()),
        ];
        Windrow::start(&["serve", "--role", role, "--config", &config], &variables)
    }

    /// Waits until the channel shows exactly these windows: partition, start after the base, count, final.
    async fn until_rows(&self, wanted: &[(i32, i64, u64, bool)]) {
        let wanted: BTreeSet<_> = wanted.iter().map(|(p, at, n, f)| (self.video(*p), *at, *n, *f)).collect();
        self.until(|rows| *rows == wanted).await;
    }

    async fn until(&self, pleases: impl Fn(&BTreeSet<Row>) -> bool) {
        let pleases = |status, body: &str| status == 200 && pleases(&rows(body));
        get_until(self.port, "/api/channels/counted?limit=100", pleases).await;
    }

    /// Waits until the partition was seen quiet for so long; returns for how long.
    async fn until_quiet(&self, partition: i32, quiet_ms: i64) -> i64 {
        let pleases = |_, body: &str| quiet(body, partition).is_some_and(|quiet| quiet >= quiet_ms);
        quiet(&get_until(self.port, "/metrics", pleases).await.1, partition).unwrap()
    }

    async fn is_quiet_ms(&self, partition: i32) -> i64 {
        self.until_quiet(partition, 0).await
    }
}

/// Video, window start after the base, count, final.
type Row = (String, i64, u64, bool);

fn rows(body: &str) -> BTreeSet<Row> {
    let body: Value = serde_json::from_str(body).unwrap();
    let row = |row: &Value| {
        let start = row["window_start"].as_i64().unwrap() - BASE_MS;
        let (n, is_final) = (row["n"].as_u64().unwrap(), row["final"].as_bool().unwrap());
        (row["video"].as_str().unwrap().to_owned(), start, n, is_final)
    };
    body["rows"].as_array().unwrap().iter().map(row).collect()
}

/// The process's word on how long it has watched a partition's silence.
fn quiet(metrics: &str, partition: i32) -> Option<i64> {
    let label = format!("partition=\"{partition}\"");
    let line =
        metrics.lines().find(|l| l.starts_with("windrow_partition_quiet_ms{") && l.contains(&label))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn click(video: &str, after_ms: i64) -> String {
    format!("{{\"video\":\"{video}\",\"ts\":{}}}", BASE_MS + after_ms)
}

async fn the_last_window_closes(kafka: Option<String>) {
    let place = Place::new("silence-last", kafka, 1).await;
    place.produce(&[(0, 0), (0, 1_000), (0, 2_500)]).await;
    let process = place.serve("1s", "all");
    place.until_rows(&[(0, 0, 2, true), (0, 2_000, 1, true)]).await;
    drop(process);
    let watermarks = place.log().await.topic(&format!("{}.watermarks", place.app)).await.unwrap();
    assert_eq!(watermarks, None, "one partition has nobody to tell");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_window_of_a_stopped_stream_closes_on_the_embedded_log() {
    the_last_window_closes(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_window_of_a_stopped_stream_closes_on_kafka() {
    the_last_window_closes(Some(given("WINDROW_TEST_KAFKA"))).await;
}

/// Without `keyed_by` the view runs in two stages, and its windows wait for every partition: for the one that stopped early, and for
/// the one that never had a record.
async fn two_stages_close(kafka: Option<String>) {
    let place = Place::new("silence-two", kafka, 4).await;
    let config = CONFIG.replace("keyed_by = [\"video\"]\n", "");
    std::fs::write(place.folder.path().join("windrow.toml"), config).unwrap();
    place.produce(&[(0, 0), (0, 5_000), (1, 1_000), (3, 2_500)]).await;
    let _process = place.serve("1s", "all");
    let (a, b) = ([(0, 0, 1, true), (0, 4_000, 1, true)], [(1, 0, 1, true), (3, 2_000, 1, true)]);
    place.until_rows(&[a, b].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_two_stages_close_on_the_embedded_log() {
    two_stages_close(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_two_stages_close_on_kafka() {
    two_stages_close(Some(given("WINDROW_TEST_KAFKA"))).await;
}

/// Partition 1 stops early, 2 never gets a record, 0 goes on; with two processes they lie apart.
async fn one_goes_on(name: &str, kafka: Option<String>, engines: usize) {
    let place = Place::new(name, kafka, 4).await;
    place.produce(&[(0, 0), (1, 1_000), (3, 1_500)]).await;
    let mut processes = vec![place.serve("1s", "all")];
    processes.extend((1..engines).map(|_| place.serve("1s", "engine")));
    let deadline = Instant::now() + DEADLINE;
    while !processes.iter().all(|process| process.said().contains("reading")) {
        assert!(Instant::now() < deadline, "a process got no partition:\n{}", processes[0].said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The busy one never is idle and moves slowly, so what closes the others' window is that they follow it.
    let quiet = [(place.video(1), 0, 1, true), (place.video(3), 0, 1, true)];
    let follow = async {
        for after_ms in (2_100..).step_by(10) {
            publish(place.port, "clicks", click(&place.video(0), after_ms)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = follow => {}
        () = place.until(|rows| quiet.iter().all(|row| rows.contains(row))) => {}
    }
    // Then it stops as well: all are idle, and its last window closes by the clock.
    let last = |row: &Row| row.0 == place.video(0);
    place.until(|rows| rows.iter().any(last) && rows.iter().all(|row| row.3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_and_empty_partitions_follow_the_busy_one_on_the_embedded_log() {
    one_goes_on("silence-follow", None, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_and_empty_partitions_follow_the_busy_one_in_another_process() {
    one_goes_on("silence-follow", Some(given("WINDROW_TEST_KAFKA")), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_upstream_is_not_silence() {
    let kafka = given("WINDROW_TEST_KAFKA");
    let place = Place::new("silence-open", Some(kafka.clone()), 2).await;
    place.produce(&[(0, 0), (1, 500)]).await;
    let mut upstream = ClientConfig::new();
    upstream.set("bootstrap.servers", &kafka).set("transactional.id", format!("{}-upstream", place.app));
    // Longer than the test: the broker would end it otherwise, and rightly.
    upstream.set("transaction.timeout.ms", "300000");
    let upstream: BaseProducer = upstream.create().unwrap();
    upstream.init_transactions(DEADLINE).unwrap();
    upstream.begin_transaction().unwrap();
    let (topic, video) = (place.topic(), place.video(0));
    let value = click(&video, 1_000);
    upstream.send(BaseRecord::to(&topic).partition(0).key(&video).payload(&value)).unwrap();
    upstream.flush(DEADLINE).unwrap();

    let process = place.serve("1s", "all");
    place.until_quiet(1, LONG_QUIET_MS).await;
    assert_eq!(place.is_quiet_ms(0).await, 0, "something is on its way to it");
    place.until_rows(&[(0, 0, 1, false), (1, 0, 1, false)]).await;

    upstream.commit_transaction(DEADLINE).unwrap();
    place.until_rows(&[(0, 0, 2, true), (1, 0, 1, true)]).await;
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn never_waits_for_the_next_record() {
    let place = Place::new("silence-never", None, 2).await;
    place.produce(&[(0, 0), (1, 500)]).await;
    let process = place.serve("never", "all");
    place.until_quiet(0, LONG_QUIET_MS).await;
    place.until_quiet(1, LONG_QUIET_MS).await;
    place.until_rows(&[(0, 0, 1, false), (1, 0, 1, false)]).await;
    publish(place.port, "clicks", click(&place.video(0), 2_000)).await;
    place.until_rows(&[(0, 0, 1, true), (0, 2_000, 1, false), (1, 0, 1, false)]).await;
    drop(process);
    let watermarks = place.log().await.topic(&format!("{}.watermarks", place.app)).await.unwrap();
    assert_eq!(watermarks, None, "nobody needs to hear of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_at_rest_commits_about_once_a_second() {
    let place = Place::new("silence-rest", Some(given("WINDROW_TEST_KAFKA")), 2).await;
    place.produce(&[(0, 0), (1, 500)]).await;
    let process = place.serve("1s", "all");
    place.until_rows(&[(0, 0, 1, true), (1, 0, 1, true)]).await;
    let log = place.log().await;
    let journal = [Tp::new(format!("{}.counted.journal", place.app), 0)];
    let end = || async { log.ends(&journal).await.unwrap()[0].high_watermark };
    let (before, began, quiet) = (end().await, Instant::now(), place.is_quiet_ms(0).await);
    place.until_quiet(0, quiet + 6_000).await;
    // A commit brings a block and a marker.
    let (commits, seconds) = ((end().await - before) / 2, began.elapsed().as_secs() as i64);
    assert!((4..=seconds + 2).contains(&commits), "{commits} commits in {seconds} s");
    drop(process);
}
