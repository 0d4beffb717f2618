//! The validating cursor: walks over one JSON document and refuses whatever serde_json would refuse.
//!
//! **In** UTF-8 text. **Out** the span and kind of each value it passes.
//! **Invariant:** when a call returns `Ok`, all it passed is valid JSON: grammar, escapes, surrogate pairs, numbers that
//! fit a finite double, depth.
//! **Not here:** which members are wanted (`fields`), what a span means (`token`).
//!
//! Source: RFC 8259; the bit tricks are those of Mycroft's "does this word hold a zero byte".

use super::{DEPTH_MAX, ScanError, token::Token};

/// A position in a document. `peek` is 0 at the end, which no valid document holds outside of a string.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, pos: 0 }
    }

    /// Skips white space and returns the byte after it, 0 at the end.
    #[inline]
    pub(super) fn space(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\t' | b'\r' => self.pos += 1,
                byte => return byte,
            }
        }
    }

    /// Passes the byte that the last `space` returned.
    #[inline]
    pub(super) fn pass(&mut self) {
        self.pos += 1;
    }

    /// Requires that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        self.space();
        if self.pos == self.text.len() { Ok(()) } else { Err(ScanError::NotJson) }
    }

    /// Passes a member's name and its colon, and the space after; returns the name's token.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Token<'a>, ScanError> {
        if self.peek() != b'"' {
            return Err(ScanError::NotJson);
        }
        let start = self.pos;
        let escaped = self.string()?;
        let name = Token::Text { raw: &self.text[start..self.pos], escaped };
        if self.space() != b':' {
            return Err(ScanError::NotJson);
        }
        self.pos += 1;
        self.space();
        Ok(name)
    }

    /// Passes the value that begins here, `outer` arrays and objects around it.
    #[inline]
    pub(super) fn value(&mut self, outer: usize) -> Result<Token<'a>, ScanError> {
        let start = self.pos;
        let token = match self.peek() {
            b'"' => {
                let escaped = self.string()?;
                Token::Text { raw: &self.text[start..self.pos], escaped }
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                Token::Number(&self.text[start..self.pos])
            }
            b'{' | b'[' => {
                self.nested(outer)?;
                Token::Nested(&self.text[start..self.pos])
            }
            b't' => self.literal("true", Token::Bool(true))?,
            b'f' => self.literal("false", Token::Bool(false))?,
            b'n' => self.literal("null", Token::Null)?,
            _ => return Err(ScanError::NotJson),
        };
        Ok(token)
    }

    #[inline]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.pos).copied().unwrap_or(0)
    }

    fn literal(&mut self, word: &str, token: Token<'a>) -> Result<Token<'a>, ScanError> {
        if !self.text.as_bytes()[self.pos..].starts_with(word.as_bytes()) {
            return Err(ScanError::NotJson);
        }
        self.pos += word.len();
        Ok(token)
    }

    /// Passes an array or object without recursion: one bit a level tells which of the two it is.
    fn nested(&mut self, outer: usize) -> Result<(), ScanError> {
        const { assert!(DEPTH_MAX < u128::BITS as usize) };
        let mut objects = 0_u128;
        let mut depth = outer;
        loop {
            match self.peek() {
                open @ (b'{' | b'[') => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(ScanError::TooDeep);
                    }
                    objects = objects << 1 | u128::from(open == b'{');
                    self.pos += 1;
                    // In ASCII both closing brackets stand two behind their opening ones.
                    if self.space() != open + 2 {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.value(depth)?;
                }
            }
            loop {
                let object = objects & 1 == 1;
                match (self.space(), object) {
                    (b',', _) => {
                        self.pos += 1;
                        self.space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.pos += 1;
                        depth -= 1;
                        objects >>= 1;
                        if depth == outer {
                            return Ok(());
                        }
                    }
                    _ => return Err(ScanError::NotJson),
                }
            }
        }
    }

    /// Passes a string from its opening quote; tells whether it holds escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, ScanError> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        let mut pos = self.pos + 1;
        loop {
            pos = plain_until(bytes, pos);
            match bytes.get(pos) {
                Some(b'"') => {
                    self.pos = pos + 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    pos += escape_len(&bytes[pos..]).ok_or(ScanError::NotJson)?;
                    escaped = true;
                }
                _ => return Err(ScanError::NotJson),
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<(), ScanError> {
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
            return if finite { Ok(()) } else { Err(ScanError::NotJson) };
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, ScanError> {
        let start = self.pos;
        while self.peek().is_ascii_digit() {
            self.pos += 1;
        }
        if self.pos == start { Err(ScanError::NotJson) } else { Ok(self.pos - start) }
    }
}

/// Returns the first position at or after `pos` of a quote, a backslash or a control character, or a position at the end.
#[inline]
fn plain_until(bytes: &[u8], mut pos: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    while let Some(word) = bytes.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        // A borrow can only mark bytes above the first true hit, and only the first one counts.
        let hits = (word.wrapping_sub(ONES * 0x20) | quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES))
            & !word
            & HIGH;
        if hits != 0 {
            return pos + hits.trailing_zeros() as usize / 8;
        }
        pos += 8;
    }
    while bytes.get(pos).is_some_and(|b| *b >= 0x20 && *b != b'"' && *b != b'\\') {
        pos += 1;
    }
    pos
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
