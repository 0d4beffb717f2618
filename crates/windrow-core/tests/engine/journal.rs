//! Journals that do not fit, views that come later, and bounds of blocks.

use std::sync::Arc;

use windrow_core::{
    engine::{StopReason, TaskError, TaskOptions},
    journal::JournalError,
    out::{OutRecord, Target},
    plan::StreamPlan,
    spec::{LatePolicy, OnBad, OnFull},
};

use crate::world::{self, Input, World};

const COUNTS: &str =
    "SELECT k, count(*) AS n, count(DISTINCT v) AS d FROM s GROUP BY k, tumble(interval '10 seconds')";

fn plan(sqls: &[&str]) -> Arc<StreamPlan> {
    let views = sqls.iter().enumerate().map(|(i, sql)| world::view(&format!("v{i}"), sql)).collect();
    world::plan(world::stream(), views)
}

fn record(ts_ms: i64, key: &str, v: &str) -> Input {
    let value = format!("{{\"t\":{ts_ms},\"k\":\"{key}\",\"v\":\"{v}\"}}").into_bytes();
    Input { timestamp_ms: 0, value: Some(value) }
}

/// A world with three commits behind it.
fn committed(options: TaskOptions) -> World {
    let mut world = World::new(plan(&[COUNTS]), options);
    for i in 0..3 {
        world.fold(&[record(i * 4000, "a", "x"), record(i * 4000 + 1, &format!("key-{i}"), "y")]).unwrap();
        world.cut();
    }
    world
}

fn restore(plan: &Arc<StreamPlan>, journal: &[OutRecord]) -> Result<Option<i64>, JournalError> {
    let mut task = world::local(plan, TaskOptions::default()).unwrap();
    for record in journal {
        task.restore(0, record.key.as_deref(), record.value.as_deref())?;
    }
    task.restored()
}

#[test]
fn a_journal_that_does_not_fit_is_an_error_and_never_a_guess() {
    let plan = plan(&[COUNTS]);
    let journal = committed(TaskOptions::default()).journal_mut(0).clone();
    assert_eq!(restore(&plan, &journal), Ok(Some(6)));
    assert_eq!(restore(&plan, &[]), Ok(None));

    let hole = |journal: &[OutRecord]| matches!(restore(&plan, journal), Err(JournalError::Hole { .. }));
    assert!(hole(&journal[1..]), "the front is gone and no series begins there");
    assert!(hole(&[journal[0].clone(), journal[2].clone()]), "a commit is missing");
    assert!(hole(&[journal[0].clone(), journal[0].clone()]), "a commit comes twice");

    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut first = journal[0].clone();
        let mut value = first.value.unwrap().to_vec();
        change(&mut value);
        first.value = Some(value.into());
        restore(&plan, &[first])
    };
    assert!(matches!(with(&|value| value[0] = 77), Err(JournalError::Version { version: 77, .. })));
    assert!(matches!(with(&|value| value[2] ^= 1), Err(JournalError::OtherPlan { .. })));
    assert!(matches!(
        with(&|value| value.truncate(20)),
        Err(JournalError::Corrupt { .. } | JournalError::Hole { .. })
    ));
    assert!(matches!(with(&|value| value.clear()), Err(JournalError::Corrupt { .. })));
    let mut tombstone = journal[0].clone();
    tombstone.value = None;
    assert!(matches!(restore(&plan, &[tombstone]), Err(JournalError::Corrupt { .. })));
}

#[test]
fn damaged_journals_never_panic() {
    let over = "SELECT k, avg(count(*)) OVER (ORDER BY window_start) AS mean, max(max(v)) OVER (ORDER BY window_start) AS most \
                FROM s GROUP BY k, tumble(interval '1 second')";
    for sql in [COUNTS, over] {
        damaged_journals_of_a_view_never_panic(&plan(&[sql]));
    }
}

fn damaged_journals_of_a_view_never_panic(plan: &Arc<StreamPlan>) {
    let mut world = World::new(plan.clone(), TaskOptions::default());
    world.fold(&[record(0, "a", "x"), record(1, "b", "y"), record(4000, "a", "z")]).unwrap();
    world.cut();
    let journal = world.journal_mut(0).clone();
    assert_eq!(restore(plan, &journal), Ok(Some(3)));
    for record in &journal[..1] {
        let value = record.value.as_ref().unwrap();
        for at in 11..value.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = value.to_vec();
                damaged[at] ^= flip;
                let record = OutRecord { value: Some(damaged.into()), ..record.clone() };
                // Some flips are invisible without a checksum, which batches have; none may panic.
                let _ = restore(plan, &[record]);
            }
        }
    }
}

