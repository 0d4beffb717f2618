//! Agreement: expressions that meet must be of one family, and a column learns its type from what it meets.

use sqlparser::ast::Expr as Ast;

use super::{
    PlanError,
    lower::{AGGREGATE, Lower, Typed, WINDOW_START},
    place::{place, shown},
    types::{self, Family, describe},
};
use crate::{
    expr::{Node, parse_timestamp_ms},
    value::{ColumnType, Value},
};

impl Lower<'_> {
    /// Lowers two expressions that are compared with each other.
    pub(super) fn pair(&mut self, left: &Ast, right: &Ast) -> Result<(Typed, Typed), PlanError> {
        let value = self.lower(left)?;
        self.matched(value, left, right)
    }

    /// Lowers `right`, to be compared with `value`: each may say what the other is.
    pub(super) fn matched(
        &mut self,
        mut value: Typed,
        left: &Ast,
        right: &Ast,
    ) -> Result<(Typed, Typed), PlanError> {
        let mut other = self.lower(right)?;
        self.as_time(&mut value, other.ty)?;
        self.as_time(&mut other, value.ty)?;
        match (value.ty.map(Family::of), other.ty.map(Family::of)) {
            (None, Some(family)) => {
                self.want(&value, left, family, "the comparison")?;
                value.ty = other.ty.filter(|_| matches!(value.node, Node::Slot(_)));
            }
            (Some(family), None) => self.want(&other, right, family, "the comparison")?,
            (Some(family), Some(_)) if other.ty.is_none_or(|ty| family.accepts(ty)) => {}
            (Some(_), Some(_)) => return Err(self.never_compare(&value, left, &other, right)),
            (None, None) => {}
        }
        Ok((value, other))
    }

    /// Reads a text constant as a time when it is compared with one.
    fn as_time(&self, typed: &mut Typed, other: Option<ColumnType>) -> Result<(), PlanError> {
        if other == Some(ColumnType::Timestamp)
            && let Node::Const(Value::Text(text)) = &typed.node
        {
            let message = || format!("'{text}' is not a time");
            let hint = || Some("times are written '2026-01-31T12:00:00Z'".to_owned());
            let ms = parse_timestamp_ms(text).ok_or_else(|| self.error(message()).hint(hint()))?;
            *typed = Typed::new(Node::Const(Value::Timestamp(ms)), ColumnType::Timestamp);
        }
        Ok(())
    }

    fn never_compare(&self, left: &Typed, left_ast: &Ast, right: &Typed, right_ast: &Ast) -> PlanError {
        let say =
            |typed: &Typed, ast: &Ast| format!("{} is {}", shown(ast), typed.ty.map_or("any", describe));
        let hint =
            [(left, right), (right, left)].iter().find_map(|(a, b)| match (&a.node, b.ty.map(Family::of)) {
                (Node::Const(Value::Int(i)), Some(Family::Text)) => Some(format!("write '{i}'")),
                (Node::Const(Value::Text(t)), Some(Family::Number)) if t.trim().parse::<f64>().is_ok() => {
                    Some(format!("write {t} without quotes"))
                }
                (Node::Const(Value::Text(_)), Some(Family::Json)) => {
                    Some("`->>` takes text out of JSON".to_owned())
                }
                _ => None,
            });
        let message = format!("{} and {}: they never compare", say(left, left_ast), say(right, right_ast));
        self.error(message).hint(hint)
    }

    /// Checks a type, and learns from it when the expression is a column.
    pub(super) fn want(
        &mut self,
        typed: &Typed,
        ast: &Ast,
        family: Family,
        who: &str,
    ) -> Result<(), PlanError> {
        let at = place(ast).unwrap_or(self.here);
        if let Some(slot) = self.learner(&typed.node) {
            return self.columns.infer(slot, family, at, self.view);
        }
        match (&typed.node, typed.ty) {
            (_, Some(ty)) if !family.accepts(ty) => {
                let message =
                    format!("{who} needs {}, but {} is {}", family.name(), shown(ast), describe(ty));
                Err(PlanError::at(at, message))
            }
            _ => Ok(()),
        }
    }

    /// Returns the column that learns from the use of an expression: itself, or as `min(x)` and `max(x)`.
    fn learner(&self, node: &Node) -> Option<usize> {
        match node {
            Node::Slot(slot) if *slot < WINDOW_START => Some(*slot),
            Node::Slot(slot) => self.aggregates.as_ref()?.extreme_of(slot.checked_sub(AGGREGATE)?),
            _ => None,
        }
    }

    /// Returns the type of values that come out of one place.
    ///
    /// - **Errors:** they are of different families.
    pub(super) fn common(
        &mut self,
        before: Option<ColumnType>,
        typed: &Typed,
        ast: &Ast,
        who: &str,
    ) -> Result<Option<ColumnType>, PlanError> {
        match (before, typed.ty) {
            (Some(a), Some(b)) => match types::wider(a, b) {
                Some(ty) => Ok(Some(ty)),
                None => {
                    let message =
                        format!("{who} are {} and {}: they must be of one type", describe(a), describe(b));
                    Err(PlanError::at(place(ast).unwrap_or(self.here), message))
                }
            },
            (Some(a), None) => self.want(typed, ast, Family::of(a), who).map(|()| Some(a)),
            (None, ty) => Ok(ty),
        }
    }
}
