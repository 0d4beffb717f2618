//! Table: what is read, from where, by whom; shared by the caller, the keeper and the brokers' tasks.
//!
//! **In** assignments, leaders, positions. **Out** the next request of a broker, and what the keeper must find out.
//! **Invariant:** every change of an assignment gets a new token; whatever comes back under an old one changes nothing. The lock is
//! held for bookkeeping only, never across an await or a parse.

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use super::near::Near;
use crate::log::{From, Tp};

/// Where to begin, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At `Part::position`.
    Known,
    /// The keeper asks.
    Ask(From),
    /// `Part::position` is not held; the keeper asks for the ends.
    OutOfRange,
}

impl Start {
    /// Tells whether a partition can be fetched without asking its leader first.
    pub(super) fn is_known(self) -> bool {
        matches!(self, Start::Known | Start::Ask(From::Offset(_)))
    }
}

/// One partition that is read.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) token: u64,
    pub(super) start: Start,
    pub(super) position: i64,
    /// Epoch of the last batch that was read; -1 = none yet. The broker compares it with its own history.
    pub(super) epoch: i32,
    /// Whom to fetch from.
    pub(super) leader: Option<Leader>,
    pub(super) near: Near,
    /// The topic's id when first seen: another one later means that the topic was made anew.
    pub(super) topic_id: Option<Uuid>,
    /// Since when the topic cannot be found; brokers hear of a new topic one after the other.
    pub(super) missing_since: Option<Instant>,
    /// Stopped by a failure until it is assigned anew.
    pub(super) parked: bool,
    /// When data of it came last: those that waited longest stand first in a request, since answers are bounded in bytes.
    served: u64,
}

/// Who leads a partition, or the replica that it sent us to, and the epoch of its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: i32,
    pub(super) epoch: i32,
}

/// All partitions of a reader.
#[derive(Default)]
pub(super) struct Table {
    inner: Mutex<Inner>,
    /// Wakes the keeper.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Inner {
    parts: HashMap<Tp, Part>,
    tokens: u64,
    serves: u64,
}

impl Table {
    pub(super) fn assign(&self, tp: Tp, from: From) {
        let (start, position) = match from {
            From::Offset(offset) => (Start::Known, offset),
            other => (Start::Ask(other), -1),
        };
        let mut inner = self.inner.lock();
        inner.tokens += 1;
        let part = Part {
            token: inner.tokens,
            start,
            position,
            epoch: -1,
            leader: None,
            near: Near::default(),
            topic_id: None,
            missing_since: None,
            parked: false,
            served: 0,
        };
        inner.parts.insert(tp, part);
        self.changed.notify_one();
    }

    pub(super) fn unassign(&self, tp: &Tp) {
        self.inner.lock().parts.remove(tp);
    }

    pub(super) fn token(&self, tp: &Tp) -> Option<u64> {
        self.inner.lock().parts.get(tp).map(|part| part.token)
    }

    /// Returns the token of the last assignment.
    pub(super) fn newest_token(&self) -> u64 {
        self.inner.lock().tokens
    }

    /// Returns what the keeper must look after.
    pub(super) fn needy(&self) -> Vec<(Tp, Part)> {
        let inner = self.inner.lock();
        let needy = |part: &Part| !part.parked && (part.leader.is_none() || part.start != Start::Known);
        inner
            .parts
            .iter()
            .filter(|(_, part)| needy(part))
            .map(|(tp, part)| (tp.clone(), part.clone()))
            .collect()
    }

    /// Returns what a broker is to be asked for, those that waited longest first.
    pub(super) fn of_broker(&self, node: i32) -> Vec<(Tp, Part)> {
        let inner = self.inner.lock();
        let mine = |part: &Part| {
            !part.parked
                && part.start == Start::Known
                && part.leader.is_some_and(|leader| leader.node == node)
        };
        let mine = inner.parts.iter().filter(|(_, part)| mine(part));
        let mut mine: Vec<(Tp, Part)> = mine.map(|(tp, part)| (tp.clone(), part.clone())).collect();
        mine.sort_unstable_by(|(a_tp, a), (b_tp, b)| (a.served, a_tp).cmp(&(b.served, b_tp)));
        mine
    }

    /// Changes a partition unless it was assigned anew meanwhile; tells whether it did.
    pub(super) fn update(&self, tp: &Tp, token: u64, change: impl FnOnce(&mut Part)) -> bool {
        let mut inner = self.inner.lock();
        let Some(part) = inner.parts.get_mut(tp).filter(|part| part.token == token) else { return false };
        change(part);
        if part.leader.is_none() || part.start != Start::Known {
            self.changed.notify_one();
        }
        true
    }

    /// Notes that data of a partition came, so that others come first next time.
    pub(super) fn served(&self, tp: &Tp, token: u64) {
        let mut inner = self.inner.lock();
        inner.serves += 1;
        let serves = inner.serves;
        if let Some(part) = inner.parts.get_mut(tp).filter(|part| part.token == token) {
            part.served = serves;
        }
    }

    /// Forgets a leader that does not answer.
    pub(super) fn forget_leader(&self, node: i32) {
        let mut inner = self.inner.lock();
        for part in inner.parts.values_mut().filter(|part| part.leader.is_some_and(|l| l.node == node)) {
            part.leader = None;
            part.near.shun();
        }
        self.changed.notify_one();
    }
}
