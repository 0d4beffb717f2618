//! Random runs: windows, keys, NULLs, disorder, jumps, batches, cuts and crashes against the oracle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::Value;
use windrow_core::{
    engine::TaskOptions,
    out::{OutRecord, Target},
    spec::Emit,
};

use crate::{
    oracle::{self, Num, Rec, RowKey, Spec},
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
    options: (usize, usize, u64),
    ops: Vec<Op>,
    ends: bool,
}

/// Times wander forward with disorder, and now and then they jump.
fn record() -> impl Strategy<Value = (i64, Rec)> {
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

fn view() -> impl Strategy<Value = (Spec, Emit)> {
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
    let options =
        (select(vec![60, 300, 1 << 20]), select(vec![1, 100, 1 << 20]), select(vec![0, 300, 1 << 30]));
    (0..20_i64, vec(view(), 1..4), options, ops(), any::<bool>())
        .prop_map(|(lateness_ms, views, options, ops, ends)| Run { lateness_ms, views, options, ops, ends })
}

fn world(run: &Run) -> World {
    let views = run.views.iter().enumerate().map(|(i, (spec, emit))| {
        let mut sql = "SELECT k, count(*) AS n, count(v) AS nv, sum(v) AS sum, min(v) AS min, max(v) AS max, avg(v) AS avg, \
                       count(DISTINCT v) AS d FROM s"
            .to_owned();
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
        view
    });
    let mut stream = world::stream();
    stream.lateness_ms = run.lateness_ms;
    let (block, slice, every) = run.options;
    let options = TaskOptions {
        journal_block_max_bytes: block,
        snapshot_slice_max_bytes: slice,
        snapshot_every_bytes: every,
        ..TaskOptions::default()
    };
    World::new(world::plan(stream, views.collect()), options)
}

fn input(record: &Rec) -> Input {
    let value = match (record.key, record.num) {
        (None, _) => "{broken".to_owned(),
        (Some(key), None) => format!("{{\"t\":{},\"k\":{key}}}", record.ts_ms),
        (Some(key), Some(num)) => format!("{{\"v\":{},\"t\":{},\"k\":{key}}}", num.json(), record.ts_ms),
    };
    Input { timestamp_ms: 0, value: Some(value.into_bytes()) }
}

/// What came out of one view, as a reader of its topics sees it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    finals: BTreeMap<RowKey, String>,
    last: BTreeMap<RowKey, (String, bool)>,
    seqs: BTreeMap<RowKey, u64>,
    late: BTreeSet<usize>,
}

impl Seen {
    fn take(&mut self, record: &OutRecord) -> Result<(), TestCaseError> {
        let header = |name| {
            let found = record.headers.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| std::str::from_utf8(value).unwrap())
        };
        if let Target::Late(_) = record.target {
            let offset = header("source_offset").unwrap().parse().unwrap();
            prop_assert!(self.late.insert(offset), "late twice: {offset}");
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
        let columns: Vec<_> = ["n", "nv", "sum", "min", "max", "avg", "d"].map(|c| row[c].to_string()).into();
        let text = format!("[{}]", columns.join(","));
        let is_final = row["final"] == true;
        let seq = row["seq"].as_u64().unwrap();
        let before = self.seqs.insert(key.clone(), seq);
        prop_assert!(before.is_none_or(|before| before < seq), "seq of {key:?} went back to {seq}");
        if is_final {
            prop_assert_eq!(self.finals.insert(key.clone(), text.clone()), None, "{:?} is final twice", key);
        }
        prop_assert!(is_final || !self.finals.contains_key(&key), "{key:?} changed after its final");
        self.last.insert(key, (text, is_final));
        Ok(())
    }
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
    for ((spec, emit), seen) in run.views.iter().zip(seen) {
        let expected = oracle::expect(&records, spec, run.lateness_ms, run.ends, *emit == Emit::Changes);
        prop_assert_eq!(&seen.finals, &expected.finals, "finals of {:?}", spec);
        prop_assert_eq!(&seen.last, &expected.last, "last states of {:?}", spec);
        prop_assert_eq!(&seen.late, &expected.late, "late of {:?}", spec);
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
