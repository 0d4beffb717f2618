//! The embedded log: topics, groups and transactions in one directory, in one process.
//!
//! **In** records from writers. **Out** the same batches as Kafka would hand over, and the same promises.
//!
//! | room | holds |
//! |---|---|
//! | `store` | what is kept under which key |
//! | `database` | the files, opened anew after a failed write |
//! | `journal` | whether what is on disk is whole |
//! | `topics` | names, settings, marks |
//! | `writer` → `commit` | a transaction, gathered, then durable |
//! | `reader` | batches out, waiting |
//! | `groups`, `member` | who owns what |
//! | `retain`, `compact` | what may go |
//!
//! **Invariant:** what `commit` confirmed is there after `kill -9` (with `sync = "commit"` also after a power cut), whole;
//! what it did not confirm is there whole or not at all. **Not here:** more than one process: the directory is locked.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use windrow_core::batch::Batch;

use self::{
    commit::{Fence, Request, Sealed, Transaction},
    groups::Groups,
    member::EmbeddedGroup,
    reader::EmbeddedReader,
    store::Store,
    topics::Topics,
    writer::EmbeddedWriter,
};
use super::{
    Ends, Group, GroupOptions, Log, LogError, Reader, ReaderOptions, Result, Roster, Topic, TopicInfo,
    TopicSpec, Tp, Writer, WriterOptions,
};
use crate::config;

mod commit;
mod compact;
mod database;
mod groups;
mod journal;
mod member;
mod reader;
mod retain;
mod store;
#[cfg(test)]
mod tests;
mod topics;
mod writer;

/// Time between passes of retention and compaction.
const RETAIN_INTERVAL: Duration = Duration::from_secs(60);

/// Kept free on the disk: room for the tables that the database makes out of what it has taken, and for retention.
const ROOM_MIN_BYTES: u64 = 64 << 20;

/// What all parts of one open log share.
struct State {
    store: Store,
    topics: Topics,
    groups: Groups,
    /// Held while offsets are assigned or records removed; never across an await.
    append: Mutex<()>,
    /// Wakes readers; the number has no meaning.
    commits: watch::Sender<u64>,
    /// Current epoch of each transactional id: as many as there are workers.
    epochs: Mutex<HashMap<String, Arc<AtomicU64>>>,
    closing: AtomicBool,
}

