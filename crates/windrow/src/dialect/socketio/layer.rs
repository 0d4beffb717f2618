//! Layer: Socket.IO on one Engine.IO session: who is in which namespace.
//!
//! **In** messages. **Out** whole events and acks, for the service of their namespace; answers to connects.
//! **Before** this file: `connection`. **After** it: `namespace`.
//!
//! **Invariant:** what is not a packet ends the session, as does one that is in no namespace for too long. A client of version 3 is in
//! `/` from the start, as its protocol wants. **Not here:** what events mean (the services).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    assembly::Assembly,
    engine::Revision,
    flavor::Flavor,
    namespace::{self, Acked, Admission, Candidate, Entered, Entering, Event, Namespaces, Next, Service},
    packet::{self, Kind, Packet},
    upper::{Opened, Parcel, Upper, Uppers},
};
use crate::{
    hub::{Bell, Fault, Rung},
    session::Verdict,
};

/// Namespaces that one client may be in at a time.
const JOINED_MAX: usize = 16;
/// How long a client may wait for what it held: past it, it begins anew.
const PENDING_MAX: Duration = Duration::from_secs(5);

/// Makes the layer of each session.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) namespaces: Arc<dyn Namespaces>,
    /// How long a client may be in no namespace.
    pub(super) connect_timeout: Duration,
    /// Bytes of all attachments of one packet.
    pub(super) attachments_max_bytes: usize,
    /// Whose ways are followed.
    pub(super) flavor: Flavor,
}

struct Layer {
    layers: Arc<Layers>,
    revision: Revision,
    query: Box<str>,
    bell: Arc<Bell>,
    joined: Vec<Joined>,
    pending: Vec<Pending>,
    assembly: Option<Box<Assembly>>,
    /// Since when it is in no namespace.
    alone_since: Option<Instant>,
}

struct Joined {
    namespace: Box<str>,
    service: Box<dyn Service>,
}

/// A client that is let in as soon as it is known how.
struct Pending {
    namespace: Box<str>,
    candidate: Box<dyn Candidate>,
    until: Instant,
    rang: bool,
}

impl Uppers for Arc<Layers> {
    fn open(&self, opened: &Opened<'_>, out: &mut Vec<Parcel>) -> Box<dyn Upper> {
        let mut layer = Layer {
            layers: self.clone(),
            revision: opened.revision,
            query: if self.namespaces.read_query() { opened.query.into() } else { Box::default() },
            bell: opened.bell.clone(),
            joined: Vec::new(),
            pending: Vec::new(),
            assembly: None,
            alone_since: Some(Instant::now()),
        };
        if opened.revision == Revision::V3 {
            layer.connect("/", None, out);
        }
        Box::new(layer)
    }
}

impl Layer {
    fn hear(&mut self, packet: Packet<'_>, attachments: Vec<Bytes>, out: &mut Vec<Parcel>) -> Verdict {
        let namespace = packet.namespace;
        match packet.kind {
            Kind::Connect => {
                // Clients of the older protocols bring what they have in the query of a namespace.
                let query = packet.query.filter(|_| packet.data.is_none()).map(object_of);
                self.connect(namespace, packet.data.or(query.as_deref()), out);
            }
            Kind::Disconnect => self.leave(namespace),
            Kind::ConnectError => return self.bad("a client does not refuse a namespace"),
            Kind::Event | Kind::Ack if self.joined.is_empty() => {
                return self.bad("connect to a namespace before anything else");
            }
            Kind::Event => {
                // Late events of a namespace that was left are nobody's fault.
                let Some(joined) = self.find(namespace) else { return Verdict::Fine };
                // Decoding has checked it.
                let Some((name, arguments)) = packet.data.and_then(packet::name_of) else {
                    return Verdict::Fine;
                };
                let event = Event { name, arguments, ack: packet.ack, attachments };
                match joined.service.event(event, out) {
                    Next::Stay => {}
                    Next::Leave => {
                        out.extend(namespace::packet(Kind::Disconnect, namespace, None, &[], b""));
                        self.leave(namespace);
                    }
                    Next::HangUp => {
                        return Verdict::Close(Fault::new("overloaded", "the server ends the session"));
                    }
                }
            }
            Kind::Ack => {
                let Some(joined) = self.find(namespace) else { return Verdict::Fine };
                if let (Some(ack), Some(data)) = (packet.ack, packet.data) {
                    joined.service.acked(Acked { ack, data, attachments }, out);
                }
            }
        }
        Verdict::Fine
    }

