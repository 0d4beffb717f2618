//! Streams over a pattern on Kafka: topics that appear, grow, hold tombstones and are deleted while the binary runs.

use bytes::Bytes;
use serde_json::json;
use windrow::log::{Outgoing, WriterOptions};

use crate::{
    client::{Socket, Table},
    place::Place,
    process::given,
};

const CONFIG: &str = r#"
channels = ["sensors", "hot"]
[streams.sensors]
topic_pattern = '^${APP}-plant\.'
latest_by = ["_topic"]
[streams.readings]
topic_pattern = '^${APP}-plant\.'
columns = { v = "bigint" }
[views.hot]
sql = "SELECT _topic, v FROM readings WHERE v > 10"
"#;

/// Rows as topic and value.
fn rows(table: &Table, place: &Place) -> Vec<(String, i64)> {
    let short = |topic: &str| topic.trim_start_matches(&format!("{}-plant.", place.app)).to_owned();
    table
        .rows
        .values()
        .map(|row| (short(row["_topic"].as_str().unwrap()), row["v"].as_i64().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_grow_and_go_under_a_pattern_on_kafka() {
    let place = Place::new("topics", Some(given("WINDROW_TEST_KAFKA")));
    let topic = |name: &str| format!("{}-plant.{name}", place.app);
    let (a, b) = (topic("a"), topic("b"));
    place.make_topic(&a, 1).await;
    place.make_topic(&format!("{}-other", place.app), 1).await;
    place.write(&a, 0..1, &[json!({"v": 1}), json!({"v": 2})]).await;
    let process = place.serve(CONFIG, &[]);
    place.until_ready().await;

    let mut sensors = Socket::subscribe(place.port, "sensors").await;
    let is = |want: &[(&str, i64)]| {
        let want: Vec<(String, i64)> = want.iter().map(|(name, v)| ((*name).to_owned(), *v)).collect();
        let place = &place;
        move |table: &Table| rows(table, place) == want
    };
    sensors.until("the newest row of the topic", is(&[("a", 2)])).await;
    let mut hot = Socket::subscribe(place.port, "hot").await;
    hot.until("the channel", |table| table.rows.is_empty()).await;

    // It holds records before it is found.
    place.make_topic(&b, 2).await;
    place.write(&b, 0..1, &[json!({"v": 20}), json!({"v": 3})]).await;
    sensors.until("the topic that appeared", is(&[("a", 2), ("b", 3)])).await;
    hot.until("its first record", is(&[("b", 20)])).await;

    let log = place.log().await;
    assert!(log.add_partitions(&a, 3).await.unwrap());
    place.write(&a, 2..3, &[json!({"v": 4})]).await;
    sensors.until("the new partition", is(&[("a", 4), ("b", 3)])).await;

    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.begin().await.unwrap();
    let tombstone = Outgoing {
        topic: b.as_str().into(),
        partition: 1,
        key: Some(Bytes::from_static(b"any")),
        value: None,
        headers: Vec::new(),
        timestamp_ms: jiff::Timestamp::now().as_millisecond(),
    };
    writer.send(vec![tombstone]).await.unwrap();
    writer.commit().await.unwrap();
    sensors.until("the tombstone", is(&[("a", 4)])).await;
    place.write(&b, 0..1, &[json!({"v": 5})]).await;
    sensors.until("the row after it", is(&[("a", 4), ("b", 5)])).await;

    log.delete_topic(&b).await.unwrap();
    sensors.until("the topic is gone", is(&[("a", 4)])).await;
    place.write(&a, 1..2, &[json!({"v": 6})]).await;
    sensors.until("the others go on", is(&[("a", 6)])).await;
    place.make_topic(&b, 1).await;
    place.write(&b, 0..1, &[json!({"v": 7})]).await;
    sensors.until("made anew, it is news", is(&[("a", 6), ("b", 7)])).await;
    assert_eq!(sensors.snapshots, 1, "nobody began anew");
    place.end(process);
}
