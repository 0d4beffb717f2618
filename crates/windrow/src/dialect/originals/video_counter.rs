//! Video counter: live counts of the rooms that a client is in, over Socket.IO; and likes over HTTP (`likes`).
//!
//! | a client says | it means | its ack |
//! |---|---|---|
//! | `register_room` `{"rooms": [id, …]}`, or one id | the filter of every event grows: `id IN (…)` | `[]` |
//! | `leave_room` the same | the filter shrinks | `[]` |
//! | `consume_1_min_aggregations`, `…_5_…`, `…_10_…` | nothing: who is in a room gets its events | `[]` |
//! | anything else | nothing | none |
//!
//! **In** these events, rows of the configured channels. **Out** `{"id","count"}` by the events' names (`tell`): what there is when a room is
//! registered, then every change, and the final count when its window closes.
//! **Invariant:** a room is a filter on a channel, nothing is held for it. What cannot be had is an answer: the ack holds the error.
//! **Not here:** packets (`socketio`), rows (`feed`).

use std::{collections::BTreeSet, sync::Arc};

use axum::Router;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::tell::{Teller, Tellers};
use super::{NOT_LET_IN, ack, feed::Feed, left_out};
use crate::{
    config::{Dialect, VideoCounter},
    dialect::{
        Gateway,
        socketio::{
            self,
            namespace::{Admission, Entered, Entering, Event, Namespaces, Next, Service},
            new_sid,
            upper::Parcel,
        },
    },
    hub::{Bell, Fault, Rung, Seat},
    publish::Publisher,
    session::{Outgoing, Verdict},
    stats,
};

mod likes;
mod tell;

/// Returns the routes of this dialect: Socket.IO where there are events, likes where there is a stream for them.
pub fn routes(gateway: &Gateway, publisher: &Publisher) -> Router {
    let Some(config) = &gateway.listener.originals.video_counter else { return Router::new() };
    let mut router = Router::new();
    if !config.events.is_empty() {
        let has_general = gateway.listener.dialects.contains(&Dialect::Socketio);
        let counters = Counters {
            tellers: Tellers::new(config, gateway),
            too_many_rooms: left_out(gateway, "too_many_rooms"),
            config: config.clone(),
            general: has_general.then(|| socketio::general(gateway)),
            gateway: gateway.clone(),
        };
        router = router.merge(socketio::original_routes(gateway, Arc::new(Arc::new(counters))));
    }
    if let Some(stream) = &config.likes {
        router = router.merge(likes::routes(stream, &config.videos, publisher.clone()));
    }
    router
}

/// What the clients of a listener share.
#[derive(Debug)]
struct Counters {
    gateway: Gateway,
    config: VideoCounter,
    tellers: Tellers,
    too_many_rooms: Arc<stats::Counter>,
    /// All namespaces but `/`.
    general: Option<Arc<dyn Namespaces>>,
}

impl Namespaces for Arc<Counters> {
    fn enter(&self, entering: &Entering<'_>) -> Result<Admission, String> {
        if entering.namespace != "/" {
            let general = self.general.as_ref().map(|general| general.enter(entering));
            return general.and_then(Result::ok).ok_or_else(|| NOT_LET_IN.to_owned());
        }
        let sid = new_sid().ok_or(NOT_LET_IN)?;
        let service = Box::new(Counter::new(self.clone(), entering.bell));
        Ok(Admission::Now(Entered { sid, pid: None, service, greeting: Vec::new() }))
    }
}

/// One client.
struct Counter {
    counters: Arc<Counters>,
    /// One of each event, by seat.
    feeds: Vec<Feed>,
    /// The client's side of the filter.
    rooms: BTreeSet<Box<str>>,
    /// Seats that may have news.
    news: Rung,
}

impl Counter {
    fn new(counters: Arc<Counters>, bell: &Arc<Bell>) -> Self {
        let feeds = counters.config.events.iter().enumerate().map(|(number, event)| {
            let seat = Seat { bell: bell.clone(), number: number as u32 };
            Feed::new(counters.gateway.hub.clone(), event.channel.as_str().into(), seat)
        });
        Self { feeds: feeds.collect(), counters, rooms: BTreeSet::new(), news: Rung::default() }
    }

    /// Changes the rooms of the client, and so the filter of all its feeds.
    fn change(&mut self, rooms: BTreeSet<Box<str>>, ack: Option<u64>, out: &mut Vec<Parcel>) -> Next {
        if rooms == self.rooms {
            ack::say(ack, "[]", out);
            return Next::Stay;
        }
        let counters = self.counters.clone();
        let filter = filter(&counters.config, &rooms);
        let max = counters.gateway.limits.filter_max_bytes;
        if filter.len() > max {
            let rule = format!(
                "the rooms of a client, as a filter, have at most {max} bytes, these {}",
                filter.len()
            );
            counters.too_many_rooms.add(1);
            ack::refuse(ack, &Fault::new("too_many_rooms", rule), out);
            return Next::Stay;
        }
        ack::say(ack, "[]", out);
        self.rooms = rooms;
        if self.rooms.is_empty() {
            self.feeds.iter_mut().for_each(Feed::stop);
            return Next::Stay;
        }
        let bytes_max = counters.gateway.limits.outbox_max_bytes;
        for (seat, feed) in self.feeds.iter_mut().enumerate() {
            let teller = counters.tellers.of(seat);
            let watched = feed.watch(Some(&filter), bytes_max, |rows| _ = tell(teller, &rows, out));
            if let Err(fault) = watched {
                tracing::warn!(listener = counters.gateway.listener.name, %fault, "a client is sent away");
                return Next::HangUp;
            }
            self.news.add(seat);
        }
        Next::Stay
    }
}

