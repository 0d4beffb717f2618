//! Patterns in SQL: `LIKE`, `ILIKE`, `~`. A pattern is a constant, so that it is compiled once.

use sqlparser::ast::Expr as Ast;

use super::{
    PlanError,
    lower::{Lower, Typed, not},
    types::Family,
};
use crate::{
    expr::{Node, Op, Pattern},
    value::{ColumnType, Value},
};

impl Lower<'_> {
    pub(super) fn like(
        &mut self,
        expr: &Ast,
        pattern: &Ast,
        escape: Option<&Ast>,
        insensitive: bool,
        negated: bool,
    ) -> Result<Typed, PlanError> {
        let text = self.wanted(expr, Family::Text, "LIKE")?;
        let Some(pattern) = self.constant_text(pattern, "a LIKE pattern")? else { return Ok(null()) };
        let escape = match escape {
            None => Some('\\'),
            Some(escape) => {
                let escape = self.constant_text(escape, "ESCAPE")?.unwrap_or_default();
                let mut chars = escape.chars();
                match (chars.next(), chars.next()) {
                    (one, None) => one,
                    _ => return Err(self.error("ESCAPE takes one character".to_owned())),
                }
            }
        };
        let pattern = Pattern::like(&pattern, escape, insensitive).map_err(|message| self.error(message))?;
        Ok(not(Typed::condition(Op::Match(Box::new(pattern)), vec![text]), negated))
    }

    pub(super) fn regex(
        &mut self,
        expr: &Ast,
        pattern: &Ast,
        insensitive: bool,
        negated: bool,
    ) -> Result<Typed, PlanError> {
        let text = self.wanted(expr, Family::Text, "a regular expression")?;
        let Some(source) = self.constant_text(pattern, "a regular expression")? else { return Ok(null()) };
        let pattern = Pattern::regex(&source, insensitive).map_err(|message| self.error(message))?;
        Ok(not(Typed::condition(Op::Match(Box::new(pattern)), vec![text]), negated))
    }

    /// Lowers what must be a text constant; `None` = NULL.
    pub(super) fn constant_text(&mut self, expr: &Ast, who: &str) -> Result<Option<String>, PlanError> {
        match self.lower(expr)?.node {
            Node::Const(Value::Text(text)) => Ok(Some(text.into())),
            Node::Const(Value::Null) => Ok(None),
            _ => Err(self.error(format!("{who} must be a text constant"))),
        }
    }
}

fn null() -> Typed {
    Typed::new(Node::Const(Value::Null), ColumnType::Boolean)
}
