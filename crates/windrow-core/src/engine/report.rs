//! What a task tells the worker: cuts, samples, numbers, and why it stopped.
//!
//! **Invariant:** counters only grow for the life of the task; samples are bounded, the counters behind them are not.
//! **Not here:** logging and metrics, which the worker does.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::decode::BadReason;

/// What one cut brought.
#[derive(Debug, Default)]
pub struct Cut {
    /// First offset that no view of the next epoch has seen: what the group's offset becomes.
    pub next_offset: i64,
    /// Rows written to channels and user topics, finals included.
    pub rows: u64,
    /// Finals among the channel rows.
    pub finals: u64,
    /// Journal records and their bytes.
    pub journal_records: u64,
    /// Bytes of those.
    pub journal_bytes: u64,
    /// Records of partials and their bytes.
    pub partial_records: u64,
    /// Bytes of those.
    pub partial_bytes: u64,
    /// Snapshot series that began or completed in this cut.
    pub series: Vec<SeriesEvent>,
    /// A few of the records that were late, bad or refused, for the log.
    pub samples: Vec<Sample>,
}

/// A step of a view's snapshot series.
///
/// When the commit of the cut that `Completed` a series has returned, journal records before the view's first one of the cut
/// that `Began` the same series are needed no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesEvent {
    /// The cut holds the first slice.
    Began {
        /// Index of the view.
        view: usize,
        /// Number of the series.
        series: u64,
    },
    /// The cut holds the last slice.
    Completed {
        /// Index of the view.
        view: usize,
        /// Number of the series.
        series: u64,
    },
}

/// One record that left the way, as an example for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What happened.
    pub kind: SampleKind,
    /// Name of the view; `None` when it concerns the whole stream.
    pub view: Option<Arc<str>>,
    /// Offset of the record.
    pub offset: i64,
    /// Details in one sentence.
    pub detail: String,
}

/// What happened to a sampled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// Its window had closed.
    Late,
    /// A partial came when its window had closed, which cannot be: an invariant is broken.
    Partial,
    /// A partial came again.
    Repeated,
    /// It could not become a row.
    Bad(BadReason),
    /// The view's state is full, or the group key too large.
    Refused,
    /// The view stopped at it.
    Stopped,
}

/// Numbers of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskStats {
    /// Records read, bad ones included.
    pub records: u64,
    /// Bad records.
    pub bad: u64,
    /// The same, by reason.
    pub bad_by_reason: BTreeMap<BadReason, u64>,
    /// Values of another type that became NULL, by column of the stream plan.
    pub mistyped: Vec<u64>,
    /// Lowest next offset of all views.
    pub position: i64,
}

/// Numbers of one view in one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewStats {
    /// Watermark; `i64::MIN` before the first record, `i64::MAX` at the end of a bounded input.
    pub watermark_ms: i64,
    /// Windows that take records.
    pub open_windows: i64,
    /// Rows in those, or in the running table.
    pub keys: i64,
    /// Estimate of the state's memory.
    pub state_bytes: i64,
    /// Records whose window had closed.
    pub late: u64,
    /// Records refused because the state was full or the key too large.
    pub refused: u64,
    /// Partials that their source had sent before, as no transaction does: passed over, or added where only a part was.
    pub repeated: u64,
    /// Windows closed before their time because the state was full.
    pub closed_early: u64,
    /// Next offset of this view.
    pub position: i64,
    /// Commit number, which is the `seq` of the rows of the last cut.
    pub seq: u64,
    /// Why the view stopped.
    pub stopped: Option<Arc<str>>,
}

/// Why a task cannot go on. Its state is not to be cut any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// `on_bad = "stop"` met a bad record.
    Bad {
        /// Name of the stream.
        stream: Arc<str>,
        /// Offset of the record.
        offset: i64,
        /// What is wrong with it.
        reason: BadReason,
    },
    /// A record of partials cannot be merged: something else wrote it, or it is damaged.
    Partial {
        /// Name of the view.
        view: Arc<str>,
        /// Topic of the partials.
        topic: Arc<str>,
        /// Its partition.
        partition: i32,
        /// Offset of the record.
        offset: i64,
        /// What is wrong with it, as the end of a sentence.
        why: &'static str,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::Bad { stream, offset, reason } => {
                write!(
                    f,
                    "stream {stream} stops at offset {offset}: {reason}, and on_bad = \"stop\"; repair the producer and \
                     set on_bad = \"dead-letter\" to go past it"
                )
            }
            StopReason::Partial { view, topic, partition, offset, why } => {
                write!(
                    f,
                    "view {view} stops: the partial at offset {offset} of {topic}/{partition} cannot be merged: {why}"
                )
            }
        }
    }
}

impl std::error::Error for StopReason {}

/// A plan that a task cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Two options of a view exclude each other.
    #[error("view {view}: {why}")]
    Options {
        /// Name of the view.
        view: Arc<str>,
        /// The rule and a way out.
        why: &'static str,
    },
    /// `topic_key` names a column that the view does not select.
    #[error("view {view}: topic_key names \"{column}\", which is not selected")]
    KeyColumn {
        /// Name of the view.
        view: Arc<str>,
        /// The name.
        column: Arc<str>,
    },
}
