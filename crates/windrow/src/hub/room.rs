//! Rooms: one channel with its lock, its watchers' bells and its state of service.
//!
//! **In** records from the reader, one commit at a time. **Out** bells, and whatever subscriptions pull.
//! **Invariant:** the lock is never left between a change and its commit, so whoever takes it stands at a mark; it is held
//! for one batch or one piece, never across an await. Bells are rung after it is released.
//! **Not here:** reading (`reader`), what a subscription does with its pulls (`subscription`).

use std::{fmt, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use windrow_core::{
    hub::{Channel, ChannelOptions, FilterId, Full, Lapse, Rule, Tick, Watch},
    sql,
};

use super::{ChannelSpec, Fault, Source, bell::Seat, history::History, waiters::Waiters};
use crate::{
    config::Limits,
    reader,
    stats::{Counter, Gauge, Stats},
};

/// Whether a room can be entered.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Nobody asked yet, or the table is being read.
    Warming,
    /// Served.
    Live,
    /// Refused, loudly, until the process is started anew.
    Refused(Fault),
}

/// What a room counts.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) changes: Arc<Counter>,
    pub(crate) conflated: Arc<Counter>,
    pub(crate) dropped: Arc<Counter>,
    pub(crate) overruns: Arc<Counter>,
    pub(crate) resets: Arc<Counter>,
    pub(crate) bad: Arc<Counter>,
    pub(crate) gaps: Arc<Counter>,
    pub(crate) recovered: Arc<Counter>,
    /// By [`Lapse`].
    unrecovered: [Arc<Counter>; Lapse::ALL.len()],
    pub(crate) subscriptions: Arc<Gauge>,
    pub(crate) topics_left_out: Arc<Gauge>,
    rows: Arc<Gauge>,
    table_bytes: Arc<Gauge>,
    ring_bytes: Arc<Gauge>,
    filters: Arc<Gauge>,
}

/// The watchers of one filter. Places are stable, so that leaving costs nothing.
#[derive(Debug, Default)]
struct Watchers {
    places: Vec<Option<(Tick, Seat)>>,
    free: Vec<u32>,
}

/// What the lock guards.
pub(crate) struct State {
    pub(crate) channel: Channel,
    pub(crate) phase: Phase,
    /// Why the channel began anew the last time.
    pub(crate) restarted: Lapse,
    /// By filter.
    watchers: Vec<Watchers>,
    /// Those that wait until the room is live, or has read further.
    waiting: Waiters,
    clients: usize,
}

/// One channel.
pub(crate) struct Room {
    pub(crate) spec: ChannelSpec,
    pub(crate) outbox_max_bytes: u64,
    pub(crate) counters: Counters,
    filter_max_bytes: usize,
    /// Rung by the first subscriber: streams are read from then on.
    pub(crate) wanted: Notify,
    pub(crate) history: History,
    state: Mutex<State>,
    /// The topics that the reader found.
    topics: Mutex<Vec<Arc<str>>>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({})", self.spec.name)
    }
}

impl Room {
    pub(crate) fn new(spec: ChannelSpec, limits: &Limits, stats: &Stats) -> Self {
        let options = options(&spec, limits);
        let state = State {
            channel: Channel::new(options),
            phase: Phase::Warming,
            restarted: Lapse::Epoch,
            watchers: Vec::new(),
            waiting: Waiters::default(),
            clients: 0,
        };
        Self {
            counters: Counters::new(stats, &spec.name),
            outbox_max_bytes: limits.outbox_max_bytes as u64,
            filter_max_bytes: limits.filter_max_bytes,
            wanted: Notify::new(),
            history: History::default(),
            state: Mutex::new(state),
            topics: Mutex::default(),
            spec,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Says which topics are there to be read.
    pub(crate) fn found(&self, topics: Vec<Arc<str>>) {
        *self.topics.lock() = topics;
    }

    /// Returns the topics that are there to be read.
    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.lock().clone()
    }

    /// Says which partitions of a topic are read from where, before their first change, and returns their places.
    pub(crate) fn begin(&self, epoch: u64, partitions: impl IntoIterator<Item = (i32, i64)>) -> Vec<i32> {
        let mut state = self.state.lock();
        let places = state.channel.begin(epoch, partitions);
        let nothing_changed = state.channel.commit();
        debug_assert!(nothing_changed.is_empty());
        places
    }

    /// Applies changes as one commit and tells their watchers.
    pub(crate) fn commit(&self, apply: impl FnOnce(&mut Channel) -> Result<(), Full>) {
        let mut state = self.state.lock();
        let result = apply(&mut state.channel);
        let mut seats = Vec::new();
        let filters = state.channel.commit();
        state.seats(&filters, Tick::Now, &mut seats);
        if state.channel.is_live() {
            seats.append(&mut state.waiting.take());
        }
        if let Err(full) = result {
            let message = format!("channel {} is refused: {full}", self.spec.name);
            tracing::error!("{message}");
            state.phase = Phase::Refused(Fault::new("channel_full", message));
            seats.append(&mut state.everybody());
        }
        drop(state);
        seats.iter().for_each(Seat::ring);
    }

    /// Opens the room: its table is complete.
    pub(crate) fn go_live(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Warming) {
            state.phase = Phase::Live;
        }
        state.channel.go_live();
        // After a restart its watchers are there already.
        let seats = state.everybody();
        drop(state);
        seats.iter().for_each(Seat::ring);
    }

