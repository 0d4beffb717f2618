//! Topics in memory: names, settings, and where each partition begins and ends.
//!
//! **Invariant:** a partition's marks change only under the append lock (`commit`), and after the disk has them; readers
//! see either the old or the new ones. **Not here:** the batches.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
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
}

impl Partition {
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
        let name: Topic = name.into();
        let partition = |n| {
            let place = store::place(meta.number, n);
            let marks = Mutex::new(store.marks(place)?);
            Ok(Arc::new(Partition {
                tp: Tp::new(name.clone(), n),
                place,
                marks,
                compacted: Mutex::default(),
            }))
        };
        let partitions = (0..meta.partitions).map(partition).collect::<Result<_>>()?;
        Ok(Arc::new(Self { name, meta, partitions }))
    }

    pub(super) fn info(&self) -> TopicInfo {
        TopicInfo { name: self.name.clone(), epoch: self.meta.epoch, partitions: self.meta.partitions }
    }
}

/// All topics.
#[derive(Debug, Default)]
pub(super) struct Topics(RwLock<BTreeMap<Topic, Arc<TopicState>>>);

impl Topics {
    pub(super) fn load(store: &Store) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, meta) in store.topics()? {
            let topic = TopicState::load(&name, meta, store)?;
            all.insert(topic.name.clone(), topic);
        }
        Ok(Self(RwLock::new(all)))
    }

    /// Creates a topic; `false` when it exists.
    pub(super) fn create(&self, spec: &TopicSpec, store: &Store) -> Result<bool> {
        if !(1..=PARTITIONS_MAX).contains(&spec.partitions) {
            let reason = format!("{} partitions; there may be 1 to {PARTITIONS_MAX}", spec.partitions);
            return Err(LogError::Refused { topic: spec.name.clone(), reason });
        }
        if spec.name.is_empty() || spec.name.len() > NAME_MAX_BYTES {
            let reason = format!("a topic's name has 1 to {NAME_MAX_BYTES} bytes");
            return Err(LogError::Refused { topic: spec.name.clone(), reason });
        }
        let mut all = self.0.write();
        if all.contains_key(&spec.name) {
            return Ok(false);
        }
        let meta = TopicMeta {
            number: all.values().map(|t| t.meta.number + 1).max().unwrap_or(1),
            epoch: random_epoch(),
            partitions: spec.partitions,
            compact: spec.compact,
            retention_ms: spec.retention.map(|r| r.as_millis().try_into().unwrap_or(u64::MAX)),
            retention_bytes: spec.retention_bytes,
        };
        let mut write = store.write();
        write.topic(&spec.name, &meta)?;
        write.commit()?;
        all.insert(spec.name.clone(), TopicState::load(&spec.name, meta, store)?);
        Ok(true)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<TopicState>> {
        self.0.read().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<TopicState>> {
        self.0.read().values().cloned().collect()
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

/// Draws an id from the operating system's randomness, by the way of the standard hasher's seeds.
fn random_epoch() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(std::process::id()));
    ((half() << 64) | half()).max(1)
}
