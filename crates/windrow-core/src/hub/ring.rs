//! The ring: the recent changes of a channel, old and new state of each, numbered from 1 in the order they came.
//!
//! **In** changes. **Out** changes after a number, for clients that are behind or come back.
//! **Invariant:** bounded in bytes; the oldest leave first, and the ring knows from which offset of each partition on it
//! is complete. **Not here:** who is behind (`filters`, and the product's subscriptions).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::row::Row;

/// What one change costs beside its rows.
const CHANGE_OVERHEAD_BYTES: usize = 64;

/// One change of one row.
#[derive(Debug, Clone)]
pub struct Change {
    /// Place it came from.
    pub partition: i32,
    /// Offset it came from.
    pub offset: i64,
    /// State before.
    pub old: Option<Arc<Row>>,
    /// State after; `None` = the row left.
    pub new: Option<Arc<Row>>,
}

impl Change {
    /// Returns the row's key.
    pub fn key(&self) -> &[u8] {
        self.new.as_ref().or(self.old.as_ref()).map_or(b"", |row| &row.key)
    }

    /// A row that was replaced is held by nobody else; one that was not is in the table too, if there is a table.
    fn bytes(&self) -> usize {
        let row = self.old.as_ref().or(self.new.as_ref());
        CHANGE_OVERHEAD_BYTES + row.map_or(0, |row| row.bytes())
    }
}

/// Recent changes.
#[derive(Debug)]
pub struct Ring {
    changes: VecDeque<Change>,
    /// Number of the first change held, or the one to come.
    first_no: u64,
    bytes: usize,
    bytes_max: usize,
    /// Per partition: every change from this offset on is held.
    complete_from: BTreeMap<i32, i64>,
}

impl Ring {
    /// Makes an empty ring.
    pub fn new(bytes_max: usize) -> Self {
        let complete_from = BTreeMap::new();
        Self { changes: VecDeque::new(), first_no: 1, bytes: 0, bytes_max, complete_from }
    }

    /// Says that recording of a partition begins at `offset`.
    pub fn begin(&mut self, partition: i32, offset: i64) {
        self.complete_from.insert(partition, offset);
    }

    /// Says that a partition is recorded no longer.
    pub fn end(&mut self, partition: i32) {
        self.complete_from.remove(&partition);
    }

    /// Appends a change and returns its number.
    pub fn push(&mut self, change: Change) -> u64 {
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.first_no += 1;
            if let Some(from) = self.complete_from.get_mut(&oldest.partition) {
                *from = oldest.offset + 1;
            }
        }
        self.last_no()
    }

    /// Forgets everything; numbers go on, so that none is ever given twice.
    pub fn clear(&mut self) {
        self.first_no = self.last_no() + 1;
        self.changes.clear();
        self.bytes = 0;
        self.complete_from.clear();
    }

    /// Returns the number of the newest change; 0 before the first.
    pub fn last_no(&self) -> u64 {
        self.first_no + self.changes.len() as u64 - 1
    }

    /// Returns the number of the oldest change held.
    pub fn first_no(&self) -> u64 {
        self.first_no
    }

    /// Returns one change, if it is still held.
    pub fn get(&self, no: u64) -> Option<&Change> {
        self.changes.get(usize::try_from(no.checked_sub(self.first_no)?).ok()?)
    }

    /// Returns the changes after `no` with their numbers, or `None` when one of them has left.
    pub fn after(&self, no: u64) -> Option<impl Iterator<Item = (u64, &Change)>> {
        let skip = (no + 1).checked_sub(self.first_no)?;
        let skip = usize::try_from(skip).ok()?.min(self.changes.len());
        Some((no + 1..).zip(self.changes.range(skip..)))
    }

    /// Tells whether every change of the partition from `offset` on is held.
    pub fn holds(&self, partition: i32, offset: i64) -> bool {
        self.complete_from.get(&partition).is_some_and(|from| *from <= offset)
    }

    /// Returns what the changes cost.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(offset: i64) -> Change {
        let (key, json) = (b"[1]".as_slice().into(), b"{}".as_slice().into());
        let row = Row { key, json, window_end_ms: None, partition: 0, offset, born: offset };
        Change { partition: 0, offset, old: None, new: Some(Arc::new(row)) }
    }

    #[test]
    fn the_oldest_leave_and_the_ring_knows_from_where_it_is_complete() {
        let mut ring = Ring::new(3 * change(0).bytes());
        ring.begin(0, 5);
        assert_eq!(ring.last_no(), 0);
        assert!(ring.holds(0, 5) && !ring.holds(0, 4) && !ring.holds(1, 9));
        for offset in 5..10 {
            ring.push(change(offset));
        }
        assert_eq!((ring.first_no(), ring.last_no()), (3, 5));
        assert!(ring.holds(0, 7) && !ring.holds(0, 6));
        let after = |no| ring.after(no).map(|c| c.map(|(no, c)| (no, c.offset)).collect::<Vec<_>>());
        assert_eq!(after(1), None);
        assert_eq!(after(2), Some(vec![(3, 7), (4, 8), (5, 9)]));
        assert_eq!(after(5), Some(vec![]));
        assert_eq!(ring.get(2).map(|c| c.offset), None);
        assert_eq!(ring.get(5).map(|c| c.offset), Some(9));
    }
}
