//! Views that group over several topics, on both logs: whatever comes, grows, goes and is killed, each record is counted once.
//!
//! The oracle counts the records of the source topics itself and knows nothing of the engine.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    client::{Socket, Table, get_until, publish},
    place::Place,
    process::{Windrow, given},
    topic::read_all,
};

/// Silence closes the last windows: no record comes after them.
const LIST: &str = r#"
[streams.clicks]
topic = ["${APP}-east", "${APP}-west"]
time = { column = "ts", unit = "ms" }
lateness = "2s"
max_ahead = "30d"
idle = "1s"
[views.counted]
sql = "SELECT video, window_start AS at, count(*) AS n FROM clicks GROUP BY video, tumble(interval '10 seconds')"
topic = "${APP}-finals"
[views.positions]
sql = "SELECT video, ts FROM clicks WHERE ts % 97 = 0"
topic = "${APP}-some"
"#;

/// Video and window start.
type Window = (String, i64);

async fn finals_over_two_topics_are_right(kafka: Option<String>) {
    let place = Place::new("several", kafka.clone());
    let names = ["east", "west"].map(|name| place.topic(name));
    let data = place.directory().display().to_string();
    let to = kafka.as_ref().map_or(["--directory", &data], |kafka| ["--kafka", kafka]);
    for (name, seed) in names.iter().zip(["1", "2"]) {
        let what = ["produce", "--topic", name, "--partitions", "2", "--count", "40000", "--seed", seed];
        Windrow::run(&[&what[..], &["--disorder", "1s"], &to[..]].concat(), &[]);
    }
    for time_ms in [400, 700, 1000, 1300, 1600] {
        let mut process = place.serve(LIST, &[]);
        assert_eq!(process.lives_for(Duration::from_millis(time_ms)), None, "{}", process.said());
        process.kill();
    }
    let last = place.serve(LIST, &[]);
    place.until_sum("counted", "n", 80_000).await;
    let all_final = |status, body: &str| status == 200 && !body.contains("\"final\":false");
    get_until(place.port, "/api/channels/counted?limit=10000", all_final).await;
    place.end(last);

    let log = place.log().await;
    let mut wanted: BTreeMap<Window, u64> = BTreeMap::new();
    let mut some: BTreeMap<Window, u64> = BTreeMap::new();
    for name in &names {
        for (_, value) in read_all(&log, name).await {
            let click: Value = serde_json::from_slice(&value.unwrap()).unwrap();
            let (video, ts) = (click["video"].as_str().unwrap(), click["ts"].as_i64().unwrap());
            *wanted.entry((video.to_owned(), ts - ts % 10_000)).or_default() += 1;
            if ts % 97 == 0 {
                *some.entry((video.to_owned(), ts)).or_default() += 1;
            }
        }
    }
    let mut found: BTreeMap<Window, u64> = BTreeMap::new();
    for (_, value) in read_all(&log, &place.topic("finals")).await {
        let row: Value = serde_json::from_slice(&value.unwrap()).unwrap();
        let window = (row["video"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap());
        let twice = found.insert(window, row["n"].as_u64().unwrap());
        assert_eq!(twice, None, "a window was final twice: {row}");
    }
    assert!(wanted.len() > 500, "{} windows are too few to prove anything", wanted.len());
    assert_eq!(found, wanted);
    let mut written: BTreeMap<Window, u64> = BTreeMap::new();
    for (_, value) in read_all(&log, &place.topic("some")).await {
        let row: Value = serde_json::from_slice(&value.unwrap()).unwrap();
        let at = (row["video"].as_str().unwrap().to_owned(), row["ts"].as_i64().unwrap());
        *written.entry(at).or_default() += 1;
    }
    assert!(some.len() > 100, "{} rows are too few to prove anything", some.len());
    assert_eq!(written, some, "a view without state writes each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_window_over_two_topics_is_final_once_on_the_embedded_log() {
    finals_over_two_topics_are_right(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_window_over_two_topics_is_final_once_on_kafka() {
    finals_over_two_topics_are_right(Some(given("WINDROW_TEST_KAFKA"))).await;
}

const PATTERN: &str = r#"
[streams.readings]
topic_pattern = '^${APP}-plant\.'
columns = { kind = "text", v = "bigint", ts = "bigint" }
time = { column = "ts", unit = "ms" }
max_ahead = "30d"
idle = "1s"
[views.total]
sql = "SELECT kind, count(*) AS n, sum(v) AS v FROM readings GROUP BY kind"
[views.windows]
sql = "SELECT count(*) AS n FROM readings GROUP BY tumble(interval '2 seconds')"
"#;

const WINDOW_MS: i64 = 2_000;
const BASE_MS: i64 = 1_700_000_000_000;

/// A reading in that window. They are far apart: time that flows in silence must not make the next one late.
fn reading(kind: &str, v: i64, window: i64) -> Value {
    json!({"kind": kind, "v": v, "ts": BASE_MS + window * WINDOW_MS})
}

/// Rows of `total`, as kind, count and sum.
fn totals(table: &Table) -> Vec<(String, i64, i64)> {
    let row = |row: &Value| {
        (row["kind"].as_str().unwrap().to_owned(), row["n"].as_i64().unwrap(), row["v"].as_i64().unwrap())
    };
    table.rows.values().map(row).collect()
}

fn are(want: &[(&str, i64, i64)]) -> impl Fn(&Table) -> bool + use<> {
    let want: Vec<_> = want.iter().map(|(kind, n, v)| ((*kind).to_owned(), *n, *v)).collect();
    move |table: &Table| totals(table) == want
}

/// Rows of `windows`, as window, count and whether it is final.
fn finals(want: &[(i64, i64, bool)]) -> impl Fn(&Table) -> bool + use<> {
    let want = want.to_vec();
    move |table: &Table| {
        let window = |row: &Value| (row["window_start"].as_i64().unwrap() - BASE_MS) / WINDOW_MS;
        let row = |row: &Value| (window(row), row["n"].as_i64().unwrap(), row["final"].as_bool().unwrap());
        table.rows.values().map(row).collect::<Vec<_>>() == want
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_come_grow_and_go_are_counted_once_by_two_processes_on_kafka() {
    let mut place = Place::new("several-plants", Some(given("WINDROW_TEST_KAFKA")));
    let [a, b] = ["plant.a", "plant.b"].map(|name| place.topic(name));
    place.make_topic(&a, 1).await;
    place.write(&a, 0..1, &[reading("wet", 1, 0), reading("dry", 2, 1)]).await;
    let first = place.serve(PATTERN, &[]);
    place.until_ready().await;
    let mut total = Socket::subscribe(place.port, "total").await;
    let mut windows = Socket::subscribe(place.port, "windows").await;
    total.until("what was there", are(&[("dry", 1, 2), ("wet", 1, 1)])).await;
    windows.until("its windows, closed by silence", finals(&[(0, 1, true), (1, 1, true)])).await;

    let other_port = crate::process::free_port();
    let second = place.serve_at(PATTERN, &[], other_port);
    get_until(other_port, "/readyz", |status, _| status == 200).await;
    // It holds a record before it is found, and is read from its beginning.
    place.make_topic(&b, 2).await;
    place.write(&b, 0..2, &[reading("wet", 10, 100), reading("wet", 20, 100)]).await;
    total.until("the topic that appeared", are(&[("dry", 1, 2), ("wet", 3, 31)])).await;

    assert!(place.log().await.add_partitions(&a, 2).await.unwrap());
    place.write(&a, 1..2, &[reading("dry", 3, 100)]).await;
    total.until("the new partition", are(&[("dry", 2, 5), ("wet", 3, 31)])).await;
    windows.until("their window", finals(&[(0, 1, true), (1, 1, true), (100, 3, true)])).await;

    // One of the two takes over all of it. A client that does not answer would keep it.
    drop((total, windows));
    place.end(first);
    place.port = other_port;
    let mut total = Socket::subscribe(place.port, "total").await;
    let mut windows = Socket::subscribe(place.port, "windows").await;
    place.write(&a, 0..1, &[reading("dry", 4, 200)]).await;
    total.until("one process alone", are(&[("dry", 3, 9), ("wet", 3, 31)])).await;

    // What is gone holds nobody: time goes on by what is left.
    assert!(place.log().await.delete_topic(&b).await.unwrap());
    place.write(&a, 0..1, &[reading("dry", 5, 400)]).await;
    total.until("the topics that are left", are(&[("dry", 4, 14), ("wet", 3, 31)])).await;
    let so_far = [(0, 1, true), (1, 1, true), (100, 3, true), (200, 1, true), (400, 1, true)];
    windows.until("silence without it", finals(&so_far)).await;

    // Made anew under the same name, it is another topic, and what it holds is news.
    place.make_topic(&b, 1).await;
    place.write(&b, 0..1, &[reading("wet", 100, 600)]).await;
    total.until("the topic made anew", are(&[("dry", 4, 14), ("wet", 4, 131)])).await;
    windows.until("its window", finals(&[&so_far[..], &[(600, 1, true)]].concat())).await;
    drop((total, windows));
    place.end(second);

    // Nothing is counted again by who comes later.
    let third = place.serve(PATTERN, &[]);
    place.until_ready().await;
    place.write(&b, 0..1, &[reading("wet", 1000, 800)]).await;
    let mut total = Socket::subscribe(place.port, "total").await;
    total.until("the same and one more", are(&[("dry", 4, 14), ("wet", 5, 1131)])).await;
    drop(total);
    place.end(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_published_to_are_counted_once_through_a_kill_on_the_embedded_log() {
    let place = Place::new("several-published", None);
    let [a, b] = ["plant.a", "plant.b"].map(|name| format!("readings?topic={}", place.topic(name)));
    let mut process = place.serve(PATTERN, &[]);
    place.until_ready().await;
    let mut total = Socket::subscribe(place.port, "total").await;
    total.until("nothing yet", are(&[])).await;
    // The first makes its topic, which is found while the process runs.
    publish(place.port, &a, reading("wet", 1, 0).to_string()).await;
    total.until("the first topic", are(&[("wet", 1, 1)])).await;
    publish(place.port, &b, reading("wet", 10, 0).to_string()).await;
    publish(place.port, &a, reading("dry", 2, 0).to_string()).await;
    total.until("both topics", are(&[("dry", 1, 2), ("wet", 2, 11)])).await;
    process.kill();
    drop(total);

    let again = place.serve(PATTERN, &[]);
    place.until_ready().await;
    publish(place.port, &b, reading("dry", 20, 0).to_string()).await;
    let mut total = Socket::subscribe(place.port, "total").await;
    total.until("each once after the kill", are(&[("dry", 2, 22), ("wet", 2, 11)])).await;
    drop(total);
    place.end(again);
}
