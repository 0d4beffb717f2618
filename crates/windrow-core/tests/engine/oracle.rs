//! What must come out, computed the slow way: all accepted records of a row are kept and looked at again.
//!
//! **Invariant:** nothing in here calls the engine's window, watermark or aggregate code.

use std::collections::{BTreeMap, BTreeSet};

/// An argument: thousand-and-twenty-fourths, so that sums are exact in integers and halves of them in doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Num(pub(crate) i64);

impl Num {
    pub(crate) const ONE: i64 = 1024;

    pub(crate) fn json(self) -> String {
        double(self.0 as f64 / Self::ONE as f64)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Rec {
    pub(crate) ts_ms: i64,
    /// Row key as JSON; `None` = the record is bad.
    pub(crate) key: Option<&'static str>,
    pub(crate) num: Option<Num>,
}

#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// `None` = a running table.
    pub(crate) size_ms: Option<i64>,
    pub(crate) grace_ms: i64,
    pub(crate) retain_ms: Option<i64>,
    /// Rows with fewer records do not hold.
    pub(crate) having_min: usize,
    /// Records with less are filtered out; NULL too, when set.
    pub(crate) filter_min: Option<Num>,
}

/// Key and window start; 0 for running tables.
pub(crate) type RowKey = (String, i64);

#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Rows by key: the columns after `k`, as JSON text.
    pub(crate) finals: BTreeMap<RowKey, String>,
    /// What the channel holds, with whether it is final.
    pub(crate) last: BTreeMap<RowKey, (String, bool)>,
    /// Offsets of late records.
    pub(crate) late: BTreeSet<usize>,
}

pub(crate) fn expect(records: &[Rec], spec: &Spec, lateness_ms: i64, ended: bool, changes: bool) -> Expected {
    let mut expected = Expected::default();
    let mut rows: BTreeMap<RowKey, Vec<Option<Num>>> = BTreeMap::new();
    let mut highest: Option<i128> = None;
    let good = records.iter().enumerate().filter(|(_, record)| record.key.is_some());
    for (offset, record) in good {
        let ts = i128::from(record.ts_ms);
        highest = highest.max(Some(ts));
        if spec.filter_min.is_some_and(|min| record.num.is_none_or(|num| num < min)) {
            continue;
        }
        let watermark = highest.unwrap() - i128::from(lateness_ms);
        let mut start = 0;
        if let Some(size) = spec.size_ms {
            start = floor(ts, i128::from(size)) * i128::from(size);
            if start + i128::from(size) + i128::from(spec.grace_ms) <= watermark {
                expected.late.insert(offset);
                continue;
            }
        }
        rows.entry((record.key.unwrap().to_owned(), start as i64)).or_default().push(record.num);
    }
    let data = highest.map(|highest| highest - i128::from(lateness_ms));
    for ((key, start), nums) in rows {
        let ends = spec.size_ms.map(|size| i128::from(start + size + spec.grace_ms));
        let is_final = ends.is_some_and(|ends| ended || data.unwrap() >= ends);
        let retired = is_final
            && spec.retain_ms.is_some_and(|retain| data.unwrap() >= ends.unwrap() + i128::from(retain));
        if nums.len() < spec.having_min {
            continue;
        }
        let row = row(&nums);
        if is_final {
            expected.finals.insert((key.clone(), start), row.clone());
        }
        if (is_final || changes || spec.size_ms.is_none()) && !retired {
            expected.last.insert((key, start), (row, is_final));
        }
    }
    expected
}

/// `n`, `nv`, `sum`, `min`, `max`, `avg`, `d`.
fn row(nums: &[Option<Num>]) -> String {
    let some: Vec<i64> = nums.iter().flatten().map(|num| num.0).collect();
    let sum: i64 = some.iter().sum();
    let different: BTreeSet<i64> = some.iter().copied().collect();
    let or_null = |text: String| if some.is_empty() { "null".to_owned() } else { text };
    format!(
        "[{},{},{},{},{},{},{}]",
        nums.len(),
        some.len(),
        or_null(double(sum as f64 / Num::ONE as f64)),
        or_null(Num(some.iter().min().copied().unwrap_or(0)).json()),
        or_null(Num(some.iter().max().copied().unwrap_or(0)).json()),
        or_null(double(sum as f64 / (Num::ONE * some.len().max(1) as i64) as f64)),
        different.len(),
    )
}

fn double(f: f64) -> String {
    if f.fract() == 0.0 { format!("{}", f as i64) } else { serde_json::to_string(&f).unwrap() }
}

fn floor(a: i128, b: i128) -> i128 {
    let down = a / b;
    if a % b < 0 { down - 1 } else { down }
}
