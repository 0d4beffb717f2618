//! Work: all that a worker needs to know of one topic it reads.
//!
//! **In** a plan and where its records go. **Out** tasks for the topic's partitions.
//! **Invariant:** a topic of partials is read from its beginning when nothing was committed, whatever `start` says.

use std::sync::Arc;

use windrow_core::{
    engine::{Task, TaskError, TaskOptions},
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
        /// Partitions of the stream.
        sources: i32,
    },
}

/// Everything a worker needs to know of one topic.
#[derive(Debug, Clone)]
pub struct StreamWork {
    /// The plan of the stream with all its views.
    pub plan: Arc<StreamPlan>,
    /// What is done with the topic.
    pub kind: Kind,
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
                Task::new(plan, stages, partials, topic, partition, options)
            }
            Kind::Merge { view, sources } => Task::merge(plan, *view, *sources, topic, partition, options),
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
