//! Aggregates: one column of cells per aggregate call, one cell per row of a bucket.
//!
//! **In** the argument's value for one record. **Out** the result, and the cell's bytes for the journal.
//! **Before** this file: `expr`. **After** it: `state` (rows of cells), `engine` (emits results).
//!
//! **Invariant:** NULL arguments are skipped; results do not depend on the order of records, nor on how often the state
//! went through the journal; integers stay exact, and so do sums of doubles until they are rounded once, in the result.
//! **Not here:** which records reach a cell (`engine`).

use std::cmp::Ordering;

use bumpalo::Bump;

use crate::{
    plan::AggregateKind,
    state::canon::{self, Reader},
    value::{Datum, Value},
};

pub mod exact;
mod round;
mod set;
mod sum;
#[cfg(test)]
mod tests;

pub use round::round_ratio;
pub use set::DistinctSet;
pub use sum::Sum;

/// The cells of one aggregate call.
#[derive(Debug)]
pub(crate) enum Column {
    Count(Vec<u64>),
    Distinct(Vec<Option<Box<DistinctSet>>>),
    Sum(Vec<Sum>),
    Avg(Vec<(Sum, u64)>),
    /// `min` keeps what compares `Less`, `max` what compares `Greater`.
    Extreme(Ordering, Vec<Value>),
}

impl Column {
    pub(crate) fn new(kind: AggregateKind) -> Self {
        match kind {
            AggregateKind::Count => Column::Count(Vec::new()),
            AggregateKind::CountDistinct => Column::Distinct(Vec::new()),
            AggregateKind::Sum => Column::Sum(Vec::new()),
            AggregateKind::Avg => Column::Avg(Vec::new()),
            AggregateKind::Min => Column::Extreme(Ordering::Less, Vec::new()),
            AggregateKind::Max => Column::Extreme(Ordering::Greater, Vec::new()),
        }
    }

    /// Appends the cell of a new row.
    pub(crate) fn push(&mut self) {
        match self {
            Column::Count(cells) => cells.push(0),
            Column::Distinct(cells) => cells.push(None),
            Column::Sum(cells) => cells.push(Sum::default()),
            Column::Avg(cells) => cells.push(Default::default()),
            Column::Extreme(_, cells) => cells.push(Value::Null),
        }
    }

    /// Bytes of one cell, without what it owns on the heap.
    pub(crate) fn cell_bytes(&self) -> usize {
        match self {
            Column::Count(_) | Column::Distinct(_) => 8,
            Column::Sum(_) => size_of::<Sum>(),
            Column::Avg(_) => size_of::<(Sum, u64)>(),
            Column::Extreme(..) => size_of::<Value>(),
        }
    }

    /// Counts a record: `count(*)`.
    #[inline]
    pub(crate) fn count(&mut self, row: usize) {
        match self {
            Column::Count(cells) => cells[row] += 1,
            _ => debug_assert!(false, "only count(*) has no argument"),
        }
    }

    /// Folds one argument into a cell; returns by how many bytes its heap grew, which may be below zero.
    pub(crate) fn fold(&mut self, row: usize, datum: Datum<'_>) -> isize {
        if datum.is_null() {
            return 0;
        }
        match self {
            Column::Count(cells) => {
                cells[row] += 1;
                0
            }
            Column::Distinct(cells) => cells[row].get_or_insert_default().insert(datum),
            Column::Sum(cells) => cells[row].add(datum),
            Column::Avg(cells) => {
                let (sum, count) = &mut cells[row];
                *count += u64::from(sum::is_number(datum));
                sum.add(datum)
            }
            Column::Extreme(want, cells) => {
                let cell = &mut cells[row];
                if !matches!(cell, Value::Null) && order(datum, cell.datum()) != *want {
                    return 0;
                }
                let before = heap_bytes(cell);
                *cell = datum.to_value();
                heap_bytes(cell) as isize - before as isize
            }
        }
    }

