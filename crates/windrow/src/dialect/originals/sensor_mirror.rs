//! Sensor mirror: the newest values of every topic, then every record as it comes, over Socket.IO; a page that shows them (`page`); and
//! the newest values over HTTP (`rest`).
//!
//! | event | when | what |
//! |---|---|---|
//! | `connected_clients` | first of all; then when the number changes | how many sessions this listener has on this node |
//! | `sensor_values_cache` | after that, once a topic; also for topics that a changed choice adds | `{"topic","timestamp","data"}` |
//! | `sensor_values` | each record from there on, in order | the same |
//!
//! A client says nothing, or, beyond the original, which topics it wants (`choice`): `topics` in the query that it connects with or in its
//! auth, or `watch_topics` later.
//!
//! **In** rows of the configured channel and of `_clients`. **Out** these events; bytes are attachments.
//! **Invariant:** between what stands in the cache and what follows no record is missing and none is told twice: both are one subscription
//! of one table. Who falls too far behind is told the newest values again, as the cache; what was missed is counted as dropped.
//! **Not here:** packets (`socketio`), rows (`feed`), how a row is told (`tell`).

use std::sync::Arc;

use axum::Router;
use serde::Deserialize;
use serde_json::value::RawValue;
use windrow_core::hub::Tick;

use self::{choice::Choice, tell::Teller};
use super::{NOT_LET_IN, ack, feed::Feed, feed::Rows, left_out};
use crate::{
    config::{Dialect, Mirrored, SensorMirror},
    dialect::{
        Gateway,
        socketio::{
            self,
            namespace::{self, Admission, Entered, Entering, Event, Namespaces, Next, Service},
            new_sid,
            packet::Kind,
            upper::Parcel,
        },
    },
    hub::{Bell, Fault, Rung, Seat},
    session::Verdict,
    stats,
};

mod choice;
mod page;
mod rest;
mod tell;

/// The numbers of the two feeds.
const VALUES: usize = 0;
const CLIENTS: usize = 1;

/// Returns the routes of this dialect: Socket.IO and a page where there is a live channel, `/topics` where there is one for it.
pub fn routes(gateway: &Gateway) -> Router {
    let Some(config) = &gateway.listener.originals.sensor_mirror else { return Router::new() };
    let mut router = Router::new();
    if let Some(live) = &config.live {
        let has_general = gateway.listener.dialects.contains(&Dialect::Socketio);
        let mirrors = Mirrors {
            teller: Teller::new(config, left_out(gateway, "incomplete")),
            too_many_topics: left_out(gateway, "too_many_topics"),
            config: config.clone(),
            live: live.clone(),
            general: has_general.then(|| socketio::general(gateway)),
            gateway: gateway.clone(),
        };
        router = router.merge(page::routes(&gateway.listener.socketio.path));
        router = router.merge(socketio::original_routes(gateway, Arc::new(Arc::new(mirrors))));
    }
    if let Some(rest) = &config.rest {
        router = router.merge(rest::routes(config, &rest.channel, gateway));
    }
    router
}

/// What the clients of a listener share.
#[derive(Debug)]
struct Mirrors {
    gateway: Gateway,
    config: SensorMirror,
    live: Mirrored,
    teller: Teller,
    too_many_topics: Arc<stats::Counter>,
    /// All namespaces but `/`.
    general: Option<Arc<dyn Namespaces>>,
}

impl Namespaces for Arc<Mirrors> {
    fn read_query(&self) -> bool {
        true
    }

    fn enter(&self, entering: &Entering<'_>) -> Result<Admission, String> {
        if entering.namespace != "/" {
            let general = self.general.as_ref().map(|general| general.enter(entering));
            return general.and_then(Result::ok).ok_or_else(|| NOT_LET_IN.to_owned());
        }
        let sid = new_sid().ok_or(NOT_LET_IN)?;
        let mut mirror = Mirror::new(self.clone(), entering.bell);
        let mut greeting = Vec::new();
        mirror.begin(entering, &mut greeting).map_err(|fault| fault.message)?;
        Ok(Admission::Now(Entered { sid, pid: None, service: Box::new(mirror), greeting }))
    }
}

/// One client.
struct Mirror {
    mirrors: Arc<Mirrors>,
    values: Feed,
    clients: Feed,
    /// The number of clients that was told last.
    connected: u64,
    /// Seats that may have news.
    news: Rung,
}

