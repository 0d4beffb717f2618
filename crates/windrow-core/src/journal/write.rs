//! Writing: rows and marks become sections, sections become records.
//!
//! ```text
//! record   version kind fingerprint flags commit (part | series index) body, the body compressed when that helps
//! body     sections: a tag, then what the tag says
//! rows     end closed count, keys as one run of bytes, then each column of cells as one
//! ```
//!
//! **Invariant:** a body ends before it passes the bound, unless a single row or element is larger.

use super::{Progress, VERSION};
use crate::state::{
    Bucket, Retained,
    canon::{put_signed, put_unsigned},
};

pub(super) const KIND_DELTA: u8 = 0;
pub(super) const KIND_SLICE: u8 = 1;

pub(super) const FLAG_LAST: u8 = 1;
pub(super) const FLAG_COMPRESSED: u8 = 2;

pub(super) const TAG_PROGRESS: u8 = 1;
pub(super) const TAG_ROWS: u8 = 2;
pub(super) const TAG_CLOSED: u8 = 3;
pub(super) const TAG_SETTLED: u8 = 4;
pub(super) const TAG_RETIRED: u8 = 5;
pub(super) const TAG_RETAINED: u8 = 6;

/// Shorter bodies are not worth compressing.
const COMPRESS_FROM_BYTES: usize = 128;

/// Builds the records of one commit.
#[derive(Debug)]
pub(super) struct BlockWriter {
    fingerprint: u64,
    commit: u64,
    block_max_bytes: usize,
    records: Vec<Vec<u8>>,
    records_bytes: u64,
    /// Bytes of the bodies of those, before compression.
    bodies_bytes: usize,
    body: Vec<u8>,
    rows: RowsSection,
    /// Bodies of the delta that are full; the last is not known before the end.
    delta_parts: u64,
    /// Series and next index while slices are written.
    series: Option<(u64, u64)>,
    /// Where the sets of the row at hand go on.
    cursors: Vec<usize>,
}

/// Rows of one bucket that follow each other.
#[derive(Debug, Default)]
struct RowsSection {
    end_ms: i64,
    closed: bool,
    count: u64,
    keys: Vec<u8>,
    columns: Vec<Vec<u8>>,
}

impl RowsSection {
    fn bytes(&self) -> usize {
        self.keys.len() + self.columns.iter().map(Vec::len).sum::<usize>()
    }
}

impl BlockWriter {
    pub(super) fn new(fingerprint: u64, commit: u64, block_max_bytes: usize) -> Self {
        Self {
            fingerprint,
            commit,
            block_max_bytes,
            records: Vec::new(),
            records_bytes: 0,
            bodies_bytes: 0,
            body: Vec::new(),
            rows: RowsSection::default(),
            delta_parts: 0,
            series: None,
            cursors: Vec::new(),
        }
    }

    /// Bytes of the records so far.
    pub(super) fn records_bytes(&self) -> u64 {
        self.records_bytes
    }

    /// Bytes so far, before compression.
    pub(super) fn plain_bytes(&self) -> usize {
        self.bodies_bytes + self.open_bytes()
    }

    /// Bytes that are not in a record yet.
    fn open_bytes(&self) -> usize {
        self.body.len() + self.rows.bytes()
    }

    pub(super) fn progress(&mut self, progress: &Progress) {
        self.body.push(TAG_PROGRESS);
        let Progress { position, highest_ms, watermark_ms, closed_end_ms, dropped_end_ms } = *progress;
        for n in [position, highest_ms, watermark_ms, closed_end_ms, dropped_end_ms] {
            put_signed(n, &mut self.body);
        }
    }

