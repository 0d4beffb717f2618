//! Poison: the same failure twice at one position stops that view only; the rest goes on.
//!
//! **In** failures that blame a view: a row that its topic will not take, a topic that is gone, a panic while folding. **Out** the
//! views that are to stay stopped, with their reasons.
//! **Invariant:** a view stops at the last position that was committed; going on past a failure is never tried. The first failure
//! at a position is answered by restoring, because it may have been chance.
//! **Not here:** failures of the log as a whole, which are retried.

use std::{collections::BTreeMap, sync::Arc};

use crate::log::Tp;

/// Failures at one position after which a view stops.
const TIMES_MAX: u32 = 2;

/// What failed where; bounded by the worker's partitions and their views. It outlives the tasks.
#[derive(Default)]
pub(super) struct Poison {
    found: BTreeMap<(Tp, usize), Failure>,
}

struct Failure {
    position: i64,
    times: u32,
    why: Arc<str>,
}

impl Poison {
    /// Notes a failure of a view in the epoch that began at `position`; tells whether that stops it.
    pub(super) fn note(&mut self, tp: &Tp, view: usize, position: i64, why: &str) -> bool {
        let fresh = || Failure { position, times: 0, why: why.into() };
        let failure = self.found.entry((tp.clone(), view)).or_insert_with(fresh);
        if failure.times < TIMES_MAX && failure.position != position {
            *failure = fresh();
        }
        failure.times += 1;
        failure.times >= TIMES_MAX
    }

    /// Returns the views of a partition that are to stay stopped.
    pub(super) fn stopped(&self, tp: &Tp) -> impl Iterator<Item = (usize, Arc<str>)> {
        let of_tp = self.found.range((tp.clone(), 0)..=(tp.clone(), usize::MAX));
        of_tp.filter(|(_, f)| f.times >= TIMES_MAX).map(|((_, view), f)| (*view, f.why.clone()))
    }

    /// A partition went to another worker, which finds out for itself.
    pub(super) fn forget(&mut self, tp: &Tp) {
        self.found.retain(|(of, _), _| of != tp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_twice_at_one_position_stops_that_view_only() {
        let (tp, other) = (Tp::new("clicks", 0), Tp::new("clicks", 1));
        let mut poison = Poison::default();
        assert!(!poison.note(&tp, 1, 100, "too large"));
        // It got further meanwhile: that was another failure.
        assert!(!poison.note(&tp, 1, 150, "too large"));
        assert!(!poison.note(&tp, 0, 150, "other view"));
        assert_eq!(poison.stopped(&tp).count(), 0);
        assert!(poison.note(&tp, 1, 150, "too large"));
        assert_eq!(poison.stopped(&tp).collect::<Vec<_>>(), [(1, "too large".into())]);
        assert_eq!(poison.stopped(&other).count(), 0);
        // A stopped view stays stopped, wherever the others are.
        assert!(poison.note(&tp, 1, 900, "too large"));
        poison.forget(&tp);
        assert_eq!(poison.stopped(&tp).count(), 0);
    }
}
