//! Connection: one Engine.IO session, from its handshake to its end.
//!
//! ```text
//! GET, POST ──► door ──┐                                      ┌──► outbox ──► the poll that waits
//! WebSocket ──► pipe ──┴──► packets ──► upper ──► parcels ────┴──► pipe
//! ```
//!
//! **In** what comes through its door or its pipe, rings of the bell, time. **Out** parcels, on the transport of the moment.
//! **Invariant:** one task owns it all. News are pulled only when the transport takes them, so a client that does not read or
//! does not poll holds one payload; what it says past its rate, or past the room for answers, waits. An upgrade takes along what
//! waits, in order. **Not here:** what messages mean (`upper`), how a request finds its session (`registry`).

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use self::{
    input::Incoming,
    polling::{Answered, Polling},
};
use super::{
    door::{Breach, Door, Knocked, Mode, Post, Taken},
    engine::{Kind, Revision},
    heart::{Beat, Heart},
    outbox,
    probe::{Probe, Probed},
    registry::Place,
    upper::{Parcel, Upper},
};
use crate::{
    dialect::{
        alarm::Alarm,
        allowance::Allowance,
        websocket::{
            close::{self, Codes},
            pipe::Pipe,
        },
    },
    hub::{Bell, Fault, SessionGuard},
    session::Verdict,
    stats::Counter,
};

mod input;
mod polling;

/// Gathered before one write: enough to make the system call cheap.
const GATHER_BYTES: usize = 64 << 10;
/// What a session is made of.
pub(super) struct Parts {
    pub(super) revision: Revision,
    pub(super) bell: Arc<Bell>,
    pub(super) guard: SessionGuard,
    pub(super) upper: Box<dyn Upper>,
    pub(super) heart: Heart,
    pub(super) allowance: Allowance,
    pub(super) counters: Arc<Counters>,
    /// Sockets that want to take over are asked for their limits here.
    pub(super) pipes: super::Pipes,
}

/// What sessions of a listener count.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) frames: Arc<Counter>,
    pub(super) bytes: Arc<Counter>,
    pub(super) messages_in: Arc<Counter>,
    pub(super) held_back: Arc<Counter>,
    pub(super) slow: Arc<Counter>,
    pub(super) refused: Arc<Counter>,
    pub(super) timed_out: Arc<Counter>,
}

/// One session.
pub(super) struct Connection {
    parts: Parts,
    transport: Transport,
    /// Packets of a body that were not taken yet; a socket is read only when there are none.
    inbox: VecDeque<Incoming>,
    alarm: Alarm,
    is_over: bool,
}

enum Transport {
    Polling(Box<Polling>),
    Socket(Pipe),
}

/// Serves a session that polls, until it is gone.
pub(super) async fn run_polling(parts: Parts, door: Arc<Door>, place: Place, greeting: Vec<Parcel>) {
    let polling = Polling::new(door.clone(), parts.upper.is_json(), greeting);
    let mut connection = Connection::new(parts, Transport::Polling(Box::new(polling)));
    poll_fn(|cx| connection.poll(cx)).await;
    // Whoever still waits is told by this; then nobody finds it any more.
    door.set(Mode::Shut);
    drop(place);
}

/// Serves a session that began as a socket, until it is gone.
pub(super) async fn run_socket(parts: Parts, mut pipe: Pipe, greeting: Vec<Parcel>) {
    outbox::send(&mut pipe, parts.revision, greeting);
    let mut connection = Connection::new(parts, Transport::Socket(pipe));
    poll_fn(|cx| connection.poll(cx)).await;
}

impl Connection {
    fn new(parts: Parts, transport: Transport) -> Self {
        Self { parts, transport, inbox: VecDeque::new(), alarm: Alarm::new(), is_over: false }
    }

