//! Specials: where in a document stand quotes, backslashes and control characters? All that a string can end or stumble over.
//!
//! **In** a document's bytes. **Out** their positions, one after the other.
//! **Invariant:** both ways to look at a block agree, and no byte past the end is read.
//!
//! A block of 64 bytes is looked at before anybody knows what stands in it, so that no string waits for the one before it: a scanner
//! that finds a string's end from its start is bound by that chain, not by its work.
//!
//! Sources: Langdale and Lemire, "Parsing Gigabytes of JSON per Second"; Mycroft's "does this word hold a zero byte", in its exact form.

/// Bytes that are looked at together.
const WIDTH: usize = u64::BITS as usize;

/// A place among the specials of one document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specials {
    /// Specials of the block that were not told yet, one bit a byte.
    bits: u64,
    /// Where the block begins.
    base: usize,
}

impl Specials {
    #[inline(always)]
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bits: marks_from(bytes, 0), base: 0 }
    }

    /// Returns the position of the next special, or the end.
    #[inline(always)]
    pub(super) fn next(&mut self, bytes: &[u8]) -> usize {
        self.fill(bytes);
        let at = self.base + self.bits.trailing_zeros() as usize;
        self.drop_first();
        at.min(bytes.len())
    }

    /// Passes the next special.
    #[inline(always)]
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        self.fill(bytes);
        self.drop_first();
    }

    #[inline(always)]
    fn fill(&mut self, bytes: &[u8]) {
        if self.bits == 0 {
            (self.bits, self.base) = next_marks(bytes, self.base);
        }
    }

    #[inline(always)]
    fn drop_first(&mut self) {
        self.bits &= self.bits.wrapping_sub(1);
    }
}

/// Returns the marks of the first block behind the one at `base` that has any, and where it begins; none at the end.
#[inline(never)]
fn next_marks(bytes: &[u8], mut base: usize) -> (u64, usize) {
    let mut bits = 0;
    while bits == 0 && base < bytes.len() {
        base += WIDTH;
        bits = marks_from(bytes, base);
    }
    (bits, base)
}

/// Marks the specials of the block at `base`, one bit a byte.
fn marks_from(bytes: &[u8], base: usize) -> u64 {
    if let Some(block) = bytes.get(base..).and_then(|rest| rest.first_chunk()) {
        return marks(block);
    }
    let left = bytes.len().saturating_sub(base);
    match bytes.last_chunk() {
        _ if left == 0 => 0,
        // The last block again, without what stands before `base`.
        Some(block) => marks(block) >> (WIDTH - left),
        None => {
            let mut block = [b' '; WIDTH];
            block[..left].copy_from_slice(bytes);
            marks(&block)
        }
    }
}

#[cfg(target_arch = "x86_64")]
use sse2::marks;
#[cfg(not(target_arch = "x86_64"))]
use word::marks;

/// Sixteen bytes at once.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    use super::WIDTH;

    #[inline(always)]
    pub(super) fn marks(block: &[u8; WIDTH]) -> u64 {
        let (chunks, _) = block.as_chunks();
        chunks.iter().rev().fold(0, |marks, chunk| marks << 16 | marks_of_16(chunk))
    }

    #[inline(always)]
    fn marks_of_16(chunk: &[u8; 16]) -> u64 {
        // SAFETY: SSE2 is part of every x86-64, and the load is of exactly the 16 bytes borrowed, at any alignment.
        unsafe {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
            let marks = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control));
            u64::from(marks.cast_unsigned())
        }
    }
}

/// Eight bytes at once, on every processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod word {
    use super::WIDTH;

    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;

    #[inline(always)]
    pub(super) fn marks(block: &[u8; WIDTH]) -> u64 {
        let (words, _) = block.as_chunks();
        words.iter().rev().fold(0, |marks, word| marks << 8 | marks_of_8(u64::from_le_bytes(*word)))
    }

    #[inline(always)]
    fn marks_of_8(bytes: u64) -> u64 {
        let quote = bytes ^ (ONES * u64::from(b'"'));
        let backslash = bytes ^ (ONES * u64::from(b'\\'));
        let tops = below(bytes, 0x20) | below(quote, 1) | below(backslash, 1);
        // Brings the bits of all bytes side by side into the highest byte.
        (tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }

    /// Sets the top bits of bytes below a bound of at most 0x80; no sum goes past its byte.
    #[inline(always)]
    fn below(bytes: u64, bound: u64) -> u64 {
        !(((bytes & !TOPS) + ONES * (0x80 - bound)) | bytes) & TOPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_special(byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\'
    }

    /// Every special is told, in order, and then the end, as often as one asks.
    fn check(bytes: &[u8]) {
        let places = (0..bytes.len()).filter(|at| is_special(bytes[*at]));
        let mut specials = Specials::new(bytes);
        for want in places.chain([bytes.len(); 3]) {
            assert_eq!(specials.next(bytes), want, "of {}: {bytes:?}", bytes.len());
        }
    }

    #[test]
    fn one_special_is_found_at_every_place() {
        for len in 0..200 {
            for at in 0..len {
                for special in [b'"', b'\\', 0, 0x1F] {
                    let mut bytes = vec![0x7F; len];
                    bytes[at] = special;
                    check(&bytes);
                }
            }
        }
    }

    #[test]
    fn all_specials_are_found_in_order() {
        for len in 0..270 {
            check(&vec![b'"'; len]);
            check(&(0..len).map(|i| b"\"a\\\xFFb\n "[i * i % 7]).collect::<Vec<_>>());
            check(&(0..len).map(|i| i as u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_skipped_special_is_not_told() {
        let bytes = [&[b'"'; 3][..], &[b'a'; 300], b"\"\""].concat();
        let mut specials = Specials::new(&bytes);
        let mut told = Vec::new();
        for _ in 0..3 {
            specials.skip(&bytes);
            told.push(specials.next(&bytes));
        }
        assert_eq!(told, [1, 303, 305]);
        specials.skip(&bytes);
        assert_eq!(specials.next(&bytes), 305);
    }

    #[test]
    fn both_ways_mark_each_byte_by_itself() {
        for byte in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                let block: [u8; WIDTH] = std::array::from_fn(|i| if i % 5 < 3 { byte } else { other });
                let want = (0..WIDTH).map(|i| u64::from(is_special(block[i])) << i).sum::<u64>();
                assert_eq!(marks(&block), want, "{byte} and {other}");
                assert_eq!(word::marks(&block), want, "{byte} and {other}");
            }
        }
    }
}
