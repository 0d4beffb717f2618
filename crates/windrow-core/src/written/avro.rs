//! Avro: every field is a union that begins with null, which is its default.
//!
//! **Invariant:** the text is written in one order, so a schema that did not change reads the same from version to version.
//!
//! Source: Apache Avro 1.12, "Names", "Unions", "Binary encoding".

use super::{Field, Kind, plain};
use crate::{
    avro::{bytes, long},
    value::Datum,
};

/// Writes the schema; names need no escaping.
pub(super) fn text(name: &str, fields: &[Field]) -> String {
    let field = |field: &Field| {
        let branches = branches(field.kind);
        format!(r#"{{"name":"{}","type":["null",{branches}],"default":null}}"#, field.name)
    };
    let fields = fields.iter().map(field).collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#)
}

/// Returns the branches after null.
fn branches(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Decimal | Kind::Any => r#""string""#,
        Kind::Long => r#""long""#,
        Kind::Double => r#""double""#,
        Kind::Number => r#""long","double""#,
        Kind::Boolean => r#""boolean""#,
        Kind::Timestamp => r#"{"type":"long","logicalType":"timestamp-millis"}"#,
        Kind::Bytes => r#""bytes""#,
    }
}

/// Appends the number of a branch and the value.
pub(super) fn write(field: &Field, value: Datum<'_>, out: &mut Vec<u8>) {
    match (field.kind, value) {
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
        (Kind::Bytes, Datum::Bytes(raw)) => {
            long(1, out);
            bytes(raw, out);
        }
        (Kind::Text | Kind::Decimal | Kind::Any, value) => {
            long(1, out);
            bytes(plain(value, &mut Vec::new()), out);
        }
        // The planner knows types: no value is of another.
        _ => long(0, out),
    }
}

fn double(branch: i64, number: f64, out: &mut Vec<u8>) {
    long(branch, out);
    out.extend_from_slice(&number.to_le_bytes());
}
