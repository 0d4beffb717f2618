//! The clerk: writes requests that carry an `Idempotency-Key`, each once, whatever is killed and whichever gateway hears the retry.
//!
//! **In** requests whose keys belong to one partition of `<app>._published`. **Out** their records and an entry each, in one
//! transaction; a key that is there already is answered from its entry.
//!
//! ```text
//! open the partition's writer (fences every other gateway) → read entries to the end → decide → records + entries → commit
//! ```
//!
//! **Invariant:** between reading to the end and the commit nobody else wrote an entry: who opens the writer of the same name
//! later fences this one, and its commit fails whole. After any failure the end is read again, so that an unknown outcome is
//! known before anything is written. **Not here:** what an entry holds (`ledger`); with `at_least_once` there are no
//! transactions: a key then holds as far as both parts were written.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    PublishError,
    address::Addresses,
    ledger::{Entry, KEEP, Ledger, is_old},
    lines::Record,
};
use crate::{
    config::StreamConfig,
    log::{
        From, Log, LogError, Outgoing, ReaderOptions, Result, Topic, TopicSpec, Tp, Writer, WriterOptions,
    },
};

/// Partitions of the topic, for ever: a key's partition follows from it. As many transactions run side by side.
pub(super) const PARTITIONS: u64 = 4;
/// Requests that wait for one clerk.
pub(super) const WAITING_MAX: usize = 64;
/// Most bytes gathered into one transaction: two of the largest bodies.
const COMMIT_MAX_BYTES: usize = 32 << 20;
/// Attempts before the client is told to come back; another gateway may fence this one a few times in a row.
const TRIES_MAX: u32 = 6;
/// Pause after the first failed attempt, doubled by each further one, and as much again by chance: two gateways that fence each other
/// must not do so in step.
const PAUSE: Duration = Duration::from_millis(20);

/// A request with a key.
pub(super) struct Keyed {
    /// Stream and key.
    pub(super) key: Bytes,
    pub(super) entry: Entry,
    pub(super) stream: StreamConfig,
    pub(super) topic: Topic,
    pub(super) records: Vec<Record>,
    pub(super) done: oneshot::Sender<std::result::Result<Done, PublishError>>,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// Records committed, now or at the first time.
    pub(super) accepted: usize,
    /// Whether this request wrote them.
    pub(super) is_first: bool,
}

/// See the module.
pub(super) struct Clerk {
    log: Arc<dyn Log>,
    tp: Tp,
    exactly_once: bool,
    addresses: Addresses,
    writer: Option<Box<dyn Writer>>,
    ledger: Ledger,
    /// Up to where entries are read; `None` = nothing yet.
    read_to: Option<i64>,
    began: Instant,
}

impl Clerk {
    pub(super) fn new(log: Arc<dyn Log>, topic: Topic, partition: i32, once: bool, may_create: bool) -> Self {
        Self {
            tp: Tp::new(topic, partition),
            exactly_once: once,
            addresses: Addresses::new(log.clone(), may_create),
            log,
            writer: None,
            ledger: Ledger::new(),
            read_to: None,
            began: Instant::now(),
        }
    }

