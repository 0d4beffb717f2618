//! Rows: where keys, aggregates and the window are in a view's output row.
//!
//! **Invariant:** keys first, aggregates next, then `window_start` and `window_end`, aggregates over finals last; an expression of the output reads
//! nothing else, so a column that is no key is found here.

use std::sync::Arc;

use sqlparser::ast::Expr as Ast;

use super::{
    aggregate,
    columns::Columns,
    lower::{AGGREGATE, OVER, Typed, WINDOW_END, WINDOW_START},
};
use crate::{
    expr::{Expr, Node},
    plan::{AggregateCall, Shape, ViewPlan},
};

/// One member of GROUP BY that is not a window.
pub(super) struct Key<'e> {
    pub(super) ast: &'e Ast,
    pub(super) typed: Typed,
    pub(super) text: String,
    pub(super) output: Option<Arc<str>>,
}

/// Where the parts of an output row are.
pub(super) struct RowSlots {
    pub(super) keys: usize,
    pub(super) aggregates: usize,
}

/// Keys while grouping; final slots are known once all aggregates are.
const KEY: usize = 1 << 30;

impl RowSlots {
    pub(super) fn place(&self, node: Node) -> Node {
        match node {
            Node::Slot(WINDOW_START) => Node::Slot(self.keys + self.aggregates),
            Node::Slot(WINDOW_END) => Node::Slot(self.keys + self.aggregates + 1),
            Node::Slot(slot) if slot >= KEY => Node::Slot(slot - KEY),
            Node::Slot(slot) if slot >= OVER => Node::Slot(self.keys + self.aggregates + 2 + slot - OVER),
            Node::Slot(slot) => Node::Slot(slot.saturating_sub(AGGREGATE) + self.keys),
            Node::Op(op, operands) => {
                Node::Op(op, operands.into_iter().map(|operand| self.place(operand)).collect())
            }
            constant => constant,
        }
    }
}

/// Replaces keys by their slots, from the outside in; `Err` = a column that is no key.
pub(super) fn regroup(node: Node, keys: &[Key<'_>]) -> Result<Node, usize> {
    if let Node::Const(_) = node {
        return Ok(node);
    }
    let text = slots_text(&node);
    if let Some(key) = keys.iter().position(|k| k.text == text) {
        return Ok(Node::Slot(KEY + key));
    }
    match node {
        Node::Slot(slot) if slot < WINDOW_START => Err(slot),
        Node::Op(op, operands) => {
            let operands =
                operands.into_iter().map(|operand| regroup(operand, keys)).collect::<Result<_, _>>()?;
            Ok(Node::Op(op, operands))
        }
        other => Ok(other),
    }
}

pub(super) fn slots_text(node: &Node) -> String {
    node.text(&|slot| format!("#{slot}"))
}

/// Fills in the types that are known only after all views of the stream are planned.
pub(super) fn finish(draft: &mut ViewPlan, columns: &Columns) {
    let of_slot = |expr: &Expr| expr.as_slot().and_then(|slot| columns.ty(slot));
    for key in &mut draft.keys {
        key.ty = key.ty.or_else(|| of_slot(&key.expr));
    }
    let aggregate = |call: &AggregateCall| aggregate::final_type(call, columns);
    for output in &mut draft.outputs {
        let late = match output.expr.as_slot() {
            None => None,
            Some(slot) if draft.shape == Shape::Stateless => columns.ty(slot),
            Some(slot) => match draft.keys.get(slot) {
                Some(key) => key.ty,
                None => draft.aggregates.get(slot - draft.keys.len()).and_then(aggregate),
            },
        };
        output.ty = output.ty.or(late);
    }
}
