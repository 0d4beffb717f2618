//! Publishing: records of clients, of files and of generators on their way into a stream's topic.
//!
//! **In** a body of lines for one stream. **Out** committed records, and a report of what was taken.
//! body → `lines` (records and rejections) → `write` (one commit for all who wait), or with an `Idempotency-Key` → `clerk` (one
//! transaction with an entry in the `ledger`) → the log
//! **Invariant:** the answer comes after the commit; a line that is refused is named with its reason, the others go on;
//! a record whose key decides its partition is never written to another one.
//! **Not here:** who may publish (`dialect::http`), what a record means (`windrow_core::decode`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use self::lines::Rejection;
use self::{
    clerk::{Clerk, Keyed},
    ledger::Entry,
    lines::Record,
    write::Job,
};
use crate::{
    config::{Limits, StreamConfig},
    log::{Log, Topic},
    stats::Stats,
    topics,
};

mod address;
mod clerk;
mod ledger;
mod lines;
mod write;

/// Requests waiting for the writer. With bodies of at most 16 MiB each, what waits is bounded by the connections' bodies.
const WAITING_MAX: usize = 64;

/// Longest wait for a commit. The log's own retries are shorter; past it the client is told to come back.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(30);

/// Bodies from this size on are split beside the runtime's threads: parsing takes about a millisecond per MiB.
const SPLIT_ASIDE_BYTES: usize = 256 << 10;

/// What became of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Records committed.
    pub accepted: usize,
    /// Lines refused, the first thousand of them.
    pub rejected: Vec<Rejection>,
    /// Lines refused beyond those.
    pub rejected_more: usize,
}

/// Why a request was not taken at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No such stream.
    #[error("there is no stream {0:?}")]
    UnknownStream(String),
    /// `key=` contradicts the stream's `keyed_by`.
    #[error("{0}")]
    BadKey(String),
    /// `topic=` is missing, or not a topic of the stream.
    #[error("{0}")]
    BadTopic(String),
    /// The stream's records are not made of lines.
    #[error("{0}")]
    BadFormat(String),
    /// The same `Idempotency-Key` came with another body.
    #[error("this Idempotency-Key came before with another body")]
    KeyReused,
    /// The log is away; nothing is known to be written.
    #[error("the log does not take records now: {0}")]
    Unavailable(String),
    /// The log will never take one of the records.
    #[error("{0}")]
    Refused(String),
}

/// The way into the streams of this process; cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    streams: BTreeMap<String, StreamConfig>,
    limits: Arc<Limits>,
    stats: Arc<Stats>,
    jobs: mpsc::Sender<Job>,
    /// One per partition of the ledger.
    clerks: Vec<mpsc::Sender<Keyed>>,
}

/// What a publisher writes to.
pub struct Setup {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The app, in whose ledger keys are remembered.
    pub app: Arc<str>,
    /// Whether the log has transactions; without them a key's promise ends with the process.
    pub exactly_once: bool,
    /// Streams by name.
    pub streams: BTreeMap<String, StreamConfig>,
    /// Whether a stream's topic may be made.
    pub may_create: bool,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Where numbers go.
    pub stats: Arc<Stats>,
}

