//! Places: where an expression starts, and how it is shown in a message.

use sqlparser::{ast::Expr as Ast, tokenizer::Location};

/// Shows an expression in a message, cut when it is long. Only for what was lowered: printing recurses.
pub(super) fn shown(ast: &Ast) -> String {
    const SHOWN_MAX: usize = 40;
    let text = ast.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

/// Finds where an expression starts, without recursion.
pub(super) fn place(mut expr: &Ast) -> Option<Location> {
    loop {
        let location = match expr {
            Ast::Identifier(ident) => ident.span.start,
            Ast::CompoundIdentifier(idents) => idents.first()?.span.start,
            Ast::Value(value) => value.span.start,
            Ast::TypedString(typed) => typed.value.span.start,
            Ast::Function(function) => function.name.0.first()?.as_ident()?.span.start,
            Ast::Case { case_token, .. } => case_token.0.span.start,
            Ast::Nested(inner)
            | Ast::IsNull(inner)
            | Ast::IsNotNull(inner)
            | Ast::IsTrue(inner)
            | Ast::IsNotTrue(inner)
            | Ast::IsFalse(inner)
            | Ast::IsNotFalse(inner)
            | Ast::IsUnknown(inner)
            | Ast::IsNotUnknown(inner)
            | Ast::IsDistinctFrom(inner, _)
            | Ast::IsNotDistinctFrom(inner, _)
            | Ast::UnaryOp { expr: inner, .. }
            | Ast::BinaryOp { left: inner, .. }
            | Ast::InList { expr: inner, .. }
            | Ast::Between { expr: inner, .. }
            | Ast::Like { expr: inner, .. }
            | Ast::ILike { expr: inner, .. }
            | Ast::Cast { expr: inner, .. }
            | Ast::Substring { expr: inner, .. }
            | Ast::Trim { expr: inner, .. }
            | Ast::Floor { expr: inner, .. }
            | Ast::Ceil { expr: inner, .. } => {
                expr = inner;
                continue;
            }
            Ast::Interval(interval) => {
                expr = &interval.value;
                continue;
            }
            _ => return None,
        };
        return (location.line > 0).then_some(location);
    }
}
