//! General: the API for every Socket.IO client: subscribe, filter, unsubscribe.
//!
//! **In** these events, each with one object. **Out** acks, and events with the names of channels.
//! **Before** this file: `namespace`. **After** it: `session`.
//!
//! **Invariant:** every refusal is an answer with a code: the ack, or the event `fault` when none was asked for. **Not here:** what is
//! subscribed to (`session`), how it is written (`session::wire`).

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::time::Instant;

use super::{
    engine::Revision,
    namespace::{Admission, Candidate, Entered, Entering, Event, Namespaces, Next, Service},
    registry::new_sid,
    upper::Parcel,
};
use crate::{
    dialect::Gateway,
    hub::{Bell, Rung},
    session::{Identity, Outgoing, Session, Verdict, Voice, bye},
};

/// The namespaces of a listener that speaks with everybody.
#[derive(Debug)]
pub(super) struct Generals {
    pub(super) gateway: Gateway,
    pub(super) namespaces: Vec<String>,
    /// Whether clients may take up their sessions again.
    pub(super) recovery: bool,
}

impl Namespaces for Arc<Generals> {
    fn enter(&self, entering: &Entering<'_>) -> Result<Admission, String> {
        let namespace = entering.namespace;
        if self.namespaces.iter().any(|known| known == namespace) {
            return match self.recovered(entering) {
                Some(candidate) => Ok(Admission::Later(candidate)),
                None => self.anew(namespace, entering.bell, entering.revision).map(Admission::Now),
            };
        }
        if entering.revision == Revision::V3 && namespace == "/" {
            // Such a client comes through here on its way to any other.
            let (sid, service) = (sid()?, Box::new(Lobby));
            return Ok(Admission::Now(Entered { sid, pid: None, service, greeting: Vec::new() }));
        }
        Err("Invalid namespace".to_owned())
    }
}

impl Generals {
    fn anew(&self, namespace: &str, bell: &Arc<Bell>, revision: Revision) -> Result<Entered, String> {
        let voice = Voice::socketio(namespace);
        let (gateway, bell) = (self.gateway.clone(), bell.clone());
        // Clients of version 3 bring nothing when they connect.
        let session = if self.recovery && revision == Revision::V4 {
            let identity = Identity { pid: sid()?, sid: sid()? };
            Session::recoverable(gateway, bell, voice.clone(), identity)
        } else {
            Session::new(gateway, bell, voice.clone())
        };
        let sid = session.identity().map_or_else(sid, |identity| Ok(identity.sid.clone()))?;
        Ok(entered(session, voice, sid))
    }

    /// Begins to take up what the client held, if it brings that and it makes sense.
    fn recovered(self: &Arc<Self>, entering: &Entering<'_>) -> Option<Box<dyn Candidate>> {
        if !self.recovery || entering.revision == Revision::V3 {
            return None;
        }
        let brought: Brought = serde_json::from_str(entering.auth?).ok()?;
        let (pid, offset) = (brought.pid?, brought.offset?);
        let voice = Voice::socketio(entering.namespace);
        let bell = entering.bell.clone();
        let session = Session::recover(self.gateway.clone(), bell.clone(), voice, &pid, &offset)?;
        let namespace = entering.namespace.to_owned();
        Some(Box::new(Returning { generals: self.clone(), namespace, bell, session: Some(session) }))
    }
}

fn sid() -> Result<Box<str>, String> {
    new_sid().ok_or_else(|| "the system has no randomness".to_owned())
}

fn entered(session: Session, voice: Voice, sid: Box<str>) -> Entered {
    let pid = session.identity().map(|identity| identity.pid.clone());
    let service = Box::new(General { session, voice, said: Vec::new() });
    Entered { sid, pid, service, greeting: Vec::new() }
}

/// What a client brings that comes back.
#[derive(Deserialize)]
struct Brought {
    pid: Option<String>,
    offset: Option<String>,
}

/// A client that comes back.
struct Returning {
    generals: Arc<Generals>,
    namespace: String,
    bell: Arc<Bell>,
    session: Option<Session>,
}

impl Candidate for Returning {
    fn rang(&mut self, rung: Rung) {
        if let Some(session) = &mut self.session {
            session.rang(rung);
        }
    }

    fn attempt(&mut self, give_up: bool) -> Option<Result<Entered, String>> {
        let is_recovered = self.session.as_mut()?.is_recovered(give_up)?;
        let session = self.session.take()?;
        match (is_recovered, session.identity().map(|identity| identity.sid.clone())) {
            (true, Some(sid)) => Some(Ok(entered(session, Voice::socketio(&self.namespace), sid))),
            _ => {
                // Its subscriptions go first, so that the new ones find their places.
                drop(session);
                Some(self.generals.anew(&self.namespace, &self.bell, Revision::V4))
            }
        }
    }
}

struct Lobby;

impl Service for Lobby {
    fn event(&mut self, _: Event<'_>, _: &mut Vec<Parcel>) -> Next {
        Next::Stay
    }
}

struct General {
    session: Session,
    voice: Voice,
    said: Vec<Outgoing>,
}

impl General {
    /// Hands over what the session said.
    fn hand_over(&mut self, out: &mut Vec<Parcel>) {
        // The session's voice writes messages with their type of Engine.IO in front.
        out.extend(self.said.drain(..).map(Parcel::Text));
        if self.said.capacity() > 64 {
            self.said = Vec::new();
        }
    }
}

impl Service for General {
    fn event(&mut self, event: Event<'_>, out: &mut Vec<Parcel>) -> Next {
        let argument = match event.arguments.as_slice() {
            [argument] if event.attachments.is_empty() => Some(argument.get()),
            _ => None,
        };
        self.session.on_event(&event.name, argument, event.ack, &mut self.said);
        self.hand_over(out);
        Next::Stay
    }

    fn rang(&mut self, rung: Rung) {
        self.session.rang(rung);
    }

    fn has_news(&self) -> bool {
        self.session.has_news()
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Parcel>) -> Verdict {
        let verdict = self.session.pull(bytes_max, &mut self.said);
        self.hand_over(out);
        verdict
    }

    fn blocked(&mut self, now: Instant) -> Verdict {
        self.session.blocked(now)
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<Parcel>) {
        self.session.on_time(now, &mut self.said);
        self.hand_over(out);
    }

    fn wakes_at(&self) -> Option<Instant> {
        self.session.wakes_at()
    }

    fn goodbye(&mut self, reconnect_after: Duration, out: &mut Vec<Parcel>) {
        out.push(Parcel::Text(self.voice.event("bye", &bye("draining", reconnect_after))));
    }
}
