//! What must come out, computed the slow way from the source's records alone.
//!
//! **Invariant:** nothing in here calls the engine's window, watermark or aggregate code, or knows of commits and restarts.

use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::View;

/// One record as it was produced, if it counts: aborted and lost ones are not shown to the oracle.
#[derive(Debug, Clone)]
pub(crate) struct Rec {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) ts_ms: i64,
    /// `None` = the record is bad.
    pub(crate) key: Option<String>,
    pub(crate) num: Option<i64>,
}

/// Key and window start; 0 for running tables.
pub(crate) type RowKey = (String, i64);

#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) finals: BTreeMap<RowKey, String>,
    /// What the channel holds, with whether it is final.
    pub(crate) last: BTreeMap<RowKey, (String, bool)>,
    /// Rows of windows that take records, whether shown or not.
    pub(crate) open: BTreeMap<RowKey, String>,
    pub(crate) late: BTreeSet<(i32, i64)>,
    pub(crate) bad: BTreeSet<(i32, i64)>,
    /// Highest time of a good record less lateness.
    pub(crate) watermark_ms: Option<i64>,
}

/// Looks at the records of partitions whose groups are put together: one of a keyed stream, or all. Each partition judges lateness for
/// itself; a window closes when the last of them has passed it.
pub(crate) fn expect(parts: &[Vec<Rec>], view: &View, lateness_ms: i64) -> Expected {
    let mut expected = Expected::default();
    let mut rows: BTreeMap<RowKey, Vec<Option<i64>>> = BTreeMap::new();
    let ends = |start: i64| view.size_ms.map(|size| start + size + view.grace_ms);
    let mut watermarks: Vec<Option<i64>> = Vec::new();
    for records in parts {
        let mut watermark: Option<i64> = None;
        for record in records {
            let place = (record.partition, record.offset);
            let Some(key) = &record.key else {
                expected.bad.insert(place);
                continue;
            };
            watermark = watermark.max(Some(record.ts_ms - lateness_ms));
            let start = view.size_ms.map_or(0, |size| record.ts_ms - record.ts_ms.rem_euclid(size));
            if ends(start).is_some_and(|end| Some(end) <= watermark) {
                expected.late.insert(place);
            } else {
                rows.entry((key.clone(), start)).or_default().push(record.num);
            }
        }
        watermarks.push(watermark);
    }
    // `None` is the lowest: a partition that has said nothing holds all others back.
    expected.watermark_ms = watermarks.into_iter().min().flatten();
    for (at, nums) in rows {
        let watermark = expected.watermark_ms.unwrap_or(i64::MIN);
        let is_final = ends(at.1).is_some_and(|end| end <= watermark);
        let is_retired =
            is_final && ends(at.1).zip(view.retain_ms).is_some_and(|(end, retain)| end + retain <= watermark);
        let row = row(&nums);
        if is_final {
            expected.finals.insert(at.clone(), row.clone());
        } else {
            expected.open.insert(at.clone(), row.clone());
        }
        if (is_final || view.changes || view.size_ms.is_none()) && !is_retired {
            expected.last.insert(at, (row, is_final));
        }
    }
    expected
}

/// `n`, `sum`, `max`, `d`.
fn row(nums: &[Option<i64>]) -> String {
    let some: Vec<i64> = nums.iter().flatten().copied().collect();
    let text = |n: Option<i64>| n.map_or("null".to_owned(), |n| n.to_string());
    let sum = (!some.is_empty()).then(|| some.iter().sum());
    let different: BTreeSet<i64> = some.iter().copied().collect();
    format!("{},{},{},{}", nums.len(), text(sum), text(some.iter().max().copied()), different.len())
}