    /// Forgets everything that was read; clients begin anew when the room is live again.
    pub(crate) fn restart(&self, why: Lapse) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Refused(_)) {
            return;
        }
        state.phase = Phase::Warming;
        state.restarted = why;
        state.channel.restart();
        self.history.clear();
    }

    /// Closes the room for good.
    pub(crate) fn refuse(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.phase = Phase::Refused(fault);
        let seats = state.everybody();
        drop(state);
        seats.iter().for_each(Seat::ring);
    }

    /// Ends a tick and tells its watchers.
    pub(crate) fn tick(&self, tick: Tick) {
        let mut seats = Vec::new();
        let mut state = self.state.lock();
        let filters = state.channel.tick(tick);
        state.seats(&filters, tick, &mut seats);
        let size = state.channel.size();
        let clients = state.clients;
        drop(state);
        seats.iter().for_each(Seat::ring);
        if tick == Tick::Second {
            self.counters.rows.set(size.rows as i64);
            self.counters.table_bytes.set(size.table_bytes as i64);
            self.counters.ring_bytes.set(size.ring_bytes as i64);
            self.counters.filters.set(size.filters as i64);
            self.counters.subscriptions.set(clients as i64);
        }
    }

    /// Compiles a subscriber's filter; empty text is no filter.
    pub(crate) fn compile(&self, text: Option<&str>) -> Result<Option<Arc<dyn Rule>>, Fault> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        if text.len() > self.filter_max_bytes {
            let rule =
                format!("a filter has at most {} bytes, this one {}", self.filter_max_bytes, text.len());
            return Err(Fault::new("bad_filter", rule));
        }
        match sql::filter(text, &self.spec.columns) {
            Ok(filter) => Ok(Some(Arc::new(filter))),
            Err(e) => Err(Fault {
                code: "bad_filter",
                message: e.message,
                // Filters are mostly one line; a place further down is told by its line in the message.
                column: Some(e.column).filter(|_| e.line == 1),
                hint: e.hint,
            }),
        }
    }

    /// Tells whether clients of this channel get the newest state of each row, not every record.
    pub(crate) fn is_table(&self) -> bool {
        is_table(&self.spec)
    }
}

impl State {
    /// Adds a watcher's bell and returns its place.
    pub(crate) fn sit(&mut self, watch: &Watch, seat: Seat) -> u32 {
        self.clients += 1;
        let index = watch.filter.index();
        if index >= self.watchers.len() {
            self.watchers.resize_with(index + 1, Watchers::default);
        }
        let of = &mut self.watchers[index];
        let taken = Some((watch.tick, seat));
        match of.free.pop() {
            Some(place) => {
                of.places[place as usize] = taken;
                place
            }
            None => {
                of.places.push(taken);
                of.places.len() as u32 - 1
            }
        }
    }

    /// Takes a watcher's bell away.
    pub(crate) fn stand_up(&mut self, filter: FilterId, place: u32) {
        self.clients -= 1;
        let Some(of) = self.watchers.get_mut(filter.index()) else { return };
        of.places[place as usize] = None;
        of.free.push(place);
        if of.free.len() == of.places.len() {
            *of = Watchers::default();
        }
    }

    /// Rings this bell when the room has read further, or is live, or refused.
    pub(crate) fn wait(&mut self, seat: &Seat) {
        self.waiting.add(seat);
    }

    fn seats(&self, filters: &[FilterId], tick: Tick, seats: &mut Vec<Seat>) {
        for filter in filters {
            let Some(of) = self.watchers.get(filter.index()) else { continue };
            let of_tick = of.places.iter().flatten().filter(|(t, _)| *t == tick);
            seats.extend(of_tick.map(|(_, seat)| seat.clone()));
        }
    }

    fn everybody(&mut self) -> Vec<Seat> {
        let mut seats = self.waiting.take();
        let all = self.watchers.iter().flat_map(|of| of.places.iter().flatten());
        seats.extend(all.map(|(_, seat)| seat.clone()));
        seats
    }
}

impl Counters {
    /// Counts a position that was not taken up.
    pub(crate) fn unrecovered(&self, why: Lapse) {
        self.unrecovered[why as usize].add(1);
    }

    fn new(stats: &Stats, name: &Arc<str>) -> Self {
        let counter = |what| stats.counter(("channel", name.clone(), None), what, "");
        let gauge = |what| stats.gauge(("channel", name.clone(), None), what);
        Self {
            changes: counter("changes"),
            conflated: counter("conflated"),
            dropped: counter("dropped"),
            overruns: counter("overruns"),
            resets: counter("resets"),
            gaps: counter("gaps"),
            recovered: counter("recovered"),
            unrecovered: Lapse::ALL
                .map(|why| stats.counter(("channel", name.clone(), None), "unrecovered", why.name())),
            bad: stats.counter(("channel", name.clone(), None), "bad", "unreadable"),
            subscriptions: gauge("subscriptions"),
            topics_left_out: gauge("topics_left_out"),
            rows: gauge("rows"),
            table_bytes: gauge("table_bytes"),
            ring_bytes: gauge("ring_bytes"),
            filters: gauge("filters"),
        }
    }
}

fn is_table(spec: &ChannelSpec) -> bool {
    match &spec.source {
        Source::View { .. } | Source::Local => true,
        Source::Stream { spec } => !spec.latest_by.is_empty(),
        Source::Select { .. } => false,
    }
}

fn options(spec: &ChannelSpec, limits: &Limits) -> ChannelOptions {
    ChannelOptions {
        name: spec.name.clone(),
        fingerprint: spec.fingerprint,
        columns: spec.columns.clone(),
        key_names: spec.key_names.clone(),
        is_table: is_table(spec),
        windowed: spec.windowed,
        has_topics: reader::topics(&spec.source).is_some_and(|topics| topics.one().is_none()),
        keep_rows: match &spec.source {
            Source::Stream { spec } => spec.keep,
            _ => 0,
        },
        table_max_bytes: limits.table_max_bytes,
        ring_max_bytes: limits.ring_max_bytes,
        unindexed_filters_max: limits.unindexed_filters_max,
    }
}
