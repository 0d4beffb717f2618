//! Random runs in two stages: partitions, keys, disorder, silence, cuts and crashes of either stage against the oracle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use serde_json::Value;
use windrow_core::{
    engine::TaskOptions,
    out::{OutRecord, Target},
    plan::Stage,
    spec::{Emit, LatePolicy},
};

use crate::{
    cluster::Cluster,
    oracle::{self, Event, Rec, RowKey, Spec},
    random::{self, Seen},
};

#[derive(Debug, Clone)]
enum Op {
    Batch(usize, Vec<Rec>),
    /// Time goes on without records, to there.
    Flow(usize, i64),
    CutSource(usize),
    CutMerge(usize),
    RestartSource(usize),
    RestartMerge(usize),
    CutAll,
    /// The topic of a partition is gone, unless it is the last: then nothing would say how far time is.
    Leave(usize),
}

#[derive(Debug, Clone)]
struct Run {
    partitions: usize,
    targets: i32,
    lateness_ms: i64,
    views: Vec<(Spec, Emit)>,
    options: TaskOptions,
    ops: Vec<Op>,
    /// Which partitions' input ends.
    ends: Vec<bool>,
}

/// Time wanders forward in all partitions together, each a little apart from the others.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let batch = vec(random::record(), 1..10);
    let op = (0..24_usize, 0..4_usize, batch, -50..50_i64);
    (vec(op, 1..40), -100..100_i64).prop_map(|(raw, mut time)| {
        raw.into_iter()
            .map(|(kind, at, records, skew)| match kind {
                0..6 => {
                    let records = records.into_iter().map(|(step, record)| {
                        time += step.max(0);
                        let ts_ms = time + record.ts_ms + step.min(0) + skew / 4;
                        Rec { ts_ms, ..record }
                    });
                    Op::Batch(at, records.collect())
                }
                12..14 => Op::Flow(at, time + skew),
                14..16 => Op::CutSource(at),
                16..18 => Op::CutMerge(at),
                18..20 => Op::RestartSource(at),
                20..22 => Op::RestartMerge(at),
                22 => Op::CutAll,
                _ => Op::Leave(at),
            })
            .collect()
    })
}

fn run() -> impl Strategy<Value = Run> {
    let ends = prop_oneof![2 => Just(vec![true; 4]), 1 => vec(any::<bool>(), 4)];
    (1..5_usize, 1..4_i32, 0..20_i64, vec(random::view(), 1..3), random::options(), ops(), ends).prop_map(
        |(partitions, targets, lateness_ms, views, options, ops, ends)| Run {
            partitions,
            targets,
            lateness_ms,
            views,
            options,
            ops,
            ends,
        },
    )
}

fn cluster(run: &Run, late: LatePolicy) -> Cluster {
    let plan = random::plan(run.lateness_ms, &run.views, late);
    let stages = vec![Stage::Two; plan.views.len()];
    Cluster::new(plan, run.partitions as i32, stages, run.targets, run.options.clone())
}

/// What one operation lets out.
fn step(cluster: &mut Cluster, op: &Op, restarts: bool) -> Vec<OutRecord> {
    let (partitions, merges) = (cluster.sources.len(), cluster.merges.len());
    if reads(op).is_some_and(|at| cluster.gone.contains(&(at % partitions))) {
        return Vec::new();
    }
    match op {
        Op::Batch(at, records) => {
            let inputs: Vec<_> = records.iter().map(random::input).collect();
            cluster.fold(at % partitions, &inputs).unwrap();
        }
        // A flow that is not committed is lost in a crash, and another may come: here none does, so it is committed.
        Op::Flow(at, ms) => {
            cluster.sources[at % partitions].task.flow_to(*ms);
            return cluster.cut_source(at % partitions);
        }
        Op::CutSource(at) => return cluster.cut_source(at % partitions),
        Op::CutMerge(at) => return cluster.cut_merge(at % merges),
        Op::RestartSource(at) if restarts => cluster.sources[at % partitions].restart(),
        Op::RestartMerge(at) if restarts => cluster.merges[at % merges].restart(),
        Op::RestartSource(_) | Op::RestartMerge(_) => {}
        Op::CutAll => return cluster.cut(),
        Op::Leave(at) if cluster.gone.len() + 1 < partitions => {
            let out = cluster.cut_source(at % partitions);
            cluster.leave(at % partitions);
            return out;
        }
        Op::Leave(_) => {}
    }
    Vec::new()
}

