//! The workers of one process: topics are made first, then each worker gets its thread.
//!
//! **In** plans and the log. **Out** running workers, the ends of bounded inputs, and the first failure that retrying cannot help.
//! **Before** this file: `pipeline` (decides the role). **After** it: `worker`.
//! **Invariant:** a missing source topic is waited for and told in `/readyz`; a worker that fails stops the process with its
//! reason, because a process that folds nothing but looks alive is worse.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;
use windrow_core::plan::StreamPlan;

use crate::{
    config::{Config, LogKind, StreamConfig},
    log::{Log, LogError, Result, Topic, Tp},
    stats::Stats,
    topics::{self, StreamWork},
    worker::{Shared, Worker},
};

/// Pause between two looks for a topic that is missing.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What the workers need beside the configuration.
pub struct Start<'a> {
    /// Everything the user said.
    pub config: &'a Config,
    /// The plans, one per stream.
    pub plans: &'a [Arc<StreamPlan>],
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where numbers go.
    pub stats: Arc<Stats>,
    /// Name of this process in transactional ids; unique among the processes of the app.
    pub instance: String,
    /// Whether bounded inputs are written completely.
    pub input_complete: watch::Receiver<bool>,
    /// Whether an empty partition of a bounded input counts as ended.
    pub empty_is_end: bool,
}

/// Handle on the running workers.
pub struct Workers {
    stop: CancellationToken,
    done: Option<oneshot::Receiver<Result<()>>>,
    ends: Ends,
}

/// The ends of bounded inputs, as they come in.
struct Ends {
    reached: mpsc::UnboundedReceiver<Tp>,
    /// Partitions of bounded streams; `None` until the topics are there.
    total: watch::Receiver<Option<usize>>,
    seen: BTreeSet<Tp>,
}

impl Ends {
    async fn all(&mut self) {
        let Ok(total) = self.total.wait_for(Option::is_some).await.map(|n| *n) else {
            return std::future::pending().await;
        };
        while self.seen.len() < total.unwrap_or(0) || total == Some(0) {
            match self.reached.recv().await {
                Some(tp) => _ = self.seen.insert(tp),
                None => return std::future::pending().await,
            }
        }
    }
}

async fn verdict(done: &mut Option<oneshot::Receiver<Result<()>>>) -> Result<()> {
    let Some(receiver) = done else { return std::future::pending().await };
    let result =
        receiver.await.unwrap_or_else(|_| Err(LogError::Fatal("the workers' task ended early".into())));
    *done = None;
    result
}

impl Workers {
    /// Starts making topics and then folding; returns at once.
    pub fn start(start: &Start<'_>) -> Self {
        let stop = CancellationToken::new();
        let (done, done_receiver) = oneshot::channel();
        let (ended, reached) = mpsc::unbounded_channel();
        let (bounded, total) = watch::channel(None);
        let crew = Crew {
            app: start.config.app.as_str().into(),
            streams: start
                .plans
                .iter()
                .filter_map(|plan| Some((plan.clone(), start.config.streams.get(&*plan.spec.name)?.clone())))
                .collect(),
            may_create: matches!(start.config.log.kind, LogKind::Embedded { .. }),
            log: start.log.clone(),
            stats: start.stats.clone(),
            instance: start.instance.clone(),
            static_members: start.config.log.instance_id.is_some(),
            commit_interval: start.config.log.commit_interval,
            exactly_once: start.config.log.exactly_once,
            record_max_bytes: start.config.limits.record_max_bytes,
            input_complete: start.input_complete.clone(),
            empty_is_end: start.empty_is_end,
            ended,
            bounded,
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            let _ = done.send(crew.work().await);
        });
        Self { stop, done: Some(done_receiver), ends: Ends { reached, total, seen: BTreeSet::new() } }
    }

    /// Waits until the workers end: after [`Workers::drain`], or because one failed. Cancel-safe.
    pub async fn failed(&mut self) -> Result<()> {
        verdict(&mut self.done).await
    }

    /// Waits until every bounded input is folded and committed to its end, or for a failure. Cancel-safe.
    pub async fn ended_or_failed(&mut self) -> Result<()> {
        tokio::select! {
            failed = verdict(&mut self.done) => failed,
            () = self.ends.all() => Ok(()),
        }
    }

    /// Finishes the transactions, leaves the group and waits for both.
    pub async fn drain(mut self) -> Result<()> {
        self.stop.cancel();
        match self.done {
            Some(_) => self.failed().await,
            None => Ok(()),
        }
    }
}

struct Crew {
    app: Arc<str>,
    streams: Vec<(Arc<StreamPlan>, StreamConfig)>,
    may_create: bool,
    log: Arc<dyn Log>,
    stats: Arc<Stats>,
    instance: String,
    static_members: bool,
    commit_interval: Duration,
    exactly_once: bool,
    record_max_bytes: usize,
    input_complete: watch::Receiver<bool>,
    empty_is_end: bool,
    ended: mpsc::UnboundedSender<Tp>,
    bounded: watch::Sender<Option<usize>>,
    stop: CancellationToken,
}

