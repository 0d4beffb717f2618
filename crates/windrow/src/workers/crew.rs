//! The crew: makes topics, starts the workers' threads, and plans anew when a source grew.
//!
//! **In** plans and the log. **Out** the first failure that retrying cannot help.
//! **Invariant:** a partition is folded only by workers that were planned for the partition count it came with: when a source
//! grows, or topics come and go, all of them finish their transactions and leave, and start again with what is right then. They do so as
//! well when the group leaves a partition to nobody.
//! **Not here:** which topics (`topics`), how a worker works (`worker`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use windrow_core::{engine::TaskOptions, plan::StreamPlan};

use super::{ends::Expected, reset, thread};
use crate::{
    config::StreamConfig,
    log::{Log, LogError, Result, Topic, Tp},
    stats::Stats,
    topics::{self, Sources, StreamWork},
    watermarks::{self, Watermarks},
    worker::{Clock, Shared},
};

/// Pause between two looks for a topic that is missing.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the sources' partition counts: until then records of a known group may already come elsewhere.
const LOOK_AGAIN_PAUSE: Duration = Duration::from_secs(2);
/// Looks in a row that must not find a topic before it is taken for gone: a broker that was just started may not know all.
const MISSES_MAX: u32 = 2;
/// Looks at a settled group in a row that find partitions without an owner, before it is joined anew: a rebalance has time to begin.
const ORPHANED_LOOKS: u32 = 3;

pub(super) struct Crew {
    pub(super) app: Arc<str>,
    pub(super) streams: Vec<(Arc<StreamPlan>, StreamConfig)>,
    pub(super) may_create: bool,
    pub(super) log: Arc<dyn Log>,
    pub(super) stats: Arc<Stats>,
    pub(super) instance: String,
    pub(super) static_members: bool,
    pub(super) commit_interval: Duration,
    pub(super) exactly_once: bool,
    pub(super) record_max_bytes: usize,
    pub(super) input_complete: watch::Receiver<bool>,
    pub(super) empty_is_end: bool,
    /// Views that forget their state before anything is folded.
    pub(super) resets: BTreeSet<String>,
    pub(super) ended: mpsc::UnboundedSender<Tp>,
    pub(super) bounded: watch::Sender<Option<Expected>>,
    pub(super) stop: CancellationToken,
}

/// What there is to do, by the topic that is read.
type Work = BTreeMap<Topic, StreamWork>;

/// What the workers are planned for.
#[derive(Default)]
struct Planned {
    work: Work,
    /// What each stream with views read when it was planned.
    sources: Vec<(Arc<StreamPlan>, Sources)>,
}

impl Crew {
    pub(super) async fn work(mut self) -> Result<()> {
        loop {
            let Some(planned) = self.prepare_all().await? else { return Ok(()) };
            self.resets.clear();
            if planned.sources.is_empty() {
                self.stop.cancelled().await;
                return Ok(());
            }
            self.bounded.send_replace(Some(expected(&planned.work)));
            let is_outdated = self.run_threads(planned).await?;
            if !is_outdated {
                return Ok(());
            }
        }
    }

    /// Makes all topics; `None` when told to stop meanwhile.
    async fn prepare_all(&self) -> Result<Option<Planned>> {
        let mut all = Planned::default();
        // What is named goes before what only matches.
        let matches = |plan: &StreamPlan| plan.spec.topics.listed().is_empty();
        let (patterns, named): (Vec<_>, Vec<_>) = self.streams.iter().partition(|(plan, _)| matches(plan));
        for (plan, config) in named.into_iter().chain(patterns) {
            let folds = plan.views.iter().any(|view| topics::runs_in_engine(view));
            if !folds && (!self.may_create || matches(plan)) {
                // Only gateways read it, and they wait for its topic themselves.
                continue;
            }
            let taken = all.work.keys().cloned().collect();
            let Some((sources, work)) = self.prepare(plan, config, &taken).await? else { return Ok(None) };
            if !folds {
                continue;
            }
            for (topic, work) in work {
                if let Some(twin) = all.work.insert(topic.clone(), work) {
                    return Err(LogError::Fatal(format!(
                        "streams {} and {} both read topic {topic} for views: put their views over one of them",
                        twin.plan.spec.name, plan.spec.name
                    )));
                }
            }
            all.sources.push((plan.clone(), sources));
        }
        Ok(Some(all))
    }

    /// Waits for the source topics and makes what the stream's views write to; `None` when told to stop meanwhile.
    async fn prepare(
        &self,
        plan: &Arc<StreamPlan>,
        config: &StreamConfig,
        taken: &BTreeSet<Topic>,
    ) -> Result<Option<(Sources, Vec<(Topic, StreamWork)>)>> {
        let room = format!("stream {}", plan.spec.name);
        loop {
            let tried = async {
                let sources = Sources::find(&*self.log, &self.app, config, self.may_create, taken).await?;
                for view in plan.views.iter().filter(|view| self.resets.contains(&*view.spec.name)) {
                    reset::reset(&*self.log, &self.app, view).await?;
                }
                let input = (self.input_complete.clone(), self.empty_is_end);
                let work = topics::ensure_work(&*self.log, &self.app, plan, config, &sources, input).await?;
                Ok((sources, work))
            };
            let tried = tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                tried = tried => tried,
            };
            let why = match tried {
                Ok(work) => {
                    self.stats.fine(&room);
                    return Ok(Some(work));
                }
                Err(error @ (LogError::Retry(_) | LogError::UnknownTopic(_))) => error.to_string(),
                Err(error) => return Err(error),
            };
            tracing::warn!(stream = %plan.spec.name, %why, "waiting");
            self.stats.trouble(&room, why);
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
    }

