//! Taught: a log whose readers hand records over only when the schemas that they name are known.
//!
//! **In** what a reader fetched. **Out** the same, later where a schema is not known yet.
//! **Before** this file: any log. **After** it: workers, hub readers, history, as without it.
//!
//! One pass over the ids of an answer, five bytes a record. Where one is not known, that partition is held back: what follows waits behind
//! it, up to `HELD_MAX_BYTES` and `HELD_ALL_MAX_BYTES`; beyond them it is not read until the first may go. Meanwhile its answers are told empty and short of the
//! end, so that lag shows and silence does not begin.
//!
//! **Invariant:** order within a partition stands; partitions do not wait for each other; a record with an id that the registry does not
//! have is handed over, too: it is bad, and whoever decodes it says so.
//! **Not here:** asking (`super`), learning (`windrow_core`).

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use windrow_core::{
    plan::StreamPlan,
    registry::{Frame, Pupil},
    spec::StreamSpec,
};

use super::{Look, Registry};
use crate::log::{
    Ends, Fetched, From, Group, GroupOptions, Log, Reader, ReaderOptions, Result, Roster, Topic, TopicInfo,
    TopicSpec, Tp, Writer, WriterOptions,
};

/// Records of one partition that wait: twice what one answer brings of it.
const HELD_MAX_BYTES: usize = 4 << 20;
/// Records of all partitions of one reader that wait: as much as a worker's epoch may have of output. Past it what is not held is read again.
const HELD_ALL_MAX_BYTES: usize = 64 << 20;
/// What an answer costs beside its records; there may be many without any.
const ANSWER_OVERHEAD_BYTES: usize = 256;

/// Whoever reads framed records.
type Specs = Arc<[Arc<StreamSpec>]>;

/// One id that somebody lacks: whose, of the keys or of the values.
type Missing = BTreeSet<(u32, usize, bool)>;

/// See the module.
pub struct Taught {
    log: Arc<dyn Log>,
    registry: Arc<Registry>,
    specs: Specs,
}

impl Taught {
    /// Wraps a log; it stays as it is where no stream needs a registry.
    pub fn wrap(log: Arc<dyn Log>, registry: &Arc<Registry>, plans: &[Arc<StreamPlan>]) -> Arc<dyn Log> {
        let is_pupil = |spec: &&Arc<StreamSpec>| spec.format.pupil().or(spec.key_format.pupil()).is_some();
        let specs: Specs = plans.iter().map(|plan| &plan.spec).filter(is_pupil).cloned().collect();
        if specs.is_empty() {
            return log;
        }
        Arc::new(Self { log, registry: registry.clone(), specs })
    }
}

/// A partition that waits.
struct Held {
    queue: VecDeque<Fetched>,
    bytes: usize,
    /// Ids of the first in the queue of which nothing is known yet.
    missing: Missing,
    /// Where reading goes on, when it is not read because enough waits already.
    parked_at: Option<i64>,
}

struct Patient {
    inner: Box<dyn Reader>,
    registry: Arc<Registry>,
    specs: Specs,
    /// Those of each topic that is read here.
    by_topic: HashMap<Topic, Specs>,
    news: watch::Receiver<u64>,
    held: HashMap<Tp, Held>,
    ready: Vec<Fetched>,
}

impl Patient {
    /// Takes one answer: ready, or held back.
    fn take(&mut self, item: Fetched) {
        let specs = match self.by_topic.get(&item.tp.topic) {
            Some(specs) if !specs.is_empty() => specs,
            _ => return self.ready.push(item),
        };
        let Some(held) = self.held.get_mut(&item.tp) else {
            let missing = missing(&item, specs);
            if missing.is_empty() {
                return self.ready.push(item);
            }
            return self.hold(item, missing);
        };
        let (Some(first), Some(last)) = (held.queue.front(), held.queue.back()) else { return };
        self.ready.push(Fetched {
            tp: item.tp.clone(),
            batches: Vec::new(),
            from: first.from,
            next: first.from,
            high_watermark: item.high_watermark,
            last_stable: item.last_stable,
            gap: None,
        });
        if item.batches.is_empty() && item.gap.is_none() && item.next == last.next {
            return;
        }
        held.bytes += bytes(&item);
        if held.bytes > HELD_MAX_BYTES && held.parked_at.is_none() {
            self.inner.unassign(&item.tp);
        }
        if held.bytes > HELD_MAX_BYTES {
            held.parked_at = Some(item.next);
        }
        held.queue.push_back(item);
    }

    /// Begins to hold a partition back. A gap is told once, so that it is never read again.
    fn hold(&mut self, item: Fetched, missing: Missing) {
        let (tp, bytes) = (item.tp.clone(), bytes(&item));
        let all: usize = self.held.values().map(|held| held.bytes).sum();
        let held = if all + bytes > HELD_ALL_MAX_BYTES && item.gap.is_none() {
            self.inner.unassign(&tp);
            Held { queue: VecDeque::new(), bytes: 0, missing, parked_at: Some(item.from) }
        } else {
            Held { queue: [item].into(), bytes, missing, parked_at: None }
        };
        self.held.insert(tp, held);
    }

