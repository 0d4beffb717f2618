//! Sets for `count(DISTINCT x)`: the elements' canonical bytes, exact.
//!
//! **In** values. **Out** how many different ones; and for the journal, those added since the last cut.
//! **Invariant:** elements keep the order they came in, so "added since" is a suffix; nothing is ever removed.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{state::canon, value::Datum};

/// A set of values.
#[derive(Debug, Default)]
pub struct DistinctSet {
    index: HashTable<u32>,
    /// End of each element in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
    hasher: RandomState,
    journaled: usize,
}

impl DistinctSet {
    /// Returns the number of different values.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Tells whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn insert(&mut self, datum: Datum<'_>) -> isize {
        let at = self.bytes.len();
        canon::encode(datum, &mut self.bytes);
        let hash = self.hasher.hash_one(&self.bytes[at..]);
        let known = self.find(hash, &self.bytes[at..]);
        if known {
            self.bytes.truncate(at);
            return 0;
        }
        self.enter(hash, self.bytes.len() - at)
    }

    pub(super) fn insert_bytes(&mut self, element: &[u8]) -> isize {
        let hash = self.hasher.hash_one(element);
        if self.find(hash, element) {
            return 0;
        }
        self.bytes.extend_from_slice(element);
        self.enter(hash, element.len())
    }

    /// Enters the last `len` bytes as an element.
    fn enter(&mut self, hash: u64, len: usize) -> isize {
        self.ends.push(self.bytes.len());
        let (ends, bytes, hasher) = (&self.ends, &self.bytes, &self.hasher);
        let row = ends.len() as u32 - 1;
        self.index.insert_unique(hash, row, |row| hasher.hash_one(element(ends, bytes, *row)));
        let set = if row == 0 { size_of::<Self>() } else { 0 };
        (set + len + ELEMENT_OVERHEAD_BYTES) as isize
    }

    fn find(&self, hash: u64, wanted: &[u8]) -> bool {
        self.index.find(hash, |row| element(&self.ends, &self.bytes, *row) == wanted).is_some()
    }

    pub(super) fn contains(&self, datum: Datum<'_>) -> bool {
        let mut wanted = Vec::new();
        canon::encode(datum, &mut wanted);
        self.find(self.hasher.hash_one(&wanted[..]), &wanted)
    }

    /// Tells whether the other set has elements that this one has not.
    pub(super) fn lacks(&self, other: &DistinctSet) -> bool {
        let mut elements = (0..other.ends.len() as u32).map(|row| element(&other.ends, &other.bytes, row));
        elements.any(|element| !self.find(self.hasher.hash_one(element), element))
    }

    /// Appends a number of elements and those from `from` on that fit into `room`, at least one; returns where to go on.
    pub(super) fn encode(&self, from: usize, room: usize, out: &mut Vec<u8>) -> usize {
        let begin = self.start(from);
        let fitting = self.ends[from..].partition_point(|end| end - begin <= room);
        let to = (from + fitting.max(1)).min(self.len());
        canon::put_unsigned((to - from) as u64, out);
        out.extend_from_slice(&self.bytes[begin..self.start(to)]);
        to
    }

    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.ends[row - 1] }
    }

    pub(super) fn journaled(&self) -> usize {
        self.journaled
    }

    pub(super) fn mark_journaled(&mut self) {
        self.journaled = self.len();
    }
}

/// An element costs its end and about two slots of the index at the usual load.
const ELEMENT_OVERHEAD_BYTES: usize = 8 + 10;

fn element<'a>(ends: &[usize], bytes: &'a [u8], row: u32) -> &'a [u8] {
    let row = row as usize;
    let start = if row == 0 { 0 } else { ends[row - 1] };
    &bytes[start..ends[row]]
}
