//! Ensure: makes the topics of a stream and its views, with the partition counts that their state asks for.
//!
//! **In** a plan and the log. **Out** what there is to do: one [`StreamWork`] for the source, one for each topic of partials.
//! **Invariant:** state never moves between partitions. A view in one stage has as many partitions as its source; when the source
//! grew, a view with state stops and says why. A view in two stages keeps the count that its partials began with; only its
//! `.sources` follow the source. A view that has a topic of partials is in two stages, whatever the plan would say today. A topic of
//! state that loses records by itself is refused.
//! **Not here:** names (`topics`).

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use windrow_core::{
    hub::TOMBSTONES_KEPT_MS,
    plan::{Stage, StreamPlan, ViewPlan, stage},
    spec::{LatePolicy, OnBad},
};

use super::{
    Kind, StreamWork, Targets, bad, channel, has_state, journal, late, partials, runs_in_engine, sources,
    sources::{Source, Sources},
    targets::{Sink, ViewTargets},
};
use crate::{
    config::StreamConfig,
    log::{Log, LogError, Result, TOMBSTONES_KEPT, Topic, TopicSpec, Tp},
};

/// Age after which late and bad records are deleted: long enough to look at them after a weekend.
const LETTERS_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes the source topics that the configuration lists where Windrow may (embedded), and tells how many partitions they have.
///
/// - **Errors:** [`LogError::UnknownTopic`] when one is missing and may not be made: wait for it.
pub(super) async fn ensure_source(log: &dyn Log, stream: &StreamConfig, may_create: bool) -> Result<i32> {
    let mut partitions = 0;
    for name in stream.spec.topics.listed() {
        partitions += ensure_topic(log, stream, name, may_create).await?;
    }
    Ok(partitions)
}

/// Makes one topic of a stream where Windrow may, and tells its partition count.
pub async fn ensure_topic(
    log: &dyn Log,
    stream: &StreamConfig,
    name: &Topic,
    may_create: bool,
) -> Result<i32> {
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

/// Makes everything the stream's views need, and tells what there is to do: the source first, then partials.
///
/// - **Errors:** [`LogError::Fatal`] when a topic has a partition count that its view cannot live with.
pub async fn ensure_work(
    log: &dyn Log,
    app: &str,
    plan: &Arc<StreamPlan>,
    config: &StreamConfig,
    sources: &Sources,
    (input_complete, empty_is_end): (watch::Receiver<bool>, bool),
) -> Result<Vec<(Topic, StreamWork)>> {
    let (partitions, numbers) = (sources.width, sources.numbers);
    let mut ensured = Vec::with_capacity(plan.views.len());
    for view in &plan.views {
        ensured.push(Ensure { log, app, plan, view, partitions, numbers }.view().await?);
    }
    let bad = match plan.spec.on_bad {
        OnBad::DeadLetter => Some(ensure(log, letters(bad(app, &plan.spec.name), partitions)).await?),
        OnBad::Skip | OnBad::Stop => None,
    };
    let work = |kind, read: &Source, targets, start_earliest| StreamWork {
        plan: plan.clone(),
        kind,
        numbers: read.numbers.clone(),
        sources: sources.set.clone(),
        epoch: read.epoch,
        targets,
        start_earliest,
        gap_stops: config.gap_stops,
        input_complete: input_complete.clone(),
        empty_is_end,
    };
    let kind = Kind::Source {
        stages: ensured.iter().map(|view| view.stage()).collect(),
        partials: ensured
            .iter()
            .map(|view| view.first.partials().map_or(0, |sink| sink.partitions))
            .collect(),
        stopped: ensured.iter().map(|view| view.stopped.clone()).collect(),
    };
    let targets = Targets { bad, views: ensured.iter().map(|view| view.first.clone()).collect() };
    let of_topic = |(topic, source): (&Topic, &Source)| {
        (topic.clone(), work(kind.clone(), source, targets.clone(), config.start_earliest))
    };
    let mut all: Vec<_> = sources.topics.iter().map(of_topic).collect();
    for (index, view) in ensured.into_iter().enumerate() {
        let Some((topic, second)) = view.second.filter(|_| view.stopped.is_none()) else { continue };
        let mut views = vec![ViewTargets::default(); plan.views.len()];
        views[index] = second;
        let read = Source::alone(topic.partitions);
        all.push((topic.topic, work(Kind::Merge { view: index }, &read, Targets { bad: None, views }, true)));
    }
    Ok(all)
}

/// One view, ready.
#[derive(Default)]
struct Ensured {
    /// Where the tasks of the source write to.
    first: ViewTargets,
    /// The topic of partials, and where the tasks that merge it write to.
    second: Option<(Sink, ViewTargets)>,
    stopped: Option<Arc<str>>,
}

impl Ensured {
    fn stage(&self) -> Stage {
        if self.second.is_some() { Stage::Two } else { Stage::Local }
    }
}

struct Ensure<'a> {
    log: &'a dyn Log,
    app: &'a str,
    plan: &'a StreamPlan,
    view: &'a ViewPlan,
    /// Of what is made for the view.
    partitions: i32,
    /// Partitions where each source has its own.
    numbers: i32,
}

