//! Blocks: rows of buckets as columns in one run of bytes, compressed when that helps.
//!
//! **In** rows and their cells. **Out** a body for a record, and the rows back.
//! **Before** this file: `state`, `aggregate`. **After** it: `journal` and `partial`, which put their heads before the body.
//!
//! ```text
//! body     sections: a tag, then what the tag says
//! rows     end closed count, keys as one run of bytes, then each column of cells as one
//! ```
//!
//! **Invariant:** reading never panics, and its memory is bounded by [`BODY_MAX_BYTES`] whatever the bytes claim; a body ends
//! before it passes its bound, unless a single row or element is larger.

use std::borrow::Cow;

use crate::{
    batch::BATCH_MAX_BYTES,
    state::{
        Bucket,
        canon::{Reader, put_signed, put_unsigned},
    },
};

/// Tag of a run of rows.
pub(crate) const TAG_ROWS: u8 = 2;
/// Largest body: no record is larger, even decompressed.
const BODY_MAX_BYTES: usize = BATCH_MAX_BYTES;
/// Shorter bodies are not worth compressing.
const COMPRESS_FROM_BYTES: usize = 128;

/// Returns the compressed body; `None` = it is better as it is.
pub(crate) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    let compressed =
        (body.len() >= COMPRESS_FROM_BYTES).then(|| lz4_flex::block::compress_prepend_size(body));
    compressed.filter(|compressed| compressed.len() < body.len())
}

/// Returns the body of a record; `None` = damaged.
pub(crate) fn unpack(bytes: &[u8], compressed: bool) -> Option<Cow<'_, [u8]>> {
    if !compressed {
        return Some(Cow::Borrowed(bytes));
    }
    let claimed = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if claimed > BODY_MAX_BYTES {
        return None;
    }
    lz4_flex::block::decompress_size_prepended(bytes).ok().map(Cow::Owned)
}

/// What of a row's cells is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cells {
    /// Scalars, and of sets what the journal has not seen. A row that is split says its scalars again.
    Changed,
    /// Everything.
    Whole,
    /// Everything, once: a row that is split says its scalars only at first, so that parts add up.
    Added,
}

/// A body that grows.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    max_bytes: usize,
    rows: Rows,
    /// Where the sets of the row at hand go on.
    cursors: Vec<usize>,
    /// The row at hand goes on.
    split: bool,
}

/// Rows of one bucket that follow each other.
#[derive(Debug, Default)]
struct Rows {
    end_ms: i64,
    closed: bool,
    count: u64,
    keys: Vec<u8>,
    columns: Vec<Vec<u8>>,
}

impl Rows {
    fn bytes(&self) -> usize {
        self.keys.len() + self.columns.iter().map(Vec::len).sum::<usize>()
    }
}

impl Body {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { bytes: Vec::new(), max_bytes, rows: Rows::default(), cursors: Vec::new(), split: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.rows.bytes()
    }

    pub(crate) fn room(&self) -> usize {
        self.max_bytes.saturating_sub(self.len())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max_bytes
    }

    /// Begins a row; call [`put_row`](Self::put_row) until it says that the row is whole.
    pub(crate) fn begin_row(&mut self, bucket: &Bucket, row: u32, cells: Cells) {
        let changed = cells == Cells::Changed;
        let from = bucket.columns.iter().map(|c| if changed { c.journaled(row as usize) } else { 0 });
        self.cursors.clear();
        self.cursors.extend(from);
        self.split = false;
    }

    /// Writes what fits of the row at hand; tells whether that is all of it. If not, the body is full.
    pub(crate) fn put_row(&mut self, bucket: &Bucket, row: u32, cells: Cells) -> bool {
        self.open_rows(bucket);
        self.rows.count += 1;
        put_unsigned(bucket.key(row).len() as u64, &mut self.rows.keys);
        self.rows.keys.extend_from_slice(bucket.key(row));
        let again = self.split && cells == Cells::Added;
        let mut whole = true;
        for (i, column) in bucket.columns.iter().enumerate() {
            let (room, at) = (self.room(), row as usize);
            let out = &mut self.rows.columns[i];
            if again && !column.is_set() {
                column.encode_nothing(out);
                continue;
            }
            self.cursors[i] = column.encode(at, self.cursors[i], room, out);
            whole &= self.cursors[i] >= column.elements(at);
        }
        self.split = true;
        whole
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

    /// Ends the run of rows at hand: something else follows.
    pub(crate) fn end_rows(&mut self) {
        let Self { bytes, rows, .. } = self;
        if rows.count == 0 {
            return;
        }
        bytes.push(TAG_ROWS);
        put_signed(rows.end_ms, bytes);
        bytes.push(u8::from(rows.closed));
        put_unsigned(rows.count, bytes);
        for part in std::iter::once(&mut rows.keys).chain(&mut rows.columns) {
            put_unsigned(part.len() as u64, bytes);
            bytes.append(part);
        }
        rows.count = 0;
    }
}

/// Rows of one bucket as they stand in a body.
#[derive(Debug)]
pub(crate) struct RowRun<'a> {
    pub(crate) end_ms: i64,
    pub(crate) closed: bool,
    pub(crate) count: u64,
    pub(crate) keys: Reader<'a>,
    pub(crate) columns: Vec<Reader<'a>>,
}

impl<'a> RowRun<'a> {
    /// Reads what follows the tag and the end.
    pub(crate) fn read(end_ms: i64, reader: &mut Reader<'a>, columns: usize) -> Option<Self> {
        let (closed, count) = (reader.byte()? != 0, reader.unsigned()?);
        let keys = Reader(reader.prefixed()?);
        let columns = (0..columns).map(|_| Some(Reader(reader.prefixed()?))).collect::<Option<_>>()?;
        Some(Self { end_ms, closed, count, keys, columns })
    }
}
