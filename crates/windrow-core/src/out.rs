//! Out: the records that a task hands to the log at a cut.
//!
//! **Before** this file: `engine` (made them). **After** it: the writer of the product (sends them in one transaction).
//! **Not here:** topic names and partition counts, which the writer knows.

use bytes::Bytes;

/// Which of the task's topics a record goes to. The number is the view's index in its stream plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `<app>.<view>`: the channel, compacted.
    Channel(usize),
    /// The view's own `topic`, in the user's shape.
    User(usize),
    /// `<app>.<view>.late`.
    Late(usize),
    /// `<app>.<view>.journal`; of a task that scatters the view `<app>.<view>.sources`.
    Journal(usize),
    /// `<app>.<view>.partials`: what one partition brings to the groups of another task.
    Partials(usize),
    /// `<app>.<stream>.bad`.
    Bad,
}

/// How the partition is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This one.
    Exact(i32),
    /// `murmur2(key) & 0x7fffffff`, to be taken modulo the topic's partitions.
    Hash(u32),
}

/// One record on its way to the log.
#[derive(Debug, Clone)]
pub struct OutRecord {
    /// Topic.
    pub target: Target,
    /// Partition.
    pub place: Place,
    /// Key; `None` = null.
    pub key: Option<Bytes>,
    /// Value; `None` = tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<(&'static str, Bytes)>,
    /// Timestamp, milliseconds since the epoch.
    pub timestamp_ms: i64,
}