impl Ensure<'_> {
    fn name(&self) -> &str {
        &self.view.spec.name
    }

    async fn view(&self) -> Result<Ensured> {
        if !runs_in_engine(self.view) {
            return Ok(Ensured::default());
        }
        let has_partials = self.count(&partials(self.app, self.name())).await?;
        let has_journal = self.count(&journal(self.app, self.name())).await?;
        let is_local = stage(self.plan, self.view, self.partitions) == Stage::Local;
        let began_with = has_partials.or(has_journal).unwrap_or(self.partitions);
        match has_journal {
            _ if has_partials.is_some() => self.two_stages(began_with).await,
            Some(count) if is_local && (count >= self.partitions || !has_state(self.view)) => {
                self.one_stage().await
            }
            None if is_local => self.one_stage().await,
            Some(count) if self.holds_state(count).await? => self.outgrown(count).await,
            // Also by key: in the history of a source that grew, a key is in more than one partition.
            _ => self.two_stages(began_with).await,
        }
    }

    /// The state lies where the records of its groups no longer come: nothing but stopping is right.
    async fn outgrown(&self, count: i32) -> Result<Ensured> {
        let (view, stream) = (self.name(), &self.plan.spec.name);
        let had = match self.plan.spec.topics.one() {
            Some(_) => format!(
                "had {count} partitions when the state of view {view} began and has {} now",
                self.partitions
            ),
            None => format!("read one topic when the state of view {view} began and may read several now"),
        };
        let why = format!(
            "stream {stream} {had}, so records of one group may come in other partitions than its state lies in; start once with \
             --reset {view} to build it anew from the stream's history, in two stages"
        );
        let first = ViewTargets {
            journal: Some(self.existing(journal(self.app, self.name())).await?),
            ..ViewTargets::default()
        };
        Ok(Ensured { first, second: None, stopped: Some(why.into()) })
    }

    async fn one_stage(&self) -> Result<Ensured> {
        let mut first = ViewTargets::default();
        if has_state(self.view) {
            first.channel =
                Some(self.grown(kept(channel(self.app, self.name()), self.partitions, true)).await?);
            self.check_tombstones(&channel(self.app, self.name())).await?;
        }
        let journal = self.grown(kept(journal(self.app, self.name()), self.numbers, false)).await?;
        first.journal = Some(self.keeps_all(journal).await?);
        first.late = self.late().await?;
        first.user = self.user().await?;
        Ok(Ensured { first, ..Ensured::default() })
    }

    async fn two_stages(&self, count: i32) -> Result<Ensured> {
        let (app, name) = (self.app, self.name());
        let partials = self.keeps_all(self.same(kept(partials(app, name), count, false)).await?).await?;
        let journal = self.keeps_all(self.same(kept(journal(app, name), count, false)).await?).await?;
        let sources =
            self.keeps_all(self.grown(kept(sources(app, name), self.numbers, false)).await?).await?;
        let late = self.late().await?;
        let rows = self.same(kept(channel(app, name), count, true)).await?;
        self.check_tombstones(&rows.topic).await?;
        let second = ViewTargets {
            channel: Some(rows),
            journal: Some(journal),
            late: late.clone(),
            user: self.user().await?,
            ..ViewTargets::default()
        };
        let first = ViewTargets {
            journal: Some(sources),
            partials: Some(partials.clone()),
            late,
            ..ViewTargets::default()
        };
        Ok(Ensured { first, second: Some((partials, second)), stopped: None })
    }

    /// Refuses a topic of state that loses records by itself: what is lost there is never found again.
    async fn keeps_all(&self, sink: Sink) -> Result<Sink> {
        let name = self.name();
        let cure =
            format!("(Windrow purges it), and if records are lost already start once with --reset {name}");
        keeps_all(self.log, sink, &format!("view {name} keeps its state there"), &cure).await
    }

    /// Says how long the view's channel must keep tombstones, when it does not: an existing topic's settings are its owner's.
    async fn check_tombstones(&self, channel: &str) -> Result<()> {
        let kept = self.log.tombstones_kept(channel).await?;
        if let Some(why) = kept.and_then(|kept| short_tombstones(channel, kept)) {
            tracing::warn!(view = self.name(), "{why}");
        }
        Ok(())
    }

    async fn late(&self) -> Result<Option<Sink>> {
        let wanted = self.view.is_windowed() && self.view.spec.late == LatePolicy::Topic;
        if !wanted {
            return Ok(None);
        }
        ensure(self.log, letters(late(self.app, self.name()), self.partitions)).await.map(Some)
    }

    async fn user(&self) -> Result<Option<Sink>> {
        let Some(user) = &self.view.spec.topic else { return Ok(None) };
        let spec = TopicSpec {
            retention: user.retention_ms.map(Duration::from_millis),
            ..kept(user.topic.clone(), user.partitions.unwrap_or(self.partitions), false)
        };
        ensure(self.log, spec).await.map(Some)
    }

    async fn count(&self, topic: &str) -> Result<Option<i32>> {
        Ok(self.log.topic(topic).await?.map(|info| info.partitions))
    }

    /// Tells whether the view's journal holds anything.
    async fn holds_state(&self, partitions: i32) -> Result<bool> {
        let topic = journal(self.app, self.name());
        let tps: Vec<Tp> = (0..partitions).map(|p| Tp::new(topic.clone(), p)).collect();
        Ok(self.log.ends(&tps).await?.iter().any(|ends| ends.earliest < ends.high_watermark))
    }

    async fn existing(&self, topic: Topic) -> Result<Sink> {
        let partitions = self.count(&topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
        sink(self.log, topic, partitions).await
    }

    /// Makes a topic whose partitions follow the source's.
    async fn grown(&self, spec: TopicSpec) -> Result<Sink> {
        let (want, name) = (spec.partitions, spec.name.clone());
        let sink = ensure(self.log, spec).await?;
        if sink.partitions < want {
            tracing::warn!(topic = %name, have = sink.partitions, want, "the source grew: adding partitions");
            self.log.add_partitions(&name, want).await?;
            return self.existing(name).await;
        }
        self.is_same(sink, want)
    }

    /// Makes a topic whose partitions are pinned.
    async fn same(&self, spec: TopicSpec) -> Result<Sink> {
        let want = spec.partitions;
        self.is_same(ensure(self.log, spec).await?, want)
    }

    fn is_same(&self, sink: Sink, want: i32) -> Result<Sink> {
        if sink.partitions == want {
            return Ok(sink);
        }
        Err(LogError::Fatal(format!(
            "view {}: topic {} has {} partitions but {want} are needed: the state of a view can't follow a partition count that \
             changed; restore the count, or give the view another name",
            self.name(),
            sink.topic,
            sink.partitions
        )))
    }
}

