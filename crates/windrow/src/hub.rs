//! The hub: every channel of this process, and who watches which of its rows.
//!
//! **In** records (`reader`), rows of this process ([`LocalChannel`]), requests (`session`, the dialects). **Out**
//! subscriptions, snapshots.
//! **Before** this file: `reader`. **After** it: `session`, `dialect`.
//!
//! One lock per channel (`room`), held for one batch or one pull. Nothing is queued per client: a bell says that there is
//! news, and the session pulls when its socket takes more (`subscription`); what it pulls is encoded once for all clients
//! of the same filter that stand at the same place (`windrow_core::hub`).
//!
//! **Invariant:** a channel is served only after its reader has reached the end it saw at start; a client that does not
//! read costs only itself. **Not here:** rules of rows and filters (`windrow_core::hub`), framing (`dialect`).

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use windrow_core::{hub::Tick, position::stable_hash};

pub use self::{
    bell::{Bell, Rung, Seat},
    fault::Fault,
    local::LocalChannel,
    request::{Request, StartFrom, Tried},
    sessions::{Goodbye, SessionGuard},
    spec::{ChannelInfo, ChannelKind, ChannelSpec, Source},
    subscription::{Message, Subscription},
};
use self::{room::Room, sessions::Sessions};
use crate::{config::Limits, log::Log, reader, stats::Stats};

mod bell;
pub mod fault;
mod history;
mod local;
mod request;
pub(crate) mod room;
pub(crate) mod rows;
mod sessions;
pub mod spec;
mod subscription;
mod waiters;

/// How long a request waits for its channel to be read, and for this node to reach a position that another node told.
pub const READY_WAIT: Duration = Duration::from_secs(30);

/// All channels of this process; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: Vec<Arc<Room>>,
    by_name: HashMap<Arc<str>, usize>,
    sessions: Sessions,
    /// Dropping it ends them.
    _readers: JoinSet<()>,
    stats: Arc<Stats>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({} channels)", self.inner.rooms.len())
    }
}

/// The answer of one snapshot call.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// A JSON array of rows.
    pub rows: Bytes,
    /// Whether rows were left out because of the limit.
    pub more: bool,
    /// Position of the snapshot; `None` when the channel is not resumable.
    pub at: Option<String>,
}

