//! Input: what the client of a session says, one packet at a time.
//!
//! **In** bodies of polls, events of the socket. **Out** messages for the upper; answers to pings; ends.
//! **Invariant:** a packet is heard only while there is room for its answer and its client has said no more than it may; what has to wait is
//! one body, or stays in the socket. A heartbeat counts when it comes. **Not here:** what is said (`connection`).

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    super::{
        engine::{Data, Kind, Malformed, Packet, Revision, payload},
        upper::Parcel,
    },
    Connection, Transport,
};
use crate::{
    dialect::websocket::{
        close::{self, Codes},
        frame::Event,
        pipe::Broken,
    },
    hub::Fault,
};

/// One packet that waits to be heard.
pub(super) enum Incoming {
    Text(String),
    Binary(Bytes),
    Close,
}

impl Connection {
    /// Takes a body apart. Heartbeats count when they come, however long the rest has to wait.
    pub(super) fn unpack(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let revision = self.parts.revision;
        let (mut packets, mut pongs) = (VecDeque::new(), Vec::new());
        let mut heard = Kind::Message;
        payload::decode(revision, body, |packet| {
            match (packet.kind, packet.data) {
                (Kind::Ping, Data::Text(data)) if revision == Revision::V3 => pongs.push(pong(data)),
                (Kind::Pong, _) if revision == Revision::V4 => heard = Kind::Pong,
                (Kind::Noop, _) => {}
                (Kind::Message, Data::Text(text)) => packets.push_back(Incoming::Text(text.to_owned())),
                (Kind::Message, Data::Binary(bytes)) => {
                    packets.push_back(Incoming::Binary(Bytes::from(bytes.into_owned())));
                }
                (Kind::Close, _) => packets.push_back(Incoming::Close),
                _ => return Err(Malformed::Kind),
            }
            Ok(())
        })?;
        self.parts.heart.heard(heard, Instant::now());
        self.inbox.append(&mut packets);
        self.send(pongs);
        Ok(())
    }

    /// Hears one packet, while its answer finds room; the rest waits. True: something changed.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        if !self.has_room() || self.is_over || !self.parts.allowance.has(now) {
            return false;
        }
        let incoming = match self.inbox.pop_front() {
            Some(incoming) => incoming,
            None => {
                self.inbox = VecDeque::new();
                match self.poll_pipe(cx) {
                    Poll::Ready(Some(incoming)) => incoming,
                    Poll::Ready(None) => return true,
                    Poll::Pending => return self.body_is_taken(),
                }
            }
        };
        if self.parts.allowance.take(now) == 0 {
            self.parts.counters.held_back.add(1);
        }
        self.hear(incoming);
        true
    }

    /// Tells the client that polls that its body was taken.
    fn body_is_taken(&mut self) -> bool {
        let Transport::Polling(polling) = &mut self.transport else { return false };
        polling.body_is_taken()
    }

    /// Reads one event of the socket; `None`: it was heard already.
    fn poll_pipe(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let Transport::Socket(pipe) = &mut self.transport else { return Poll::Pending };
        let event = ready!(pipe.poll_event(cx));
        let is_closing = pipe.is_closing();
        let revision = self.parts.revision;
        let packet = match &event {
            Ok(Event::Ping(payload)) if !is_closing => {
                pipe.pong(payload);
                return Poll::Ready(None);
            }
            Ok(Event::Text(text)) if !is_closing => Packet::of_text(revision, text),
            Ok(Event::Binary(bytes)) if !is_closing => Packet::of_binary(revision, bytes),
            Ok(_) => return Poll::Ready(None),
            Err(Broken::Gone) => {
                self.is_over = true;
                return Poll::Ready(None);
            }
            Err(Broken::Violation(violation)) => {
                self.parts.counters.refused.add(1);
                let (code, _) = Codes::Own.of_violation(*violation);
                pipe.close(Some(code), &violation.to_string());
                pipe.deafen();
                return Poll::Ready(None);
            }
        };
        let packet = match packet {
            Ok(packet) => packet,
            Err(malformed) => {
                self.malformed(malformed);
                return Poll::Ready(None);
            }
        };
        self.parts.heart.heard(packet.kind, Instant::now());
        Poll::Ready(match (packet.kind, packet.data) {
            (Kind::Message, Data::Text(text)) => Some(Incoming::Text(text.to_owned())),
            (Kind::Message, Data::Binary(bytes)) => Some(Incoming::Binary(Bytes::from(bytes.into_owned()))),
            (Kind::Close, _) => Some(Incoming::Close),
            (Kind::Ping, Data::Text(data)) if revision == Revision::V3 => {
                let pong = pong(data);
                self.send(vec![pong]);
                None
            }
            (Kind::Pong, _) if revision == Revision::V4 => None,
            (Kind::Noop, _) => None,
            _ => {
                self.malformed(Malformed::Kind);
                None
            }
        })
    }

    fn hear(&mut self, incoming: Incoming) {
        let mut parcels = Vec::new();
        let verdict = match incoming {
            Incoming::Text(text) => {
                self.parts.counters.messages_in.add(1);
                self.parts.upper.text(&text, &mut parcels)
            }
            Incoming::Binary(bytes) => {
                self.parts.counters.messages_in.add(1);
                self.parts.upper.binary(bytes, &mut parcels)
            }
            Incoming::Close => return self.left(),
        };
        self.send(parcels);
        self.obey(verdict);
    }

    /// The client said that it goes.
    fn left(&mut self) {
        self.inbox.clear();
        match &mut self.transport {
            Transport::Socket(pipe) => pipe.close(Some(close::NORMAL), ""),
            Transport::Polling(polling) => {
                polling.leave(self.parts.revision);
                self.is_over = true;
            }
        }
    }

    pub(super) fn malformed(&mut self, malformed: Malformed) {
        self.parts.counters.refused.add(1);
        self.close(&Fault::new("bad_request", malformed.to_string()));
    }
}

fn pong(data: &str) -> Parcel {
    Parcel::text(format!("3{data}"))
}
