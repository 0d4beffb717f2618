//! Writing: everything that waits goes into the log in one commit.
//!
//! **In** jobs, each the records of one request. **Out** committed records, and each job's outcome.
//! **Invariant:** a job is written whole or not at all as far as the log can promise that (Kafka without transactions cannot);
//! a job that nobody waits for any more is not written.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{PublishError, address::Addresses, lines::Record};
use crate::{
    config::StreamConfig,
    log::{Log, LogError, Topic, Writer, WriterOptions},
};

/// Most bytes gathered into one commit: two of the largest bodies.
const COMMIT_MAX_BYTES: usize = 32 << 20;

/// The records of one request.
pub(super) struct Job {
    pub(super) stream: StreamConfig,
    /// The topic of the stream that they go to.
    pub(super) topic: Topic,
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
    let mut pen = Pen { addresses: Addresses::new(log.clone(), may_create), log, writer: None };
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
    addresses: Addresses,
    writer: Option<Box<dyn Writer>>,
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
            self.addresses.address((&job.stream, &job.topic), &job.records, &mut records).await?;
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
