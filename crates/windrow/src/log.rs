//! The log: where records live. One abstraction, two kinds: `embedded` (one directory) and `kafka`.
//!
//! | part | promise |
//! |---|---|
//! | [`Log`] | topics: create, describe, offsets, purge; opens the three below |
//! | [`Group`] | membership: which partitions are mine, asked and answered |
//! | [`Reader`] | any partitions from any offset, read_committed, bounded bytes |
//! | [`Writer`] | transactions: records and source offsets together, fenced |
//!
//! Both kinds hand over the same [`Batch`]es, so there is one decoder. The same suite runs on both.
//! **Invariant:** every error says whether to retry, to give up the partitions, or to give up; nothing is retried for ever
//! in silence. **Not here:** what a record means.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use windrow_core::batch::Batch;

pub mod deferred;
pub mod embedded;
pub mod kafka;
mod whole;

pub use whole::read_whole;

/// A topic's name, shared.
pub type Topic = Arc<str>;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tp {
    /// Topic name.
    pub topic: Topic,
    /// Partition number, from 0.
    pub partition: i32,
}

impl Tp {
    /// Names a partition.
    pub fn new(topic: impl Into<Topic>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Tp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// How a topic is made.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Name.
    pub name: Topic,
    /// Partition count.
    pub partitions: i32,
    /// Copies; ignored by the embedded log; -1 = the broker's default.
    pub replication: i16,
    /// Compacted by key instead of deleted by age.
    pub compact: bool,
    /// Age after which records go; `None` = never.
    pub retention: Option<Duration>,
    /// Bytes per partition after which the oldest go; `None` = unbounded.
    pub retention_bytes: Option<u64>,
}

/// What a topic is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Name.
    pub name: Topic,
    /// The topic's id: a topic deleted and made anew has another. Never 0.
    pub epoch: u128,
    /// Partition count.
    pub partitions: i32,
}

/// How long a compacted topic keeps a tombstone: twice what gateways rely on when a client comes back.
pub const TOMBSTONES_KEPT: Duration = Duration::from_hours(24);

/// Ends of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// First offset still held.
    pub earliest: i64,
    /// Offset the next record will get, open transactions included.
    pub high_watermark: i64,
    /// What read_committed may read up to.
    pub last_stable: i64,
}

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// This offset; out of range is reported, never skipped in silence.
    Offset(i64),
    /// The first offset still held.
    Earliest,
    /// The high watermark.
    Latest,
}

/// What a reader found in one partition.
#[derive(Debug)]
pub struct Fetched {
    /// Which partition.
    pub tp: Tp,
    /// Committed batches in order; control and aborted ones are gone. May be empty while the position moves.
    /// The first may begin below the position that was asked for: use [`Batch::records_from`] with `from`.
    pub batches: Vec<Batch>,
    /// The position before this.
    pub from: i64,
    /// The position after: past control and aborted batches too.
    pub next: i64,
    /// High watermark as the log told it with this answer.
    pub high_watermark: i64,
    /// Last stable offset as the log told it with this answer.
    pub last_stable: i64,
    /// Set when the position was no longer held; the reader went on at `next`, the earliest.
    pub gap: Option<Gap>,
}

/// Records that were there and are no longer: purged (`to` above `from`), or cut off the end and replaced (`to` below `from`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First offset missed.
    pub from: i64,
    /// First offset still held.
    pub to: i64,
}

/// How records came to be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapKind {
    /// Retention or a purge overtook the position.
    Purged,
    /// The log was cut at its end and written anew from there.
    Truncated,
}

impl fmt::Display for GapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GapKind::Purged => "retention overtook the position",
            GapKind::Truncated => "the log was cut at its end",
        })
    }
}

impl Gap {
    /// Tells how it came about.
    pub fn kind(&self) -> GapKind {
        if self.to < self.from { GapKind::Truncated } else { GapKind::Purged }
    }

    /// Counts the offsets: missed when purged, seen but no longer there when truncated.
    pub fn count(&self) -> u64 {
        self.to.abs_diff(self.from)
    }

    /// Returns the offsets that are gone: first, and the one after the last.
    pub fn range(&self) -> (i64, i64) {
        (self.from.min(self.to), self.from.max(self.to))
    }
}

