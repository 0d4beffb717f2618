//! A view with every kind of cell, and the first bytes of its records: without the plan's fingerprint nothing behind it is reached.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use windrow_core::{
    batch::{Batch, BatchBuilder, Compression},
    engine::{Task, TaskOptions},
    out::{OutRecord, Target},
    plan::{Stage, StreamPlan},
    spec::{Emit, Format, LatePolicy, OnBad, OnFull, StreamSpec, TimeSpec, TimeUnit, ViewSpec},
    sql,
    topics::Topics,
};

/// Time of every fold.
pub const NOW_MS: i64 = 1 << 40;

const SQL: &str = "SELECT k, count(*) AS n, sum(v) AS sum, avg(v) AS avg, max(k) AS max, count(DISTINCT v) AS d \
                   FROM s GROUP BY k, tumble(interval '10 seconds')";

/// The plan.
pub static PLAN: LazyLock<Arc<StreamPlan>> = LazyLock::new(|| {
    let stream = StreamSpec {
        name: "s".into(),
        topics: Topics::One("s".into()),
        format: Format::Json,
        key_format: Format::Text,
        columns: Vec::new(),
        time: TimeSpec::Column { column: "t".into(), unit: TimeUnit::Millis },
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: OnBad::Skip,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: Vec::new(),
        keep: 0,
        row_filter: None,
        until_end: false,
    };
    let view = ViewSpec {
        name: "v".into(),
        sql: SQL.to_owned(),
        emit: Emit::Changes,
        grace_ms: 0,
        late: LatePolicy::Update,
        retain_ms: None,
        topic: None,
        state_max_bytes: 1 << 20,
        on_full: OnFull::RefuseNewKeys,
    };
    let plans = sql::plan(&[Arc::new(stream)], &[Arc::new(view)]).expect("a query of our own");
    Arc::new(plans.into_iter().next().expect("a stream with a view"))
});

/// A task over a partition of the stream.
pub fn source(stage: Stage) -> Task {
    let targets = [i32::from(stage == Stage::Two)];
    Task::new(PLAN.clone(), &[stage], &targets, "s".into(), 0, TaskOptions::default())
        .expect("a plan of our own")
}

/// The records of one batch.
pub fn batch(values: &[&[u8]], base: i64) -> Option<Batch> {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(0, None, Some(value), std::iter::empty::<(&str, Option<&[u8]>)>()).ok()?;
    }
    let bytes: Bytes = builder.build(base, -1, -1, -1, false);
    Batch::parse(&bytes).ok().map(|(batch, _)| batch)
}

/// What a task writes for a few records, as far as it goes to `target`.
pub fn written(mut task: Task, is_wanted: fn(&Target) -> bool) -> Vec<Bytes> {
    let values =
        [&br#"{"t":1,"k":"a","v":1}"#[..], br#"{"t":2,"k":"b","v":2.5}"#, br#"{"t":30000,"k":"a","v":-1}"#];
    task.start(0);
    let batch = batch(&values, 0).expect("a small batch");
    task.fold(&batch, NOW_MS).expect("records of our own");
    let mut out: Vec<OutRecord> = Vec::new();
    task.cut(NOW_MS, &mut out);
    out.into_iter().filter(|record| is_wanted(&record.target)).filter_map(|record| record.value).collect()
}

/// Takes the next piece of the input: a length of two bytes, then as much of that as there is.
pub fn piece<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_at_checked(2)?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]])).min(rest.len());
    let (piece, rest) = rest.split_at(length);
    *input = rest;
    Some(piece)
}
