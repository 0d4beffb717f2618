//! Records of a batch, read in place.
//!
//! **In** the decompressed records of one batch. **Out** one [`Record`] after the other, borrowing from it.
//! **Invariant:** no length is trusted: every slice is taken with a check, here and in the walk that `Batch::parse` does
//! with the same functions. **Not here:** the batch's header.

use std::{fmt, iter::FusedIterator};

/// One record, borrowed from its batch.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Position in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; whatever the producer said.
    pub timestamp_ms: i64,
    /// Key; `None` = null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` = null, a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers, read when iterated.
    pub headers: Headers<'a>,
}

/// Iterator over the records of a batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: usize,
    from: i64,
    base_offset: i64,
    base_timestamp_ms: i64,
    fixed_timestamp_ms: Option<i64>,
}

impl<'a> Records<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        count: usize,
        base_offset: i64,
        base_timestamp_ms: i64,
        fixed_timestamp_ms: Option<i64>,
    ) -> Self {
        Self { rest: bytes, left: count, from: i64::MIN, base_offset, base_timestamp_ms, fixed_timestamp_ms }
    }

    pub(super) fn skip_to(&mut self, offset: i64) {
        self.from = offset;
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        while self.left > 0 {
            self.left -= 1;
            let Ok(raw) = split(&mut self.rest) else {
                debug_assert!(false, "a parsed batch has only good records");
                self.left = 0;
                return None;
            };
            let offset = self.base_offset + i64::from(raw.offset_delta);
            if offset < self.from {
                continue;
            }
            let timestamp_ms = match self.fixed_timestamp_ms {
                Some(fixed) => fixed,
                None => self.base_timestamp_ms.wrapping_add(raw.timestamp_delta),
            };
            return Some(Record {
                offset,
                timestamp_ms,
                key: raw.key,
                value: raw.value,
                headers: raw.headers,
            });
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (if self.from == i64::MIN { self.left } else { 0 }, Some(self.left))
    }
}

impl FusedIterator for Records<'_> {}

/// The headers of a record: an iterator of names and values, in order; a name may come twice.
///
/// A name that is not UTF-8 reads as U+FFFD: the format asks for UTF-8, but no client is made to obey.
#[derive(Clone, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// Returns the value of the last header of that name; `Some(None)` = there, but null.
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.clone().filter(|(n, _)| *n == name).last().map(|(_, value)| value)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (name, value) = split_header(&mut self.rest).ok()?;
        Some((std::str::from_utf8(name).unwrap_or("\u{fffd}"), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}
impl FusedIterator for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value): (_, Option<&[u8]>)| (name, value.map(|v| v.escape_ascii().to_string()));
        f.debug_map().entries(self.clone().map(text)).finish()
    }
}

/// A record before its batch's offset and time are added.
struct Raw<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

type Checked<T> = Result<T, &'static str>;

/// Passes over one record with all its headers; returns its offset delta.
pub(super) fn check(rest: &mut &[u8]) -> Checked<i32> {
    let raw = split(rest)?;
    let mut headers = raw.headers.rest;
    for _ in 0..raw.headers.left {
        split_header(&mut headers)?;
    }
    if headers.is_empty() { Ok(raw.offset_delta) } else { Err("bytes after the last header") }
}

#[inline]
fn split<'a>(rest: &mut &'a [u8]) -> Checked<Raw<'a>> {
    let mut body = field(rest)?.ok_or("null record")?;
    // One byte of attributes, which version 2 leaves unused.
    body = body.get(1..).ok_or("record without attributes")?;
    let timestamp_delta = varint(&mut body)?;
    let offset_delta = i32::try_from(varint(&mut body)?).map_err(|_| "offset delta past 32 bits")?;
    let key = field(&mut body)?;
    let value = field(&mut body)?;
    let left = u32::try_from(varint(&mut body)?).map_err(|_| "bad number of headers")?;
    // A header takes two bytes at least: a false count cannot make a long loop.
    if left as usize > body.len() / 2 || (left == 0 && !body.is_empty()) {
        return Err("bad number of headers");
    }
    Ok(Raw { timestamp_delta, offset_delta, key, value, headers: Headers { rest: body, left } })
}

fn split_header<'a>(rest: &mut &'a [u8]) -> Checked<(&'a [u8], Option<&'a [u8]>)> {
    let name = field(rest)?.ok_or("header without name")?;
    Ok((name, field(rest)?))
}

/// Splits off a length (-1 = null) and that many bytes.
#[inline]
fn field<'a>(rest: &mut &'a [u8]) -> Checked<Option<&'a [u8]>> {
    let length = varint(rest)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| "negative length")?;
    let (field, after) = rest.split_at_checked(length).ok_or("length past the end")?;
    *rest = after;
    Ok(Some(field))
}

/// Splits off a zigzag varint of at most ten bytes.
#[inline]
fn varint(rest: &mut &[u8]) -> Checked<i64> {
    let (&first, after) = rest.split_first().ok_or("number cut off")?;
    if first < 0x80 {
        *rest = after;
        return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
    }
    varint_long(rest)
}

fn varint_long(rest: &mut &[u8]) -> Checked<i64> {
    let mut number = 0_u64;
    for (i, &byte) in rest.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            if i == 9 && byte > 1 {
                return Err("number past 64 bits");
            }
            *rest = &rest[i + 1..];
            return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    Err(if rest.len() < 10 { "number cut off" } else { "number past 64 bits" })
}
