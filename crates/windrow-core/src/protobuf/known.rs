//! Known messages: times and spans.
//!
//! **In** the fields of a `Timestamp` or a `Duration`. **Out** milliseconds, digits; `None` outside of what the language allows.
//! **Not here:** wrappers and JSON in messages (`json`).
//!
//! Source: the comments in `google/protobuf/timestamp.proto` and `duration.proto`.

use super::{gather::Gathered, wire::Wire};

/// 0001-01-01T00:00:00Z.
const SECONDS_MIN: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const SECONDS_MAX: i64 = 253_402_300_799;
/// Some 10,000 years.
const SPAN_SECONDS_MAX: u64 = 315_576_000_000;

const NANOS_MAX: i32 = 999_999_999;

/// Reads a time, rounded down to the millisecond.
pub(super) fn timestamp_ms(found: &Gathered<'_>) -> Option<i64> {
    let (seconds, nanos) = halves(found);
    let fits = (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) && (0..=NANOS_MAX).contains(&nanos);
    fits.then(|| seconds * 1_000 + i64::from(nanos / 1_000_000))
}

/// Reads a span as a number of seconds with all its digits, of which there are at most nine behind the point.
pub(super) fn duration(found: &Gathered<'_>) -> Option<String> {
    let (seconds, nanos) = halves(found);
    let agree = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    let fits = seconds.unsigned_abs() <= SPAN_SECONDS_MAX && nanos.unsigned_abs() <= NANOS_MAX.unsigned_abs();
    if !agree || !fits {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    let digits = format!("{sign}{seconds}.{nanos:09}");
    Some(digits.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn halves(found: &Gathered<'_>) -> (i64, i32) {
    let bits = |field| match found.of(field).last() {
        Some((_, Wire::Varint(bits))) => *bits,
        _ => 0,
    };
    (bits(0).cast_signed(), bits(1) as i32)
}
