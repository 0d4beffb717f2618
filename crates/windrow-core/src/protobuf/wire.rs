//! Wire: the atoms of the encoding, each checked against the bytes that are left.
//!
//! **In** the bytes of one message. **Out** field numbers with their values, borrowed.
//! **Invariant:** every value took at least one byte, so work is at most a constant times the message's bytes (and, inside of groups,
//! their depth).
//! **Not here:** which field a number is (`check`, `project`, `gather`).

use super::{Fault, deeper};

/// Longest encoding of 64 bits, seven a byte.
const VARINT_BYTES: usize = 10;

/// Longest encoding of a tag, which has 32 bits.
const TAG_BYTES: usize = 5;

/// Kinds of values, the lower three bits of a tag.
pub(super) const VARINT: u32 = 0;
pub(super) const EIGHT: u32 = 1;
pub(super) const BYTES: u32 = 2;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
pub(super) const FOUR: u32 = 5;

/// One field's value as the bytes have it, not yet known to be of the field's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Four(u32),
    Eight(u64),
    Bytes(&'a [u8]),
    /// What is between the two tags of a group.
    Group(&'a [u8]),
}

/// A place in a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the next field; `None` at the message's end. `depth` is that of the message.
    #[inline]
    pub(super) fn field(&mut self, depth: usize) -> Result<Option<(u32, Wire<'a>)>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.head()?;
        Ok(Some((number, self.value(number, kind, depth)?)))
    }

    /// Reads a field's number and the kind of its value.
    #[inline]
    pub(super) fn head(&mut self) -> Result<(u32, u32), Fault> {
        let tag = self.tag()?;
        if tag < 8 { Err(Fault::Malformed) } else { Ok((tag >> 3, tag & 7)) }
    }

    /// Reads the value behind a head.
    #[inline]
    pub(super) fn value(&mut self, number: u32, kind: u32, depth: usize) -> Result<Wire<'a>, Fault> {
        Ok(match kind {
            VARINT => Wire::Varint(self.varint()?),
            EIGHT => Wire::Eight(self.eight()?),
            BYTES => Wire::Bytes(self.bytes()?),
            GROUP => Wire::Group(self.group(number, deeper(depth)?)?),
            FOUR => Wire::Four(self.four()?),
            // The end of a group that did not begin, and two kinds that do not exist.
            _ => return Err(Fault::Malformed),
        })
    }

    #[inline]
    fn tag(&mut self) -> Result<u32, Fault> {
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u32::from(*first));
        }
        let before = self.rest.len();
        let tag = self.varint_of_several()?;
        let is_short = before - self.rest.len() <= TAG_BYTES;
        u32::try_from(tag).ok().filter(|_| is_short).ok_or(Fault::Malformed)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        self.varint_of_several()
    }

    fn varint_of_several(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(VARINT_BYTES).enumerate() {
            // Of the tenth byte one bit has room; the others are dropped, as other readers do.
            value |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }

    #[inline]
    pub(super) fn four(&mut self) -> Result<u32, Fault> {
        let (piece, rest) = self.rest.split_first_chunk().ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*piece))
    }

    #[inline]
    pub(super) fn eight(&mut self) -> Result<u64, Fault> {
        let (piece, rest) = self.rest.split_first_chunk().ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*piece))
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let len = usize::try_from(self.varint()?).map_err(|_| Fault::Malformed)?;
        let (piece, rest) = self.rest.split_at_checked(len).ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(piece)
    }

    /// Reads up to the tag that ends a group, over the groups inside of it; each level of these is at most one of `depth`.
    fn group(&mut self, number: u32, depth: usize) -> Result<&'a [u8], Fault> {
        let whole = self.rest;
        loop {
            let left = self.rest.len();
            let mut ahead = *self;
            let tag = ahead.tag()?;
            if tag == number << 3 | GROUP_END {
                self.rest = ahead.rest;
                return Ok(&whole[..whole.len() - left]);
            }
            // At the end of the bytes the tag above is missing, so there is a field.
            self.field(depth)?;
        }
    }
}
