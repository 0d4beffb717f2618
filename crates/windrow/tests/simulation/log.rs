//! The simulated log: what one simulated process sees of the broker, through a network that delays, fails and loses answers.
//!
//! **In** the worker's calls. **Out** the broker's answers, late, or an error. **Invariant:** a process that is frozen neither asks
//! nor hears; one that is dead never does again, and says no farewell. Each choice comes from the run's seed.
//! **Not here:** what the broker decides (`broker`).

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use windrow::log::{
    Ends, Group, GroupOptions, Log, LogError, Reader, ReaderOptions, Result, Roster, Topic, TopicInfo,
    TopicSpec, Tp, Writer, WriterOptions,
};

use crate::{
    broker::{Broker, transactions::Hole},
    rng::Rng,
};

mod member;
mod reader;
mod writer;

/// Between two looks at something that is not there yet: what clients of Kafka call their back-off.
const BACKOFF: Duration = Duration::from_millis(20);
/// Sessions and transactions end at most so much later than their time is over.
const IDLE_TICK_MS: i64 = 200;
/// Longest patience inside one call, as in our client of the real one.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// The broker, and the way to it.
pub(crate) struct Net {
    broker: Mutex<Broker>,
    rng: Mutex<Rng>,
    begin: Instant,
    /// Something was appended, or became visible.
    pub(crate) changed: Notify,
    /// Markers are on their way.
    work: Notify,
    /// What happened, when somebody wants to read it.
    pub(crate) trace: Option<Mutex<Vec<String>>>,
}

impl Net {
    pub(crate) fn new(broker: Broker, rng: Rng, traced: bool) -> Arc<Self> {
        let trace = traced.then(Mutex::default);
        Arc::new(Self {
            broker: Mutex::new(broker),
            rng: Mutex::new(rng),
            begin: Instant::now(),
            changed: Notify::new(),
            work: Notify::new(),
            trace,
        })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.begin.elapsed().as_millis() as i64
    }

    /// Asks the broker, at this very moment.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&mut Broker) -> T) -> T {
        let mut broker = self.broker.lock();
        let before = broker.transactions.delivered();
        broker.tick(self.now_ms());
        let answer = ask(&mut broker);
        if broker.transactions.delivered() > before {
            self.changed.notify_waiters();
        }
        if broker.transactions.next_marker_ms().is_some() {
            self.work.notify_one();
        }
        answer
    }

    /// Lets the broker work while nobody asks: markers arrive, sessions end.
    pub(crate) async fn pass_time(self: Arc<Self>) {
        loop {
            let due_ms = self.with(|broker| broker.transactions.next_marker_ms());
            let wait_ms =
                due_ms.map_or(IDLE_TICK_MS, |due_ms| (due_ms - self.now_ms()).clamp(1, IDLE_TICK_MS));
            let _ = timeout(Duration::from_millis(wait_ms.unsigned_abs()), async {
                match due_ms {
                    Some(_) => pending().await,
                    None => self.work.notified().await,
                }
            })
            .await;
        }
    }

    pub(crate) fn chance<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.lock())
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.lock().push(format!("{:>8} {}", self.now_ms(), line()));
        }
    }
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Frozen,
    Dead,
}

/// Whether a process runs, and who waits for it to run again. Not a watch channel: that wakes its waiters in random order.
#[derive(Debug)]
pub(crate) struct Pulse {
    life: Mutex<Life>,
    changed: Notify,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { life: Mutex::new(Life::Running), changed: Notify::new() })
    }

    pub(crate) fn get(&self) -> Life {
        *self.life.lock()
    }

    pub(crate) fn set(&self, life: Life) {
        *self.life.lock() = life;
        self.changed.notify_waiters();
    }

    /// Waits while the process is frozen; for ever when it is dead.
    async fn gate(&self) {
        loop {
            let changed = self.changed.notified();
            match self.get() {
                Life::Running => return,
                Life::Frozen => changed.await,
                Life::Dead => pending().await,
            }
        }
    }
}

/// A process's view of the log.
#[derive(Clone)]
pub(crate) struct SimLog {
    pub(crate) net: Arc<Net>,
    pub(crate) name: Arc<str>,
    pulse: Arc<Pulse>,
    /// What its reader found missing, until the commit that passes it.
    holes: Arc<Mutex<Vec<(Tp, Hole)>>>,
}