impl Mirror {
    fn new(mirrors: Arc<Mirrors>, bell: &Arc<Bell>) -> Self {
        let feed = |channel: &str, seat: usize| {
            let seat = Seat { bell: bell.clone(), number: seat as u32 };
            Feed::new(mirrors.gateway.hub.clone(), channel.into(), seat)
        };
        let values = feed(&mirrors.live.channel, VALUES).each();
        // The original told each coming and going to everyone; a tenth of a second of them is told at once.
        let clients = feed("_clients", CLIENTS).live_only().every(Tick::Tenth);
        Self { values, clients, mirrors, connected: 0, news: Rung::default() }
    }

    /// Asks for everything that the client is told by itself.
    fn begin(&mut self, entering: &Entering<'_>, greeting: &mut Vec<Parcel>) -> Result<(), Fault> {
        let (mirrors, listener) = (self.mirrors.clone(), self.mirrors.gateway.listener.name.as_str());
        // Before the number is taken: whatever changes it afterwards will be heard.
        self.clients.watch(Some(&format!("listener = '{listener}'")), 0, drop)?;
        self.tell_connected(mirrors.gateway.hub.connected(listener) as u64, greeting);
        let choice = Choice::of_query(entering.query).or_else(|| Choice::of_auth(entering.auth?));
        self.choose(&choice.unwrap_or_default(), greeting)
    }

    /// Asks for the values of these topics.
    fn choose(&mut self, choice: &Choice, out: &mut Vec<Parcel>) -> Result<(), Fault> {
        let mirrors = self.mirrors.clone();
        let limits = &mirrors.gateway.limits;
        let filter = match choice {
            Choice::None => {
                self.values.stop();
                return Ok(());
            }
            Choice::All => None,
            Choice::Some(_) => choice.filter(&mirrors.config.topic),
        };
        let (bytes, max) = (filter.as_ref().map_or(0, String::len), limits.filter_max_bytes);
        if bytes > max {
            mirrors.too_many_topics.add(1);
            let rule =
                format!("the topics of a client, as a filter, have at most {max} bytes, these {bytes}");
            return Err(Fault::new("too_many_topics", rule));
        }
        let tell = |rows: Rows| _ = mirrors.teller.events(&rows, out);
        self.values.watch(filter.as_deref(), limits.outbox_max_bytes, tell)?;
        self.news.add(VALUES);
        Ok(())
    }

    fn tell_connected(&mut self, connected: u64, out: &mut Vec<Parcel>) {
        if self.connected != connected {
            self.connected = connected;
            let event = format!("[\"connected_clients\",{connected}]");
            out.extend(namespace::packet(Kind::Event, "/", None, &[], event.as_bytes()));
        }
    }
}

impl Service for Mirror {
    fn event(&mut self, event: Event<'_>, out: &mut Vec<Parcel>) -> Next {
        if event.name != "watch_topics" {
            return Next::Stay;
        }
        let Some(choice) = Choice::of_argument(event.arguments.first().copied()) else { return Next::Stay };
        let before = out.len();
        match self.choose(&choice, out) {
            Ok(()) => {
                // The ack comes first, whatever the choice brings.
                let told = out.split_off(before);
                ack::say(event.ack, "[]", out);
                out.extend(told);
            }
            Err(fault) if fault.code == "too_many_topics" => ack::refuse(event.ack, &fault, out),
            Err(fault) => {
                tracing::warn!(listener = self.mirrors.gateway.listener.name, %fault, "a client is sent away");
                return Next::HangUp;
            }
        }
        Next::Stay
    }

    fn rang(&mut self, rung: Rung) {
        self.news.merge(rung);
    }

    fn has_news(&self) -> bool {
        self.news.any_seat()
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Parcel>) -> Verdict {
        let news = std::mem::take(&mut self.news);
        if news.has(CLIENTS) {
            loop {
                match self.clients.next() {
                    Ok(Some(rows)) => {
                        if let Some(connected) = connected_of(&rows) {
                            self.tell_connected(connected, out);
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => return Verdict::Close(fault),
                }
            }
        }
        let mut bytes = 0;
        while news.has(VALUES) {
            if bytes >= bytes_max {
                self.news.add(VALUES);
                break;
            }
            match self.values.next() {
                Ok(Some(rows)) => bytes += self.mirrors.teller.events(&rows, out),
                Ok(None) => break,
                Err(fault) => return Verdict::Close(fault),
            }
        }
        Verdict::Fine
    }

    fn blocked(&mut self, now: tokio::time::Instant) -> Verdict {
        self.values.blocked(now)
    }
}

/// Reads the newest number of clients.
fn connected_of(rows: &Rows) -> Option<u64> {
    #[derive(Deserialize)]
    struct Row {
        connected: u64,
    }
    // The array is ours; what follows it is not read.
    let rows = Vec::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_slice(&rows.json)).ok()?;
    let row: Row = serde_json::from_str(rows.last()?.get()).ok()?;
    Some(row.connected)
}
