//! The reader: a channel's topic, read without a group from where the channel needs it, for as long as the process lives.
//!
//! **In** committed batches of the log. **Out** commits of the channel's room; the room goes live when the reader has passed
//! the ends it saw at start.
//! **Before** this file: `log`. **After** it: `hub`.
//!
//! Views are read always, from the earliest offset, because their topic is their table. Streams are read from the first
//! subscriber on: from the earliest as a table (`latest_by`), else from `keep` records before the end. One whose topic does
//! not exist yet is served as empty, and read from its first record on.
//!
//! **Invariant:** one task per channel; it retries for ever, with a pause, and says why in `/readyz`; it never skips in
//! silence. **Not here:** what records mean (`hub::rows`).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use windrow_core::position::stable_hash;

use crate::{
    hub::{
        Fault, Source,
        room::Room,
        rows::{Applied, Rows},
    },
    log::{Ends, Fetched, From, Log, LogError, ReaderOptions, Result, TopicInfo, Tp},
    stats::Stats,
};

/// First and longest pause after trouble: a new view's topic is there within milliseconds, a log that is away has its own
/// back-off.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How often the topic is looked at for new partitions.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// Reads one channel until the process ends.
pub(crate) async fn run(log: Arc<dyn Log>, room: Arc<Room>, stats: Arc<Stats>) {
    let (Some(topic), Some(mut rows)) = (topic(&room.spec.source), Rows::new(&room.spec)) else { return };
    if !is_view(&room) {
        room.wanted.notified().await;
    }
    let name = format!("channel {}", room.spec.name);
    if is_view(&room) {
        stats.trouble(&name, "is still being read");
    }
    let (mut targets, mut told, mut pause) = (None, String::new(), PAUSES.0);
    loop {
        let began = Instant::now();
        let trouble = match read(&log, &room, &topic, &mut rows, &mut targets, (&stats, &name)).await {
            Ok(never) => match never {},
            Err(e) => e,
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

fn topic(source: &Source) -> Option<Arc<str>> {
    match source {
        Source::View { topic } => Some(topic.clone()),
        Source::Stream { spec } => Some(spec.topic.clone()),
        Source::Select { plan, .. } => Some(plan.spec.topic.clone()),
        Source::Local => None,
    }
}

/// Where the channel must be to be served: the ends seen at start.
type Targets = Option<Vec<(i32, i64)>>;

async fn read(
    log: &Arc<dyn Log>,
    room: &Arc<Room>,
    topic: &Arc<str>,
    rows: &mut Rows,
    targets: &mut Targets,
    (stats, name): (&Stats, &str),
) -> Result<std::convert::Infallible> {
    let Some(info) = log.topic(topic).await? else {
        if !is_view(room) {
            // A stream that nobody has written to is empty, not away: clients may wait for its first record.
            room.go_live();
            stats.fine(name);
        }
        return Err(LogError::UnknownTopic(topic.clone()));
    };
    let tps: Vec<Tp> = (0..info.partitions).map(|p| Tp::new(topic.clone(), p)).collect();
    let ends = log.ends(&tps).await?;
    if targets.is_none() {
        let was_missing = room.lock().channel.is_live();
        let start = |ends: &Ends| if was_missing { ends.earliest } else { start(&room.spec.source, *ends) };
        room.begin(epoch(&info), (0..).zip(ends.iter().map(start)));
        *targets = Some((0..).zip(ends.iter().map(|ends| ends.high_watermark)).collect());
    }
    let mut reader = log.reader(ReaderOptions::default()).await?;
    let offsets = room.lock().channel.offsets().clone();
    for (partition, offset) in &offsets {
        reader.assign(Tp::new(topic.clone(), *partition), From::Offset(*offset));
    }
    let mut check_at = Instant::now() + CHECK_EVERY;
    loop {
        if serve_if_caught_up(room, targets) {
            stats.fine(name);
        }
        for fetched in reader.next().await? {
            apply(room, rows, &fetched).await;
        }
        if Instant::now() >= check_at {
            check_at = Instant::now() + CHECK_EVERY;
            let now = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
            if now.epoch != info.epoch {
                let why = format!("topic {topic} was deleted and made anew; start again to read it");
                return Err(LogError::Fatal(why));
            }
            for partition in room.lock().channel.offsets().len() as i32..now.partitions {
                tracing::info!("{name}: topic {topic} has a new partition {partition}");
                room.commit(|channel| {
                    channel.partition(partition, 0);
                    Ok(())
                });
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

fn epoch(info: &TopicInfo) -> u64 {
    stable_hash([info.name.as_bytes(), &info.epoch.to_le_bytes()])
}

/// Opens the room when its reader has reached the ends it saw at start. Returns whether it is open.
fn serve_if_caught_up(room: &Room, targets: &Targets) -> bool {
    let state = room.lock();
    if state.channel.is_live() {
        return true;
    }
    let reached = state.channel.offsets();
    let behind = |(partition, end): &(i32, i64)| reached.get(partition).is_none_or(|at| at < end);
    if targets.as_ref().is_some_and(|targets| !targets.iter().any(behind)) {
        drop(state);
        room.go_live();
        tracing::info!("channel {} is served", room.spec.name);
        return true;
    }
    false
}

/// Applies an answer, one commit per batch, and lets others run in between.
async fn apply(room: &Room, rows: &mut Rows, fetched: &Fetched) {
    let (topic, partition) = (&fetched.tp.topic, fetched.tp.partition);
    if let Some(gap) = fetched.gap {
        tracing::warn!("channel {}: {} lost offsets {} to {}", room.spec.name, fetched.tp, gap.from, gap.to);
        room.counters.gaps.add((gap.to - gap.from).unsigned_abs());
        room.commit(|channel| {
            channel.partition_gap(partition, gap.to);
            Ok(())
        });
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    for batch in &fetched.batches {
        room.commit(|channel| {
            let (mut changes, mut bad) = (0, 0);
            for record in batch.records_from(fetched.from) {
                match rows.apply(channel, (topic, partition), &record, now_ms)? {
                    Applied::Changed => changes += 1,
                    Applied::Nothing => {}
                    Applied::Bad => bad += 1,
                }
            }
            room.counters.changes.add(changes);
            room.counters.bad.add(bad);
            Ok(())
        });
        tokio::task::yield_now().await;
    }
    let reached = room.lock().channel.offsets().get(&partition).copied();
    if reached.is_none_or(|reached| reached < fetched.next) {
        room.commit(|channel| {
            channel.advance(partition, fetched.next);
            Ok(())
        });
    }
}
