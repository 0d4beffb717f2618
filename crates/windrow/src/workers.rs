//! The workers of one process: topics are made first, then each worker gets its thread.
//!
//! | file | job |
//! |---|---|
//! | `crew` | makes topics, starts threads, plans anew when a source grew |
//! | `thread` | one worker's thread, which outlives a panic |
//! | `ends` | the ends of bounded inputs |
//! | `reset` | `--reset`: a view forgets its state |
//!
//! **In** plans and the log. **Out** running workers, the ends of bounded inputs, and the first failure that retrying cannot help.
//! **Before** this file: `pipeline` (decides the role). **After** it: `worker`.
//! **Invariant:** a missing source topic is waited for and told in `/readyz`; a worker that fails stops the process with its
//! reason, because a process that folds nothing but looks alive is worse.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use windrow_core::plan::StreamPlan;

use crate::{
    config::{Config, LogKind},
    log::{Log, LogError, Result},
    stats::Stats,
};
use crew::Crew;
use ends::Ends;

mod crew;
mod ends;
mod reset;
mod thread;

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
    /// Views whose state is forgotten first.
    pub reset: &'a [String],
}

/// Handle on the running workers.
pub struct Workers {
    stop: CancellationToken,
    done: Option<oneshot::Receiver<Result<()>>>,
    ends: Ends,
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
        let (bounded, expected) = watch::channel(None);
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
            resets: start.reset.iter().cloned().collect(),
            ended,
            bounded,
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            let _ = done.send(crew.work().await);
        });
        Self { stop, done: Some(done_receiver), ends: Ends::new(reached, expected, start.stats.clone()) }
    }

    /// Waits until the workers end: after [`Workers::drain`], or because one failed. Cancel-safe.
    pub async fn failed(&mut self) -> Result<()> {
        verdict(&mut self.done).await
    }

    /// Waits until every bounded input is folded and committed to its end, or for a failure. Cancel-safe.
    pub async fn ended_or_failed(&mut self) -> Result<()> {
        tokio::select! {
            failed = verdict(&mut self.done) => failed,
            ended = self.ends.all() => ended,
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
