//! Registry: which session a request belongs to.
//!
//! **In** a sid. **Out** its session's door. **Invariant:** a sid is 120 bits of the system's randomness, so it cannot be guessed; there
//! are never more sessions than the listener's bound, in total and per address; a session that ends takes its entry along.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::door::Door;
use crate::{
    config::Limits,
    gateway::{Seat, SeatNames, Seats},
    stats::Stats,
};

/// Random bytes of a sid: three quarters of its characters.
const SID_BYTES: usize = 15;

/// Bounds of the sessions that poll: such a session is no connection, so those bounds do not count it.
const NAMES: SeatNames = SeatNames {
    open: "sessions",
    accepted: None,
    total: "sessions_max",
    per_address: "sessions_per_address_max",
};

/// The name of one session.
pub(in crate::dialect) type Sid = Box<str>;

/// Returns a name that nobody can guess; `None` when the system has no randomness.
pub(in crate::dialect) fn new_sid() -> Option<Sid> {
    let mut bytes = [0; SID_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// The sessions of one listener; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    doors: Mutex<HashMap<Sid, Arc<Door>>>,
    seats: Seats,
}

/// One session's entry.
#[derive(Debug)]
pub(super) struct Place {
    registry: Registry,
    sid: Sid,
    _seat: Seat,
}

impl Registry {
    pub(super) fn new(listener: &str, limits: &Limits, stats: &Stats) -> Self {
        let max = (limits.sessions_max, limits.sessions_per_address_max);
        let seats = Seats::new(listener, max, NAMES, stats);
        Self(Arc::new(Inner { doors: Mutex::default(), seats }))
    }

    /// Enters a session; `None` when a bound is reached (counted).
    pub(super) fn enter(&self, sid: &str, address: IpAddr, door: &Arc<Door>) -> Option<Place> {
        let seat = self.0.seats.take(address)?;
        self.0.doors.lock().insert(sid.into(), door.clone());
        Some(Place { registry: self.clone(), sid: sid.into(), _seat: seat })
    }

    /// Returns the door of a session.
    pub(super) fn find(&self, sid: &str) -> Option<Arc<Door>> {
        self.0.doors.lock().get(sid).cloned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.0.doors.lock().remove(&self.sid);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn sessions_are_bounded_and_leave_nothing_behind() {
        let limits = Limits { sessions_max: 2, ..Limits::default() };
        let registry = Registry::new("main", &limits, &Stats::default());
        let (door, address) = (Arc::default(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let first = registry.enter("a", address, &door).unwrap();
        let _second = registry.enter("b", address, &door).unwrap();
        assert!(registry.enter("c", address, &door).is_none());
        assert!(registry.find("a").is_some() && registry.find("c").is_none());
        drop(first);
        assert!(registry.find("a").is_none());
        assert!(registry.enter("c", address, &door).is_some());
    }

    #[test]
    fn sids_are_twenty_characters_of_a_url_and_differ() {
        let (a, b) = (new_sid().unwrap(), new_sid().unwrap());
        assert_ne!(a, b);
        assert!(
            a.len() == 20 && a.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'),
            "{a}"
        );
    }
}
