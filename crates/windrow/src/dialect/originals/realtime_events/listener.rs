//! Listener: one client, who hears of its organization.
//!
//! **In** rows of its feeds, time. **Out** pings and events; where the client asked for it, with rows and positions.
//! **Invariant:** a record is one event, in the order of its channel. **Not here:** what was asked for (`asked`).

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    Events,
    asked::{Asked, now_s},
};
use crate::{
    dialect::{
        originals::feed::{Feed, Rows},
        websocket::{
            close::Codes,
            speaker::{Next, Speaker},
        },
    },
    hub::{Bell, Fault, Rung, Seat},
    session::{Outgoing, Verdict},
};

/// One client.
pub(super) struct Listener {
    events: Arc<Events>,
    /// By seat: the channel's place in the configuration, and its feed.
    feeds: Vec<(usize, Feed)>,
    filter: String,
    has_begun: bool,
    wants_data: bool,
    wants_positions: bool,
    /// Seats that may have news.
    news: Rung,
    next_ping: Instant,
    /// When its token ends.
    ends: Option<Instant>,
}

impl Listener {
    pub(super) fn new(events: Arc<Events>, asked: Asked, bell: Arc<Bell>) -> Self {
        let hub = &events.gateway.hub;
        let mut news = Rung::default();
        let feeds = asked.channels.into_iter().enumerate().map(|(number, (place, position))| {
            news.add(number);
            let seat = Seat { bell: bell.clone(), number: number as u32 };
            let channel = events.config.channels[place].channel.as_str().into();
            (place, Feed::new(hub.clone(), channel, seat).live_only().after(position))
        });
        let now = Instant::now();
        let left = asked.expires.map(|expires| (expires - now_s()).max(0.0));
        Self {
            feeds: feeds.collect(),
            filter: format!(
                "\"{}\" = {}",
                events.config.organization.replace('"', "\"\""),
                asked.organization
            ),
            has_begun: false,
            wants_data: asked.wants_data,
            wants_positions: asked.wants_positions,
            news,
            next_ping: now,
            ends: left
                .and_then(|left| Duration::try_from_secs_f64(left).ok())
                .and_then(|left| now.checked_add(left)),
            events,
        }
    }

    /// Watches all that was asked for.
    fn begin(&mut self) -> Result<(), Fault> {
        self.has_begun = true;
        let bytes_max = self.events.gateway.limits.outbox_max_bytes;
        self.feeds.iter_mut().try_for_each(|(_, feed)| {
            // Nothing was watched before, so nothing is told here.
            feed.watch(Some(&self.filter), bytes_max, |_| {})
        })
    }

    /// Appends the events of rows; returns their bytes.
    fn tell(&self, place: usize, rows: &Rows, out: &mut Vec<Outgoing>) -> usize {
        let name = &self.events.config.channels[place].name;
        let before = out.len();
        // The array is ours; what follows it is not read.
        let list = Vec::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_slice(&rows.json));
        let list = list.unwrap_or_else(|_| {
            self.events.incomplete.add(1);
            Vec::new()
        });
        if let Some(why) = rows.lapse.filter(|_| self.wants_positions) {
            let why = why.name();
            let text = format!(r#"{{"type":"missed","channel":"{name}","reason":"{why}"}}"#);
            out.push(Outgoing::whole(text));
        }
        for (number, row) in list.iter().enumerate() {
            let mut text = format!(r#"{{"type":"event","channel":"{name}""#);
            if self.wants_data {
                text.push_str(r#","data":"#);
                text.push_str(row.get());
            }
            // A position is that of all rows of a message, so the last one tells it.
            if let (Some(at), true) = (&rows.at, self.wants_positions && number + 1 == list.len()) {
                text.push_str(&format!(r#","at":"{}""#, String::from_utf8_lossy(at)));
            }
            text.push('}');
            out.push(Outgoing::whole(text));
        }
        out[before..].iter().map(Outgoing::len_bytes).sum()
    }

    fn ping(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        self.next_ping = now + self.events.config.ping_interval;
        let mut text = r#"{"type":"ping""#.to_owned();
        if self.wants_positions {
            let mut positions = Vec::new();
            for (place, feed) in &mut self.feeds {
                if let Some(at) = feed.position() {
                    let name = &self.events.config.channels[*place].name;
                    positions.push(format!(r#""{name}":"{}""#, String::from_utf8_lossy(&at)));
                }
            }
            if !positions.is_empty() {
                text.push_str(&format!(r#","at":{{{}}}"#, positions.join(",")));
            }
        }
        text.push('}');
        out.push(Outgoing::whole(text));
    }
}

impl Speaker for Listener {
    const CODES: Codes = Codes::Rfc;

    fn greet(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        self.ping(now, out);
    }

    fn on_text(&mut self, _text: &str, _out: &mut Vec<Outgoing>) -> Next {
        Next::Stay
    }

    fn rang(&mut self, rung: Rung) {
        self.news.merge(rung);
    }

    fn has_news(&self) -> bool {
        self.news.any_seat()
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Outgoing>) -> Verdict {
        if !self.has_begun
            && let Err(fault) = self.begin()
        {
            return Verdict::Close(fault);
        }
        let (mut bytes, mut left) = (0, Rung::default());
        for seat in 0..self.feeds.len() {
            while self.news.has(seat) {
                if bytes >= bytes_max {
                    left.add(seat);
                    break;
                }
                let (place, feed) = &mut self.feeds[seat];
                let place = *place;
                match feed.next() {
                    Ok(Some(rows)) => bytes += self.tell(place, &rows, out),
                    Ok(None) => break,
                    Err(fault) => return Verdict::Close(fault),
                }
            }
        }
        self.news = left;
        Verdict::Fine
    }

    fn blocked(&mut self, now: Instant) -> Verdict {
        for (_, feed) in &mut self.feeds {
            let verdict = feed.blocked(now);
            if verdict != Verdict::Fine {
                return verdict;
            }
        }
        Verdict::Fine
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<Outgoing>) -> Verdict {
        if self.ends.is_some_and(|ends| ends <= now) {
            return Verdict::Close(Fault::new("expired", "the token has ended"));
        }
        if self.next_ping <= now {
            self.ping(now, out);
        }
        Verdict::Fine
    }

    fn wakes_at(&self) -> Option<Instant> {
        Some(self.ends.map_or(self.next_ping, |ends| ends.min(self.next_ping)))
    }
}
