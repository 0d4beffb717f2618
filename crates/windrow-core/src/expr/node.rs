//! Nodes: the tree behind an expression, and the one text that stands for it.
//!
//! **Invariant:** every inner node is an [`Op`] with its operands in one list, so folding, rewriting and printing each
//! walk the tree the same way; a node made by [`Node::op`] has no constant operation left in it.

use bumpalo::Bump;

use super::{Pattern, TimeFormat, ValueSet};
use crate::value::{ColumnType, Datum, Value};

/// One node.
#[derive(Debug)]
pub(crate) enum Node {
    Const(Value),
    Slot(usize),
    Op(Op, Box<[Node]>),
}

/// What is done with the operands; the comment says which they are.
#[derive(Debug)]
pub(crate) enum Op {
    /// Any number of conditions.
    All,
    /// Any number of conditions.
    Any,
    /// A condition.
    Not,
    /// Left, right.
    Compare(Comparison),
    /// Left, right: `IS DISTINCT FROM`.
    Distinct,
    /// A value.
    IsNull,
    /// A condition: `IS TRUE`, `IS FALSE`.
    Is(bool),
    /// The value, then the members that are not constant.
    In(ValueSet),
    /// Value, low, high.
    Between,
    /// A text.
    Match(Box<Pattern>),
    /// A time.
    Format(Box<TimeFormat>),
    /// Left, right.
    Arithmetic(Operator),
    /// Left, right.
    Concat,
    /// The operand if there is one, pairs of condition and result, the default.
    Case { operand: bool },
    /// The arguments.
    Call(Function),
    /// A value.
    Cast(ColumnType),
    /// A JSON document; `text` = `->>`.
    Get { step: Step, text: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// One step of a JSON path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Member(Box<str>),
    /// From 0; negative counts from the end.
    Element(i64),
}

/// The names are part of canonical texts, so of fingerprints: a renamed one is another view to a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Ceil,
    Coalesce,
    ConcatAll,
    Contains,
    /// Down to a multiple of `unit_ms` since the epoch less `offset_ms`.
    DateTrunc {
        unit_ms: i64,
        offset_ms: i64,
    },
    Div,
    EndsWith,
    Floor,
    Greatest,
    JsonArray,
    JsonObject,
    Least,
    Length,
    Lower,
    NullIf,
    Replace,
    Round,
    StartsWith,
    Substr,
    Trim {
        start: bool,
        end: bool,
    },
    Upper,
}

impl Node {
    /// Makes an operation and folds it when all operands are constant.
    pub(crate) fn op(op: Op, operands: Vec<Node>) -> Self {
        let strict =
            matches!(op, Op::Compare(_) | Op::Arithmetic(_) | Op::Concat | Op::Match(_) | Op::Get { .. });
        if strict && operands.iter().any(|n| matches!(n, Node::Const(Value::Null))) {
            return Node::Const(Value::Null);
        }
        match op {
            Op::All | Op::Any => connective(op, operands),
            Op::Compare(comparison) => constant_right(comparison, operands).folded(),
            op => Node::Op(op, operands.into()).folded(),
        }
    }

