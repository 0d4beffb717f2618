//! State: the rows of one window, found by group key.
//!
//! **In** canonical key bytes with their hash. **Out** the number of a row, whose cells stand in columns.
//! **Before** this file: `aggregate`. **After** it: `engine` (folds into it), `journal` (writes what was touched).
//!
//! **Invariant:** a row's number never changes and rows keep the order they came in; a row is in `touched` exactly once
//! when it changed since the last cut. Closing a window is dropping its bucket.
//! **Not here:** which bucket a record belongs to, and how much state there may be (`engine`).

use hashbrown::HashTable;

use crate::{aggregate::Column, plan::AggregateCall};

pub(crate) mod canon;
#[cfg(test)]
mod tests;

/// What a row costs besides its key and its cells: its head and about two slots of the index at the usual load.
const ROW_OVERHEAD_BYTES: usize = size_of::<RowHead>() + 10;
/// What a bucket costs besides its rows.
pub(crate) const BUCKET_BYTES: usize = size_of::<Bucket>() + 256;
/// Key bytes of one bucket: rows point at them with 32 bits.
const KEYS_BYTES_MAX: usize = u32::MAX as usize;

/// The rows of one window, or of a running table.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// End of the window.
    pub(crate) end_ms: i64,
    /// Its finals are out, but late records may still come in.
    pub(crate) closed: bool,
    /// Rows changed since the last cut, in the order of their first change.
    pub(crate) touched: Vec<u32>,
    /// What the rows cost, in bytes.
    pub(crate) bytes: usize,
    /// One column of cells per aggregate.
    pub(crate) columns: Vec<Column>,
    /// What each row is charged beside its own cost.
    reserve: Option<Reserve>,
    index: HashTable<u32>,
    heads: Vec<RowHead>,
    keys: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct RowHead {
    hash: u64,
    key_at: u32,
    key_len: u32,
}

/// Room for the row that a key's first final makes elsewhere: counted with the row in the window, so that closing never takes
/// more of the state's bound than it gives back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reserve {
    cells_bytes: usize,
}

impl Reserve {
    /// Returns what rows of these aggregates need; `None` when there are none.
    pub(crate) fn of(aggregates: &[AggregateCall]) -> Option<Self> {
        let cells = aggregates.iter().map(|call| Column::new(call.kind).cell_bytes());
        (!aggregates.is_empty()).then(|| Self { cells_bytes: cells.sum() })
    }
}

/// Flags share the word of the key's length: keys are far shorter.
const TOUCHED: u32 = 1 << 31;
const SHOWN: u32 = 1 << 30;
const LEN_MASK: u32 = SHOWN - 1;

