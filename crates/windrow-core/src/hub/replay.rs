//! Replaying: records of a sequence that were read again, for a watcher whose position the ring no longer reaches.
//!
//! **In** rows of one stretch of one partition, in order; the watcher's position. **Out** those that match from there on, up to
//! a step, and the position after them.
//! **Invariant:** a position moves only over rows that were told or do not match, so that it may be taken up anywhere.
//! **Not here:** reading the log, when the ring takes over ([`Channel::resume`] says so).

use std::collections::VecDeque;

use bumpalo::Bump;
use bytes::Bytes;

use super::{
    Channel, Row, SnapshotCursor, Watch,
    snapshot::matches,
    step::{Members, STEP_MAX_BYTES},
};
use crate::position::Position;

/// What came of a stretch.
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    /// `"rows":[…]`; empty when nothing matches.
    pub members: Bytes,
    /// The position after it.
    pub at: Option<Bytes>,
}

impl Channel {
    /// Tells what matches of `rows` (a stretch of one place that ends before `next`), and takes `position` there.
    ///
    /// - **Cost:** evaluates the filter on each row from the position on, until a step is full.
    pub fn replay(
        &self,
        watch: &Watch,
        position: &mut Position,
        (place, next): (i32, i64),
        rows: &[Row],
    ) -> Replayed {
        let nothing = Replayed { members: Bytes::new(), at: None };
        let Some(slot) = self.filters.get(watch.filter) else { return nothing };
        let Some(named) = self.places.named(place) else { return nothing };
        let at = position.offset_mut(named);
        let from = *at;
        let (mut members, mut arena, mut reached) = (Members::default(), Bump::new(), next.max(from));
        for row in &rows[rows.partition_point(|row| row.offset < from)..] {
            arena.reset();
            if !matches(slot, &self.fields, row, &arena) {
                continue;
            }
            if members.rows > 0 && members.len_bytes() + row.json.len() > STEP_MAX_BYTES {
                reached = row.offset;
                break;
            }
            members.row(row);
        }
        *at = reached;
        let at = position.encode().map(Bytes::from);
        Replayed { members: if members.rows > 0 { members.finish_always() } else { Bytes::new() }, at }
    }

    /// Begins a sequence anew after a restart: with no rows, at the first record that was read since.
    ///
    /// - **Shape:** an empty snapshot and the position from which on the watcher is to be told everything; `None` for tables.
    pub fn begin_anew(&self, watch: &mut Watch) -> Option<(SnapshotCursor, Position)> {
        if self.shape.is_table {
            return None;
        }
        watch.generation = self.generation;
        let question = self.filters.get(watch.filter)?.question;
        let offsets: Vec<_> = self.live_from.iter().map(|(place, offset)| (*place, *offset)).collect();
        let topics = self.places.topics(&offsets);
        let nothing = SnapshotCursor::new(watch.no, Vec::new(), VecDeque::new());
        Some((nothing, Position { question, topics, is_begun: false }))
    }

    /// Makes `position` one of the watcher's own filter, which changed.
    pub fn requestion(&self, watch: &Watch, position: &mut Position) -> Option<Bytes> {
        position.question = self.filters.get(watch.filter)?.question;
        position.encode().map(Bytes::from)
    }
}