/// Makes the ledger of a stream: one partition, of which nothing is ever lost.
pub(super) async fn ensure_ledger(log: &dyn Log, app: &str, stream: &str) -> Result<Topic> {
    let sink = ensure(log, kept(super::ledger(app, stream), 1, false)).await?;
    let kept = format!("the numbers of the topics of stream {stream} follow from all of it");
    Ok(keeps_all(log, sink, &kept, "and if records are lost already give the app another name").await?.topic)
}

async fn keeps_all(log: &dyn Log, sink: Sink, kept: &str, cure: &str) -> Result<Sink> {
    let Some(how) = log.forgets(&sink.topic).await? else { return Ok(sink) };
    Err(LogError::Fatal(format!(
        "topic {} loses records by itself ({how}), but {kept}; set cleanup.policy=delete, retention.ms=-1 and retention.bytes=-1 {cure}",
        sink.topic
    )))
}

/// Makes the topic of watermarks: one partition, purged by its readers.
pub async fn ensure_watermarks(log: &dyn Log, app: &str) -> Result<Topic> {
    Ok(ensure(log, kept(super::watermarks(app), 1, false)).await?.topic)
}

/// Tells what is wrong with a channel that keeps tombstones for less time than a client may be away.
fn short_tombstones(channel: &str, kept: Duration) -> Option<String> {
    let relied_on = Duration::from_millis(TOMBSTONES_KEPT_MS.cast_unsigned());
    (kept < relied_on).then(|| {
        format!(
            "topic {channel} keeps tombstones for {kept:?} (delete.retention.ms), but gateways rely on {relied_on:?}: a client that \
             comes back to a gateway that was just started may keep rows that are gone; set delete.retention.ms={}",
            TOMBSTONES_KEPT.as_millis()
        )
    })
}

fn kept(name: Topic, partitions: i32, compact: bool) -> TopicSpec {
    TopicSpec { name, partitions, replication: -1, compact, retention: None, retention_bytes: None }
}

fn letters(name: Topic, partitions: i32) -> TopicSpec {
    TopicSpec { retention: Some(LETTERS_RETENTION), ..kept(name, partitions, false) }
}

async fn ensure(log: &dyn Log, spec: TopicSpec) -> Result<Sink> {
    let partitions = match log.topic(&spec.name).await? {
        Some(info) => info.partitions,
        None => {
            // Another process may have been faster: its count holds then.
            log.create_topic(&spec).await?;
            log.topic(&spec.name).await?.map_or(spec.partitions, |info| info.partitions)
        }
    };
    sink(log, spec.name, partitions).await
}

async fn sink(log: &dyn Log, topic: Topic, partitions: i32) -> Result<Sink> {
    let record_max_bytes = log.record_max_bytes(&topic).await?;
    Ok(Sink { topic, partitions, record_max_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_forgets_tombstones_before_its_clients_come_back_is_told_with_the_way_out() {
        let relied_on = Duration::from_hours(12);
        assert_eq!(short_tombstones("app.likes", relied_on), None);
        assert_eq!(short_tombstones("app.likes", TOMBSTONES_KEPT), None);
        let why = short_tombstones("app.likes", relied_on - Duration::from_millis(1)).unwrap();
        assert!(why.contains("app.likes") && why.ends_with("set delete.retention.ms=86400000"), "{why}");
    }
}