#[test]
fn a_changed_view_is_recognised_and_says_the_way_out() {
    let mut world = committed(TaskOptions::default());
    let other =
        plan(&["SELECT k, count(*) AS n FROM s WHERE v = 'x' GROUP BY k, tumble(interval '10 seconds')"]);
    let error = world.try_restart(other).unwrap_err();
    assert!(matches!(error, JournalError::OtherPlan { .. }));
    assert!(error.to_string().contains("give the view a new name, or start once with --reset"), "{error}");
}

#[test]
fn a_view_added_later_reads_its_own_history_and_the_others_skip_it() {
    let mut world = committed(TaskOptions::default());
    let second = "SELECT k, count(*) AS n FROM s GROUP BY k, tumble(interval '10 seconds')";
    world.try_restart(plan(&[COUNTS, second])).unwrap();
    let (out, cut) = world.cut();
    assert_eq!(cut.next_offset, 6);
    let rows = |view| out.iter().filter(|record| record.target == Target::Channel(view)).count();
    assert_eq!(rows(0), 0, "nothing new for the old view");
    // a, key-0, key-1, key-2
    assert_eq!(rows(1), 4);
    assert_eq!(world.task.stats().records, 0, "the partition's records were counted the first time");
}

#[test]
fn blocks_stay_below_their_bound_and_large_sets_are_split() {
    let options = TaskOptions { journal_block_max_bytes: 2000, ..TaskOptions::default() };
    let mut world = World::new(plan(&[COUNTS]), options);
    let inputs: Vec<_> = (0..2000).map(|i| record(i % 7, "a", &format!("{:x}", i * 7_919_431))).collect();
    world.fold(&inputs).unwrap();
    world.cut();
    let journal = world.journal_mut(0);
    assert!(journal.len() > 5);
    assert!(journal.iter().all(|record| record.value.as_ref().unwrap().len() < 2100));
    world.restart();
    world.fold(&[record(60_000, "a", "0")]).unwrap();
    let (out, _) = world.cut();
    let row = String::from_utf8_lossy(out[0].value.as_deref().unwrap()).into_owned();
    assert!(row.starts_with(r#"{"k":"a","n":2000,"d":2000,"#), "{row}");
}

#[test]
fn on_bad_stop_stops_with_the_offset_and_the_reason() {
    let mut stream = world::stream();
    stream.on_bad = OnBad::Stop;
    let plan = world::plan(stream, vec![world::view("v", COUNTS)]);
    let mut world = World::new(plan, TaskOptions::default());
    let bad = Input { timestamp_ms: 0, value: Some(b"{".to_vec()) };
    let stop = world.fold(&[record(1, "a", "x"), bad]).unwrap_err();
    assert!(matches!(stop, StopReason::Bad { offset: 1, .. }));
    assert!(stop.to_string().contains("on_bad = \"dead-letter\""), "{stop}");
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let mut view = world::view("v", COUNTS);
    (view.late, view.on_full) = (LatePolicy::Update, OnFull::CloseOldest);
    let refused = world::local(&world::plan(world::stream(), vec![view]), TaskOptions::default());
    assert!(matches!(refused.unwrap_err(), TaskError::Options { .. }));
}

#[test]
fn a_long_dead_letter_is_shortened_and_says_so() {
    let mut world = World::new(plan(&[COUNTS]), TaskOptions::default());
    let value = Some(vec![b'x'; 600 << 10]);
    world.fold(&[Input { timestamp_ms: 0, value }]).unwrap();
    let (out, cut) = world.cut();
    let letter = out.iter().find(|record| record.target == Target::Bad).unwrap();
    assert_eq!(letter.value.as_ref().unwrap().len(), 480 << 10);
    let length = letter.headers.iter().find(|(name, _)| *name == "value_length").unwrap();
    assert_eq!(length.1, "614400");
    assert_eq!(cut.samples.len(), 1);
    assert_eq!((world.task.stats().bad, world.task.stats().records), (1, 1));
}

#[test]
fn a_count_row_costs_few_bytes_of_journal() {
    let sql = "SELECT k, count(*) AS n FROM s GROUP BY k, tumble(interval '10 seconds')";
    let mut world = World::new(plan(&[sql]), TaskOptions::default());
    let inputs: Vec<_> = (0..5000).map(|i| record(1, &format!("video-{:04}", i % 1000), "x")).collect();
    world.fold(&inputs).unwrap();
    let (_, cut) = world.cut();
    assert_eq!(cut.rows, 1000);
    assert!(cut.journal_bytes <= 24 * 1000, "{} bytes for 1000 rows", cut.journal_bytes);
}
