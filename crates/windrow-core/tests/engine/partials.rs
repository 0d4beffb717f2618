//! Partials that do not fit, come again, or come from where nobody told of; views that stop; and sizes.

use std::sync::Arc;

use windrow_core::{
    batch::{Batch, BatchBuilder, Compression},
    engine::{SampleKind, StopReason, TaskOptions},
    journal::JournalError,
    ledger::SourceSet,
    out::{OutRecord, Target},
    plan::{Stage, StreamPlan},
    watermark::{ENDED_MS, NEVER_MS},
};

use crate::world::{self, Input, Role, World};

const COUNTS: &str = "SELECT k, count(*) AS n, sum(v) AS sum, max(k) AS max, count(DISTINCT v) AS d FROM s GROUP BY k, tumble(interval '10 seconds')";
const TOTALS: &str = "SELECT k, count(*) AS n FROM s GROUP BY k";

fn plan(sqls: &[&str]) -> Arc<StreamPlan> {
    let views = sqls.iter().enumerate().map(|(i, sql)| world::view(&format!("v{i}"), sql)).collect();
    world::plan(world::stream(), views)
}

fn record(ts_ms: i64, key: &str, v: f64) -> Input {
    let value = format!("{{\"t\":{ts_ms},\"k\":\"{key}\",\"v\":{v}}}").into_bytes();
    Input { timestamp_ms: 0, value: Some(value) }
}

fn source(plan: &Arc<StreamPlan>, partition: i32, targets: i32, options: TaskOptions) -> World {
    let views = plan.views.len();
    let role = Role::Source { stages: vec![Stage::Two; views], targets: vec![targets; views], partition };
    World::with(plan.clone(), role, options)
}

fn merge(plan: &Arc<StreamPlan>, sources: i32) -> World {
    World::with(
        plan.clone(),
        Role::Merge { view: 0, sources: SourceSet::Partitions(sources), partition: 0 },
        TaskOptions::default(),
    )
}

/// The partials of a cut, as records of their topic.
fn partials(world: &mut World) -> Vec<Input> {
    let records = world.cut().0.into_iter().filter(|record| matches!(record.target, Target::Partials(_)));
    records.map(|record| Input { timestamp_ms: 0, value: record.value.map(|v| v.to_vec()) }).collect()
}

fn rows(records: &[OutRecord]) -> Vec<String> {
    let rows = records.iter().filter(|record| matches!(record.target, Target::Channel(_)));
    rows.filter_map(|row| Some(String::from_utf8_lossy(row.value.as_deref()?).into_owned())).collect()
}

fn stops(world: &mut World, value: Option<Vec<u8>>) -> String {
    let stop = world.fold(&[Input { timestamp_ms: 0, value }]).unwrap_err();
    assert!(matches!(stop, StopReason::Partial { partition: 0, .. }));
    stop.to_string()
}

#[test]
fn what_is_no_partial_of_the_view_stops_with_its_offset_and_a_reason() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    from.fold(&[record(1, "a", 1.0)]).unwrap();
    let good = partials(&mut from).remove(0).value.unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut value = good.clone();
        change(&mut value);
        let mut to = merge(&plan, 1);
        to.fold(&[Input { timestamp_ms: 0, value: Some(good.clone()) }]).unwrap();
        stops(&mut to, Some(value))
    };
    for (text, why) in [
        (with(&Vec::clear), "it is empty"),
        (with(&|value| value[0] = 9), "its format is not known"),
        (with(&|value| value[1] ^= 1), "another plan of the view wrote it"),
        (with(&|value| value.truncate(11)), "its head cannot be read"),
        (with(&|value| value[9] |= 2), "it cannot be decompressed"),
        (stops(&mut merge(&plan, 1), None), "it has no value"),
    ] {
        assert!(text.contains(why), "{text}");
        assert!(text.starts_with("view v0 stops: the partial at offset "), "{text}");
    }
}

