//! History: stretches of a stream's topics that are read again, for subscriptions whose position the ring no longer reaches.
//!
//! **In** what resumed subscriptions want: a place in the log, or to know where the log begins and ends. **Out** chunks of rows,
//! shared by all who stand in them; a ring of the bell when there is one.
//! **Before** this file: `log`. **After** it: `subscription`, which pulls.
//!
//! One task per channel reads one chunk at a time, for whoever has waited longest; all who wait for a place in it share it. A
//! subscription keeps its position and no bytes. So a client that does not read costs nothing, and one that comes too late for its
//! chunk asks again.
//!
//! **Invariant:** bounded in bytes, whatever the number of subscriptions; chunks of a topic's former life are never given out.
//! **Not here:** which rows match, and when the ring takes over (`windrow_core::hub`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use windrow_core::{
    hub::{Named, Row},
    topics::Topics,
};

use super::{bell::Seat, room::Room, rows::Rows, waiters::Waiters};
use crate::{
    log::{Ends, Fetched, From, Log, LogError, Reader, ReaderOptions, Result, Topic, TopicInfo, Tp},
    reader::epoch,
};

/// Rows of one channel that are held for those who come back: 16 MiB, beside one chunk that is larger.
const CHUNKS_MAX_BYTES: usize = 16 << 20;
/// A chunk ends after this many bytes of rows; a message takes at most 256 KiB of them.
const CHUNK_MAX_BYTES: usize = 512 << 10;
/// Bytes of records asked for at once.
const FETCH_MAX_BYTES: usize = 256 << 10;
/// What one row costs beside its bytes.
const ROW_OVERHEAD_BYTES: usize = 96;
/// Pause after trouble; whoever waits gives up by itself.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a reader is kept that nobody needs.
const READER_IDLE: Duration = Duration::from_secs(1);

/// Rows of one place, read again.
#[derive(Debug)]
pub(super) struct Chunk {
    place: i32,
    from: i64,
    /// The offset after it.
    pub(super) next: i64,
    pub(super) rows: Vec<Row>,
    bytes: usize,
    /// The log no longer held it.
    pub(super) is_gap: bool,
}

impl Chunk {
    fn has(&self, (place, offset): (i32, i64)) -> bool {
        self.place == place && (self.from..self.next.max(self.from + 1)).contains(&offset)
    }
}

/// What one channel's subscriptions want of the log.
#[derive(Debug, Default)]
pub(crate) struct History {
    state: Mutex<State>,
    wake: Notify,
}

/// A place and who waits for it.
type Wanted = ((i32, i64), Waiters);

#[derive(Debug, Default)]
struct State {
    /// Places that are waited for, longest first, with who waits.
    wanted: VecDeque<Wanted>,
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// Where the partitions began and ended, asked at that time.
    ends: Option<(Instant, Arc<BTreeMap<Named, Ends>>)>,
    wait_for_ends: Waiters,
    generation: u64,
}

impl History {
    /// Returns the chunk with this place, or rings the seat when there is one.
    pub(super) fn chunk(&self, place: (i32, i64), seat: &Seat) -> Option<Arc<Chunk>> {
        let mut state = self.state.lock();
        if let Some(chunk) = state.chunks.iter().find(|chunk| chunk.has(place)) {
            return Some(chunk.clone());
        }
        let waiters = match state.wanted.iter().position(|(wanted, _)| *wanted == place) {
            Some(known) => &mut state.wanted[known].1,
            None => {
                // Whoever left wants nothing any more: what is wanted stays bounded by those who are there.
                state.wanted.retain(|(_, waiters)| !waiters.is_empty());
                &mut state.wanted.push_back_mut((place, Waiters::default())).1
            }
        };
        waiters.add(seat);
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Returns where the log begins and ends, asked after `since`; or rings the seat when that is known.
    pub(super) fn ends(&self, since: Instant, seat: &Seat) -> Option<Arc<BTreeMap<Named, Ends>>> {
        let mut state = self.state.lock();
        if let Some((_, ends)) = state.ends.as_ref().filter(|(asked, _)| *asked >= since) {
            return Some(ends.clone());
        }
        state.wait_for_ends.add(seat);
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Forgets everything, because the topic is another, and rings whoever waited: they ask again.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        let generation = state.generation + 1;
        let mut former = std::mem::replace(&mut *state, State { generation, ..State::default() });
        drop(state);
        former.wait_for_ends.take().iter().for_each(Seat::ring);
        ring(former.wanted);
    }

    /// Adds a chunk and rings whoever waited for a place in it.
    fn add(&self, chunk: Chunk, generation: u64) {
        let mut state = self.state.lock();
        if state.generation != generation {
            return;
        }
        let (served, wanted) =
            std::mem::take(&mut state.wanted).into_iter().partition(|(place, _)| chunk.has(*place));
        state.wanted = wanted;
        state.bytes += chunk.bytes;
        state.chunks.push_back(Arc::new(chunk));
        while state.bytes > CHUNKS_MAX_BYTES && state.chunks.len() > 1 {
            let Some(oldest) = state.chunks.pop_front() else { break };
            state.bytes -= oldest.bytes;
        }
        drop(state);
        ring(served);
    }

    /// Rings whoever waits for this place, which has nothing yet.
    fn nothing(&self, place: (i32, i64)) {
        let mut state = self.state.lock();
        let (served, wanted) = std::mem::take(&mut state.wanted).into_iter().partition(|(p, _)| *p == place);
        state.wanted = wanted;
        drop(state);
        ring(served);
    }
}

fn ring(served: VecDeque<Wanted>) {
    served.into_iter().for_each(|(_, mut waiters)| waiters.take().iter().for_each(Seat::ring));
}

/// A reader and where it stands.
struct Standing {
    reader: Box<dyn Reader>,
    /// By epoch.
    topics: HashMap<u64, Topic>,
    at: Option<(Tp, i64)>,
}

/// What is read for whom.
struct Desk<'a> {
    log: &'a Arc<dyn Log>,
    room: &'a Room,
    topics: &'a Topics,
}