impl Crew {
    async fn work(self) -> Result<()> {
        if self.streams.is_empty() {
            self.stop.cancelled().await;
            return Ok(());
        }
        let mut streams = BTreeMap::new();
        for (plan, config) in &self.streams {
            let folds = plan.views.iter().any(|view| topics::runs_in_engine(view));
            if !folds && !self.may_create {
                // Only gateways read it, and they wait for its topic themselves.
                continue;
            }
            let Some(work) = self.prepare(plan, config).await? else { return Ok(()) };
            if folds && let Some(twin) = streams.insert(plan.spec.topic.clone(), work) {
                return Err(LogError::Fatal(format!(
                    "streams {} and {} both read topic {} for views: put their views over one of them",
                    twin.plan.spec.name, plan.spec.name, plan.spec.topic
                )));
            }
        }
        if streams.is_empty() {
            self.stop.cancelled().await;
            return Ok(());
        }
        let partitions: i32 = streams.values().map(|work| work.targets.source_partitions()).sum();
        let bounded = streams.values().filter(|work| work.plan.spec.until_end);
        let bounded: i32 = bounded.map(|work| work.targets.source_partitions()).sum();
        self.bounded.send_replace(Some(usize::try_from(bounded).unwrap_or(0)));
        self.run_threads(streams, usize::try_from(partitions).unwrap_or(1)).await
    }

    /// Waits for the source topic and makes what the stream writes to; `None` when told to stop meanwhile.
    async fn prepare(&self, plan: &Arc<StreamPlan>, config: &StreamConfig) -> Result<Option<StreamWork>> {
        let room = format!("stream {}", plan.spec.name);
        loop {
            let tried = async {
                let partitions = topics::ensure_source(&*self.log, config, self.may_create).await?;
                check_local(plan, partitions)?;
                topics::ensure_targets(&*self.log, &self.app, plan, partitions).await
            };
            let tried = tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                tried = tried => tried,
            };
            let why = match tried {
                Ok(targets) => {
                    self.stats.fine(&room);
                    return Ok(Some(StreamWork {
                        plan: plan.clone(),
                        targets,
                        start_earliest: config.start_earliest,
                        gap_stops: config.gap_stops,
                        input_complete: self.input_complete.clone(),
                        empty_is_end: self.empty_is_end,
                    }));
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

    async fn run_threads(self, streams: BTreeMap<Topic, StreamWork>, partitions: usize) -> Result<()> {
        let shared = Shared {
            log: self.log,
            app: self.app,
            streams: Arc::new(streams),
            stats: self.stats,
            commit_interval: self.commit_interval,
            exactly_once: self.exactly_once,
            record_max_bytes: self.record_max_bytes,
            ended: self.ended,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (failures, mut results) = mpsc::unbounded_channel();
        let count = cores.min(partitions).max(1);
        for number in 0..count {
            let name = format!("{}-{number}", self.instance);
            let static_id = self.static_members.then(|| name.clone());
            spawn(shared.clone(), name, static_id, self.stop.clone(), failures.clone())?;
        }
        drop(failures);
        // One that fails stops the others, so that they finish their transactions; the first reason is told.
        let mut first = Ok(());
        while let Some(result) = results.recv().await {
            if first.is_ok() && result.is_err() {
                first = result;
            }
            if first.is_err() {
                self.stop.cancel();
            }
        }
        first
    }
}

/// State has one owner thread: the fold never runs on a thread that serves sockets.
fn spawn(
    shared: Shared,
    name: String,
    static_id: Option<String>,
    stop: CancellationToken,
    results: mpsc::UnboundedSender<Result<()>>,
) -> Result<()> {
    let runtime = Handle::current();
    let work = move || {
        let folding = runtime.block_on(AssertUnwindSafe(fold(shared, name, static_id, stop)).catch_unwind());
        // A worker that went down in silence would keep its partitions and fold nothing.
        let result =
            folding.unwrap_or_else(|_| Err(LogError::Fatal("a worker panicked; the log says where".into())));
        let _ = results.send(result);
    };
    std::thread::Builder::new()
        .name("worker".into())
        .spawn(work)
        .map_err(|error| LogError::Fatal(format!("a worker's thread could not start: {error}")))?;
    Ok(())
}

async fn fold(
    shared: Shared,
    name: String,
    static_id: Option<String>,
    stop: CancellationToken,
) -> Result<()> {
    let room = format!("worker {name}");
    loop {
        let joined = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            joined = Worker::join(shared.clone(), name.clone(), static_id.clone()) => joined,
        };
        match joined {
            Ok(worker) => {
                shared.stats.fine(&room);
                return worker.run(stop).await;
            }
            Err(LogError::Retry(why)) => {
                tracing::warn!(worker = %name, %why, "cannot join yet; trying again");
                shared.stats.trouble(&room, why);
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn check_local(plan: &StreamPlan, partitions: i32) -> Result<()> {
    for view in &plan.views {
        windrow_core::plan::local(plan, view, partitions)
            .map_err(|why| LogError::Fatal(format!("view {}: {why}", view.spec.name)))?;
    }
    Ok(())
}
