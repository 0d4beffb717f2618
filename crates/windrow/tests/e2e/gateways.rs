//! One engine and two gateways on one Kafka: every client of every dialect sees the same rows as the topic.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use windrow::log::{Log, kafka::KafkaLog};

use crate::{
    client::{Socket, Table, event_stream, get_until},
    process::{DEADLINE, Windrow, free_port, given},
    topic::read_all,
};

const CLICKS: usize = 20_000;

fn config(app: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = format!(
        r#"
app = "{app}"
[log]
kind = "kafka"
bootstrap_servers = "${{KAFKA}}"
[streams.clicks]
topic = "{app}.clicks"
format = "json"
keyed_by = ["video"]
time = {{ column = "ts", unit = "ms" }}
lateness = "2s"
[views.likes]
sql = "SELECT video, count(*) AS likes FROM clicks GROUP BY video"
[listeners.main]
bind = "127.0.0.1:${{PORT}}"
"#
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

fn total(table: &Table) -> u64 {
    table.rows.values().filter_map(|row| row["likes"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_two_gateways_see_the_topic() {
    let kafka = given("WINDROW_TEST_KAFKA");
    let app = format!("gateways-{}", std::process::id());
    let config = config(&app);
    let (topic, path) = (format!("{app}.clicks"), config.path().display().to_string());
    let produce = |count: usize, seed: &str| {
        let count = count.to_string();
        Windrow::run(
            &[
                "produce", "--kafka", &kafka, "--topic", &topic, "--key", "video", "--count", &count,
                "--seed", seed,
            ],
            &[],
        )
    };
    let start = |role: &str, port: u16| {
        let variables = [("KAFKA", kafka.clone()), ("PORT", port.to_string())];
        Windrow::start(&["serve", "--config", &path, "--role", role], &variables)
    };
    produce(CLICKS / 2, "1");
    let ports = [free_port(), free_port()];
    let _gateways = ports.map(|port| start("gateway", port));
    let _engine = start("engine", 0);
    let half = |status: u16, body: &str| status == 200 && sum(body) >= CLICKS as u64 / 2;
    for port in ports {
        get_until(port, "/api/channels/likes?limit=10000", half).await;
    }

    let mut first = Socket::subscribe(ports[0], "likes").await;
    let mut second = Socket::subscribe(ports[1], "likes").await;
    let (seen, watched) = std::sync::mpsc::channel();
    let events = tokio::spawn(event_stream(ports[1], "likes", move |table| {
        let _ = seen.send(());
        total(table) == CLICKS as u64
    }));
    first.until("the snapshot", |table| total(table) >= CLICKS as u64 / 2).await;
    second.until("the snapshot", |table| total(table) >= CLICKS as u64 / 2).await;
    tokio::task::spawn_blocking(move || watched.recv_timeout(DEADLINE).unwrap()).await.unwrap();

    produce(CLICKS / 2, "2");
    first.until("all clicks", |table| total(table) == CLICKS as u64).await;
    second.until("all clicks", |table| total(table) == CLICKS as u64).await;
    let events = events.await.unwrap();

    let wanted = last_rows(&kafka, &format!("{app}.likes")).await;
    for table in [&first.table, &second.table, &events] {
        assert_eq!(table.rows.values().map(likes).collect::<BTreeMap<_, _>>(), wanted);
    }
}

fn sum(body: &str) -> u64 {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    answer["rows"].as_array().into_iter().flatten().filter_map(|row| row["likes"].as_u64()).sum()
}

fn likes(row: &Value) -> (String, (u64, u64)) {
    (row["video"].to_string(), (row["likes"].as_u64().unwrap(), row["seq"].as_u64().unwrap()))
}

async fn last_rows(kafka: &str, topic: &str) -> BTreeMap<String, (u64, u64)> {
    let log: Arc<dyn Log> = KafkaLog::connect(&[kafka.to_owned()], &BTreeMap::new()).await.unwrap();
    let records = read_all(&log, topic).await;
    records
        .iter()
        .map(|(_, value)| likes(&serde_json::from_slice(value.as_ref().unwrap()).unwrap()))
        .collect()
}
