//! Lowering: a syntax tree becomes a typed expression over slots.
//!
//! **In** an expression and the columns it may name. **Out** a [`Typed`] node, or one error at the place of the mistake.
//! **Invariant:** recursion is at most [`DEPTH_MAX`] deep; chains of AND and OR don't nest, however long they are.
//! **Not here:** what operators and calls mean (`operators`, `patterns`, `call`), types (`agree`), which clauses there are (`query`).

use std::sync::Arc;

use sqlparser::{
    ast::{self, Expr as Ast},
    tokenizer::Location,
};

use super::{
    PlanError, aggregate::Aggregates, columns::Columns, literal, place::place, types::Family, window,
};
use crate::{
    expr::{DEPTH_MAX, Node, Op},
    value::{ColumnType, Value},
};

/// Slots from here on are not columns: `window_start`, `window_end`, then the aggregates of the query, then those over finals.
pub(super) const WINDOW_START: usize = 1 << 20;
pub(super) const WINDOW_END: usize = WINDOW_START + 1;
pub(super) const AGGREGATE: usize = WINDOW_START + 2;
pub(super) const OVER: usize = 1 << 25;

/// What an expression became.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) node: Node,
    /// `None` = any.
    pub(super) ty: Option<ColumnType>,
}

impl Typed {
    pub(super) fn new(node: Node, ty: impl Into<Option<ColumnType>>) -> Self {
        Self { node, ty: ty.into() }
    }

    pub(super) fn condition(op: Op, operands: Vec<Node>) -> Self {
        Self::new(Node::op(op, operands), ColumnType::Boolean)
    }
}

/// One clause being lowered.
pub(super) struct Lower<'p> {
    pub(super) columns: &'p mut Columns,
    /// Name of the view, for places in messages.
    pub(super) view: Option<&'p str>,
    /// What a column may be qualified with: the stream's name and alias.
    pub(super) qualifiers: Vec<String>,
    /// Where aggregates go; `None` = they are not allowed, for the reason in `no_aggregates`.
    pub(super) aggregates: Option<&'p mut Aggregates>,
    pub(super) no_aggregates: &'static str,
    /// Why OVER is not allowed; `None` = it is.
    pub(super) no_over: Option<&'static str>,
    /// Whether `window_start` and `window_end` can be named.
    pub(super) window: Window,
    /// Outputs that can be named instead of columns: HAVING has these.
    pub(super) outputs: Vec<(Arc<str>, &'p Ast)>,
    /// Columns used, with their places.
    pub(super) uses: Vec<(usize, Location)>,
    pub(super) depth: usize,
    /// The last place known.
    pub(super) here: Location,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// The view has none: the names are plain columns.
    None,
    /// The view has one, but this clause comes before it.
    Later,
    /// They are columns of the row.
    Known,
}

impl<'p> Lower<'p> {
    pub(super) fn new(columns: &'p mut Columns, view: Option<&'p str>) -> Self {
        Self {
            columns,
            view,
            qualifiers: Vec::new(),
            aggregates: None,
            no_aggregates: "aggregates are for the views' SELECT and HAVING",
            no_over: Some("it is for the views' SELECT"),
            window: Window::None,
            outputs: Vec::new(),
            uses: Vec::new(),
            depth: 0,
            here: Location::new(1, 1),
        }
    }

