//! The reader: a channel's topics, read without a group from where the channel needs it, for as long as the process lives.
//!
//! **In** committed batches of the log. **Out** commits of the channel's room; the room goes live when the reader has passed
//! the ends it saw at start.
//! **Before** this file: `log`. **After** it: `hub`.
//!
//! Views are read always, from the earliest offset, because their topic is their table. Streams are read from the first
//! subscriber on: from the earliest as a table (`latest_by`), else from `keep` records before the end. One whose topic does
//! not exist yet is served as empty, and read from its first record on.
//!
//! A topic that was deleted and made anew, whose end was cut off, or which retention took from under the reader, is read anew, and
//! clients are told to begin anew.
//!
//! | file | job |
//! |---|---|
//! | `apply` | an answer of the log becomes changes, gaps, numbers |
//! | `several` | a channel over several topics, which come and go without disturbing each other |
//!
//! **Invariant:** one task per channel; it retries for ever, with a pause, and says why in `/readyz`; it never skips in
//! silence. **Not here:** what records mean (`hub::rows`), reading again for clients that come back (`hub::history`).

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use tokio::time::Instant;
use windrow_core::{
    hub::{Lapse, Named},
    position::stable_hash,
    topics::Topics,
};

use self::apply::Applier;
pub(crate) use self::several::TOPICS_MAX;
use crate::{
    hub::{Fault, Source, room::Room, rows::Rows},
    log::{Ends, From, Log, LogError, ReaderOptions, TopicInfo, Tp},
    stats::Stats,
};

mod apply;
mod several;

