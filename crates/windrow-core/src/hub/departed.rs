//! Departed: the rows of a table that are no more, so that somebody who comes back can be told which of them left.
//!
//! **In** tombstones, rows that come again. **Out** the rows that left after a place of the log and are still away.
//! **Invariant:** bounded; what is forgotten raises the place from which on the memory is complete. Rows of windows that have
//! left altogether are one number: the latest end.
//! **Not here:** whether a client knew a row (`resume`).

use std::collections::{BTreeMap, HashMap};

/// Most bytes of one channel's departed rows: some 80,000 of them. Past it the oldest are forgotten, and positions from before
/// are answered with a snapshot.
const DEPARTED_MAX_BYTES: usize = 8 << 20;
/// What one departed row costs beside its key, which is held twice.
const DEPARTED_OVERHEAD_BYTES: usize = 144;

/// A row that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) partition: i32,
    /// Offset of its tombstone.
    pub(super) offset: i64,
    /// Offset of the first state of the first of its lives that are remembered; of the tombstone, if no state was seen.
    pub(super) first_born: i64,
    pub(super) window_end_ms: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    no: u64,
    left: Left,
    /// It is there again; what is known of its former lives stays.
    is_back: bool,
}

/// All of a channel's.
#[derive(Debug, Default)]
pub(super) struct Departed {
    by_key: HashMap<Box<[u8]>, Entry, foldhash::fast::RandomState>,
    in_order: BTreeMap<u64, Box<[u8]>>,
    last_no: u64,
    bytes: usize,
    /// Per partition: every row that left from this offset on and is still away is known.
    complete_from: BTreeMap<i32, i64>,
    /// Latest end of windows of which no row is left.
    retired_ms: Option<i64>,
}

impl Departed {
    /// Says that a partition is read from `offset` on.
    pub(super) fn begin(&mut self, partition: i32, offset: i64) {
        self.complete_from.entry(partition).or_insert(offset);
    }

    /// Says that a partition is no more: nobody asks for its rows any longer.
    pub(super) fn end(&mut self, partition: i32) {
        self.complete_from.remove(&partition);
    }

    /// Says that nothing is known of a partition before `offset`.
    pub(super) fn incomplete_before(&mut self, partition: i32, offset: i64) {
        if let Some(from) = self.complete_from.get_mut(&partition) {
            *from = offset.max(*from);
        }
    }

    /// Notes a row that left.
    pub(super) fn left(&mut self, key: &[u8], left: Left) {
        let former = self.by_key.get(key).map_or(left.first_born, |entry| entry.left.first_born);
        self.remove(key);
        self.last_no += 1;
        self.bytes += cost(key);
        let left = Left { first_born: former.min(left.first_born), ..left };
        self.by_key.insert(key.into(), Entry { no: self.last_no, left, is_back: false });
        self.in_order.insert(self.last_no, key.into());
        while self.bytes > DEPARTED_MAX_BYTES {
            let Some(oldest) = self.in_order.first_key_value().map(|(_, key)| key.clone()) else { break };
            if let Some(forgotten) = self.remove(&oldest) {
                self.incomplete_before(forgotten.partition, forgotten.offset + 1);
            }
        }
    }

    /// Notes that a row is there again, or for the first time.
    pub(super) fn came(&mut self, key: &[u8]) {
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.is_back = true;
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Left> {
        let entry = self.by_key.remove(key)?;
        self.in_order.remove(&entry.no);
        self.bytes -= cost(key);
        Some(entry.left)
    }

    /// Notes a row's window. One that had left altogether is back: which of its other rows left is no longer known.
    pub(super) fn window(&mut self, end_ms: Option<i64>, next: &BTreeMap<i32, i64>) {
        if end_ms.is_some() && end_ms <= self.retired_ms {
            self.retired_ms = None;
            next.iter().for_each(|(partition, offset)| self.incomplete_before(*partition, *offset));
        }
    }

    /// Forgets the rows of windows that have left altogether; `None` = no row is left in any window.
    pub(super) fn retire(&mut self, window_end_min_ms: Option<i64>) {
        let Self { by_key, in_order, retired_ms, bytes, .. } = self;
        by_key.retain(|key, Entry { no, left, .. }| {
            let stays = left.window_end_ms.is_none_or(|end| window_end_min_ms.is_some_and(|min| end >= min));
            if !stays {
                *retired_ms = left.window_end_ms.max(*retired_ms);
                in_order.remove(no);
                *bytes -= cost(key);
            }
            stays
        });
    }

    /// Tells whether every row that left from `offset` on is known.
    pub(super) fn holds(&self, partition: i32, offset: i64) -> bool {
        self.complete_from.get(&partition).is_some_and(|from| *from <= offset)
    }

    /// Returns the latest end of windows that have left altogether.
    pub(super) fn retired_ms(&self) -> Option<i64> {
        self.retired_ms
    }

    /// Walks the rows that left and are still away.
    pub(super) fn away(&self) -> impl Iterator<Item = (&[u8], Left)> {
        self.by_key.iter().filter(|(_, entry)| !entry.is_back).map(|(key, entry)| (key.as_ref(), entry.left))
    }

    /// Walks the rows that left and came again.
    pub(super) fn back(&self) -> impl Iterator<Item = (&[u8], Left)> {
        self.by_key.iter().filter(|(_, entry)| entry.is_back).map(|(key, entry)| (key.as_ref(), entry.left))
    }
}

fn cost(key: &[u8]) -> usize {
    2 * key.len() + DEPARTED_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(offset: i64, end: i64) -> Left {
        Left { partition: 0, offset, first_born: 0, window_end_ms: Some(end) }
    }

    #[test]
    fn what_is_forgotten_raises_the_place_from_which_on_all_is_known() {
        let mut departed = Departed::default();
        departed.begin(0, 0);
        let rows = DEPARTED_MAX_BYTES / cost(b"[1234567]") + 10;
        for offset in 0..rows as i64 {
            departed.left(format!("[{offset:07}]").as_bytes(), left(offset, 10));
        }
        assert!(departed.bytes <= DEPARTED_MAX_BYTES);
        assert!(departed.holds(0, 10) && !departed.holds(0, 9), "{:?}", departed.complete_from);
        assert_eq!(departed.by_key.len(), departed.in_order.len());
    }

    #[test]
    fn a_row_that_comes_again_is_not_away_and_windows_that_left_are_one_number() {
        let mut departed = Departed::default();
        departed.begin(0, 0);
        departed.left(b"[1]", left(3, 10));
        departed.left(b"[2]", left(4, 20));
        departed.came(b"[2]");
        assert_eq!(departed.away().map(|(key, _)| key).collect::<Vec<_>>(), [b"[1]"]);
        departed.retire(Some(20));
        assert_eq!((departed.away().count(), departed.retired_ms()), (0, Some(10)));
        assert_eq!((departed.by_key.len(), departed.bytes), (1, cost(b"[2]")));
        departed.window(Some(20), &[(0, 7)].into());
        assert!(departed.holds(0, 0), "that window never left");
        departed.window(Some(10), &[(0, 7)].into());
        assert!(!departed.holds(0, 6) && departed.holds(0, 7) && departed.retired_ms().is_none());
    }
}
