//! Casts: a value as another type, or NULL when it has no such form.

use bumpalo::Bump;
use serde::de::IgnoredAny;

use super::{json, number, text};
use crate::value::{ColumnType, Datum};

pub(super) fn cast<'a>(value: Datum<'a>, ty: ColumnType, arena: &'a Bump) -> Datum<'a> {
    if value.is_null() {
        return value;
    }
    match ty {
        ColumnType::Text => text::to_text(value, arena).map_or(Datum::Null, Datum::Text),
        ColumnType::Json => to_json(value, arena),
        ColumnType::Boolean => to_boolean(value, arena),
        ColumnType::Bigint => to_bigint(value, arena),
        ColumnType::Number | ColumnType::Decimal => to_number(value, arena),
        ColumnType::Double => number::double(to_number(value, arena)).map_or(Datum::Null, Datum::float),
        ColumnType::Timestamp => to_timestamp(value, arena),
        ColumnType::Bytes => match value {
            Datum::Text(text) | Datum::Json(text) => Datum::Bytes(text.as_bytes()),
            Datum::Bytes(_) => value,
            _ => Datum::Null,
        },
    }
}

/// Reads numbers out of text and JSON; a number stays what it is.
fn to_number<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Int(_) | Datum::Wide(_) | Datum::Float(_) => value,
        Datum::Timestamp(ms) => Datum::Int(ms),
        Datum::Bool(b) => Datum::Int(i64::from(b)),
        Datum::Text(text) => {
            let text = text.trim();
            // Rust also reads "inf" and "nan" as numbers.
            let numeric =
                text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
            if numeric { json::number(text, arena) } else { Datum::Null }
        }
        Datum::Json(text) => match json::scalar(text, arena) {
            Datum::Json(_) => Datum::Null,
            scalar => to_number(scalar, arena),
        },
        Datum::Null | Datum::Bytes(_) => Datum::Null,
    }
}

fn to_bigint<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match to_number(value, arena) {
        Datum::Int(i) => Datum::Int(i),
        Datum::Float(f) => {
            let whole = f.round();
            // 2^63 itself is a double, and the first that is too large.
            let bound = 2_f64.powi(63);
            if whole >= -bound && whole < bound { Datum::Int(whole as i64) } else { Datum::Null }
        }
        _ => Datum::Null,
    }
}

fn to_boolean<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Bool(_) => value,
        Datum::Int(i) => Datum::Bool(i != 0),
        Datum::Text(t) if t.eq_ignore_ascii_case("true") => Datum::Bool(true),
        Datum::Text(t) if t.eq_ignore_ascii_case("false") => Datum::Bool(false),
        Datum::Json(text) => match json::scalar(text, arena) {
            Datum::Json(_) => Datum::Null,
            scalar => to_boolean(scalar, arena),
        },
        _ => Datum::Null,
    }
}

fn to_timestamp<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Text(text) => text::parse_timestamp_ms(text).map_or(Datum::Null, Datum::Timestamp),
        Datum::Float(f) => match to_bigint(Datum::Float(f.floor()), arena) {
            Datum::Int(ms) => Datum::Timestamp(ms),
            _ => Datum::Null,
        },
        Datum::Int(ms) | Datum::Timestamp(ms) => Datum::Timestamp(ms),
        Datum::Json(text) => match json::scalar(text, arena) {
            Datum::Json(_) => Datum::Null,
            scalar => to_timestamp(scalar, arena),
        },
        _ => Datum::Null,
    }
}

fn to_json<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Json(_) => value,
        Datum::Text(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            Datum::Json(text.trim_ascii())
        }
        Datum::Text(_) | Datum::Bytes(_) | Datum::Null => Datum::Null,
        other => {
            let mut out = Vec::new();
            other.write_json(&mut out);
            std::str::from_utf8(&out).map_or(Datum::Null, |text| Datum::Json(arena.alloc_str(text)))
        }
    }
}
