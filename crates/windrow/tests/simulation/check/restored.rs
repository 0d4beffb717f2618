//! A task restored as a worker would, from what is committed, and what it then holds.
//!
//! **Invariant:** journals and group agree on the position, but for a view that has committed nothing yet.

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use bytes::Bytes;
use windrow::{log::Tp, topics};
use windrow_core::{
    batch::{Batch, BatchBuilder, Compression},
    engine::{Task, TaskOptions, ViewStats},
    ledger::SourceSet,
    out::{OutRecord, Place, Target},
    plan::{Stage, StreamPlan},
};

use crate::{
    broker::Broker,
    oracle::RowKey,
    scenario::{APP, SOURCE},
    seen,
};

pub(super) struct Restored {
    pub(super) of: &'static str,
    pub(super) partition: i32,
    /// By view; of a view that the task does not have, nothing.
    pub(super) stats: Vec<ViewStats>,
    pub(super) open: Vec<BTreeMap<RowKey, String>>,
    /// What it would tell the second stage at its end, by view and partition.
    last_partials: BTreeMap<(usize, i32), Bytes>,
}

impl Restored {
    /// The task over a partition of the source.
    pub(super) fn of_source(
        broker: &Broker,
        plan: &Arc<StreamPlan>,
        two: bool,
        partition: i32,
    ) -> Result<Self, String> {
        let count = plan.views.len();
        let stages = vec![if two { Stage::Two } else { Stage::Local }; count];
        let partials = vec![broker.topics[SOURCE].partitions.len() as i32; count];
        let tp = Tp::new(SOURCE, partition);
        let task =
            Task::new(plan.clone(), &stages, &partials, tp.topic.clone(), partition, TaskOptions::default());
        let journal = if two { topics::sources } else { topics::journal };
        let journals = plan.views.iter().map(|view| (view.index, journal(APP, &view.spec.name)));
        Self::read(
            broker,
            plan,
            "source",
            &tp,
            task.map_err(|error| error.to_string())?,
            &journals.collect::<Vec<_>>(),
            &[],
        )
    }

    /// The task over a partition of a view's partials.
    pub(super) fn of_partials(
        broker: &Broker,
        plan: &Arc<StreamPlan>,
        view: usize,
        sources: &[Restored],
        partition: i32,
    ) -> Result<Self, String> {
        let ends: Vec<Bytes> = sources
            .iter()
            .filter_map(|source| source.last_partials.get(&(view, partition)).cloned())
            .collect();
        let name = &plan.views[view].spec.name;
        let tp = Tp::new(topics::partials(APP, name), partition);
        let task = Task::merge(
            plan.clone(),
            view,
            SourceSet::Partitions(sources.len() as i32),
            tp.topic.clone(),
            partition,
            TaskOptions::default(),
        );
        let journals = [(view, topics::journal(APP, name))];
        Self::read(broker, plan, "partials", &tp, task.map_err(|error| error.to_string())?, &journals, &ends)
    }

    fn read(
        broker: &Broker,
        plan: &StreamPlan,
        of: &'static str,
        tp: &Tp,
        mut task: Task,
        journals: &[(usize, windrow::log::Topic)],
        ends: &[Bytes],
    ) -> Result<Self, String> {
        let failed = |error: &dyn Display| format!("{tp} is not restored: {error}");
        for (view, journal) in journals {
            let held =
                broker.partition(&Tp::new(journal.clone(), tp.partition)).map_err(|error| failed(&error))?;
            let from = held.ends().earliest;
            for record in held.read(from, usize::MAX).0.iter().flat_map(|batch| batch.records_from(from)) {
                task.restore(*view, record.key, record.value).map_err(|error| failed(&error))?;
            }
        }
        let restored = task.restored().map_err(|error| failed(&error))?;
        let committed = broker.offsets.get(tp).copied();
        let differs = restored.is_some() && committed.is_some() && restored != committed;
        // A view that has committed nothing yet takes the group back to where its history begins.
        if differs && !(task.has_fresh_views() && committed < restored) {
            return Err(format!("{tp}: journals say {restored:?}, the group {committed:?}"));
        }
        let mut stats = vec![ViewStats::default(); plan.views.len()];
        for (view, _) in journals {
            stats[*view] = task.view_stats(*view);
        }
        let out = end(task, ends)?;
        let open = open_of(&out, plan.views.len())?;
        let last_partials = last_partials(&out);
        Ok(Self { of, partition: tp.partition, stats, open, last_partials })
    }
}

/// Ends the restored task, so that it shows what it holds.
fn end(mut task: Task, last_partials: &[Bytes]) -> Result<Vec<OutRecord>, String> {
    let mut out = Vec::new();
    task.start(0);
    task.end();
    if !last_partials.is_empty() {
        // A task that merges ends when its sources do.
        let mut builder = BatchBuilder::new(Compression::None);
        for value in last_partials {
            builder.push(0, None, Some(value), []).map_err(|error| error.to_string())?;
        }
        let bytes = builder.build(task.position(), -1, -1, -1, false);
        let (batch, _) = Batch::parse(&bytes).map_err(|error| error.to_string())?;
        task.fold(&batch, 0).map_err(|error| error.to_string())?;
    }
    task.cut(0, &mut out);
    Ok(out)
}

fn open_of(out: &[OutRecord], views: usize) -> Result<Vec<BTreeMap<RowKey, String>>, String> {
    let mut open = vec![BTreeMap::new(); views];
    for record in out {
        if let (Target::Channel(view), Some(value)) = (record.target, &record.value) {
            let (at, columns, is_final) = seen::row(record.key.as_deref(), value)?;
            if is_final {
                open[view].insert(at, columns);
            }
        }
    }
    Ok(open)
}

/// What the task would tell the second stage at its end, by view and partition.
fn last_partials(out: &[OutRecord]) -> BTreeMap<(usize, i32), Bytes> {
    let partial = |record: &OutRecord| match (record.target, record.place) {
        (Target::Partials(view), Place::Exact(partition)) => Some(((view, partition), record.value.clone()?)),
        _ => None,
    };
    out.iter().filter_map(partial).collect()
}
