//! Sessions: who is connected, so that they can be counted and told goodbye.
//!
//! **In** sessions that come and go. **Out** how many per listener; the goodbye.
//! **Invariant:** after the goodbye every session that is here heard it, and no further one enters unheard.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Bell, Hub};

/// All sessions of the process.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    state: Mutex<State>,
    draining: CancellationToken,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    bells: Vec<Option<Weak<Bell>>>,
    free: Vec<usize>,
    /// Connected, and whether the number changed since it was last taken.
    by_listener: BTreeMap<Arc<str>, (usize, bool)>,
}

/// What to tell a client that must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// When to come back, spread out so that not all come at once.
    pub reconnect_after: Duration,
}

impl Goodbye {
    /// Earliest return.
    const AFTER_MIN_MS: u64 = 500;
    /// Returns are spread over this much, one client in each millisecond.
    const SPREAD_MS: u64 = 4_000;

    /// Makes the goodbye of the session of that number.
    fn of(place: usize) -> Self {
        // A multiplicative hash spreads neighbours.
        let spread = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        Self { reconnect_after: Duration::from_millis(Self::AFTER_MIN_MS + spread % Self::SPREAD_MS) }
    }
}

/// Keeps a session counted.
#[derive(Debug)]
pub struct SessionGuard {
    hub: Hub,
    listener: Arc<str>,
    place: usize,
}

impl SessionGuard {
    pub(super) fn new(hub: Hub, listener: &Arc<str>, bell: &Arc<Bell>) -> Self {
        let sessions = &hub.inner.sessions;
        let mut state = sessions.state.lock();
        let entry = state.by_listener.entry(listener.clone()).or_default();
        *entry = (entry.0 + 1, true);
        let entered = Some(Arc::downgrade(bell));
        let place = match state.free.pop() {
            Some(place) => {
                state.bells[place] = entered;
                place
            }
            None => {
                state.bells.push(entered);
                state.bells.len() - 1
            }
        };
        drop(state);
        if sessions.is_draining() {
            bell.goodbye();
        }
        let listener = listener.clone();
        Self { hub, listener, place }
    }

    /// Returns what to tell the client when its bell says goodbye.
    pub fn goodbye(&self) -> Goodbye {
        Goodbye::of(self.place)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let sessions = &self.hub.inner.sessions;
        let mut state = sessions.state.lock();
        if let Some(entry) = state.by_listener.get_mut(&self.listener) {
            *entry = (entry.0 - 1, true);
        }
        state.bells[self.place] = None;
        state.free.push(self.place);
        if state.free.len() == state.bells.len() {
            sessions.left.notify_waiters();
        }
    }
}

impl Sessions {
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits for the goodbye: what is no session, and is waited for, listens to this.
    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    pub(super) fn drain(&self) {
        self.draining.cancel();
        let bells: Vec<_> = self.state.lock().bells.iter().flatten().filter_map(Weak::upgrade).collect();
        bells.iter().for_each(|bell| bell.goodbye());
    }

    pub(super) async fn drained(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.free.len() == state.bells.len()
    }

    pub(super) fn connected(&self, listener: &str) -> usize {
        self.state.lock().by_listener.get(listener).map_or(0, |entry| entry.0)
    }

    /// Takes the listeners whose number of clients changed.
    pub(super) fn take_changed(&self) -> Vec<(Arc<str>, usize)> {
        let mut state = self.state.lock();
        let changed = state.by_listener.iter_mut().filter(|(_, (_, changed))| *changed);
        changed
            .map(|(listener, entry)| {
                entry.1 = false;
                (listener.clone(), entry.0)
            })
            .collect()
    }
}
