//! Expressions: compiled once, evaluated over rows of [`Datum`]s.
//!
//! **In** a row and a bump arena for text that has to be produced. **Out** one [`Datum`].
//! **Before** this file: `sql` (text became expressions). **After** it: `engine` and `hub` (run them on every row).
//!
//! **Invariant:** three-valued logic; an operation that has no answer (a division by zero, a text where a number is
//! needed) is NULL, never a panic; evaluation looks nothing up by name, and its recursion is bounded by [`DEPTH_MAX`].
//! **Not here:** parsing and types (`sql`), aggregates (`engine`).

use std::{fmt, sync::Arc};

use bumpalo::Bump;

use crate::value::{Datum, Value};

mod cast;
mod eval;
mod json;
mod node;
mod number;
mod pattern;
mod set;
mod text;
mod time;

pub(crate) use node::{Comparison, Function, Node, Op, Operator, Step};
pub(crate) use pattern::Pattern;
pub(crate) use set::ValueSet;
pub(crate) use text::parse_timestamp_ms;
pub(crate) use time::TimeFormat;

/// Deepest expression that is accepted: evaluation and drop recurse about as deep as the expression is written.
pub const DEPTH_MAX: usize = 64;

/// Longest text that an expression produces; longer is NULL. It stops `replace` from multiplying what it is given.
pub const TEXT_MAX_BYTES: usize = 1 << 20;

/// A compiled expression over the slots of a row. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expr {
    node: Arc<Node>,
}

impl Expr {
    /// Wraps what the planner built.
    pub(crate) fn new(node: Node) -> Self {
        Self { node: Arc::new(node) }
    }

    /// Makes the expression that is one slot of the row.
    pub fn slot(slot: usize) -> Self {
        Self::new(Node::Slot(slot))
    }

    /// Makes the expression that is always `value`.
    pub fn constant(value: Value) -> Self {
        Self::new(Node::Const(value))
    }

    /// Returns the slot when the expression is nothing but one column.
    pub fn as_slot(&self) -> Option<usize> {
        match &*self.node {
            Node::Slot(slot) => Some(*slot),
            _ => None,
        }
    }

    /// Computes the value over one row; what goes wrong is NULL.
    ///
    /// - **Limits:** a slot past the end of `row` is NULL; text past [`TEXT_MAX_BYTES`] is NULL.
    /// - **Cost:** nothing is allocated but text, JSON and integers past 64 bits that the expression produces: those in
    ///   `arena`, JSON and rounding also in passing.
    #[inline]
    pub fn eval<'a>(&'a self, row: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
        self.node.eval(row, arena)
    }

    /// Tells whether the expression is TRUE for the row: neither FALSE nor unknown.
    #[inline]
    pub fn holds<'a>(&'a self, row: &[Datum<'a>], arena: &'a Bump) -> bool {
        matches!(self.node.eval(row, arena), Datum::Bool(true))
    }

    /// Writes the canonical text, with `name` for the slots.
    pub(crate) fn text(&self, name: &dyn Fn(usize) -> String) -> String {
        self.node.text(name)
    }

    /// Returns the slots it reads, ascending, each once.
    pub fn slots(&self) -> Vec<usize> {
        let mut slots = Vec::new();
        self.node.collect_slots(&mut slots);
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

impl fmt::Display for Expr {
    /// Writes the canonical text with slots as `#0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node.text(&|slot| format!("#{slot}")))
    }
}

#[cfg(test)]
mod tests;