impl Hub {
    /// Starts reading and serving `channels`. Must be called inside a runtime; the tasks end with the hub's last clone.
    pub fn start(log: Arc<dyn Log>, channels: Vec<ChannelSpec>, limits: &Limits, stats: Arc<Stats>) -> Self {
        let rooms: Vec<_> =
            channels.into_iter().map(|spec| Arc::new(Room::new(spec, limits, &stats))).collect();
        let mut readers = JoinSet::new();
        for room in &rooms {
            match room.spec.source {
                Source::Local => local::open(room),
                _ => {
                    readers.spawn(reader::run(log.clone(), room.clone(), stats.clone()));
                    if let Some(topics) = reader::topics(&room.spec.source) {
                        readers.spawn(history::run(log.clone(), room.clone(), topics));
                    }
                }
            }
        }
        let inner = Arc::new(Inner {
            by_name: rooms.iter().enumerate().map(|(i, room)| (room.spec.name.clone(), i)).collect(),
            rooms,
            sessions: Sessions::default(),
            _readers: readers,
            stats,
        });
        tokio::spawn(tick(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Returns what clients are told about all channels, in configuration order.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        self.inner.rooms.iter().map(|room| info(room)).collect()
    }

    /// Tells what kind of channel that is, if there is one.
    pub fn kind(&self, channel: &str) -> Option<ChannelKind> {
        self.room(channel).ok().map(|room| room.spec.kind)
    }

    /// Tells whether a channel is read and served.
    pub fn is_live(&self, channel: &str) -> bool {
        self.room(channel).is_ok_and(|room| matches!(room.lock().phase, room::Phase::Live))
    }

    fn room(&self, channel: &str) -> Result<&Arc<Room>, Fault> {
        let room = self.inner.by_name.get(channel).and_then(|i| self.inner.rooms.get(*i));
        room.ok_or_else(|| Fault::new("unknown_channel", format!("there is no channel {channel}")))
    }

    /// Compiles a request; the filter is checked here.
    pub fn request(
        &self,
        channel: &str,
        filter: Option<&str>,
        from: StartFrom,
        tick: Tick,
    ) -> Result<Request, Fault> {
        if self.inner.sessions.is_draining() {
            return Err(draining());
        }
        let room = self.room(channel)?.clone();
        let rule = room.compile(filter)?;
        Ok(Request::new(room, rule, from, tick))
    }

    /// Waits until a request can be answered, and subscribes.
    ///
    /// - **Errors:** the request's own, `not_ready` after [`READY_WAIT`], or `draining`: nobody waits for who asks here.
    pub async fn subscribe(&self, request: &Request, seat: &Seat) -> Result<Box<Subscription>, Fault> {
        let deadline = Instant::now() + request.patience();
        loop {
            let rung = std::future::poll_fn(|cx| seat.bell.poll(cx));
            match request.attempt(seat.clone(), Instant::now() >= deadline)? {
                Tried::Ready(subscription) => return Ok(subscription),
                Tried::NotYet => tokio::select! {
                    _ = tokio::time::timeout_at(deadline, rung) => {}
                    () = self.inner.sessions.draining() => return Err(draining()),
                },
            }
        }
    }

    /// Reads up to `limit` rows of a channel that match `filter`. Waits until the channel is served.
    pub async fn snapshot(
        &self,
        channel: &str,
        filter: Option<&str>,
        limit: usize,
    ) -> Result<Snapshot, Fault> {
        let request = self.request(channel, filter, StartFrom::Snapshot, Tick::Now)?;
        let seat = Seat { bell: Arc::default(), number: 0 };
        let mut subscription = self.subscribe(&request, &seat).await?;
        let mut rows = vec![b'['];
        let (mut left, mut at) = (limit, None);
        loop {
            let Some(piece) = subscription.piece_of(left) else {
                tokio::task::yield_now().await;
                continue;
            };
            let piece = piece?;
            if piece.count > 0 {
                if rows.len() > 1 {
                    rows.push(b',');
                }
                rows.extend_from_slice(&piece.rows[1..piece.rows.len() - 1]);
            }
            left -= piece.count.min(left);
            at = piece.at.or(at);
            if !piece.more || left == 0 {
                rows.push(b']');
                let at = at.and_then(|at| String::from_utf8(at.to_vec()).ok());
                return Ok(Snapshot { rows: rows.into(), more: piece.more, at });
            }
        }
    }

    /// Returns the feed of a local channel.
    pub fn local(&self, name: &str) -> Option<LocalChannel> {
        let room = self.room(name).ok()?;
        matches!(room.spec.source, Source::Local).then(|| LocalChannel::new(room.clone()))
    }

    /// Counts a session of a listener in, until the guard is dropped; its bell hears the goodbye.
    pub fn enter(&self, listener: &Arc<str>, bell: &Arc<Bell>) -> SessionGuard {
        SessionGuard::new(self.clone(), listener, bell)
    }

    /// Returns the names of the topics that a channel reads and that are there, as far as it knows.
    pub fn topics(&self, channel: &str) -> Vec<Arc<str>> {
        self.room(channel).map(|room| room.topics()).unwrap_or_default()
    }

    /// Returns how many sessions of a listener there are.
    pub fn connected(&self, listener: &str) -> usize {
        self.inner.sessions.connected(listener)
    }

    /// Tells every session to say goodbye; new ones are refused from now on.
    pub fn drain(&self) {
        self.inner.sessions.drain();
    }

    /// Waits until every session has ended.
    pub async fn drained(&self) {
        self.inner.sessions.drained().await;
    }
}

fn draining() -> Fault {
    Fault::new("draining", "this server is about to stop")
}

fn info(room: &Room) -> ChannelInfo {
    let spec = &room.spec;
    ChannelInfo {
        name: spec.name.clone(),
        kind: spec.kind,
        columns: spec.columns.clone(),
        key: spec.key_names.clone(),
        resumable: room.lock().channel.is_resumable(),
    }
}

/// Rings the shared ticks: every watcher of one tick is told at the same moment, so that they share what is encoded.
async fn tick(inner: std::sync::Weak<Inner>) {
    /// Greatest common divisor of all ticks.
    const STEP_MS: u64 = 50;
    let mut interval = tokio::time::interval(Duration::from_millis(STEP_MS));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut elapsed_ms = 0;
    loop {
        interval.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        elapsed_ms += STEP_MS;
        for (tick, every_ms) in Tick::ALL.into_iter().skip(1) {
            if elapsed_ms % every_ms != 0 {
                continue;
            }
            if tick == Tick::Tenth {
                inner.publish_clients();
            }
            inner.rooms.iter().for_each(|room| room.tick(tick));
        }
    }
}

impl Inner {
    /// Writes the rows of `_clients` that changed, and the numbers behind `clients` in `_stats`.
    fn publish_clients(&self) {
        let changed = self.sessions.take_changed();
        let Some(room) = self.by_name.get("_clients").and_then(|i| self.rooms.get(*i)) else { return };
        let clients = LocalChannel::new(room.clone());
        for (listener, connected) in changed {
            let clients_now = self.stats.gauge(("listener", listener.clone(), None), "clients");
            clients_now.set(i64::try_from(connected).unwrap_or(i64::MAX));
            let name = serde_json::Value::from(listener.as_ref());
            let row = format!("{{\"listener\":{name},\"connected\":{connected}}}");
            clients.upsert(format!("[{name}]").as_bytes(), row.as_bytes());
        }
    }
}

/// An epoch for channels that live and die with this process.
fn process_epoch(name: &str) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    stable_hash([name.as_bytes(), &now.to_le_bytes(), &std::process::id().to_le_bytes()])
}