    fn folded(self) -> Self {
        match &self {
            Node::Op(_, operands) if operands.iter().all(Node::is_constant) => {
                Node::Const(self.eval(&[], &Bump::new()).to_value())
            }
            _ => self,
        }
    }

    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Node::Const(_))
    }

    pub(crate) fn collect_slots(&self, out: &mut Vec<usize>) {
        match self {
            Node::Const(_) => {}
            Node::Slot(slot) => out.push(*slot),
            Node::Op(_, operands) => operands.iter().for_each(|n| n.collect_slots(out)),
        }
    }

    /// Whether the node can only be TRUE, FALSE or NULL.
    fn is_condition(&self) -> bool {
        match self {
            Node::Const(value) => matches!(value, Value::Bool(_) | Value::Null),
            Node::Slot(_) => false,
            Node::Op(op, _) => matches!(
                op,
                Op::All
                    | Op::Any
                    | Op::Not
                    | Op::Compare(_)
                    | Op::Distinct
                    | Op::IsNull
                    | Op::Is(_)
                    | Op::In(_)
                    | Op::Between
                    | Op::Match(_)
            ),
        }
    }

    /// Returns the column and the values of `column = constant` and `column IN (constants)`.
    pub(crate) fn as_equality(&self) -> Option<(usize, Vec<Value>)> {
        match self {
            Node::Op(Op::Compare(Comparison::Eq), operands) => match &**operands {
                [Node::Slot(slot), Node::Const(value)] => Some((*slot, vec![value.clone()])),
                _ => None,
            },
            Node::Op(Op::In(set), operands) => match &**operands {
                [Node::Slot(slot)] if !set.has_null() => Some((*slot, set.values().to_vec())),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns every equality that must hold for the node to be TRUE.
    pub(crate) fn equalities(&self) -> Vec<(usize, Vec<Value>)> {
        match self {
            Node::Op(Op::All, operands) => operands.iter().flat_map(Node::equalities).collect(),
            other => other.as_equality().into_iter().collect(),
        }
    }

    /// Writes the canonical text: equal for all spellings that compiled to the same tree.
    pub(crate) fn text(&self, name: &dyn Fn(usize) -> String) -> String {
        let (op, operands) = match self {
            Node::Const(value) => return constant_text(value.datum()),
            Node::Slot(slot) => return name(*slot),
            Node::Op(op, operands) => (op, operands),
        };
        let texts: Vec<String> = operands.iter().map(|n| n.text(name)).collect();
        let call = |head: &str| format!("{head}({})", texts.join(", "));
        match op {
            Op::All => format!("({})", texts.join(" AND ")),
            Op::Any => format!("({})", texts.join(" OR ")),
            Op::Compare(comparison) => format!("({})", texts.join(comparison.sign())),
            Op::Arithmetic(operator) => format!("({})", texts.join(operator.sign())),
            Op::Concat => format!("({})", texts.join(" || ")),
            Op::Not => call("not"),
            Op::Distinct => call("distinct"),
            Op::IsNull => call("is_null"),
            Op::Is(truth) => call(if *truth { "is_true" } else { "is_false" }),
            Op::Between => call("between"),
            Op::Case { operand } => call(if *operand { "switch" } else { "case" }),
            Op::In(set) => {
                let values: Vec<String> = set.values().iter().map(|v| constant_text(v.datum())).collect();
                let null = if set.has_null() { ", NULL" } else { "" };
                format!("in({}; {}{null})", texts.join(", "), values.join(", "))
            }
            Op::Match(pattern) => {
                format!("{}({}, {})", pattern.name(), texts.join(", "), quoted(pattern.source()))
            }
            Op::Format(format) => {
                let (format, zone) = format.source();
                format!("format_time({}, {}, {})", texts.join(", "), quoted(format), quoted(zone))
            }
            Op::Call(function) => call(&function.text()),
            Op::Cast(ty) => call(ty.name()),
            Op::Get { step, text } => {
                let arrow = if *text { "->>" } else { "->" };
                match step {
                    Step::Member(member) => format!("({}{arrow}{})", texts.join(", "), quoted(member)),
                    Step::Element(index) => format!("({}{arrow}{index})", texts.join(", ")),
                }
            }
        }
    }
}

/// Puts a constant on the right: `5 < a` is `a > 5`.
fn constant_right(comparison: Comparison, mut operands: Vec<Node>) -> Node {
    let swap = operands.first().is_some_and(Node::is_constant);
    if swap {
        operands.reverse();
    }
    Node::Op(Op::Compare(if swap { comparison.mirrored() } else { comparison }), operands.into())
}

/// Flattens AND and OR, drops what decides nothing, and turns `a = 1 OR a = 2` into `a IN (1, 2)`.
fn connective(op: Op, operands: Vec<Node>) -> Node {
    let conjunction = matches!(op, Op::All);
    let mut flat = Vec::with_capacity(operands.len());
    for operand in operands {
        match operand {
            Node::Op(Op::All, inner) if conjunction => flat.extend(inner),
            Node::Op(Op::Any, inner) if !conjunction => flat.extend(inner),
            Node::Const(Value::Bool(truth)) if truth == conjunction => {}
            Node::Const(Value::Bool(truth)) => return Node::Const(Value::Bool(truth)),
            other => flat.push(other),
        }
    }
    if !conjunction {
        flat = gather_equalities(flat);
    }
    match flat.pop() {
        None => Node::Const(Value::Bool(conjunction)),
        Some(only) if flat.is_empty() && only.is_condition() => only,
        Some(last) => {
            flat.push(last);
            Node::Op(op, flat.into()).folded()
        }
    }
}

/// Merges equalities on one column, in the place of the first of them.
fn gather_equalities(operands: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(operands.len());
    let mut merged: Vec<(usize, usize, Vec<Value>)> = Vec::new();
    for operand in operands {
        let Some((slot, values)) = operand.as_equality() else {
            out.push(operand);
            continue;
        };
        match merged.iter_mut().find(|(_, s, _)| *s == slot) {
            Some((_, _, all)) => all.extend(values),
            None => {
                merged.push((out.len(), slot, values));
                out.push(operand);
            }
        }
    }
    for (at, slot, values) in merged {
        if values.len() > 1 {
            out[at] = Node::Op(Op::In(ValueSet::new(values)), Box::new([Node::Slot(slot)]));
        }
    }
    out
}

impl Comparison {
    fn mirrored(self) -> Self {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            same => same,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Comparison::Eq => " = ",
            Comparison::Ne => " <> ",
            Comparison::Lt => " < ",
            Comparison::Le => " <= ",
            Comparison::Gt => " > ",
            Comparison::Ge => " >= ",
        }
    }
}

impl Operator {
    fn sign(self) -> &'static str {
        match self {
            Operator::Add => " + ",
            Operator::Sub => " - ",
            Operator::Mul => " * ",
            Operator::Div => " / ",
            Operator::Rem => " % ",
        }
    }
}

impl Function {
    fn text(self) -> String {
        match self {
            Function::DateTrunc { unit_ms, offset_ms } => format!("date_trunc[{unit_ms}-{offset_ms}]"),
            Function::Trim { start, end } => format!("trim[{start},{end}]"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

fn constant_text(value: Datum<'_>) -> String {
    match value {
        Datum::Null => "NULL".into(),
        Datum::Text(text) => quoted(text),
        Datum::Timestamp(ms) => format!("timestamp {ms}"),
        Datum::Json(json) => format!("json {}", quoted(json)),
        other => {
            let mut out = Vec::new();
            other.write_json(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
