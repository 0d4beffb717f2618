//! Exact sums: a fixed-point number wide enough for every double, of which only the touched part is kept.
//!
//! **In** doubles and integers. **Out** their exact sum, and that sum over a count, rounded once.
//! **Invariant:** addition is integer addition, so the order of what was added cannot matter, not even where a sum of
//! doubles would pass through infinity; two numbers of equal value have equal journal bytes.
//!
//! Limb `i` holds multiples of `2^(32 (low + i))`. Between carries a limb may run past 32 bits, either sign.
//!
//! Source: Kulisch, "Computer Arithmetic and Validity" (2013), the long accumulator.

use super::round::round_ratio;
use crate::state::canon::{self, Reader};

const LIMB_BITS: i32 = 32;
/// Additions after which carries are due: each adds less than 2^32 to a limb of 63 bits.
const ADDITIONS_MAX: u32 = 1 << 30;
/// Lowest and highest limb that doubles, 128-bit integers and the carries of 2^64 of them can touch.
const LIMB_MIN: i32 = -34;
const LIMBS_MAX: usize = 34 + 36;

/// A sum without rounding.
#[derive(Debug, Clone, Default)]
pub struct Exact {
    low: i32,
    limbs: Vec<i64>,
    additions: u32,
}

impl Exact {
    /// Adds a double; what is not finite is left out.
    pub fn add_double(&mut self, f: f64) {
        let bits = f.to_bits();
        let field = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        if field == 0x7ff || f == 0.0 {
            return;
        }
        let (mantissa, exponent) =
            if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
        let shift = exponent.rem_euclid(LIMB_BITS);
        self.add(exponent.div_euclid(LIMB_BITS), u128::from(mantissa) << shift, f < 0.0);
    }

    /// Adds an integer.
    pub fn add_integer(&mut self, i: i128) {
        self.add(0, i.unsigned_abs(), i < 0);
    }

    /// Adds another exact sum.
    pub fn add_exact(&mut self, other: &Exact) {
        let mut other = other.clone();
        other.carry();
        for (i, limb) in other.limbs.iter().enumerate() {
            self.add(other.low + i as i32, u128::from(limb.unsigned_abs()), *limb < 0);
        }
    }

    /// Returns the sum if it is whole and fits.
    pub fn to_integer(&self) -> Option<i128> {
        let (negative, magnitude, exponent) = self.parts();
        let below = usize::try_from(-exponent / LIMB_BITS).unwrap_or(0).min(magnitude.len());
        if magnitude[..below].iter().any(|limb| *limb != 0) {
            return None;
        }
        let mut total = 0_u128;
        for (i, limb) in magnitude[below..].iter().enumerate() {
            let at = 32 * i as u32 + exponent.max(0) as u32;
            if *limb != 0 && at >= 128 {
                return None;
            }
            total |= u128::from(*limb).checked_shl(at).unwrap_or(0);
        }
        if negative { 0_i128.checked_sub_unsigned(total) } else { i128::try_from(total).ok() }
    }

    /// Returns the sum over `count` as the nearest double; `None` when that is past the largest one.
    pub fn over(&self, count: u64) -> Option<f64> {
        let (negative, magnitude, exponent) = self.parts();
        round_ratio(negative, &magnitude, i64::from(exponent), count)
    }

    /// Appends the canonical bytes: lowest limb, number of limbs, sign, limbs without zeros at the ends.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (negative, magnitude, exponent) = self.parts();
        let from = magnitude.iter().position(|limb| *limb != 0).unwrap_or(magnitude.len());
        let to = magnitude.iter().rposition(|limb| *limb != 0).map_or(from, |top| top + 1);
        let low = if from == to { 0 } else { exponent / LIMB_BITS + from as i32 };
        canon::put_signed(i64::from(low), out);
        canon::put_unsigned((to - from) as u64, out);
        out.push(u8::from(negative));
        magnitude[from..to].iter().for_each(|limb| out.extend_from_slice(&limb.to_le_bytes()));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let low = i32::try_from(reader.signed()?).ok()?;
        let len = reader.len().filter(|len| *len <= LIMBS_MAX)?;
        if !(LIMB_MIN..LIMBS_MAX as i32).contains(&low) {
            return None;
        }
        let negative = reader.byte()? != 0;
        let mut limbs = Vec::with_capacity(len);
        for _ in 0..len {
            let limb = i64::from(u32::from_le_bytes(reader.array()?));
            limbs.push(if negative { -limb } else { limb });
        }
        Some(Self { low, limbs, additions: 1 })
    }

    fn add(&mut self, at: i32, magnitude: u128, negative: bool) {
        if self.additions >= ADDITIONS_MAX {
            self.carry();
        }
        self.additions += 1;
        let used = (128 - magnitude.leading_zeros()).div_ceil(LIMB_BITS as u32) as usize;
        if used == 0 {
            return;
        }
        self.reach(at, used);
        let first = (at - self.low) as usize;
        for (i, limb) in self.limbs[first..first + used].iter_mut().enumerate() {
            let part = i64::from((magnitude >> (32 * i)) as u32);
            *limb += if negative { -part } else { part };
        }
    }

    /// Makes room for `used` limbs from `at` on.
    fn reach(&mut self, at: i32, used: usize) {
        if self.limbs.is_empty() {
            self.low = at;
        }
        if at < self.low {
            let missing = (self.low - at) as usize;
            self.limbs.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = at;
        }
        let needed = (at - self.low) as usize + used;
        if self.limbs.len() < needed {
            self.limbs.resize(needed, 0);
        }
    }

    /// Brings every limb but the last into `0..2^32`.
    fn carry(&mut self) {
        let mut over = 0_i64;
        for limb in &mut self.limbs {
            let sum = *limb + over;
            *limb = sum & 0xffff_ffff;
            over = sum >> LIMB_BITS;
        }
        if over != 0 {
            self.limbs.push(over);
        }
        self.additions = 1;
    }

    /// Returns sign, magnitude in limbs of 32 bits, and the power of two that they are multiples of.
    fn parts(&self) -> (bool, Vec<u32>, i32) {
        let mut carried = self.clone();
        carried.carry();
        let negative = carried.limbs.last().is_some_and(|top| *top < 0);
        if negative {
            carried.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            carried.carry();
        }
        // Carried and not negative: every limb is below 2^32, for the top one is a carry of a carry.
        (negative, carried.limbs.iter().map(|limb| *limb as u32).collect(), carried.low * LIMB_BITS)
    }
}