impl Bucket {
    pub(crate) fn new(end_ms: i64, aggregates: &[AggregateCall]) -> Self {
        Self {
            end_ms,
            closed: false,
            touched: Vec::new(),
            bytes: BUCKET_BYTES,
            columns: aggregates.iter().map(|call| Column::new(call.kind)).collect(),
            reserve: None,
            index: HashTable::new(),
            heads: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// The same, with room for what its rows make elsewhere.
    pub(crate) fn with_reserve(self, reserve: Option<Reserve>) -> Self {
        Self { reserve, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let (heads, keys) = (&self.heads, &self.keys);
        self.index
            .find(hash, |row| {
                let head = heads[*row as usize];
                head.hash == hash && key_of(keys, head) == key
            })
            .copied()
    }

    /// Appends a row and returns its number. `None` = the bucket holds as many key bytes as it can.
    pub(crate) fn insert(&mut self, hash: u64, key: &[u8]) -> Option<u32> {
        debug_assert!(self.find(hash, key).is_none(), "a key has one row");
        if self.keys.len() + key.len() > KEYS_BYTES_MAX || key.len() > LEN_MASK as usize {
            return None;
        }
        let row = u32::try_from(self.heads.len()).ok()?;
        self.heads.push(RowHead { hash, key_at: self.keys.len() as u32, key_len: key.len() as u32 });
        self.keys.extend_from_slice(key);
        let heads = &self.heads;
        self.index.insert_unique(hash, row, |row| heads[*row as usize].hash);
        self.columns.iter_mut().for_each(Column::push);
        self.bytes += self.row_bytes(key.len());
        Some(row)
    }

    /// Notes that the row changes; tells whether it is the first time since the last cut.
    #[inline]
    pub(crate) fn touch(&mut self, row: u32) -> bool {
        let head = &mut self.heads[row as usize];
        let first = head.key_len & TOUCHED == 0;
        if first {
            head.key_len |= TOUCHED;
            self.touched.push(row);
        }
        first
    }

    /// Puts the cells of a row from the journal in place, made if it is new. `None` = damaged.
    pub(crate) fn apply(&mut self, hash: u64, key: &[u8], readers: &mut [canon::Reader<'_>]) -> Option<()> {
        let row = match self.find(hash, key) {
            Some(row) => row,
            None => self.insert(hash, key)?,
        };
        for (column, reader) in self.columns.iter_mut().zip(readers) {
            let grown = column.apply(row as usize, reader)?;
            self.bytes = self.bytes.saturating_add_signed(grown);
        }
        Some(())
    }

    /// Adds what a partial brings to a row; returns by how many bytes its heap grew. `None` = damaged.
    pub(crate) fn merge(&mut self, row: u32, cells: &mut [canon::Reader<'_>]) -> Option<isize> {
        let mut grown = 0;
        for (column, reader) in self.columns.iter_mut().zip(cells) {
            grown += column.merge(row as usize, reader)?;
        }
        self.bytes = self.bytes.saturating_add_signed(grown);
        Some(grown)
    }

    /// Tells whether the first row of the other bucket would make the row's sets larger.
    pub(crate) fn would_grow(&self, row: u32, other: &Bucket) -> bool {
        self.columns.iter().zip(&other.columns).any(|(column, other)| column.lacks(row as usize, other, 0))
    }

    /// Forgets what was touched: it is in the journal now.
    pub(crate) fn settle(&mut self) {
        for row in self.touched.drain(..) {
            self.heads[row as usize].key_len &= !TOUCHED;
            self.columns.iter_mut().for_each(|column| column.mark_journaled(row as usize));
        }
    }

    #[inline]
    pub(crate) fn key(&self, row: u32) -> &[u8] {
        key_of(&self.keys, self.heads[row as usize])
    }

    /// Returns the hash that the row's key was entered with.
    pub(crate) fn hash(&self, row: u32) -> u64 {
        self.heads[row as usize].hash
    }

    /// Tells whether the channel has the row: it was written and `HAVING` held.
    pub(crate) fn is_shown(&self, row: u32) -> bool {
        self.heads[row as usize].key_len & SHOWN != 0
    }

    pub(crate) fn set_shown(&mut self, row: u32, shown: bool) {
        let head = &mut self.heads[row as usize];
        head.key_len = if shown { head.key_len | SHOWN } else { head.key_len & !SHOWN };
    }

    fn row_bytes(&self, key_len: usize) -> usize {
        let reserved = |reserve: Reserve| ROW_OVERHEAD_BYTES + key_len + reserve.cells_bytes;
        let cells = self.columns.iter().map(Column::cell_bytes).sum::<usize>();
        ROW_OVERHEAD_BYTES + key_len + cells + self.reserve.map_or(0, reserved)
    }
}

fn key_of(keys: &[u8], head: RowHead) -> &[u8] {
    let at = head.key_at as usize;
    &keys[at..at + (head.key_len & LEN_MASK) as usize]
}

/// The keys of a closed window that the channel still has: they get tombstones when the window retires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retained {
    pub(crate) end_ms: i64,
    pub(crate) count: u64,
    /// Each with its length before it.
    pub(crate) keys: Vec<u8>,
}

/// What a retained window costs besides its keys.
pub(crate) const RETAINED_BYTES: usize = size_of::<Retained>();

impl Retained {
    pub(crate) fn new(end_ms: i64) -> Self {
        Self { end_ms, count: 0, keys: Vec::new() }
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        canon::put_unsigned(key.len() as u64, &mut self.keys);
        self.keys.extend_from_slice(key);
        self.count += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = canon::Reader(&self.keys);
        std::iter::from_fn(move || if reader.is_empty() { None } else { reader.prefixed() })
    }

    pub(crate) fn bytes(&self) -> usize {
        RETAINED_BYTES + self.keys.len()
    }
}