    fn find(&mut self, namespace: &str) -> Option<&mut Joined> {
        self.joined.iter_mut().find(|joined| &*joined.namespace == namespace)
    }

    fn connect(&mut self, namespace: &str, auth: Option<&str>, out: &mut Vec<Parcel>) {
        let is_pending = self.pending.iter().any(|pending| &*pending.namespace == namespace);
        if self.find(namespace).is_some() || is_pending {
            return;
        }
        if self.joined.len() + self.pending.len() >= JOINED_MAX {
            let why = format!("a client is in at most {JOINED_MAX} namespaces");
            return self.admit(namespace, Err(why), out);
        }
        let (query, bell) = (&*self.query, &self.bell);
        let entering = Entering { namespace, auth, revision: self.revision, query, bell };
        match self.layers.namespaces.enter(&entering) {
            Ok(Admission::Now(entered)) => self.admit(namespace, Ok(entered), out),
            Ok(Admission::Later(candidate)) => {
                let (namespace, until) = (namespace.into(), Instant::now() + PENDING_MAX);
                self.pending.push(Pending { namespace, candidate, until, rang: true });
                self.admit_pending(Instant::now(), out);
            }
            Err(why) => self.admit(namespace, Err(why), out),
        }
    }

    /// Tries to let in who waits for it.
    fn admit_pending(&mut self, now: Instant, out: &mut Vec<Parcel>) {
        for mut pending in std::mem::take(&mut self.pending) {
            let give_up = pending.until <= now;
            let tried = if pending.rang || give_up { pending.candidate.attempt(give_up) } else { None };
            pending.rang = false;
            match tried {
                Some(entered) => self.admit(&pending.namespace, entered, out),
                // It was tried for the last time.
                None if give_up => {}
                None => self.pending.push(pending),
            }
        }
    }

    fn admit(&mut self, namespace: &str, entered: Result<Entered, String>, out: &mut Vec<Parcel>) {
        let v4 = self.revision == Revision::V4;
        let mut data = Vec::new();
        match entered {
            Ok(Entered { sid, pid, service, greeting }) => {
                if v4 {
                    let pid = pid.map(|pid| format!(",\"pid\":\"{pid}\"")).unwrap_or_default();
                    data.extend_from_slice(format!("{{\"sid\":\"{sid}\"{pid}}}").as_bytes());
                }
                out.extend(namespace::packet(Kind::Connect, namespace, None, &[], &data));
                out.extend(greeting);
                self.joined.push(Joined { namespace: namespace.into(), service });
                self.alone_since = None;
            }
            Err(why) => {
                self.layers.flavor.write_refusal(self.revision, &why, &mut data);
                out.extend(namespace::packet(Kind::ConnectError, namespace, None, &[], &data));
            }
        }
    }

    /// Ends the session, or leaves out what its client said.
    fn bad(&self, why: impl Into<String>) -> Verdict {
        let why = why.into();
        if self.layers.flavor.forgives() {
            tracing::debug!(why, "a packet is left out");
            return Verdict::Fine;
        }
        Verdict::Close(Fault::new("bad_request", why))
    }

    fn leave(&mut self, namespace: &str) {
        self.joined.retain(|joined| &*joined.namespace != namespace);
        self.pending.retain(|pending| &*pending.namespace != namespace);
        if self.joined.is_empty() {
            self.alone_since.get_or_insert(Instant::now());
        }
    }
}

impl Upper for Layer {
    fn is_json(&self) -> bool {
        true
    }

