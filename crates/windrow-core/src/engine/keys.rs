//! Group keys: built once per record, shared by all views that group by the same expressions.
//!
//! **In** a source row. **Out** canonical bytes and their hash.
//! **Invariant:** nothing is allocated per record once the buffers have grown.

use std::hash::BuildHasher;

use bumpalo::Bump;
use foldhash::fast::RandomState;

use crate::{
    plan::{StreamPlan, ViewPlan},
    state::canon,
    value::Datum,
};

/// The key of the record at hand, for one set of expressions.
#[derive(Debug, Default)]
struct Slot {
    bytes: Vec<u8>,
    hash: u64,
    /// Number of the record that it was built for.
    record: u64,
}

/// One slot per different `GROUP BY` of a stream's views.
#[derive(Debug)]
pub(super) struct Keys {
    slots: Vec<Slot>,
    /// Which slot a view uses.
    slot_of: Vec<usize>,
    record: u64,
    hasher: RandomState,
}

impl Keys {
    pub(super) fn new(plan: &StreamPlan, hasher: RandomState) -> Self {
        let mut known: Vec<Vec<String>> = Vec::new();
        let slot_of = plan.views.iter().map(|view| {
            let texts: Vec<String> = view.keys.iter().map(|key| key.expr.to_string()).collect();
            known.iter().position(|k| *k == texts).unwrap_or_else(|| {
                known.push(texts);
                known.len() - 1
            })
        });
        let slot_of: Vec<usize> = slot_of.collect();
        let slots = known.iter().map(|_| Slot::default()).collect();
        Self { slots, slot_of, record: 0, hasher }
    }

    /// Begins the next record.
    #[inline]
    pub(super) fn next(&mut self) {
        self.record += 1;
    }

    /// Returns the key of the record at hand as the view groups it.
    #[inline]
    pub(super) fn of<'a>(&mut self, view: &'a ViewPlan, row: &[Datum<'a>], arena: &'a Bump) -> (u64, &[u8]) {
        let slot = &mut self.slots[self.slot_of[view.index]];
        if slot.record != self.record {
            slot.record = self.record;
            slot.bytes.clear();
            for key in &view.keys {
                canon::encode(key.expr.eval(row, arena), &mut slot.bytes);
            }
            slot.hash = self.hasher.hash_one(&slot.bytes[..]);
        }
        (slot.hash, &slot.bytes)
    }
}
