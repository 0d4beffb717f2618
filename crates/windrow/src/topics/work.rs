//! Work: all that a worker needs to know of one topic it reads.
//!
//! **In** a plan and where its records go. **Out** tasks for the topic's partitions.
//! **Invariant:** a topic of partials is read from its beginning when nothing was committed, whatever `start` says.

use std::sync::Arc;

use windrow_core::{
    engine::{Task, TaskError, TaskOptions},
    ledger::SourceSet,
    plan::{Stage, StreamPlan},
};

use super::Targets;
use crate::log::Tp;

/// What a topic's tasks do.
#[derive(Debug, Clone)]
pub enum Kind {
    /// They fold the records of a stream.
    Source {
        /// Where each view's groups are put together.
        stages: Vec<Stage>,
        /// Partitions of each view's partials topic; 0 for views in one stage.
        partials: Vec<i32>,
        /// Views that cannot go on, with the rule and the ways out.
        stopped: Vec<Option<Arc<str>>>,
    },
    /// They merge what the first stage of a view brings.
    Merge {
        /// Its index in the plan.
        view: usize,
    },
}

/// Everything a worker needs to know of one topic.
#[derive(Debug, Clone)]
pub struct StreamWork {
    /// The plan of the stream with all its views.
    pub plan: Arc<StreamPlan>,
    /// What is done with the topic.
    pub kind: Kind,
    /// By partition of the topic: the number that state knows it by.
    pub numbers: Arc<[i32]>,
    /// All sources of the stream.
    pub sources: SourceSet,
    /// The topic's epoch, where it is one of several of its stream: another in its place is another source.
    pub epoch: Option<u128>,
    /// Where its records go.
    pub targets: Targets,
    /// Whether a group without offsets starts at the beginning.
    pub start_earliest: bool,
    /// Whether retention overtaking the position stops the stream.
    pub gap_stops: bool,
    /// For bounded streams: whether the input is written completely, so that its end is known.
    pub input_complete: tokio::sync::watch::Receiver<bool>,
    /// For bounded streams: whether an empty partition counts as ended.
    pub empty_is_end: bool,
}

impl StreamWork {
    /// Makes an empty task for a partition of the topic.
    pub fn task(&self, tp: &Tp, options: TaskOptions) -> Result<Task, TaskError> {
        let (plan, topic, partition) = (self.plan.clone(), tp.topic.clone(), tp.partition);
        match &self.kind {
            Kind::Source { stages, partials, .. } => {
                let task = Task::new(plan, stages, partials, topic, partition, options)?;
                Ok(task.numbered(self.number(partition).unwrap_or(partition)))
            }
            Kind::Merge { view } => Task::merge(plan, *view, self.sources.clone(), topic, partition, options),
        }
    }

    /// Returns how many of the topic's partitions are read.
    pub fn partitions(&self) -> i32 {
        i32::try_from(self.numbers.len()).unwrap_or(i32::MAX)
    }

    /// Returns the number of a partition; `None` for one that was not planned for.
    pub fn number(&self, partition: i32) -> Option<i32> {
        usize::try_from(partition).ok().and_then(|at| self.numbers.get(at)).copied()
    }

    /// Returns the journal of a view for a partition, when its tasks have one there.
    pub fn journal(&self, view: usize, tp: &Tp) -> Option<Tp> {
        let number = self.number(tp.partition)?;
        self.targets.journal(view, number).map(|topic| Tp::new(topic, number))
    }

    /// Tells whether the topic may go without the stream.
    pub fn is_one_of_several(&self) -> bool {
        self.epoch.is_some()
    }

    /// Tells whether a partition is read from its beginning, whatever the stream's `start` says.
    pub fn is_later(&self, partition: i32) -> bool {
        match (&self.sources, self.number(partition)) {
            (SourceSet::Ledger(ledger), Some(number)) => ledger.is_later(number),
            _ => false,
        }
    }

    /// Tells whether its tasks merge partials.
    pub fn merges(&self) -> bool {
        matches!(self.kind, Kind::Merge { .. })
    }

    /// Returns the indices of the views that its tasks have.
    pub fn views(&self) -> std::ops::Range<usize> {
        match self.kind {
            Kind::Source { .. } => 0..self.plan.views.len(),
            Kind::Merge { view, .. } => view..view + 1,
        }
    }

    /// Tells whether a view is only scattered here, so that its state is elsewhere.
    pub fn scatters(&self, view: usize) -> bool {
        matches!(&self.kind, Kind::Source { stages, .. } if stages.get(view) == Some(&Stage::Two))
    }

    /// Returns the views that must not go on here, with their reasons.
    pub fn stopped(&self) -> impl Iterator<Item = (usize, Arc<str>)> {
        let stopped = match &self.kind {
            Kind::Source { stopped, .. } => stopped.as_slice(),
            Kind::Merge { .. } => &[],
        };
        stopped.iter().enumerate().filter_map(|(view, why)| Some((view, why.clone()?)))
    }
}
