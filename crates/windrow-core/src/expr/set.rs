//! Sets: the constants behind `IN`, sorted, so that a look-up is a binary search and equal sets have one text.

use std::cmp::Ordering;

use crate::value::{Datum, Value};

/// Constants without doubles, and whether NULL was among them.
#[derive(Debug, Clone)]
pub(crate) struct ValueSet {
    values: Box<[Value]>,
    has_null: bool,
    /// One bit per kind that occurs.
    kinds: u8,
}

impl ValueSet {
    pub(crate) fn new(values: impl IntoIterator<Item = Value>) -> Self {
        let (mut has_null, mut kinds, mut sorted) = (false, 0, Vec::new());
        for value in values {
            match kind(value.datum()) {
                0 => has_null = true,
                bit => {
                    kinds |= bit;
                    sorted.push(value);
                }
            }
        }
        sorted.sort_by(|a, b| order(a.datum(), b.datum()));
        sorted.dedup();
        Self { values: sorted.into(), has_null, kinds }
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(crate) fn has_null(&self) -> bool {
        self.has_null
    }

    /// Answers `value IN set` as the chain of `=` and OR would: `None` = unknown.
    pub(crate) fn contains(&self, value: Datum<'_>) -> Option<bool> {
        let bit = kind(value);
        if bit == 0 {
            return None;
        }
        if self.values.binary_search_by(|v| order(v.datum(), value)).is_ok() {
            return Some(true);
        }
        // A member of another kind never compares, so the answer to it is unknown, not FALSE.
        (!self.has_null && self.kinds & !bit == 0).then_some(false)
    }
}

/// One bit for each kind of value whose members compare with each other; 0 for NULL.
fn kind(value: Datum<'_>) -> u8 {
    match value {
        Datum::Null => 0,
        Datum::Bool(_) => 1,
        Datum::Int(_) | Datum::Wide(_) | Datum::Float(_) | Datum::Timestamp(_) => 2,
        Datum::Text(_) => 4,
        Datum::Json(_) => 8,
        Datum::Bytes(_) => 16,
    }
}

fn order(a: Datum<'_>, b: Datum<'_>) -> Ordering {
    kind(a).cmp(&kind(b)).then_with(|| a.compare(b).unwrap_or(Ordering::Equal))
}
