//! Poison: a row that its topic will not take, or a topic that is gone, stops that view only; the rest goes on and says so.

use serde_json::{Value, json};

use crate::{
    client::get_until,
    place::{Place, distinct},
    process::given,
};

const CONFIG: &str = r#"
[streams.clicks]
topic = "${APP}-clicks"
[views.copied]
sql = "SELECT n, text AS a, text AS b, text AS c FROM clicks WHERE n >= 0"
topic = "${APP}-copies"
[views.counted]
sql = "SELECT kind, count(*) AS records FROM clicks GROUP BY kind"
"#;

/// Three times this is more than a topic takes, once is not.
const LARGE_BYTES: usize = 400 << 10;

fn clicks(from: usize, texts: &[usize]) -> Vec<Value> {
    let click = |(n, length): (usize, &usize)| json!({"n": n, "kind": "a", "text": "x".repeat(*length)});
    (from..).zip(texts).map(click).collect()
}

fn rows(stats: &Value) -> &[Value] {
    stats.as_array().or(stats["rows"].as_array()).map_or(&[], Vec::as_slice)
}

async fn a_row_past_the_limit_stops_its_view_only(place: Place) {
    let (topic, copies) = (format!("{}-clicks", place.app), format!("{}-copies", place.app));
    place.make_topic(&topic, 1).await;
    place.write(&topic, 0..1, &clicks(0, &[1, 1, 1])).await;
    let process = place.serve(CONFIG, &[]);
    place.until_sum("counted", "records", 3).await;
    place.until_ready().await;
    place.end(process);
    place.write(&topic, 0..1, &clicks(3, &[1, LARGE_BYTES, 1, 1])).await;

    // Also after a restart: the position is held, so the row is met again.
    for _ in 0..2 {
        let process = place.serve(CONFIG, &[]);
        place.until_sum("counted", "records", 7).await;
        let why = place.until_trouble(&["view copied", "takes at most", "max.message.bytes"]).await;
        assert!(!why.contains("view counted"), "{why}");
        let stopped = |status, body: &str| status == 200 && body.contains("stopped_why");
        let (_, stats) = get_until(place.port, "/api/stats", stopped).await;
        let stats: Value = serde_json::from_str(&stats).unwrap();
        let row = rows(&stats).iter().find(|row| row["kind"] == "view" && row["name"] == "copied").unwrap();
        assert!(row["stopped_why"].as_str().unwrap().contains("takes at most"), "{row}");
        place.end(process);
    }
    // It stopped at the last position that was committed: the three records of before, each once.
    assert_eq!(distinct(&place.values(&copies).await, "n"), 3);

    // Mended, it goes on where it stopped.
    let mended = CONFIG.replace("n >= 0", "n <> 4");
    let process = place.serve(&mended, &["--reset", "copied"]);
    place.until_ready().await;
    let is_read = |_, body: &str| {
        let stats: Value = serde_json::from_str(body).unwrap_or_default();
        rows(&stats).iter().any(|row| row["kind"] == "partition" && row["position"].as_i64() >= Some(7))
    };
    get_until(place.port, "/api/stats", is_read).await;
    place.end(process);
    assert_eq!(place.values(&copies).await.len(), 3 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_past_the_limit_stops_its_view_only_on_the_embedded_log() {
    a_row_past_the_limit_stops_its_view_only(Place::new("poison", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_past_the_limit_stops_its_view_only_on_kafka() {
    a_row_past_the_limit_stops_its_view_only(Place::new("poison", Some(given("WINDROW_TEST_KAFKA")))).await;
}

/// The first commit that meets it fails, and so does the next: then it is the topic, not chance.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_topic_that_is_deleted_under_the_engine_stops_its_view_only() {
    let place = Place::new("gone", Some(given("WINDROW_TEST_KAFKA")));
    let (topic, copies) = (format!("{}-clicks", place.app), format!("{}-copies", place.app));
    place.make_topic(&topic, 1).await;
    place.write(&topic, 0..1, &clicks(0, &[1, 1, 1])).await;
    let process = place.serve(CONFIG, &[]);
    place.until_sum("counted", "records", 3).await;
    assert!(place.log().await.delete_topic(&copies).await.unwrap());
    place.write(&topic, 0..1, &clicks(3, &[1, 1])).await;
    let why = place.until_trouble(&["view copied", &copies]).await;
    assert!(!why.contains("view counted"), "{why}");
    place.until_sum("counted", "records", 5).await;
    place.end(process);

    // The next start makes the topic, and the view goes on where it stopped: three records went with the former one.
    let process = place.serve(CONFIG, &[]);
    place.until_ready().await;
    let is_read = |_, body: &str| {
        let stats: Value = serde_json::from_str(body).unwrap_or_default();
        rows(&stats).iter().any(|row| row["kind"] == "partition" && row["position"].as_i64() >= Some(5))
    };
    get_until(place.port, "/api/stats", is_read).await;
    place.end(process);
    assert_eq!(distinct(&place.values(&copies).await, "n"), 2);
}
