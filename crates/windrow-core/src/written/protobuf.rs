//! Protobuf: a message whose fields may all be absent, numbered in the order of the columns.
//!
//! **Invariant:** the text is written in one order; a NULL is an absent field.
//!
//! Source: Protocol Buffers, "Language Guide (proto 3)", "Encoding"; Confluent Schema Registry, "Wire format" (message indexes).

use std::fmt::Write;

use super::{Field, Kind, plain};
use crate::value::Datum;

/// The list of indexes that leads to a file's first message, in its short form.
pub(super) const FIRST_MESSAGE: u8 = 0;

/// A `Timestamp` is of the years 1 to 9999.
const TIMES_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

/// Writes the file.
pub(super) fn text(name: &str, fields: &[Field]) -> String {
    let mut out = "syntax = \"proto3\";\n\n".to_owned();
    if fields.iter().any(|field| field.kind == Kind::Timestamp) {
        out.push_str("import \"google/protobuf/timestamp.proto\";\n\n");
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "message {name} {{");
    for Field { name, kind, number } in fields {
        let _ = match kind {
            Kind::Number => {
                let double = number + 1;
                writeln!(
                    out,
                    "  oneof {name}_number {{\n    int64 {name} = {number};\n    double {name}_double = {double};\n  }}"
                )
            }
            Kind::Timestamp => writeln!(out, "  google.protobuf.Timestamp {name} = {number};"),
            kind => writeln!(out, "  optional {} {name} = {number};", scalar(*kind)),
        };
    }
    out.push_str("}\n");
    out
}

fn scalar(kind: Kind) -> &'static str {
    match kind {
        Kind::Long => "int64",
        Kind::Double => "double",
        Kind::Boolean => "bool",
        Kind::Bytes => "bytes",
        Kind::Text | Kind::Decimal | Kind::Any | Kind::Number | Kind::Timestamp => "string",
    }
}

/// Appends a field, unless it is absent.
pub(super) fn write(field: &Field, value: Datum<'_>, out: &mut Vec<u8>) {
    let number = field.number;
    match (field.kind, value) {
        (Kind::Long | Kind::Number, Datum::Int(value)) => {
            tag(number, VARINT, out);
            varint(value.cast_unsigned(), out);
        }
        (Kind::Number, Datum::Float(value)) => double(number + 1, value, out),
        (Kind::Number, Datum::Wide(value)) => double(number + 1, *value as f64, out),
        (Kind::Double, Datum::Float(value)) => double(number, value, out),
        (Kind::Double, Datum::Int(value)) => double(number, value as f64, out),
        (Kind::Double, Datum::Wide(value)) => double(number, *value as f64, out),
        (Kind::Boolean, Datum::Bool(value)) => {
            tag(number, VARINT, out);
            out.push(value.into());
        }
        (Kind::Timestamp, Datum::Timestamp(ms) | Datum::Int(ms)) if TIMES_MS.contains(&ms) => {
            timestamp(number, ms, out);
        }
        (Kind::Bytes, Datum::Bytes(raw)) => bytes(number, raw, out),
        (Kind::Text | Kind::Decimal | Kind::Any, value) if !value.is_null() => {
            bytes(number, plain(value, &mut Vec::new()), out);
        }
        // NULL, and what no `Timestamp` is; the planner knows types: no value is of another.
        _ => {}
    }
}

fn tag(number: u32, wire: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double(number: u32, value: f64, out: &mut Vec<u8>) {
    tag(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(number: u32, raw: &[u8], out: &mut Vec<u8>) {
    tag(number, LENGTH, out);
    varint(raw.len() as u64, out);
    out.extend_from_slice(raw);
}

/// Seconds, and nanoseconds that count forward from them.
fn timestamp(number: u32, ms: i64, out: &mut Vec<u8>) {
    let (seconds, nanos) = (ms.div_euclid(1_000), ms.rem_euclid(1_000) * 1_000_000);
    let mut message = Vec::with_capacity(16);
    for (number, value) in [(1, seconds), (2, nanos)] {
        if value != 0 {
            tag(number, VARINT, &mut message);
            varint(value.cast_unsigned(), &mut message);
        }
    }
    bytes(number, &message, out);
}
