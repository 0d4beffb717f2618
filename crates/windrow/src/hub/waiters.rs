//! Waiters: seats that are to be rung once, when what they wait for has come.
//!
//! **In** seats of sessions that wait. **Out** rings. **Invariant:** bounded by the sessions that live, however long nothing comes and
//! however often clients come and go meanwhile; a seat is held once. **Not here:** what is waited for.

use std::{
    mem,
    sync::{Arc, Weak},
};

use super::bell::{Bell, Seat};

/// Below this many nobody looks for those who left.
const LOOK_FROM: usize = 64;

/// Seats that wait for the same thing.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    seats: Vec<(Weak<Bell>, u32)>,
    /// How many were left when those who left were last taken out: twice as many are looked at again.
    left: usize,
}

impl Waiters {
    /// Adds a seat.
    ///
    /// - **Cost:** constant, on the whole.
    pub(super) fn add(&mut self, seat: &Seat) {
        self.seats.push((Arc::downgrade(&seat.bell), seat.number));
        if self.seats.len() >= (2 * self.left).max(LOOK_FROM) {
            self.seats.retain(|(bell, _)| bell.strong_count() > 0);
            self.seats.sort_unstable_by_key(|(bell, number)| (bell.as_ptr(), *number));
            self.seats.dedup_by(|a, b| a.1 == b.1 && Weak::ptr_eq(&a.0, &b.0));
            self.left = self.seats.len();
        }
    }

    /// Tells whether nobody waits any more.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.iter().all(|(bell, _)| bell.strong_count() == 0)
    }

    /// Takes all seats whose sessions live.
    pub(super) fn take(&mut self) -> Vec<Seat> {
        let seats = mem::take(self).seats;
        seats.into_iter().filter_map(|(bell, number)| Some(Seat { bell: bell.upgrade()?, number })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_left_or_ask_again_are_not_held() {
        let stays: Arc<Bell> = Arc::default();
        let mut waiters = Waiters::default();
        for _ in 0..10_000 {
            waiters.add(&Seat { bell: stays.clone(), number: 3 });
            waiters.add(&Seat { bell: Arc::default(), number: 0 });
            assert!(waiters.seats.len() <= 2 * LOOK_FROM);
        }
        assert!(!waiters.is_empty());
        assert!(waiters.take().iter().all(|seat| seat.number == 3 && Arc::ptr_eq(&seat.bell, &stays)));
        waiters.add(&Seat { bell: Arc::default(), number: 0 });
        assert!(waiters.is_empty());
    }

    #[test]
    fn all_who_stay_are_rung() {
        let bells: Vec<Arc<Bell>> = (0..1_000).map(|_| Arc::default()).collect();
        let mut waiters = Waiters::default();
        for number in [0, 1] {
            bells.iter().for_each(|bell| waiters.add(&Seat { bell: bell.clone(), number }));
        }
        assert_eq!(waiters.take().len(), 2_000);
        assert!(waiters.take().is_empty());
    }
}