impl SimLog {
    pub(crate) fn new(net: Arc<Net>, name: Arc<str>, pulse: Arc<Pulse>) -> Self {
        Self { net, name, pulse, holes: Arc::default() }
    }

    fn is_dead(&self) -> bool {
        self.pulse.get() == Life::Dead
    }

    async fn gate(&self) {
        self.pulse.gate().await;
    }

    async fn travel(&self) {
        let knobs = self.net.with(|broker| broker.knobs.clone());
        let delay_ms = self.net.chance(|rng| match rng.per_mille(knobs.slow_calls) {
            true => rng.within(0..knobs.call_max_ms),
            false => rng.within(-4..2),
        });
        if delay_ms > 0 {
            sleep(Duration::from_millis(delay_ms.unsigned_abs())).await;
        }
    }

    /// One request and its answer.
    async fn call<T>(&self, what: &'static str, ask: impl FnOnce(&mut Broker) -> Result<T>) -> Result<T> {
        self.gate().await;
        self.travel().await;
        let knobs = self.net.with(|broker| broker.knobs.clone());
        let (fails, is_lost) =
            self.net.chance(|rng| (rng.per_mille(knobs.failures), rng.per_mille(knobs.lost_answers)));
        if fails {
            self.net.with(|broker| broker.count("call failed"));
            self.net.note(|| format!("{} {what}: fails", self.name));
            return Err(LogError::Retry(format!("{what}: the broker is busy")));
        }
        let answer = self.net.with(ask);
        self.travel().await;
        self.gate().await;
        if let Err(error) = &answer {
            self.net.note(|| format!("{} {what}: {error}", self.name));
        }
        if is_lost {
            self.net.with(|broker| broker.count("answer lost"));
            self.net.note(|| format!("{} {what}: answer lost", self.name));
            return Err(LogError::Retry(format!("{what}: no answer")));
        }
        answer
    }
}

#[async_trait]
impl Log for SimLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        self.call("create_topic", |broker| Ok(broker.create(spec))).await
    }

    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        let all = self.topics().await?;
        Ok(all.into_iter().find(|info| &*info.name == name))
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let info = |(name, topic): (&Topic, &crate::broker::TopicState)| TopicInfo {
            name: name.clone(),
            epoch: topic.epoch,
            partitions: topic.partitions.len() as i32,
        };
        self.call("topics", |broker| Ok(broker.topics.iter().map(info).collect())).await
    }

    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        self.call("ends", |broker| tps.iter().map(|tp| Ok(broker.partition(tp)?.ends())).collect()).await
    }

    async fn committed(&self, _group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        let end = Instant::now() + SETTLE_MAX;
        loop {
            let stable = |broker: &mut Broker| {
                if tps.iter().any(|tp| broker.transactions.is_pending(tp)) {
                    broker.count("unstable offsets waited for");
                    return Err(LogError::Retry("offsets of a transaction are pending".into()));
                }
                Ok(tps.iter().map(|tp| broker.offsets.get(tp).copied()).collect())
            };
            match self.call("committed", stable).await {
                Err(LogError::Retry(why)) if Instant::now() >= end => return Err(LogError::Retry(why)),
                Err(LogError::Retry(_)) => sleep(BACKOFF).await,
                answer => return answer,
            }
        }
    }

    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        self.net.note(|| format!("{} purges {tp} below {offset}", self.name));
        let purge = |broker: &mut Broker| {
            broker.count("journal purged");
            broker.partition_mut(tp)?.delete_below(offset);
            Ok(())
        };
        self.call("delete_records", purge).await
    }

    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        self.call("add_partitions", |broker| broker.grow(name, partitions)).await
    }

    async fn record_max_bytes(&self, _name: &str) -> Result<usize> {
        Ok(1 << 20)
    }

    async fn delete_topic(&self, name: &str) -> Result<bool> {
        Err(LogError::Fatal(format!("nobody deletes topics here, not even {name}")))
    }

    async fn roster(&self, _group: &str) -> Result<Roster> {
        self.call("roster", |broker| Ok(Roster { members: broker.group.len(), ..Roster::default() })).await
    }

    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        self.gate().await;
        Ok(Box::new(member::Member::join(self.clone(), options)))
    }

    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(reader::SimReader::new(self.clone(), options)))
    }

    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        let id = options.transactional_id.expect("the simulation commits in transactions");
        Ok(Box::new(writer::SimWriter::open(self.clone(), id).await?))
    }
}