/// Which partition of the stream an operation concerns.
fn reads(op: &Op) -> Option<usize> {
    match op {
        Op::Batch(at, _) | Op::Flow(at, _) | Op::CutSource(at) | Op::RestartSource(at) | Op::Leave(at) => {
            Some(*at)
        }
        Op::CutMerge(_) | Op::RestartMerge(_) | Op::CutAll => None,
    }
}

fn end(run: &Run, cluster: &mut Cluster) {
    let gone = cluster.gone.clone();
    for (at, (source, ends)) in cluster.sources.iter_mut().zip(&run.ends).enumerate() {
        if *ends && !gone.contains(&at) {
            source.end();
        }
    }
}

fn check(run: &Run) -> Result<(), TestCaseError> {
    let mut cluster = cluster(run, LatePolicy::Topic);
    let mut seen: Vec<Seen> = run.views.iter().map(|_| Seen::default()).collect();
    let mut bad = BTreeSet::new();
    let mut take = |records: Vec<OutRecord>| {
        for record in records {
            match record.target {
                Target::Channel(view) | Target::Late(view) => seen[view].take(&record)?,
                Target::Bad => {
                    let at = ["source_partition", "source_offset"]
                        .map(|name| record.headers.iter().find(|(n, _)| *n == name).unwrap().1.clone());
                    prop_assert!(bad.insert(at), "bad twice");
                }
                _ => {}
            }
        }
        Ok(())
    };
    let mut events = vec![Vec::new(); run.partitions];
    let mut watermarks = vec![i64::MIN; cluster.merges.len() + run.partitions];
    for op in &run.ops {
        let gone = cluster.gone.clone();
        take(step(&mut cluster, op, true))?;
        match op {
            op if reads(op).is_some_and(|at| gone.contains(&(at % run.partitions))) => {}
            Op::Batch(at, batch) => {
                events[at % run.partitions].extend(batch.iter().cloned().map(Event::Record));
            }
            Op::Flow(at, ms) => events[at % run.partitions].push(Event::Flow(*ms)),
            // From here on it holds nobody.
            Op::Leave(at) if cluster.gone.len() > gone.len() => events[at % run.partitions].push(Event::End),
            _ => {}
        }
        for (world, before) in cluster.worlds().zip(&mut watermarks) {
            // What was not committed is read again, so a restart takes nothing back.
            let watermark = world.task.watermark_ms();
            prop_assert!(watermark >= *before, "a watermark went back from {before} to {watermark}");
            *before = watermark;
        }
    }
    end(run, &mut cluster);
    take(cluster.cut())?;
    cluster.restart();
    take(cluster.cut())?;
    for (at, (events, ends)) in events.iter_mut().zip(&run.ends).enumerate() {
        if *ends && !cluster.gone.contains(&at) {
            events.push(Event::End);
        }
    }
    let is_bad = |event: &&Event| matches!(event, Event::Record(Rec { key: None, .. }));
    prop_assert_eq!(bad.len(), events.iter().flatten().filter(is_bad).count());
    for ((spec, emit), seen) in run.views.iter().zip(seen) {
        let expected = oracle::expect(&events, spec, run.lateness_ms, *emit == Emit::Changes);
        prop_assert_eq!(&seen.finals, &expected.finals, "finals of {:?}", spec);
        prop_assert_eq!(&seen.last, &expected.last, "last states of {:?}", spec);
        prop_assert_eq!(&seen.late, &expected.late, "late of {:?}", spec);
        prop_assert_eq!(seen.counted(), if spec.size_ms.is_some() { expected.finals.len() } else { 0 });
    }
    Ok(())
}

