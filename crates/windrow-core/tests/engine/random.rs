//! Random runs: windows, keys, NULLs, disorder, jumps, batches, cuts and crashes against the oracle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::Value;
use windrow_core::{
    engine::TaskOptions,
    out::{OutRecord, Target},
    plan::StreamPlan,
    spec::{Emit, LatePolicy},
};

use crate::{
    oracle::{self, Event, Num, Rec, RowKey, Spec},
    world::{self, Input, World},
};

#[derive(Debug, Clone)]
enum Op {
    Batch(Vec<Rec>),
    Cut,
    Restart,
}

#[derive(Debug, Clone)]
struct Run {
    lateness_ms: i64,
    views: Vec<(Spec, Emit)>,
    options: TaskOptions,
    ops: Vec<Op>,
    ends: bool,
}

/// Times wander forward with disorder, and now and then they jump.
pub(crate) fn record() -> impl Strategy<Value = (i64, Rec)> {
    let key = select(vec![
        Some("\"a\""),
        Some("\"a\""),
        Some("\"b\""),
        Some("\"b\\n\\\"é\""),
        Some("null"),
        Some("1"),
        Some("\"1\""),
        Some("true"),
        None,
    ]);
    let step = prop_oneof![8 => 0..5_i64, 1 => 5..200_i64, 1 => -400..400_i64];
    let num = option::of(prop_oneof![3 => (-4..5_i64).prop_map(|i| i * Num::ONE), 1 => -5000..5000_i64]);
    (step, -30..1_i64, key, num)
        .prop_map(|(step, back, key, num)| (step, Rec { ts_ms: back, key, num: num.map(Num) }))
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        5 => vec(record(), 1..12).prop_map(Some),
        3 => Just(None),
    ];
    (vec((op, any::<bool>()), 1..30), -100..100_i64).prop_map(|(raw, mut time)| {
        let mut ops = Vec::new();
        for (batch, restart) in raw {
            match batch {
                Some(records) => ops.push(Op::Batch(
                    records
                        .into_iter()
                        .map(|(step, record)| {
                            time += step.max(0);
                            // A step back is disorder of one record, not of all that follow.
                            Rec { ts_ms: time + record.ts_ms + step.min(0), ..record }
                        })
                        .collect(),
                )),
                None if restart => ops.push(Op::Restart),
                None => ops.push(Op::Cut),
            }
        }
        ops
    })
}

pub(crate) fn view() -> impl Strategy<Value = (Spec, Emit)> {
    let size = prop_oneof![4 => select(vec![1, 7, 10, 64, 1000]).prop_map(Some), 1 => Just(None)];
    let min = option::of((-3..3_i64).prop_map(|i| Num(i * Num::ONE)));
    (size, 0..20_i64, option::of(0..60_i64), 0..3_usize, min, any::<bool>()).prop_map(
        |(size_ms, grace_ms, retain_ms, having_min, filter_min, changes)| {
            let emit = if changes { Emit::Changes } else { Emit::Final };
            (Spec { size_ms, grace_ms, retain_ms, having_min, filter_min }, emit)
        },
    )
}

fn run() -> impl Strategy<Value = Run> {
    (0..20_i64, vec(view(), 1..4), options(), ops(), any::<bool>())
        .prop_map(|(lateness_ms, views, options, ops, ends)| Run { lateness_ms, views, options, ops, ends })
}

pub(crate) fn plan(lateness_ms: i64, views: &[(Spec, Emit)], late: LatePolicy) -> Arc<StreamPlan> {
    let views = views.iter().enumerate().map(|(i, (spec, emit))| {
        let mut sql = "SELECT k, count(*) AS n, count(v) AS nv, sum(v) AS sum, min(v) AS min, max(v) AS max, avg(v) AS avg, \
                       count(DISTINCT v) AS d FROM s"
            .to_owned();
        if over_finals(spec, late) {
            sql = sql.replace(" FROM", &(OVER.map(|(call, name)| format!(", {call} OVER (ORDER BY window_start) AS {name}")).concat() + " FROM"));
        }
        if let Some(min) = spec.filter_min {
            sql += &format!(" WHERE v >= {}", min.0 / Num::ONE);
        }
        sql += " GROUP BY k";
        if let Some(size) = spec.size_ms {
            sql += &format!(", tumble(interval '{size} milliseconds')");
        }
        if spec.having_min > 0 {
            sql += &format!(" HAVING count(*) >= {}", spec.having_min);
        }
        let mut view = world::view(&format!("v{i}"), &sql);
        (view.emit, view.grace_ms, view.retain_ms) = (*emit, spec.grace_ms, spec.retain_ms);
        view.late = late;
        view
    });
    let mut stream = world::stream();
    stream.lateness_ms = lateness_ms;
    world::plan(stream, views.collect())
}

