//! Every bench runs to its end, counts what it should, and stands beside its floor. Small runs: figures mean nothing here.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use serde_json::Value;

/// Runs `windrow bench … --json` and returns its groups: names and counts of their figures.
fn bench(args: &[&str]) -> Vec<(String, Vec<(String, u64)>)> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_windrow")).arg("bench").args(args).arg("--json").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let groups = report["groups"].as_array().unwrap().iter();
    groups
        .map(|group| {
            let figures = group["figures"].as_array().unwrap();
            assert_eq!(figures[0]["ratio_to_floor"], 1.0, "the first figure is the floor");
            assert!(figures.iter().all(|f| f["notes"]["MISSING"].is_null()), "{group}");
            let figure = |f: &Value| (text(&f["name"]), f["count"].as_u64().unwrap());
            (text(&group["name"]), figures.iter().map(figure).collect())
        })
        .collect()
}

fn figures(names: &[&str], count: u64) -> Vec<(String, u64)> {
    names.iter().map(|name| ((*name).to_owned(), count)).collect()
}

fn kafka() -> String {
    std::env::var("WINDROW_TEST_KAFKA").unwrap_or_else(|_| {
        panic!(
            "WINDROW_TEST_KAFKA is not set: run `cargo xtask test`, or `cargo xtask kafka start` and set it to the \
             address that prints"
        )
    })
}

#[test]
fn the_engine_folds_every_record() {
    let groups = bench(&["engine", "--records", "20000", "--commit-every", "5000"]);
    let names = ["scan two members", "decode", "engine, commits of 5000"];
    let kinds = ["serde_json, skip", "json", "csv", "avro", "avro-registry", "protobuf"];
    let formats = ("decoding 3 of 12 fields".to_owned(), figures(&kinds, 20_000));
    let written = ("writing 12 columns".to_owned(), figures(&["json", "avro", "protobuf"], 20_000));
    assert_eq!(groups, [("in memory".to_owned(), figures(&names, 20_000)), formats, written]);
}

#[test]
fn state_is_cut_held_and_restored_whole() {
    let sizes = ["--rows", "20000", "--dirty", "1000", "--cuts", "10"];
    let groups = bench(&[&["state"], &sizes[..], &["--kafka", &kafka()]].concat());
    let restored =
        ["fill a map", "restore from memory", "restore from the embedded log", "restore from Kafka"];
    let want = [
        ("a cut", figures(&["the rows as JSON", "windrow"], 10_000)),
        ("holding", figures(&["fold, cut and hold"], 20_000)),
        ("getting it back", figures(&restored, 20_000)),
    ];
    assert_eq!(groups, want.map(|(name, figures)| (name.to_owned(), figures)));
}

#[test]
fn every_row_arrives_at_every_client() {
    let few = ["--rate", "50", "--seconds", "1", "--clients", "3", "--commit-interval", "20ms"];
    let groups = bench(&[&["arrive"], &few[..], &["--kafka", &kafka()]].concat());
    let names = ["the stream itself", "a view's rows"];
    let want = ["embedded, commits each 20ms", "kafka, commits each 20ms"];
    assert_eq!(groups, want.map(|name| (name.to_owned(), figures(&names, 150))));
}

#[test]
fn both_logs_write_and_read_every_record() {
    let groups = bench(&["log", "--records", "5000", "--commit-every", "1000", "--kafka", &kafka()]);
    let want = [
        ("embedded, write", ["append to a file", "windrow"]),
        ("embedded, read", ["read a file", "windrow"]),
        ("kafka, write", ["bare Produce", "windrow"]),
        ("kafka, read", ["bare Fetch", "windrow"]),
    ];
    assert_eq!(groups, want.map(|(name, figs)| (name.to_owned(), figures(&figs, 5_000))));
}

#[test]
fn the_pipeline_commits_every_record_in_both_delivery_modes_and_in_two_stages() {
    let groups = bench(&["pipeline", "--records", "20000", "--kafka", &kafka()]);
    let names = ["fetch and look", "bare Fetch", "exactly_once", "at_least_once"];
    let want = [
        ("kafka to kafka".to_owned(), figures(&names, 20_000)),
        ("1,000 groups, exactly once".to_owned(), figures(&["local", "two stages"], 20_000)),
    ];
    assert_eq!(groups, want);
}

#[test]
fn frames_are_committed_by_the_example_s_views_with_and_without_its_echo() {
    let groups = bench(&["frames", "--records", "3000", "--kafka", &kafka()]);
    let names = ["bare Fetch", "both views", "and every frame sent on"];
    assert_eq!(groups, [("kafka to kafka".to_owned(), figures(&names, 3_000))]);
}

#[test]
fn every_message_reaches_every_client_over_every_carrier() {
    let groups = bench(&["fanout", "--clients", "20", "--seconds", "1", "--burst", "5"]);
    let names = ["bare epoll", "windrow"];
    let want: Vec<_> = ["WebSocket", "Socket.IO", "Socket.IO by polls"]
        .iter()
        .flat_map(|over| {
            let once = (format!("{over}, 20 a second, one at a time"), figures(&names, 20 * 20));
            [once, (format!("{over}, 20 a second, bursts of 5"), figures(&names, 20 * 20 * 5))]
        })
        .collect();
    assert_eq!(groups, want);
}

#[test]
fn every_client_that_comes_is_let_in() {
    let groups = bench(&["connect", "--clients", "30", "--times", "2"]);
    let want = [
        "WebSocket, subscribed",
        "Socket.IO, in a namespace",
        "Socket.IO, subscribed",
        "Socket.IO by polls, subscribed",
    ];
    assert_eq!(groups, want.map(|name| (name.to_owned(), figures(&["bare epoll", "windrow"], 60))));
}
