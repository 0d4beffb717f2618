//! Several partitions of one stream, and the tasks that merge what they scatter: each a [`World`] with its own log and journal.
//!
//! **Invariant:** partials reach the merging tasks in the order of the commits, as a transaction brings them.

use std::{collections::BTreeSet, sync::Arc};

use windrow_core::{
    engine::{StopReason, TaskOptions},
    ledger::{Entry, Ledger, SourceSet},
    out::{OutRecord, Place, Target},
    plan::{Stage, StreamPlan},
};

use crate::world::{Input, Role, World};

pub(crate) struct Cluster {
    /// By partition of the stream.
    pub(crate) sources: Vec<World>,
    /// By view and partition of its partials.
    pub(crate) merges: Vec<World>,
    /// Partitions whose topics are gone.
    pub(crate) gone: BTreeSet<usize>,
    is_several: bool,
    plan: Arc<StreamPlan>,
    stages: Vec<Stage>,
    targets: i32,
    options: TaskOptions,
}

impl Cluster {
    pub(crate) fn new(
        plan: Arc<StreamPlan>,
        partitions: i32,
        stages: Vec<Stage>,
        targets: i32,
        options: TaskOptions,
    ) -> Self {
        let mut merges = Vec::new();
        for (view, _) in stages.iter().enumerate().filter(|(_, stage)| **stage == Stage::Two) {
            for partition in 0..targets {
                let role = Role::Merge { view, sources: SourceSet::Partitions(partitions), partition };
                merges.push(World::with(plan.clone(), role, options.clone()));
            }
        }
        let gone = BTreeSet::new();
        let mut cluster =
            Self { sources: Vec::new(), merges, gone, is_several: false, plan, stages, targets, options };
        (0..partitions).for_each(|_| cluster.add_source());
        cluster
    }

    fn add_source(&mut self) {
        let partition = self.sources.len() as i32;
        let role = Role::Source {
            stages: self.stages.clone(),
            targets: vec![self.targets; self.stages.len()],
            partition,
        };
        self.sources.push(World::with(self.plan.clone(), role, self.options.clone()));
    }

    /// The stream gets one more partition, and the merging tasks are made anew.
    pub(crate) fn grow(&mut self) {
        self.add_source();
        self.plan_anew();
    }

    /// The topic of a partition is gone: what was committed of it has arrived, and the merging tasks are made anew without it.
    pub(crate) fn leave(&mut self, partition: usize) {
        self.gone.insert(partition);
        self.is_several = true;
        self.plan_anew();
    }

    /// The topic of a partition was only not found for a while.
    pub(crate) fn back(&mut self, partition: usize) {
        self.gone.remove(&partition);
        self.plan_anew();
    }

    fn plan_anew(&mut self) {
        let set = match self.is_several {
            false => SourceSet::Partitions(self.sources.len() as i32),
            true => SourceSet::Ledger(Arc::new(self.ledger())),
        };
        for merge in &mut self.merges {
            if let Role::Merge { sources, .. } = &mut merge.role {
                *sources = set.clone();
            }
            merge.leave_at = merge.next_offset;
            merge.restart();
        }
    }

    /// Each partition is a topic of its own.
    fn ledger(&self) -> Ledger {
        let names: Vec<String> = (0..self.sources.len()).map(|number| format!("t{number}")).collect();
        let mut ledger = Ledger::default();
        let take = |ledger: &mut Ledger, entries: Vec<Entry>| {
            entries.iter().for_each(|entry| ledger.take(Some(&entry.to_json())).unwrap());
        };
        let news = ledger.news(names.iter().map(|name| (name.as_str(), 1, 1)));
        take(&mut ledger, news);
        let left = names.iter().enumerate().filter(|(at, _)| !self.gone.contains(at));
        let losses = ledger.losses(left.map(|(_, name)| (name.as_str(), 1, 1)));
        take(&mut ledger, losses);
        ledger
    }

    pub(crate) fn fold(&mut self, partition: usize, inputs: &[Input]) -> Result<(), StopReason> {
        self.sources[partition].fold(inputs)
    }

    /// Commits one partition of the stream: its partials arrive, the rest is returned.
    pub(crate) fn cut_source(&mut self, partition: usize) -> Vec<OutRecord> {
        let records = self.sources[partition].cut().0;
        let (partials, rest): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| matches!(record.target, Target::Partials(_)));
        for record in partials {
            let (Target::Partials(of), Place::Exact(target)) = (record.target, record.place) else {
                unreachable!()
            };
            let is_it = |merge: &&mut World| matches!(merge.role, Role::Merge { view, partition, .. } if (view, partition) == (of, target));
            let merge = self.merges.iter_mut().find(is_it).unwrap();
            let value = record.value.map(|value| value.to_vec());
            merge.fold(&[Input { timestamp_ms: 0, value }]).unwrap();
        }
        rest
    }

    /// Commits everything, the stream's partitions first.
    pub(crate) fn cut(&mut self) -> Vec<OutRecord> {
        let mut out = Vec::new();
        for partition in 0..self.sources.len() {
            out.append(&mut self.cut_source(partition));
        }
        for merge in 0..self.merges.len() {
            out.append(&mut self.cut_merge(merge));
        }
        out
    }

    /// Commits one merging task.
    pub(crate) fn cut_merge(&mut self, merge: usize) -> Vec<OutRecord> {
        let out = self.merges[merge].cut().0;
        let Role::Merge { partition, .. } = self.merges[merge].role else { unreachable!() };
        for record in out.iter().filter(|record| matches!(record.target, Target::Channel(_))) {
            let Place::Hash(hash) = record.place else { panic!("{record:?}") };
            assert_eq!(
                hash as i32 % self.targets,
                partition,
                "a channel row and its partials share a partition"
            );
        }
        out
    }

    pub(crate) fn restart(&mut self) {
        self.worlds().for_each(World::restart);
    }

    pub(crate) fn worlds(&mut self) -> impl Iterator<Item = &mut World> {
        self.sources.iter_mut().chain(&mut self.merges)
    }
}
