//! A worker: one member of the app's group, one owner thread, one writer; folds its partitions and commits.
//!
//! **In** batches of the partitions the group gave it. **Out** one transaction per commit: rows, letters, journal blocks and
//! source positions together. **Before** this file: `log` (fetched and assigned). **After** it: the readers of the gateways.
//!
//! **Invariant:** memory is what the journal holds plus the epoch being folded. At most one commit is in flight; the next epoch
//! folds meanwhile. An abort drops the state of every task and restores it. A revoked partition is answered after its commit
//! returned, a lost one after its state is gone.
//! **Not here:** what a fold does (`windrow_core::engine`), names of topics (`topics`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use windrow_core::engine::TaskOptions;

use crate::{
    log::{
        Fetched, Group, GroupEvent, GroupOptions, Log, LogError, Reader, ReaderOptions, Result, Topic, Tp,
    },
    stats::Stats,
    topics::StreamWork,
    watermarks::Watermarks,
};
pub use clock::Clock;
use commit::{Committer, Epoch};
use owned::Owned;
use poison::Poison;
use purge::Purges;
pub(crate) use restore::read_journal;
use silence::Silence;
use source::made_anew;
use trouble::{blame, guarded};

mod clock;
mod commit;
mod numbers;
mod owned;
mod poison;
mod purge;
mod restore;
mod silence;
mod source;
mod trouble;

pub(crate) use numbers::room as room_of_view;

/// Bytes of output that may wait for a cut: a worker that reaches it stops reading until the commit in flight is back.
const EPOCH_MAX_BYTES: usize = 64 << 20;
/// Bytes of output that bring the cut forward.
const EPOCH_CUT_BYTES: usize = 8 << 20;
/// Longest epoch of a worker that is behind: conflation then saves rows, which cost more than records.
const EPOCH_BEHIND_MAX: Duration = Duration::from_secs(1);
/// Pause after a failure that may pass.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What every worker of a process shares.
#[derive(Clone)]
pub struct Shared {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The app: group name and prefix.
    pub app: Arc<str>,
    /// What is done with each topic: sources and partials.
    pub streams: Arc<BTreeMap<Topic, StreamWork>>,
    /// Where numbers go.
    pub stats: Arc<Stats>,
    /// Time between commits.
    pub commit_interval: Duration,
    /// Whether commits are transactions.
    pub exactly_once: bool,
    /// Bounds of every task.
    pub task: TaskOptions,
    /// The time of day.
    pub clock: Clock,
    /// What other workers tell of their partitions; `None` when no stream needs it.
    pub watermarks: Option<Arc<Watermarks>>,
    /// Partitions of bounded streams that are folded and committed to their end.
    pub ended: mpsc::UnboundedSender<Tp>,
}

/// One worker, joined to the group.
pub struct Worker {
    shared: Shared,
    name: String,
    group: Box<dyn Group>,
    reader: Box<dyn Reader>,
    committer: Committer,
    tasks: BTreeMap<Tp, Owned>,
    purges: Purges,
    silence: Silence,
    poison: Poison,
    cut_at: Instant,
    epoch_began: Instant,
}

impl Worker {
    /// Joins the group as `name`, which is also the tail of the transactional id.
    pub async fn join(shared: Shared, name: String, instance_id: Option<String>) -> Result<Self> {
        let options = GroupOptions {
            group: shared.app.to_string(),
            instance_id,
            topics: shared.streams.keys().cloned().collect(),
        };
        let committer = Committer::open(&shared, &name).await?;
        let group = shared.log.group(options).await?;
        let reader = shared.log.reader(ReaderOptions::default()).await?;
        let silence = Silence::new(&shared);
        let now = Instant::now();
        Ok(Self {
            shared,
            name,
            group,
            reader,
            committer,
            tasks: BTreeMap::new(),
            purges: Purges::default(),
            silence,
            poison: Poison::default(),
            cut_at: now,
            epoch_began: now,
        })
    }

