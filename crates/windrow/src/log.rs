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

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use windrow_core::batch::Batch;

pub mod deferred;
pub mod embedded;
pub mod kafka;

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
    /// The topic does not exist.
    #[error("topic {0} does not exist")]
    UnknownTopic(Topic),
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
    async fn next(&mut self) -> Result<Vec<Fetched>>;
}

/// Writing, in transactions.
#[async_trait]
pub trait Writer: Send {
    /// Begins a transaction.
    async fn begin(&mut self) -> Result<()>;
    /// Sends records; they are in order per partition.
    async fn send(&mut self, records: Vec<Outgoing>) -> Result<()>;
    /// Adds source positions (the next offset to read) to the transaction.
    async fn send_offsets(&mut self, group: &str, offsets: &[(Tp, i64)], member: &Membership) -> Result<()>;
    /// Commits: when it returns `Ok`, all of it is durable and visible together.
    async fn commit(&mut self) -> Result<()>;
    /// Aborts: none of it will ever be visible.
    async fn abort(&mut self) -> Result<()>;
}
