//! Event time: a column and its unit become milliseconds, exactly.
//!
//! **In** a token of the scanner, a unit. **Out** milliseconds since the epoch, at or before the told instant.
//! **Invariant:** no float on the way: `1700000000.123` seconds are 1,700,000,000,123 ms. Fractions of a millisecond
//! round down, before 1970 too, so that windows stay half-open.
//! **Not here:** the wall clock's bound (`decode`).

use super::{BadReason, TS_MS_MAX, TS_MS_MIN};
use crate::{
    scan::{Token, integer, rfc3339_ms, text},
    spec::TimeUnit,
    value::Datum,
};
use bumpalo::Bump;

/// Reads an event time.
///
/// - **Errors:** [`BadReason::MissingTime`] for no value or null, [`BadReason::BadTime`] for another type or a time out
///   of `TS_MS_MIN..=TS_MS_MAX`.
pub(super) fn event_time_ms(token: Token<'_>, unit: TimeUnit, arena: &Bump) -> Result<i64, BadReason> {
    let ms = match (unit, token) {
        (_, Token::Missing | Token::Null) => return Err(BadReason::MissingTime),
        (TimeUnit::Rfc3339, Token::Text { raw, escaped }) => rfc3339_ms(text(raw, escaped, arena)),
        // A logical type knows its unit, the schema's one.
        (_, Token::Of(Datum::Timestamp(ms))) => Some(ms),
        (TimeUnit::Rfc3339, Token::Of(Datum::Text(text))) => rfc3339_ms(text),
        (TimeUnit::Rfc3339, _) => None,
        (unit, Token::Number(digits)) => scaled(digits, power(unit)),
        (unit, Token::Of(Datum::Int(count))) => whole(count, power(unit)),
        (unit, Token::Of(Datum::Float(count))) => fraction(count, power(unit)),
        _ => None,
    };
    ms.and_then(in_range).ok_or(BadReason::BadTime)
}

/// Which power of ten makes milliseconds of a unit.
fn power(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Seconds => 3,
        TimeUnit::Millis | TimeUnit::Rfc3339 => 0,
        TimeUnit::Micros => -3,
        TimeUnit::Nanos => -6,
    }
}

fn whole(count: i64, power: i32) -> Option<i64> {
    let factor = 10_i64.pow(power.unsigned_abs());
    if power >= 0 { count.checked_mul(factor) } else { Some(count.div_euclid(factor)) }
}

/// A double stands for its shortest digits, as it does in JSON: 1.001 seconds are 1,001 ms, although the double is a bit less.
fn fraction(count: f64, power: i32) -> Option<i64> {
    use std::io::Write;
    if count.fract() == 0.0 && count.abs() < 9e15 {
        return whole(count as i64, power);
    }
    // The longest of all doubles: sign, point, and some 330 places.
    let mut digits = [0; 400];
    let mut rest = &mut digits[..];
    write!(rest, "{count}").ok()?;
    let left = rest.len();
    scaled(std::str::from_utf8(&digits[..400 - left]).ok()?, power)
}

/// Lets only times of the years 1 to 9999 pass.
pub(super) fn in_range(ms: i64) -> Option<i64> {
    (TS_MS_MIN..=TS_MS_MAX).contains(&ms).then_some(ms)
}

/// Multiplies a JSON number by 10^`power` and rounds down; `None` past 64 bits.
fn scaled(digits: &str, power: i32) -> Option<i64> {
    let (whole, shift) = match integer(digits) {
        Some(whole) if power == 0 => return Some(whole),
        Some(whole) => (i128::from(whole), power),
        None => {
            let (mantissa, exponent) = decimal(digits)?;
            (mantissa, exponent.checked_add(power)?)
        }
    };
    let factor = 10_i128.checked_pow(shift.unsigned_abs());
    let ms = match factor {
        _ if whole == 0 => 0,
        Some(factor) if shift >= 0 => whole.checked_mul(factor)?,
        Some(factor) => whole.div_euclid(factor),
        // More than 38 places: far too large, or so small that only the sign is left.
        None if shift >= 0 => return None,
        None => -i128::from(whole < 0),
    };
    i64::try_from(ms).ok()
}

/// Splits a JSON number into a whole number and a power of ten; `None` past 38 digits.
fn decimal(digits: &str) -> Option<(i128, i32)> {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let value = whole
        .bytes()
        .chain(fraction.bytes())
        .filter(u8::is_ascii_digit)
        .try_fold(0_i128, |n, b| n.checked_mul(10)?.checked_add(i128::from(b - b'0')))?;
    let exponent: i32 = exponent.parse().ok()?;
    Some((sign * value, exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_scale_exactly_and_round_down() {
        for (digits, power, want) in [
            ("1700000000", 3, Some(1_700_000_000_000)),
            ("1700000000.123", 3, Some(1_700_000_000_123)),
            ("1700000000.1239999999", 3, Some(1_700_000_000_123)),
            ("-0.0005", 3, Some(-1)),
            ("-1.5", 3, Some(-1500)),
            ("1.7e9", 3, Some(1_700_000_000_000)),
            ("17E11", 0, Some(1_700_000_000_000)),
            ("1700000000123456", -3, Some(1_700_000_000_123)),
            ("-1", -6, Some(-1)),
            ("-1e-99", 3, Some(-1)),
            ("1e-99", 3, Some(0)),
            ("0e99", 3, Some(0)),
            ("1e99", 0, None),
            ("9223372036854775807", 3, None),
            ("9223372036854775807000000", -6, Some(9_223_372_036_854_775_807)),
            ("1.0000000000000000000000000000000000000000001", 0, None),
        ] {
            assert_eq!(scaled(digits, power), want, "{digits} × 10^{power}");
        }
    }
}
