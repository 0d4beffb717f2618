//! UTF-8: bytes become text, quickly where all of them are ASCII, which most are.
//!
//! **In** bytes. **Out** the same as text. **Invariant:** the verdict is the standard library's.

/// Bytes are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// Checks that bytes are UTF-8.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str, NotUtf8> {
    if is_ascii(bytes) {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|_| NotUtf8)
}

/// Tells whether no byte has its top bit set. The standard library's way takes twice as long where bytes are few.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const TOPS: u64 = u64::MAX / 255 * 0x80;
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let tops = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            // The last eight bytes may have been seen before: that costs less than looking at fewer.
            let (blocks, _) = bytes.as_chunks::<32>();
            let blocks = blocks.iter().fold([0; 4], |tops, block| {
                let (words, _) = block.as_chunks();
                std::array::from_fn(|i| tops[i] | word(&words[i]))
            });
            let (words, _) = bytes[bytes.len() / 32 * 32..].as_chunks();
            let words = words.iter().fold(0, |tops, bytes| tops | word(bytes));
            blocks.iter().fold(words, |tops, block| tops | block) | word(first) | word(last)
        }
        _ => bytes.iter().fold(0, |tops, byte| tops | u64::from(*byte)),
    };
    tops & TOPS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_ascii_is_seen_at_every_place() {
        for len in 0..100 {
            let mut bytes = vec![0x7F; len];
            assert!(is_ascii(&bytes), "{len}");
            for at in 0..len {
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes), "{at} of {len}");
                assert_eq!(text(&bytes), Err(NotUtf8), "{at} of {len}");
                bytes[at] = 0x7F;
            }
        }
    }

    #[test]
    fn text_that_is_not_ascii_is_text() {
        for len in 0..70 {
            let good = format!("{}é", "x".repeat(len));
            assert_eq!(text(good.as_bytes()), Ok(&*good));
            assert_eq!(text(&good.as_bytes()[..len + 1]), Err(NotUtf8));
        }
    }
}
