//! The world at fault: a log that is away, a topic that is missing. Windrow waits, says why, and goes on by itself.

use std::{collections::BTreeMap, net::TcpStream, time::Duration};

use bytes::Bytes;
use windrow::log::{Log, Outgoing, TopicSpec, WriterOptions, kafka::KafkaLog};

use crate::{
    client::{answer, ask, get_until},
    process::{Windrow, free_port, given},
};

fn config(app: &str, kafka: &str, port: u16) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = format!(
        r#"
app = "{app}"
[log]
kind = "kafka"
bootstrap_servers = "{kafka}"
[streams.clicks]
topic = "{app}.clicks"
format = "json"
keyed_by = ["video"]
[views.likes]
sql = "SELECT video, count(*) AS likes FROM clicks GROUP BY video"
[listeners.main]
bind = "127.0.0.1:{port}"
"#
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

fn serve(config: &tempfile::NamedTempFile) -> Windrow {
    Windrow::start(&["serve", "--config", &config.path().display().to_string()], &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_down_is_told_by_readyz_and_the_process_lives() {
    let (nobody, port) = (free_port(), free_port());
    let config = config("nobody", &format!("127.0.0.1:{nobody}"), port);
    let mut process = serve(&config);
    let (_, healthy) = get_until(port, "/healthz", |status, _| status == 200).await;
    let (_, why) =
        get_until(port, "/readyz", |status, body| status == 503 && body.contains(&nobody.to_string())).await;
    assert!(why.contains("log"), "{healthy} {why}");
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_waited_for_and_read_from_its_beginning() {
    let kafka = given("WINDROW_TEST_KAFKA");
    let app = format!("missing-{}", std::process::id());
    let port = free_port();
    let config = config(&app, &kafka, port);
    let mut process = serve(&config);
    let topic = format!("{app}.clicks");
    get_until(port, "/readyz", |status, body| status == 503 && body.contains(&topic)).await;

    let log = KafkaLog::connect(&[kafka], &BTreeMap::new()).await.unwrap();
    let spec = TopicSpec {
        name: topic.as_str().into(),
        partitions: 2,
        replication: 1,
        compact: false,
        retention: Some(Duration::from_secs(3600)),
        retention_bytes: None,
    };
    log.create_topic(&spec).await.unwrap();
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.begin().await.unwrap();
    let record = |partition, video: &str| Outgoing {
        topic: spec.name.clone(),
        partition,
        key: Some(Bytes::from(video.to_owned())),
        value: Some(Bytes::from(format!("{{\"video\":\"{video}\"}}"))),
        headers: Vec::new(),
        timestamp_ms: jiff::Timestamp::now().as_millisecond(),
    };
    writer.send(vec![record(0, "a"), record(1, "b"), record(0, "a")]).await.unwrap();
    writer.commit().await.unwrap();

    let done =
        |status, body: &str| status == 200 && body.contains("\"likes\":2") && body.contains("\"likes\":1");
    get_until(port, "/api/channels/likes", done).await;
    get_until(port, "/readyz", |status, _| status == 200).await;
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_nobody_who_asks_for_a_channel_that_is_not_read_yet() {
    let kafka = given("WINDROW_TEST_KAFKA");
    let app = format!("unread-{}", std::process::id());
    let port = free_port();
    let config = config(&app, &kafka, port);
    let mut process = serve(&config);
    get_until(port, "/readyz", |status, body| status == 503 && body.contains(&app)).await;
    let asked = ask(port, "GET /api/channels/likes", "", 0);
    drains_with(port, &mut process, [asked]).await;
}

/// Stops a process that has been asked for something, and has no answer yet.
async fn drains_with(port: u16, process: &mut Windrow, asked: impl IntoIterator<Item = TcpStream>) {
    // Asked later and answered: the others are being waited for.
    get_until(port, "/metrics", |status, _| status == 200).await;
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    for asked in asked {
        let answer = answer(asked);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"draining\""), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_no_request_that_has_no_answer() {
    let (nobody, port) = (free_port(), free_port());
    let config = config("nobody", &format!("127.0.0.1:{nobody}"), port);
    let mut process = serve(&config);
    get_until(port, "/healthz", |status, _| status == 200).await;
    // One waits for a log that is away, the other for a body that does not come.
    let record = r#"{"video":"a"}"#;
    let asked = [record.len(), 100].map(|promised| ask(port, "POST /api/streams/clicks", record, promised));
    drains_with(port, &mut process, asked).await;
}