/// With `late = "update"` and nothing retired, no record is lost to its window, whenever it comes.
fn check_updates(run: &Run) -> Result<(), TestCaseError> {
    let mut run = run.clone();
    run.views.iter_mut().for_each(|(spec, emit)| (spec.retain_ms, *emit) = (None, Emit::Changes));
    let mut cluster = cluster(&run, LatePolicy::Update);
    let mut last: Vec<BTreeMap<RowKey, String>> = vec![BTreeMap::new(); run.views.len()];
    let mut take = |records: Vec<OutRecord>| {
        for record in records {
            let Target::Channel(view) = record.target else {
                assert!(!matches!(record.target, Target::Late(_)), "{record:?}");
                continue;
            };
            let key: Vec<Value> = serde_json::from_slice(record.key.as_deref().unwrap()).unwrap();
            let key = (key[0].to_string(), key.get(1).map_or(0, |start| start.as_i64().unwrap()));
            match &record.value {
                Some(value) => {
                    last[view].insert(key, random::columns(&serde_json::from_slice(value).unwrap()))
                }
                None => last[view].remove(&key),
            };
        }
    };
    let mut events = vec![Vec::new(); run.partitions];
    for op in &run.ops {
        let gone = cluster.gone.clone();
        take(step(&mut cluster, op, true));
        if let Op::Batch(at, batch) = op
            && !gone.contains(&(at % run.partitions))
        {
            events[at % run.partitions].extend(batch.iter().cloned().map(Event::Record));
        }
    }
    end(&run, &mut cluster);
    take(cluster.cut());
    for ((spec, _), last) in run.views.iter().zip(last) {
        let patient = Spec { grace_ms: 1 << 40, ..spec.clone() };
        let expected = oracle::expect(&events, &patient, run.lateness_ms, true).last;
        let expected: BTreeMap<_, _> = expected.into_iter().map(|(key, (row, _))| (key, row)).collect();
        prop_assert_eq!(&last, &expected, "last states of {:?}", spec);
    }
    Ok(())
}

/// Everything that comes out, each step in a canonical order, and the state at the end.
fn outputs(run: &Run, late: LatePolicy, restart_after_cut: bool) -> Vec<Vec<String>> {
    let mut cluster = cluster(run, late);
    let mut steps = Vec::new();
    let text = |records: Vec<OutRecord>| {
        let mut lines: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
        lines.sort();
        lines
    };
    for op in &run.ops {
        steps.push(text(step(&mut cluster, op, false)));
        if restart_after_cut {
            match op {
                Op::CutSource(at) | Op::Flow(at, _) => cluster.sources[at % run.partitions].restart(),
                Op::CutMerge(at) => {
                    let merges = cluster.merges.len();
                    cluster.merges[at % merges].restart();
                }
                Op::CutAll => cluster.restart(),
                _ => {}
            }
        }
    }
    end(run, &mut cluster);
    steps.push(text(cluster.cut()));
    if restart_after_cut {
        cluster.restart();
    }
    for world in cluster.worlds() {
        for view in 0..run.views.len() {
            let stats = world.task.view_stats(view);
            let numbers = (stats.watermark_ms, stats.open_windows, stats.keys, stats.state_bytes, stats.seq);
            steps.push(vec![format!("{view} {numbers:?} {}", world.task.position())]);
        }
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_stages_give_what_the_oracle_says(run in run()) {
        check(&run)?;
    }

    #[test]
    fn late_updates_bring_every_record_into_its_window(run in run()) {
        check_updates(&run)?;
    }

    #[test]
    fn restored_stages_go_on_as_if_nothing_had_happened(run in run()) {
        for late in [LatePolicy::Topic, LatePolicy::Update] {
            prop_assert_eq!(outputs(&run, late, false), outputs(&run, late, true));
        }
    }
}
