//! Digits: how far do they go, and which number are they? Eight at once.
//!
//! **In** bytes. **Out** a position, or an integer. **Invariant:** the answers are those of looking at one byte after the other.
//! **Not here:** signs of the grammar, fractions and exponents (`cursor`, `token`).
//!
//! Source: Lemire, "Number Parsing at a Gigabyte per Second".

const ONES: u64 = u64::MAX / 255;

/// As many as 64 bits always hold.
const DIGITS_MAX: usize = 18;

/// Returns the position of the first byte at or after `pos` that is no digit, or the end.
#[inline(always)]
pub(super) fn digits_until(bytes: &[u8], mut pos: usize) -> usize {
    while let Some(eight) = bytes.get(pos..).and_then(|rest| rest.first_chunk()) {
        match others(*eight) {
            0 => pos += 8,
            marks => return pos + marks.trailing_zeros() as usize / 8,
        }
    }
    while bytes.get(pos).is_some_and(u8::is_ascii_digit) {
        pos += 1;
    }
    pos
}

/// Reads an integer; `None` for what is none, or one that 64 bits cannot hold.
#[inline]
pub(crate) fn integer(number: &str) -> Option<i64> {
    let (digits, sign) = match number.as_bytes() {
        [b'-', digits @ ..] => (digits, -1),
        digits => (digits, 1),
    };
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return number.parse().ok();
    }
    let (mut value, mut rest) = (0, digits);
    while let Some((eight, behind)) = rest.split_first_chunk() {
        if others(*eight) != 0 {
            return None;
        }
        value = value * 100_000_000 + value_of_eight(*eight);
        rest = behind;
    }
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(sign * value)
}

/// Sets the top bits of bytes that are no digits: certainly of the first one, and of no byte before it.
#[inline(always)]
fn others(bytes: [u8; 8]) -> u64 {
    // Less than ten is left of a digit. A carry can only reach bytes behind the first true hit.
    let left = u64::from_le_bytes(bytes) ^ (ONES * 0x30);
    (left.wrapping_add(ONES * (0x80 - 10)) | left) & (ONES * 0x80)
}

/// Reads eight digits: neighbours become pairs, pairs fours, fours the whole.
#[inline(always)]
fn value_of_eight(digits: [u8; 8]) -> i64 {
    let ones = u64::from_le_bytes(digits) & (ONES * 0x0F);
    let pairs = (ones.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul(1 + (10_000 << 32)) >> 32).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_no_digit_is_found_at_every_place_from_every_place() {
        for (filler, len) in [b'0', b'9'].into_iter().flat_map(|filler| (0..27).map(move |len| (filler, len)))
        {
            for (at, byte) in (0..len).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut bytes = vec![filler; len];
                bytes[at] = byte;
                for pos in 0..=len {
                    let want = if byte.is_ascii_digit() || at < pos { len } else { at };
                    assert_eq!(digits_until(&bytes, pos), want, "from {pos}, {byte} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_bytes_that_are_no_digits_counts() {
        let bytes = b"12.4\xFF\xFF:/-345678".repeat(3);
        for pos in 0..bytes.len() {
            let next = bytes[pos..].iter().position(|byte| !byte.is_ascii_digit());
            assert_eq!(digits_until(&bytes, pos), next.map_or(bytes.len(), |at| pos + at), "{pos}");
        }
    }

    #[test]
    fn integers_of_every_length_are_those_of_the_standard_library() {
        let check = |text: &str| assert_eq!(integer(text), text.parse().ok(), "{text:?}");
        for digits in ["1234567890".repeat(3), "9876543210".repeat(3), "0".repeat(30), "9".repeat(30)] {
            for len in 0..=digits.len() {
                check(&digits[..len]);
                check(&format!("-{}", &digits[..len]));
                // A byte that is none in each place.
                for (at, byte) in
                    (0..len).flat_map(|at| ['.', '/', ':', 'e', '-', '\0'].map(|byte| (at, byte)))
                {
                    let mut text = digits[..len].to_owned();
                    text.replace_range(at..=at, byte.encode_utf8(&mut [0; 4]));
                    check(&text);
                }
            }
        }
        for text in [i64::MIN, i64::MIN + 1, i64::MAX, 0, -1].map(|n| n.to_string()) {
            check(&text);
        }
        check("9223372036854775808");
        check("-9223372036854775809");
    }
}