/// Aggregates over finals, with the names of their columns.
const OVER: [(&str, &str); 4] = [
    ("count(*)", "over_n"),
    ("sum(count(*) + 1)", "over_sum"),
    ("avg(sum(v))", "over_avg"),
    ("max(max(v))", "over_max"),
];

fn over_finals(spec: &Spec, late: LatePolicy) -> bool {
    spec.size_ms.is_some() && late != LatePolicy::Update
}

/// What these are for a row, given the rows that count: finals of its key before it, and itself.
fn over(rows: &[&Value]) -> String {
    let all = |name: &str| rows.iter().filter_map(|row| row[name].as_f64()).collect::<Vec<_>>();
    let json = |number: Option<f64>| number.map_or("null".to_owned(), oracle::double);
    let (sums, peaks) = (all("sum"), all("max"));
    let sum = all("n").iter().map(|n| n + 1.0).sum::<f64>();
    let mean = (!sums.is_empty()).then(|| sums.iter().sum::<f64>() / sums.len() as f64);
    let peak = peaks.iter().copied().reduce(f64::max);
    format!("[{},{},{},{}]", rows.len(), json(Some(sum)), json(mean), json(peak))
}

/// Bounds of blocks, of slices, and of what is between two series: tiny, or never met.
pub(crate) fn options() -> impl Strategy<Value = TaskOptions> {
    (select(vec![60, 300, 1 << 20]), select(vec![1, 100, 1 << 20]), select(vec![0, 300, 1 << 30])).prop_map(
        |(block, slice, every)| TaskOptions {
            journal_block_max_bytes: block,
            snapshot_slice_max_bytes: slice,
            snapshot_every_bytes: every,
            ..TaskOptions::default()
        },
    )
}

fn world(run: &Run) -> World {
    World::new(plan(run.lateness_ms, &run.views, LatePolicy::Topic), run.options.clone())
}

pub(crate) fn input(record: &Rec) -> Input {
    let value = match (record.key, record.num) {
        (None, _) => "{broken".to_owned(),
        (Some(key), None) => format!("{{\"t\":{},\"k\":{key}}}", record.ts_ms),
        (Some(key), Some(num)) => format!("{{\"v\":{},\"t\":{},\"k\":{key}}}", num.json(), record.ts_ms),
    };
    Input { timestamp_ms: 0, value: Some(value.into_bytes()) }
}

/// What came out of one view, as a reader of its topics sees it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) finals: BTreeMap<RowKey, String>,
    pub(crate) last: BTreeMap<RowKey, (String, bool)>,
    seqs: BTreeMap<RowKey, u64>,
    pub(crate) late: BTreeSet<(usize, usize)>,
    /// Finals of views with aggregates over them, in the order they came.
    history: BTreeMap<String, Vec<(i64, Value)>>,
}

impl Seen {
    /// Finals come in the order of their windows, and what goes over them is what came before, and the row itself.
    fn check_over(&mut self, key: &RowKey, row: &Value, is_final: bool) -> Result<(), TestCaseError> {
        let history = self.history.entry(key.0.clone()).or_default();
        let before = history.last().map(|(start, _)| *start);
        prop_assert!(before.is_none_or(|before| before < key.1), "{key:?} comes after {before:?}");
        let rows: Vec<&Value> = history.iter().map(|(_, row)| row).chain([row]).collect();
        let got = OVER.map(|(_, name)| row[name].to_string()).join(",");
        prop_assert_eq!(format!("[{got}]"), over(&rows), "over the finals of {:?}", key);
        if is_final {
            history.push((key.1, row.clone()));
        }
        Ok(())
    }

    /// Finals that aggregates over them have counted.
    pub(crate) fn counted(&self) -> usize {
        self.history.values().map(Vec::len).sum()
    }

    pub(crate) fn take(&mut self, record: &OutRecord) -> Result<(), TestCaseError> {
        let header = |name| {
            let found = record.headers.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| std::str::from_utf8(value).unwrap())
        };
        if let Target::Late(_) = record.target {
            prop_assert_eq!(header("source_offset_end"), None, "a partial came too late: {:?}", record);
            let number = |name| header(name).unwrap().parse().unwrap();
            let at = (number("source_partition"), number("source_offset"));
            prop_assert!(self.late.insert(at), "late twice: {at:?}");
            return Ok(());
        }
        let key: Vec<Value> = serde_json::from_slice(record.key.as_deref().unwrap()).unwrap();
        let start = header("window").map_or(0, |window| window.split('/').next().unwrap().parse().unwrap());
        if key.len() > 1 {
            prop_assert_eq!(key[1].as_i64(), Some(start));
        }
        let key = (key[0].to_string(), start);
        let Some(value) = &record.value else {
            prop_assert!(
                self.last.remove(&key).is_some(),
                "a tombstone for a row that is not there: {key:?}"
            );
            return Ok(());
        };
        let row: Value = serde_json::from_slice(value).unwrap();
        let text = columns(&row);
        let is_final = row["final"] == true;
        let seq = row["seq"].as_u64().unwrap();
        let before = self.seqs.insert(key.clone(), seq);
        prop_assert!(before.is_none_or(|before| before < seq), "seq of {key:?} went back to {seq}");
        if !row["over_n"].is_null() {
            self.check_over(&key, &row, is_final)?;
        }
        if is_final {
            prop_assert_eq!(self.finals.insert(key.clone(), text.clone()), None, "{:?} is final twice", key);
        }
        prop_assert!(is_final || !self.finals.contains_key(&key), "{key:?} changed after its final");
        self.last.insert(key, (text, is_final));
        Ok(())
    }
}

