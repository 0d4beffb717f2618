//! Topics in memory: names, settings, and where each partition begins and ends.
//!
//! **Invariant:** a partition's marks change only under the append lock (`commit`), and after the disk has them; readers
//! see either the old or the new ones. **Not here:** the batches.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use parking_lot::{Mutex, RwLock};

use super::store::{self, Marks, Place, Store, TopicMeta};
use crate::log::{Ends, LogError, Result, Topic, TopicInfo, TopicSpec, Tp};

/// One partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) tp: Tp,
    pub(super) place: Place,
    marks: Mutex<Marks>,
    /// What the last compaction of this run reached, and the bytes it left.
    compacted: Mutex<(i64, u64)>,
    /// The topic is being deleted, or is deleted: whoever still holds this may not use it.
    gone: AtomicBool,
}

impl Partition {
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(SeqCst)
    }

    pub(super) fn compacted_to(&self) -> i64 {
        self.compacted.lock().0.max(self.marks().low)
    }

    pub(super) fn compacted_bytes(&self) -> u64 {
        self.compacted.lock().1
    }

    pub(super) fn set_compacted(&self, to: i64, bytes: u64) {
        *self.compacted.lock() = (to, bytes);
    }

    pub(super) fn marks(&self) -> Marks {
        *self.marks.lock()
    }

    pub(super) fn set_marks(&self, marks: Marks) {
        *self.marks.lock() = marks;
    }

    pub(super) fn ends(&self) -> Ends {
        let marks = self.marks();
        // Nothing is visible before it is committed: the two upper ends are one.
        Ends { earliest: marks.low, high_watermark: marks.next, last_stable: marks.next }
    }
}

/// One topic.
#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) name: Topic,
    pub(super) meta: TopicMeta,
    pub(super) partitions: Vec<Arc<Partition>>,
}

impl TopicState {
    fn load(name: &str, meta: TopicMeta, store: &Store) -> Result<Arc<Self>> {
        let (name, partitions) = (Topic::from(name), Vec::new());
        Self { name, meta, partitions }.filled(store)
    }

    /// Loads the partitions that `meta` has and this has not.
    fn filled(mut self, store: &Store) -> Result<Arc<Self>> {
        for n in self.partitions.len() as i32..self.meta.partitions {
            let place = store::place(self.meta.number, n);
            let marks = Mutex::new(store.marks(place)?);
            let (tp, compacted) = (Tp::new(self.name.clone(), n), Mutex::default());
            self.partitions.push(Arc::new(Partition {
                tp,
                place,
                marks,
                compacted,
                gone: AtomicBool::new(false),
            }));
        }
        Ok(Arc::new(self))
    }

    pub(super) fn info(&self) -> TopicInfo {
        TopicInfo { name: self.name.clone(), epoch: self.meta.epoch, partitions: self.meta.partitions }
    }
}

/// All topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    all: RwLock<BTreeMap<Topic, Arc<TopicState>>>,
    /// Held while one is made: who only looks does not wait for the disk.
    creating: Mutex<()>,
}

impl Topics {
    pub(super) fn load(store: &Store) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, meta) in store.topics()? {
            let topic = TopicState::load(&name, meta, store)?;
            all.insert(topic.name.clone(), topic);
        }
        Ok(Self { all: RwLock::new(all), creating: Mutex::default() })
    }

    /// Creates a topic; `false` when it exists.
    pub(super) fn create(&self, spec: &TopicSpec, store: &Store) -> Result<bool> {
        check_count(&spec.name, spec.partitions)?;
        if spec.name.is_empty() || spec.name.len() > NAME_MAX_BYTES {
            let reason = format!("a topic's name has 1 to {NAME_MAX_BYTES} bytes");
            return Err(LogError::Refused { topic: spec.name.clone(), reason });
        }
        let _creating = self.creating.lock();
        if self.get(&spec.name).is_some() {
            return Ok(false);
        }
        let meta = TopicMeta {
            number: self.all().iter().map(|t| t.meta.number + 1).max().unwrap_or(1),
            epoch: random_epoch(),
            partitions: spec.partitions,
            compact: spec.compact,
            retention_ms: spec.retention.map(|r| r.as_millis().try_into().unwrap_or(u64::MAX)),
            retention_bytes: spec.retention_bytes,
        };
        store.database.room(0)?;
        let mut write = store.write();
        write.topic(&spec.name, &meta)?;
        write.commit()?;
        let topic = TopicState::load(&spec.name, meta, store)?;
        self.all.write().insert(spec.name.clone(), topic);
        Ok(true)
    }

    /// Adds partitions; `None` when there are as many already.
    pub(super) fn grow(&self, name: &str, partitions: i32, store: &Store) -> Result<Option<Topic>> {
        check_count(name, partitions)?;
        let mut all = self.all.write();
        let Some(topic) = all.get_mut(name) else { return Err(LogError::UnknownTopic(name.into())) };
        if topic.meta.partitions >= partitions {
            return Ok(None);
        }
        let meta = TopicMeta { partitions, ..topic.meta.clone() };
        let mut write = store.write();
        write.topic(name, &meta)?;
        write.commit()?;
        // The partitions that are there stay the very same: readers and writers hold them.
        let grown = TopicState { name: topic.name.clone(), meta, partitions: topic.partitions.clone() };
        *topic = grown.filled(store)?;
        Ok(Some(topic.name.clone()))
    }

    /// Forgets a topic whose records are gone already.
    pub(super) fn forget(&self, topic: &TopicState, store: &Store) -> Result<()> {
        let mut all = self.all.write();
        let mut write = store.write();
        write.remove_topic(&topic.name, &topic.meta)?;
        write.commit()?;
        all.remove(&topic.name);
        Ok(())
    }

    /// Closes a topic to writers for good, or opens it again when its deletion failed. The append lock is held.
    pub(super) fn close(topic: &TopicState, gone: bool) {
        topic.partitions.iter().for_each(|partition| partition.gone.store(gone, SeqCst));
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<TopicState>> {
        self.all.read().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<TopicState>> {
        self.all.read().values().cloned().collect()
    }

    /// Tells whether a partition still belongs to its topic.
    pub(super) fn holds(&self, partition: &Arc<Partition>) -> bool {
        self.partition(&partition.tp).is_ok_and(|found| Arc::ptr_eq(&found, partition))
    }

    /// Finds a partition, or says what is missing.
    pub(super) fn partition(&self, tp: &Tp) -> Result<Arc<Partition>> {
        let topic = self.get(&tp.topic).ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))?;
        let found = usize::try_from(tp.partition).ok().and_then(|n| topic.partitions.get(n).cloned());
        found.ok_or_else(|| LogError::Refused {
            topic: tp.topic.clone(),
            reason: format!("partition {} of {}", tp.partition, topic.meta.partitions),
        })
    }
}

/// One process folds all partitions: more than this is a typing mistake.
const PARTITIONS_MAX: i32 = 10_000;
/// Kafka's bound, so that a topic can move there.
const NAME_MAX_BYTES: usize = 249;

fn check_count(name: &str, partitions: i32) -> Result<()> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    let reason = format!("{partitions} partitions; there may be 1 to {PARTITIONS_MAX}");
    Err(LogError::Refused { topic: name.into(), reason })
}

/// Draws an id from the operating system's randomness, by the way of the standard hasher's seeds.
fn random_epoch() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(std::process::id()));
    ((half() << 64) | half()).max(1)
}