    /// Writes until the last publisher is gone.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Keyed>) {
        while let Some(first) = jobs.recv().await {
            let mut bytes = first.bytes();
            let mut together = vec![first];
            while bytes < COMMIT_MAX_BYTES
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.bytes();
                together.push(job);
            }
            self.settle(together).await;
        }
    }

    /// Settles all; a log that refuses one record makes each go alone, so that one pays for itself.
    async fn settle(&mut self, mut jobs: Vec<Keyed>) {
        let mut error = LogError::Retry("nothing was tried".to_owned());
        for attempt in 0..TRIES_MAX {
            jobs.retain(|job| !job.done.is_closed());
            if attempt > 0 {
                pause(attempt).await;
            }
            while let Some(round) = first_of_each_key(&mut jobs) {
                match self.attempt(round).await {
                    Ok(()) => {}
                    Err((round, LogError::Refused { topic, reason })) => {
                        self.each_alone(round, &LogError::Refused { topic, reason }).await;
                    }
                    Err((round, failed)) => {
                        error = failed;
                        jobs.extend(round);
                        break;
                    }
                }
            }
            if jobs.is_empty() {
                return;
            }
            if !matches!(error, LogError::Fenced(_) | LogError::Retry(_)) {
                break;
            }
        }
        tell(jobs, &PublishError::Unavailable(error.to_string()));
    }

    async fn each_alone(&mut self, mut round: Vec<Keyed>, refused: &LogError) {
        if round.len() <= 1 {
            return tell(round, &PublishError::Refused(refused.to_string()));
        }
        for job in round.drain(..) {
            match self.attempt(vec![job]).await {
                Ok(()) => {}
                Err((job, error @ LogError::Refused { .. })) => {
                    tell(job, &PublishError::Refused(error.to_string()));
                }
                Err((job, error)) => tell(job, &PublishError::Unavailable(error.to_string())),
            }
        }
    }

    /// One transaction for requests of different keys; hands back those that have no answer yet.
    async fn attempt(&mut self, round: Vec<Keyed>) -> std::result::Result<(), (Vec<Keyed>, LogError)> {
        if let Err(error) = self.own().await {
            self.writer = None;
            return Err((round, error));
        }
        let fresh: Vec<Keyed> = round.into_iter().filter_map(|job| self.unless_known(job)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if let Err(error) = self.write(&fresh, now_ms).await {
            if let Some(mut writer) = self.writer.take() {
                let _ = writer.abort().await;
            }
            return Err((fresh, error));
        }
        for job in fresh {
            self.ledger.enter(&job.key, job.entry, now_ms);
            // Who no longer waits comes again, and is answered from the ledger.
            let _ = job.done.send(Ok(Done { accepted: job.entry.accepted, is_first: true }));
        }
        Ok(())
    }

    fn unless_known(&self, job: Keyed) -> Option<Keyed> {
        let known = match self.ledger.get(&job.key) {
            None => return Some(job),
            Some(entry) if entry.body == job.entry.body => {
                Ok(Done { accepted: entry.accepted, is_first: false })
            }
            Some(_) => Err(PublishError::KeyReused),
        };
        let _ = job.done.send(known);
        None
    }

    async fn write(&mut self, jobs: &[Keyed], now_ms: i64) -> Result<()> {
        let mut records = Vec::with_capacity(jobs.iter().map(|job| job.records.len() + 1).sum());
        for job in jobs {
            if !job.records.is_empty() {
                self.addresses.address((&job.stream, &job.topic), &job.records, &mut records).await?;
            }
            records.push(Outgoing {
                topic: self.tp.topic.clone(),
                partition: self.tp.partition,
                key: Some(job.key.clone()),
                value: Some(job.entry.encode()),
                headers: Vec::new(),
                timestamp_ms: now_ms,
            });
        }
        let Some(writer) = &mut self.writer else { return Err(LogError::Retry("no writer".to_owned())) };
        writer.begin().await?;
        writer.send(records).await?;
        writer.commit().await
    }

    /// Makes this process the one that may write entries, knowing all of them.
    async fn own(&mut self) -> Result<()> {
        if self.began.elapsed() > KEEP {
            // Anew, so that what is in the log is purged at the same pace as what is in memory.
            (self.read_to, self.ledger, self.began) = (None, Ledger::new(), Instant::now());
            self.writer = None;
        }
        if self.writer.is_some() {
            return Ok(());
        }
        self.ensure_topic().await?;
        let id = format!("{}-{}", self.tp.topic, self.tp.partition);
        let transactional_id = self.exactly_once.then_some(id);
        let writer = self.log.writer(WriterOptions { transactional_id }).await?;
        self.catch_up().await?;
        self.writer = Some(writer);
        Ok(())
    }

    async fn ensure_topic(&mut self) -> Result<()> {
        let spec = TopicSpec {
            name: self.tp.topic.clone(),
            partitions: PARTITIONS as i32,
            replication: -1,
            compact: false,
            retention: None,
            retention_bytes: None,
        };
        self.log.create_topic(&spec).await?;
        let found = self.log.topic(&self.tp.topic).await?.map(|info| info.partitions);
        if found == Some(spec.partitions) {
            return Ok(());
        }
        let (topic, partitions) = (&self.tp.topic, spec.partitions);
        Err(match found {
            None => LogError::UnknownTopic(topic.clone()),
            Some(found) => LogError::Fatal(format!(
                "topic {topic} has {found} partitions and needs {partitions}: delete it, and publish with keys again"
            )),
        })
    }

    /// Reads entries up to the end, which nobody else moves any more; the first time it purges what is too old.
    async fn catch_up(&mut self) -> Result<()> {
        let ends = self.log.ends(std::slice::from_ref(&self.tp)).await?;
        let end = ends.first().map_or(0, |ends| ends.high_watermark);
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let (mut at, mut old_to) = (self.read_to.unwrap_or(-1), None);
        let mut reader = self.log.reader(ReaderOptions::default()).await?;
        reader.assign(self.tp.clone(), self.read_to.map_or(From::Earliest, From::Offset));
        while at < end {
            for fetched in reader.next().await? {
                for record in fetched.batches.iter().flat_map(|batch| batch.records_from(fetched.from)) {
                    if is_old(record.timestamp_ms, now_ms) {
                        old_to = Some(record.offset + 1);
                    } else if let (Some(key), Some(entry)) =
                        (record.key, record.value.and_then(Entry::decode))
                    {
                        self.ledger.enter(key, entry, record.timestamp_ms);
                    }
                }
                at = fetched.next;
            }
        }
        self.ledger.forget(now_ms);
        let is_start = self.read_to.replace(at.max(0)).is_none();
        if let Some(offset) = old_to.filter(|_| is_start)
            && let Err(error) = self.log.delete_records(&self.tp, offset).await
        {
            tracing::warn!(partition = %self.tp, %error, "old idempotency keys could not be purged");
        }
        Ok(())
    }
}

impl Keyed {
    fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.value.len()).sum()
    }
}

/// Takes the first request of each key; one that came twice is decided after the first is.
fn first_of_each_key(jobs: &mut Vec<Keyed>) -> Option<Vec<Keyed>> {
    let mut seen = HashSet::new();
    let (first, later) = std::mem::take(jobs).into_iter().partition(|job| seen.insert(job.key.clone()));
    *jobs = later;
    Some(first).filter(|first: &Vec<Keyed>| !first.is_empty())
}

/// Which partition a key belongs to, in every version.
pub(super) fn partition_of(key: &[u8]) -> usize {
    (xxhash_rust::xxh3::xxh3_64(key) % PARTITIONS) as usize
}

async fn pause(attempt: u32) {
    let most = PAUSE * (1 << attempt.min(TRIES_MAX));
    let chance = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs() % 1_000;
    tokio::time::sleep(most / 2 + most * chance / 2_000).await;
}

fn tell(jobs: Vec<Keyed>, error: &PublishError) {
    for job in jobs {
        let _ = job.done.send(Err(error.clone()));
    }
}