/// The row as the oracle writes it.
pub(crate) fn columns(row: &Value) -> String {
    let columns = ["n", "nv", "sum", "min", "max", "avg", "d"].map(|column| row[column].to_string());
    format!("[{}]", columns.join(","))
}

fn check(run: &Run) -> Result<(), TestCaseError> {
    let mut world = world(run);
    let mut seen: Vec<Seen> = run.views.iter().map(|_| Seen::default()).collect();
    let mut records = Vec::new();
    let mut bad = BTreeSet::new();
    let mut cut = |world: &mut World| {
        for record in world.cut().0 {
            match record.target {
                Target::Channel(view) | Target::Late(view) => seen[view].take(&record)?,
                Target::Bad => {
                    let offset =
                        record.headers.iter().find(|(n, _)| *n == "source_offset").unwrap().1.clone();
                    prop_assert!(bad.insert(offset), "bad twice");
                }
                _ => {}
            }
        }
        Ok(())
    };
    for op in &run.ops {
        match op {
            Op::Batch(batch) => {
                let inputs: Vec<_> = batch.iter().map(input).collect();
                world.fold(&inputs).unwrap();
                records.extend(batch.iter().cloned());
            }
            Op::Cut => cut(&mut world)?,
            Op::Restart => world.restart(),
        }
    }
    if run.ends {
        world.end();
        cut(&mut world)?;
        world.restart();
    }
    cut(&mut world)?;
    prop_assert_eq!(bad.len(), records.iter().filter(|record| record.key.is_none()).count());
    let mut events: Vec<_> = records.into_iter().map(Event::Record).collect();
    events.extend(run.ends.then_some(Event::End));
    let partitions = [events];
    for ((spec, emit), seen) in run.views.iter().zip(seen) {
        let expected = oracle::expect(&partitions, spec, run.lateness_ms, *emit == Emit::Changes);
        prop_assert_eq!(&seen.finals, &expected.finals, "finals of {:?}", spec);
        prop_assert_eq!(&seen.last, &expected.last, "last states of {:?}", spec);
        prop_assert_eq!(&seen.late, &expected.late, "late of {:?}", spec);
        prop_assert_eq!(seen.counted(), if spec.size_ms.is_some() { expected.finals.len() } else { 0 });
    }
    Ok(())
}

/// Everything that comes out of the cuts, each cut in a canonical order.
fn outputs(run: &Run, restart_after_cut: bool) -> Vec<Vec<String>> {
    let mut world = world(run);
    let mut cuts = Vec::new();
    let mut cut = |world: &mut World| {
        let (records, cut) = world.cut();
        let text = |record: &OutRecord| format!("{record:?}");
        let mut lines: Vec<_> = records.iter().map(text).collect();
        lines.sort();
        lines.push(format!("next {} rows {} finals {}", cut.next_offset, cut.rows, cut.finals));
        cuts.push(lines);
        if restart_after_cut {
            world.restart();
        }
    };
    for op in &run.ops {
        match op {
            Op::Batch(batch) => {
                let inputs: Vec<_> = batch.iter().map(input).collect();
                world.fold(&inputs).unwrap();
            }
            Op::Cut | Op::Restart => cut(&mut world),
        }
    }
    if run.ends {
        world.end();
    }
    cut(&mut world);
    for (i, (spec, _)) in run.views.iter().enumerate() {
        let stats = world.task.view_stats(i);
        let numbers = (stats.watermark_ms, stats.open_windows, stats.keys, stats.state_bytes, stats.seq);
        cuts.push(vec![format!("{spec:?} {numbers:?}")]);
    }
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finals_come_once_and_last_states_equal_the_oracle(run in run()) {
        check(&run)?;
    }

    #[test]
    fn a_restored_task_goes_on_as_if_nothing_had_happened(run in run()) {
        prop_assert_eq!(outputs(&run, false), outputs(&run, true));
    }
}
