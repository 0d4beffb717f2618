//! Echo: a service that says back what it hears, for test suites of the protocols.
//!
//! | on | event | answer |
//! |---|---|---|
//! | `/`, `/custom` | connect | the event `auth` with what was brought; with `{"refuse":"why"}` the namespace stays closed |
//! | `/`, `/custom` | `message` | the event `message-back` with the same arguments |
//! | `/`, `/custom` | `message-with-ack` | the ack with the same arguments |
//! | `/`, `/custom` | `message-for-ack` | the event `please-ack` with the same arguments, which wants an ack; then `acked` with its arguments |
//! | `/`, `/custom` | `leave` | the namespace is left, at the server's wish |
//! | `/`, `/custom` | `hang-up` | the session ends |
//!
//! **Not here:** channels; the echo has none.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    namespace::{self, Acked, Admission, Entered, Entering, Event, Namespaces, Next, Service},
    packet::Kind,
    registry::new_sid,
    upper::{Opened, Parcel, Upper, Uppers},
};
use crate::session::{Outgoing, Verdict};

/// Acks that may be outstanding; the oldest is forgotten for one more.
const ACKS_MAX: usize = 256;

/// The namespaces of the echo.
#[derive(Debug)]
pub(super) struct Echoes;

impl Namespaces for Echoes {
    fn enter(&self, entering: &Entering<'_>) -> Result<Admission, String> {
        let namespace = entering.namespace;
        if !matches!(namespace, "/" | "/custom") {
            return Err("Invalid namespace".to_owned());
        }
        let refused = entering.auth.and_then(|auth| serde_json::from_str::<Brought>(auth).ok()?.refuse);
        if let Some(why) = refused {
            return Err(why);
        }
        let sid = new_sid().ok_or("the system has no randomness")?;
        let data = format!("[\"auth\",{}]", entering.auth.unwrap_or("{}"));
        let greeting = namespace::packet(Kind::Event, namespace, None, &[], data.as_bytes()).collect();
        let service = Box::new(Echo { namespace: namespace.into(), asked: 0, waits: VecDeque::new() });
        Ok(Admission::Now(Entered { sid, pid: None, service, greeting }))
    }
}

/// What a client may bring.
#[derive(Deserialize)]
struct Brought {
    refuse: Option<String>,
}

struct Echo {
    namespace: Box<str>,
    /// Acks asked for so far.
    asked: u64,
    /// Those that did not come yet.
    waits: VecDeque<u64>,
}

impl Service for Echo {
    fn event(&mut self, event: Event<'_>, out: &mut Vec<Parcel>) -> Next {
        let mut say = |kind, name: Option<&str>, ack| {
            let name = name.map(|name| format!("\"{name}\""));
            let parts = name.as_deref().into_iter().chain(event.arguments.iter().map(|a| a.get()));
            let data = format!("[{}]", parts.collect::<Vec<_>>().join(","));
            out.extend(namespace::packet(kind, &self.namespace, ack, &event.attachments, data.as_bytes()));
        };
        match event.name.as_str() {
            "message" => say(Kind::Event, Some("message-back"), None),
            "message-with-ack" if event.ack.is_some() => say(Kind::Ack, None, event.ack),
            "message-for-ack" => {
                say(Kind::Event, Some("please-ack"), Some(self.asked));
                self.waits.push_back(self.asked);
                self.asked += 1;
                if self.waits.len() > ACKS_MAX {
                    self.waits.pop_front();
                }
            }
            "leave" => return Next::Leave,
            "hang-up" => return Next::HangUp,
            _ => {}
        }
        Next::Stay
    }

    fn acked(&mut self, acked: Acked<'_>, out: &mut Vec<Parcel>) {
        let Some(place) = self.waits.iter().position(|waits| *waits == acked.ack) else { return };
        self.waits.remove(place);
        // Decoding has checked that it is an array.
        let arguments = acked.data.strip_prefix('[').unwrap_or("]").trim_start();
        let comma = if arguments.starts_with(']') { "" } else { "," };
        let data = format!("[\"acked\"{comma}{arguments}");
        let parcels =
            namespace::packet(Kind::Event, &self.namespace, None, &acked.attachments, data.as_bytes());
        out.extend(parcels);
    }
}

/// The echo below Socket.IO: messages of Engine.IO come back as they are.
#[derive(Debug)]
pub(super) struct EngineEchoes;

struct EngineEcho;

impl Uppers for EngineEchoes {
    fn open(&self, _: &Opened<'_>, _: &mut Vec<Parcel>) -> Box<dyn Upper> {
        Box::new(EngineEcho)
    }
}

impl Upper for EngineEcho {
    fn is_json(&self) -> bool {
        false
    }

    fn text(&mut self, text: &str, out: &mut Vec<Parcel>) -> Verdict {
        out.push(Parcel::Text(Outgoing::whole(format!("4{text}"))));
        Verdict::Fine
    }

    fn binary(&mut self, bytes: Bytes, out: &mut Vec<Parcel>) -> Verdict {
        out.push(Parcel::Binary(bytes));
        Verdict::Fine
    }
}