#[test]
fn damaged_partials_never_panic_and_take_no_more_than_they_are() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    let keys = ["a", "b", "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"];
    let inputs: Vec<_> =
        (0..40).map(|i| record(i * 700, keys[i as usize % 3], i as f64 * 1e30 + 0.1)).collect();
    from.fold(&inputs).unwrap();
    let whole = partials(&mut from).remove(0).value.unwrap();
    // One short enough to be as it is, one compressed.
    from.fold(&[record(30_000, "a", 0.5)]).unwrap();
    let plain = partials(&mut from).remove(0).value.unwrap();
    for value in [whole, plain] {
        let try_it = |damaged: Vec<u8>| {
            let mut to = merge(&plan, 1);
            // Some flips are invisible without a checksum, which batches have; none may panic.
            if to.fold(&[Input { timestamp_ms: 0, value: Some(damaged) }]).is_ok() {
                to.cut();
                assert!(to.task.view_stats(0).state_bytes < 1 << 20);
            }
        };
        for at in 0..value.len() {
            for flip in [0x01, 0x40, 0x80, 0xff] {
                let mut damaged = value.clone();
                damaged[at] ^= flip;
                try_it(damaged);
            }
            try_it(value[..at].to_vec());
            let mut claims = value.clone();
            claims.splice(at..(at + 4).min(value.len()), [0xff, 0xff, 0xff, 0x7f]);
            try_it(claims);
        }
    }
}

#[test]
fn what_a_source_sends_again_is_merged_once_and_counted() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions { journal_block_max_bytes: 60, ..TaskOptions::default() });
    let inputs: Vec<_> = (0..9).map(|i| record(1, &format!("key-{i}"), 1.0)).collect();
    from.fold(&inputs).unwrap();
    let sent = partials(&mut from);
    assert!(sent.len() > 2, "a commit in several records");
    let mut to = merge(&plan, 1);
    to.fold(&sent).unwrap();
    let before = rows(&to.cut().0);
    assert_eq!(before.len(), 9);
    to.fold(&sent).unwrap();
    to.restart();
    let (out, cut) = to.cut();
    assert_eq!(rows(&out), Vec::<String>::new());
    assert_eq!(to.task.view_stats(0).repeated, sent.len() as u64);
    assert!(cut.samples.iter().all(|sample| sample.kind == SampleKind::Repeated));
}

#[test]
fn a_log_that_was_cut_at_its_end_stops_no_second_stage() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    from.fold(&(0..9).map(|_| record(1, "a", 1.0)).collect::<Vec<_>>()).unwrap();
    let mut to = merge(&plan, 1);
    to.fold(&partials(&mut from)).unwrap();
    from.task.rewind(4);
    from.next_offset = 4;
    from.fold(&[record(1, "a", 2.0)]).unwrap();
    to.fold(&partials(&mut from)).unwrap();
    assert_eq!(to.task.view_stats(0).repeated, 1, "its offsets were seen: it is passed over and said");
    let more: Vec<_> = (5..10).map(|_| record(1, "a", 3.0)).collect();
    from.fold(&more).unwrap();
    to.fold(&partials(&mut from)).unwrap();
    assert_eq!(to.task.view_stats(0).repeated, 2, "part of them was: it is added and said");
}

#[test]
fn a_partition_that_nobody_told_of_begins_at_the_minimum_of_the_others() {
    let plan = plan(&[COUNTS]);
    let mut to = merge(&plan, 1);
    let [mut first, mut second] = [0, 7].map(|partition| source(&plan, partition, 1, TaskOptions::default()));
    first.fold(&[record(25_000, "a", 1.0)]).unwrap();
    to.fold(&partials(&mut first)).unwrap();
    assert_eq!(to.task.watermark_ms(), 25_000);
    second.fold(&[record(12_000, "b", 1.0)]).unwrap();
    to.fold(&partials(&mut second)).unwrap();
    to.cut();
    to.restart();
    first.fold(&[record(90_000, "a", 1.0)]).unwrap();
    to.fold(&partials(&mut first)).unwrap();
    assert_eq!(to.task.watermark_ms(), 25_000, "it holds back from where it began");
    second.fold(&[record(40_000, "b", 1.0)]).unwrap();
    to.fold(&partials(&mut second)).unwrap();
    assert_eq!(to.task.watermark_ms(), 40_000);
}

