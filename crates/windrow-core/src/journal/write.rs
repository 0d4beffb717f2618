//! Writing: rows and marks become sections, sections become records.
//!
//! ```text
//! record   version kind fingerprint flags commit (part | series index) body, the body compressed when that helps
//! ```
//!
//! **Invariant:** what `block` says of bodies.

use super::{Progress, SourceMark, VERSION};
use crate::{
    block::{self, Body, Cells},
    state::{
        Bucket, Retained,
        canon::{put_signed, put_unsigned},
    },
};

pub(super) const KIND_DELTA: u8 = 0;
pub(super) const KIND_SLICE: u8 = 1;

pub(super) const FLAG_LAST: u8 = 1;
pub(super) const FLAG_COMPRESSED: u8 = 2;

pub(super) const TAG_PROGRESS: u8 = 1;
pub(super) const TAG_CLOSED: u8 = 3;
pub(super) const TAG_SETTLED: u8 = 4;
pub(super) const TAG_RETIRED: u8 = 5;
pub(super) const TAG_RETAINED: u8 = 6;
pub(super) const TAG_SOURCE: u8 = 7;

/// Builds the records of one commit.
#[derive(Debug)]
pub(super) struct BlockWriter {
    fingerprint: u64,
    commit: u64,
    records: Vec<Vec<u8>>,
    records_bytes: u64,
    /// Bytes of the bodies of those, before compression.
    bodies_bytes: usize,
    body: Body,
    /// Bodies of the delta that are full; the last is not known before the end.
    delta_parts: u64,
    /// Series and next index while slices are written.
    series: Option<(u64, u64)>,
}

impl BlockWriter {
    pub(super) fn new(fingerprint: u64, commit: u64, block_max_bytes: usize) -> Self {
        Self {
            fingerprint,
            commit,
            records: Vec::new(),
            records_bytes: 0,
            bodies_bytes: 0,
            body: Body::new(block_max_bytes),
            delta_parts: 0,
            series: None,
        }
    }

    /// Bytes of the records so far.
    pub(super) fn records_bytes(&self) -> u64 {
        self.records_bytes
    }

    /// Bytes so far, before compression.
    pub(super) fn plain_bytes(&self) -> usize {
        self.bodies_bytes + self.body.len()
    }

    pub(super) fn progress(&mut self, progress: &Progress) {
        let body = &mut self.body.bytes;
        body.push(TAG_PROGRESS);
        let Progress { position, highest_ms, watermark_ms, closed_end_ms, dropped_end_ms } = *progress;
        for n in [position, highest_ms, watermark_ms, closed_end_ms, dropped_end_ms] {
            put_signed(n, body);
        }
    }

    /// Writes what is known of one source partition.
    pub(super) fn source(&mut self, mark: &SourceMark) {
        self.body.end_rows();
        let body = &mut self.body.bytes;
        body.push(TAG_SOURCE);
        let SourceMark { partition, next_offset, watermark_ms, data_ms, added, changed: _ } = *mark;
        for n in [i64::from(partition), next_offset, watermark_ms, data_ms] {
            put_signed(n, body);
        }
        body.push(u8::from(added));
        self.end_body_if_full();
    }

    /// Writes one row: for a delta the elements of sets that the journal has not seen, for a slice all of them.
    pub(super) fn row(&mut self, bucket: &Bucket, row: u32, cells: Cells) {
        self.body.begin_row(bucket, row, cells);
        loop {
            let whole = self.body.put_row(bucket, row, cells);
            if !whole || self.body.is_full() {
                self.end_body();
            }
            if whole {
                return;
            }
        }
    }

    /// Marks a window as closed, with the keys that the journal has not seen as they were, each after a flag.
    pub(super) fn closed(&mut self, end_ms: i64, retains: bool, keys: &[u8]) {
        let mut rest = keys;
        loop {
            self.body.end_rows();
            let room = self.body.room();
            let (now, later) = rest.split_at(whole_keys(rest, room));
            rest = later;
            let body = &mut self.body.bytes;
            body.push(TAG_CLOSED);
            put_signed(end_ms, body);
            body.push(u8::from(retains) | u8::from(rest.is_empty()) << 1);
            put_unsigned(now.len() as u64, body);
            body.extend_from_slice(now);
            self.end_body_if_full();
            if rest.is_empty() {
                return;
            }
        }
    }