    fn text(&mut self, text: &str, out: &mut Vec<Parcel>) -> Verdict {
        if self.assembly.take().is_some() {
            let verdict = self.bad("attachments follow their packet at once");
            if verdict != Verdict::Fine {
                return verdict;
            }
        }
        let packet = match Packet::decode(text) {
            Ok(packet) => packet,
            Err(malformed) => return self.bad(malformed.to_string()),
        };
        if packet.attachments == 0 {
            return self.hear(packet, Vec::new(), out);
        }
        let max = self.layers.attachments_max_bytes;
        self.assembly = Some(Box::new(Assembly::new(text, packet.attachments, max, Instant::now())));
        Verdict::Fine
    }

    fn binary(&mut self, bytes: Bytes, out: &mut Vec<Parcel>) -> Verdict {
        let Some(assembly) = &mut self.assembly else {
            return self.bad("bytes belong to a packet that announced them");
        };
        match assembly.add(bytes) {
            Ok(false) => return Verdict::Fine,
            Ok(true) => {}
            Err(why) => return self.bad(why),
        }
        let Some(assembly) = self.assembly.take() else { return Verdict::Fine };
        let (header, attachments) = assembly.done();
        match Packet::decode(&header) {
            Ok(packet) => self.hear(packet, attachments, out),
            Err(malformed) => self.bad(malformed.to_string()),
        }
    }

    fn rang(&mut self, rung: Rung) {
        self.joined.iter_mut().for_each(|joined| joined.service.rang(rung));
        for pending in &mut self.pending {
            pending.rang = true;
            pending.candidate.rang(rung);
        }
    }

    fn has_news(&self) -> bool {
        self.joined.iter().any(|joined| joined.service.has_news())
            || self.pending.iter().any(|pending| pending.rang)
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Parcel>) -> Verdict {
        self.admit_pending(Instant::now(), out);
        for joined in &mut self.joined {
            let verdict = joined.service.pull(bytes_max, out);
            if verdict != Verdict::Fine {
                return verdict;
            }
        }
        Verdict::Fine
    }

    fn blocked(&mut self, now: Instant) -> Verdict {
        let verdicts = self.joined.iter_mut().map(|joined| joined.service.blocked(now));
        verdicts.fold(Verdict::Fine, |worst, verdict| if worst == Verdict::Fine { verdict } else { worst })
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<Parcel>) -> Verdict {
        if self.assembly.as_ref().is_some_and(|assembly| assembly.due() <= now) {
            return Verdict::Close(Fault::new("timeout", "the attachments of a packet did not come"));
        }
        if self.alone_since.is_some_and(|since| since + self.layers.connect_timeout <= now) {
            return Verdict::Close(Fault::new("timeout", "no namespace was connected to"));
        }
        self.admit_pending(now, out);
        for joined in &mut self.joined {
            if joined.service.wakes_at().is_some_and(|when| when <= now) {
                joined.service.on_time(now, out);
            }
        }
        Verdict::Fine
    }

    fn wakes_at(&self, takes_more: bool) -> Option<Instant> {
        let assembly = self.assembly.as_ref().map(|assembly| assembly.due());
        let alone = self.alone_since.map(|since| since + self.layers.connect_timeout);
        // While something waits to be taken, positions wait too.
        let services =
            self.joined.iter().filter(|_| takes_more).filter_map(|joined| joined.service.wakes_at());
        let pending = self.pending.iter().map(|pending| pending.until);
        services.chain(assembly).chain(alone).chain(pending).min()
    }

    fn goodbye(&mut self, reconnect_after: Duration, out: &mut Vec<Parcel>) {
        self.joined.iter_mut().for_each(|joined| joined.service.goodbye(reconnect_after, out));
    }
}

/// Makes an object of texts of a query.
fn object_of(query: &str) -> String {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(
        &format!("/?{query}").parse().unwrap_or_default(),
    );
    let pairs = pairs.map(|axum::extract::Query(pairs)| pairs).unwrap_or_default();
    let object = pairs.into_iter().map(|(name, value)| (name, serde_json::Value::from(value)));
    serde_json::Value::Object(object.collect()).to_string()
}