#[test]
fn every_target_is_told_when_the_watermark_moves_and_only_then() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 5, TaskOptions::default());
    let mut told = |input: Option<Input>, end: bool| {
        from.fold(&input.into_iter().collect::<Vec<_>>()).unwrap();
        if end {
            from.end();
        }
        let records = from.cut().0;
        let mut places: Vec<_> =
            records.iter().filter(|r| r.target == Target::Partials(0)).map(|r| r.place).collect();
        places.dedup();
        places.len()
    };
    assert_eq!(told(Some(record(5000, "a", 1.0)), false), 5);
    assert_eq!(told(Some(record(5000, "a", 1.0)), false), 1);
    assert_eq!(told(Some(record(5001, "a", 1.0)), false), 5);
    assert_eq!(told(None, false), 0);
    assert_eq!(told(None, true), 5);
}

#[test]
fn a_journal_of_another_stage_is_refused_and_says_the_way_out() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    from.fold(&[record(1, "a", 1.0)]).unwrap();
    let mut to = merge(&plan, 1);
    to.fold(&partials(&mut from)).unwrap();
    to.cut();
    let mut local = World::new(plan.clone(), TaskOptions::default());
    local.fold(&[record(1, "a", 1.0)]).unwrap();
    local.cut();
    for (journal, then) in [
        (from.journal_mut(0).clone(), "in two stages"),
        (to.journal_mut(0).clone(), "in two stages"),
        (local.journal_mut(0).clone(), "where its records are"),
    ] {
        let local = World::new(plan.clone(), TaskOptions::default()).task;
        let mut fits = 0;
        for mut task in [merge(&plan, 1).task, source(&plan, 0, 1, TaskOptions::default()).task, local] {
            let Err(error) = task.restore(0, None, journal[0].value.as_deref()) else {
                fits += 1;
                continue;
            };
            assert!(matches!(error, JournalError::OtherStage { .. }));
            let text = error.to_string();
            assert!(
                text.contains(then)
                    && text.contains("give the view a new name, or start once with --reset v0"),
                "{text}"
            );
        }
        assert_eq!(fits, 1);
    }
}

#[test]
fn a_stopped_view_is_as_the_log_has_it_and_the_others_go_on() {
    let plan = plan(&[TOTALS, TOTALS]);
    let stages = [Stage::Local, Stage::Two];
    let role = Role::Source { stages: stages.to_vec(), targets: vec![1; 2], partition: 0 };
    for stopped in 0..2 {
        let mut world = World::with(plan.clone(), role.clone(), TaskOptions::default());
        world.fold(&[record(1000, "a", 1.0)]).unwrap();
        world.cut();
        world.fold(&[record(2000, "a", 1.0)]).unwrap();
        assert!(world.task.pending_bytes() > 0);
        world.task.stop_view(stopped, "row too large; raise the limit".into());
        world.fold(&[record(3000, "a", 1.0)]).unwrap();
        let (out, cut) = world.cut();
        let of = |record: &&OutRecord| matches!(record.target, Target::Channel(v) | Target::Partials(v) | Target::Journal(v) if v == stopped);
        assert_eq!(out.iter().filter(of).count(), 0, "nothing of what it took since the cut");
        assert!(out.iter().any(|record| !of(&record)), "the other goes on");
        assert_eq!((cut.next_offset, world.task.position()), (1, 1), "the position is held back");
        assert_eq!(cut.samples[0].kind, SampleKind::Stopped);
        assert_eq!(world.task.pending_bytes(), 0);
        let why = world.task.view_stats(stopped).stopped.unwrap();
        assert!(why.ends_with("stops at offset 1: row too large; raise the limit"), "{why}");
        assert_eq!(world.task.watermark_ms(), 3000, "a stopped view holds no time back");
        world.restart();
        let (out, _) = world.cut();
        let all = if stopped == 0 { rows(&out) } else { vec!["\"n\":3".into()] };
        assert!(all.iter().any(|row| row.contains("\"n\":3")), "made anew it takes everything: {out:?}");
    }
}

