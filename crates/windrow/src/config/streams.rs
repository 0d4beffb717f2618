//! `[streams.*]`: topics and how their bytes become rows.

use std::{sync::Arc, time::Duration};

use windrow_core::{
    spec::{Format, OnBad, StreamSpec, TimeSpec, TimeUnit},
    value::ColumnType,
};

use super::{
    StreamConfig,
    names::check_topic,
    reader::{Reader, join},
};

const DAY: Duration = Duration::from_secs(86_400);

/// Lateness holds that much state open; a year takes any file that is out of order by month.
const LATENESS_MAX: Duration = Duration::from_secs(366 * 86_400);

/// More partitions than any cluster gives one topic by default tooling.
const PARTITIONS_MAX: i64 = 10_000;

/// Rows that a plain stream may keep for snapshots: at 1 KiB each, 100 MiB of the table's bound.
const KEEP_MAX: i64 = 100_000;

/// Formats of a value that are understood but not built.
const LATER: [&str; 7] =
    ["bytes", "csv", "avro", "avro-registry", "json-registry", "protobuf", "protobuf-registry"];

const FORMATS: [(&str, Format); 2] = [("json", Format::Json), ("text", Format::Text)];

pub(super) fn read(name: &str, stream: Reader<'_>) -> StreamConfig {
    let format = stream.choice("format", &FORMATS, &LATER);
    stream.later("schema");
    let spec = StreamSpec {
        name: name.into(),
        topic: topic(name, &stream),
        format: format.unwrap_or(Format::Json),
        key_format: stream.choice("key_format", &FORMATS, &LATER).unwrap_or(Format::Text),
        columns: columns(&stream),
        time: time(&stream),
        lateness_ms: millis(stream.duration("lateness", Duration::ZERO..=LATENESS_MAX), Duration::ZERO),
        max_ahead_ms: millis(
            stream.duration("max_ahead", Duration::ZERO..=36_500 * DAY),
            Duration::from_secs(3_600),
        ),
        idle_ms: idle(&stream),
        on_bad: stream
            .choice(
                "on_bad",
                &[("skip", OnBad::Skip), ("dead-letter", OnBad::DeadLetter), ("stop", OnBad::Stop)],
                &[],
            )
            .unwrap_or(OnBad::DeadLetter),
        keyed_by: names(&stream, "keyed_by"),
        latest_by: names(&stream, "latest_by"),
        keep: stream.number("keep", 0..=KEEP_MAX).unwrap_or(0) as usize,
        until_end: stream.choice("until", &[("end", true)], &[]).unwrap_or(false),
    };
    if spec.keep > 0 && !spec.latest_by.is_empty() {
        let message = "`keep` and `latest_by` exclude each other: a table keeps its newest row per key";
        stream.wrong("keep", message, None);
    }
    let config = StreamConfig {
        spec: Arc::new(spec),
        partitions: stream.number("partitions", 1..=PARTITIONS_MAX).unwrap_or(1) as i32,
        replication: stream.number("replication", 1..=100).unwrap_or(-1) as i16,
        retention: retention(&stream),
        start_earliest: stream.choice("start", &[("earliest", true), ("latest", false)], &[]).unwrap_or(true),
        gap_stops: stream.choice("on_gap", &[("continue", false), ("stop", true)], &[]).unwrap_or(false),
    };
    stream.finish();
    config
}

fn millis(found: Option<Duration>, default: Duration) -> i64 {
    // Durations are bounded far inside 64 bits by `units`.
    found.unwrap_or(default).as_millis() as i64
}

fn topic(name: &str, stream: &Reader<'_>) -> Arc<str> {
    stream.later("topic_pattern");
    let Some(topics) = stream.texts("topic") else { return name.into() };
    match topics.as_slice() {
        [(topic, offset)] => {
            check_topic(stream.source, *offset, "topic", topic);
            topic.as_str().into()
        }
        _ => {
            let message = format!("`topic` must name one topic, not {}", topics.len());
            let hint = "several topics in one stream are not available yet".to_owned();
            stream.wrong("topic", message, Some(hint));
            name.into()
        }
    }
}

fn columns(stream: &Reader<'_>) -> Vec<(Arc<str>, ColumnType)> {
    let mut columns = Vec::new();
    for (name, ty, offset) in stream.pairs("columns") {
        if let Some(ty) = stream.word("columns", offset, &ty, &ColumnType::NAMES, &[]) {
            columns.push((name.as_str().into(), ty));
        }
    }
    columns
}

fn time(stream: &Reader<'_>) -> TimeSpec {
    if !stream.has("time") {
        return TimeSpec::Record;
    }
    let time = stream.table("time");
    let units = [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Millis),
        ("us", TimeUnit::Micros),
        ("ns", TimeUnit::Nanos),
        ("rfc3339", TimeUnit::Rfc3339),
    ];
    let (column, unit) = (time.text("column"), time.choice("unit", &units, &[]));
    for key in ["column", "unit"] {
        if !time.has(key) {
            let hint = "write time = { column = \"ts\", unit = \"ms\" }".to_owned();
            time.wrong(key, format!("`time` of {} lacks `{key}`", stream.title), Some(hint));
        }
    }
    time.finish();
    match (column, unit) {
        (Some(column), Some(unit)) => TimeSpec::Column { column: column.as_str().into(), unit },
        _ => TimeSpec::Record,
    }
}

/// Until time can flow on by itself, a stream waits for its next record.
fn idle(stream: &Reader<'_>) -> Option<i64> {
    if stream.has("idle") && stream.text("idle").as_deref() != Some("never") {
        let bounds = Duration::from_secs(1)..=36_500 * DAY;
        if stream.duration("idle", bounds).is_some() {
            let message = "time that flows on in silence (`idle`) is not available yet";
            stream.wrong("idle", message, Some("write idle = \"never\", or remove it".to_owned()));
        }
    }
    None
}

/// `"never"` keeps everything.
fn retention(stream: &Reader<'_>) -> Option<Duration> {
    if stream.has("retention") && stream.text("retention").as_deref() == Some("never") {
        return None;
    }
    Some(stream.duration("retention", Duration::from_secs(1)..=36_500 * DAY).unwrap_or(7 * DAY))
}

/// A column, or a list of different columns.
fn names(stream: &Reader<'_>, key: &'static str) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for (name, offset) in stream.texts(key).unwrap_or_default() {
        if name.is_empty() || names.iter().any(|n| **n == *name) {
            let known = join(names.iter().map(|n| &**n));
            stream.source.wrong(offset, format!("`{key}` names `{name}` after {known}"), None);
        }
        names.push(name.as_str().into());
    }
    names
}
