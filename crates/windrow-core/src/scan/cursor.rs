//! The validating cursor: walks over one JSON document and refuses whatever serde_json would refuse.
//!
//! **In** UTF-8 text. **Out** the span and kind of each value it passes.
//! **Invariant:** when a call returns `Ok`, all it passed is valid JSON: grammar, escapes, surrogate pairs, numbers that
//! fit a finite double, depth.
//! **Not here:** which members are wanted (`fields`), what a span means (`token`).
//!
//! The position lives in a register as long as nothing borrows the cursor: all on the hot way is inlined, and what is not
//! takes the position and returns it. That alone is worth a third of the speed.
//!
//! Source: RFC 8259.

use super::{DEPTH_MAX, ScanError, digits::digits_until, specials::Specials, token::Token};

/// A position in a document. `peek` is 0 at the end, which no valid document holds outside of a string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    pos: usize,
    specials: Specials,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string without escapes.
    Plain,
    /// A string with escapes.
    Escaped,
    Number,
    Nested,
    True,
    False,
    Null,
}

/// Where a value stands. Most are not wanted, so they are cut out of the document only on demand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, pos: 0, specials: Specials::new(text.as_bytes()) }
    }

    /// Skips white space and returns the byte after it, 0 at the end.
    #[inline(always)]
    pub(super) fn space(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\t' | b'\r' => self.pos += 1,
                byte => return byte,
            }
        }
    }

    /// Passes the byte that the last `space` returned.
    #[inline(always)]
    pub(super) fn pass(&mut self) {
        self.pos += 1;
    }

    /// Requires that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        self.space();
        if self.pos == self.text.len() { Ok(()) } else { Err(ScanError::NotJson) }
    }

    /// Passes a member's name and its colon, and the space after; returns the name's span.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Span, ScanError> {
        if self.peek() != b'"' {
            return Err(ScanError::NotJson);
        }
        let start = self.pos;
        let kind = self.string()?;
        let name = Span { kind, start, end: self.pos };
        if self.space() != b':' {
            return Err(ScanError::NotJson);
        }
        self.pos += 1;
        self.space();
        Ok(name)
    }

    #[inline(always)]
    pub(super) fn raw(&self, span: Span) -> &'a str {
        &self.text[span.start..span.end]
    }

    /// Cuts a span out of the document.
    #[inline(always)]
    pub(super) fn token(&self, span: Span) -> Token<'a> {
        let raw = self.raw(span);
        match span.kind {
            Kind::Plain => Token::Text { raw, escaped: false },
            Kind::Escaped => Token::Text { raw, escaped: true },
            Kind::Number => Token::Number(raw),
            Kind::Nested => Token::Nested(raw),
            Kind::True => Token::Bool(true),
            Kind::False => Token::Bool(false),
            Kind::Null => Token::Null,
        }
    }

    /// Passes the value that begins here, `outer` arrays and objects around it.
    #[inline(always)]
    pub(super) fn value(&mut self, outer: usize) -> Result<Span, ScanError> {
        let start = self.pos;
        let first = self.peek();
        // The most common ones first: a table of jumps is guessed worse.
        let kind = if first == b'"' {
            self.string()?
        } else if first.is_ascii_digit() || first == b'-' {
            self.number()?
        } else {
            match first {
                b'{' | b'[' => {
                    *self = nested(*self, outer)?;
                    Kind::Nested
                }
                b't' => self.literal("true", Kind::True)?,
                b'f' => self.literal("false", Kind::False)?,
                b'n' => self.literal("null", Kind::Null)?,
                _ => return Err(ScanError::NotJson),
            }
        };
        Ok(Span { kind, start, end: self.pos })
    }

    #[inline(always)]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.pos).copied().unwrap_or(0)
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<Kind, ScanError> {
        if !self.text.as_bytes()[self.pos..].starts_with(word.as_bytes()) {
            return Err(ScanError::NotJson);
        }
        self.pos += word.len();
        Ok(kind)
    }

    /// Passes a string from its opening quote.
    #[inline(always)]
    fn string(&mut self) -> Result<Kind, ScanError> {
        // The opening quote, or a special before it.
        self.specials.skip(self.text.as_bytes());
        let end = self.special_after(self.pos);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.pos = end + 1;
            return Ok(Kind::Plain);
        }
        *self = escaped(*self, end)?;
        Ok(Kind::Escaped)
    }

    /// Returns the position of the first special after `pos`, or the end.
    #[inline(always)]
    fn special_after(&mut self, pos: usize) -> usize {
        loop {
            let at = self.specials.next(self.text.as_bytes());
            if at > pos {
                return at;
            }
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<Kind, ScanError> {
        let start = self.pos;
        if self.peek() == b'-' {
            self.pos += 1;
        }
        let whole = self.pos;
        let mut digits = self.digits()?;
        if digits > 1 && self.text.as_bytes()[whole] == b'0' {
            return Err(ScanError::NotJson);
        }
        if self.peek() == b'.' {
            self.pos += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.pos += 1;
            if let b'+' | b'-' = self.peek() {
                self.pos += 1;
            }
            self.digits()?;
            digits = usize::MAX;
        }
        // Only so many digits or an exponent can pass the largest double, which is refused as serde_json does.
        if digits > f64::MAX_10_EXP as usize {
            let finite = self.text[start..self.pos].parse::<f64>().is_ok_and(f64::is_finite);
            return if finite { Ok(Kind::Number) } else { Err(ScanError::NotJson) };
        }
        Ok(Kind::Number)
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<usize, ScanError> {
        let start = self.pos;
        self.pos = digits_until(self.text.as_bytes(), start);
        if self.pos == start { Err(ScanError::NotJson) } else { Ok(self.pos - start) }
    }
}

/// Passes an array or object without recursion: one bit a level tells which of the two it is.
#[inline(never)]
fn nested(mut cursor: Cursor<'_>, outer: usize) -> Result<Cursor<'_>, ScanError> {
    const { assert!(DEPTH_MAX < u128::BITS as usize) };
    let mut objects = 0_u128;
    let mut depth = outer;
    loop {
        match cursor.peek() {
            open @ (b'{' | b'[') => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(ScanError::TooDeep);
                }
                objects = objects << 1 | u128::from(open == b'{');
                cursor.pos += 1;
                // In ASCII both closing brackets stand two behind their opening ones.
                if cursor.space() != open + 2 {
                    if open == b'{' {
                        cursor.key()?;
                    }
                    continue;
                }
            }
            _ => {
                cursor.value(depth)?;
            }
        }
        loop {
            let object = objects & 1 == 1;
            match (cursor.space(), object) {
                (b',', _) => {
                    cursor.pos += 1;
                    cursor.space();
                    if object {
                        cursor.key()?;
                    }
                    break;
                }
                (b'}', true) | (b']', false) => {
                    cursor.pos += 1;
                    depth -= 1;
                    objects >>= 1;
                    if depth == outer {
                        return Ok(cursor);
                    }
                }
                _ => return Err(ScanError::NotJson),
            }
        }
    }
}

/// Passes the rest of a string from its first escape, which is at `at`.
#[inline(never)]
fn escaped(mut cursor: Cursor<'_>, mut at: usize) -> Result<Cursor<'_>, ScanError> {
    let bytes = cursor.text.as_bytes();
    while bytes.get(at) == Some(&b'\\') {
        let len = escape_len(&bytes[at..]).ok_or(ScanError::NotJson)?;
        at = cursor.special_after(at + len - 1);
    }
    cursor.pos = at + 1;
    if bytes.get(at) == Some(&b'"') { Ok(cursor) } else { Err(ScanError::NotJson) }
}

/// Returns the length of the escape at the start of `bytes`, a surrogate pair being one, or `None` if it is wrong.
fn escape_len(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match hex4(&bytes[2..])? {
            0xD800..=0xDBFF => {
                let low = bytes[6..].strip_prefix(b"\\u").and_then(hex4)?;
                (0xDC00..=0xDFFF).contains(&low).then_some(12)
            }
            0xDC00..=0xDFFF => None,
            _ => Some(6),
        },
        _ => None,
    }
}

/// Reads four hexadecimal digits.
pub(super) fn hex4(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.iter().try_fold(0, |n, b| Some(n << 4 | char::from(*b).to_digit(16)?))
}
