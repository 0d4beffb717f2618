//! Keeper: finds who leads a partition and where it begins, and starts the brokers' tasks.
//!
//! **In** partitions without a leader or without a position. **Out** the same with both, or a failure told to the caller.
//! **Invariant:** a position that is not held becomes a gap that is told, never a silent jump; a topic that is missing for
//! [`MISSING_MAX`] or was made anew stops its partitions and says so.
//! **Not here:** fetching.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hashbrown::HashMap;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Instant,
};
use uuid::Uuid;

use super::{
    Delivery, Of, Trouble,
    broker::Broker,
    table::{Leader, Part, Start, Table},
};
use crate::log::{
    Fetched, From, Gap, LogError, ReaderOptions, Result, Tp,
    kafka::{
        admin,
        cluster::{Cluster, Pause, leader},
    },
};

/// Brokers hear of a new topic one after the other; after this a topic that is not there is not coming.
const MISSING_MAX: Duration = Duration::from_secs(5);
/// Longest wait for leaders to say where partitions begin; while it lasts no other partition gets a leader.
const START_MAX: Duration = Duration::from_secs(5);
/// Shorter outages are nobody's business.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// Before a position is asked for again that one broker refused and another one has.
const LAGGING_PAUSE: Duration = Duration::from_millis(50);

struct Keeper {
    cluster: Arc<Cluster>,
    table: Arc<Table>,
    options: ReaderOptions,
    sender: mpsc::Sender<Delivery>,
    /// Tasks by node, and how to wake each. They end with the keeper.
    brokers: HashMap<i32, Arc<Notify>>,
    tasks: JoinSet<()>,
}

/// Looks after the table until the reader is dropped.
pub(super) async fn run(
    cluster: Arc<Cluster>,
    table: Arc<Table>,
    options: ReaderOptions,
    sender: mpsc::Sender<Delivery>,
) {
    let brokers = HashMap::new();
    let mut keeper = Keeper { cluster, table, options, sender, brokers, tasks: JoinSet::new() };
    let mut pause = Pause::endless();
    let mut down_since: Option<Instant> = None;
    loop {
        let token = keeper.table.newest_token();
        let needy = keeper.table.needy();
        if needy.is_empty() {
            down_since = None;
            pause.reset();
            keeper.table.changed.notified().await;
            continue;
        }
        match keeper.settle(needy).await {
            Ok(true) => down_since = None,
            Ok(false) => {
                pause.again().await;
            }
            Err(error) => {
                let since = *down_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= TOLD_AFTER || !matches!(error, LogError::Retry(_)) {
                    let _ = keeper.sender.try_send(Delivery::trouble(token, error));
                }
                pause.again().await;
            }
        }
    }
}

impl Keeper {
    /// Finds leaders, then positions; false when some partition has to wait.
    async fn settle(&mut self, needy: Vec<(Tp, Part)>) -> Result<bool> {
        let mut names: Vec<&str> = needy.iter().map(|(tp, _)| &*tp.topic).collect();
        names.sort_unstable();
        names.dedup();
        let metadata = self.cluster.metadata(Some(&names)).await?;
        let mut complete = true;
        let mut led = Vec::new();
        for (tp, part) in &needy {
            match leader(&metadata, tp) {
                Ok(None) => complete = false,
                Ok(Some((topic, _))) if part.topic_id.is_some_and(|id| id != topic.topic_id) => {
                    self.stop(tp, part, LogError::Recreated(tp.topic.clone())).await;
                }
                Ok(Some((topic, partition))) => {
                    let near = part.near.node().filter(|node| self.cluster.address(*node).is_some());
                    let node = near.unwrap_or(partition.leader_id.0);
                    let found = Leader { node, epoch: partition.leader_epoch };
                    led.push(Led { tp, part, leader: found, topic_id: topic.topic_id });
                }
                Err(error @ LogError::UnknownTopic(_)) => {
                    complete = false;
                    let since = part.missing_since.unwrap_or_else(Instant::now);
                    if since.elapsed() >= MISSING_MAX {
                        self.stop(tp, part, error).await;
                    } else {
                        self.table.update(tp, part.token, |part| part.missing_since = Some(since));
                    }
                }
                Err(error) => self.stop(tp, part, error).await,
            }
        }
        let (known, unknown): (Vec<_>, Vec<_>) = led.into_iter().partition(|led| led.part.start.is_known());
        for led in &known {
            self.begin(led, &Begin::at(led.part.position)).await;
        }
        // All at once: one broker that is slow must not keep the partitions of the others waiting.
        let asking = unknown.iter().map(async |led| (led, self.start_in_time(led.tp, led.part).await));
        let mut asking: FuturesUnordered<_> = asking.collect();
        let (mut begun, mut failed) = (Vec::new(), None);
        while let Some((led, found)) = asking.next().await {
            match found {
                Ok(found) => begun.push((led, found)),
                Err(error) => failed = Some(error),
            }
        }
        drop(asking);
        for (led, found) in begun {
            self.begin(led, &found).await;
        }
        failed.map_or(Ok(complete), Err)
    }

