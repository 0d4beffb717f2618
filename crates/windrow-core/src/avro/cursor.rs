//! Cursor: the atoms of the binary encoding, each checked against the bytes that are left.
//!
//! **In** the bytes of one value. **Out** numbers and pieces, borrowed.
//! **Invariant:** work is at most a constant times the value's bytes: items that take no bytes are counted, too.
//! **Not here:** which atom comes next (`project`, `json`).

use super::Fault;
use crate::utf8;

/// Items and fields that a value may have beyond one a byte: `null`s and empty records take none.
const FREE_ITEMS: usize = 4_096;

/// Longest encoding of 64 bits, seven a byte.
const VARINT_BYTES: usize = 10;

/// A place in a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    items_left: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, items_left: bytes.len() + FREE_ITEMS }
    }

    /// Ends the value: nothing may follow.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Malformed) }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Pays for so many items.
    #[inline]
    pub(super) fn pay(&mut self, items: usize) -> Result<(), Fault> {
        self.items_left = self.items_left.checked_sub(items).ok_or(Fault::Malformed)?;
        Ok(())
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Fault> {
        let (piece, rest) = self.rest.split_at_checked(bytes).ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(piece)
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        let [first, rest @ ..] = self.rest else { return Err(Fault::Malformed) };
        if *first < 0x80 {
            self.rest = rest;
            return Ok(zigzag(u64::from(*first)));
        }
        self.long_of_several()
    }

    #[inline]
    fn long_of_several(&mut self) -> Result<i64, Fault> {
        if let Some(word) = self.rest.first_chunk() {
            let word = u64::from_le_bytes(*word);
            // The first byte without its high bit is the last one.
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let kept = word & (ends ^ (ends - 1));
                let (_, rest) = self.rest.split_at(ends.trailing_zeros() as usize / 8 + 1);
                self.rest = rest;
                return Ok(zigzag(squeezed(kept)));
            }
        }
        self.long_near_the_end()
    }

    /// A number of nine or ten bytes, or one that the value ends soon after.
    #[cold]
    fn long_near_the_end(&mut self) -> Result<i64, Fault> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(VARINT_BYTES).enumerate() {
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if index == VARINT_BYTES - 1 && bits > 1 {
                return Err(Fault::Malformed);
            }
            value |= bits << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(zigzag(value));
            }
        }
        Err(Fault::Malformed)
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault::Malformed)
    }

    /// An index of a union's branch or an enum's symbol, below `len`.
    #[inline]
    pub(super) fn index(&mut self, len: usize) -> Result<usize, Fault> {
        usize::try_from(self.long()?).ok().filter(|i| *i < len).ok_or(Fault::Malformed)
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::Malformed),
        }
    }

    #[inline]
    pub(super) fn float(&mut self) -> Result<f32, Fault> {
        let bytes = self.take(4)?.try_into().map_err(|_| Fault::Malformed)?;
        Ok(f32::from_le_bytes(bytes))
    }

    #[inline]
    pub(super) fn double(&mut self) -> Result<f64, Fault> {
        let bytes = self.take(8)?.try_into().map_err(|_| Fault::Malformed)?;
        Ok(f64::from_le_bytes(bytes))
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let len = usize::try_from(self.long()?).map_err(|_| Fault::Malformed)?;
        self.take(len)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        utf8::text(self.bytes()?).map_err(|_| Fault::NotUtf8)
    }

    /// Walks over a text, checking it.
    #[inline]
    pub(super) fn skip_text(&mut self) -> Result<(), Fault> {
        let bytes = self.bytes()?;
        // Most texts are; and it is quicker to tell.
        utf8::text(bytes).map(|_| ()).map_err(|_| Fault::NotUtf8)
    }

    /// Reads the blocks of an array or a map, one item after the other.
    #[inline]
    pub(super) fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            // A negative count is followed by the block's size in bytes.
            let end = match count {
                ..0 => {
                    let size = usize::try_from(self.long()?).map_err(|_| Fault::Malformed)?;
                    Some(self.left().checked_sub(size).ok_or(Fault::Malformed)?)
                }
                _ => None,
            };
            let items = usize::try_from(count.unsigned_abs()).map_err(|_| Fault::Malformed)?;
            self.pay(items)?;
            for _ in 0..items {
                item(self)?;
            }
            if end.is_some_and(|end| end != self.left()) {
                return Err(Fault::Malformed);
            }
        }
    }
}

/// Takes seven bits of each of eight bytes together.
#[inline]
fn squeezed(word: u64) -> u64 {
    let pairs = (word & 0x007F_007F_007F_007F) | (word & 0x7F00_7F00_7F00_7F00) >> 1;
    let fours = (pairs & 0x0000_3FFF_0000_3FFF) | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
    (fours & 0x0FFF_FFFF) | (fours & 0x0FFF_FFFF_0000_0000) >> 4
}

#[inline]
fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
