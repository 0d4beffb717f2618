//! Watermarks: what the workers of all processes tell each other of their partitions, through the topic `<app>.watermarks`.
//!
//! **In** the topic, read from its end on while the process lives. **Out** a table that the workers of this process look into, and the
//! records with which they tell their own part, each in a transaction of its worker.
//! **Before** this file: `worker::silence` of every process (writes). **After** it: `worker::silence` of this one (reads).
//!
//! **Invariant:** a partition not heard from within `HEARD_MAX` is unknown, and nobody flows past an unknown one. The table holds only
//! streams of the configuration. What is older than `KEPT` is purged, by every process that reads, so the topic stays small.
//! **Not here:** what follows from the table (`windrow_core::silence`), when to tell (`worker::silence`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windrow_core::{
    batch::Record,
    plan::{StreamPlan, ViewPlan},
    silence::Known,
};

use crate::{
    log::{From, Log, Outgoing, ReaderOptions, Result, Topic, Tp},
    stats::{Counter, Stats},
    topics::{self, StreamWork},
};

/// Each partition is told again at least this often, changed or not.
pub const TOLD_EVERY: Duration = Duration::from_secs(10);
/// A partition that missed so many of those is unknown: its owner is gone, and nobody watches it.
const HEARD_MAX: Duration = Duration::from_secs(30);
/// Age after which records are purged.
const KEPT: Duration = Duration::from_secs(60);
/// Time between two purges.
const PURGE_EVERY: Duration = Duration::from_secs(30);
/// Time between two marks of how far the topic was when: `KEPT` over this bounds how many are held.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Pause after trouble.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// No stream has more partitions: a bound for the table, whatever stands in the topic.
const PARTITIONS_MAX: i32 = 10_000;

/// Tells whether the time of a stream moves on in silence: some window waits for it, and the stream does not say "never". Where a
/// view is merged from what partitions send (its topics say that, whatever the plan would be today), even then: those that never had
/// a record must not hold it. A bounded input waits for its end.
pub fn flows(plan: &StreamPlan, is_merged: impl Fn(usize) -> bool) -> bool {
    let waits =
        |view: &ViewPlan| view.is_windowed() && (plan.spec.idle_ms.is_some() || is_merged(view.index));
    !plan.spec.until_end && plan.views.iter().any(|view| waits(view))
}

/// Tells whether the partitions of a stream must hear of each other.
pub fn is_shared(work: &StreamWork) -> bool {
    work.sources.living().len() > 1 && flows(&work.plan, |view| work.scatters(view))
}

/// The table of this process.
pub struct Watermarks {
    topic: Topic,
    /// By stream and the partition's number; the streams are those of the configuration.
    table: Mutex<BTreeMap<Arc<str>, BTreeMap<i32, Heard>>>,
    unreadable: Arc<Counter>,
}

struct Heard {
    known: Known,
    at: Instant,
}

/// The value of a record.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    watermark: i64,
    idle: bool,
}

