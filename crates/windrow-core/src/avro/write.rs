//! Write: a view's rows as Avro.
//!
//! **In** a view's columns. **Out** the schema of its rows; rows as values of it.
//! **Invariant:** every field is a union that begins with null, so each row fits, and the schemas of a view that gains a column read each
//! other's rows. What is written here our own reader reads as the same row.
//! **Not here:** the frame and its id (`registry`), telling a registry (the product).
//!
//! | column | branches after `null` |
//! |---|---|
//! | `text`, `decimal` (its digits), `json` (its text) | `string` |
//! | `bigint` | `long` |
//! | `double` | `double` |
//! | `number`, `sum(bigint)` | `long`, `double`: what 64 bits do not hold is a double |
//! | `boolean` | `boolean` |
//! | `timestamp` | `long`, `timestamp-millis` |
//! | `bytes` | `bytes` |
//!
//! Source: Apache Avro 1.12, "Names", "Unions", "Binary encoding".

use std::sync::Arc;

use crate::{
    plan::{AggregateCall, AggregateKind, OutputColumn, Shape, ViewPlan},
    value::{ColumnType, Datum},
};

/// The branches of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Long,
    Double,
    Number,
    Boolean,
    Timestamp,
    Bytes,
}

/// Why a column has no place in a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// Avro's names are letters, digits and `_`, and begin with no digit.
    #[error("`{0}` is no name of a field in Avro: letters, digits and `_`, no digit first")]
    Name(Arc<str>),
    /// It may be of several types.
    #[error("`{0}` may be of several types, and a field in Avro has its type in the schema")]
    Type(Arc<str>),
}

/// The schema of a view's rows, ready to write with.
#[derive(Debug, Clone)]
pub struct RowSchema {
    text: Arc<str>,
    kinds: Vec<Kind>,
}

impl RowSchema {
    /// Makes the schema of a view's rows in the user's shape.
    ///
    /// - **Errors:** the column, by its place, that has none, and why.
    pub fn of(view: &ViewPlan) -> Result<Self, (usize, Unwritable)> {
        let (mut kinds, mut fields) = (Vec::new(), String::new());
        for (place, column) in view.outputs.iter().enumerate() {
            if !is_name(&column.name) {
                return Err((place, Unwritable::Name(column.name.clone())));
            }
            let kind = kind(view, column).ok_or_else(|| (place, Unwritable::Type(column.name.clone())))?;
            fields.push_str(if place == 0 { "" } else { "," });
            fields.push_str(&field(&column.name, kind));
            kinds.push(kind);
        }
        Ok(Self { text: record(&record_name(&view.spec.name), &fields).into(), kinds })
    }

    /// Returns the schema's JSON.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Appends one row: its columns' values, in order.
    pub(crate) fn write<'a>(&self, row: impl Iterator<Item = Datum<'a>>, out: &mut Vec<u8>) {
        for (kind, value) in self.kinds.iter().zip(row) {
            kind.write(value, out);
        }
    }
}

impl Kind {
    /// Returns the branches after null, as a schema has them.
    fn branches(self) -> &'static str {
        match self {
            Kind::Text => r#""string""#,
            Kind::Long => r#""long""#,
            Kind::Double => r#""double""#,
            Kind::Number => r#""long","double""#,
            Kind::Boolean => r#""boolean""#,
            Kind::Timestamp => r#"{"type":"long","logicalType":"timestamp-millis"}"#,
            Kind::Bytes => r#""bytes""#,
        }
    }

    /// Appends the number of a branch and the value. What is of another type than the planner said is what it says in JSON.
    fn write(self, value: Datum<'_>, out: &mut Vec<u8>) {
        match (self, value) {
            (_, Datum::Null) => long(0, out),
            (Kind::Long | Kind::Number, Datum::Int(number))
            | (Kind::Timestamp, Datum::Timestamp(number) | Datum::Int(number)) => {
                long(1, out);
                long(number, out);
            }
            (Kind::Number, Datum::Float(number)) => double(2, number, out),
            (Kind::Number, Datum::Wide(number)) => double(2, *number as f64, out),
            (Kind::Double, Datum::Float(number)) => double(1, number, out),
            (Kind::Double, Datum::Int(number)) => double(1, number as f64, out),
            (Kind::Double, Datum::Wide(number)) => double(1, *number as f64, out),
            (Kind::Boolean, Datum::Bool(value)) => {
                long(1, out);
                out.push(value.into());
            }
            (Kind::Text, Datum::Text(text) | Datum::Json(text)) => bytes(text.as_bytes(), out),
            (Kind::Bytes, Datum::Bytes(raw)) => bytes(raw, out),
            (Kind::Text, other) => {
                let mut text = Vec::new();
                other.write_json(&mut text);
                bytes(&text, out);
            }
            (_, _) => long(0, out),
        }
    }
}

/// Writes a record; names of Avro need no escaping.
fn record(name: &str, fields: &str) -> String {
    format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#)
}

fn field(name: &str, kind: Kind) -> String {
    format!(r#"{{"name":"{name}","type":["null",{}],"default":null}}"#, kind.branches())
}

fn kind(view: &ViewPlan, column: &OutputColumn) -> Option<Kind> {
    Some(match column.ty? {
        ColumnType::Bigint if may_be_wide(view, column) => Kind::Number,
        ColumnType::Bigint => Kind::Long,
        ColumnType::Number => Kind::Number,
        ColumnType::Double => Kind::Double,
        ColumnType::Boolean => Kind::Boolean,
        ColumnType::Timestamp => Kind::Timestamp,
        ColumnType::Bytes => Kind::Bytes,
        ColumnType::Text | ColumnType::Decimal | ColumnType::Json => Kind::Text,
    })
}

/// Tells whether a column may hold a sum, which may be past 64 bits.
fn may_be_wide(view: &ViewPlan, column: &OutputColumn) -> bool {
    let is_sum = |call: &AggregateCall| call.kind == AggregateKind::Sum;
    match column.expr.as_slot() {
        _ if view.shape == Shape::Stateless => false,
        Some(slot) if slot < view.keys.len() => false,
        Some(slot) if slot < view.keys.len() + view.aggregates.len() => {
            is_sum(&view.aggregates[slot - view.keys.len()])
        }
        _ => view.aggregates.iter().chain(&view.over).any(is_sum),
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// A view's name may hold more than a record's.
fn record_name(view: &str) -> String {
    let name: String = view.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if is_name(&name) { name } else { format!("_{name}") }
}

fn double(branch: i64, number: f64, out: &mut Vec<u8>) {
    long(branch, out);
    out.extend_from_slice(&number.to_le_bytes());
}

fn bytes(raw: &[u8], out: &mut Vec<u8>) {
    long(1, out);
    super::resolve::encode::bytes(raw, out);
}

fn long(value: i64, out: &mut Vec<u8>) {
    super::resolve::encode::long(value, out);
}

#[cfg(test)]
mod tests;
