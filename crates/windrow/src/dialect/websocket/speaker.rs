//! Speaker: what is said on one WebSocket, whatever dialect it is.
//!
//! **In** texts of the client, rings of the bell, time. **Out** messages, pulled when everything before them is written; whether to go on.
//! **Invariant:** it holds no socket and sets no timer: it is asked when there is something to do. **Not here:** the socket (`connection`).

use tokio::time::Instant;

use super::close::Codes;
use crate::{
    hub::{Fault, Goodbye, Rung},
    session::{Outgoing, Session, Verdict},
};

/// What becomes of a client after a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialect) enum Next {
    /// It stays.
    Stay,
    /// It asked to go.
    Leave,
    /// It cannot be served any longer.
    Close(Fault),
}

/// One client, as its connection asks it.
pub(in crate::dialect) trait Speaker: Send + 'static {
    /// Which close codes its clients know.
    const CODES: Codes;

    /// Says what comes before everything else.
    fn greet(&mut self, _now: Instant, _out: &mut Vec<Outgoing>) {}

    /// Answers a text.
    fn on_text(&mut self, text: &str, out: &mut Vec<Outgoing>) -> Next;

    /// Notes a binary message, where they are taken.
    fn on_binary(&mut self) {}

    /// Notes what rang.
    fn rang(&mut self, rung: Rung);

    /// Tells whether [`Self::pull`] may have something to say.
    fn has_news(&self) -> bool;

    /// Appends messages until about `bytes_max` are ready or there is no more news.
    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Outgoing>) -> Verdict;

    /// Notes that the socket takes nothing while there is news.
    fn blocked(&mut self, now: Instant) -> Verdict;

    /// Does what is due.
    fn on_time(&mut self, _now: Instant, _out: &mut Vec<Outgoing>) -> Verdict {
        Verdict::Fine
    }

    /// Returns when [`Self::on_time`] has something to do.
    fn wakes_at(&self) -> Option<Instant> {
        None
    }

    /// Returns what is said before the server closes because it stops.
    fn goodbye(&self, _goodbye: Goodbye) -> Option<Outgoing> {
        None
    }

    /// Returns what is said before the server closes because of a breach.
    fn refusal(&self, _fault: &Fault) -> Option<Outgoing> {
        None
    }
}

impl Speaker for Session {
    const CODES: Codes = Codes::Own;

    fn on_text(&mut self, text: &str, out: &mut Vec<Outgoing>) -> Next {
        Session::on_text(self, text, out);
        Next::Stay
    }

    fn rang(&mut self, rung: Rung) {
        Session::rang(self, rung);
    }

    fn has_news(&self) -> bool {
        Session::has_news(self)
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Outgoing>) -> Verdict {
        Session::pull(self, bytes_max, out)
    }

    fn blocked(&mut self, now: Instant) -> Verdict {
        Session::blocked(self, now)
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<Outgoing>) -> Verdict {
        Session::on_time(self, now, out);
        Verdict::Fine
    }

    fn wakes_at(&self) -> Option<Instant> {
        Session::wakes_at(self)
    }

    fn goodbye(&self, goodbye: Goodbye) -> Option<Outgoing> {
        Some(Outgoing::bye("draining", goodbye.reconnect_after))
    }

    fn refusal(&self, fault: &Fault) -> Option<Outgoing> {
        Some(Outgoing::error(fault))
    }
}