impl Watermarks {
    /// Makes the topic where it is missing, and reads it from its present end on until told to stop.
    pub async fn start(
        log: &Arc<dyn Log>,
        app: &str,
        streams: impl Iterator<Item = Arc<str>>,
        stats: &Arc<Stats>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>> {
        let topic = topics::ensure_watermarks(&**log, app).await?;
        let watermarks = Arc::new(Self {
            topic: topic.clone(),
            table: Mutex::new(streams.map(|stream| (stream, BTreeMap::new())).collect()),
            unreadable: stats.counter(("node", "node".into(), None), "watermarks_unreadable", ""),
        });
        let tp = Tp::new(topic, 0);
        // What was told before this process lived is of no use: who still lives tells it again.
        let ends = log.ends(std::slice::from_ref(&tp)).await?;
        let end = ends.first().map_or(0, |ends| ends.high_watermark);
        let follow = Follow { tp, position: end, marks: VecDeque::from([(Instant::now(), end)]) };
        tokio::spawn(follow.run(log.clone(), watermarks.clone(), stats.clone(), stop));
        Ok(watermarks)
    }

    /// Returns what is known of a stream's partitions now, by their numbers, `None` where nothing was heard.
    pub fn known(&self, stream: &str, numbers: &[i32]) -> Vec<Option<Known>> {
        let now = Instant::now();
        let table = self.table.lock();
        let Some(heard) = table.get(stream) else { return vec![None; numbers.len()] };
        let fresh = |number| heard.get(number).filter(|heard| now.duration_since(heard.at) <= HEARD_MAX);
        numbers.iter().map(|number| fresh(number).map(|heard| heard.known)).collect()
    }

    /// Makes the record that tells of one partition, by its number.
    pub fn record(&self, stream: &str, number: i32, known: Known, now_ms: i64) -> Outgoing {
        let told = Told { watermark: known.watermark_ms, idle: known.idle };
        Outgoing {
            topic: self.topic.clone(),
            partition: 0,
            key: Some(Bytes::from(format!("{stream}/{number}"))),
            // A number and a flag always have a text.
            value: serde_json::to_vec(&told).ok().map(Bytes::from),
            headers: Vec::new(),
            timestamp_ms: now_ms,
        }
    }

    fn hear(&self, record: &Record<'_>, now: Instant) {
        let Some((stream, partition, known)) = read(record) else {
            self.unreadable.add(1);
            tracing::debug!(offset = record.offset, "a record of {} cannot be read", self.topic);
            return;
        };
        // Another version of the configuration may know streams that this one does not.
        if let Some(heard) = self.table.lock().get_mut(stream) {
            heard.insert(partition, Heard { known, at: now });
        }
    }
}

fn read<'r>(record: &Record<'r>) -> Option<(&'r str, i32, Known)> {
    let (stream, partition) = std::str::from_utf8(record.key?).ok()?.split_once('/')?;
    let partition = partition.parse().ok().filter(|p| (0..PARTITIONS_MAX).contains(p))?;
    let told: Told = serde_json::from_slice(record.value?).ok()?;
    Some((stream, partition, Known { watermark_ms: told.watermark, idle: told.idle }))
}

/// The reader behind the table.
struct Follow {
    tp: Tp,
    position: i64,
    /// How far the topic was when, oldest first: the purge goes by when a record was seen here, not by anybody's clock.
    marks: VecDeque<(Instant, i64)>,
}

impl Follow {
    async fn run(
        mut self,
        log: Arc<dyn Log>,
        watermarks: Arc<Watermarks>,
        stats: Arc<Stats>,
        stop: CancellationToken,
    ) {
        let mut purge = tokio::time::interval(PURGE_EVERY);
        loop {
            let trouble = tokio::select! {
                () = stop.cancelled() => return,
                trouble = self.read(&log, &watermarks, &stats, &mut purge) => trouble,
            };
            // Silence does not move on meanwhile, which is what an outage means.
            if let Err(error) = trouble {
                stats.trouble("watermarks", error.to_string());
                tracing::warn!(%error, "{} cannot be read; trying again", watermarks.topic);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn read(
        &mut self,
        log: &Arc<dyn Log>,
        watermarks: &Watermarks,
        stats: &Stats,
        purge: &mut tokio::time::Interval,
    ) -> Result<()> {
        let mut reader = log.reader(ReaderOptions::default()).await?;
        reader.assign(self.tp.clone(), From::Offset(self.position));
        loop {
            let answers = tokio::select! {
                answers = reader.next() => answers?,
                _ = purge.tick() => {
                    self.purge(log).await;
                    continue;
                }
            };
            stats.fine("watermarks");
            let now = Instant::now();
            for item in answers {
                let records = item.batches.iter().flat_map(|batch| batch.records_from(item.from));
                records.for_each(|record| watermarks.hear(&record, now));
                self.position = item.next;
            }
            self.mark(now);
        }
    }

    fn mark(&mut self, now: Instant) {
        let is_due = self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK_EVERY);
        if is_due {
            self.marks.push_back((now, self.position));
        }
        // One that is old enough to purge by is enough.
        while self.marks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= KEPT) {
            self.marks.pop_front();
        }
    }

    async fn purge(&self, log: &Arc<dyn Log>) {
        let old = self.marks.front().filter(|(at, offset)| at.elapsed() >= KEPT && *offset > 0);
        let Some((_, offset)) = old else { return };
        if let Err(error) = log.delete_records(&self.tp, *offset).await {
            tracing::warn!(topic = %self.tp, %error, "could not be purged; the next round tries again");
        }
    }
}

#[cfg(test)]
mod tests;