    /// Folds until told to stop, then finishes its transaction. Leaves the group, unless another is in it under this name.
    ///
    /// - **Errors:** `Fenced` when another has joined the group under this worker's name: join again, but not for ever. Else only
    ///   what retrying cannot help; the caller reports it and stops the process.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let folded = self.fold_until(stop).await;
        for (_, owned) in std::mem::take(&mut self.tasks) {
            owned.forget();
        }
        if matches!(folded, Err(LogError::Fenced(_))) {
            return folded;
        }
        let left = self.group.leave().await;
        folded.and(left)
    }

    async fn fold_until(&mut self, stop: CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                done = self.committer.returned(), if self.committer.is_busy() => self.on_committed(done).await,
                // A membership that has ended gives no more events: going on without it would look alive and fold nothing.
                event = self.group.next() => self.on_event(event?).await,
                () = tokio::time::sleep_until(self.cut_at), if !self.committer.is_busy() => self.cut().await,
                fetched = self.reader.next(), if self.may_read() => self.on_fetched(fetched).await,
            };
            if let Err(error) = step {
                self.survive(error).await?;
            }
        }
        self.end().await
    }

    /// Finishes the transaction. Fenced or unheard, the last epoch is aborted and whoever takes over folds it again: that is no
    /// failure of the drain.
    async fn end(&mut self) -> Result<()> {
        match self.finish().await {
            Err(error @ (LogError::Retry(_) | LogError::Rebalancing(_) | LogError::Fenced(_))) => {
                tracing::warn!(worker = %self.name, %error, "the last commit failed; its records are folded again by another");
                Ok(())
            }
            other => other,
        }
    }

    fn may_read(&self) -> bool {
        !self.tasks.is_empty() && self.pending_bytes() < EPOCH_MAX_BYTES
    }

    fn pending_bytes(&self) -> usize {
        self.tasks.values().map(|owned| owned.task.pending_bytes()).sum()
    }

    async fn on_event(&mut self, event: GroupEvent) -> Result<()> {
        let done = match event {
            GroupEvent::Assigned(tps) => self.on_assigned(tps).await,
            GroupEvent::Revoked(tps) => {
                let finished = self.finish().await;
                self.let_go(&tps);
                finished
            }
            GroupEvent::Lost(tps) => {
                // Whatever is in flight for them is fenced; wait for that verdict so that nothing is sent afterwards.
                self.committer.stop().await;
                self.let_go(&tps);
                // The rest of the transaction went down with them.
                self.restore_all().await
            }
        };
        // Also after a failure: an event that stays unanswered is the last one this member hears.
        self.group.answer();
        done
    }

    async fn on_assigned(&mut self, tps: Vec<Tp>) -> Result<()> {
        for tp in tps {
            self.take_over(tp).await?;
        }
        self.commit_positions().await
    }

    /// Restores a partition from its journals and starts reading it.
    async fn take_over(&mut self, tp: Tp) -> Result<()> {
        let Some(work) = self.shared.streams.get(&tp.topic) else { return Ok(()) };
        if work.number(tp.partition).is_none() {
            tracing::warn!(worker = %self.name, partition = %tp, "the source grew: it is read when that is planned for");
            return Ok(());
        }
        let room = format!("restore {tp}");
        loop {
            match restore::restore(&self.shared, work, &tp).await {
                Ok(mut owned) => {
                    self.shared.stats.fine(&room);
                    for (view, why) in self.poison.stopped(&tp) {
                        owned.task.stop_view(view, why);
                    }
                    tracing::info!(worker = %self.name, partition = %tp, offset = owned.start, "reading");
                    self.reader.assign(tp.clone(), crate::log::From::Offset(owned.start));
                    self.tasks.insert(tp, owned);
                    return Ok(());
                }
                Err(LogError::Retry(why)) => {
                    tracing::warn!(worker = %self.name, partition = %tp, %why, "cannot restore yet; trying again");
                    self.shared.stats.trouble(&room, why);
                    if self.group.membership().is_err() {
                        // It is another's already; the event that says so comes next.
                        self.shared.stats.fine(&room);
                        return Ok(());
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(LogError::Recreated(topic) | LogError::UnknownTopic(topic)) if self.may_go(&topic) => {
                    tracing::warn!(worker = %self.name, partition = %tp, "its topic is gone: the others go on");
                    return Ok(());
                }
                Err(LogError::Recreated(topic)) => return Err(made_anew(&self.shared.app, &topic)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells whether a topic is one of several of its stream, which goes on without it.
    fn may_go(&self, topic: &str) -> bool {
        self.shared.streams.get(topic).is_some_and(StreamWork::is_one_of_several)
    }

    /// One of several topics is gone: what was folded of it is finished as far as the log still takes its positions.
    async fn leave_topic(&mut self, topic: &Topic) -> Result<()> {
        tracing::warn!(worker = %self.name, %topic, "the topic is gone: the others go on");
        let finished = self.finish().await;
        let tps: Vec<Tp> = self.tasks.keys().filter(|tp| tp.topic == *topic).cloned().collect();
        self.let_go(&tps);
        finished
    }

    fn let_go(&mut self, tps: &[Tp]) {
        self.purges.forget();
        for tp in tps {
            self.reader.unassign(tp);
            self.poison.forget(tp);
            self.silence.release(tp);
            if let Some(owned) = self.tasks.remove(tp) {
                owned.forget();
                tracing::info!(worker = %self.name, partition = %tp, "given away");
            }
        }
    }

    async fn on_fetched(&mut self, fetched: Result<Vec<Fetched>>) -> Result<()> {
        let fetched = match fetched {
            // One broker is away; the reader asks it again and reads what the others hold meanwhile. No fold is in doubt.
            Err(LogError::Retry(why)) => {
                self.shared.stats.trouble("read", why);
                return Ok(());
            }
            Err(LogError::Recreated(topic) | LogError::UnknownTopic(topic)) if self.may_go(&topic) => {
                return self.leave_topic(&topic).await;
            }
            Err(LogError::Recreated(topic)) => return Err(made_anew(&self.shared.app, &topic)),
            other => other?,
        };
        self.shared.stats.fine("read");
        let now_ms = self.shared.clock.now_ms();
        let mut behind = false;
        for item in fetched {
            let Some(owned) = self.tasks.get_mut(&item.tp) else { continue };
            self.silence.fetched(&item);
            behind |= item.next < item.last_stable;
            let folded = guarded(|| owned.fold(&item, now_ms)).unwrap_or_else(|panic| {
                let why = format!("folding {} from offset {} panicked: {panic}", item.tp, item.from);
                let views: Vec<_> = owned.views().collect();
                blame(&mut self.poison, &item.tp, owned, views, &why);
                Err(LogError::Retry(why))
            });
            folded?;
            if owned.wants_end() {
                owned.check_end(&*self.shared.log, &item.tp, item.next).await?;
            }
        }
        let stretched = self.epoch_began + EPOCH_BEHIND_MAX.max(self.shared.commit_interval);
        let early = self.pending_bytes() >= EPOCH_CUT_BYTES;
        let now = Instant::now();
        if early {
            self.cut_at = now;
        } else if behind && now < stretched {
            self.cut_at = self.cut_at.max(now + self.shared.commit_interval).min(stretched);
        }
        Ok(())
    }

    /// Cuts the epoch and starts its commit; the next epoch folds meanwhile.
    async fn cut(&mut self) -> Result<()> {
        let now = Instant::now();
        self.cut_at = now + self.shared.commit_interval;
        self.epoch_began = now;
        let mut epoch = Epoch::new(self.tasks.len());
        let now_ms = self.shared.clock.now_ms();
        self.silence.flow(&mut self.tasks);
        for (tp, owned) in &mut self.tasks {
            match guarded(|| owned.cut(tp, now_ms, &mut epoch)) {
                Ok(Ok(())) => {}
                Ok(Err(LogError::Refused { topic, reason })) => {
                    let views: Vec<_> = owned.writers_of(&topic).collect();
                    blame(&mut self.poison, tp, owned, views, &reason);
                    return Err(LogError::Retry(reason));
                }
                Ok(Err(error)) => return Err(error),
                Err(panic) => {
                    let why = format!("cutting {tp} panicked: {panic}");
                    let views: Vec<_> = owned.views().collect();
                    blame(&mut self.poison, tp, owned, views, &why);
                    return Err(LogError::Retry(why));
                }
            }
        }
        self.silence.tell(&self.tasks, now_ms, &mut epoch);
        if epoch.is_still() {
            return Ok(());
        }
        self.purges.plan(&*self.shared.log, &mut epoch).await?;
        let member = self.group.membership()?;
        self.committer.start(epoch, member);
        Ok(())
    }

    /// Cuts, commits and waits: before partitions are given away and at the end.
    async fn finish(&mut self) -> Result<()> {
        self.settle().await?;
        self.cut().await?;
        self.settle().await
    }

    /// Commits the start positions, so that the group knows where this began even if nothing ever comes.
    async fn commit_positions(&mut self) -> Result<()> {
        self.settle().await?;
        let mut epoch = Epoch::new(self.tasks.len());
        // Not where the task stands: what it has folded since its last cut is in no journal.
        epoch.offsets.extend(self.tasks.iter().map(|(tp, owned)| (tp.clone(), owned.last_cut())));
        if epoch.offsets.is_empty() {
            return Ok(());
        }
        let member = self.group.membership()?;
        self.committer.start(epoch, member);
        self.settle().await
    }

    async fn settle(&mut self) -> Result<()> {
        if self.committer.is_busy() {
            let done = self.committer.returned().await;
            self.on_committed(done).await?;
        }
        Ok(())
    }

    async fn on_committed(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Err(LogError::Rebalancing(why)) => self.wait_out_rebalance(why).await?,
            done => done?,
        }
        self.shared.stats.fine("commit");
        for (tp, owned) in &self.tasks {
            if let Some(offset) = owned.consumed() {
                self.purges.consumed(tp, offset);
            }
        }
        self.purges.run(&self.shared.log).await;
        for (tp, owned) in &mut self.tasks {
            if owned.committed() {
                // The receiver outlives the workers; when it does not, nobody waits for the end.
                let _ = self.shared.ended.send(tp.clone());
            }
        }
        Ok(())
    }

    /// Memory may hold a fold that was aborted: every task starts again from its journal.
    async fn restore_all(&mut self) -> Result<()> {
        self.committer.stop().await;
        let tps: Vec<Tp> = self.tasks.keys().cloned().collect();
        for tp in &tps {
            self.reader.unassign(tp);
        }
        self.tasks.clear();
        self.purges.forget();
        self.silence.forget();
        for tp in tps {
            self.take_over(tp).await?;
        }
        Ok(())
    }
}
