//! Plans: what the planner made of specs and SQL, ready to run.
//!
//! **Before** this file: `sql` (text became a plan). **After** it: `decode` (reads `StreamPlan::columns`), `engine` (runs the rest).
//! **Invariant:** an index in here is always in range; nothing is looked up by name while records flow.
//! **Not here:** parsing, evaluation.
//!
//! Rows while folding are `&[Datum]`: a *source row* has one slot per `StreamPlan::columns`; an *output row* has one slot
//! per key, then one per aggregate, then `window_start` and `window_end` (both also for unwindowed views, as NULL), then one
//! per aggregate over finals.

use std::sync::Arc;

use crate::{
    expr::Expr,
    spec::{StreamSpec, ViewSpec},
    value::ColumnType,
};

/// A column that some view, filter or subscriber needs out of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    /// Name as used in SQL: a member of the JSON object, or one of `_topic`, `_partition`, `_offset`, `_timestamp`,
    /// `_key`, `_value`, `_headers`.
    pub name: Arc<str>,
    /// Declared type, or the one inferred from its use; `None` = any (it is only selected, grouped or counted).
    pub ty: Option<ColumnType>,
}

/// One stream with all views over it.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// What the user asked for.
    pub spec: Arc<StreamSpec>,
    /// The slots of a source row.
    pub columns: Vec<SourceColumn>,
    /// Slot of the event-time column, when time comes from a column.
    pub time_slot: Option<usize>,
    /// Views over this stream, in configuration order.
    pub views: Vec<Arc<ViewPlan>>,
}

/// How a view's state is cut along time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `SELECT … WHERE …`: no state.
    Stateless,
    /// `GROUP BY` without a window: never final.
    Running,
    /// `tumble(size)`: `[k·size, (k+1)·size)`, aligned to the epoch.
    Tumbling {
        /// Window size.
        size_ms: i64,
    },
}

/// Which aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateKind {
    /// `count(*)`, or `count(x)` when the call has an argument.
    Count,
    /// `count(DISTINCT x)`, exact.
    CountDistinct,
    /// `sum(x)`: integers in i128, doubles independent of order.
    Sum,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `avg(x)`: the exact sum over the count, rounded once.
    Avg,
}

/// One aggregate call.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// Which one.
    pub kind: AggregateKind,
    /// Argument over the source row; `None` only for `count(*)`.
    pub argument: Option<Expr>,
    /// `FILTER (WHERE …)` over the source row.
    pub filter: Option<Expr>,
}

/// A named expression of the output.
#[derive(Debug, Clone)]
pub struct OutputColumn {
    /// Name in the row.
    pub name: Arc<str>,
    /// Type for `GET /api/channels` and filters.
    pub ty: Option<ColumnType>,
    /// Over the output row (views with state) or the source row (stateless views).
    pub expr: Expr,
}

/// One view, ready to run.
#[derive(Debug, Clone)]
pub struct ViewPlan {
    /// What the user asked for.
    pub spec: Arc<ViewSpec>,
    /// Its position in `StreamPlan::views`.
    pub index: usize,
    /// Windowed, running or stateless.
    pub shape: Shape,
    /// `WHERE`, over the source row.
    pub filter: Option<Expr>,
    /// `GROUP BY` expressions over the source row, windows left out, in query order.
    pub keys: Vec<OutputColumn>,
    /// Aggregates, over the source row.
    pub aggregates: Vec<AggregateCall>,
    /// Aggregates over the finals of a key, `avg(count(*)) OVER (ORDER BY window_start)`: their arguments are over the output
    /// row up to `window_end`, none has a filter. Windowed views alone have any.
    pub over: Vec<AggregateCall>,
    /// `HAVING`, over the output row up to `window_end`.
    pub having: Option<Expr>,
    /// What is selected, in query order, `window_start` and `window_end` included when the query names them. The engine
    /// appends those that are missing to the channel's rows of windowed views, then `final` and `seq`; rows in the user's
    /// shape get nothing appended.
    pub outputs: Vec<OutputColumn>,
    /// Names of the row's key columns as the client sees them: keys' output names, then `window_start` if windowed.
    /// For stateless views `_topic`, `_partition`, `_offset`.
    pub key_names: Vec<Arc<str>>,
    /// Hash of all that decides the meaning of the state: a changed view is recognised by it.
    pub fingerprint: u64,
}

impl ViewPlan {
    /// Tells whether rows carry a window.
    pub fn is_windowed(&self) -> bool {
        matches!(self.shape, Shape::Tumbling { .. })
    }
}

/// Where a view's groups are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Where its records are, partition by partition: no group is in two of them.
    Local,
    /// Each partition folds its records into partials by group, which a second stage merges.
    Two,
}

/// Tells where the groups of a view are put together when its stream has that many partitions.
pub fn stage(stream: &StreamPlan, view: &ViewPlan, partitions: i32) -> Stage {
    let keyed_by = &stream.spec.keyed_by;
    let keyed = !keyed_by.is_empty() && keyed_by.iter().all(|name| groups_by(stream, view, name));
    let one_topic = stream.spec.topics.one().is_some();
    let is_local = view.shape == Shape::Stateless || one_topic && (partitions == 1 || keyed);
    if is_local { Stage::Local } else { Stage::Two }
}

/// Says in one sentence why [`stage`] is what it is, and how to make it local if it is not.
pub fn stage_reason(stream: &StreamPlan, view: &ViewPlan, partitions: i32) -> String {
    let groups = view.keys.iter().map(|k| &*k.name).collect::<Vec<_>>().join(", ");
    let keyed = stream.spec.keyed_by.iter().map(|k| &**k).collect::<Vec<_>>().join(", ");
    let name = &stream.spec.name;
    match stage(stream, view, partitions) {
        Stage::Local if view.shape == Shape::Stateless => "it keeps no state".to_owned(),
        Stage::Local if partitions == 1 => format!("stream {name} has one partition"),
        Stage::Local => format!("stream {name} is keyed by ({keyed}), which the view groups by"),
        Stage::Two if stream.spec.topics.one().is_none() => format!(
            "it groups by ({groups}), but stream {name} reads {}: records of one group may be in several topics",
            stream.spec.topics
        ),
        Stage::Two if keyed.is_empty() => format!(
            "it groups by ({groups}), but stream {name} has {partitions} partitions and does not say what its message key is: \
             records of one group may be in several partitions; if the message key is among the group's columns, set \
             keyed_by in [streams.{name}]"
        ),
        Stage::Two => format!(
            "it groups by ({groups}), but the {partitions} partitions of stream {name} are keyed by ({keyed}): records of one \
             group may be in several partitions"
        ),
    }
}

fn groups_by(stream: &StreamPlan, view: &ViewPlan, name: &Arc<str>) -> bool {
    let slot = stream.columns.iter().position(|column| column.name == *name);
    slot.is_some_and(|slot| view.keys.iter().any(|key| key.expr.as_slot() == Some(slot)))
}