/// What happened to the member's partitions. Each but the first is asked: the group waits for [`Group::answer`].
#[derive(Debug)]
pub enum GroupEvent {
    /// These are mine from now; restore, then read.
    Assigned(Vec<Tp>),
    /// These go to another member: finish the transaction, then answer.
    Revoked(Vec<Tp>),
    /// These are another's already: abort and drop, then answer. Nothing may be committed for them.
    Lost(Vec<Tp>),
}

/// Who is in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Members.
    pub members: usize,
    /// Whether partitions are not being moved just now.
    pub is_settled: bool,
    /// Partitions that belong to a member.
    pub owned: BTreeSet<Tp>,
}

/// Proof of membership for one transaction: member, generation. A stale one is fenced.
#[derive(Clone)]
pub struct Membership(pub Arc<dyn std::any::Any + Send + Sync>);

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Membership")
    }
}

/// One record to write.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Topic.
    pub topic: Topic,
    /// Partition; the caller chooses (murmur2), never the log.
    pub partition: i32,
    /// Key; `None` = null.
    pub key: Option<Bytes>,
    /// Value; `None` = tombstone.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<(&'static str, Bytes)>,
    /// Timestamp, milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// Trouble with the log, sorted by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is away or busy: try again, with a pause.
    #[error("{0}")]
    Retry(String),
    /// Another owner took over: abort, drop the state, rejoin.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The group is moving partitions and has left the membership behind, but the member is still in it: abort, then do the same again
    /// with a membership taken anew. Where that one is refused, what was lost is lost.
    #[error("the group is rebalancing: {0}")]
    Rebalancing(String),
    /// The topic does not exist.
    #[error("topic {0} does not exist")]
    UnknownTopic(Topic),
    /// The topic was deleted and made anew while it was read: offsets, positions and journals of the former one mean nothing in
    /// the new one. Told once per partition, which then stands still until it is assigned anew.
    #[error("topic {0} was deleted and made anew: what was known of the former one does not fit it")]
    Recreated(Topic),
    /// These bytes are not what they should be.
    #[error("corrupt data in {tp} at offset {offset}: {reason}")]
    Corrupt {
        /// Where.
        tp: Tp,
        /// First offset of the batch.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// A record the log will never take (too large, topic gone).
    #[error("record refused by {topic}: {reason}")]
    Refused {
        /// Where it was sent.
        topic: Topic,
        /// Why.
        reason: String,
    },
    /// Retrying cannot help: wrong configuration, locked directory, disk full.
    #[error("{0}")]
    Fatal(String),
}

/// An empty list of positions names no partition, so nothing of it would be fenced: a former owner would get through.
fn refuse_no_positions(offsets: &[(Tp, i64)]) -> Result<()> {
    if offsets.is_empty() {
        return Err(LogError::Fatal("a transaction needs the position of each partition it touches".into()));
    }
    Ok(())
}

/// The result of a log call.
pub type Result<T> = std::result::Result<T, LogError>;

/// How a group member behaves.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Group name: the app.
    pub group: String,
    /// Static member id (instance and worker), or `None`.
    pub instance_id: Option<String>,
    /// Topics of the subscription.
    pub topics: Vec<Topic>,
}

/// How a writer behaves.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Name that fences a former writer of the same name; `None` = no transactions (commit then only flushes).
    pub transactional_id: Option<String>,
}

/// Bounds of a reader.
#[derive(Debug, Clone, Copy)]
pub struct ReaderOptions {
    /// Longest wait of the log for new data.
    pub wait_max: Duration,
    /// Most bytes asked for at once, all partitions together.
    pub fetch_max_bytes: usize,
    /// Most bytes asked for per partition.
    pub partition_max_bytes: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        // Two answers may be held at once (one being folded, one on its way): 16 MiB a reader.
        Self { wait_max: Duration::from_millis(100), fetch_max_bytes: 8 << 20, partition_max_bytes: 2 << 20 }
    }
}

