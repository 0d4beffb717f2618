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
    /// Partitions and offsets of late records.
    pub(crate) late: BTreeSet<(usize, usize)>,
}

/// What happens in one partition.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Record(Rec),
    /// It is silent, and time goes on to there.
    Flow(i64),
    /// Its input is at its end.
    End,
}

/// Past every time.
const INFINITY: i128 = i128::MAX / 4;

/// How far one partition has come.
#[derive(Debug, Clone, Copy)]
struct Time {
    /// By its records.
    data: i128,
    /// In all.
    watermark: i128,
}

/// Partitions are looked at one after the other: nothing depends on what happens in another one but when windows close.
pub(crate) fn expect(partitions: &[Vec<Event>], spec: &Spec, lateness_ms: i64, changes: bool) -> Expected {
    let mut expected = Expected::default();
    let mut rows: BTreeMap<RowKey, Vec<Option<Num>>> = BTreeMap::new();
    let times: Vec<Time> = partitions
        .iter()
        .enumerate()
        .map(|(partition, events)| {
            let mut time = Time { data: -INFINITY, watermark: -INFINITY };
            let mut offset = 0;
            for event in events {
                match event {
                    Event::Flow(ms) => time.watermark = time.watermark.max(i128::from(*ms)),
                    Event::End => time.watermark = INFINITY,
                    Event::Record(record) => {
                        let late = !accept(record, spec, lateness_ms, &mut time, &mut rows);
                        if late {
                            expected.late.insert((partition, offset));
                        }
                        offset += 1;
                    }
                }
            }
            time
        })
        .collect();
    let lowest = times.iter().map(|time| time.watermark).min().unwrap();
    let data = times.iter().map(|time| time.data).max().unwrap().min(lowest);
    for ((key, start), nums) in rows {
        let ends = spec.size_ms.map(|size| i128::from(start + size + spec.grace_ms));
        let is_final = ends.is_some_and(|ends| lowest >= ends);
        let retired =
            is_final && spec.retain_ms.is_some_and(|retain| data >= ends.unwrap() + i128::from(retain));
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

/// Puts a record where it belongs; `false` = it is late.
fn accept(
    record: &Rec,
    spec: &Spec,
    lateness_ms: i64,
    time: &mut Time,
    rows: &mut BTreeMap<RowKey, Vec<Option<Num>>>,
) -> bool {
    let Some(key) = record.key else { return true };
    let ts = i128::from(record.ts_ms);
    time.data = time.data.max(ts - i128::from(lateness_ms));
    time.watermark = time.watermark.max(time.data);
    if spec.filter_min.is_some_and(|min| record.num.is_none_or(|num| num < min)) {
        return true;
    }
    let mut start = 0;
    if let Some(size) = spec.size_ms {
        start = floor(ts, i128::from(size)) * i128::from(size);
        if start + i128::from(size) + i128::from(spec.grace_ms) <= time.watermark {
            return false;
        }
    }
    rows.entry((key.to_owned(), start as i64)).or_default().push(record.num);
    true
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

pub(crate) fn double(f: f64) -> String {
    if f.fract() == 0.0 { format!("{}", f as i64) } else { serde_json::to_string(&f).unwrap() }
}

fn floor(a: i128, b: i128) -> i128 {
    let down = a / b;
    if a % b < 0 { down - 1 } else { down }
}
