//! Commits: one thread takes the transactions of all writers and makes them durable, several with one fsync.
//!
//! **In** built batches and source offsets. **Out** offsets assigned, everything visible at once.
//! **Invariant:** under the append lock, in this order: fences checked, offsets assigned, disk written, marks moved, readers
//! woken. So whoever takes the lock sees all or nothing of a transaction, and a fenced one never lands.
//! **Not here:** building batches (`writer`), who owns what (`groups`).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use windrow_core::batch::assign_offset;

use super::{
    State,
    groups::Ticket,
    store::{Marks, Place, Write},
    topics::Partition,
};
use crate::{
    config,
    log::{LogError, Result, Tp},
};

/// Most bytes that share one write; past it the next fsync takes the rest. 64 MiB is what a disk writes in under a second.
const WRITE_MAX_BYTES: usize = 64 << 20;
/// `sync = "interval"`: what a crash of the machine may cost.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How soon it is noticed that a disk takes writes again; `recv_timeout` waits no longer.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A built batch that waits for its offset.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    /// Offsets it takes.
    pub(super) span: i64,
}

/// Holds a transactional id at one epoch; a later writer of the same id raises `current`.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    pub(super) id: Arc<str>,
    pub(super) current: Arc<AtomicU64>,
    pub(super) epoch: u64,
}

impl Fence {
    pub(super) fn check(&self) -> Result<()> {
        if self.current.load(SeqCst) == self.epoch {
            return Ok(());
        }
        Err(LogError::Fenced(format!("another writer has taken over the transactional id {}", self.id)))
    }
}

/// Source positions of one transaction, with the proof that they may be set.
#[derive(Debug)]
pub(super) struct Positions {
    pub(super) group: Arc<str>,
    pub(super) ticket: Ticket,
    pub(super) offsets: Vec<(Tp, Place, i64)>,
}

/// All that one commit writes.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) batches: Vec<(Arc<Partition>, Vec<Sealed>)>,
    pub(super) positions: Vec<Positions>,
    pub(super) fence: Option<Fence>,
}

impl Transaction {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.positions.is_empty()
    }

    fn len_bytes(&self) -> usize {
        self.batches.iter().flat_map(|(_, sealed)| sealed).map(|s| s.bytes.len()).sum()
    }

    fn check(&self, state: &State) -> Result<()> {
        if let Some(fence) = &self.fence {
            fence.check()?;
        }
        if let Some((partition, _)) = self.batches.iter().find(|(partition, _)| partition.is_gone()) {
            return Err(LogError::UnknownTopic(partition.tp.topic.clone()));
        }
        self.positions
            .iter()
            .try_for_each(|p| state.groups.check(&p.group, &p.ticket, p.offsets.iter().map(|(tp, _, _)| tp)))
    }
}

/// What the commit thread is asked. The queue is as long as there are writers: each waits for its answer.
pub(super) enum Request {
    /// Make this durable, then answer with the first offset per batch list.
    Commit(Transaction, oneshot::Sender<Result<Vec<i64>>>),
    /// End the thread.
    Stop,
}

/// The commit thread.
pub(super) fn run(state: &State, requests: &Receiver<Request>, sync: config::Sync) {
    let (mut synced, mut probed) = (Instant::now(), Instant::now());
    let mut unsynced = false;
    loop {
        let first = match requests.recv_timeout(SYNC_INTERVAL) {
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Request::Commit(transaction, answer)) => Some((transaction, answer)),
            Err(RecvTimeoutError::Timeout) => None,
        };
        let mut stop = false;
        if let Some((transaction, answer)) = first {
            let mut bytes = transaction.len_bytes();
            let mut together = vec![(transaction, answer)];
            while bytes < WRITE_MAX_BYTES && !stop {
                match requests.try_recv() {
                    Ok(Request::Commit(transaction, answer)) => {
                        bytes += transaction.len_bytes();
                        together.push((transaction, answer));
                    }
                    Ok(Request::Stop) => stop = true,
                    Err(_) => break,
                }
            }
            unsynced |= commit(state, together);
        }
        if probed.elapsed() >= PROBE_INTERVAL {
            state.store.database.probe();
            probed = Instant::now();
        }
        if sync == config::Sync::Interval && unsynced && synced.elapsed() >= SYNC_INTERVAL {
            // A failed sync poisons the database: the next commit says so to its writer.
            if let Err(e) = state.store.database.persist() {
                tracing::error!(error = %e, "the log could not be forced to disk");
            }
            synced = Instant::now();
            unsynced = false;
        }
        if stop {
            return;
        }
    }
}

type Answer = oneshot::Sender<Result<Vec<i64>>>;

/// Commits transactions with one write; tells whether anything was written.
fn commit(state: &State, together: Vec<(Transaction, Answer)>) -> bool {
    let _append = state.append.lock();
    let room =
        state.store.database.room(together.iter().map(|(transaction, _)| transaction.len_bytes()).sum());
    let mut write = state.store.write();
    let mut moved: HashMap<Place, (Arc<Partition>, Marks)> = HashMap::new();
    let mut answers = Vec::with_capacity(together.len());
    for (transaction, answer) in together {
        match transaction.check(state) {
            Ok(()) => answers.push((answer, add(transaction, &mut write, &mut moved))),
            // Whoever waited may be gone; then nobody needs the answer.
            Err(e) => drop(answer.send(Err(e))),
        }
    }
    for (place, (_, marks)) in &moved {
        write.marks(*place, *marks);
    }
    let written = room.and_then(|()| write.commit());
    if written.is_ok() {
        for (partition, marks) in moved.into_values() {
            partition.set_marks(marks);
        }
        state.commits.send_modify(|n| *n += 1);
    }
    for (answer, bases) in answers {
        drop(answer.send(written.as_ref().map(|()| bases).map_err(again)));
    }
    written.is_ok()
}

/// The same error for one more writer.
fn again(error: &LogError) -> LogError {
    match error {
        LogError::Retry(text) => LogError::Retry(text.clone()),
        other => LogError::Fatal(other.to_string()),
    }
}

/// Assigns offsets and adds the transaction to the write; returns the first offset of each list of batches.
fn add(
    transaction: Transaction,
    write: &mut Write<'_>,
    moved: &mut HashMap<Place, (Arc<Partition>, Marks)>,
) -> Vec<i64> {
    let mut bases = Vec::with_capacity(transaction.batches.len());
    for (partition, sealed) in transaction.batches {
        let place = partition.place;
        let (_, marks) = moved.entry(place).or_insert_with(|| {
            let marks = partition.marks();
            (partition, marks)
        });
        bases.push(marks.next);
        for Sealed { mut bytes, span } in sealed {
            assign_offset(&mut bytes, marks.next);
            marks.bytes += bytes.len() as u64;
            write.put(place, marks.next, bytes);
            marks.next += span;
        }
    }
    for positions in transaction.positions {
        for (_, place, offset) in positions.offsets {
            write.offset(&positions.group, place, offset);
        }
    }
    bases
}