    /// Lets a partition be fetched.
    async fn begin(&mut self, led: &Led<'_>, begin: &Begin) {
        // Before the partition is fetched again, so that answers stay in order.
        if let Some(gap) = begin.gap {
            self.tell_gap(led.tp, led.part, begin, gap).await;
        }
        self.table.update(led.tp, led.part.token, |part| {
            part.leader = Some(led.leader);
            part.topic_id = Some(led.topic_id);
            part.position = begin.position;
            part.start = Start::Known;
            if begin.gap.is_some() {
                part.epoch = -1;
            }
        });
        self.wake(led.leader.node);
    }

    async fn start_in_time(&self, tp: &Tp, part: &Part) -> Result<Begin> {
        match tokio::time::timeout(START_MAX, self.start(tp, part)).await {
            Ok(found) => found,
            Err(_) => {
                let limit = START_MAX.as_secs();
                Err(LogError::Retry(format!(
                    "the leader of {tp} does not say within {limit} s where it begins"
                )))
            }
        }
    }

    /// Finds where a partition begins.
    async fn start(&self, tp: &Tp, part: &Part) -> Result<Begin> {
        let one = std::slice::from_ref(tp);
        let offset = match part.start {
            Start::Known | Start::Ask(From::Offset(_)) => return Ok(Begin::at(part.position)),
            Start::Ask(From::Earliest) => admin::offsets(&self.cluster, one, admin::EARLIEST, false).await?,
            Start::Ask(From::Latest) => admin::offsets(&self.cluster, one, admin::LATEST, false).await?,
            Start::OutOfRange => return self.restart(tp, part.position).await,
        };
        Ok(Begin::at(offset.first().copied().unwrap_or(0)))
    }

    /// The position is not held: below the first offset retention was faster, past the end the log was cut.
    async fn restart(&self, tp: &Tp, position: i64) -> Result<Begin> {
        let ends = admin::ends(&self.cluster, std::slice::from_ref(tp)).await?;
        let Some(ends) = ends.first() else { return Ok(Begin::at(position)) };
        let to = position.clamp(ends.earliest, ends.high_watermark);
        let gap = (to != position).then_some(Gap { from: position, to });
        if gap.is_none() {
            // The leader that refused it lags behind the one asked now: give it time.
            tokio::time::sleep(LAGGING_PAUSE).await;
        }
        Ok(Begin { position: to, gap, high_watermark: ends.high_watermark, last_stable: ends.last_stable })
    }

    async fn tell_gap(&self, tp: &Tp, part: &Part, begin: &Begin, gap: Gap) {
        let fetched = Fetched {
            tp: tp.clone(),
            batches: Vec::new(),
            from: gap.from,
            next: gap.to,
            high_watermark: begin.high_watermark,
            last_stable: begin.last_stable,
            gap: Some(gap),
        };
        let _ = self.sender.send(Delivery { items: vec![(part.token, fetched)], ..Delivery::empty() }).await;
    }

    /// Stops a partition and says why; assigning it anew starts it again.
    async fn stop(&self, tp: &Tp, part: &Part, error: LogError) {
        self.table.update(tp, part.token, |part| part.parked = true);
        let trouble = Trouble { of: Of::Part(tp.clone(), part.token), error };
        let _ = self.sender.send(Delivery { trouble: Some(trouble), ..Delivery::empty() }).await;
    }

    fn wake(&mut self, node: i32) {
        let woken = self.brokers.entry(node).or_insert_with(|| {
            let woken = Arc::new(Notify::new());
            let broker = Broker {
                node,
                cluster: self.cluster.clone(),
                table: self.table.clone(),
                options: self.options,
                sender: self.sender.clone(),
                woken: woken.clone(),
            };
            self.tasks.spawn(broker.run());
            woken
        });
        woken.notify_one();
    }
}

/// A partition whose leader was found.
struct Led<'a> {
    tp: &'a Tp,
    part: &'a Part,
    leader: Leader,
    topic_id: Uuid,
}

/// Where a partition begins, and what was missed.
struct Begin {
    position: i64,
    gap: Option<Gap>,
    high_watermark: i64,
    last_stable: i64,
}

impl Begin {
    fn at(position: i64) -> Self {
        Self { position, gap: None, high_watermark: -1, last_stable: -1 }
    }
}