    /// Writes one row: for a delta the elements of sets that the journal has not seen, for a slice all of them.
    pub(super) fn row(&mut self, bucket: &Bucket, row: u32, delta: bool) {
        let at = row as usize;
        self.cursors.clear();
        self.cursors.extend(bucket.columns.iter().map(|column| if delta { column.journaled(at) } else { 0 }));
        loop {
            self.open_rows(bucket);
            let rows = &mut self.rows;
            rows.count += 1;
            put_unsigned(bucket.key(row).len() as u64, &mut rows.keys);
            rows.keys.extend_from_slice(bucket.key(row));
            let mut whole = true;
            for (i, column) in bucket.columns.iter().enumerate() {
                let room = self.block_max_bytes.saturating_sub(self.body.len() + self.rows.bytes());
                self.cursors[i] = column.encode(at, self.cursors[i], room, &mut self.rows.columns[i]);
                whole &= self.cursors[i] >= column.elements(at);
            }
            if !whole || self.open_bytes() >= self.block_max_bytes {
                self.end_body();
            }
            if whole {
                return;
            }
        }
    }

    fn open_rows(&mut self, bucket: &Bucket) {
        let rows = &self.rows;
        if rows.count > 0 && (rows.end_ms, rows.closed) != (bucket.end_ms, bucket.closed) {
            self.end_rows();
        }
        self.rows.end_ms = bucket.end_ms;
        self.rows.closed = bucket.closed;
        self.rows.columns.resize_with(bucket.columns.len(), Vec::new);
    }

    fn end_rows(&mut self) {
        let Self { body, rows, .. } = self;
        if rows.count == 0 {
            return;
        }
        body.push(TAG_ROWS);
        put_signed(rows.end_ms, body);
        body.push(u8::from(rows.closed));
        put_unsigned(rows.count, body);
        for part in std::iter::once(&mut rows.keys).chain(&mut rows.columns) {
            put_unsigned(part.len() as u64, body);
            body.append(part);
        }
        rows.count = 0;
    }

    /// Marks a window as closed, with the keys that the journal has not seen as they were, each after a flag.
    pub(super) fn closed(&mut self, end_ms: i64, retains: bool, keys: &[u8]) {
        let mut rest = keys;
        loop {
            self.end_rows();
            let room = self.block_max_bytes.saturating_sub(self.body.len());
            let (now, later) = rest.split_at(whole_keys(rest, room));
            rest = later;
            self.body.push(TAG_CLOSED);
            put_signed(end_ms, &mut self.body);
            self.body.push(u8::from(retains) | u8::from(rest.is_empty()) << 1);
            put_unsigned(now.len() as u64, &mut self.body);
            self.body.extend_from_slice(now);
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
        self.end_rows();
        self.body.push(tag);
        put_signed(end_ms, &mut self.body);
        self.end_body_if_full();
    }

    /// Writes retained keys from a byte offset on, about `room` bytes of them; returns where to go on.
    pub(super) fn retained(&mut self, retained: &Retained, from: usize, room: usize) -> usize {
        self.end_rows();
        let room = room.min(self.block_max_bytes.saturating_sub(self.body.len()));
        let rest = &retained.keys[from..];
        let now = &rest[..whole_prefixed(rest, room)];
        self.body.push(TAG_RETAINED);
        put_signed(retained.end_ms, &mut self.body);
        self.body.push(u8::from(from == 0));
        put_unsigned(now.len() as u64, &mut self.body);
        self.body.extend_from_slice(now);
        let to = from + now.len();
        self.end_body_if_full();
        to
    }

    fn end_body_if_full(&mut self) {
        if self.open_bytes() >= self.block_max_bytes {
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
        if last || self.open_bytes() > 0 {
            self.end_record(last);
        }
        self.series.take().map_or(0, |(_, next)| next)
    }

    pub(super) fn finish_delta(&mut self) {
        self.end_record(true);
    }

    fn end_record(&mut self, last: bool) {
        self.end_rows();
        let mut record = vec![VERSION, KIND_DELTA];
        record.extend_from_slice(&self.fingerprint.to_le_bytes());
        let compressed = Some(&self.body)
            .filter(|body| body.len() >= COMPRESS_FROM_BYTES)
            .map(|body| lz4_flex::block::compress_prepend_size(body))
            .filter(|compressed| compressed.len() < self.body.len());
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
        record.extend_from_slice(compressed.as_ref().unwrap_or(&self.body));
        self.bodies_bytes += self.body.len();
        self.body.clear();
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
