//! Rounding: an exact fraction becomes the nearest double, once.
//!
//! **In** a whole number of any size, a power of two, a divisor. **Out** the nearest double, ties to even.
//! **Invariant:** correctly rounded also among subnormals; what is past the largest double is `None`.
//!
//! Source: IEEE 754-2019 §4.3.1; long division as in Knuth, TAOCP 4.3.1.

/// Quotient bits that decide the rounding for certain: 53, a half bit, and room for sticky ones.
const QUOTIENT_BITS_MIN: u64 = 66;
/// Weight of the lowest bit of the smallest subnormal.
const EXPONENT_MIN: i64 = -1074;

/// Returns `±magnitude · 2^exponent / divisor` as the nearest double.
///
/// - **Shape:** `magnitude` in limbs of 32 bits, lowest first.
/// - **Limits:** `divisor > 0`.
/// - **Errors:** `None` when the result is past the largest double.
pub fn round_ratio(negative: bool, magnitude: &[u32], exponent: i64, divisor: u64) -> Option<f64> {
    debug_assert!(divisor > 0, "an average has a count");
    let bits = bit_length(magnitude);
    if bits == 0 || divisor == 0 {
        return Some(0.0);
    }
    // Enough zeros below that the quotient has all the bits that matter.
    let missing = (QUOTIENT_BITS_MIN + 64).saturating_sub(bits).div_ceil(32);
    let exponent = exponent - 32 * missing as i64;
    let mut limbs = vec![0; missing as usize];
    limbs.extend_from_slice(magnitude);
    let rest = divide(&mut limbs, divisor);
    let bits = bit_length(&limbs) as i64;
    // Weight of the last bit that the double keeps, and how many bits of the quotient lie below it.
    let lowest = (bits - 53 + exponent).max(EXPONENT_MIN);
    let below = lowest - exponent;
    let kept = if below >= bits { 0 } else { bits_from(&limbs, below) };
    let half = bit(&limbs, below - 1);
    let sticky = rest != 0 || any_bit_below(&limbs, below - 1);
    let rounded = kept + u64::from(half && (sticky || kept & 1 == 1));
    from_parts(negative, rounded, lowest)
}

/// Builds `±mantissa · 2^lowest`; the mantissa may have just overflowed into bit 53.
fn from_parts(negative: bool, mantissa: u64, lowest: i64) -> Option<f64> {
    let magnitude = if mantissa >> 52 == 0 {
        mantissa
    } else {
        // The hidden bit adds the last one to the exponent field, and so does an overflow of rounding.
        let field = u64::try_from(lowest - EXPONENT_MIN).ok()?;
        if field > 2046 {
            return None;
        }
        (field << 52).checked_add(mantissa)?
    };
    let double = f64::from_bits(magnitude | u64::from(negative) << 63);
    double.is_finite().then_some(if double == 0.0 { 0.0 } else { double })
}

/// Divides in place, returns the remainder.
fn divide(limbs: &mut [u32], divisor: u64) -> u64 {
    let mut rest = 0_u128;
    for limb in limbs.iter_mut().rev() {
        let part = rest << 32 | u128::from(*limb);
        // Below 2^32, because the rest is below the divisor.
        *limb = (part / u128::from(divisor)) as u32;
        rest = part % u128::from(divisor);
    }
    rest as u64
}

fn bit_length(limbs: &[u32]) -> u64 {
    match limbs.iter().rposition(|limb| *limb != 0) {
        Some(top) => 32 * top as u64 + u64::from(32 - limbs[top].leading_zeros()),
        None => 0,
    }
}

fn bit(limbs: &[u32], at: i64) -> bool {
    at >= 0 && limbs.get(at as usize / 32).is_some_and(|limb| limb >> (at % 32) & 1 == 1)
}

fn any_bit_below(limbs: &[u32], at: i64) -> bool {
    let Ok(at) = usize::try_from(at) else { return false };
    let whole = (at / 32).min(limbs.len());
    limbs[..whole].iter().any(|limb| *limb != 0)
        || limbs.get(whole).is_some_and(|limb| at / 32 == whole && limb & ((1_u32 << (at % 32)) - 1) != 0)
}

/// Returns the bits from `at` up: at most 53 of them, as the caller chose `at`.
fn bits_from(limbs: &[u32], at: i64) -> u64 {
    let (limb, shift) = (at as usize / 32, at % 32);
    let part = |i: usize| u128::from(limbs.get(limb + i).copied().unwrap_or(0));
    ((part(0) | part(1) << 32 | part(2) << 64) >> shift) as u64
}
