//! Several topics in one channel: found while it runs, read side by side, forgotten when they are gone.
//!
//! **In** a list of names or a pattern. **Out** changes of the room, like those of one topic.
//!
//! | a topic | what becomes of it |
//! |---|---|
//! | there when the channel began | read from where the channel begins: a table from the earliest offset, else `keep` records before the end |
//! | appeared later | read from its beginning |
//! | gained partitions | those are read from their beginning |
//! | deleted, or deleted and made anew | its rows leave; the new one has appeared later |
//!
//! **Invariant:** what becomes of one topic concerns no other. A topic leaves only when two looks in a row do not find it: a broker that
//! was just started may not know all. **Not here:** what a record means, what a client is told.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};
use windrow_core::{hub::Lapse, topics::Topics};

use super::{Applier, Begin, PAUSES, Stop, epoch, serve_if_caught_up};
use crate::{
    hub::room::Room,
    log::{Ends, From, Log, LogError, Reader, ReaderOptions, Result, Topic, TopicInfo, Tp},
    stats::Stats,
};

/// Between two looks for topics that appeared, grew or are gone: one question to one broker.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Topics that one channel reads: with a partition each, one request names them all. Further ones are left out, loudly.
pub(crate) const TOPICS_MAX: usize = 1_000;

/// Looks in a row that must not find a topic before it is gone.
const MISSES_MAX: u32 = 2;

/// The topics that are read, by name.
#[derive(Debug, Default)]
pub(super) struct Held {
    topics: BTreeMap<Topic, HeldTopic>,
    left_out: usize,
}

#[derive(Debug)]
struct HeldTopic {
    epoch: u64,
    partitions: i32,
    misses: u32,
    /// The log said that it is gone: it is read on when a look finds it after all.
    is_stopped: bool,
}

/// One life of a reader.
struct Reading<'a> {
    log: &'a Arc<dyn Log>,
    room: &'a Arc<Room>,
    topics: &'a Topics,
    name: &'a str,
    reader: Box<dyn Reader>,
    places: HashMap<Tp, i32>,
}

pub(super) async fn try_read(
    (log, room): (&Arc<dyn Log>, &Arc<Room>),
    topics: &Topics,
    rows: &mut Applier,
    begin: &mut Begin,
    (stats, name): (&Stats, &str),
) -> std::result::Result<Infallible, Stop> {
    let reader = log.reader(ReaderOptions::default()).await?;
    let mut reading = Reading { log, room, topics, name, reader, places: HashMap::new() };
    if begin.targets.is_none() {
        reading.begin(begin).await?;
    } else {
        reading.go_on(&begin.held);
    }
    let mut look_at = Instant::now() + LOOK_EVERY;
    loop {
        let is_served = serve_if_caught_up(room, &begin.targets);
        match timeout_at(look_at, reading.reader.next()).await {
            Ok(Ok(answers)) => {
                for fetched in answers {
                    let Some(place) = reading.places.get(&fetched.tp).copied() else { continue };
                    rows.apply(room, &fetched, place).await?;
                }
                if is_served {
                    stats.fine(name);
                }
            }
            Ok(Err(LogError::UnknownTopic(topic) | LogError::Recreated(topic))) => {
                reading.stop(&topic, &mut begin.held);
            }
            Ok(Err(trouble @ LogError::Retry(_))) => {
                // The reader asks again by itself, and reads all else meanwhile.
                stats.trouble(name, trouble.to_string());
                sleep(PAUSES.0).await;
            }
            Ok(Err(trouble)) => return Err(trouble.into()),
            // Without topics there are no answers.
            Err(_) if is_served && begin.held.topics.is_empty() => stats.fine(name),
            Err(_) => {}
        }
        if Instant::now() >= look_at {
            look_at = Instant::now() + LOOK_EVERY;
            match reading.look(&mut begin.held).await {
                Err(Stop::Trouble(trouble @ (LogError::Retry(_) | LogError::UnknownTopic(_)))) => {
                    // What is read is read on; the next look comes soon.
                    stats.trouble(name, trouble.to_string());
                }
                looked => looked?,
            }
        }
    }
}

