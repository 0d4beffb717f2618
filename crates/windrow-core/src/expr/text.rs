//! Text: what functions of text do. Lengths and places count characters, from 1.

use bumpalo::{Bump, collections::String as BumpString};
use jiff::Timestamp;

use super::TEXT_MAX_BYTES;
use crate::value::Datum;

/// Returns any value as text; NULL and bytes have none.
pub(super) fn to_text<'a>(value: Datum<'a>, arena: &'a Bump) -> Option<&'a str> {
    match value {
        Datum::Text(text) | Datum::Json(text) => Some(text),
        Datum::Null | Datum::Bytes(_) => None,
        Datum::Timestamp(ms) => {
            let timestamp = Timestamp::from_millisecond(ms).ok()?;
            Some(arena.alloc_str(&timestamp.to_string()))
        }
        Datum::Int(i) => Some(arena.alloc_str(itoa::Buffer::new().format(i))),
        other => {
            let mut out = Vec::new();
            other.write_json(&mut out);
            Some(arena.alloc_str(std::str::from_utf8(&out).ok()?))
        }
    }
}

/// Reads RFC 3339 text as milliseconds since the epoch, rounding down.
pub(crate) fn parse_timestamp_ms(text: &str) -> Option<i64> {
    let timestamp: Timestamp = text.trim().parse().ok()?;
    i64::try_from(timestamp.as_nanosecond().div_euclid(1_000_000)).ok()
}

pub(super) fn concat<'a>(left: Datum<'a>, right: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match (to_text(left, arena), to_text(right, arena)) {
        (Some(left), Some(right)) => joined([left, right].into_iter(), arena),
        _ => Datum::Null,
    }
}

/// Joins all that is not NULL.
pub(super) fn concat_all<'a>(values: impl Iterator<Item = Datum<'a>>, arena: &'a Bump) -> Datum<'a> {
    joined(values.filter_map(|v| to_text(v, arena)), arena)
}

fn joined<'a>(parts: impl Iterator<Item = &'a str>, arena: &'a Bump) -> Datum<'a> {
    let mut out = BumpString::new_in(arena);
    for part in parts {
        if out.len() + part.len() > TEXT_MAX_BYTES {
            return Datum::Null;
        }
        out.push_str(part);
    }
    Datum::Text(out.into_bump_str())
}

pub(super) fn lower<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Text(t) if t.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) => value,
        Datum::Text(t) => Datum::Text(arena.alloc_str(&t.to_lowercase())),
        _ => Datum::Null,
    }
}

pub(super) fn upper<'a>(value: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    match value {
        Datum::Text(t) if t.bytes().all(|b| b.is_ascii() && !b.is_ascii_lowercase()) => value,
        Datum::Text(t) => Datum::Text(arena.alloc_str(&t.to_uppercase())),
        _ => Datum::Null,
    }
}

pub(super) fn length<'a>(value: Datum<'_>) -> Datum<'a> {
    match value {
        Datum::Text(t) => Datum::Int(t.chars().count() as i64),
        _ => Datum::Null,
    }
}

/// Returns the characters `[from, from + length)`, counted from 1; what lies outside the text is empty.
pub(super) fn substr<'a>(value: Datum<'a>, from: Datum<'_>, length: Option<Datum<'_>>) -> Datum<'a> {
    let (Datum::Text(text), Datum::Int(from)) = (value, from) else { return Datum::Null };
    let end = match length {
        None => i64::MAX,
        Some(Datum::Int(length)) if length >= 0 => from.saturating_add(length),
        Some(_) => return Datum::Null,
    };
    let start = byte_of(text, from);
    Datum::Text(&text[start..byte_of(text, end).max(start)])
}

/// Byte where the `place`-th character starts; the text's length when there are fewer.
fn byte_of(text: &str, place: i64) -> usize {
    let index = usize::try_from(place.saturating_sub(1)).unwrap_or(0);
    text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte)
}

pub(super) fn trim<'a>(value: Datum<'a>, set: Datum<'_>, start: bool, end: bool) -> Datum<'a> {
    let (Datum::Text(mut text), Datum::Text(set)) = (value, set) else { return Datum::Null };
    let inside = |c: char| set.contains(c);
    if start {
        text = text.trim_start_matches(inside);
    }
    if end {
        text = text.trim_end_matches(inside);
    }
    Datum::Text(text)
}

pub(super) fn replace<'a>(value: Datum<'a>, from: Datum<'a>, to: Datum<'a>, arena: &'a Bump) -> Datum<'a> {
    let (Datum::Text(text), Datum::Text(from), Datum::Text(to)) = (value, from, to) else {
        return Datum::Null;
    };
    if from.is_empty() || !text.contains(from) {
        return value;
    }
    let found = text.matches(from).count();
    let length = (text.len() - found * from.len()).saturating_add(found.saturating_mul(to.len()));
    if length > TEXT_MAX_BYTES {
        return Datum::Null;
    }
    Datum::Text(arena.alloc_str(&text.replace(from, to)))
}

pub(super) fn relate<'a>(text: Datum<'_>, part: Datum<'_>, holds: fn(&str, &str) -> bool) -> Datum<'a> {
    match (text, part) {
        (Datum::Text(text), Datum::Text(part)) => Datum::Bool(holds(text, part)),
        _ => Datum::Null,
    }
}
