//! Expressions.

/// placeholder
#[derive(Debug, Clone)]
pub struct Expr;