/// The log itself.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Creates a topic. `Ok(false)` when it exists already; its settings are left alone then.
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool>;
    /// Describes one topic; `Ok(None)` when it does not exist.
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>>;
    /// Lists all topics, internal ones of the log itself left out.
    async fn topics(&self) -> Result<Vec<TopicInfo>>;
    /// Tells where partitions begin and end, in the order asked.
    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>>;
    /// Tells the group's stable offsets (no pending transaction), in the order asked; waits for pending ones.
    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>>;
    /// Purges everything below `offset`.
    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()>;
    /// Deletes a topic with its records and every group's positions in it; `Ok(false)` when there is none.
    async fn delete_topic(&self, name: &str) -> Result<bool>;
    /// Adds partitions until the topic has `partitions`; `Ok(false)` when it has as many already.
    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool>;
    /// Tells the largest record that a topic takes: key, value, headers and what the log adds.
    async fn record_max_bytes(&self, name: &str) -> Result<usize>;
    /// Tells how long a compacted topic keeps a tombstone; `None` when that may not be looked at.
    async fn tombstones_kept(&self, _name: &str) -> Result<Option<Duration>> {
        Ok(Some(TOMBSTONES_KEPT))
    }
    /// Tells by which settings a topic loses records by itself (`retention.ms=604800000`), for topics that must not; `None`
    /// when it keeps all, or may not be looked at.
    async fn forgets(&self, _name: &str) -> Result<Option<String>> {
        Ok(None)
    }
    /// Tells who is in a group now; a member that was killed counts until its session ends.
    async fn roster(&self, group: &str) -> Result<Roster>;
    /// Joins a group.
    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>>;
    /// Opens a reader with no partitions.
    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>>;
    /// Opens a writer; with a transactional id, fences the former one and settles its open transaction.
    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>>;
}

/// Membership in a consumer group.
#[async_trait]
pub trait Group: Send {
    /// Waits for the next event. Cancel-safe. While an unanswered event is out, waits for the answer first.
    ///
    /// - **Errors:** an error ends the membership; [`LogError::Fenced`] when another has joined under this name.
    async fn next(&mut self) -> Result<GroupEvent>;
    /// Answers the last event: assigned partitions are restored, revoked ones finished, lost ones dropped.
    fn answer(&mut self);
    /// Proof for a transaction over partitions owned now. Taken at the cut, never renewed for one in flight.
    fn membership(&self) -> Result<Membership>;
    /// Leaves for good: the group reassigns at once.
    async fn leave(self: Box<Self>) -> Result<()>;
}

/// Reading without a group.
#[async_trait]
pub trait Reader: Send {
    /// Starts reading a partition, or moves it.
    fn assign(&mut self, tp: Tp, from: From);
    /// Stops reading a partition; nothing of it is handed over afterwards.
    fn unassign(&mut self, tp: &Tp);
    /// Waits for the next answers: at least one item, also an empty one each `wait_max` per partition at its end, so that
    /// the caller sees silence. Cancel-safe. With no partitions it waits for ever.
    ///
    /// - **Errors:** `Retry` is only told: what it names is asked again by the reader itself, and all else is read on meanwhile. After
    ///   `UnknownTopic`, `Recreated` or `Corrupt` that partition stands still until it is assigned anew.
    async fn next(&mut self) -> Result<Vec<Fetched>>;
}

/// Writing, in transactions.
#[async_trait]
pub trait Writer: Send {
    /// Begins a transaction.
    async fn begin(&mut self) -> Result<()>;
    /// Sends records; they are in order per partition.
    async fn send(&mut self, records: Vec<Outgoing>) -> Result<()>;
    /// Sends records that the caller keeps for another attempt.
    async fn send_kept(&mut self, records: &Arc<Vec<Outgoing>>) -> Result<()> {
        self.send(records.to_vec()).await
    }
    /// Adds source positions (the next offset to read) to the transaction.
    ///
    /// - **Errors:** `Rebalancing` when the membership is of a former generation, `Fenced` when its member is out of the group,
    ///   `Fatal` for an empty list: that one would be fenced by nobody.
    async fn send_offsets(&mut self, group: &str, offsets: &[(Tp, i64)], member: &Membership) -> Result<()>;
    /// Commits: when it returns `Ok`, all of it is durable and visible together.
    async fn commit(&mut self) -> Result<()>;
    /// Aborts: none of it will ever be visible.
    async fn abort(&mut self) -> Result<()>;
}
