//! Specs: what the user asked for, free of files and TOML. The configuration makes these; the planner reads them.
//!
//! **Invariant:** every duration is in milliseconds, every size in bytes, every name already validated
//! (`[a-z][a-z0-9_]*`). **Not here:** SQL (`sql`), what the planner made of it (`plan`).

use std::sync::Arc;

use crate::value::ColumnType;

/// How the bytes of a key or value become columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The whole value is one text column, `_value`.
    Text,
    /// The value is a JSON object; its members are the columns.
    Json,
}

/// Unit of an event-time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the epoch, integer or fractional.
    Seconds,
    /// Milliseconds since the epoch.
    Millis,
    /// Microseconds since the epoch.
    Micros,
    /// Nanoseconds since the epoch.
    Nanos,
    /// RFC 3339 text.
    Rfc3339,
}

/// Where a record's event time comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSpec {
    /// The record's own timestamp.
    Record,
    /// A column of the value.
    Column {
        /// Name of the column.
        column: Arc<str>,
        /// What it counts.
        unit: TimeUnit,
    },
}

/// What happens to a record that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBad {
    /// Count, log, go on.
    Skip,
    /// Count, log, write to `<app>.<stream>.bad`, go on.
    DeadLetter,
    /// Stop the stream.
    Stop,
}

/// One stream: a topic decoded into rows.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    /// Name of the stream and of its channel.
    pub name: Arc<str>,
    /// Topic it reads.
    pub topic: Arc<str>,
    /// Format of the value.
    pub format: Format,
    /// Format of the key.
    pub key_format: Format,
    /// Declared columns; empty when the planner infers them.
    pub columns: Vec<(Arc<str>, ColumnType)>,
    /// Event time.
    pub time: TimeSpec,
    /// How far records may be out of order without being late.
    pub lateness_ms: i64,
    /// How far past the wall clock an event time may be before the record is bad.
    pub max_ahead_ms: i64,
    /// Silence after which time flows on by itself; `None` = never.
    pub idle_ms: Option<i64>,
    /// What to do with bad records.
    pub on_bad: OnBad,
    /// Columns that the message key is made of; empty when unknown.
    pub keyed_by: Vec<Arc<str>>,
    /// Columns that make the stream a table; empty for a plain stream.
    pub latest_by: Vec<Arc<str>>,
    /// Rows a plain stream keeps for snapshots.
    pub keep: usize,
    /// Whether the input is bounded (`until = "end"`): all windows close at its end.
    pub until_end: bool,
}

/// Which states of a row are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Every change, conflated per commit, and the final.
    Changes,
    /// Finals alone.
    Final,
}

/// What happens to a record that is too late for its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatePolicy {
    /// Count and log.
    Drop,
    /// Count, log and write to `<app>.<view>.late`.
    Topic,
    /// Open the window again and emit a further final.
    Update,
}

/// What happens when a view's state reaches its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Records of unknown keys are counted and left out.
    RefuseNewKeys,
    /// The oldest window is closed early.
    CloseOldest,
    /// The view stops.
    Stop,
}

/// A view's second output, in the user's shape.
#[derive(Debug, Clone)]
pub struct UserTopic {
    /// Topic name.
    pub topic: Arc<str>,
    /// Which states go there.
    pub emit: Emit,
    /// Columns of the message key: `None` = all group columns as a JSON array, empty = null key.
    pub key: Option<Vec<Arc<str>>>,
}

/// One view: SQL and what stands beside it.
#[derive(Debug, Clone)]
pub struct ViewSpec {
    /// Name of the view and of its channel.
    pub name: Arc<str>,
    /// The query.
    pub sql: String,
    /// What the channel gets.
    pub emit: Emit,
    /// How long after its end a window still takes records.
    pub grace_ms: i64,
    /// What happens to later ones.
    pub late: LatePolicy,
    /// How long closed windows stay in the channel, by event time; `None` = for ever.
    pub retain_ms: Option<i64>,
    /// Second output.
    pub topic: Option<UserTopic>,
    /// Bound of the state, per task.
    pub state_max_bytes: usize,
    /// What happens at the bound.
    pub on_full: OnFull,
}
