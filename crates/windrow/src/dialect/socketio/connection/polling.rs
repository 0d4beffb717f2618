//! Polling: what a session holds while requests carry it.
//!
//! **In** parcels; polls and bodies that wait at the door. **Out** answers.
//! **Invariant:** an end is told in the poll that waits, or in the next one, or after [`LINGER`] to nobody. **Not here:** what comes in
//! (`input`), the requests (`door`).

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::super::{
    door::{Door, Taken},
    engine::{Kind, Revision},
    outbox::{self, Outbox},
    probe::Probe,
    upper::Parcel,
};

/// How long a client that polls may take to ask once more, when it is to be told the end.
const LINGER: Duration = Duration::from_secs(2);

/// A session that polls.
pub(super) struct Polling {
    pub(super) door: Arc<Door>,
    pub(super) outbox: Outbox,
    pub(super) probe: Option<Probe>,
    pub(super) taken: Option<oneshot::Sender<Taken>>,
    closing: Option<Closing>,
}

/// Everything is said: it ends with the next poll, or then.
struct Closing {
    until: Instant,
    last: Kind,
}

/// What became of the poll that waits.
pub(super) struct Answered {
    /// Packets that it was told.
    pub(super) told: usize,
    /// It was the last one.
    pub(super) is_over: bool,
    /// There is none any more.
    pub(super) moved: bool,
}

impl Polling {
    pub(super) fn new(door: Arc<Door>, is_json: bool, greeting: Vec<Parcel>) -> Self {
        let mut outbox = Outbox::new(is_json);
        outbox.push(greeting);
        Self { door, outbox, probe: None, taken: None, closing: None }
    }

    /// Tells whether a poll waits for news.
    pub(super) fn takes_more(&self) -> bool {
        self.closing.is_none() && self.outbox.is_empty() && self.door.waits().is_some()
    }

    /// Tells whether the answer to what the client says next finds room.
    pub(super) fn has_room(&self) -> bool {
        self.closing.is_none() && self.outbox.has_room()
    }

    /// Answers the poll that waits, when there is something to say.
    pub(super) fn answer(&mut self, revision: Revision) -> Answered {
        let told = self.outbox.answer(revision, &self.door);
        let bare = |kind| self.door.answer(outbox::bare(revision, kind));
        if let (Some(closing), true) = (&self.closing, self.outbox.is_empty()) {
            // A poll that was told something has ended already.
            let is_over = told > 0 && closing.last == Kind::Noop || bare(closing.last);
            return Answered { told, is_over, moved: is_over };
        }
        // A client that is about to change its transport waits for its last poll to end.
        let is_probed = self.probe.as_ref().is_some_and(Probe::is_answered);
        let is_let_go = told == 0 && is_probed && self.door.waits().is_some() && bare(Kind::Noop);
        Answered { told, is_over: false, moved: told > 0 || is_let_go }
    }

    /// Tells the client that its body was taken. False: there is none.
    pub(super) fn body_is_taken(&mut self) -> bool {
        let Some(taken) = self.taken.take() else { return false };
        self.door.post_is_over();
        // Whoever hung up does not want to know.
        let _ = taken.send(Taken::Whole);
        true
    }

    /// Ends with what the client is told last; what it said was heard, unless it was a breach.
    pub(super) fn close(&mut self, last: Kind) {
        self.probe = None;
        match last {
            Kind::Noop => drop(self.body_is_taken()),
            _ => self.taken = None,
        }
        self.closing.get_or_insert(Closing { until: Instant::now() + LINGER, last });
    }

    /// Lets a client go that said so itself.
    pub(super) fn leave(&mut self, revision: Revision) {
        self.body_is_taken();
        self.outbox.answer(revision, &self.door);
        self.door.answer(outbox::bare(revision, Kind::Noop));
    }

    /// Returns when it ends even if nobody asks.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.closing.as_ref().map(|closing| closing.until)
    }

    /// Returns when there is something to do even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ends_at().or_else(|| self.probe.as_ref().map(Probe::due))
    }
}
