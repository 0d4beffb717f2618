//! A member of the group: joins, beats, asks its worker, all by itself as a client library does in its own thread.
//!
//! **Invariant:** a revocation or a loss holds the member back until it was answered; no membership is handed out between a loss and
//! the next assignment.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, sleep},
};
use windrow::log::{Group, GroupEvent, GroupOptions, LogError, Membership, Result, Topic, Tp};

use super::{BACKOFF, SETTLE_MAX, SimLog};
use crate::broker::group::{Beat, MemberId};

const HEARTBEAT: Duration = Duration::from_millis(300);
/// What membership was at one moment.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    taken: Option<(MemberId, i32)>,
}

impl Proof {
    pub(super) fn now(&self) -> Option<(MemberId, i32)> {
        self.taken
    }
}

#[derive(Default)]
struct Shared {
    membership: Mutex<Option<(MemberId, i32)>>,
    owns: Mutex<bool>,
    /// The group has taken partitions whose worker has not answered.
    overdue: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    answer: Notify,
}

pub(super) struct Member {
    log: SimLog,
    shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<(u64, GroupEvent)>,
    unanswered: Option<u64>,
    client: JoinHandle<()>,
    is_static: bool,
}

impl Member {
    pub(super) fn join(log: SimLog, options: GroupOptions) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let (sender, events) = mpsc::unbounded_channel();
        let is_static = options.instance_id.is_some();
        let client = Client {
            log: log.clone(),
            shared: shared.clone(),
            sender,
            instance: options.instance_id,
            topics: options.topics,
            answer_max: Duration::from_millis(log.net.with(|broker| broker.answer_ms).unsigned_abs()),
            owned: BTreeSet::new(),
            id: None,
        };
        let client = tokio::spawn(client.run());
        Self { log, shared, events, unanswered: None, client, is_static }
    }
}

#[async_trait]
impl Group for Member {
    async fn next(&mut self) -> Result<GroupEvent> {
        if self.unanswered.is_some() {
            return std::future::pending().await;
        }
        self.log.gate().await;
        let Some((number, event)) = self.events.recv().await else {
            return std::future::pending().await;
        };
        self.log.net.note(|| format!("{} hears {}", self.log.name, told(&event)));
        self.unanswered = Some(number);
        Ok(event)
    }

    fn answer(&mut self) {
        if let Some(number) = self.unanswered.take() {
            self.log.net.note(|| format!("{} answers", self.log.name));
            self.shared.answered.store(number, SeqCst);
            self.shared.answer.notify_waiters();
        }
    }

    fn membership(&self) -> Result<Membership> {
        let is_overdue = self.shared.overdue.load(SeqCst) > self.shared.answered.load(SeqCst);
        if !*self.shared.owns.lock() || is_overdue {
            return Err(LogError::Fenced("the group gave the partitions to another member".into()));
        }
        let taken = *self.shared.membership.lock();
        Ok(Membership(Arc::new(Proof { taken })))
    }