    /// Lowers one expression.
    pub(super) fn lower(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        self.here = place(expr).unwrap_or(self.here);
        if self.depth == DEPTH_MAX {
            return Err(self.error(format!("the expression nests deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let lowered = self.lower_inner(expr);
        self.depth -= 1;
        lowered
    }

    /// Lowers a condition.
    pub(super) fn condition(&mut self, expr: &Ast, who: &str) -> Result<Node, PlanError> {
        self.wanted(expr, Family::Boolean, who)
    }

    /// Lowers an expression that must be of a family.
    pub(super) fn wanted(&mut self, expr: &Ast, family: Family, who: &str) -> Result<Node, PlanError> {
        let typed = self.lower(expr)?;
        self.want(&typed, expr, family, who)?;
        Ok(typed.node)
    }

    fn lower_inner(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        match expr {
            Ast::Nested(inner) => self.lower(inner),
            Ast::Identifier(_) | Ast::CompoundIdentifier(_) => self.column(expr),
            Ast::Value(value) => literal::value(&value.value).map_err(|message| self.error(message)),
            Ast::TypedString(typed) => literal::typed(typed).map_err(|message| self.error(message)),
            Ast::Interval(interval) => {
                let ms = window::interval_ms(interval)
                    .map_err(|(message, hint)| self.error(message).hint(hint))?;
                Ok(Typed::new(Node::Const(Value::Int(ms)), ColumnType::Bigint))
            }
            Ast::UnaryOp { op, expr } => self.unary(*op, expr),
            Ast::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            Ast::IsNull(e) => Ok(Typed::condition(Op::IsNull, vec![self.lower(e)?.node])),
            Ast::IsNotNull(e) => Ok(not(Typed::condition(Op::IsNull, vec![self.lower(e)?.node]), true)),
            Ast::IsTrue(e) => self.is(e, Some(true), false),
            Ast::IsNotTrue(e) => self.is(e, Some(true), true),
            Ast::IsFalse(e) => self.is(e, Some(false), false),
            Ast::IsNotFalse(e) => self.is(e, Some(false), true),
            Ast::IsUnknown(e) => self.is(e, None, false),
            Ast::IsNotUnknown(e) => self.is(e, None, true),
            Ast::IsDistinctFrom(a, b) => self.distinct(a, b, false),
            Ast::IsNotDistinctFrom(a, b) => self.distinct(a, b, true),
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Ast::Between { expr, negated, low, high } => {
                let (value, low) = self.pair(expr, low)?;
                let (value, high) = self.matched(value, expr, high)?;
                Ok(not(Typed::condition(Op::Between, vec![value.node, low.node, high.node]), *negated))
            }
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), false, *negated)
            }
            Ast::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), true, *negated)
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Ast::Cast { kind: _, expr, data_type, format: None } => self.cast(expr, data_type),
            other => self.call(other),
        }
    }

    fn column(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        let idents: &[ast::Ident] = match expr {
            Ast::Identifier(ident) => std::slice::from_ref(ident),
            Ast::CompoundIdentifier(idents) => idents,
            _ => &[],
        };
        let parts: Vec<&str> = idents.iter().map(|i| i.value.as_str()).collect();
        let quoted = idents.iter().any(|i| i.quote_style.is_some());
        let mut name = parts.join(".");
        if let [first, rest @ ..] = parts.as_slice()
            && !rest.is_empty()
            && self.qualifiers.iter().any(|q| q == first)
            && !self.columns.is_known(&name)
        {
            name = rest.join(".");
        }
        if let Some((_, output)) = self.outputs.iter().find(|(output, _)| **output == *name) {
            let output = *output;
            // An output's own names are columns.
            let outputs = std::mem::take(&mut self.outputs);
            let lowered = self.lower(output);
            self.outputs = outputs;
            return lowered;
        }
        if let ("window_start" | "window_end", false, Window::Known | Window::Later) =
            (&*name, quoted, self.window)
        {
            if self.window == Window::Later {
                let hint = format!("write \"{name}\" when the stream has a column of that name");
                return Err(self
                    .error(format!("{name} can be used in SELECT and HAVING only"))
                    .hint(Some(hint)));
            }
            let slot = if name == "window_start" { WINDOW_START } else { WINDOW_END };
            return Ok(Typed::new(Node::Slot(slot), ColumnType::Timestamp));
        }
        let slot = self.columns.resolve(&name, quoted, self.here)?;
        self.uses.push((slot, self.here));
        Ok(Typed::new(Node::Slot(slot), self.columns.ty(slot)))
    }

    pub(super) fn error(&self, message: String) -> PlanError {
        PlanError::at(self.here, message)
    }
}

pub(super) fn not(condition: Typed, negated: bool) -> Typed {
    if negated { Typed::condition(Op::Not, vec![condition.node]) } else { condition }
}
