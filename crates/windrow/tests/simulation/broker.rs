//! A Kafka in memory, as a state machine: topics, transactions, one group. No clock, no task, no waiting: time is set, calls answer.
//!
//! **In** requests, the time, a seed. **Out** answers as Apache Kafka would give them. **Invariant:** the same requests at the same
//! times give the same answers.
//! **Not here:** networks that lose and delay (`log`), who asks (`process`).

use std::collections::{BTreeMap, BTreeSet};

use windrow::log::{LogError, Result, Topic, TopicSpec, Tp};

use self::{group::Group, partition::Partition, transactions::Transactions};
use crate::rng::Rng;

pub(crate) mod group;
pub(crate) mod partition;
pub(crate) mod transactions;

/// How hostile the world is just now.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    /// Transactions of a thousand whose markers take their time.
    pub(crate) slow_markers: u32,
    pub(crate) marker_max_ms: i64,
    /// Calls of a thousand that fail before, or after, they had their effect.
    pub(crate) failures: u32,
    pub(crate) lost_answers: u32,
    /// Calls of a thousand that take up to this long.
    pub(crate) slow_calls: u32,
    pub(crate) call_max_ms: i64,
    pub(crate) transaction_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct TopicState {
    pub(crate) epoch: u128,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) now_ms: i64,
    pub(crate) knobs: Knobs,
    pub(crate) topics: BTreeMap<Topic, TopicState>,
    pub(crate) transactions: Transactions,
    pub(crate) group: Group,
    pub(crate) offsets: BTreeMap<Tp, i64>,
    /// What committed positions passed over, by partition.
    pub(crate) holes: BTreeMap<Tp, Vec<(i64, i64)>>,
    /// How often what happened; a test asks that all of it did.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// A rule of the log itself that was broken through it.
    pub(crate) breach: Option<String>,
    /// How long a member's client waits for its worker.
    pub(crate) answer_ms: i64,
    /// A view was added: the group's offset goes back to where its history begins.
    pub(crate) may_go_back: bool,
    rng: Rng,
}

impl Broker {
    pub(crate) fn new(knobs: Knobs, (session_ms, answer_ms): (i64, i64), mut rng: Rng) -> Self {
        Self {
            now_ms: 0,
            knobs,
            topics: BTreeMap::new(),
            transactions: Transactions::default(),
            group: Group::new(session_ms, answer_ms * 10 / 9, rng.fork()),
            offsets: BTreeMap::new(),
            holes: BTreeMap::new(),
            counts: BTreeMap::new(),
            breach: None,
            answer_ms,
            may_go_back: false,
            rng,
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Lets time pass: markers arrive, sessions and transactions end.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        let moved = self.now_ms != now_ms;
        self.now_ms = now_ms;
        self.tick_transactions();
        if moved {
            self.group.tick(now_ms);
        }
    }

    pub(crate) fn create(&mut self, spec: &TopicSpec) -> bool {
        if self.topics.contains_key(&spec.name) {
            return false;
        }
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        let epoch = self.topics.len() as u128 + 1;
        self.topics.insert(spec.name.clone(), TopicState { epoch, partitions });
        true
    }

    pub(crate) fn partitions_of(&self, topics: &[Topic]) -> BTreeSet<Tp> {
        let count = |topic: &Topic| self.topics.get(topic).map_or(0, |state| state.partitions.len() as i32);
        topics.iter().flat_map(|topic| (0..count(topic)).map(|p| Tp::new(topic.clone(), p))).collect()
    }

    /// Adds partitions until the topic has so many.
    pub(crate) fn grow(&mut self, topic: &str, partitions: i32) -> Result<bool> {
        let state = self.topics.get_mut(topic).ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
        let grows = state.partitions.len() < partitions as usize;
        if grows {
            state.partitions.resize_with(partitions as usize, Partition::default);
        }
        Ok(grows)
    }

    pub(crate) fn partition(&self, tp: &Tp) -> Result<&Partition> {
        let topic = self.topics.get(&tp.topic);
        let partition = topic.and_then(|topic| topic.partitions.get(tp.partition as usize));
        partition.ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))
    }

    pub(crate) fn partition_mut(&mut self, tp: &Tp) -> Result<&mut Partition> {
        let topic = self.topics.get_mut(&tp.topic);
        let partition = topic.and_then(|topic| topic.partitions.get_mut(tp.partition as usize));
        partition.ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))
    }

    /// A committed position holds; it never goes back, or something was folded twice.
    fn settle(&mut self, position: transactions::Position) {
        let transactions::Position { tp, offset, holes } = position;
        let before = self.offsets.insert(tp.clone(), offset).unwrap_or(0);
        if offset < before && !self.may_go_back {
            self.breach
                .get_or_insert(format!("{tp}: the group's offset went back from {before} to {offset}"));
        }
        let passed = holes.into_iter().filter(|(_, to)| *to <= offset);
        self.holes.entry(tp).or_default().extend(passed);
    }
}
