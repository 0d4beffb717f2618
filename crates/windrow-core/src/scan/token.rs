//! Tokens: the span of one value and what kind it is; datums are made of them only where a value is wanted.
//!
//! **In** spans that `cursor` proved valid. **Out** datums: plain text borrowed, escaped text in the arena.
//! **Invariant:** an integer stays an integer as long as 128 bits hold it; beyond that, and with a fraction or an exponent,
//! a number is the nearest double.
//! **Not here:** declared types (`convert`).

use bumpalo::{Bump, collections::String};

use super::{cursor::hex4, digits::integer};
use crate::value::Datum;

/// One value of a document, not yet read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Token<'a> {
    /// No member of that name.
    #[default]
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number's digits.
    Number(&'a str),
    /// A string.
    Text {
        /// With its quotes.
        raw: &'a str,
        /// Whether it holds a backslash.
        escaped: bool,
    },
    /// An array or object.
    Nested(&'a str),
    /// Not of the form that its column's type has, where a format has no types of its own.
    Wrong,
    /// A scalar that other formats than JSON have read already.
    Of(Datum<'a>),
}

impl<'a> Token<'a> {
    /// Makes the datum of a value without a declared type.
    #[inline]
    pub(crate) fn datum(self, arena: &'a Bump) -> Datum<'a> {
        match self {
            Token::Missing | Token::Null | Token::Wrong => Datum::Null,
            Token::Bool(b) => Datum::Bool(b),
            Token::Number(digits) => number(digits, arena),
            Token::Text { raw, escaped } => Datum::Text(text(raw, escaped, arena)),
            Token::Nested(raw) => Datum::Json(raw),
            Token::Of(datum) => datum,
        }
    }

    /// Returns the value as JSON, in a document as it stands there; `None` when it is missing.
    pub(crate) fn raw(self, arena: &'a Bump) -> Option<&'a str> {
        match self {
            Token::Missing | Token::Wrong => None,
            Token::Null => Some("null"),
            Token::Bool(true) => Some("true"),
            Token::Bool(false) => Some("false"),
            Token::Number(raw) | Token::Nested(raw) | Token::Text { raw, .. } => Some(raw),
            Token::Of(datum) => {
                let mut out = Vec::new();
                datum.write_json(&mut out);
                Some(arena.alloc_str(std::str::from_utf8(&out).unwrap_or("null")))
            }
        }
    }
}

/// Reads a string token.
#[inline]
pub(crate) fn text<'a>(raw: &'a str, escaped: bool, arena: &'a Bump) -> &'a str {
    let inside = &raw[1..raw.len() - 1];
    if escaped { unescape(inside, arena) } else { inside }
}

fn number<'a>(digits: &'a str, arena: &'a Bump) -> Datum<'a> {
    if let Some(int) = integer(digits) {
        return Datum::Int(int);
    }
    if let Ok(wide) = digits.parse::<i128>() {
        return Datum::Wide(arena.alloc(wide));
    }
    // The cursor let only finite ones pass.
    digits.parse().map_or(Datum::Null, Datum::float)
}

fn unescape<'a>(inside: &'a str, arena: &'a Bump) -> &'a str {
    let mut out = String::with_capacity_in(inside.len(), arena);
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (letter, len) = escape(&rest.as_bytes()[at..]);
        out.push(letter);
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    out.into_bump_str()
}

/// Reads the escape at the start of `bytes`, which the cursor found valid: the letter and the escape's length.
fn escape(bytes: &[u8]) -> (char, usize) {
    let short = match bytes[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes),
        other => char::from(other),
    };
    (short, 2)
}

fn unicode(bytes: &[u8]) -> (char, usize) {
    let unit = |at: usize| bytes.get(at..).and_then(hex4).unwrap_or(0);
    let (code, len) = match unit(2) {
        high @ 0xD800..=0xDBFF => (0x10000 + ((high - 0xD800) << 10) + (unit(8) & 0x3FF), 12),
        code => (code, 6),
    };
    debug_assert!(char::from_u32(code).is_some(), "the cursor let a lone surrogate pass: {code:x}");
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), len)
}