#[test]
fn time_is_the_lowest_of_all_views_and_merging_tasks_have_that_of_their_sources() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    assert_eq!(from.task.watermark_ms(), NEVER_MS);
    from.task.flow_to(70);
    from.task.flow_to(50);
    assert_eq!(from.task.watermark_ms(), 70);
    from.end();
    let mut to = merge(&plan, 2);
    to.task.flow_to(1000);
    to.task.end();
    assert_eq!(to.task.watermark_ms(), NEVER_MS);
    let mut other = source(&plan, 1, 1, TaskOptions::default());
    to.fold(&partials(&mut from)).unwrap();
    assert_eq!(to.task.watermark_ms(), NEVER_MS);
    other.end();
    to.fold(&partials(&mut other)).unwrap();
    assert_eq!(to.task.watermark_ms(), ENDED_MS);
    let stateless = self::plan(&["SELECT k FROM s"]);
    assert_eq!(World::new(stateless, TaskOptions::default()).task.watermark_ms(), NEVER_MS);
}

#[test]
fn the_journal_of_positions_stays_small() {
    let plan = plan(&[COUNTS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    for i in 0..6000 {
        from.fold(&[record(i, "a", 1.0)]).unwrap();
        from.cut();
    }
    let bytes: usize = from.journal_mut(0).iter().map(|record| record.value.as_ref().unwrap().len()).sum();
    assert!(bytes < 2 * (64 << 10), "{bytes} bytes after 6000 commits");
    from.restart();
    assert_eq!((from.task.position(), from.task.watermark_ms()), (6000, 5999));
}

/// Bytes of journal and of partials per dirty row of `count(*)`, for ten thousand short text keys in one cut.
#[test]
fn a_dirty_count_row_costs_few_bytes_on_its_way() {
    let plan = plan(&["SELECT k, count(*) AS n FROM s GROUP BY k, tumble(interval '10 seconds')"]);
    const ROWS: u64 = 10_000;
    for name in ["video", "0f5a9c41-user"] {
        // The end of SplitMix64, so that nothing in the keys repeats but what is written in them.
        let scramble = |i: u64| {
            let z = (i ^ i >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ z >> 31) & 0xffff_ffff
        };
        let inputs = |round: u64| -> Vec<_> {
            (0..ROWS).map(|i| record(round as i64, &format!("{name}-{:08x}", scramble(i + 1)), 1.0)).collect()
        };
        let mut local = World::new(plan.clone(), TaskOptions::default());
        let mut from = source(&plan, 0, 4, TaskOptions::default());
        for round in 0..2 {
            local.fold(&inputs(round)).unwrap();
            from.fold(&inputs(round)).unwrap();
            assert_eq!(local.task.view_stats(0).keys, ROWS as i64);
            let (journal, partials) = (local.cut().1.journal_bytes, from.cut().1.partial_bytes);
            println!(
                "{name}: journal {:.1}, partials {:.1} bytes a row",
                journal as f64 / ROWS as f64,
                partials as f64 / ROWS as f64
            );
            assert!(journal <= 24 * ROWS && partials <= 24 * ROWS, "{journal} {partials}");
        }
    }
}

#[test]
fn a_batch_read_again_from_its_middle_is_merged_from_there() {
    let plan = plan(&[TOTALS]);
    let mut from = source(&plan, 0, 1, TaskOptions::default());
    let sent: Vec<_> = (0..3)
        .flat_map(|i| {
            from.fold(&[record(i, "a", 1.0)]).unwrap();
            partials(&mut from)
        })
        .collect();
    let mut builder = BatchBuilder::new(Compression::None);
    for input in &sent {
        builder.push(0, None, input.value.as_deref(), std::iter::empty::<(&str, Option<&[u8]>)>()).unwrap();
    }
    let (batch, _) = Batch::parse(&builder.build(0, -1, -1, -1, false)).unwrap();
    let mut task = merge(&plan, 1).task;
    task.advance(1);
    task.fold(&batch, 0).unwrap();
    let mut out = Vec::new();
    assert_eq!(task.cut(0, &mut out).next_offset, 3);
    assert!(rows(&out)[0].contains("\"n\":2"), "{:?}", rows(&out));
}
