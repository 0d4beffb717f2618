//! Literals: numbers, texts, times.

use sqlparser::ast::{DataType, TypedString, Value as Literal};

use super::lower::Typed;
use crate::{
    expr::{Node, parse_timestamp_ms},
    value::{ColumnType, Value},
};

/// Reads a literal.
///
/// - **Errors:** a sentence.
pub(super) fn value(literal: &Literal) -> Result<Typed, String> {
    Ok(match literal {
        Literal::Null => Typed::new(Node::Const(Value::Null), None),
        Literal::Boolean(b) => Typed::new(Node::Const(Value::Bool(*b)), ColumnType::Boolean),
        Literal::SingleQuotedString(text) => {
            Typed::new(Node::Const(Value::Text(text.as_str().into())), ColumnType::Text)
        }
        Literal::Number(text, _) => number(text)?,
        Literal::Placeholder(text) => return Err(format!("{text} is a placeholder: write the value itself")),
        other => return Err(format!("{other} is not a literal of this language: text is written 'so'")),
    })
}

fn number(text: &str) -> Result<Typed, String> {
    let digits = text.replace('_', "");
    if let Ok(wide) = digits.parse::<i128>() {
        let value = i64::try_from(wide).map_or_else(|_| Value::Wide(Box::new(wide)), Value::Int);
        return Ok(Typed::new(Node::Const(value), ColumnType::Bigint));
    }
    match digits.parse::<f64>() {
        Ok(f) if f.is_finite() => Ok(Typed::new(Node::Const(Value::Float(f)), ColumnType::Double)),
        _ => Err(format!("{text} is not a number that a double can hold")),
    }
}

/// Reads `timestamp '2026-01-31T12:00:00Z'`.
///
/// - **Errors:** a sentence.
pub(super) fn typed(typed: &TypedString) -> Result<Typed, String> {
    let (DataType::Timestamp(..), Literal::SingleQuotedString(text)) = (&typed.data_type, &typed.value.value)
    else {
        return Err(format!("{typed} is not a literal of this language: the only such is timestamp '…'"));
    };
    let ms = parse_timestamp_ms(text)
        .ok_or_else(|| format!("'{text}' is not a time; times are written '2026-01-31T12:00:00Z'"))?;
    Ok(Typed::new(Node::Const(Value::Timestamp(ms)), ColumnType::Timestamp))
}
