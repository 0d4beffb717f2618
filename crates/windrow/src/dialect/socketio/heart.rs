//! Heart: when to ping, and when a client that says nothing is given up.
//!
//! ```text
//! version 4   open ──interval──► ping ──timeout──► over            a pong in between: the next ping after an interval
//! version 3   open ──interval + timeout──► over                    the client pings; any packet begins anew
//! ```
//!
//! **Invariant:** pure: time is an argument. **Not here:** timers, packets (`connection`).

use std::time::Duration;

use tokio::time::Instant;

use super::engine::{Kind, Revision};

/// The heartbeat of one session.
#[derive(Debug)]
pub(super) struct Heart {
    revision: Revision,
    interval: Duration,
    timeout: Duration,
    at: Instant,
    awaits_pong: bool,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing yet.
    Quiet,
    /// Ping the client.
    Ping,
    /// The client is gone.
    Over,
}

impl Heart {
    pub(super) fn new(revision: Revision, interval: Duration, timeout: Duration, now: Instant) -> Self {
        let patience = if revision == Revision::V3 { interval + timeout } else { interval };
        Self { revision, interval, timeout, at: now + patience, awaits_pong: false }
    }

    /// Notes that the client said a packet of that kind.
    pub(super) fn heard(&mut self, kind: Kind, now: Instant) {
        match self.revision {
            Revision::V3 => self.at = now + self.interval + self.timeout,
            Revision::V4 if self.awaits_pong && kind == Kind::Pong => {
                self.awaits_pong = false;
                self.at = now + self.interval;
            }
            Revision::V4 => {}
        }
    }

    /// Gives a client time that is not listened to at the moment.
    pub(super) fn wait(&mut self, until: Instant) {
        self.at = self.at.max(until);
    }

    /// Returns what is due, and begins to wait for what follows.
    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        if now < self.at {
            return Beat::Quiet;
        }
        if self.revision == Revision::V3 || self.awaits_pong {
            return Beat::Over;
        }
        self.awaits_pong = true;
        self.at = now + self.timeout;
        Beat::Ping
    }

    /// Returns when [`Self::beat`] has something to do.
    pub(super) fn due(&self) -> Instant {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_version_4_nothing_but_a_pong_answers_a_ping() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut heart =
            Heart::new(Revision::V4, Duration::from_millis(300), Duration::from_millis(200), start);
        assert_eq!(heart.beat(at(300)), Beat::Ping);
        heart.heard(Kind::Message, at(400));
        assert_eq!(heart.beat(at(500)), Beat::Over);
    }

    #[test]
    fn the_server_pings_in_version_4_and_listens_in_version_3() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (revision, heard, beats) in [
            (
                Revision::V4,
                vec![],
                vec![(299, Beat::Quiet), (300, Beat::Ping), (499, Beat::Quiet), (500, Beat::Over)],
            ),
            (
                Revision::V4,
                vec![350],
                vec![(300, Beat::Ping), (649, Beat::Quiet), (650, Beat::Ping), (850, Beat::Over)],
            ),
            (Revision::V4, vec![100, 200], vec![(299, Beat::Quiet), (300, Beat::Ping), (500, Beat::Over)]),
            (Revision::V3, vec![], vec![(499, Beat::Quiet), (500, Beat::Over)]),
            (Revision::V3, vec![400], vec![(500, Beat::Quiet), (899, Beat::Quiet), (900, Beat::Over)]),
        ] {
            let ms = Duration::from_millis;
            let mut heart = Heart::new(revision, ms(300), ms(200), start);
            let mut heard = heard.into_iter().peekable();
            for (when, want) in beats {
                while let Some(ms) = heard.next_if(|ms| *ms <= when) {
                    heart.heard(if revision == Revision::V4 { Kind::Pong } else { Kind::Ping }, at(ms));
                }
                assert_eq!(heart.beat(at(when)), want, "{revision:?} at {when}");
            }
        }
    }
}
