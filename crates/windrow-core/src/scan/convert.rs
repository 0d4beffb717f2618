//! Convert: a token and the type it should have become a datum, or "of another type".
//!
//! **In** a token, a declared or inferred type. **Out** a datum of that type; NULL for a missing value.
//! **Invariant:** nothing is guessed: text never becomes a number, a number never becomes text.
//! **Not here:** event time, which has a unit (`decode`).

use bumpalo::Bump;

use super::token::{Token, text};
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

/// The most common answers of [`convert`], small enough for the caller's loop; `None`: ask that one.
#[inline(always)]
pub(crate) fn convert_common<'a>(token: &Token<'a>, ty: Option<ColumnType>) -> Option<Datum<'a>> {
    match (ty?, token) {
        (ColumnType::Text, Token::Text { raw, escaped: false }) => Some(Datum::Text(&raw[1..raw.len() - 1])),
        (ColumnType::Text, Token::Of(Datum::Text(text))) => Some(Datum::Text(text)),
        (ColumnType::Bigint, Token::Number(digits)) => short_integer(digits).map(Datum::Int),
        (ColumnType::Bigint, Token::Of(Datum::Int(int))) => Some(Datum::Int(*int)),
        (ColumnType::Double, Token::Of(Datum::Float(float))) => Some(Datum::Float(*float)),
        _ => None,
    }
}

/// Reads an integer of at most 18 digits, which 64 bits always hold.
fn short_integer(number: &str) -> Option<i64> {
    const DIGITS_MAX: usize = 18;
    let (digits, sign) = match number.as_bytes() {
        [b'-', digits @ ..] => (digits, -1),
        digits => (digits, 1),
    };
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let (mut value, mut rest) = (0, digits);
    while let Some((eight, behind)) = rest.split_first_chunk() {
        value = value * 100_000_000 + eight_digits(*eight)?;
        rest = behind;
    }
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(sign * value)
}

/// Reads eight digits at once: neighbours become pairs, pairs fours, fours the whole.
#[inline(always)]
fn eight_digits(bytes: [u8; 8]) -> Option<i64> {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(bytes);
    // Above '9' adding six carries into the upper half of its byte.
    if (word & (ONES * 0xF0)) | ((word.wrapping_add(ONES * 6) & (ONES * 0xF0)) >> 4) != ONES * 0x33 {
        return None;
    }
    let digits = word & (ONES * 0x0F);
    let pairs = (digits.wrapping_mul(10 + (1 << 8)) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100 + (1 << 16)) >> 16) & 0x0000_FFFF_0000_FFFF;
    Some((fours.wrapping_mul(10_000 + (1 << 32)) >> 32).cast_signed())
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
