//! Numbers: exact while they are integers, doubles otherwise.
//!
//! **Invariant:** an integer result that fits is an integer, past 64 bits it is [`Datum::Wide`]; past 128 bits, not
//! finite, or divided by zero it is NULL. `6 / 3` is 2 and `5 / 2` is 2.5: as `1` equals `1.0` here, the answer
//! can't depend on how a number was written.

use bumpalo::Bump;

use super::Operator;
use crate::value::Datum;

pub(super) fn arithmetic<'a>(
    operator: Operator,
    left: Datum<'a>,
    right: Datum<'a>,
    arena: &'a Bump,
) -> Datum<'a> {
    let plain = match (operator, left, right) {
        (Operator::Add, Datum::Int(a), Datum::Int(b)) => a.checked_add(b),
        (Operator::Sub, Datum::Int(a), Datum::Int(b)) => a.checked_sub(b),
        (Operator::Mul, Datum::Int(a), Datum::Int(b)) => a.checked_mul(b),
        _ => None,
    };
    if let Some(i) = plain {
        return Datum::Int(i);
    }
    match (left.integer(), right.integer()) {
        (Some(a), Some(b)) => {
            let exact = integers(operator, a, b, arena);
            let times = [left, right].iter().filter(|d| matches!(d, Datum::Timestamp(_))).count();
            match exact {
                // A time and a span make a time; two times make a span.
                Datum::Int(ms) if times == 1 && matches!(operator, Operator::Add | Operator::Sub) => {
                    Datum::Timestamp(ms)
                }
                other => other,
            }
        }
        _ => match (double(left), double(right)) {
            (Some(a), Some(b)) => doubles(operator, a, b),
            _ => Datum::Null,
        },
    }
}

fn integers<'a>(operator: Operator, a: i128, b: i128, arena: &'a Bump) -> Datum<'a> {
    let exact = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::Div if b != 0 && a.checked_rem(b) == Some(0) => a.checked_div(b),
        Operator::Div => return doubles(operator, a as f64, b as f64),
        Operator::Rem => a.checked_rem(b),
    };
    exact.map_or(Datum::Null, |i| integer(i, arena))
}

fn doubles<'a>(operator: Operator, a: f64, b: f64) -> Datum<'a> {
    // Division by zero is infinite or not a number, and both are NULL.
    Datum::float(match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div => a / b,
        Operator::Rem => a % b,
    })
}

/// Returns the narrowest datum that holds the integer.
pub(super) fn integer<'a>(i: i128, arena: &'a Bump) -> Datum<'a> {
    i64::try_from(i).map_or_else(|_| Datum::Wide(arena.alloc(i)), Datum::Int)
}

/// Returns the nearest double of a number.
pub(super) fn double(value: Datum<'_>) -> Option<f64> {
    match value {
        Datum::Float(f) => Some(f),
        other => other.integer().map(|i| i as f64),
    }
}

/// Divides and drops the fraction, towards zero.
pub(super) fn div<'a>(left: Datum<'a>, right: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match (left.integer(), right.integer()) {
        (Some(a), Some(b)) => a.checked_div(b).map_or(Datum::Null, |i| integer(i, arena)),
        _ => match arithmetic(Operator::Div, left, right, arena) {
            Datum::Float(f) => Datum::Float(f.trunc()),
            other => other,
        },
    }
}

pub(super) fn abs<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Float(f) => Datum::Float(f.abs()),
        other => other.integer().and_then(i128::checked_abs).map_or(Datum::Null, |i| integer(i, arena)),
    }
}

pub(super) fn floor(value: Datum<'_>) -> Datum<'_> {
    whole(value, f64::floor)
}

pub(super) fn ceil(value: Datum<'_>) -> Datum<'_> {
    whole(value, f64::ceil)
}

fn whole(value: Datum<'_>, to: fn(f64) -> f64) -> Datum<'_> {
    match value {
        Datum::Float(f) => Datum::Float(to(f)),
        Datum::Int(_) | Datum::Wide(_) => value,
        _ => Datum::Null,
    }
}

/// Most digits that `round` looks at on either side of the point.
const DIGITS_MAX: i64 = 18;

/// Rounds half away from zero, on the digits that the number is written with: `round(2.675, 2)` is 2.68.
pub(super) fn round<'a>(value: Datum<'a>, digits: Datum<'_>) -> Datum<'a> {
    let Datum::Int(digits) = digits else { return Datum::Null };
    let digits = digits.clamp(-DIGITS_MAX, DIGITS_MAX);
    match value {
        Datum::Int(i) if digits < 0 => {
            let unit = 10_i128.pow(digits.unsigned_abs() as u32);
            let i = i128::from(i);
            let rounded = (i.abs() + unit / 2) / unit * unit * i.signum();
            i64::try_from(rounded).map_or(Datum::Null, Datum::Int)
        }
        Datum::Int(_) | Datum::Wide(_) => value,
        Datum::Float(f) if digits == 0 => Datum::Float(f.round()),
        Datum::Float(f) if digits < 0 => {
            let unit = 10_f64.powi(-digits as i32);
            Datum::float((f / unit).round() * unit)
        }
        Datum::Float(f) => Datum::float(round_digits(f, digits as usize)),
        _ => Datum::Null,
    }
}

fn round_digits(f: f64, digits: usize) -> f64 {
    let written = f.to_string();
    let Some(point) = written.find('.') else { return f };
    let cut = point + 1 + digits;
    if written.len() <= cut {
        return f;
    }
    let (kept, up) = (&written[..cut], written.as_bytes()[cut] >= b'5');
    let rounded = if up { increment(kept) } else { kept.to_owned() };
    rounded.parse().unwrap_or(f)
}

/// Adds one to the last digit of a decimal number, carrying.
fn increment(number: &str) -> String {
    let mut digits = number.as_bytes().to_vec();
    for digit in digits.iter_mut().rev().filter(|d| d.is_ascii_digit()) {
        if *digit < b'9' {
            *digit += 1;
            return String::from_utf8_lossy(&digits).into_owned();
        }
        *digit = b'0';
    }
    let text = String::from_utf8_lossy(&digits).into_owned();
    match text.strip_prefix('-') {
        Some(rest) => format!("-1{rest}"),
        None => format!("1{text}"),
    }
}

pub(super) fn date_trunc<'a>(value: Datum<'_>, unit_ms: i64, offset_ms: i64) -> Datum<'a> {
    let floored = |ms: i64| ms.checked_sub((ms.checked_add(offset_ms)?).rem_euclid(unit_ms));
    match value {
        Datum::Timestamp(ms) | Datum::Int(ms) => floored(ms).map_or(Datum::Null, Datum::Timestamp),
        _ => Datum::Null,
    }
}
