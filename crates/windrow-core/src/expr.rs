//! Expressions: compiled once, evaluated over rows of [`Datum`]s.
//!
//! **In** a row and a bump arena for text that has to be produced. **Out** one [`Datum`].
//! **Before** this file: `sql` (text became expressions). **After** it: `engine` and `hub` (run them on every row).
//!
//! **Invariant:** three-valued logic; an operation that has no answer (a division by zero, a text where a number is
//! needed) is NULL, never a panic; evaluation looks nothing up by name and recurses at most [`DEPTH_MAX`] deep.
//! **Not here:** parsing and types (`sql`), aggregates (`engine`).

use std::sync::Arc;

use bumpalo::Bump;

use crate::value::{Datum, Value};

/// Deepest expression that is accepted: evaluation and drop recurse as deep as the expression is.
pub const DEPTH_MAX: usize = 64;

/// A compiled expression over the slots of a row. Cheap to clone; two of the same text compute the same.
#[derive(Debug, Clone)]
pub struct Expr {
    node: Arc<Node>,
}

#[derive(Debug)]
enum Node {
    Const(Value),
    Slot(usize),
}

impl Expr {
    /// Makes the expression that is one slot of the row.
    pub fn slot(slot: usize) -> Self {
        Self { node: Arc::new(Node::Slot(slot)) }
    }

    /// Makes the expression that is always `value`.
    pub fn constant(value: Value) -> Self {
        Self { node: Arc::new(Node::Const(value)) }
    }

    /// Returns the slot when the expression is nothing but one column.
    pub fn as_slot(&self) -> Option<usize> {
        match &*self.node {
            Node::Slot(slot) => Some(*slot),
            Node::Const(_) => None,
        }
    }

    /// Computes the value over one row; what goes wrong is NULL.
    ///
    /// - **Limits:** a slot past the end of `row` is NULL.
    /// - **Cost:** no allocation but in `arena`, and there only for text, JSON and integers past 64 bits it produces.
    pub fn eval<'a>(&'a self, row: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
        let _ = arena;
        match &*self.node {
            Node::Const(value) => value.datum(),
            Node::Slot(slot) => row.get(*slot).copied().unwrap_or(Datum::Null),
        }
    }

    /// Tells whether the expression is TRUE for the row: neither FALSE nor unknown.
    pub fn holds<'a>(&'a self, row: &[Datum<'a>], arena: &'a Bump) -> bool {
        matches!(self.eval(row, arena), Datum::Bool(true))
    }
}