/// The embedded log. When the last handle is gone, its threads have ended; the directory is free once readers, writers
/// and members are gone too.
pub struct EmbeddedLog {
    state: Arc<State>,
    requests: Sender<Request>,
    retain: Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl EmbeddedLog {
    /// Opens the log in `directory`, making it at the first time.
    ///
    /// - **Errors:** [`LogError::Fatal`] naming the directory when another process has it, it cannot be written, or what is
    ///   in it is damaged or of another version.
    pub fn open(directory: &Path, sync: config::Sync) -> Result<Arc<Self>> {
        Self::open_with(directory, sync, ROOM_MIN_BYTES)
    }

    fn open_with(directory: &Path, sync: config::Sync, room_min_bytes: u64) -> Result<Arc<Self>> {
        let store = Store::open(directory, sync, room_min_bytes)?;
        let topics = Topics::load(&store)?;
        let groups = Groups::new(groups::ANSWER_MAX);
        for topic in topics.all() {
            groups.topic(topic.name.clone(), topic.meta.partitions, Instant::now());
        }
        let state = Arc::new(State {
            store,
            topics,
            groups,
            append: Mutex::default(),
            commits: watch::Sender::default(),
            epochs: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let (requests, queue) = mpsc::channel();
        let (retain, wake) = mpsc::channel();
        let committing = state.clone();
        let retaining = state.clone();
        let threads = vec![
            spawn("windrow-commit", move || commit::run(&committing, &queue, sync))?,
            spawn("windrow-retain", move || retain_each_minute(&retaining, &wake))?,
        ];
        Ok(Arc::new(Self { state, requests, retain, threads }))
    }

    /// Why it takes no records now, or `None` while it does.
    pub fn health(&self) -> watch::Receiver<Option<String>> {
        self.state.store.database.health()
    }

    /// Appends a batch as it is, compressed or not; returns its first offset. For imports: no transaction, no fencing.
    ///
    /// - **Errors:** [`LogError::Refused`] when the bytes are not one whole data batch.
    pub async fn append(&self, tp: &Tp, batch: Bytes) -> Result<i64> {
        let partition = self.state.topics.partition(tp)?;
        let refused = |reason: &str| LogError::Refused { topic: tp.topic.clone(), reason: reason.to_owned() };
        let (parsed, size) = Batch::parse(&batch).map_err(|e| refused(&e.to_string()))?;
        if size != batch.len() || parsed.is_control() || parsed.is_empty() {
            return Err(refused("not one batch of records"));
        }
        let span = parsed.last_offset() - parsed.base_offset() + 1;
        drop(parsed);
        let sealed = Sealed { bytes: batch.into(), span };
        let transaction = Transaction { batches: vec![(partition, vec![sealed])], ..Transaction::default() };
        let bases = writer::submit(&self.requests, transaction).await?;
        bases.first().copied().ok_or_else(|| refused("no offset assigned"))
    }

    /// Removes what retention and compaction let go, as of `now_ms`. Runs by itself each minute.
    pub async fn retain(&self, now_ms: i64) -> Result<()> {
        self.blocking(move |state| retain::pass(state, now_ms)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = self.state.clone();
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        done.map_err(|e| LogError::Retry(format!("the log was interrupted: {e}")))?
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|e| LogError::Fatal(format!("cannot start thread {name}: {e}")))
}

fn retain_each_minute(state: &State, wake: &mpsc::Receiver<()>) {
    while wake.recv_timeout(RETAIN_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Err(e) = retain::pass(state, now.as_millis() as i64) {
            tracing::error!(error = %e, "old records could not be removed");
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        let spec = spec.clone();
        self.blocking(move |state| {
            let made = state.topics.create(&spec, &state.store)?;
            if made {
                state.groups.topic(spec.name, spec.partitions, Instant::now());
            }
            Ok(made)
        })
        .await
    }

    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        Ok(self.state.topics.get(name).map(|topic| topic.info()))
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        Ok(self.state.topics.all().iter().map(|topic| topic.info()).collect())
    }

    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        tps.iter().map(|tp| self.state.topics.partition(tp).map(|partition| partition.ends())).collect()
    }

    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        let (group, tps) = (group.to_owned(), tps.to_vec());
        self.blocking(move |state| {
            // A commit on its way is waited for.
            let _append = state.append.lock();
            tps.iter().map(|tp| state.store.offset(&group, state.topics.partition(tp)?.place)).collect()
        })
        .await
    }

    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        let partition = self.state.topics.partition(tp)?;
        self.blocking(move |state| retain::delete_below(state, &partition, offset)).await
    }

    async fn delete_topic(&self, name: &str) -> Result<bool> {
        let topic: Topic = name.into();
        self.blocking(move |state| {
            let Some(found) = state.topics.get(&topic) else { return Ok(false) };
            retain::delete_topic(state, &found)?;
            state.groups.topic(topic, 0, Instant::now());
            // Readers that wait look again and find it gone.
            state.commits.send_modify(|n| *n += 1);
            Ok(true)
        })
        .await
    }

    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        let name = name.to_owned();
        self.blocking(move |state| {
            let grown = state.topics.grow(&name, partitions, &state.store)?;
            if let Some(topic) = &grown {
                state.groups.topic(topic.clone(), partitions, Instant::now());
            }
            Ok(grown.is_some())
        })
        .await
    }

    async fn record_max_bytes(&self, _name: &str) -> Result<usize> {
        Ok(writer::RECORD_MAX_BYTES)
    }

    async fn forgets(&self, name: &str) -> Result<Option<String>> {
        let topic = self.state.topics.get(name).ok_or_else(|| LogError::UnknownTopic(name.into()))?;
        let found = [
            topic.meta.compact.then(|| "cleanup.policy=compact".to_owned()),
            topic.meta.retention_ms.map(|most| format!("retention.ms={most}")),
            topic.meta.retention_bytes.map(|most| format!("retention.bytes={most}")),
        ];
        let found: Vec<String> = found.into_iter().flatten().collect();
        Ok((!found.is_empty()).then(|| found.join(", ")))
    }

    async fn roster(&self, group: &str) -> Result<Roster> {
        Ok(self.state.groups.roster(group))
    }

    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        Ok(Box::new(EmbeddedGroup::join(self.state.clone(), options)))
    }

    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(EmbeddedReader::new(self.state.clone(), options)))
    }

    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        let fence = match options.transactional_id {
            None => None,
            Some(id) => Some(
                self.blocking(move |state| {
                    let current = state.epochs.lock().entry(id.clone()).or_default().clone();
                    let epoch = current.fetch_add(1, SeqCst) + 1;
                    // The former writer's commit has landed or will be refused.
                    drop(state.append.lock());
                    Ok(Fence { id: id.into(), current, epoch })
                })
                .await?,
            ),
        };
        Ok(Box::new(EmbeddedWriter::new(self.state.clone(), self.requests.clone(), fence)))
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.state.closing.store(true, SeqCst);
        self.state.store.database.close();
        let _ = self.requests.send(Request::Stop);
        let _ = self.retain.send(());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
