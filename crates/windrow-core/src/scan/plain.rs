//! Plain: how far does a string go on without anything special?
//!
//! **In** bytes and a position inside of a string. **Out** the position of the next quote, backslash or control character.
//! **Invariant:** both ways to find it agree; the fast one only looks at more bytes at once.
//!
//! Source: Mycroft's "does this word hold a zero byte".

/// Returns the first position at or after `pos` of a quote, a backslash or a control character, or the end.
#[inline(always)]
pub(super) fn plain_until(bytes: &[u8], mut pos: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    while let Some(chunk) = bytes.get(pos..).and_then(|rest| rest.first_chunk::<16>()) {
        match specials_in_16(chunk) {
            0 => pos += 16,
            hits => return pos + hits.trailing_zeros() as usize,
        }
    }
    while let Some(chunk) = bytes.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        match specials_in_8(chunk) {
            0 => pos += 8,
            hits => return pos + hits.trailing_zeros() as usize / 8,
        }
    }
    while bytes.get(pos).is_some_and(|b| *b >= 0x20 && *b != b'"' && *b != b'\\') {
        pos += 1;
    }
    pos
}

/// Sets one bit per special byte.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn specials_in_16(chunk: &[u8; 16]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: SSE2 is part of every x86-64, and the load is of exactly the 16 bytes borrowed, at any alignment.
    unsafe {
        let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)).cast_unsigned()
    }
}

/// Sets the top bit of special bytes: certainly of the lowest one, and of no byte below it.
#[inline(always)]
fn specials_in_8(chunk: &[u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let bytes = u64::from_le_bytes(*chunk);
    let quote = bytes ^ (ONES * u64::from(b'"'));
    let backslash = bytes ^ (ONES * u64::from(b'\\'));
    // A borrow can only mark bytes above the first true hit, and only the first one counts.
    let control = bytes.wrapping_sub(ONES * 0x20);
    (control | quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES)) & !bytes & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_stops_or_not_as_it_should() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'\x7f'; len];
                    bytes[at] = byte;
                    let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                    assert_eq!(
                        plain_until(&bytes, 0),
                        if special { at } else { len },
                        "{byte} at {at} of {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn eight_bytes_at_once_find_what_sixteen_find() {
        for byte in 0..=u8::MAX {
            for after in [b'"', b'!', 0x1f, 0x20, b'[', b'\\', b']', 0x80, 0xff] {
                let chunk = [b'a', b'#', byte, after, b'z', 0x80, 0xff, b'~'];
                let first = chunk.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
                let hits = specials_in_8(&chunk);
                assert_eq!((hits != 0).then(|| hits.trailing_zeros() as usize / 8), first, "{chunk:?}");
            }
        }
    }
}