impl Publisher {
    /// Starts the writers. They end when the last clone is dropped.
    pub fn start(setup: Setup) -> Self {
        let Setup { log, app, exactly_once, streams, may_create, limits, stats } = setup;
        let ledger = topics::published(&app);
        let clerks = (0..clerk::PARTITIONS as i32).map(|partition| {
            let (keyed, waiting) = mpsc::channel(clerk::WAITING_MAX);
            let clerk = Clerk::new(log.clone(), ledger.clone(), partition, exactly_once, may_create);
            tokio::spawn(clerk.run(waiting));
            keyed
        });
        let clerks = clerks.collect();
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write::run(log, may_create, waiting));
        Self(Arc::new(Inner { streams, limits, stats, jobs, clerks }))
    }

    /// Returns the names of all streams.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.0.streams.keys().map(String::as_str)
    }

    /// Publishes to the one topic of a stream; see [`Self::publish_to`].
    pub async fn publish(
        &self,
        stream: &str,
        key: Option<&str>,
        once: Option<&str>,
        body: Bytes,
    ) -> Result<Report, PublishError> {
        self.publish_to((stream, None), key, once, body).await
    }

    /// Publishes a body of lines, or a JSON array, and waits for the commit.
    ///
    /// - **Shape:** `key` names the column that becomes the message key; without it the stream's `keyed_by` does.
    ///   `topic` names one of the stream's topics; a stream of one topic needs no name.
    ///   `once` makes a retry safe: the same text with the same body gives the first answer again, on any gateway.
    /// - **Errors:** nothing of the body was taken, or, when the log is away, nothing is known to be.
    pub async fn publish_to(
        &self,
        (stream, topic): (&str, Option<&str>),
        key: Option<&str>,
        once: Option<&str>,
        body: Bytes,
    ) -> Result<Report, PublishError> {
        let Some(config) = self.0.streams.get(stream) else {
            return Err(PublishError::UnknownStream(stream.to_owned()));
        };
        check_format(config)?;
        check_key(config, key)?;
        let topic = address::topic(&config.spec, topic)?;
        let (records, report) = self.split(config, key, &body).await;
        let subject = || ("stream", config.spec.name.clone(), None);
        let rejected = report.rejected.len() + report.rejected_more;
        self.0.stats.counter(subject(), "publish_rejected", "").add(rejected as u64);
        let writing = async {
            match once {
                Some(once) => self.write_once((config, topic), once, &body, records).await,
                None => self.write((config, topic), records).await,
            }
        };
        let (accepted, is_first) =
            tokio::time::timeout(COMMIT_WAIT_MAX, writing).await.unwrap_or_else(|_| {
                Err(PublishError::Unavailable(format!("no commit within {COMMIT_WAIT_MAX:?}")))
            })?;
        if is_first {
            self.0.stats.counter(subject(), "published", "").add(accepted as u64);
        }
        Ok(Report { accepted, ..report })
    }

    async fn split(&self, config: &StreamConfig, key: Option<&str>, body: &Bytes) -> (Vec<Record>, Report) {
        let max_bytes = self.0.limits.record_max_bytes;
        if body.len() < SPLIT_ASIDE_BYTES {
            return lines::split(&config.spec, key, max_bytes, body);
        }
        let (spec, key, body) = (config.spec.clone(), key.map(str::to_owned), body.clone());
        let split = move || lines::split(&spec, key.as_deref(), max_bytes, &body);
        tokio::task::spawn_blocking(split).await.unwrap_or_default()
    }

    async fn write(
        &self,
        (config, topic): (&StreamConfig, Topic),
        records: Vec<Record>,
    ) -> Result<(usize, bool), PublishError> {
        let accepted = records.len();
        if accepted > 0 {
            let (done, outcome) = oneshot::channel();
            let job = Job { stream: config.clone(), topic, records, done };
            self.0.jobs.send(job).await.map_err(|_| stopped())?;
            outcome.await.map_err(|_| stopped())??;
        }
        Ok((accepted, true))
    }

    async fn write_once(
        &self,
        (config, topic): (&StreamConfig, Topic),
        once: &str,
        body: &Bytes,
        records: Vec<Record>,
    ) -> Result<(usize, bool), PublishError> {
        // The same key for another topic is another request.
        let key = match config.spec.topics.one() {
            Some(_) => format!("{}\n{once}", config.spec.name),
            None => format!("{}\n{topic}\n{once}", config.spec.name),
        };
        let key = Bytes::from(key);
        let (done, outcome) = oneshot::channel();
        let clerk = self.0.clerks.get(clerk::partition_of(&key)).ok_or_else(stopped)?;
        let entry = Entry::new(body, records.len());
        let job = Keyed { key, entry, stream: config.clone(), topic, records, done };
        clerk.send(job).await.map_err(|_| stopped())?;
        let done = outcome.await.map_err(|_| stopped())??;
        Ok((done.accepted, done.is_first))
    }
}

fn stopped() -> PublishError {
    PublishError::Unavailable("the writer has stopped".to_owned())
}

/// Lines of text cannot be data of a schema.
fn check_format(stream: &StreamConfig) -> Result<(), PublishError> {
    let spec = &stream.spec;
    for (what, format) in [("values", &spec.format), ("keys", &spec.key_format)] {
        if format.is_framed() || format.has_schema() {
            let (name, format) = (&spec.name, format.name());
            return Err(PublishError::BadFormat(format!(
                "stream {name} has {what} of format {format}, which are not written here; write to its topic {} with a client of the log",
                spec.topics
            )));
        }
    }
    Ok(())
}

/// A stream that says what its key is gets no other.
fn check_key(stream: &StreamConfig, key: Option<&str>) -> Result<(), PublishError> {
    let keyed_by = &stream.spec.keyed_by;
    match key {
        Some(key) if !keyed_by.is_empty() && keyed_by.iter().map(|c| &**c).ne([key]) => {
            let name = &stream.spec.name;
            Err(PublishError::BadKey(format!(
                "stream {name} is keyed by {}; leave `key` out",
                keyed_by.join(", ")
            )))
        }
        _ => Ok(()),
    }
}
