//! Topics: the names of everything Windrow owns in the log, and how each is made.
//!
//! **In** the configuration and the plans. **Out** topics that exist, with their partition counts.
//! **Invariant:** a view's channel and journal have as many partitions as the stream it reads, for ever; a count that
//! differs is told, never worked around. **Not here:** what goes into them (`windrow_core::engine`).

use std::{sync::Arc, time::Duration};

use windrow_core::{
    out::{OutRecord, Place, Target},
    plan::{Shape, StreamPlan, ViewPlan},
    spec::{LatePolicy, OnBad},
};

use crate::{
    config::StreamConfig,
    log::{Log, LogError, Outgoing, Result, Topic, TopicSpec},
};

/// Age after which late and bad records are deleted: long enough to look at them after a weekend.
const LETTERS_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Returns the channel topic of a view: compacted, the only one that gateways read.
pub fn channel(app: &str, view: &str) -> Topic {
    format!("{app}.{view}").into()
}

/// Returns the journal topic of a view.
pub fn journal(app: &str, view: &str) -> Topic {
    format!("{app}.{view}.journal").into()
}

/// Returns the topic of a view's late records.
pub fn late(app: &str, view: &str) -> Topic {
    format!("{app}.{view}.late").into()
}

/// Returns the topic of a stream's bad records.
pub fn bad(app: &str, stream: &str) -> Topic {
    format!("{app}.{stream}.bad").into()
}

/// Tells whether a view keeps state and therefore has a channel topic.
pub fn has_state(view: &ViewPlan) -> bool {
    view.shape != Shape::Stateless
}

/// Tells whether a view runs in the engine: it keeps state, or it writes a topic. Such a view has a journal, if only for its
/// position; any other is served straight from the source.
pub fn runs_in_engine(view: &ViewPlan) -> bool {
    has_state(view) || view.spec.topic.is_some()
}

/// One topic with its partition count.
type Sized = (Topic, i32);

/// Where one view's records go.
#[derive(Debug, Clone, Default)]
struct ViewTargets {
    channel: Option<Sized>,
    journal: Option<Sized>,
    late: Option<Sized>,
    user: Option<Sized>,
}

/// Where the records of one stream's tasks go, by [`Target`].
#[derive(Debug, Clone)]
pub struct Targets {
    source_partitions: i32,
    bad: Option<Sized>,
    views: Vec<ViewTargets>,
}

impl Targets {
    /// Returns the partition count of the source topic.
    pub fn source_partitions(&self) -> i32 {
        self.source_partitions
    }

    /// Returns the journal topic of a view, when it runs in the engine.
    pub fn journal(&self, view: usize) -> Option<Topic> {
        self.views.get(view)?.journal.as_ref().map(|(topic, _)| topic.clone())
    }

    /// Turns a task's record into one for the log; `None` when the target was never made, which is a bug of the plan.
    pub fn resolve(&self, record: OutRecord) -> Option<Outgoing> {
        let (topic, partitions) = match record.target {
            Target::Bad => self.bad.as_ref(),
            Target::Channel(v) => self.views.get(v)?.channel.as_ref(),
            Target::User(v) => self.views.get(v)?.user.as_ref(),
            Target::Late(v) => self.views.get(v)?.late.as_ref(),
            Target::Journal(v) => self.views.get(v)?.journal.as_ref(),
        }?;
        let partition = match record.place {
            Place::Exact(p) if p < *partitions => p,
            // A letter topic with fewer partitions than its source still takes every letter.
            Place::Exact(p) => p % partitions,
            Place::Hash(h) => ((h & 0x7fff_ffff) % (*partitions).cast_unsigned()).cast_signed(),
        };
        Some(Outgoing {
            topic: topic.clone(),
            partition,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms,
        })
    }
}

/// Makes the source topic where Windrow may (embedded), and tells its partition count.
///
/// - **Errors:** [`LogError::UnknownTopic`] when it is missing and may not be made: wait for it.
pub async fn ensure_source(log: &dyn Log, stream: &StreamConfig, may_create: bool) -> Result<i32> {
    let name = &stream.spec.topic;
    if let Some(info) = log.topic(name).await? {
        return Ok(info.partitions);
    }
    if !may_create {
        return Err(LogError::UnknownTopic(name.clone()));
    }
    let spec = TopicSpec {
        name: name.clone(),
        partitions: stream.partitions,
        replication: stream.replication,
        compact: false,
        retention: stream.retention,
        retention_bytes: None,
    };
    log.create_topic(&spec).await?;
    Ok(stream.partitions)
}

/// Makes everything the stream's views write to, and tells where that is.
///
/// - **Errors:** [`LogError::Fatal`] when a journal or channel exists with another partition count than the source.
pub async fn ensure_targets(log: &dyn Log, app: &str, plan: &StreamPlan, partitions: i32) -> Result<Targets> {
    let mut views = Vec::with_capacity(plan.views.len());
    for view in &plan.views {
        views.push(ensure_view(log, app, view, partitions).await?);
    }
    let bad = match plan.spec.on_bad {
        OnBad::DeadLetter => Some(ensure(log, letters(bad(app, &plan.spec.name), partitions)).await?),
        OnBad::Skip | OnBad::Stop => None,
    };
    Ok(Targets { source_partitions: partitions, bad, views })
}

async fn ensure_view(log: &dyn Log, app: &str, view: &ViewPlan, partitions: i32) -> Result<ViewTargets> {
    let name = &view.spec.name;
    let mut targets = ViewTargets::default();
    if has_state(view) {
        targets.channel = Some(ensure_same(log, kept(channel(app, name), partitions, true)).await?);
    }
    if runs_in_engine(view) {
        targets.journal = Some(ensure_same(log, kept(journal(app, name), partitions, false)).await?);
    }
    if view.is_windowed() && view.spec.late == LatePolicy::Topic {
        targets.late = Some(ensure(log, letters(late(app, name), partitions)).await?);
    }
    if let Some(user) = &view.spec.topic {
        targets.user = Some(ensure(log, kept(user.topic.clone(), partitions, false)).await?);
    }
    Ok(targets)
}

fn kept(name: Topic, partitions: i32, compact: bool) -> TopicSpec {
    TopicSpec { name, partitions, replication: -1, compact, retention: None, retention_bytes: None }
}

fn letters(name: Topic, partitions: i32) -> TopicSpec {
    TopicSpec { retention: Some(LETTERS_RETENTION), ..kept(name, partitions, false) }
}

async fn ensure(log: &dyn Log, spec: TopicSpec) -> Result<Sized> {
    let partitions = match log.topic(&spec.name).await? {
        Some(info) => info.partitions,
        None => {
            // Another process may have been faster: its count holds then.
            log.create_topic(&spec).await?;
            log.topic(&spec.name).await?.map_or(spec.partitions, |info| info.partitions)
        }
    };
    Ok((spec.name, partitions))
}

async fn ensure_same(log: &dyn Log, spec: TopicSpec) -> Result<Sized> {
    let want = spec.partitions;
    let (name, have) = ensure(log, spec).await?;
    if have == want {
        return Ok((name, have));
    }
    Err(LogError::Fatal(format!(
        "topic {name} has {have} partitions but its source has {want}: the state of a view can't follow a changed \
         partition count; restore the count, or give the view another name"
    )))
}

/// Everything a worker needs to know of one stream.
#[derive(Debug, Clone)]
pub struct StreamWork {
    /// The plan of the stream with all its views.
    pub plan: Arc<StreamPlan>,
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
