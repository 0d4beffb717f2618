//! A schema registry beside a log: schemas come by id, and while they don't, records wait.

use std::{path::PathBuf, process::Command};

use bytes::Bytes;
use serde_json::Value;
use windrow::log::{Outgoing, WriterOptions};

use crate::{client::get_until, double::Double, place::Place, process::given, python, topic::read_all};

const CONFIG: &str = r#"
[registry]
url = "${REGISTRY}"
auth = "windrow:secret"
[streams.orders]
topic = "${APP}-orders"
format = "avro-registry"
key_format = "avro-registry"
[views.spent]
sql = "SELECT _key.organization_id AS organization, sum(cents) AS cents, count(note) AS notes FROM orders GROUP BY _key.organization_id"
"#;

const KEY: &str = r#"{"type":"record","name":"record","fields":[{"name":"organization_id","type":"long"}]}"#;
const INT_KEY: &str =
    r#"{"type":"record","name":"record","fields":[{"name":"organization_id","type":"int"}]}"#;
const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"cents","type":"int"}]}"#;
const NOTED: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"note","type":["null","string"],"default":null},{"name":"cents","type":"long"}]}"#;

fn framed(id: u32, datum: &[u8]) -> Option<Bytes> {
    Some([&[0][..], &id.to_be_bytes(), datum].concat().into())
}

pub(crate) async fn write(place: &Place, topic: &str, records: &[(Option<Bytes>, Option<Bytes>)]) {
    let log = place.log().await;
    let record = |(key, value): &(Option<Bytes>, Option<Bytes>)| Outgoing {
        topic: topic.into(),
        partition: 0,
        key: key.clone(),
        value: value.clone(),
        headers: Vec::new(),
        timestamp_ms: jiff::Timestamp::now().as_millisecond(),
    };
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.begin().await.unwrap();
    writer.send(records.iter().map(record).collect()).await.unwrap();
    writer.commit().await.unwrap();
}

async fn until_rows(place: &Place, channel: &str, rows: &str) {
    let is_there = |status, body: &str| {
        let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
        let mut found: Vec<String> = body["rows"].as_array().into_iter().flatten().map(shown).collect();
        found.sort();
        status == 200 && found.join(" ") == rows
    };
    get_until(place.port, &format!("/api/channels/{channel}?limit=1000"), is_there).await;
}

fn shown(row: &Value) -> String {
    format!("{}:{}:{}", row["organization"], row["cents"], row["notes"])
}

/// Away, refusing, without one id: what is good comes out of it whole, what is not is told apart.
async fn records_wait_for_their_schemas_and_none_is_lost(place: Place) {
    let registry = Double::start().await;
    let topic = format!("{}-orders", place.app);
    let (key, order) = (registry.avro("orders-key", KEY), registry.avro("orders-value", ORDER));
    registry.demand("Basic d2luZHJvdzpzZWNyZXQ=");
    registry.fail(Some(503));
    place.make_topic(&topic, 1).await;
    let one = (framed(key, &[2]), framed(order, &[20]));
    let unknown = (framed(key, &[2]), framed(77, &[20]));
    write(&place, &topic, &[one.clone(), unknown, one.clone()]).await;

    let config = CONFIG.replace("${REGISTRY}", &registry.url());
    let process = place.serve(&config, &[]);
    let why = place.until_trouble(&["registry", "503"]).await;
    assert!(!why.contains("secret"), "{why}");
    registry.fail(None);
    until_rows(&place, "spent", "1:20:0").await;
    place.until_ready().await;
    // Each was asked for as long as it took, and then never again.
    registry.fail(Some(500));
    place.end(process);
    registry.fail(None);

    // The writers move on while the topic goes on.
    let (int_key, noted) = (registry.avro("orders-key", INT_KEY), registry.avro("orders-value", NOTED));
    write(&place, &topic, &[(framed(int_key, &[4]), framed(noted, &[2, 2, b'x', 10])), one]).await;
    let process = place.serve(&config, &[]);
    until_rows(&place, "spent", "1:30:0 2:5:1").await;
    assert!(!process.said().contains("secret"), "{}", process.said());
    place.end(process);

    let bad = read_all(&place.log().await, &format!("{}.orders.bad", place.app)).await;
    assert_eq!(bad, [(framed(key, &[2]), framed(77, &[20]))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_their_schemas_and_none_is_lost_on_the_embedded_log() {
    records_wait_for_their_schemas_and_none_is_lost(Place::new("registry", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_their_schemas_and_none_is_lost_on_kafka() {
    let place = Place::new("registry", Some(given("WINDROW_TEST_KAFKA")));
    records_wait_for_their_schemas_and_none_is_lost(place).await;
}

/// Where keys have a long here and an int there, and a later value names a type of another subject.
const RESERVATIONS: &str = r#"
[registry]
url = "${REGISTRY}"
auth = "windrow:secret"
[streams.reservations]
topic = "${APP}-reservations"
format = "avro-registry"
key_format = "avro-registry"
[views.booked]
sql = "SELECT _key.organization_id AS organization, count(*) AS cents, max(concat(coalesce(guest.name, '-'), reservation_id)) AS notes FROM reservations GROUP BY _key.organization_id"
"#;

/// The version that the script was written for, with what its serializer of Avro needs.
pub(crate) const PACKAGE: &str = "confluent-kafka[avro]==2.16.1";

/// Runs Confluent's serializer against the double.
async fn serialized(registry: &Double) -> Vec<(Option<Bytes>, Option<Bytes>)> {
    let url = registry.url();
    let run = move || {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/registry/confluent.py");
        let mut python = Command::new("python3");
        python.arg(script).args([&url, "windrow:secret"]).env("PYTHONPATH", python::packages(&[PACKAGE]));
        python.output().expect("python3 starts")
    };
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = |hex: &Value| {
        let hex = hex.as_str()?;
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Some((0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>().into())
    };
    let lines = String::from_utf8(done.stdout).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    lines.lines().map(line).map(|record| (bytes(&record["key"]), bytes(&record["value"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_confluents_own_serializer_writes_is_read() {
    let place = Place::new("confluent", Some(given("WINDROW_TEST_KAFKA")));
    let registry = Double::start().await;
    registry.demand("Basic d2luZHJvdzpzZWNyZXQ=");
    let records = serialized(&registry).await;
    assert_eq!(records.len(), 4);
    let topic = format!("{}-reservations", place.app);
    place.make_topic(&topic, 1).await;
    write(&place, &topic, &records).await;
    let process = place.serve(&RESERVATIONS.replace("${REGISTRY}", &registry.url()), &[]);
    until_rows(&place, "booked", r#"1099511627776:1:"-b" 1:3:"Adac""#).await;
    place.end(process);
    // The first is what another refers to, by its subject.
    for id in 2..=5 {
        let asked = registry.asked(&format!("/schemas/ids/{id}"));
        assert!(
            (1..=2).contains(&asked),
            "schema {id} was asked for {asked} times, by whoever wrote with it and by us"
        );
    }
}