    /// Starts to hear of other processes' partitions, if some stream needs that; `None` when told to stop meanwhile.
    async fn listen(&self, work: &Work, stop: &CancellationToken) -> Result<Option<Option<Arc<Watermarks>>>> {
        let is_shared = |work: &&StreamWork| !work.merges() && watermarks::is_shared(work);
        if !work.values().any(|work| is_shared(&work)) {
            return Ok(Some(None));
        }
        loop {
            let names = work.values().filter(is_shared).map(|work| work.plan.spec.name.clone());
            let started = Watermarks::start(&self.log, &self.app, names, &self.stats, stop.clone());
            let why = tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                started = started => match started {
                    Ok(watermarks) => return Ok(Some(Some(watermarks))),
                    Err(error @ (LogError::Retry(_) | LogError::UnknownTopic(_))) => error.to_string(),
                    Err(error) => return Err(error),
                },
            };
            self.stats.trouble("watermarks", why);
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
    }

    /// Folds until told to stop, or until it must be planned anew; tells whether it is that.
    async fn run_threads(&self, Planned { work, sources }: Planned) -> Result<bool> {
        let partitions: i32 = work.values().map(StreamWork::partitions).sum();
        let stop = self.stop.child_token();
        let Some(watermarks) = self.listen(&work, &stop).await? else { return Ok(false) };
        let shared = Shared {
            log: self.log.clone(),
            app: self.app.clone(),
            streams: Arc::new(work),
            stats: self.stats.clone(),
            commit_interval: self.commit_interval,
            exactly_once: self.exactly_once,
            task: TaskOptions { record_max_bytes: self.record_max_bytes, ..TaskOptions::default() },
            clock: Clock::wall(),
            watermarks,
            ended: self.ended.clone(),
        };
        let (results, mut done) = mpsc::unbounded_channel();
        for number in 0..threads(partitions) {
            let name = format!("{}-{number}", self.instance);
            let static_id = self.static_members.then(|| name.clone());
            thread::spawn(shared.clone(), name, static_id, stop.clone(), results.clone())?;
        }
        drop(results);
        // One that fails stops the others, so that they finish their transactions; the first reason is told.
        let (mut first, mut outdated) = (Ok(()), false);
        loop {
            tokio::select! {
                result = done.recv() => match result {
                    None => return first.map(|()| outdated && !self.stop.is_cancelled()),
                    Some(Err(error)) if first.is_ok() => first = Err(error),
                    Some(_) => {}
                },
                () = self.outdated(&shared.streams, &sources), if !stop.is_cancelled() => outdated = true,
            }
            if first.is_err() || outdated {
                stop.cancel();
            }
        }
    }

    /// Waits until a stream's topics are others than the workers were planned for, or partitions stay without an owner.
    async fn outdated(&self, work: &Work, sources: &[(Arc<StreamPlan>, Sources)]) {
        let (mut orphaned, mut misses) = (0, 0);
        loop {
            tokio::time::sleep(LOOK_AGAIN_PAUSE).await;
            let mut has_losses = false;
            for (plan, sources) in sources {
                // A log that is away is the workers' trouble; the next look comes soon.
                let Ok(found) = sources.look(&*self.log, &plan.spec.topics).await else { continue };
                if sources.have_news(&found) {
                    tracing::warn!(stream = %plan.spec.name, "its topics grew, or others came: planning anew");
                    return;
                }
                has_losses |= sources.have_losses(&found);
            }
            misses = if has_losses { misses + 1 } else { 0 };
            if misses >= MISSES_MAX {
                tracing::warn!("topics of a stream are gone: planning anew");
                return;
            }
            orphaned = if self.has_orphans(work).await { orphaned + 1 } else { 0 };
            if orphaned >= ORPHANED_LOOKS {
                tracing::warn!("partitions have no owner: joining the group anew");
                return;
            }
        }
    }

    /// Tells whether a settled group leaves partitions to nobody. A cooperative rebalance has two rounds: static members that
    /// are killed between them come back to what the first one left, and nobody asks for the second.
    async fn has_orphans(&self, work: &Work) -> bool {
        let Ok(roster) = self.log.roster(&self.app).await else { return false };
        let mut partitions = work.iter().flat_map(|(topic, work)| {
            (0..work.partitions()).map(|partition| Tp::new(topic.clone(), partition))
        });
        roster.is_settled && !partitions.all(|tp| roster.owned.contains(&tp))
    }
}

/// One thread per core, as long as each has a partition.
fn threads(partitions: i32) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(usize::try_from(partitions).unwrap_or(1)).max(1)
}

/// Lists the partitions whose ends are the end of all bounded inputs.
fn expected(work: &Work) -> Expected {
    let bounded = work.iter().filter(|(_, work)| work.plan.spec.until_end);
    let partitions = bounded.flat_map(|(topic, work)| {
        let view = work.merges().then(|| work.plan.views[work.views().start].spec.name.clone());
        (0..work.partitions()).map(move |p| (Tp::new(topic.clone(), p), view.clone()))
    });
    partitions.collect()
}
