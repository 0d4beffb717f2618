//! Snapshot series: the whole state, a slice at a time, beside the deltas.
//!
//! **In** buckets and retained keys at a cut. **Out** one slice per cut while a series runs.
//!
//! First the source partitions, where there are any; then all rows, bucket by bucket in window order, and what the finals add up to; then the keys of closed windows. A window that closes meanwhile has left
//! the buckets but comes by again among the closed ones, whose ends only grow; a row that appears meanwhile is in a delta.
//!
//! **Invariant:** the state that was there when the series began is in its slices, or was touched by a delta since.

use std::{collections::VecDeque, mem};

use super::{RowsOf, SourceMark, write::BlockWriter};
use crate::{block::Cells, engine::TaskOptions, state::Retained};

/// Where the series that runs goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    Row { end_ms: i64, row: usize },
    Retained { end_ms: i64, byte: usize },
}

#[derive(Debug, Default)]
pub(super) struct Series {
    /// Number of the last series that began; 0 = none.
    number: u64,
    running: Option<(Cursor, u64)>,
    /// Bytes of deltas since the last series began.
    delta_bytes: u64,
    began: bool,
    completed: bool,
}

impl Series {
    /// Counts bytes of deltas, written or restored.
    pub(super) fn count(&mut self, bytes: u64) {
        self.delta_bytes += bytes;
    }

    /// Notes a slice that was restored. Its series is not gone on with: whoever wrote it is gone.
    pub(super) fn seen(&mut self, series: u64, index: u64) {
        self.number = self.number.max(series);
        if index == 0 {
            self.delta_bytes = 0;
        }
    }

    pub(super) fn take_began(&mut self) -> Option<u64> {
        mem::take(&mut self.began).then_some(self.number)
    }

    pub(super) fn take_completed(&mut self) -> Option<u64> {
        mem::take(&mut self.completed).then_some(self.number)
    }

    /// Writes the next slice, and begins a series when the deltas have grown past the bound.
    pub(super) fn write(
        &mut self,
        options: &TaskOptions,
        rows: RowsOf<'_>,
        retained: &VecDeque<Retained>,
        sources: &[SourceMark],
        writer: &mut BlockWriter,
    ) {
        let (mut cursor, index) = match self.running.take() {
            Some(running) => running,
            None if self.delta_bytes < options.snapshot_every_bytes => return,
            None => {
                self.number += 1;
                self.delta_bytes = 0;
                self.began = true;
                (Cursor::Row { end_ms: i64::MIN, row: 0 }, 0)
            }
        };
        writer.begin_slices(self.number, index);
        if self.began {
            sources.iter().for_each(|mark| writer.source(mark));
        }
        let until = writer.plain_bytes() + options.snapshot_slice_max_bytes;
        let next = loop {
            let Some(room) = until.checked_sub(writer.plain_bytes()).filter(|room| *room > 0) else {
                break Some(cursor);
            };
            match step(cursor, rows, retained, writer, room) {
                None => break None,
                Some(next) => cursor = next,
            }
        };
        self.completed = next.is_none();
        let index = writer.finish_slices(self.completed);
        self.running = next.map(|cursor| (cursor, index));
    }
}

/// Writes one row or one run of keys; `None` = the series is complete.
fn step(
    cursor: Cursor,
    rows: RowsOf<'_>,
    retained: &VecDeque<Retained>,
    writer: &mut BlockWriter,
    room: usize,
) -> Option<Cursor> {
    match cursor {
        Cursor::Row { end_ms, row } => {
            let Some(bucket) = rows.from(end_ms) else {
                return Some(Cursor::Retained { end_ms: i64::MIN, byte: 0 });
            };
            let row = if bucket.end_ms == end_ms { row } else { 0 };
            if row < bucket.len() {
                writer.row(bucket, row as u32, Cells::Whole);
                return Some(Cursor::Row { end_ms: bucket.end_ms, row: row + 1 });
            }
            match bucket.end_ms.checked_add(1) {
                Some(end_ms) => Some(Cursor::Row { end_ms, row: 0 }),
                // A bucket without a window is the last there can be.
                None => Some(Cursor::Retained { end_ms: i64::MIN, byte: 0 }),
            }
        }
        Cursor::Retained { end_ms, byte } => {
            let at = retained.partition_point(|retained| retained.end_ms < end_ms);
            let retained = retained.get(at)?;
            let byte = if retained.end_ms == end_ms { byte } else { 0 };
            let to = writer.retained(retained, byte, room);
            Some(if to < retained.keys.len() {
                Cursor::Retained { end_ms: retained.end_ms, byte: to }
            } else {
                Cursor::Retained { end_ms: retained.end_ms + 1, byte: 0 }
            })
        }
    }
}
