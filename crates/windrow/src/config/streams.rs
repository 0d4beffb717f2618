//! `[streams.*]`: topics and how their bytes become rows.

use std::{sync::Arc, time::Duration};

use windrow_core::{
    plan::StreamPlan,
    spec::{Format, OnBad, StreamSpec, TimeSpec, TimeUnit},
    sql,
    value::ColumnType,
};

use super::{
    StreamConfig, formats,
    reader::{Reader, join},
    topics,
};
use crate::hub::ChannelSpec;

const DAY: Duration = Duration::from_secs(86_400);

/// Lateness holds that much state open; a year takes any file that is out of order by month.
const LATENESS_MAX: Duration = Duration::from_secs(366 * 86_400);

/// More partitions than any cluster gives one topic by default tooling.
const PARTITIONS_MAX: i64 = 10_000;

/// Rows that a plain stream may keep for snapshots: at 1 KiB each, 100 MiB of the table's bound.
const KEEP_MAX: i64 = 100_000;

pub(super) fn read(name: &str, app: &str, stream: Reader<'_>) -> StreamConfig {
    let (format, key_format) = (formats::value(&stream), formats::key(&stream));
    let mut spec = StreamSpec {
        name: name.into(),
        topics: topics::read(name, app, &stream),
        columns: columns(&stream),
        time: time(&stream, &format),
        format,
        key_format,
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
        required: names(&stream, "required"),
        keyed_by: names(&stream, "keyed_by"),
        latest_by: names(&stream, "latest_by"),
        keep: stream.number("keep", 0..=KEEP_MAX).unwrap_or(0) as usize,
        row_filter: None,
        until_end: stream.choice("until", &[("end", true)], &[]).unwrap_or(false),
    };
    if spec.keep > 0 && !spec.latest_by.is_empty() {
        let message = "`keep` and `latest_by` exclude each other: a table keeps its newest row per key";
        stream.wrong("keep", message, None);
    }
    if spec.until_end && spec.topics.one().is_none() {
        let message = "`until` needs one topic: of several nobody can say that no further one appears";
        stream.wrong("until", message, None);
    }
    formats::check(&stream, &spec);
    spec.row_filter = row_filter(&stream, &spec);
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

/// Which records are rows of the channel, over the columns that are known without any view.
fn row_filter(stream: &Reader<'_>, spec: &StreamSpec) -> Option<Arc<str>> {
    let text = stream.text("where").filter(|text| !text.trim().is_empty())?;
    let plan =
        StreamPlan { spec: Arc::new(spec.clone()), columns: Vec::new(), time_slot: None, views: Vec::new() };
    if let Err(error) = sql::filter(&text, &ChannelSpec::stream(&plan).columns) {
        let hint = error
            .hint
            .or_else(|| (spec.format == Format::Json).then(|| "name what it reads in `columns`".to_owned()));
        stream.wrong("where", format!("`where` of {}: {}", stream.title, error.message), hint);
    }
    Some(text.as_str().into())
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

fn time(stream: &Reader<'_>, format: &Format) -> TimeSpec {
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
    let knows_unit = column.as_deref().is_some_and(|column| formats::is_timestamp(format, column));
    for key in ["column", "unit"] {
        let may_lack = key == "unit" && knows_unit;
        if !time.has(key) && !may_lack {
            let hint = "write time = { column = \"ts\", unit = \"ms\" }".to_owned();
            time.wrong(key, format!("`time` of {} lacks `{key}`", stream.title), Some(hint));
        }
    }
    time.finish();
    match (column, unit) {
        (Some(column), Some(unit)) => TimeSpec::Column { column: column.as_str().into(), unit },
        (Some(column), None) if knows_unit => {
            TimeSpec::Column { column: column.as_str().into(), unit: TimeUnit::Millis }
        }
        _ => TimeSpec::Record,
    }
}

/// `"never"` waits for the next record, however long.
fn idle(stream: &Reader<'_>) -> Option<i64> {
    if stream.has("idle") && stream.text("idle").as_deref() == Some("never") {
        return None;
    }
    Some(millis(stream.duration("idle", Duration::from_secs(1)..=36_500 * DAY), Duration::from_secs(30)))
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