impl Service for Counter {
    fn event(&mut self, event: Event<'_>, out: &mut Vec<Parcel>) -> Next {
        let argument = event.arguments.first().copied();
        match event.name.as_str() {
            "register_room" => {
                let Some(named) = rooms_of(argument) else { return Next::Stay };
                let rooms = &self.rooms | &named;
                self.change(rooms, event.ack, out)
            }
            "leave_room" => {
                let Some(named) = rooms_of(argument) else { return Next::Stay };
                let rooms = &self.rooms - &named;
                self.change(rooms, event.ack, out)
            }
            "consume_1_min_aggregations" | "consume_5_min_aggregations" | "consume_10_min_aggregations" => {
                ack::say(event.ack, "[]", out);
                Next::Stay
            }
            _ => Next::Stay,
        }
    }

    fn rang(&mut self, rung: Rung) {
        self.news.merge(rung);
    }

    fn has_news(&self) -> bool {
        self.news.any_seat()
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Parcel>) -> Verdict {
        let (mut bytes, mut left) = (0, Rung::default());
        for (seat, feed) in self.feeds.iter_mut().enumerate().filter(|(seat, _)| self.news.has(*seat)) {
            let teller = self.counters.tellers.of(seat);
            loop {
                if bytes >= bytes_max {
                    left.add(seat);
                    break;
                }
                match feed.next() {
                    Ok(Some(rows)) => bytes += tell(teller, &rows, out),
                    Ok(None) => break,
                    Err(fault) => return Verdict::Close(fault),
                }
            }
        }
        self.news = left;
        Verdict::Fine
    }
}

/// Appends the events of rows; returns their bytes.
fn tell(teller: Option<&Teller>, rows: &super::feed::Rows, out: &mut Vec<Parcel>) -> usize {
    let before = out.len();
    if let Some(teller) = teller {
        teller.tell(rows, |event: Outgoing| out.push(Parcel::Text(event)));
    }
    out[before..].iter().map(Parcel::len_bytes).sum()
}

/// What a client says of rooms.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    rooms: &'a RawValue,
}

/// Reads the rooms of an argument: a list, of which only texts can be rooms, or one alone. `None`: it names none, or is no such argument.
fn rooms_of(argument: Option<&RawValue>) -> Option<BTreeSet<Box<str>>> {
    // A list would pass for a structure, too.
    let object = argument?.get().strip_prefix('{').and(argument)?;
    let named: Named<'_> = serde_json::from_str(object.get()).ok()?;
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    if let Some(one) = text(named.rooms) {
        return Some(BTreeSet::from([one.into()]));
    }
    let list: Vec<&RawValue> = serde_json::from_str(named.rooms.get()).ok()?;
    Some(list.into_iter().filter_map(text).map(Into::into).collect())
}

/// Writes the filter of rows of those rooms.
fn filter(config: &VideoCounter, rooms: &BTreeSet<Box<str>>) -> String {
    let quoted: Vec<String> = rooms.iter().map(|room| format!("'{}'", room.replace('\'', "''"))).collect();
    let column = config.room.replace('"', "\"\"");
    let finals = if config.finals { " AND final" } else { "" };
    format!("\"{column}\" IN ({}){finals}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(argument: &str) -> Option<Vec<String>> {
        let argument: Box<RawValue> = serde_json::from_str(argument).unwrap();
        rooms_of(Some(&argument)).map(|rooms| rooms.into_iter().map(String::from).collect())
    }

    #[test]
    fn rooms_are_a_list_of_texts_or_one_text() {
        for (argument, want) in [
            (r#"{"rooms":["b","a","a"]}"#, Some(vec!["a", "b"])),
            (r#"{"rooms":["a",5,null,["b"]],"more":1}"#, Some(vec!["a"])),
            (r#"{"rooms":[]}"#, Some(vec![])),
            (r#"{"rooms":"a\u0027b"}"#, Some(vec!["a'b"])),
            (r#"{"rooms":5}"#, None),
            (r#"{"room":["a"]}"#, None),
            (r#"["a"]"#, None),
            ("\"a\"", None),
        ] {
            let want = want.map(|want| want.into_iter().map(str::to_owned).collect());
            assert_eq!(rooms(argument), want, "{argument}");
        }
        assert!(rooms_of(None).is_none());
    }

    #[test]
    fn a_filter_holds_what_a_client_says_as_text_and_nothing_else() {
        let config = VideoCounter { room: "vid\"eo".to_owned(), ..VideoCounter::default() };
        let rooms = ["a", "b' OR 'x' = 'x"].map(Box::from).into();
        assert_eq!(filter(&config, &rooms), r#""vid""eo" IN ('a', 'b'' OR ''x'' = ''x')"#);
        let config = VideoCounter { finals: true, ..config };
        assert!(filter(&config, &rooms).ends_with(") AND final"));
    }
}
