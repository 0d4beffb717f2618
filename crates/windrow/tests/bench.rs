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
    assert_eq!(groups, [("in memory".to_owned(), figures(&names, 20_000))]);
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
fn the_pipeline_commits_every_record_in_both_delivery_modes() {
    let groups = bench(&["pipeline", "--records", "20000", "--kafka", &kafka()]);
    let names = ["fetch and look", "bare Fetch", "exactly_once", "at_least_once"];
    assert_eq!(groups, [("kafka to kafka".to_owned(), figures(&names, 20_000))]);
}

#[test]
fn every_message_reaches_every_client() {
    let groups = bench(&["fanout", "--clients", "20", "--seconds", "1", "--burst", "5"]);
    let names = ["bare epoll", "windrow"];
    assert_eq!(groups[0].1, figures(&names, 20 * 20));
    assert_eq!(groups[1].1, figures(&names, 20 * 20 * 5));
}
