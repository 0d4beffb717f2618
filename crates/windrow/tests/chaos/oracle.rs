//! The oracle: what must come of the source topic, computed from its records alone. It shares no code with the engine.
//!
//! **In** every source record with its place. **Out** finals, late, bad and copied records.
//! **Invariant:** a record is late when a window of its partition has closed: the highest time before it, less lateness, is at
//! or past the window's end and grace. Where silence moves time on, which ones are late is read from the late topic instead,
//! and only that each record is either counted or late is judged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    sight::{Ledger, Place, Window},
    world::PARTITIONS,
};

pub(crate) const SIZE_MS: i64 = 5_000;
pub(crate) const LATENESS_MS: i64 = 2_000;
pub(crate) const GRACE_MS: i64 = 1_000;

/// What should have come out.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) finals: BTreeMap<Window, Value>,
    pub(crate) copies: BTreeSet<Place>,
    pub(crate) late: BTreeMap<Place, Window>,
    pub(crate) bad: BTreeMap<Place, String>,
    /// For each late partial that was found, how many records it must stand for.
    pub(crate) late_partials: BTreeMap<(Place, Window), u64>,
}

/// One window of one key.
#[derive(Debug, Default)]
struct Sum {
    values: Vec<i64>,
    users: BTreeSet<i64>,
}

/// Computes it for all windows that end before `later_ms`, the time of the last record of every partition.
pub(crate) fn wanted(ledger: &Ledger, later_ms: i64, time_flows: bool) -> Wanted {
    let mut wanted = Wanted::default();
    let mut sums: BTreeMap<Window, Sum> = BTreeMap::new();
    let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
    for (place, bytes) in &ledger.source {
        let row: Value = match serde_json::from_slice(bytes) {
            Ok(row) => row,
            Err(_) => {
                wanted.bad.insert(*place, "not_json".into());
                continue;
            }
        };
        let Some(ts) = row["ts"].as_i64() else {
            wanted.bad.insert(*place, "missing_time".into());
            continue;
        };
        if ts > later_ms {
            wanted.bad.insert(*place, "too_far_ahead".into());
            continue;
        }
        let highest = highest.entry(place.0).or_insert(i64::MIN);
        *highest = ts.max(*highest);
        let value = row["v"].as_i64().unwrap();
        if value < 0 {
            continue;
        }
        wanted.copies.insert(*place);
        let start = ts.div_euclid(SIZE_MS) * SIZE_MS;
        let window = (row["k"].as_str().unwrap().to_owned(), start);
        let is_late = *highest - LATENESS_MS >= start + SIZE_MS + GRACE_MS;
        if is_late || (time_flows && ledger.late.contains_key(place)) {
            wanted.late.insert(*place, window);
        } else if let Some(partial) = late_partial(ledger, *place, &window) {
            *wanted.late_partials.entry(partial).or_default() += 1;
        } else {
            let sum = sums.entry(window).or_default();
            sum.values.push(value);
            sum.users.insert(row["u"].as_i64().unwrap());
        }
    }
    let closed = |start: i64| start + SIZE_MS + GRACE_MS <= later_ms - LATENESS_MS;
    let rows = sums.into_iter().filter(|((_, start), _)| closed(*start));
    wanted.finals = rows.map(|(window, sum)| (window, sum.row())).collect();
    wanted
}

/// Finds the late partial that a record went into: only partitions that were added later can have one.
fn late_partial(ledger: &Ledger, place: Place, window: &Window) -> Option<(Place, Window)> {
    if place.0 < PARTITIONS {
        return None;
    }
    let before = ledger.late_partials.range(..=(place, ("~".to_owned(), i64::MAX))).rev();
    let mut same =
        before.take_while(|((first, _), _)| first.0 == place.0).filter(|((_, of), _)| of == window);
    let (key, (end, _)) = same.next()?;
    (place.1 < *end).then(|| key.clone())
}

impl Sum {
    fn row(&self) -> Value {
        let total: i64 = self.values.iter().sum();
        let n = self.values.len();
        json!({
            "n": n,
            "total": total,
            "lo": self.values.iter().min(),
            "hi": self.values.iter().max(),
            "mean": total as f64 / n as f64,
            "users": self.users.len(),
        })
    }
}

/// Tells the first few differences, one a line; nothing when all is as it should be.
pub(crate) fn differences(ledger: &Ledger, wanted: &Wanted) -> Vec<String> {
    let mut out = Vec::new();
    for (name, found) in [("finals", &ledger.finals), ("channel", &ledger.channel)] {
        let found = found.iter().map(|(window, row)| (window.clone(), columns(row)));
        let rows: BTreeMap<Window, String> =
            wanted.finals.iter().map(|(window, row)| (window.clone(), columns(row))).collect();
        compare(name, found.collect(), &rows, &mut out);
    }
    compare("late", ledger.late.clone(), &wanted.late, &mut out);
    let counts = ledger.late_partials.iter().map(|(key, (_, n))| (key.clone(), *n)).collect();
    compare("late partials", counts, &wanted.late_partials, &mut out);
    compare("bad", ledger.bad.clone(), &wanted.bad, &mut out);
    let set = |places: &BTreeSet<Place>| places.iter().map(|place| (*place, ())).collect::<BTreeMap<_, _>>();
    compare("copies", set(&ledger.copies), &set(&wanted.copies), &mut out);
    out
}

/// The aggregates alone; a mean of 4 is the same number as 4.0.
fn columns(row: &Value) -> String {
    let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    let columns = ["n", "total", "lo", "hi", "mean", "users"];
    columns.map(|name| format!("{name}={}", number(name))).join(" ")
}

const SHOWN_MAX: usize = 8;

fn compare<K, V>(name: &str, found: BTreeMap<K, V>, wanted: &BTreeMap<K, V>, out: &mut Vec<String>)
where
    K: Ord + std::fmt::Debug,
    V: PartialEq + std::fmt::Debug,
{
    let mut lines = Vec::new();
    for (key, value) in wanted {
        match found.get(key) {
            None => lines.push(format!("{name}: {key:?} is missing: {value:?}")),
            Some(other) if other != value => {
                lines.push(format!("{name}: {key:?} is {other:?} and should be {value:?}"));
            }
            Some(_) => {}
        }
    }
    for (key, value) in found.iter().filter(|(key, _)| !wanted.contains_key(key)) {
        lines.push(format!("{name}: {key:?} should not be there: {value:?}"));
    }
    if !lines.is_empty() {
        let (have, want) = (found.len(), wanted.len());
        out.push(format!("{name}: {have} found, {want} wanted, {} differ", lines.len()));
        out.extend(lines.into_iter().take(SHOWN_MAX));
    }
}