    pub(super) fn settled(&mut self, end_ms: i64) {
        self.mark(TAG_SETTLED, end_ms);
    }

    pub(super) fn retired(&mut self, end_ms: i64) {
        self.mark(TAG_RETIRED, end_ms);
    }

    fn mark(&mut self, tag: u8, end_ms: i64) {
        self.body.end_rows();
        self.body.bytes.push(tag);
        put_signed(end_ms, &mut self.body.bytes);
        self.end_body_if_full();
    }

    /// Writes retained keys from a byte offset on, about `room` bytes of them; returns where to go on.
    pub(super) fn retained(&mut self, retained: &Retained, from: usize, room: usize) -> usize {
        self.body.end_rows();
        let room = room.min(self.body.room());
        let rest = &retained.keys[from..];
        let now = &rest[..whole_prefixed(rest, room)];
        let body = &mut self.body.bytes;
        body.push(TAG_RETAINED);
        put_signed(retained.end_ms, body);
        body.push(u8::from(from == 0));
        put_unsigned(now.len() as u64, body);
        body.extend_from_slice(now);
        let to = from + now.len();
        self.end_body_if_full();
        to
    }

    fn end_body_if_full(&mut self) {
        if self.body.is_full() {
            self.end_body();
        }
    }

    /// Makes a record of what is open; more of the same kind follow.
    fn end_body(&mut self) {
        self.end_record(false);
    }

    pub(super) fn begin_slices(&mut self, series: u64, index: u64) {
        self.series = Some((series, index));
    }

    /// Ends the slices of this commit; returns the index of the next one.
    pub(super) fn finish_slices(&mut self, last: bool) -> u64 {
        if last || self.body.len() > 0 {
            self.end_record(last);
        }
        self.series.take().map_or(0, |(_, next)| next)
    }

    pub(super) fn finish_delta(&mut self) {
        self.end_record(true);
    }

    fn end_record(&mut self, last: bool) {
        self.body.end_rows();
        let body = &mut self.body.bytes;
        let mut record = vec![VERSION, KIND_DELTA];
        record.extend_from_slice(&self.fingerprint.to_le_bytes());
        let compressed = block::pack(body);
        let flags = if last { FLAG_LAST } else { 0 } | if compressed.is_some() { FLAG_COMPRESSED } else { 0 };
        record.push(flags);
        put_unsigned(self.commit, &mut record);
        match &mut self.series {
            Some((series, index)) => {
                record[1] = KIND_SLICE;
                put_unsigned(*series, &mut record);
                put_unsigned(*index, &mut record);
                *index += 1;
            }
            None => {
                put_unsigned(self.delta_parts, &mut record);
                self.delta_parts += 1;
            }
        }
        record.extend_from_slice(compressed.as_ref().unwrap_or(body));
        self.bodies_bytes += body.len();
        body.clear();
        self.records_bytes += record.len() as u64;
        self.records.push(record);
    }

    pub(super) fn into_records(self) -> Vec<Vec<u8>> {
        self.records
    }
}

/// Length of the longest run of whole flagged keys that fits, at least one.
fn whole_keys(keys: &[u8], room: usize) -> usize {
    fitting(keys, room, |reader| reader.byte().is_some() && reader.prefixed().is_some())
}

/// Length of the longest run of whole keys that fits, at least one.
fn whole_prefixed(keys: &[u8], room: usize) -> usize {
    fitting(keys, room, |reader| reader.prefixed().is_some())
}

fn fitting(
    keys: &[u8],
    room: usize,
    mut pass: impl FnMut(&mut crate::state::canon::Reader<'_>) -> bool,
) -> usize {
    if keys.len() <= room {
        return keys.len();
    }
    let mut reader = crate::state::canon::Reader(keys);
    let mut fits = 0;
    while pass(&mut reader) {
        let to = keys.len() - reader.0.len();
        if to > room && fits > 0 {
            break;
        }
        fits = to;
    }
    fits
}
