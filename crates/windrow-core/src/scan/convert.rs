//! Convert: a token and the type it should have become a datum, or "of another type".
//!
//! **In** a token, a declared or inferred type. **Out** a datum of that type; NULL for a missing value.
//! **Invariant:** nothing is guessed: text never becomes a number, a number never becomes text.
//! **Not here:** event time, which has a unit (`decode`).

use bumpalo::Bump;

use super::{
    digits::integer as integer_of,
    token::{Token, text},
};
use crate::value::{ColumnType, Datum};

/// Reads a token as the given type; `None` when it is of another one.
///
/// | type | takes |
/// |---|---|
/// | none | anything |
/// | `text` | a string |
/// | `bigint` | a number without a fraction, `3.0` too; what 64 bits cannot hold stays exact up to 128 |
/// | `double` | a number, as the nearest double |
/// | `number` | a number, integer or double as it was written |
/// | `boolean` | `true`, `false` |
/// | `decimal` | as `number` |
/// | `timestamp` | an integer (ms since the epoch) or RFC 3339 text |
/// | `json` | anything, as it stands |
/// | `bytes` | a string, as its UTF-8 bytes |
#[inline]
pub(crate) fn convert<'a>(token: Token<'a>, ty: Option<ColumnType>, arena: &'a Bump) -> Option<Datum<'a>> {
    use ColumnType::*;
    if let Token::Missing | Token::Null = token {
        return Some(Datum::Null);
    }
    match (ty, token) {
        (_, Token::Wrong) => None,
        (None, token) => Some(token.datum(arena)),
        (Some(Json), token) => token.raw(arena).map(Datum::Json),
        (Some(Text), Token::Text { .. }) | (Some(Boolean), Token::Bool(_)) => Some(token.datum(arena)),
        (Some(Number | Decimal), Token::Number(_)) => Some(token.datum(arena)),
        (Some(Bigint), Token::Number(_)) => integer(token.datum(arena)),
        (Some(Double), Token::Number(digits)) => digits.parse().ok().map(Datum::float),
        (Some(Timestamp), Token::Number(_)) => match integer(token.datum(arena))? {
            Datum::Int(ms) => Some(Datum::Timestamp(ms)),
            _ => None,
        },
        (Some(Timestamp), Token::Text { raw, escaped }) => {
            rfc3339_ms(text(raw, escaped, arena)).map(Datum::Timestamp)
        }
        (Some(Bytes), Token::Text { raw, escaped }) => {
            Some(Datum::Bytes(text(raw, escaped, arena).as_bytes()))
        }
        (Some(ty), Token::Of(datum)) => read(datum, ty),
        _ => None,
    }
}

/// The most common answers of [`convert`], small enough for a caller's loop; `None`: ask that one.
#[inline(always)]
pub(crate) fn convert_common<'a>(token: &Token<'a>, ty: Option<ColumnType>) -> Option<Datum<'a>> {
    use ColumnType::{Bigint, Decimal, Double, Number, Text};
    match (ty, token) {
        (None | Some(Text), Token::Text { raw, escaped: false }) => Some(Datum::Text(&raw[1..raw.len() - 1])),
        (None | Some(Bigint | Number | Decimal), Token::Number(digits)) => integer_of(digits).map(Datum::Int),
        (Some(Text), Token::Of(Datum::Text(text))) => Some(Datum::Text(text)),
        (Some(Bigint), Token::Of(Datum::Int(int))) => Some(Datum::Int(*int)),
        (Some(Double), Token::Of(Datum::Float(float))) => Some(Datum::Float(*float)),
        _ => None,
    }
}

/// The same rules for a value that is no token of JSON.
fn read(datum: Datum<'_>, ty: ColumnType) -> Option<Datum<'_>> {
    use ColumnType::*;
    match (ty, datum) {
        (_, Datum::Null)
        | (Text, Datum::Text(_))
        | (Boolean, Datum::Bool(_))
        | (Number | Decimal, Datum::Int(_) | Datum::Wide(_) | Datum::Float(_))
        | (Double, Datum::Float(_))
        | (Timestamp, Datum::Timestamp(_))
        | (Bytes, Datum::Bytes(_)) => Some(datum),
        (Bigint, Datum::Int(_) | Datum::Wide(_) | Datum::Float(_)) => integer(datum),
        (Double, Datum::Int(int)) => Some(Datum::Float(int as f64)),
        (Timestamp, Datum::Int(ms)) => Some(Datum::Timestamp(ms)),
        (Timestamp, Datum::Text(text)) => rfc3339_ms(text).map(Datum::Timestamp),
        (Bytes, Datum::Text(text)) => Some(Datum::Bytes(text.as_bytes())),
        _ => None,
    }
}

/// Reads an RFC 3339 time, with a zone, to the millisecond at or before it.
pub(crate) fn rfc3339_ms(text: &str) -> Option<i64> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).ok()
}

fn integer(number: Datum<'_>) -> Option<Datum<'_>> {
    /// Below 2^63 an integral double is exactly the integer it looks like.
    const WHOLE_MAX: f64 = 9_223_372_036_854_775_808.0;
    match number {
        Datum::Float(f) if f.fract() == 0.0 && f.abs() < WHOLE_MAX => Some(Datum::Int(f as i64)),
        Datum::Float(_) => None,
        exact => Some(exact),
    }
}
