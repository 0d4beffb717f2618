//! Sums: small while they are integers of 64 bits, exact whatever comes.
//!
//! **In** numbers, integers and doubles mixed. **Out** the total (an integer if every addend was one) and the mean.
//! **Invariant:** overflow shows in the result only: a total past 128 bits is NULL, but the sum behind it stays exact, and
//! the total comes back when it fits again.

use bumpalo::Bump;

use super::{exact::Exact, round::round_ratio};
use crate::{
    state::canon::{self, Reader},
    value::Datum,
};

/// The sum of the numbers so far.
#[derive(Debug, Clone, Default)]
pub enum Sum {
    /// No number yet: the total is NULL.
    #[default]
    Empty,
    /// All integers, and the total fits.
    Small(i64),
    /// Anything else.
    Large(Box<Large>),
}

/// A sum that does not fit 64 bits or has seen a double.
#[derive(Debug, Clone, Default)]
pub struct Large {
    exact: Exact,
    doubles: bool,
}

/// What a large sum counts for in the state's size: limbs for a usual spread of exponents. A constant, so that the size does
/// not depend on how often the state was restored.
const LARGE_BYTES: usize = size_of::<Large>() + 8 * 8;
/// Integers below it are exact as doubles.
const EXACT_MAX: u64 = 1 << 53;

const EMPTY: u8 = 0;
const SMALL: u8 = 1;
const INTEGERS: u8 = 2;
const DOUBLES: u8 = 3;

/// Tells whether a sum takes the value.
pub(super) fn is_number(datum: Datum<'_>) -> bool {
    matches!(datum, Datum::Float(_)) || datum.integer().is_some()
}

impl Sum {
    /// Adds a number, leaves out anything else; returns by how many bytes the heap grew.
    pub(crate) fn add(&mut self, datum: Datum<'_>) -> isize {
        let integer = match (datum.integer(), datum) {
            (None, Datum::Float(f)) => return self.add_large(|exact| exact.add_double(f), true),
            (None, _) => return 0,
            (Some(integer), _) => integer,
        };
        let small = match self {
            Sum::Empty => i64::try_from(integer).ok(),
            Sum::Small(total) => i64::try_from(i128::from(*total).saturating_add(integer)).ok(),
            Sum::Large(_) => None,
        };
        match small {
            Some(total) => {
                *self = Sum::Small(total);
                0
            }
            None => self.add_large(|exact| exact.add_integer(integer), false),
        }
    }

    /// Adds another sum; returns by how many bytes the heap grew.
    pub(crate) fn merge(&mut self, other: &Sum) -> isize {
        match other {
            Sum::Empty => 0,
            Sum::Small(total) => self.add(Datum::Int(*total)),
            Sum::Large(large) => self.add_large(|exact| exact.add_exact(&large.exact), large.doubles),
        }
    }

    fn add_large(&mut self, add: impl FnOnce(&mut Exact), double: bool) -> isize {
        let before = self.heap_bytes();
        if !matches!(self, Sum::Large(_)) {
            let mut large = Box::<Large>::default();
            if let Sum::Small(total) = self {
                large.exact.add_integer(i128::from(*total));
            }
            *self = Sum::Large(large);
        }
        if let Sum::Large(large) = self {
            large.doubles |= double;
            add(&mut large.exact);
        }
        self.heap_bytes() as isize - before as isize
    }

    /// Returns the total: NULL when there was no number, or when it does not fit.
    pub(crate) fn total<'a>(&self, arena: &'a Bump) -> Datum<'a> {
        match self {
            Sum::Empty => Datum::Null,
            Sum::Small(total) => Datum::Int(*total),
            Sum::Large(large) if large.doubles => large.exact.over(1).map_or(Datum::Null, Datum::Float),
            Sum::Large(large) => match large.exact.to_integer() {
                None => Datum::Null,
                Some(total) => {
                    i64::try_from(total).map_or_else(|_| Datum::Wide(arena.alloc(total)), Datum::Int)
                }
            },
        }
    }

    /// Returns the exact total over `count`, rounded once.
    pub(crate) fn mean<'a>(&self, count: u64) -> Datum<'a> {
        match self {
            Sum::Empty => Datum::Null,
            _ if count == 0 => Datum::Null,
            // Both are exact, so one division rounds once.
            Sum::Small(total) if total.unsigned_abs() <= EXACT_MAX && count <= EXACT_MAX => {
                Datum::Float(*total as f64 / count as f64)
            }
            Sum::Small(total) => {
                let magnitude = total.unsigned_abs();
                let limbs = [magnitude as u32, (magnitude >> 32) as u32];
                round_ratio(*total < 0, &limbs, 0, count).map_or(Datum::Null, Datum::Float)
            }
            Sum::Large(large) => large.exact.over(count).map_or(Datum::Null, Datum::Float),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Sum::Empty => out.push(EMPTY),
            Sum::Small(total) => {
                out.push(SMALL);
                canon::put_signed(*total, out);
            }
            Sum::Large(large) => {
                out.push(if large.doubles { DOUBLES } else { INTEGERS });
                large.exact.encode(out);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.byte()? {
            EMPTY => Sum::Empty,
            SMALL => Sum::Small(reader.signed()?),
            kind @ (INTEGERS | DOUBLES) => {
                let exact = Exact::decode(reader)?;
                Sum::Large(Box::new(Large { exact, doubles: kind == DOUBLES }))
            }
            _ => return None,
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Sum::Large(_) => LARGE_BYTES,
            _ => 0,
        }
    }
}
