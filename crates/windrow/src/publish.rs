//! Publishing: records of clients, of files and of generators on their way into a stream's topic.
//!
//! **In** a body of lines for one stream. **Out** committed records, and a report of what was taken.
//! body → `lines` (records and rejections) → `remember` (was this sent before?) → `write` (one commit for all who wait)
//! **Invariant:** the answer comes after the commit; a line that is refused is named with its reason, the others go on;
//! a record whose key decides its partition is never written to another one.
//! **Not here:** who may publish (`dialect::http`), what a record means (`windrow_core::decode`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use self::lines::Rejection;
use self::{
    remember::{Memory, Seen},
    write::Job,
};
use crate::{
    config::{Limits, StreamConfig},
    log::Log,
    stats::Stats,
};

mod lines;
mod remember;
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
    memory: Memory,
    jobs: mpsc::Sender<Job>,
}

impl Publisher {
    /// Starts the writer. It ends when the last clone is dropped.
    pub fn start(
        log: Arc<dyn Log>,
        streams: BTreeMap<String, StreamConfig>,
        may_create: bool,
        limits: Arc<Limits>,
        stats: Arc<Stats>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write::run(log, may_create, waiting));
        Self(Arc::new(Inner { streams, limits, stats, memory: Memory::default(), jobs }))
    }

    /// Returns the names of all streams.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.0.streams.keys().map(String::as_str)
    }

    /// Publishes a body of lines, or a JSON array, and waits for the commit.
    ///
    /// - **Shape:** `key` names the column that becomes the message key; without it the stream's `keyed_by` does.
    ///   `once` makes a retry safe: the same text with the same body gives the first answer again.
    /// - **Errors:** nothing of the body was taken, or, when the log is away, nothing is known to be.
    pub async fn publish(
        &self,
        stream: &str,
        key: Option<&str>,
        once: Option<&str>,
        body: Bytes,
    ) -> Result<Report, PublishError> {
        let Some(config) = self.0.streams.get(stream) else {
            return Err(PublishError::UnknownStream(stream.to_owned()));
        };
        check_key(config, key)?;
        let (this, config, key) = (self.clone(), config.clone(), key.map(str::to_owned));
        let Some(once) = once else { return this.write(config, key, body).await };
        match this.0.memory.begin(stream, once, &body) {
            Seen::Before(mut outcome) => outcome.wait().await,
            Seen::Otherwise => Err(PublishError::KeyReused),
            Seen::Never(promise) => {
                // In a task of its own: a client that goes away must not leave its retry without an answer.
                let writing = tokio::spawn(async move {
                    let result = this.write(config, key, body).await;
                    promise.keep(result.clone());
                    result
                });
                writing.await.unwrap_or_else(|_| Err(PublishError::Unavailable("the writer failed".into())))
            }
        }
    }

    async fn write(
        &self,
        config: StreamConfig,
        key: Option<String>,
        body: Bytes,
    ) -> Result<Report, PublishError> {
        let limits = self.0.limits.clone();
        let spec = config.spec.clone();
        let aside = body.len() >= SPLIT_ASIDE_BYTES;
        let split = move || lines::split(&spec, key.as_deref(), limits.record_max_bytes, &body);
        let (records, report) =
            if aside { tokio::task::spawn_blocking(split).await.unwrap_or_default() } else { split() };
        let subject = || ("stream", config.spec.name.clone(), None);
        let rejected = report.rejected.len() + report.rejected_more;
        self.0.stats.counter(subject(), "publish_rejected", "").add(rejected as u64);
        if records.is_empty() {
            return Ok(report);
        }
        let accepted = records.len();
        let (done, outcome) = oneshot::channel();
        let wait = async {
            let gone = || PublishError::Unavailable("the writer has stopped".to_owned());
            self.0.jobs.send(Job { stream: config.clone(), records, done }).await.map_err(|_| gone())?;
            outcome.await.map_err(|_| gone())?
        };
        tokio::time::timeout(COMMIT_WAIT_MAX, wait).await.unwrap_or_else(|_| {
            Err(PublishError::Unavailable(format!("no commit within {COMMIT_WAIT_MAX:?}")))
        })?;
        self.0.stats.counter(subject(), "published", "").add(accepted as u64);
        Ok(Report { accepted, ..report })
    }
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
