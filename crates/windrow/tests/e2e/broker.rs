//! Kafka itself is killed with `kill -9` and started again, three times, while records are produced, folded and pushed.
//!
//! The oracle counts what the source topic holds in the end and knows nothing of the engine: a record whose producer never heard of its fate is
//! there or not, once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use windrow::log::{Log, LogError, Outgoing, TopicSpec, WriterOptions, kafka::KafkaLog};

use crate::{
    client::{Socket, Table, get_until},
    kafka::Kafka,
    process::{Windrow, free_port},
    topic::read_all,
};

const VIDEOS: u64 = 10;
const PARTITIONS: i32 = 2;
/// How far clients must get between two kills.
const STEP: u64 = 3_000;
const KILLS: u64 = 3;

const CONFIG: &str = r#"
app = "broker"
[log]
kind = "kafka"
bootstrap_servers = "${KAFKA}"
instance_id = "one"
[streams.clicks]
topic = "clicks"
format = "json"
keyed_by = ["video"]
time = { column = "ts", unit = "ms" }
max_ahead = "30d"
[views.likes]
sql = "SELECT video, count(*) AS likes FROM clicks GROUP BY video"
[views.counted]
sql = "SELECT video, window_start AS at, count(*) AS n FROM clicks GROUP BY video, tumble(interval '10 seconds')"
topic = "finals"
[listeners.main]
bind = "127.0.0.1:${PORT}"
"#;

/// Far past every window of a click: the record that closes them all.
const END_MS: i64 = 1_700_086_400_000;

fn click(number: u64, ts: i64) -> Outgoing {
    let video = number % VIDEOS;
    Outgoing {
        topic: "clicks".into(),
        partition: (video % PARTITIONS as u64) as i32,
        key: Some(format!("v{video}").into()),
        value: Some(json!({"video": format!("v{video}"), "ts": ts}).to_string().into()),
        headers: Vec::new(),
        timestamp_ms: ts,
    }
}

/// Produces a hundred clicks a transaction until told to stop; what was not confirmed is given up.
async fn produce(log: Arc<KafkaLog>, stop: Arc<AtomicBool>, given_up: Arc<AtomicU64>) {
    let open = || log.writer(WriterOptions { transactional_id: Some("producer".into()) });
    let (mut writer, mut number) = (None, 0);
    while !stop.load(SeqCst) {
        let tried = async {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(open().await?),
            };
            writer.begin().await?;
            let clicks = (number..number + 100).map(|n| click(n, 1_700_000_000_000 + n as i64 * 10));
            writer.send(clicks.collect()).await?;
            writer.commit().await
        };
        let done: Result<(), LogError> = tried.await;
        number += 100;
        if done.is_err() {
            given_up.fetch_add(100, SeqCst);
            writer = None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut writer = open().await.unwrap();
    writer.begin().await.unwrap();
    writer.send((0..VIDEOS).map(|n| click(n, END_MS)).collect()).await.unwrap();
    writer.commit().await.unwrap();
}

fn total(table: &Table) -> u64 {
    table.rows.values().filter_map(|row| row["likes"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_killed_three_times_and_the_numbers_and_the_client_go_on() {
    let mut kafka = Kafka::start().await;
    let log = KafkaLog::connect(&[kafka.address()], &BTreeMap::new()).await.unwrap();
    let spec = TopicSpec {
        name: "clicks".into(),
        partitions: PARTITIONS,
        replication: 1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    assert!(log.create_topic(&spec).await.unwrap());
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), CONFIG).unwrap();
    let port = free_port();
    let variables = [("KAFKA", kafka.address()), ("PORT", port.to_string())];
    let mut process = Windrow::start(&["serve", "--config", &file.path().display().to_string()], &variables);
    get_until(port, "/readyz", |status, _| status == 200).await;

    let (stop, given_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let producer = tokio::spawn(produce(log.clone(), stop.clone(), given_up.clone()));
    let mut client = Socket::subscribe(port, "likes").await;
    for kill in 1..=KILLS {
        client.until("progress", |table| total(table) >= kill * STEP).await;
        kafka.kill();
        get_until(port, "/readyz", |status, _| status == 503).await;
        kafka.again().await;
    }
    client.until("progress after the last kill", |table| total(table) >= (KILLS + 1) * STEP).await;
    stop.store(true, SeqCst);
    producer.await.unwrap();

    let log: Arc<dyn Log> = log;
    let (mut likes, mut windows) = (BTreeMap::new(), BTreeMap::new());
    for click in rows(&log, "clicks").await {
        let (video, ts) = (click["video"].as_str().unwrap().to_owned(), click["ts"].as_i64().unwrap());
        *likes.entry(video.clone()).or_insert(0) += 1;
        if ts < END_MS {
            *windows.entry((video, ts - ts % 10_000)).or_insert(0) += 1;
        }
    }
    let wanted: u64 = likes.values().sum();
    client.until("every click", |table| total(table) >= wanted).await;
    let seen = |row: &Value| (row["video"].as_str().unwrap().to_owned(), row["likes"].as_u64().unwrap());
    assert_eq!(client.table.rows.values().map(seen).collect::<BTreeMap<_, _>>(), likes);
    assert_eq!(client.snapshots, 1, "the client was told anew instead of going on");
    get_until(port, "/readyz", |status, _| status == 200).await;
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());

    let mut finals = BTreeMap::new();
    for row in rows(&log, "finals").await {
        let window = (row["video"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap());
        let twice = finals.insert(window, row["n"].as_u64().unwrap());
        assert_eq!(twice, None, "a window was final twice: {row}");
    }
    assert_eq!(finals, windows);
    println!("{wanted} clicks, {} given up by their producer", given_up.load(SeqCst));
}

async fn rows(log: &Arc<dyn Log>, topic: &str) -> Vec<Value> {
    let records = read_all(log, topic).await;
    records.iter().map(|(_, value)| serde_json::from_slice(value.as_ref().unwrap()).unwrap()).collect()
}