    /// Teaches what has been answered, and lets go what waits for nothing more.
    fn release(&mut self) {
        self.news.borrow_and_update();
        let Self { inner, registry, by_topic, held, ready, .. } = self;
        held.retain(|tp, held| {
            let Some(specs) = by_topic.get(&tp.topic) else { return false };
            loop {
                held.missing.retain(|missing| !is_settled(registry, specs, *missing));
                if !held.missing.is_empty() {
                    return true;
                }
                if let Some(first) = held.queue.pop_front() {
                    held.bytes -= bytes(&first);
                    ready.push(first);
                }
                let Some(following) = held.queue.front() else {
                    if let Some(at) = held.parked_at {
                        inner.assign(tp.clone(), From::Offset(at));
                    }
                    return false;
                };
                held.missing = missing(following, specs);
            }
        });
    }
}

/// Ids of which nothing was learned yet, by whoever reads these records.
fn missing(item: &Fetched, specs: &[Arc<StreamSpec>]) -> Missing {
    let mut missing = Missing::new();
    for (index, spec) in specs.iter().enumerate() {
        let mut value = Side { pupil: spec.format.pupil(), last: None };
        let mut key = Side { pupil: spec.key_format.pupil(), last: None };
        for batch in item.batches.iter().filter(|batch| !batch.is_control()) {
            for record in batch.records_from(item.from) {
                missing
                    .extend(record.value.and_then(|framed| value.lacks(framed)).map(|id| (id, index, false)));
                missing.extend(record.key.and_then(|framed| key.lacks(framed)).map(|id| (id, index, true)));
            }
        }
    }
    missing
}

/// The keys or the values of an answer.
struct Side<'s> {
    pupil: Option<&'s dyn Pupil>,
    last: Option<u32>,
}

impl Side<'_> {
    /// Returns the id of a frame when nothing was learned of it. Neighbours have the same schema, as good as always: only a change is
    /// looked up.
    #[inline]
    fn lacks(&mut self, framed: &[u8]) -> Option<u32> {
        let id = self.pupil.and_then(|_| Frame::id(framed))?;
        if self.last == Some(id) {
            return None;
        }
        self.last = Some(id);
        self.pupil?.lacks(id).then_some(id)
    }
}

/// Tells whether all is known of an id that there is to know, and teaches it.
fn is_settled(
    registry: &Arc<Registry>,
    specs: &[Arc<StreamSpec>],
    (id, index, is_key): (u32, usize, bool),
) -> bool {
    let answer = match registry.look(id) {
        Look::Asked => return false,
        Look::Unknown => return true,
        Look::Found(answer) => answer,
    };
    let Some(spec) = specs.get(index) else { return true };
    let (what, format) = if is_key { ("keys", &spec.key_format) } else { ("values", &spec.format) };
    if let Some(pupil) = format.pupil().filter(|pupil| pupil.lacks(id))
        && let Err(why) = pupil.teach(id, &answer)
    {
        tracing::warn!("stream {}: {what} with schema {id} of the registry cannot be read: {why}", spec.name);
    }
    true
}

fn bytes(item: &Fetched) -> usize {
    ANSWER_OVERHEAD_BYTES + item.batches.iter().map(|batch| batch.len_bytes()).sum::<usize>()
}

#[async_trait]
impl Reader for Patient {
    fn assign(&mut self, tp: Tp, from: From) {
        self.held.remove(&tp);
        if !self.by_topic.contains_key(&tp.topic) {
            let reads = |spec: &&Arc<StreamSpec>| spec.topics.contains(&tp.topic);
            let specs = self.specs.iter().filter(reads).cloned().collect();
            self.by_topic.insert(tp.topic.clone(), specs);
        }
        self.inner.assign(tp, from);
    }

    fn unassign(&mut self, tp: &Tp) {
        self.held.remove(tp);
        self.inner.unassign(tp);
    }

    async fn next(&mut self) -> Result<Vec<Fetched>> {
        loop {
            self.release();
            if !self.ready.is_empty() {
                return Ok(std::mem::take(&mut self.ready));
            }
            tokio::select! {
                fetched = self.inner.next() => fetched?.into_iter().for_each(|item| self.take(item)),
                // The sender lives as long as the registry does.
                _ = self.news.changed(), if !self.held.is_empty() => {}
            }
        }
    }
}

#[async_trait]
impl Log for Taught {
    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Patient {
            inner: self.log.reader(options).await?,
            registry: self.registry.clone(),
            specs: self.specs.clone(),
            by_topic: HashMap::new(),
            news: self.registry.news(),
            held: HashMap::new(),
            ready: Vec::new(),
        }))
    }
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        self.log.create_topic(spec).await
    }
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.log.topic(name).await
    }
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log.topics().await
    }
    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        self.log.ends(tps).await
    }
    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        self.log.committed(group, tps).await
    }
    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        self.log.delete_records(tp, offset).await
    }
    async fn delete_topic(&self, name: &str) -> Result<bool> {
        self.log.delete_topic(name).await
    }
    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        self.log.add_partitions(name, partitions).await
    }
    async fn record_max_bytes(&self, name: &str) -> Result<usize> {
        self.log.record_max_bytes(name).await
    }
    async fn tombstones_kept(&self, name: &str) -> Result<Option<Duration>> {
        self.log.tombstones_kept(name).await
    }
    async fn forgets(&self, name: &str) -> Result<Option<String>> {
        self.log.forgets(name).await
    }
    async fn roster(&self, group: &str) -> Result<Roster> {
        self.log.roster(group).await
    }
    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        self.log.group(options).await
    }
    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        self.log.writer(options).await
    }
}

#[cfg(test)]
mod tests;
