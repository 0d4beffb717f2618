//! Written: a view's rows as others read them: a schema, and values of it.
//!
//! **In** a view's columns. **Out** the schema of its rows; rows as values of it, behind the frame of an id where a registry gave one.
//! **Before** this file: `engine` (the row). **After** it: `out`.
//! **Invariant:** every column may be absent, so each row fits, and the schema of a view that gained a column at its end reads older
//! rows. What is written here our own readers read as the same row.
//! **Not here:** reading (`avro`, `protobuf`), telling a registry (the product).
//!
//! | column | `avro`, after `null` | `protobuf` | `json`, or `null` |
//! |---|---|---|---|
//! | `text` | `string` | `string` | `string` |
//! | `decimal` | `string` of its digits | `string` | `number` |
//! | `json` | `string` of its text | `string` | anything |
//! | `bigint` | `long` | `int64` | `integer` |
//! | `double` | `double` | `double` | `number` |
//! | `number`, `sum(bigint)` | `long`, `double` | one of `int64`, `double` | `number` |
//! | `boolean` | `boolean` | `bool` | `boolean` |
//! | `timestamp` | `long`, `timestamp-millis` | `google.protobuf.Timestamp` | `integer` of milliseconds |
//! | `bytes` | `bytes` | `bytes` | `string`, base64 |
//! | of several types | – | – | anything |
//!
//! Source: Confluent Schema Registry, "Wire format"; what each file names.

use std::sync::Arc;

use crate::{
    plan::{AggregateCall, AggregateKind, OutputColumn, Shape, ViewPlan},
    registry::{Frame, SchemaKind},
    value::{ColumnType, Datum},
};

mod avro;
mod json;
mod protobuf;

pub(crate) use json::Members;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Long,
    Double,
    Number,
    Boolean,
    Timestamp,
    Bytes,
    Decimal,
    /// JSON of any type.
    Any,
}

/// Why a column has no place in a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// Names in schemas are letters, digits and `_`, and begin with no digit.
    #[error("`{0}` is no name of a field in a schema: letters, digits and `_`, no digit first")]
    Name(Arc<str>),
    /// It may be of several types.
    #[error("`{0}` may be of several types, and a field has its type in the schema")]
    Type(Arc<str>),
    /// Another column has the name that a second field needs.
    #[error(
        "`{0}` may be an integer or a double, and needs the names `{0}_number` and `{0}_double` for itself"
    )]
    Taken(Arc<str>),
}

/// The schema of a view's rows, ready to write with.
#[derive(Debug, Clone)]
pub struct RowSchema {
    kind: SchemaKind,
    text: Arc<str>,
    fields: Vec<Field>,
    /// The same in JSON.
    members: Members,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: Arc<str>,
    kind: Kind,
    /// Its number in Protobuf; a double beside an integer has the next one.
    number: u32,
}

impl RowSchema {
    /// Makes the schema of a view's rows in the user's shape; `None` where that has none.
    ///
    /// - **Errors:** the column, by its place, that has no place in it, and why.
    pub fn of(view: &ViewPlan) -> Result<Option<Self>, (usize, Unwritable)> {
        let Some(kind) = view.spec.topic.as_ref().and_then(|topic| topic.format.schema()) else {
            return Ok(None);
        };
        let (mut fields, mut number) = (Vec::new(), 1);
        for (place, column) in view.outputs.iter().enumerate() {
            let wrong = |why: fn(Arc<str>) -> Unwritable| (place, why(column.name.clone()));
            // JSON names as it pleases.
            if kind != SchemaKind::Json && !is_name(&column.name) {
                return Err(wrong(Unwritable::Name));
            }
            let any = (kind == SchemaKind::Json).then_some(Kind::Any);
            let field = field(view, column).or(any).ok_or_else(|| wrong(Unwritable::Type))?;
            if kind == SchemaKind::Protobuf && field == Kind::Number && is_taken(view, &column.name) {
                return Err(wrong(Unwritable::Taken));
            }
            fields.push(Field { name: column.name.clone(), kind: field, number });
            number += if field == Kind::Number { 2 } else { 1 };
        }
        Ok(Some(Self::new(kind, &record_name(&view.spec.name), fields)))
    }

    fn new(kind: SchemaKind, name: &str, fields: Vec<Field>) -> Self {
        let text = match kind {
            SchemaKind::Avro => avro::text(name, &fields),
            SchemaKind::Json => json::text(name, &fields),
            SchemaKind::Protobuf => protobuf::text(name, &fields),
        };
        let members = Members::new(fields.iter().map(|field| &*field.name));
        Self { kind, text: text.into(), fields, members }
    }

    /// Returns its language.
    pub fn kind(&self) -> SchemaKind {
        self.kind
    }

    /// Returns its text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Appends one row: its columns' values, in order, behind the frame of an id.
    pub fn write<'a>(&self, id: Option<u32>, row: impl Iterator<Item = Datum<'a>>, out: &mut Vec<u8>) {
        if let Some(id) = id {
            Frame::write(id, out);
            if self.kind == SchemaKind::Protobuf {
                out.push(protobuf::FIRST_MESSAGE);
            }
        }
        let write = match self.kind {
            SchemaKind::Avro => avro::write,
            SchemaKind::Json => return self.members.write(row, out),
            SchemaKind::Protobuf => protobuf::write,
        };
        for (field, value) in self.fields.iter().zip(row) {
            write(field, value, out);
        }
    }
}

fn field(view: &ViewPlan, column: &OutputColumn) -> Option<Kind> {
    Some(match column.ty? {
        ColumnType::Bigint if may_be_wide(view, column) => Kind::Number,
        ColumnType::Bigint => Kind::Long,
        ColumnType::Number => Kind::Number,
        ColumnType::Double => Kind::Double,
        ColumnType::Boolean => Kind::Boolean,
        ColumnType::Timestamp => Kind::Timestamp,
        ColumnType::Bytes => Kind::Bytes,
        ColumnType::Text => Kind::Text,
        ColumnType::Decimal => Kind::Decimal,
        ColumnType::Json => Kind::Any,
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

fn is_taken(view: &ViewPlan, name: &str) -> bool {
    ["number", "double"]
        .iter()
        .any(|end| view.outputs.iter().any(|other| *other.name == *format!("{name}_{end}")))
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

/// Writes a value of any type as text.
fn plain<'d>(value: Datum<'d>, json: &'d mut Vec<u8>) -> &'d [u8] {
    match value {
        Datum::Text(text) | Datum::Json(text) => text.as_bytes(),
        other => {
            other.write_json(json);
            json
        }
    }
}

#[cfg(test)]
mod tests;
