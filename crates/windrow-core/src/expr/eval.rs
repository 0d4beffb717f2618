//! Evaluation: one node over one row.
//!
//! **Invariant:** NULL in gives NULL out, but for what asks about NULL and for AND, OR, `CASE`, `coalesce`.

use std::cmp::Ordering;

use bumpalo::Bump;

use super::{Comparison, Function, Node, Op, cast, json, number, text};
use crate::value::Datum;

impl Node {
    #[inline]
    pub(crate) fn eval<'a>(&'a self, row: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
        match self {
            Node::Const(value) => value.datum(),
            Node::Slot(slot) => row.get(*slot).copied().unwrap_or(Datum::Null),
            Node::Op(op, operands) => op.eval(operands, row, arena),
        }
    }
}

impl Op {
    fn eval<'a>(&'a self, operands: &'a [Node], row: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
        let at = |i: usize| operands.get(i).map_or(Datum::Null, |n| n.eval(row, arena));
        match self {
            Op::All => truth(connect(operands, row, arena, false)),
            Op::Any => truth(connect(operands, row, arena, true)),
            Op::Not => truth(holds(at(0)).map(|b| !b)),
            Op::Compare(comparison) => truth(comparison.of(at(0), at(1))),
            Op::Distinct => Datum::Bool(at(0) != at(1)),
            Op::IsNull => Datum::Bool(at(0).is_null()),
            Op::Is(wanted) => Datum::Bool(holds(at(0)) == Some(*wanted)),
            Op::In(set) => {
                let value = at(0);
                let members = operands.iter().skip(1).map(|n| n.eval(row, arena));
                truth(either(set.contains(value), members.map(|m| Comparison::Eq.of(value, m))))
            }
            Op::Between => {
                let value = at(0);
                truth(both(Comparison::Ge.of(value, at(1)), || Comparison::Le.of(value, at(2))))
            }
            Op::Match(pattern) => match at(0) {
                Datum::Text(text) => Datum::Bool(pattern.matches(text)),
                _ => Datum::Null,
            },
            Op::Format(format) => format.write(at(0), arena),
            Op::Arithmetic(operator) => number::arithmetic(*operator, at(0), at(1), arena),
            Op::Concat => text::concat(at(0), at(1), arena),
            Op::Case { operand } => case(*operand, operands, row, arena),
            Op::Call(function) => call(*function, operands, row, arena),
            Op::Cast(ty) => cast::cast(at(0), *ty, arena),
            Op::Get { step, text } => json::get(at(0), step, *text, arena),
        }
    }
}

impl Comparison {
    /// Compares; `None` = unknown.
    #[inline]
    pub(crate) fn of(self, left: Datum<'_>, right: Datum<'_>) -> Option<bool> {
        let order = match (left, right) {
            (Datum::Text(a), Datum::Text(b)) if self == Comparison::Eq => return Some(a == b),
            (Datum::Int(a), Datum::Int(b)) => a.cmp(&b),
            _ => left.compare(right)?,
        };
        Some(match self {
            Comparison::Eq => order == Ordering::Equal,
            Comparison::Ne => order != Ordering::Equal,
            Comparison::Lt => order == Ordering::Less,
            Comparison::Le => order != Ordering::Greater,
            Comparison::Gt => order == Ordering::Greater,
            Comparison::Ge => order != Ordering::Less,
        })
    }
}

fn truth<'a>(answer: Option<bool>) -> Datum<'a> {
    answer.map_or(Datum::Null, Datum::Bool)
}

fn holds(value: Datum<'_>) -> Option<bool> {
    match value {
        Datum::Bool(b) => Some(b),
        _ => None,
    }
}

/// AND (`decisive` = false) and OR (`decisive` = true) over all operands; stops at the first that decides.
fn connect<'a>(operands: &'a [Node], row: &[Datum<'a>], arena: &'a Bump, decisive: bool) -> Option<bool> {
    let mut answer = Some(!decisive);
    for operand in operands {
        match holds(operand.eval(row, arena)) {
            Some(b) if b == decisive => return Some(decisive),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

fn either(first: Option<bool>, rest: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut answer = first;
    for next in rest {
        if answer == Some(true) {
            break;
        }
        answer = if next == Some(true) { next } else { answer.and(next) };
    }
    answer
}

fn both(first: Option<bool>, second: impl FnOnce() -> Option<bool>) -> Option<bool> {
    match (first, second()) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn case<'a>(operand: bool, nodes: &'a [Node], row: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
    let Some((default, nodes)) = nodes.split_last() else { return Datum::Null };
    let (subject, branches) = match nodes.split_first() {
        Some((subject, branches)) if operand => (Some(subject.eval(row, arena)), branches),
        _ => (None, nodes),
    };
    for branch in branches.chunks_exact(2) {
        let condition = branch[0].eval(row, arena);
        let taken = match subject {
            Some(subject) => Comparison::Eq.of(subject, condition),
            None => holds(condition),
        };
        if taken == Some(true) {
            return branch[1].eval(row, arena);
        }
    }
    default.eval(row, arena)
}

fn call<'a>(function: Function, operands: &'a [Node], row: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
    let at = |i: usize| operands.get(i).map_or(Datum::Null, |n| n.eval(row, arena));
    let mut all = operands.iter().map(|n| n.eval(row, arena));
    match function {
        Function::Coalesce => all.find(|d| !d.is_null()).unwrap_or(Datum::Null),
        Function::NullIf => {
            let value = at(0);
            if Comparison::Eq.of(value, at(1)) == Some(true) { Datum::Null } else { value }
        }
        Function::Greatest => extreme(all, Ordering::Greater),
        Function::Least => extreme(all, Ordering::Less),
        Function::Abs => number::abs(at(0), arena),
        Function::Ceil => number::ceil(at(0)),
        Function::Floor => number::floor(at(0)),
        Function::Round if operands.len() > 1 => number::round(at(0), at(1)),
        Function::Round => number::round(at(0), Datum::Int(0)),
        Function::Div => number::div(at(0), at(1), arena),
        Function::DateTrunc { unit_ms, offset_ms } => number::date_trunc(at(0), unit_ms, offset_ms),
        Function::JsonArray => json::array(all, arena),
        Function::JsonObject => json::object(all, arena),
        Function::ConcatAll => text::concat_all(all, arena),
        Function::Substr if operands.len() > 2 => text::substr(at(0), at(1), Some(at(2))),
        Function::Substr => text::substr(at(0), at(1), None),
        Function::Trim { start, end } if operands.len() > 1 => text::trim(at(0), at(1), start, end),
        Function::Trim { start, end } => text::trim(at(0), Datum::Text(" "), start, end),
        Function::Lower => text::lower(at(0), arena),
        Function::Upper => text::upper(at(0), arena),
        Function::Length => text::length(at(0)),
        Function::Replace => text::replace(at(0), at(1), at(2), arena),
        Function::StartsWith => text::relate(at(0), at(1), |t, p| t.starts_with(p)),
        Function::EndsWith => text::relate(at(0), at(1), |t, p| t.ends_with(p)),
        Function::Contains => text::relate(at(0), at(1), |t, p| t.contains(p)),
    }
}

/// The greatest or least that is not NULL; of values that never compare, the first.
fn extreme<'a>(values: impl Iterator<Item = Datum<'a>>, wanted: Ordering) -> Datum<'a> {
    values.fold(Datum::Null, |best, next| match next.compare(best) {
        Some(order) if order == wanted => next,
        None if best.is_null() => next,
        _ => best,
    })
}