    /// Tells whether folding the argument would make the state larger: only sets grow with every new value.
    pub(crate) fn would_grow(&self, row: usize, datum: Datum<'_>) -> bool {
        match self {
            Column::Distinct(cells) if !datum.is_null() => {
                cells[row].as_ref().is_none_or(|set| !set.contains(datum))
            }
            _ => false,
        }
    }

    /// Computes what the result of a cell would be with one more argument folded; `None` = with that one alone.
    pub(crate) fn result_with<'a>(
        &'a self,
        row: Option<usize>,
        datum: Datum<'a>,
        arena: &'a Bump,
    ) -> Datum<'a> {
        match self {
            Column::Count(cells) => {
                count_datum(row.map_or(0, |row| cells[row]) + u64::from(!datum.is_null()))
            }
            Column::Sum(cells) => {
                let mut sum = row.map_or_else(Sum::default, |row| cells[row].clone());
                sum.add(datum);
                sum.total(arena)
            }
            Column::Avg(cells) => {
                let (mut sum, count) = row.map_or_else(Default::default, |row| cells[row].clone());
                sum.add(datum);
                sum.mean(count + u64::from(sum::is_number(datum)))
            }
            Column::Extreme(want, cells) => {
                let known = row.map_or(Datum::Null, |row| cells[row].datum());
                let stays = datum.is_null() || (!known.is_null() && order(datum, known) != *want);
                if stays { known } else { datum }
            }
            Column::Distinct(_) => {
                debug_assert!(false, "no set grows by finals");
                Datum::Null
            }
        }
    }

    /// Computes the result of a cell.
    pub(crate) fn result<'a>(&'a self, row: usize, arena: &'a Bump) -> Datum<'a> {
        match self {
            Column::Count(cells) => count_datum(cells[row]),
            Column::Distinct(cells) => count_datum(cells[row].as_ref().map_or(0, |set| set.len() as u64)),
            Column::Sum(cells) => cells[row].total(arena),
            Column::Avg(cells) => cells[row].0.mean(cells[row].1),
            Column::Extreme(_, cells) => cells[row].datum(),
        }
    }

    /// Appends a cell for the journal. Scalars are absolute; a set gives its elements from `from` on, as many as fit.
    ///
    /// - **Shape:** returns where a set goes on; all is written when that is [`elements`](Self::elements).
    pub(crate) fn encode(&self, row: usize, from: usize, room: usize, out: &mut Vec<u8>) -> usize {
        match self {
            Column::Count(cells) => canon::put_unsigned(cells[row], out),
            Column::Distinct(cells) => match &cells[row] {
                Some(set) => return set.encode(from, room, out),
                None => canon::put_unsigned(0, out),
            },
            Column::Sum(cells) => cells[row].encode(out),
            Column::Avg(cells) => {
                canon::put_unsigned(cells[row].1, out);
                cells[row].0.encode(out);
            }
            Column::Extreme(_, cells) => canon::encode_exactly(cells[row].datum(), out),
        }
        0
    }

    /// Appends a cell of a row that nothing was folded into.
    pub(crate) fn encode_nothing(&self, out: &mut Vec<u8>) {
        match self {
            Column::Count(_) | Column::Distinct(_) => canon::put_unsigned(0, out),
            Column::Sum(_) => Sum::Empty.encode(out),
            Column::Avg(_) => {
                canon::put_unsigned(0, out);
                Sum::Empty.encode(out);
            }
            Column::Extreme(..) => canon::encode_exactly(Datum::Null, out),
        }
    }

    /// Tells whether cells are sets.
    pub(crate) fn is_set(&self) -> bool {
        matches!(self, Column::Distinct(_))
    }

    /// Returns how many elements the cell's set has; 0 for scalars.
    pub(crate) fn elements(&self, row: usize) -> usize {
        match self {
            Column::Distinct(cells) => cells[row].as_ref().map_or(0, |set| set.len()),
            _ => 0,
        }
    }

    /// Returns how many elements of the cell's set are in the journal already.
    pub(crate) fn journaled(&self, row: usize) -> usize {
        match self {
            Column::Distinct(cells) => cells[row].as_ref().map_or(0, |set| set.journaled()),
            _ => 0,
        }
    }

    /// Notes that the cell is in the journal whole.
    pub(crate) fn mark_journaled(&mut self, row: usize) {
        if let Column::Distinct(cells) = self
            && let Some(set) = &mut cells[row]
        {
            set.mark_journaled();
        }
    }

    /// Adds a cell that other records were folded into; returns by how many bytes the heap grew. `None` = damaged.
    ///
    /// - **Shape:** what [`encode`](Self::encode) wrote, of whole cells; any order gives the same.
    pub(crate) fn merge(&mut self, row: usize, reader: &mut Reader<'_>) -> Option<isize> {
        Some(match self {
            Column::Count(cells) => {
                cells[row] = cells[row].saturating_add(reader.unsigned()?);
                0
            }
            Column::Distinct(cells) => {
                let added = reader.len()?;
                let mut grown = 0;
                for _ in 0..added {
                    grown += cells[row].get_or_insert_default().insert_bytes(reader.skip_value()?);
                }
                grown
            }
            Column::Sum(cells) => cells[row].merge(&Sum::decode(reader)?),
            Column::Avg(cells) => {
                let (sum, count) = &mut cells[row];
                *count = count.saturating_add(reader.unsigned()?);
                sum.merge(&Sum::decode(reader)?)
            }
            Column::Extreme(..) => {
                let value = reader.value()?;
                self.fold(row, value.datum())
            }
        })
    }

    /// Tells whether a set of the other column has elements that the cell's lacks.
    pub(crate) fn lacks(&self, row: usize, other: &Column, other_row: usize) -> bool {
        match (self, other) {
            (Column::Distinct(cells), Column::Distinct(others)) => {
                let Some(other) = &others[other_row] else { return false };
                cells[row].as_ref().map_or(!other.is_empty(), |set| set.lacks(other))
            }
            _ => false,
        }
    }

    /// Puts a cell from the journal in place; returns by how many bytes its heap grew. `None` = damaged.
    pub(crate) fn apply(&mut self, row: usize, reader: &mut Reader<'_>) -> Option<isize> {
        match self {
            Column::Count(cells) => cells[row] = reader.unsigned()?,
            Column::Distinct(cells) => {
                let added = reader.len()?;
                let mut grown = 0;
                for _ in 0..added {
                    grown += cells[row].get_or_insert_default().insert_bytes(reader.skip_value()?);
                }
                self.mark_journaled(row);
                return Some(grown);
            }
            Column::Sum(cells) => return replace_sum(&mut cells[row], reader),
            Column::Avg(cells) => {
                cells[row].1 = reader.unsigned()?;
                return replace_sum(&mut cells[row].0, reader);
            }
            Column::Extreme(_, cells) => {
                let before = heap_bytes(&cells[row]);
                cells[row] = reader.value()?;
                return Some(heap_bytes(&cells[row]) as isize - before as isize);
            }
        }
        Some(0)
    }
}

/// Orders any two values: those that never compare by their kind, so that it does not matter which came first.
fn order(a: Datum<'_>, b: Datum<'_>) -> Ordering {
    let kind = |datum: Datum<'_>| match datum {
        Datum::Null => 0,
        Datum::Bool(_) => 1,
        Datum::Int(_) | Datum::Wide(_) | Datum::Float(_) | Datum::Timestamp(_) => 2,
        Datum::Text(_) => 3,
        Datum::Json(_) => 4,
        Datum::Bytes(_) => 5,
    };
    a.compare(b).unwrap_or_else(|| kind(a).cmp(&kind(b)))
}

fn replace_sum(cell: &mut Sum, reader: &mut Reader<'_>) -> Option<isize> {
    let before = cell.heap_bytes();
    *cell = Sum::decode(reader)?;
    Some(cell.heap_bytes() as isize - before as isize)
}

fn count_datum<'a>(n: u64) -> Datum<'a> {
    // A count past 2^63 would take centuries of records.
    Datum::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Wide(_) => 16,
        Value::Text(t) | Value::Json(t) => t.len(),
        Value::Bytes(b) => b.len(),
        _ => 0,
    }
}
