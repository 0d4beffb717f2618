//! Applying: one answer of the log becomes changes of the channel, or word of what was lost.
//!
//! **In** committed batches of one place. **Out** one commit of the room per batch.
//! **Invariant:** a record that is no row is counted and told with its place in the log, at most once in a while; it stops nothing.
//! **Not here:** what records mean (`hub::rows`), which places there are (`reader`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use windrow_core::hub::{Channel, Lapse};

use super::{Begin, Stop, is_view};
use crate::{
    hub::{
        room::Room,
        rows::{Applied, Rows},
    },
    log::{Fetched, Gap, GapKind, Tp},
};

/// Between two words in the program's log about records that cannot be read; all are counted.
const BAD_TOLD_EVERY: Duration = Duration::from_secs(10);

/// What makes changes of one channel's records.
pub(super) struct Applier {
    rows: Rows,
    /// When records that cannot be read were told last, and how many there were since.
    told: Option<Instant>,
    untold: u64,
}

impl Applier {
    pub(super) fn new(rows: Rows) -> Self {
        Self { rows, told: None, untold: 0 }
    }

    /// Applies an answer, one commit per batch, and lets others run in between.
    pub(super) async fn apply(&mut self, room: &Room, fetched: &Fetched, place: i32) -> Result<(), Stop> {
        if let Some(gap) = fetched.gap {
            lost(room, &fetched.tp, place, gap)?;
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        for batch in &fetched.batches {
            let (mut bad, mut first_bad) = (0, None);
            room.commit(|channel| {
                let mut changes = 0;
                for record in batch.records_from(fetched.from) {
                    if let Some(age_ms) = age_ms(room, channel, now_ms - record.timestamp_ms) {
                        channel.aged(place, record.offset, age_ms);
                    }
                    match self.rows.apply(channel, (&fetched.tp, place), &record, now_ms)? {
                        Applied::Changed => changes += 1,
                        Applied::Nothing => {}
                        Applied::Bad => {
                            bad += 1;
                            first_bad.get_or_insert(record.offset);
                        }
                    }
                }
                room.counters.changes.add(changes);
                Ok(())
            });
            room.counters.bad.add(bad);
            if let Some(offset) = first_bad {
                self.tell_bad(room, &fetched.tp, offset, bad);
            }
            tokio::task::yield_now().await;
        }
        let reached = room.lock().channel.offsets().get(&place).copied();
        if reached.is_some_and(|reached| reached < fetched.next) {
            room.commit(|channel| {
                channel.advance(place, fetched.next);
                Ok(())
            });
        }
        Ok(())
    }

    fn tell_bad(&mut self, room: &Room, tp: &Tp, offset: i64, count: u64) {
        self.untold += count;
        if self.told.is_none_or(|told| told.elapsed() >= BAD_TOLD_EVERY) {
            let (name, untold) = (&room.spec.name, std::mem::take(&mut self.untold));
            tracing::warn!(
                "channel {name}: {tp} has a record at offset {offset} that cannot be read; {untold} such"
            );
            self.told = Some(Instant::now());
        }
    }
}

/// Says what of the topic was never read. Whoever was told what came before it, or a table that holds it, begins anew behind it.
fn lost(room: &Room, tp: &Tp, place: i32, gap: Gap) -> Result<(), Stop> {
    let (name, (from, to)) = (&room.spec.name, gap.range());
    tracing::warn!("channel {name}: {tp} lost offsets {from} to {to}: {}", gap.kind());
    room.counters.gaps.add(gap.count());
    let why = match gap.kind() {
        GapKind::Truncated => Lapse::Ahead,
        _ if room.is_table() || room.lock().channel.is_live() => Lapse::History,
        _ => {
            room.commit(|channel| {
                channel.partition_gap(place, gap.to);
                Ok(())
            });
            return Ok(());
        }
    };
    let state = room.lock();
    let reached = |(place, offset): (&i32, &i64)| Some((state.channel.named(*place)?, *offset));
    let mut offsets: std::collections::BTreeMap<_, _> =
        state.channel.offsets().iter().filter_map(reached).collect();
    offsets.extend(state.channel.named(place).map(|named| (named, gap.to)));
    let has_watchers = state.channel.is_live();
    Err(Stop::Restart(why, Begin { has_watchers, ..Begin::at(offsets) }))
}

/// Tells how old a record of a table's topic is, as far as that tells which tombstones may be gone. Only Windrow's own topics
/// have times that say when a record was written; what others hold from before this process is never known in full.
fn age_ms(room: &Room, channel: &Channel, age_ms: i64) -> Option<i64> {
    match (room.is_table(), is_view(room)) {
        (false, _) => None,
        (true, true) => Some(age_ms),
        (true, false) => (!channel.is_live()).then_some(i64::MAX),
    }
}