/// First and longest pause after trouble: a new view's topic is there within milliseconds, a log that is away has its own
/// back-off.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How often the topic is looked at for new partitions.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// Reads one channel until the process ends.
pub(crate) async fn run(log: Arc<dyn Log>, room: Arc<Room>, stats: Arc<Stats>) {
    let (Some(topics), Some(rows)) = (topics(&room.spec.source), Rows::new(&room.spec)) else { return };
    let mut rows = Applier::new(rows);
    if !is_view(&room) {
        room.wanted.notified().await;
    }
    let name = format!("channel {}", room.spec.name);
    if is_view(&room) {
        stats.trouble(&name, "is still being read");
    }
    let (mut begin, mut told, mut pause) = (Begin::new(&room), String::new(), PAUSES.0);
    loop {
        let began = Instant::now();
        let trouble = match read(&log, &room, &topics, &mut rows, &mut begin, (&stats, &name)).await {
            Stop::Trouble(trouble) => trouble,
            Stop::Restart(why, from) => {
                tracing::warn!("{name}: {} ({topics}); reading it anew", said(why));
                stats.trouble(&name, "is being read anew");
                room.restart(why);
                begin = from;
                continue;
            }
        };
        let is_missing = matches!(trouble, LogError::UnknownTopic(_));
        if !is_missing || is_view(&room) {
            stats.trouble(&name, trouble.to_string());
        }
        if let LogError::Fatal(_) | LogError::Corrupt { .. } = trouble {
            tracing::error!("{name}: {trouble}");
            room.refuse(Fault::new("not_ready", format!("{name} cannot be read: {trouble}")));
            return;
        }
        if told != trouble.to_string() {
            told = trouble.to_string();
            match is_missing {
                // A new view: its engine makes the topic.
                true => tracing::info!("{name}: {told}; waiting for it"),
                false => tracing::warn!("{name}: {told}; trying again"),
            }
        }
        if began.elapsed() > PAUSES.1 {
            // It went well for a while: this is new trouble.
            pause = PAUSES.0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn is_view(room: &Room) -> bool {
    matches!(room.spec.source, Source::View { .. })
}

/// Returns what a channel reads.
pub(crate) fn topics(source: &Source) -> Option<Topics> {
    match source {
        Source::View { topic } => Some(Topics::One(topic.clone())),
        Source::Stream { spec } => Some(spec.topics.clone()),
        Source::Select { plan, .. } => Some(plan.spec.topics.clone()),
        Source::Local => None,
    }
}

/// Where the channel's places must be to be served: the ends seen at start.
type Targets = Option<Vec<(i32, i64)>>;

/// Where a channel begins.
struct Begin {
    targets: Targets,
    /// A stream begins at the first offset, not at the end.
    at_earliest: bool,
    /// Somebody waits for its records already.
    has_watchers: bool,
    /// A stream goes on from here where that is still there.
    offsets: BTreeMap<Named, i64>,
    /// The topics that are read, where there may be several.
    held: several::Held,
}

impl Begin {
    fn new(room: &Room) -> Self {
        let is_live = room.lock().channel.is_live();
        Self { at_earliest: is_live, has_watchers: is_live, ..Self::at(BTreeMap::new()) }
    }

    /// A stream goes on from there.
    fn at(offsets: BTreeMap<Named, i64>) -> Self {
        let held = several::Held::default();
        Self { targets: None, at_earliest: false, has_watchers: false, offsets, held }
    }

    fn offset(&self, room: &Room, partition: Named, ends: &Ends) -> i64 {
        let usual = start(&room.spec.source, *ends);
        if room.is_table() {
            return usual;
        }
        match self.offsets.get(&partition) {
            _ if self.at_earliest => ends.earliest,
            Some(offset) => (*offset).clamp(ends.earliest, ends.high_watermark),
            // It was not there when others were read already.
            None if self.has_watchers => ends.earliest,
            None => usual,
        }
    }
}

/// Why reading ended.
enum Stop {
    Trouble(LogError),
    /// What was read is void.
    Restart(Lapse, Begin),
}

impl std::convert::From<LogError> for Stop {
    fn from(trouble: LogError) -> Self {
        match trouble {
            LogError::Recreated(_) => made_anew(),
            trouble => Stop::Trouble(trouble),
        }
    }
}

fn said(why: Lapse) -> &'static str {
    match why {
        Lapse::Epoch => "a topic was deleted or made anew",
        Lapse::History => "a topic lost records before they were read",
        _ => "a topic lost its end",
    }
}

/// The topic is another: all of it is news.
fn made_anew() -> Stop {
    let begin = Begin::at(BTreeMap::new());
    Stop::Restart(Lapse::Epoch, Begin { at_earliest: true, has_watchers: true, ..begin })
}

async fn read(
    log: &Arc<dyn Log>,
    room: &Arc<Room>,
    topics: &Topics,
    rows: &mut Applier,
    begin: &mut Begin,
    about: (&Stats, &str),
) -> Stop {
    let read = match topics.one() {
        Some(topic) => try_read(log, room, topic, rows, begin, about).await,
        None => several::try_read((log, room), topics, rows, begin, about).await,
    };
    match read {
        Ok(never) => match never {},
        Err(stop) => stop,
    }
}

async fn try_read(
    log: &Arc<dyn Log>,
    room: &Arc<Room>,
    topic: &Arc<str>,
    rows: &mut Applier,
    begin: &mut Begin,
    (stats, name): (&Stats, &str),
) -> Result<Infallible, Stop> {
    let found = log.topic(topic).await?;
    room.found(found.iter().map(|_| topic.clone()).collect());
    let Some(info) = found else {
        if !is_view(room) && begin.targets.is_none() {
            // A stream that nobody has written to is empty, not away: clients may wait for its first record.
            room.go_live();
            begin.at_earliest = true;
            stats.fine(name);
        }
        return Err(LogError::UnknownTopic(topic.clone()).into());
    };
    if begin.targets.is_some() && !room.lock().channel.has_topic(epoch(&info)) {
        return Err(made_anew());
    }
    let tps: Vec<Tp> = (0..info.partitions).map(|p| Tp::new(topic.clone(), p)).collect();
    let ends = log.ends(&tps).await?;
    if begin.targets.is_none() {
        let from = (0..).zip(&ends).map(|(p, ends)| (p, begin.offset(room, (epoch(&info), p), ends)));
        // There is one topic: its places are its partitions.
        room.begin(epoch(&info), from);
        begin.targets = Some((0..).zip(ends.iter().map(|ends| ends.high_watermark)).collect());
        if begin.has_watchers && !room.is_table() {
            // They are told every record from here on.
            room.go_live();
        }
    }
    let mut reader = log.reader(ReaderOptions::default()).await?;
    let offsets = room.lock().channel.offsets().clone();
    for (partition, offset) in &offsets {
        reader.assign(Tp::new(topic.clone(), *partition), From::Offset(*offset));
    }
    let mut check_at = Instant::now() + CHECK_EVERY;
    loop {
        if serve_if_caught_up(room, &begin.targets) {
            stats.fine(name);
        }
        for fetched in reader.next().await? {
            rows.apply(room, &fetched, fetched.tp.partition).await?;
        }
        if Instant::now() >= check_at {
            check_at = Instant::now() + CHECK_EVERY;
            let now = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
            if now.epoch != info.epoch {
                return Err(made_anew());
            }
            for partition in room.lock().channel.offsets().len() as i32..now.partitions {
                tracing::info!("{name}: topic {topic} has a new partition {partition}");
                room.begin(epoch(&info), [(partition, 0)]);
                reader.assign(Tp::new(topic.clone(), partition), From::Earliest);
            }
        }
    }
}

/// A channel's first offset in one partition.
fn start(source: &Source, ends: Ends) -> i64 {
    match source {
        Source::View { .. } | Source::Local => ends.earliest,
        Source::Stream { spec } if !spec.latest_by.is_empty() => ends.earliest,
        Source::Stream { spec } => {
            let keep = i64::try_from(spec.keep).unwrap_or(i64::MAX);
            ends.high_watermark.saturating_sub(keep).max(ends.earliest)
        }
        Source::Select { .. } => ends.high_watermark,
    }
}

/// Returns what stands for a topic in positions.
pub(crate) fn epoch(info: &TopicInfo) -> u64 {
    stable_hash([info.name.as_bytes(), &info.epoch.to_le_bytes()])
}

/// Opens the room when its reader has reached the ends it saw at start. Returns whether it is open.
fn serve_if_caught_up(room: &Room, targets: &Targets) -> bool {
    let state = room.lock();
    if state.channel.is_live() {
        return true;
    }
    let reached = state.channel.offsets();
    // A place that is not there any more was of a topic that is gone.
    let behind = |(place, end): &(i32, i64)| reached.get(place).is_some_and(|at| at < end);
    if targets.as_ref().is_some_and(|targets| !targets.iter().any(behind)) {
        drop(state);
        room.go_live();
        tracing::info!("channel {} is served", room.spec.name);
        return true;
    }
    false
}