impl Reading<'_> {
    /// Lists the topics that are meant and there, in the order of their names, as many as are read.
    async fn find(&mut self, held: &mut Held) -> Result<BTreeMap<Topic, TopicInfo>> {
        let found = crate::topics::look(&**self.log, self.topics).await?;
        let mut found: BTreeMap<_, _> = found.into_iter().map(|info| (info.name.clone(), info)).collect();
        let mut room = TOPICS_MAX.saturating_sub(held.topics.len());
        let mut left_out = Vec::new();
        for name in found.keys().filter(|name| !held.topics.contains_key(*name)) {
            if room == 0 {
                left_out.push(name.clone());
            }
            room = room.saturating_sub(1);
        }
        if let Some(first) = left_out.first().filter(|_| left_out.len() != held.left_out) {
            tracing::warn!(
                "{}: {} topics are left out, {first} the first of them: a channel reads at most {TOPICS_MAX}",
                self.name,
                left_out.len()
            );
        }
        held.left_out = left_out.len();
        self.room.counters.topics_left_out.set(i64::try_from(left_out.len()).unwrap_or(i64::MAX));
        left_out.iter().for_each(|name| drop(found.remove(name)));
        Ok(found)
    }

    /// Begins with the topics that are there.
    async fn begin(&mut self, begin: &mut Begin) -> Result<()> {
        let mut held = Held::default();
        let found: Vec<_> = self.find(&mut held).await?.into_values().collect();
        let ends = ends_of(self.log, &found).await?;
        let mut targets = Vec::new();
        for (info, ends) in found.iter().zip(&ends) {
            let from = (0..).zip(ends).map(|(p, ends)| (p, begin.offset(self.room, (epoch(info), p), ends)));
            let places = self.add(info, from.collect(), &mut held);
            targets.extend(places.into_iter().zip(ends.iter().map(|ends| ends.high_watermark)));
        }
        self.room.found(held.topics.keys().cloned().collect());
        (begin.held, begin.targets) = (held, Some(targets));
        if begin.has_watchers && !self.room.is_table() {
            // They are told every record from here on.
            self.room.go_live();
        }
        Ok(())
    }

    /// Reads on, with another reader, what the channel has.
    fn go_on(&mut self, held: &Held) {
        for (name, topic) in held.topics.iter().filter(|(_, topic)| !topic.is_stopped) {
            self.assign(name, topic.epoch);
        }
    }

    /// Reads all partitions of a topic from where the channel is.
    fn assign(&mut self, name: &Topic, epoch: u64) {
        let state = self.room.lock();
        for (place, offset) in state.channel.offsets() {
            let Some((_, partition)) = state.channel.named(*place).filter(|named| named.0 == epoch) else {
                continue;
            };
            let tp = Tp::new(name.clone(), partition);
            self.reader.assign(tp.clone(), From::Offset(*offset));
            self.places.insert(tp, *place);
        }
    }

    /// Adds partitions of a topic to the channel and reads them from these offsets on.
    fn add(&mut self, info: &TopicInfo, from: Vec<(i32, i64)>, held: &mut Held) -> Vec<i32> {
        let epoch = epoch(info);
        let places = self.room.begin(epoch, from);
        let topic = HeldTopic { epoch, partitions: info.partitions, misses: 0, is_stopped: false };
        held.topics.insert(info.name.clone(), topic);
        self.assign(&info.name, epoch);
        places
    }

    /// Stops to read a topic of which the log said that it is gone; the next looks tell what is true.
    fn stop(&mut self, name: &Topic, held: &mut Held) {
        self.unassign(name);
        if let Some(topic) = held.topics.get_mut(name) {
            topic.is_stopped = true;
        }
    }

    fn unassign(&mut self, name: &Topic) {
        let Self { reader, places, .. } = self;
        for (tp, _) in places.extract_if(|tp, _| tp.topic == *name) {
            reader.unassign(&tp);
        }
    }

    /// Looks what became of the topics.
    async fn look(&mut self, held: &mut Held) -> std::result::Result<(), Stop> {
        let found = self.find(held).await?;
        let names: Vec<_> = held.topics.keys().cloned().collect();
        for name in names {
            self.look_at(&name, found.get(&name), held)?;
        }
        for info in
            found.into_values().filter(|info| !held.topics.contains_key(&info.name)).collect::<Vec<_>>()
        {
            // One by one: what is wrong with one keeps no other waiting.
            match ends_of(self.log, std::slice::from_ref(&info)).await {
                Ok(ends) => {
                    let from = (0..).zip(ends.into_iter().flatten().map(|ends| ends.earliest));
                    tracing::info!("{}: topic {} appeared", self.name, info.name);
                    self.add(&info, from.collect(), held);
                }
                Err(LogError::Retry(_) | LogError::UnknownTopic(_)) => {
                    tracing::debug!("{}: topic {} cannot be read yet", self.name, info.name);
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
        self.room.found(held.topics.keys().cloned().collect());
        Ok(())
    }

    /// Holds a topic that is read against what was found.
    fn look_at(
        &mut self,
        name: &Topic,
        found: Option<&TopicInfo>,
        held: &mut Held,
    ) -> std::result::Result<(), Stop> {
        let Some(topic) = held.topics.get_mut(name) else { return Ok(()) };
        let Some(info) = found.filter(|info| epoch(info) == topic.epoch) else {
            topic.misses += 1;
            if topic.misses < MISSES_MAX {
                return Ok(());
            }
            let epoch = topic.epoch;
            held.topics.remove(name);
            return self.forget(name, epoch);
        };
        let (had, is_stopped) = (topic.partitions, std::mem::take(&mut topic.is_stopped));
        (topic.misses, topic.partitions) = (0, info.partitions.max(had));
        if info.partitions > had {
            tracing::info!("{}: topic {name} has {} partitions, had {had}", self.name, info.partitions);
            self.room.begin(topic.epoch, (had..info.partitions).map(|partition| (partition, 0)));
        }
        if is_stopped || info.partitions > had {
            let epoch = topic.epoch;
            self.unassign(name);
            self.assign(name, epoch);
        }
        Ok(())
    }

    /// Takes out a topic that is gone, with its rows.
    fn forget(&mut self, name: &Topic, epoch: u64) -> std::result::Result<(), Stop> {
        tracing::info!("{}: topic {name} is gone, and its rows with it", self.name);
        self.unassign(name);
        let mut is_forgotten = true;
        self.room.commit(|channel| {
            is_forgotten = channel.forget(epoch);
            Ok(())
        });
        if is_forgotten {
            return Ok(());
        }
        // Its records stood for rows that other topics have as well: only reading those again tells what is left.
        let has_watchers = self.room.lock().channel.is_live();
        Err(Stop::Restart(Lapse::Epoch, Begin { has_watchers, ..Begin::at(BTreeMap::new()) }))
    }
}

/// Tells where the partitions of each topic begin and end.
async fn ends_of(log: &Arc<dyn Log>, topics: &[TopicInfo]) -> Result<Vec<Vec<Ends>>> {
    let tps = |info: &TopicInfo| {
        let name = info.name.clone();
        (0..info.partitions).map(move |partition| Tp::new(name.clone(), partition))
    };
    let mut ends = log.ends(&topics.iter().flat_map(tps).collect::<Vec<_>>()).await?.into_iter();
    let of = |info: &TopicInfo| ends.by_ref().take(usize::try_from(info.partitions).unwrap_or(0)).collect();
    Ok(topics.iter().map(of).collect())
}