    async fn leave(self: Box<Self>) -> Result<()> {
        self.client.abort();
        let id = self.shared.membership.lock().take();
        let Some((id, _)) = id else { return Ok(()) };
        let end = Instant::now() + SETTLE_MAX;
        loop {
            let left = self.log.call("leave", |broker| {
                let now_ms = broker.now_ms;
                broker.group.leave(id, now_ms);
                Ok(())
            });
            match left.await {
                Err(LogError::Retry(_)) if Instant::now() < end => sleep(BACKOFF).await,
                done => return done,
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.client.abort();
        let Some((id, _)) = self.shared.membership.lock().take() else { return };
        if !self.log.is_dead() && !self.is_static {
            self.log.net.with(|broker| {
                let now_ms = broker.now_ms;
                broker.group.leave(id, now_ms);
            });
        }
    }
}

struct Client {
    log: SimLog,
    shared: Arc<Shared>,
    sender: mpsc::UnboundedSender<(u64, GroupEvent)>,
    instance: Option<String>,
    topics: Vec<Topic>,
    /// Longest wait for the worker's answer.
    answer_max: Duration,
    owned: BTreeSet<Tp>,
    id: Option<MemberId>,
}

impl Client {
    async fn run(mut self) {
        loop {
            let Some((generation, assigned)) = self.rejoin().await else {
                self.lose().await;
                continue;
            };
            let gone: Vec<Tp> = self.owned.difference(&assigned).cloned().collect();
            let come: Vec<Tp> = assigned.difference(&self.owned).cloned().collect();
            if !gone.is_empty() {
                self.log.net.with(|broker| broker.count("revoked"));
                self.ask(GroupEvent::Revoked(gone.clone())).await;
                self.owned.retain(|tp| !gone.contains(tp));
            }
            *self.shared.owns.lock() = true;
            if !come.is_empty() {
                self.owned.extend(come.iter().cloned());
                self.tell(GroupEvent::Assigned(come));
            }
            if gone.is_empty() && !self.beat(generation).await {
                self.lose().await;
            }
        }
    }

    /// Joins and waits for the others; `None` when the group does not know this member any more.
    async fn rejoin(&mut self) -> Option<(i32, BTreeSet<Tp>)> {
        loop {
            let (id, instance, owned) = (self.id, self.instance.clone(), self.owned.clone());
            let joined = self.log.call("join", |broker| {
                let now_ms = broker.now_ms;
                let partitions = broker.partitions_of(&self.topics);
                broker.group.set_partitions(partitions, now_ms);
                Ok(broker.group.join(id, instance.as_deref(), owned, now_ms))
            });
            match joined.await {
                Ok(Ok(id)) => {
                    self.id = Some(id);
                    break;
                }
                Ok(Err(_)) => return None,
                Err(_) => sleep(BACKOFF).await,
            }
        }
        let id = self.id?;
        loop {
            match self.log.call("sync", |broker| Ok(broker.group.settled(id))).await {
                Ok(Ok(Some((generation, assigned)))) => {
                    *self.shared.membership.lock() = Some((id, generation));
                    self.log.net.note(|| format!("{} is {id} in generation {generation}", self.log.name));
                    return Some((generation, assigned));
                }
                Ok(Err(_)) => return None,
                Ok(Ok(None)) | Err(_) => sleep(BACKOFF).await,
            }
        }
    }

    /// Beats until the group rebalances (true) or gave this member up (false).
    async fn beat(&mut self, generation: i32) -> bool {
        let Some(id) = self.id else { return false };
        loop {
            sleep(HEARTBEAT).await;
            let beat = self.log.call("heartbeat", |broker| {
                let now_ms = broker.now_ms;
                Ok(broker.group.heartbeat(id, generation, now_ms))
            });
            match beat.await {
                Ok(Beat::Fine) | Err(_) => {}
                Ok(Beat::Rebalance) => return true,
                Ok(Beat::Unknown) => return false,
            }
        }
    }

    async fn lose(&mut self) {
        self.id = None;
        // A member that is none commits as nobody, which is not fenced.
        *self.shared.membership.lock() = None;
        *self.shared.owns.lock() = false;
        let lost: Vec<Tp> = std::mem::take(&mut self.owned).into_iter().collect();
        if !lost.is_empty() {
            self.log.net.with(|broker| broker.count("lost"));
            self.ask(GroupEvent::Lost(lost)).await;
        }
    }

    fn tell(&self, event: GroupEvent) -> u64 {
        let number = self.shared.sent.fetch_add(1, SeqCst) + 1;
        let _ = self.sender.send((number, event));
        number
    }

    async fn ask(&self, event: GroupEvent) {
        let number = self.tell(event);
        let answered = async {
            loop {
                let notified = self.shared.answer.notified();
                if self.shared.answered.load(SeqCst) >= number {
                    return;
                }
                notified.await;
            }
        };
        if tokio::time::timeout(self.answer_max, answered).await.is_err() {
            self.shared.overdue.store(number, SeqCst);
            self.log.net.with(|broker| broker.count("answer overdue"));
            self.log.net.note(|| format!("{} did not answer", self.log.name));
        }
        self.log.gate().await;
    }
}

fn told(event: &GroupEvent) -> String {
    let (what, tps) = match event {
        GroupEvent::Assigned(tps) => ("assigned", tps),
        GroupEvent::Revoked(tps) => ("revoked", tps),
        GroupEvent::Lost(tps) => ("lost", tps),
    };
    tps.iter().fold(what.to_owned(), |line, tp| format!("{line} {tp}"))
}
