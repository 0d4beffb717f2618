//! A view's topic with a schema: it is registered before the first row, and others read the rows with it.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{client::get_until, double::Double, place::Place, process::given, python, topic::read_all};

const CONFIG: &str = r#"
[registry]
url = "${REGISTRY}"
auth = "windrow:secret"
[streams.orders]
topic = "${APP}-orders"
format = "json"
columns = { shop = "text", cents = "bigint", at = "timestamp", note = "text" }
[views.spent]
sql = "SELECT shop, sum(cents) AS cents, avg(cents) AS mean, count(note) AS notes, max(at) AS newest FROM orders GROUP BY shop"
topic = "${APP}-spent"
topic_format = "avro-registry"
topic_emit = "changes"
topic_key = ["shop"]
"#;

/// Reads values with Confluent's own deserializer, which asks the double for their schema.
async fn read_back(registry: &Double, language: &str, topic: &str, values: &[Vec<u8>]) -> Vec<Value> {
    let (url, topic, language) = (registry.url(), topic.to_owned(), language.to_owned());
    let hex = |value: &Vec<u8>| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let lines: String = values.iter().map(hex).collect();
    let run = move || {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/registry/read_back.py");
        let mut python = Command::new("python3");
        python.arg(script).args([&url, "windrow:secret", &topic, &language]);
        python.env("PYTHONPATH", python::packages(&[&crate::registry::PACKAGE.replace("avro", &language)]));
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = python.spawn().expect("python3 starts");
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn rows_wait_for_their_schema_and_others_read_them(place: Place, language: &str) {
    let registry = Double::start().await;
    registry.demand("Basic d2luZHJvdzpzZWNyZXQ=");
    registry.fail(Some(503));
    let (orders, spent) = (place.topic("orders"), place.topic("spent"));
    place.make_topic(&orders, 1).await;
    let order = |shop: &str, cents: i64| json!({"shop": shop, "cents": cents, "at": 1_700_000_000_123_i64, "note": "n"});
    let of_none = json!({"shop": "c", "cents": null});
    place.write(&orders, 0..1, &[order("a", 3), order("b", 5), order("a", 4), order("b", 6), of_none]).await;

    let config = CONFIG.replace("${REGISTRY}", &registry.url()).replace("avro", language);
    let process = place.serve(&config, &[]);
    let why = place.until_trouble(&["schemas", "503"]).await;
    assert!(!why.contains("secret"), "{why}");
    registry.fail(None);
    place.until_sum("spent", "cents", 18).await;
    place.until_ready().await;
    let asked = registry.asked(&format!("/subjects/{spent}-value/versions"));
    place.end(process);

    let records = read_all(&place.log().await, &spent).await;
    let values: Vec<Vec<u8>> = records.iter().map(|(_, value)| value.as_ref().unwrap().to_vec()).collect();
    // The newest of each, however many commits it took.
    let rows = read_back(&registry, language, &spent, &values).await;
    let rows: BTreeMap<String, Value> = rows.into_iter().map(|row| (row["shop"].to_string(), row)).collect();
    let rows: Vec<Value> = rows.into_values().collect();
    let row = |shop: &str, cents: i64, mean: f64, notes: i64| json!({"shop": shop, "cents": cents, "mean": mean, "notes": notes, "newest": 1_700_000_000_123_i64});
    let none = json!({"shop": "c", "cents": null, "mean": null, "notes": 0, "newest": null});
    assert_eq!(rows, [row("a", 7, 3.5, 2), row("b", 11, 5.5, 2), none]);
    let keys: Vec<_> = records.iter().map(|(key, _)| key.clone().unwrap()).collect();
    assert!(keys.iter().all(|key| key.len() == 1), "keys are plain text, as without a schema: {keys:?}");

    // Whoever comes next finds the schema there: it is asked for once, and is the same.
    let process = place.serve(&config, &[]);
    place.until_ready().await;
    place.end(process);
    assert_eq!(registry.asked(&format!("/subjects/{spent}-value/versions")), asked + 1);
    assert_eq!(read_all(&place.log().await, &spent).await, records, "and nothing is written twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_their_schema_and_others_read_them_on_the_embedded_log() {
    rows_wait_for_their_schema_and_others_read_them(Place::new("written", None), "avro").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_json_wait_for_their_schema_and_others_read_them() {
    rows_wait_for_their_schema_and_others_read_them(Place::new("written-json", None), "json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_their_schema_and_others_read_them_on_kafka() {
    let place = Place::new("written", Some(given("WINDROW_TEST_KAFKA")));
    rows_wait_for_their_schema_and_others_read_them(place, "avro").await;
}

/// The topic's readers could not read what would be written: better no row than such.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_refuses_ends_the_process_with_its_words() {
    let place = Place::new("refused", None);
    let registry = Double::start().await;
    registry.fail(Some(409));
    place.make_topic(&place.topic("orders"), 1).await;
    let mut process = place.serve(&CONFIG.replace("${REGISTRY}", &registry.url()), &[]);
    let status = process.wait();
    let said = process.said();
    assert!(!status.success());
    let want = format!(
        "the registry refuses the schema of subject {}-value (409): as the test wants it",
        place.topic("spent")
    );
    assert!(said.contains(&want), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

/// Another program's stream, which knows nothing but the registry.
const READER: &str = r#"
[registry]
url = "${REGISTRY}"
auth = "windrow:secret"
[streams.spent]
topic = "${TOPIC}"
format = "${FORMAT}"
columns = { shop = "text", cents = "${CENTS}", cents_double = "double", newest = "timestamp" }
[views.rows]
sql = "SELECT shop, max(cents) AS cents, max(cents_double) AS cents_double, max(newest) AS newest FROM spent GROUP BY shop"
"#;

/// Two shops' rows in a format, until another program has the same; the sum of b's is past 64 bits. Returns the topic and its values.
async fn read_by_another(
    registry: &Double,
    format: &str,
    cents: &str,
    [a, b]: [Value; 2],
) -> (String, Vec<Vec<u8>>) {
    let kafka = given("WINDROW_TEST_KAFKA");
    let writer = Place::new(format, Some(kafka.clone()));
    let reader = Place::new(&format!("{format}-reader"), Some(kafka));
    registry.demand("Basic d2luZHJvdzpzZWNyZXQ=");
    let (orders, spent) = (writer.topic("orders"), writer.topic("spent"));
    writer.make_topic(&orders, 1).await;
    let order = |shop: &str, cents: i64| json!({"shop": shop, "cents": cents, "at": 1_700_000_000_123_i64});
    writer
        .write(&orders, 0..1, &[order("a", 3), order("a", 4), order("b", i64::MAX), order("b", i64::MAX)])
        .await;
    let config = CONFIG.replace("${REGISTRY}", &registry.url()).replace("avro-registry", format);
    let process = writer.serve(&config, &[]);
    let config = READER.replace("${REGISTRY}", &registry.url()).replace("${TOPIC}", &spent);
    let reading = reader.serve(&config.replace("${FORMAT}", format).replace("${CENTS}", cents), &[]);
    let is_there = |status, body: &str| {
        let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
        let row = |row: &Value| {
            let members = ["shop", "cents", "cents_double"].map(|name| (name.to_owned(), row[name].clone()));
            assert_eq!(row["newest"], 1_700_000_000_123_i64);
            Value::Object(members.into_iter().collect())
        };
        let mut rows: Vec<Value> = body["rows"].as_array().into_iter().flatten().map(row).collect();
        rows.sort_by_key(|row| row["shop"].to_string());
        status == 200 && rows == [&a, &b].map(Clone::clone)
    };
    get_until(reader.port, "/api/channels/rows?limit=10", is_there).await;
    reader.end(reading);
    writer.end(process);
    let records = read_all(&writer.log().await, &spent).await;
    (spent, records.iter().map(|(_, value)| value.as_ref().unwrap().to_vec()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_protobuf_are_read_by_whoever_asks_the_registry() {
    let want = [
        json!({"shop": "a", "cents": 7, "cents_double": null}),
        json!({"shop": "b", "cents": null, "cents_double": 18_446_744_073_709_551_614.0}),
    ];
    read_by_another(&Double::start().await, "protobuf-registry", "bigint", want).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_json_are_read_by_us_and_hold_what_their_schema_says() {
    let registry = Double::start().await;
    let want = [
        json!({"shop": "a", "cents": 7, "cents_double": null}),
        json!({"shop": "b", "cents": 18_446_744_073_709_551_614_u64, "cents_double": null}),
    ];
    let (topic, values) = read_by_another(&registry, "json-registry", "number", want).await;
    // Confluent's deserializer checks values against the schema that it asks for.
    let rows = read_back(&registry, "json", &topic, &values).await;
    let of_b = rows.iter().rfind(|row| row["shop"] == "b").expect("a row of b");
    let want = json!({"shop": "b", "cents": 18_446_744_073_709_551_614_u64, "mean": 9_223_372_036_854_775_808_u64, "notes": 0, "newest": 1_700_000_000_123_i64});
    assert_eq!(*of_b, want);
}