/// Serves what the channel's subscriptions want until the process ends.
pub(crate) async fn run(log: Arc<dyn Log>, room: Arc<Room>, topics: Topics) {
    let Some(mut rows) = Rows::new(&room.spec) else { return };
    let desk = Desk { log: &log, room: &room, topics: &topics };
    let mut standing = None;
    let mut told = String::new();
    loop {
        let Err(trouble) = desk.serve(&mut rows, &mut standing).await;
        standing = None;
        if told != trouble.to_string() {
            told = trouble.to_string();
            tracing::warn!("channel {}: reading again for clients that came back: {told}", room.spec.name);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Desk<'_> {
    async fn serve(&self, rows: &mut Rows, standing: &mut Option<Standing>) -> Result<Infallible> {
        let history = &self.room.history;
        loop {
            let (place, waits, generation) = {
                let mut state = history.state.lock();
                while state.wanted.pop_front_if(|(_, waiters)| waiters.is_empty()).is_some() {}
                let place = state.wanted.front().map(|(place, _)| *place);
                (place, !state.wait_for_ends.is_empty(), state.generation)
            };
            if waits {
                self.tell_ends().await?;
            }
            let Some(place) = place else {
                if !waits && tokio::time::timeout(READER_IDLE, history.wake.notified()).await.is_err() {
                    *standing = None;
                    history.wake.notified().await;
                }
                continue;
            };
            match self.read(rows, standing, place).await? {
                Some(chunk) => history.add(chunk, generation),
                None => history.nothing(place),
            }
            // Whoever was rung pulls before the next chunk comes.
            tokio::task::yield_now().await;
        }
    }

    async fn tell_ends(&self) -> Result<()> {
        let (asked, found) = (Instant::now(), crate::topics::look(&**self.log, self.topics).await?);
        if let Some(name) = self.topics.one()
            && !found.iter().any(|info| self.room.lock().channel.has_topic(epoch(info)))
        {
            // The reader finds out, and the channel begins anew.
            return Err(LogError::UnknownTopic(name.clone()));
        }
        let tps = |info: &TopicInfo| {
            let (name, epoch) = (info.name.clone(), epoch(info));
            (0..info.partitions).map(move |partition| (Tp::new(name.clone(), partition), (epoch, partition)))
        };
        let (tps, named): (Vec<_>, Vec<_>) = found.iter().flat_map(tps).unzip();
        let ends = named.into_iter().zip(self.log.ends(&tps).await?).collect();
        let mut state = self.room.history.state.lock();
        state.ends = Some((asked, Arc::new(ends)));
        let seats = state.wait_for_ends.take();
        drop(state);
        seats.iter().for_each(Seat::ring);
        Ok(())
    }

    /// Reads one chunk; `None` = nothing there yet, or the topic is no more.
    async fn read(
        &self,
        rows: &mut Rows,
        standing: &mut Option<Standing>,
        place: (i32, i64),
    ) -> Result<Option<Chunk>> {
        let Some((of_topic, partition)) = self.room.lock().channel.named(place.0) else { return Ok(None) };
        if standing.as_ref().is_none_or(|standing| !standing.topics.contains_key(&of_topic)) {
            *standing = Some(self.stand().await?);
        }
        let Some(at) = standing else { return Ok(None) };
        let Some(topic) = at.topics.get(&of_topic).cloned() else {
            return Err(LogError::Retry("a topic was deleted, or made anew".to_owned()));
        };
        let tp = Tp::new(topic, partition);
        if at.at.as_ref() != Some(&(tp.clone(), place.1)) {
            if let Some((former, _)) = at.at.take() {
                at.reader.unassign(&former);
            }
            at.reader.assign(tp.clone(), From::Offset(place.1));
        }
        let fetched = at.reader.next().await?.into_iter().find(|fetched| fetched.tp == tp);
        let Some(fetched) = fetched else {
            at.at = Some((tp, place.1));
            return Ok(None);
        };
        let chunk = chunk(&fetched, rows, place);
        at.at = Some((tp, fetched.next));
        Ok(Some(chunk).filter(|chunk| chunk.is_gap || chunk.next > chunk.from))
    }

    async fn stand(&self) -> Result<Standing> {
        let found = crate::topics::look(&**self.log, self.topics).await?;
        let options = ReaderOptions {
            fetch_max_bytes: FETCH_MAX_BYTES,
            partition_max_bytes: FETCH_MAX_BYTES,
            ..ReaderOptions::default()
        };
        let topics = found.iter().map(|info| (epoch(info), info.name.clone())).collect();
        Ok(Standing { reader: self.log.reader(options).await?, topics, at: None })
    }
}

/// Makes rows of an answer, as many as a chunk takes.
fn chunk(fetched: &Fetched, rows: &mut Rows, (place, from): (i32, i64)) -> Chunk {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let mut chunk = Chunk { place, from, next: fetched.next, rows: Vec::new(), bytes: 0, is_gap: false };
    if let Some(gap) = fetched.gap {
        // What is behind the gap is there: whoever stands there is not told that it is not.
        return Chunk { next: gap.to, is_gap: true, ..chunk };
    }
    for record in fetched.batches.iter().flat_map(|batch| batch.records_from(from)) {
        if chunk.bytes >= CHUNK_MAX_BYTES {
            chunk.next = record.offset;
            break;
        }
        if let Some(row) = rows.past((&fetched.tp, place), &record, now_ms) {
            chunk.bytes += row.key.len() + row.json.len() + ROW_OVERHEAD_BYTES;
            chunk.rows.push(row);
        }
    }
    chunk
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn seat() -> Seat {
        Seat { bell: Arc::default(), number: 0 }
    }

    fn rang(seat: &Seat) -> bool {
        matches!(seat.bell.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(rung) if rung.has(0))
    }

    fn fetched(from: i64, next: i64, gap: Option<crate::log::Gap>) -> Fetched {
        let tp = Tp::new("t", 0);
        Fetched { tp, batches: Vec::new(), from, next, high_watermark: next, last_stable: next, gap }
    }

    fn rows() -> Rows {
        let spec = super::super::ChannelSpec {
            source: super::super::Source::View { topic: "t".into() },
            ..super::super::ChannelSpec::local("t", &[], &[])
        };
        Rows::new(&spec).unwrap()
    }

    #[test]
    fn all_who_wait_are_rung_when_the_topic_is_another() {
        let (history, one, two) = (History::default(), seat(), seat());
        assert!(history.ends(Instant::now(), &one).is_none());
        assert!(history.chunk((0, 7), &two).is_none());
        history.clear();
        assert!(rang(&one) && rang(&two));
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_held() {
        let (history, stays) = (History::default(), seat());
        history.chunk((0, 7), &stays);
        for offset in 0..10_000 {
            history.chunk((1, offset), &seat());
        }
        let wanted: Vec<_> = history.state.lock().wanted.iter().map(|(place, _)| *place).collect();
        assert_eq!(wanted, [(0, 7), (1, 9_999)]);
    }

    #[test]
    fn what_was_read_of_the_former_topic_is_not_given_out() {
        let (history, seat) = (History::default(), seat());
        let former = history.state.lock().generation;
        history.clear();
        history.add(chunk(&fetched(100, 900, None), &mut rows(), (0, 100)), former);
        assert!(history.chunk((0, 100), &seat).is_none());
        history.add(chunk(&fetched(100, 900, None), &mut rows(), (0, 100)), former + 1);
        assert_eq!(history.chunk((0, 899), &seat).unwrap().next, 900);
    }

    #[test]
    fn a_gap_ends_where_the_log_begins() {
        let (history, seat) = (History::default(), seat());
        let gap = crate::log::Gap { from: 100, to: 400 };
        history.add(chunk(&fetched(100, 900, Some(gap)), &mut rows(), (0, 100)), 0);
        assert!(history.chunk((0, 399), &seat).unwrap().is_gap);
        assert!(history.chunk((0, 400), &seat).is_none());
    }
}
