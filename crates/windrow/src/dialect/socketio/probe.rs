//! Probe: a WebSocket that wants to take over from polling.
//!
//! ```text
//! 2probe ──► 3probe ──► (the last poll ends) ──► 5
//! ```
//!
//! **Invariant:** until the last of them nothing changes for the session; a socket that says anything else, or takes too long, is dropped and
//! polling goes on. **Not here:** what is moved (`connection`).

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::dialect::websocket::{
    frame::Event,
    pipe::{As, Pipe},
};
use crate::session::Outgoing;

/// How long a socket may take to take over.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// One socket that tries.
#[derive(Debug)]
pub(super) struct Probe {
    pipe: Pipe,
    is_answered: bool,
    until: Instant,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probed {
    /// Nothing yet.
    Quiet,
    /// It takes over now.
    Upgraded,
    /// It is gone.
    Over,
}

impl Probe {
    pub(super) fn new(pipe: Pipe, now: Instant) -> Self {
        Self { pipe, is_answered: false, until: now + PROBE_MAX }
    }

    /// Tells whether the client may end its polling now.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    pub(super) fn due(&self) -> Instant {
        self.until
    }

    pub(super) fn into_pipe(self) -> Pipe {
        self.pipe
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Probed {
        if self.pipe.poll_write(cx).is_ready() || Instant::now() >= self.until {
            return Probed::Over;
        }
        loop {
            let Poll::Ready(event) = self.pipe.poll_event(cx) else { return Probed::Quiet };
            match event {
                Ok(Event::Text(text)) if text == "2probe" && !self.is_answered => {
                    self.is_answered = true;
                    self.pipe.send([(As::Text, Outgoing::whole("3probe"))]);
                }
                Ok(Event::Text(text)) if text == "5" && self.is_answered => return Probed::Upgraded,
                Ok(Event::Ping(payload)) => self.pipe.pong(&payload),
                Ok(Event::Pong) => {}
                Ok(Event::Text(_) | Event::Binary(_) | Event::Close(_)) | Err(_) => return Probed::Over,
            }
            if self.pipe.poll_write(cx).is_ready() {
                return Probed::Over;
            }
        }
    }
}