    /// Does all there is to do; ready when the session is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut moved = self.poll_transport(cx);
            if let Poll::Ready(rung) = self.parts.bell.poll(cx) {
                self.parts.upper.rang(rung);
                if rung.is_goodbye() {
                    self.goodbye();
                    moved = true;
                }
                if !self.takes_more() && !self.is_closing() {
                    let verdict = self.parts.upper.blocked(Instant::now());
                    moved |= verdict != Verdict::Fine;
                    self.obey(verdict);
                }
            }
            // Before the news: there may always be more of them, and a client is to be heard all the same.
            moved |= self.poll_input(cx);
            if self.takes_more() && self.parts.upper.has_news() {
                let mut parcels = Vec::new();
                let verdict = self.parts.upper.pull(GATHER_BYTES, &mut parcels);
                self.send(parcels);
                self.obey(verdict);
                // News mostly go out at once: then there is nothing to look at anew.
                moved |= self.poll_transport(cx) || (self.takes_more() && self.parts.upper.has_news());
            }
            moved |= self.answer_poll();
            moved |= self.poll_time(cx).is_ready();
            if self.is_over {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Tells whether the transport would take something now.
    fn takes_more(&self) -> bool {
        match &self.transport {
            Transport::Polling(polling) => polling.takes_more(),
            Transport::Socket(pipe) => pipe.is_clear() && !pipe.is_closing(),
        }
    }

    /// Tells whether the answer to what the client says next finds room.
    fn has_room(&self) -> bool {
        match &self.transport {
            Transport::Polling(polling) => polling.has_room(),
            Transport::Socket(pipe) => pipe.is_clear() || pipe.is_closing(),
        }
    }

    fn is_closing(&self) -> bool {
        match &self.transport {
            Transport::Polling(polling) => polling.ends_at().is_some(),
            Transport::Socket(pipe) => pipe.is_closing(),
        }
    }

    fn send(&mut self, parcels: Vec<Parcel>) {
        match &mut self.transport {
            Transport::Polling(polling) => polling.outbox.push(parcels),
            Transport::Socket(pipe) if pipe.is_closing() => {}
            Transport::Socket(pipe) => {
                self.parts.counters.frames.add(parcels.len() as u64);
                outbox::send(pipe, self.parts.revision, parcels);
            }
        }
    }

    /// Writes, and takes what came through the door. True: something changed.
    fn poll_transport(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.transport {
            Transport::Socket(pipe) => {
                self.is_over |= pipe.poll_write(cx).is_ready();
                false
            }
            Transport::Polling(polling) => {
                // Before the door: a client that changed its transport may poll no more.
                let probed = polling.probe.as_mut().map(|probe| probe.poll(cx));
                match probed {
                    Some(Probed::Upgraded) => {
                        self.upgrade();
                        return true;
                    }
                    Some(Probed::Over) => {
                        polling.probe = None;
                        polling.door.probe_is_over();
                    }
                    Some(Probed::Quiet) | None => {}
                }
                let Poll::Ready(knocked) = polling.door.look(cx) else { return false };
                self.knocked(knocked);
                true
            }
        }
    }

    fn knocked(&mut self, knocked: Knocked) {
        let Transport::Polling(polling) = &mut self.transport else { return };
        if let Some(socket) = knocked.socket {
            polling.probe = Some(Probe::new(self.parts.pipes.pipe(socket), Instant::now()));
        }
        if let Some(breach) = knocked.breach {
            let why = match breach {
                Breach::GivenUp => {
                    self.is_over = true;
                    return;
                }
                Breach::Overlap => "one poll and one body at a time",
                Breach::TooLarge => "a body past maxPayload",
                Breach::Cut => "a body that did not come",
            };
            self.parts.counters.refused.add(1);
            return self.close(&Fault::new("bad_request", why));
        }
        if let Some(Post { body, taken }) = knocked.post {
            match self.unpack(&body) {
                Ok(()) => {
                    if let Transport::Polling(polling) = &mut self.transport {
                        polling.taken = Some(taken);
                    }
                }
                Err(malformed) => {
                    let _ = taken.send(Taken::Malformed);
                    self.malformed(malformed);
                }
            }
        }
    }

    /// Moves everything to the socket that proved itself.
    fn upgrade(&mut self) {
        let Transport::Polling(polling) = &mut self.transport else { return };
        let Some(probe) = polling.probe.take() else { return };
        let mut pipe = probe.into_pipe();
        let revision = self.parts.revision;
        polling.door.answer(outbox::bare(revision, Kind::Noop));
        polling.door.set(Mode::Socket);
        let waiting = polling.outbox.take();
        self.parts.counters.frames.add(waiting.len() as u64);
        outbox::send(&mut pipe, revision, waiting);
        polling.body_is_taken();
        self.transport = Transport::Socket(pipe);
    }

    /// Answers the poll that waits, when there is something to say. True: something changed.
    fn answer_poll(&mut self) -> bool {
        let Transport::Polling(polling) = &mut self.transport else { return false };
        if self.is_over {
            return false;
        }
        let Answered { told, is_over, moved } = polling.answer(self.parts.revision);
        self.parts.counters.frames.add(told as u64);
        self.is_over = is_over;
        moved
    }

    fn obey(&mut self, verdict: Verdict) {
        let Verdict::Close(fault) = verdict else { return };
        match fault.code {
            "slow" => self.parts.counters.slow.add(1),
            "timeout" => self.parts.counters.timed_out.add(1),
            _ => self.parts.counters.refused.add(1),
        }
        self.close(&fault);
    }

    fn goodbye(&mut self) {
        if self.is_closing() {
            return;
        }
        let mut parcels = Vec::new();
        self.parts.upper.goodbye(self.parts.guard.goodbye().reconnect_after, &mut parcels);
        self.send(parcels);
        self.close(&Fault::new("draining", "draining"));
    }

    /// Ends the session; a client that polls hears it in the poll that waits, or in its next one. Who may come back hears nothing and finds
    /// no session any more: python-socketio takes a close packet for its own wish, and stays away.
    fn close(&mut self, fault: &Fault) {
        self.inbox.clear();
        match &mut self.transport {
            Transport::Socket(pipe) => pipe.close(Some(Codes::Own.of_fault(fault)), &fault.message),
            Transport::Polling(polling) => {
                polling.close(if fault.code == "bad_request" { Kind::Close } else { Kind::Noop });
            }
        }
    }

    /// Does what is due; ready when something was.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.due();
        ready!(self.alarm.poll(cx, due));
        let now = Instant::now();
        let end = match &mut self.transport {
            Transport::Socket(pipe) => pipe.due(),
            Transport::Polling(polling) => polling.ends_at(),
        };
        if end.is_some_and(|end| end <= now) {
            self.is_over = true;
            return Poll::Ready(());
        }
        if self.is_closing() {
            return Poll::Ready(());
        }
        self.beat(now);
        let mut parcels = Vec::new();
        if self.parts.upper.wakes_at(self.takes_more()).is_some_and(|when| when <= now) {
            let verdict = self.parts.upper.on_time(now, &mut parcels);
            self.send(parcels);
            self.obey(verdict);
        }
        Poll::Ready(())
    }

