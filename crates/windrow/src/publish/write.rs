//! Writing: everything that waits goes into the log in one commit.
//!
//! **In** jobs, each the records of one request. **Out** committed records, and each job's outcome.
//! **Invariant:** a job is written whole or not at all as far as the log can promise that (Kafka without transactions cannot);
//! a job that nobody waits for any more is not written.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use windrow_core::batch::murmur2;

use super::{PublishError, lines::Record};
use crate::{
    config::StreamConfig,
    log::{Log, LogError, Outgoing, Topic, TopicSpec, Writer, WriterOptions},
};

/// Most bytes gathered into one commit: two of the largest bodies.
const COMMIT_MAX_BYTES: usize = 32 << 20;

/// How long a partition count is believed.
const PARTITIONS_FRESH: Duration = Duration::from_secs(10);

/// The records of one request.
pub(super) struct Job {
    pub(super) stream: StreamConfig,
    pub(super) records: Vec<Record>,
    pub(super) done: oneshot::Sender<Result<(), PublishError>>,
}

impl Job {
    fn bytes(&self) -> usize {
        self.records.iter().map(|r| r.value.len()).sum()
    }
}

/// Writes jobs until the last publisher is gone.
pub(super) async fn run(log: Arc<dyn Log>, may_create: bool, mut jobs: mpsc::Receiver<Job>) {
    let mut pen = Pen { log, may_create, writer: None, partitions: HashMap::new(), next_partition: 0 };
    while let Some(first) = jobs.recv().await {
        let mut together = vec![first];
        let mut bytes = together[0].bytes();
        while bytes < COMMIT_MAX_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes();
            together.push(job);
        }
        together.retain(|job| !job.done.is_closed());
        pen.settle(together).await;
    }
}

struct Pen {
    log: Arc<dyn Log>,
    may_create: bool,
    writer: Option<Box<dyn Writer>>,
    partitions: HashMap<Topic, (i32, Instant)>,
    next_partition: u32,
}

impl Pen {
    /// Writes all jobs in one commit; when the log refuses a record, each alone, so that one pays for itself.
    async fn settle(&mut self, jobs: Vec<Job>) {
        let several = jobs.len() > 1;
        match self.write(&jobs).await {
            Err(LogError::Refused { .. }) if several => {
                for job in jobs {
                    let one = [job];
                    let outcome = self.write(&one).await;
                    tell(one, &outcome);
                }
            }
            outcome => tell(jobs, &outcome),
        }
    }

    async fn write(&mut self, jobs: &[Job]) -> Result<(), LogError> {
        let mut records = Vec::with_capacity(jobs.iter().map(|j| j.records.len()).sum());
        for job in jobs {
            let partitions = self.partitions(&job.stream).await?;
            self.address(job, partitions, &mut records);
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.log.writer(WriterOptions { transactional_id: None }).await?,
        };
        let written = async {
            writer.begin().await?;
            writer.send(records).await?;
            writer.commit().await
        };
        let result = written.await;
        match &result {
            Ok(()) => self.writer = Some(writer),
            // A writer that failed is closed; the next commit opens another.
            Err(_) => _ = writer.abort().await,
        }
        result
    }

    /// Chooses each record's partition: by its key, or one after the other per request, so that batches stay large.
    fn address(&mut self, job: &Job, partitions: i32, out: &mut Vec<Outgoing>) {
        let timestamp_ms = jiff::Timestamp::now().as_millisecond();
        let count = partitions.max(1).cast_unsigned();
        self.next_partition = self.next_partition.wrapping_add(1);
        let unkeyed = self.next_partition % count;
        for record in &job.records {
            let partition = record.key.as_ref().map_or(unkeyed, |key| (murmur2(key) & 0x7fff_ffff) % count);
            out.push(Outgoing {
                topic: job.stream.spec.topic.clone(),
                partition: partition.cast_signed(),
                key: record.key.clone(),
                value: Some(record.value.clone()),
                headers: Vec::new(),
                timestamp_ms,
            });
        }
    }

    async fn partitions(&mut self, stream: &StreamConfig) -> Result<i32, LogError> {
        let topic = &stream.spec.topic;
        if let Some((count, at)) = self.partitions.get(topic)
            && at.elapsed() < PARTITIONS_FRESH
        {
            return Ok(*count);
        }
        let count = match self.log.topic(topic).await? {
            Some(info) => info.partitions,
            None if self.may_create => {
                let spec = TopicSpec {
                    name: topic.clone(),
                    partitions: stream.partitions,
                    replication: stream.replication,
                    compact: false,
                    retention: stream.retention,
                    retention_bytes: None,
                };
                self.log.create_topic(&spec).await?;
                stream.partitions
            }
            None => return Err(LogError::UnknownTopic(topic.clone())),
        };
        self.partitions.insert(topic.clone(), (count, Instant::now()));
        Ok(count)
    }
}

fn tell(jobs: impl IntoIterator<Item = Job>, outcome: &Result<(), LogError>) {
    for job in jobs {
        let told = match outcome {
            Ok(()) => Ok(()),
            Err(error @ LogError::Refused { .. }) => Err(PublishError::Refused(error.to_string())),
            Err(error) => Err(PublishError::Unavailable(error.to_string())),
        };
        // Who no longer waits has been told by the timeout.
        let _ = job.done.send(told);
    }
}
