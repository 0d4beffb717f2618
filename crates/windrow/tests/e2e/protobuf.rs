//! Protobuf beside a log: bare messages by a file, and framed ones by a registry, as the clients of both write them.

use std::{path::PathBuf, process::Command};

use bytes::Bytes;
use serde_json::Value;

use crate::{client::get_until, double::Double, place::Place, python, registry::write, topic::read_all};

const PACKAGES: [&str; 2] = ["confluent-kafka[protobuf,schemaregistry]==2.16.1", "protobuf==7.36.2"];

const CONFIG: &str = r#"
[registry]
url = "${REGISTRY}"
[streams.bare]
topic = "${APP}-bare"
format = "protobuf"
schema = "shop/order.proto"
message = "shop.Order"
key_format = "protobuf"
key_schema = "shop/user.proto"
time = { column = "at" }
[streams.framed]
topic = "${APP}-framed"
format = "protobuf-registry"
[views.of_bare]
sql = "SELECT buyer.name AS name, _key.id AS id, sum(cents) AS cents, max(at) AS at FROM bare GROUP BY buyer.name, _key.id"
[views.of_framed]
sql = "SELECT buyer.name AS name, labels.env AS env, sum(cents) AS cents FROM framed GROUP BY buyer.name, labels.env"
"#;

const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "user.proto";
message Unused {}
message Order {
  google.protobuf.Timestamp at = 1;
  User buyer = 2;
  int64 cents = 3;
  map<string, string> labels = 4;
  message Note { sint64 cents = 7; }
}
"#;

const USER: &str = "syntax = \"proto3\"; package shop; message User { int64 id = 1; string name = 2; }";

fn frames(url: &str) -> Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/protobuf/frames.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(url).env("PYTHONPATH", python::packages(&PACKAGES));
    let output = command.output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn bytes(hex: &Value) -> Bytes {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

async fn until_rows(place: &Place, channel: &str, names: &[&str], rows: &[&str]) {
    let shown = |row: &Value| names.iter().map(|name| row[name].to_string()).collect::<Vec<_>>().join(" ");
    let is_there = |status, body: &str| {
        let Ok(body) = serde_json::from_str::<Value>(body) else { return false };
        let mut found: Vec<String> = body["rows"].as_array().into_iter().flatten().map(shown).collect();
        found.sort();
        status == 200 && found == rows
    };
    get_until(place.port, &format!("/api/channels/{channel}?limit=1000"), is_there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_and_framed_messages_become_rows_and_what_is_none_is_kept() {
    let (place, registry) = (Place::new("protobuf", None), Double::start().await);
    let url = registry.url();
    let written = tokio::task::spawn_blocking(move || frames(&url)).await.unwrap();
    let folder = place.directory().parent().unwrap().join("shop");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("order.proto"), ORDER).unwrap();
    std::fs::write(folder.join("user.proto"), USER).unwrap();

    let (bare, framed) = (format!("{}-bare", place.app), format!("{}-framed", place.app));
    place.make_topic(&bare, 1).await;
    place.make_topic(&framed, 1).await;
    let all = |kind: &str| written[kind].as_array().unwrap().iter().map(bytes).collect::<Vec<_>>();
    let user = Bytes::from_static(b"\x08\x07");
    let cut = all("bare")[0].slice(..5);
    let mut records: Vec<_> =
        all("bare").into_iter().map(|value| (Some(user.clone()), Some(value))).collect();
    records.push((Some(user.clone()), Some(cut.clone())));
    write(&place, &bare, &records).await;
    // A message of another kind in the same topic, read by the same names, and a place that its file does not have.
    let mut records: Vec<_> = all("framed").into_iter().map(|value| (None, Some(value))).collect();
    records.extend(all("notes").into_iter().map(|value| (None, Some(value))));
    let nowhere = Bytes::from([&all("framed")[0][..5], &[2, 18]].concat());
    records.push((None, Some(nowhere.clone())));
    write(&place, &framed, &records).await;

    let process = place.serve(&CONFIG.replace("${REGISTRY}", &registry.url()), &[]);
    until_rows(
        &place,
        "of_bare",
        &["name", "id", "cents", "at"],
        &["\"ann\" 7 2199023255554 1700000002000", "\"bob\" 7 1099511627777 1700000001000"],
    )
    .await;
    until_rows(
        &place,
        "of_framed",
        &["name", "env", "cents"],
        &["\"ann\" \"test\" 2199023255554", "\"bob\" \"test\" 1099511627777", "null null -5"],
    )
    .await;
    place.end(process);
    let log = place.log().await;
    let bad = read_all(&log, &format!("{}.bare.bad", place.app)).await;
    assert_eq!(bad, [(Some(user), Some(cut))]);
    assert_eq!(read_all(&log, &format!("{}.framed.bad", place.app)).await, [(None, Some(nowhere))]);
}
