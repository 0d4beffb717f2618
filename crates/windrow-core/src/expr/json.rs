//! JSON: one step into a document, and documents out of values.
//!
//! **Invariant:** a step reads the document in place; of members with one name the last counts, as everywhere here.
//! Scalars come out as values of their own (`payload->'n' > 5` compares numbers), objects and arrays as JSON.

use std::fmt;

use bumpalo::Bump;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Step, number::integer, text::to_text};
use crate::value::{Datum, write_text};

/// Takes one step; `as_text` = `->>`.
pub(super) fn get<'a>(document: Datum<'a>, step: &Step, as_text: bool, arena: &'a Bump) -> Datum<'a> {
    let Datum::Json(document) = document else { return Datum::Null };
    let Some(raw) = find(document, step) else { return Datum::Null };
    let value = scalar(raw.get(), arena);
    match to_text(value, arena) {
        Some(text) if as_text => Datum::Text(text),
        _ => value,
    }
}

/// Reads the document at `text` as a value: what is not an object or an array is no longer JSON.
pub(super) fn scalar<'a>(text: &'a str, arena: &'a Bump) -> Datum<'a> {
    let text = text.trim_ascii();
    match text.as_bytes().first() {
        Some(b'{' | b'[') => Datum::Json(text),
        Some(b't') => Datum::Bool(true),
        Some(b'f') => Datum::Bool(false),
        Some(b'"') => match text[1..].strip_suffix('"') {
            Some(plain) if !plain.contains('\\') => Datum::Text(plain),
            _ => {
                serde_json::from_str::<String>(text).map_or(Datum::Null, |t| Datum::Text(arena.alloc_str(&t)))
            }
        },
        Some(b'-' | b'0'..=b'9') => number(text, arena),
        _ => Datum::Null,
    }
}

/// Reads a number: exact when it is an integer, the nearest double otherwise.
pub(super) fn number<'a>(text: &str, arena: &'a Bump) -> Datum<'a> {
    match text.parse::<i128>() {
        Ok(i) => integer(i, arena),
        Err(_) => text.parse().map_or(Datum::Null, Datum::float),
    }
}

fn find<'a>(document: &'a str, step: &Step) -> Option<&'a RawValue> {
    let seek = |step: &Step| {
        Seek(step).deserialize(&mut serde_json::Deserializer::from_str(document)).ok().flatten()
    };
    match step {
        Step::Element(index) if *index < 0 => {
            let length = serde_json::from_str::<Vec<IgnoredAny>>(document).ok()?.len();
            seek(&Step::Element(i64::try_from(length).ok()?.checked_add(*index).filter(|i| *i >= 0)?))
        }
        step => seek(step),
    }
}

/// Finds one member or element without building the document.
struct Seek<'s>(&'s Step);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = map.next_key_seed(Named(self.0))? {
            if wanted {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        loop {
            match self.0 {
                Step::Element(wanted) if *wanted == index => match seq.next_element()? {
                    Some(element) => found = Some(element),
                    None => return Ok(found),
                },
                _ if seq.next_element::<IgnoredAny>()?.is_none() => return Ok(found),
                _ => {}
            }
            index += 1;
        }
    }
}

/// Compares a member's name in place.
struct Named<'s>(&'s Step);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(matches!(self.0, Step::Member(wanted) if **wanted == *name))
    }
}

pub(super) fn array<'a>(values: impl Iterator<Item = Datum<'a>>, arena: &'a Bump) -> Datum<'a> {
    let mut out = vec![b'['];
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        value.write_json(&mut out);
    }
    out.push(b']');
    document(&out, arena)
}

/// Makes an object of names and values in turn; a NULL name leaves its member out.
pub(super) fn object<'a>(mut values: impl Iterator<Item = Datum<'a>>, arena: &'a Bump) -> Datum<'a> {
    let mut out = vec![b'{'];
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        let Some(name) = to_text(name, arena) else { continue };
        if out.len() > 1 {
            out.push(b',');
        }
        write_text(name, &mut out);
        out.push(b':');
        value.write_json(&mut out);
    }
    out.push(b'}');
    document(&out, arena)
}

fn document<'a>(out: &[u8], arena: &'a Bump) -> Datum<'a> {
    match std::str::from_utf8(out) {
        Ok(text) if text.len() <= super::TEXT_MAX_BYTES => Datum::Json(arena.alloc_str(text)),
        _ => Datum::Null,
    }
}