    fn beat(&mut self, now: Instant) {
        match self.parts.heart.beat(now) {
            Beat::Quiet => {}
            Beat::Ping => self.send(vec![Parcel::bare(Kind::Ping)]),
            // What the client said meanwhile was not read: its rate held it back.
            Beat::Over if !self.parts.allowance.has(now) => {
                let back_at = self.parts.allowance.back_at().unwrap_or(now);
                self.parts.heart.wait(back_at + Duration::from_millis(100));
            }
            Beat::Over => {
                self.parts.counters.timed_out.add(1);
                match &mut self.transport {
                    Transport::Socket(pipe) => pipe.close(Some(close::TIMEOUT), "ping timeout"),
                    Transport::Polling(_) => self.is_over = true,
                }
            }
        }
    }

    /// Returns when there is something to do even if nothing happens.
    fn due(&self) -> Option<Instant> {
        let (transport, is_closing) = match &self.transport {
            Transport::Socket(pipe) => (pipe.due(), pipe.is_closing()),
            Transport::Polling(polling) => (polling.due(), polling.ends_at().is_some()),
        };
        if is_closing {
            return transport;
        }
        let heard_again = if self.has_room() { self.parts.allowance.back_at() } else { None };
        let upper = self.parts.upper.wakes_at(self.takes_more());
        [transport, Some(self.parts.heart.due()), upper, heard_again].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_small() {
        // With its task, timer, bell, seat, namespace and subscription it must stay within 8 KiB.
        assert!(size_of::<Connection>() <= 1_024, "{}", size_of::<Connection>());
    }
}
