//! Snapshots: a channel's rows as they were at one moment, read in pieces while the channel goes on.
//!
//! **In** the table, the ring, a cursor that the client's session keeps. **Out** pieces of at most the bytes asked for.
//! **Invariant:** all pieces together are exactly the matching rows at the cursor's base: what changed meanwhile is undone by
//! the old states that the ring recorded. Live changes continue from the base, so there is no gap and no double.
//! **Not here:** the channel's lock, which is held for one piece at a time (the product's rooms).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bumpalo::Bump;
use bytes::Bytes;

use super::{
    filters::Slot,
    ring::Ring,
    row::Row,
    step::Members,
    table::{Table, begins_with_elements},
};
use crate::{scan::RowFields, value::Datum};

/// Rows looked at in one piece: bounds the time that the channel is held for a filter that matches little.
const LOOKED_AT_MAX: usize = 10_000;

/// Where a snapshot stands; holds no rows but those that changed while it was read.
#[derive(Debug)]
pub struct SnapshotCursor {
    /// Rows of a sequence, counted at the start; empty for tables.
    pub(super) recent: VecDeque<Arc<Row>>,
    /// How the keys begin that can match, rising; one empty prefix = all.
    pub(super) prefixes: VecDeque<Box<[u8]>>,
    /// The last key that was looked at.
    after: Option<Box<[u8]>>,
    /// States at the base of rows that changed since; rows already passed are left out.
    undo: BTreeMap<Box<[u8]>, Option<Arc<Row>>>,
    /// Changes up to this one are in `undo`.
    seen_no: u64,
    /// Only rows that came from these offsets on; partitions rising, one that is not there from its start.
    since: Option<Vec<(i32, i64)>>,
}

/// A part of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// JSON array of rows.
    pub rows: Bytes,
    /// Rows in it.
    pub count: usize,
    /// Whether there is more to read.
    pub more: bool,
}

/// The ring no longer holds what is needed to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl SnapshotCursor {
    pub(super) fn new(base_no: u64, prefixes: Vec<Box<[u8]>>, recent: VecDeque<Arc<Row>>) -> Self {
        let (after, undo, since) = (None, BTreeMap::new(), None);
        Self { recent, prefixes: prefixes.into(), after, undo, seen_no: base_no, since }
    }

    /// Leaves out rows from before these offsets.
    pub(super) fn since(self, offsets: Vec<(i32, i64)>) -> Self {
        Self { since: Some(offsets), ..self }
    }

    /// Reads the next rows that match, up to the bounds; a row larger than `bytes_max` comes alone.
    pub(super) fn read(
        &mut self,
        (table, ring, fields): (&Table, &Ring, &RowFields),
        slot: &Slot,
        bytes_max: usize,
        rows_max: usize,
    ) -> Result<Piece, Lost> {
        self.remember(ring)?;
        let since = self.since.as_deref();
        let is_old = |row: &Row| {
            since.is_some_and(|since| {
                let known = since.binary_search_by_key(&row.partition, |(p, _)| *p);
                known.is_ok_and(|place| row.offset < since[place].1)
            })
        };
        let mut members = Members::default();
        let mut arena = Bump::new();
        // Adds a row if it matches; false when it does and there is no room for it.
        let mut add = |row: &Row| {
            arena.reset();
            if is_old(row) || !matches(slot, fields, row, &arena) {
                return true;
            }
            let is_full = members.rows > 0 && members.len_bytes() + row.json.len() >= bytes_max;
            if is_full || members.rows >= rows_max {
                return false;
            }
            members.row(row);
            true
        };
        while self.recent.front().is_some_and(|row| add(row)) {
            self.recent.pop_front();
        }
        let mut more = !self.recent.is_empty();
        let mut looked_at = 0;
        while let Some(prefix) = self.prefixes.front().filter(|_| !more) {
            let mut passed = None;
            for (key, row) in merged(table, &self.undo, prefix, self.after.as_deref()) {
                more = looked_at >= LOOKED_AT_MAX || !row.is_none_or(&mut add);
                if more {
                    break;
                }
                looked_at += 1;
                passed = Some(key);
            }
            let passed: Option<Box<[u8]>> = passed.map(Into::into);
            if more {
                self.after = passed.or(self.after.take());
            } else {
                self.after = None;
                self.prefixes.pop_front();
            }
        }
        self.forget_passed();
        Ok(Piece { count: members.rows, rows: members.into_array(), more })
    }

    /// Notes the states at the base of all rows that changed since the last piece.
    fn remember(&mut self, ring: &Ring) -> Result<(), Lost> {
        if self.prefixes.is_empty() {
            return Ok(());
        }
        for (no, change) in ring.after(self.seen_no).ok_or(Lost)? {
            self.seen_no = no;
            let key = change.key();
            let wanted = self.prefixes.iter().any(|prefix| begins_with_elements(key, prefix));
            if wanted && !self.undo.contains_key(key) {
                self.undo.insert(key.into(), change.old.clone());
            }
        }
        self.forget_passed();
        Ok(())
    }

    /// Drops old states of keys that were read already. Keys of several prefixes may interleave, so those stay.
    fn forget_passed(&mut self) {
        let all = self.prefixes.front().is_some_and(|prefix| prefix.is_empty());
        if let Some(after) = self.after.as_deref().filter(|_| all) {
            self.undo.retain(|key, _| key.as_ref() > after);
        }
    }
}

/// Reads a row's columns and tells whether it matches; an unreadable row matches only the filter for everything.
pub(super) fn matches(slot: &Slot, fields: &RowFields, row: &Row, arena: &Bump) -> bool {
    if slot.rule.is_none() {
        return true;
    }
    let mut columns: Vec<Datum<'_>> = Vec::new();
    fields.read(&row.json, arena, &mut columns).is_ok() && slot.holds(&columns, arena)
}

/// Walks the keys of the table and of `undo` together, in order; where `undo` knows a key its state is taken.
fn merged<'a>(
    table: &'a Table,
    undo: &'a BTreeMap<Box<[u8]>, Option<Arc<Row>>>,
    prefix: &'a [u8],
    after: Option<&'a [u8]>,
) -> impl Iterator<Item = (&'a [u8], Option<&'a Row>)> {
    let mut now = table.range(prefix, after).peekable();
    let then = undo.iter().map(|(key, row)| (key.as_ref(), row.as_deref()));
    let mut then = then
        .filter(move |(key, _)| begins_with_elements(key, prefix) && after.is_none_or(|after| *key > after))
        .peekable();
    std::iter::from_fn(move || {
        let undone = match (now.peek(), then.peek()) {
            (Some(row), Some((key, _))) if row.key.as_ref() < *key => false,
            (_, None) => false,
            (Some(row), Some((key, _))) => {
                if row.key.as_ref() == *key {
                    now.next();
                }
                true
            }
            (None, Some(_)) => true,
        };
        if undone { then.next() } else { now.next().map(|row| (row.key.as_ref(), Some(row.as_ref()))) }
    })
}
