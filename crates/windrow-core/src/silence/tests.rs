//! Tables for the rules, and random streams of partitions that only half know of each other.

use proptest::{collection::vec, prelude::*};

use super::*;

const WAIT_MS: i64 = 100;

/// An answer: when, position before, position after, high watermark.
type Answer = (i64, i64, i64, i64);

fn quiet(answers: &[Answer]) -> i64 {
    let mut clock = QuietClock::new(WAIT_MS);
    answers.iter().for_each(|(at, from, next, high)| clock.answer(*at, *from, *next, *high));
    clock.quiet_ms()
}

#[test]
fn quiet_time_is_what_lies_between_two_answers_at_the_end() {
    let table: [(&str, &[Answer], i64); 10] = [
        ("one answer proves nothing", &[(0, 5, 5, 5)], 0),
        ("two at the end", &[(0, 5, 5, 5), (90, 5, 5, 5)], 90),
        ("they add up", &[(0, 5, 5, 5), (90, 5, 5, 5), (150, 5, 5, 5)], 150),
        ("far apart: an outage or a paused process", &[(0, 5, 5, 5), (60_000, 5, 5, 5)], WAIT_MS),
        ("records reset it", &[(0, 5, 5, 5), (90, 5, 5, 5), (95, 5, 7, 7)], 0),
        ("the answer that brings the last records begins it", &[(0, 5, 7, 7), (80, 7, 7, 7)], 80),
        ("more is to come", &[(0, 5, 5, 5), (90, 5, 6, 9), (95, 6, 9, 9), (99, 9, 9, 9)], 4),
        ("an open transaction is not silence", &[(0, 5, 5, 5), (90, 5, 5, 8), (180, 5, 5, 8)], 0),
        ("nor is the step out of it", &[(0, 5, 5, 8), (90, 5, 5, 8), (180, 5, 9, 9)], 0),
        ("it begins anew afterwards", &[(0, 5, 5, 8), (90, 5, 9, 9), (180, 9, 9, 9)], 90),
    ];
    for (claim, answers, want) in table {
        assert_eq!(quiet(answers), want, "{claim}");
    }
}

#[test]
fn downtime_adds_nothing() {
    let mut before = QuietClock::new(WAIT_MS);
    (0..=20).for_each(|i| before.answer(i * 100, 5, 5, 5));
    assert!(before.is_idle(Some(1_000), 70_000));
    assert_eq!(before.step(2_000, 70_000, 70_000), 70_000);
    // An hour later another process has it, with the watermark that was committed.
    let mut after = QuietClock::new(WAIT_MS);
    after.answer(3_600_000, 5, 5, 5);
    assert_eq!((after.quiet_ms(), after.is_idle(Some(1_000), 70_000)), (0, false));
    (1..=11).for_each(|i| after.answer(3_600_000 + i * 100, 5, 5, 5));
    assert!(after.is_idle(Some(1_000), 70_000));
    assert_eq!(
        after.step(3_601_100, 70_000, 70_000),
        70_000,
        "what passed before it was idle is not made up for"
    );
}

#[test]
fn a_partition_is_idle_past_its_time() {
    let mut silent = QuietClock::new(WAIT_MS);
    for (at_ms, idle) in [(0, false), (100, false), (200, false), (201, true)] {
        silent.answer(at_ms, 5, 5, 5);
        let is_idle = (silent.is_idle(Some(200), 7), silent.is_idle(None, 7));
        assert_eq!(is_idle, (idle, false), "after {at_ms} ms");
    }
}

#[test]
fn a_partition_that_never_had_a_record_is_idle_once_it_was_watched_or_has_flowed() {
    let mut empty = QuietClock::new(WAIT_MS);
    assert!(!empty.is_idle(None, 7), "not confirmed yet");
    empty.answer(0, 0, 0, 0);
    assert!(empty.is_idle(None, 7), "after a restart: it has flowed before");
    assert!(!empty.is_idle(None, NEVER_MS), "its first record may be on its way");
    for i in 1..=300 {
        empty.answer(i * 100, 0, 0, 0);
        assert_eq!(empty.is_idle(Some(1_000), NEVER_MS), i > 10, "idle = 1s after {i} answers");
        assert!(!empty.is_idle(None, NEVER_MS), "idle = never after {i} answers");
    }
    empty.answer(30_100, 0, 0, 0);
    assert!(empty.is_idle(None, NEVER_MS));
    empty.answer(30_200, 0, 0, 3);
    assert!(!empty.is_idle(None, 7), "an open transaction may bring the first record");
    empty.answer(30_300, 0, 3, 3);
    empty.answer(30_400, 3, 3, 3);
    assert!(!empty.is_idle(None, 7), "it had a record");
}

#[test]
fn who_flows_where() {
    let busy = |watermark_ms| Some(Known { watermark_ms, idle: false });
    let idle = |watermark_ms| Some(Known { watermark_ms, idle: true });
    let table: [(&str, &[Option<Known>], Flow); 12] = [
        ("the slowest that is not idle", &[idle(1), busy(50), busy(40)], Flow::Follow(40)),
        ("the idle one may be ahead", &[idle(99), busy(50)], Flow::Follow(50)),
        ("an old quiet one holds nobody", &[idle(NEVER_MS), busy(50)], Flow::Follow(50)),
        ("one that is still unread holds all", &[idle(7), busy(50), busy(NEVER_MS)], Flow::Stay),
        ("one not heard from holds all", &[idle(7), busy(50), None], Flow::Stay),
        ("also when the others are idle", &[idle(7), idle(50), None], Flow::Stay),
        ("all idle: from the highest", &[idle(7), idle(50), idle(NEVER_MS)], Flow::Clock(50)),
        ("the only one", &[idle(7)], Flow::Clock(7)),
        ("all empty", &[idle(NEVER_MS), idle(NEVER_MS)], Flow::Stay),
        ("one that ended is not followed", &[idle(ENDED_MS), idle(7)], Flow::Clock(7)),
        ("nor waited for", &[busy(ENDED_MS), idle(7), busy(8)], Flow::Follow(8)),
        ("all ended", &[busy(ENDED_MS)], Flow::Stay),
    ];
    for (claim, partitions, want) in table {
        assert_eq!(Flow::of(partitions.iter().copied()), want, "{claim}");
    }
}

#[test]
fn by_the_clock_only_quiet_time_counts_and_only_while_it_goes_by_the_clock() {
    let (mut clock, mut at_ms) = (QuietClock::new(WAIT_MS), 0);
    let mut wait = |clock: &mut QuietClock, ms: i64| {
        (0..ms / 100).for_each(|_| {
            at_ms += 100;
            clock.answer(at_ms, 5, 5, 5);
        });
        at_ms
    };
    let now_ms = wait(&mut clock, 2_100);
    assert_eq!(clock.step(now_ms, 1_000, 4_000), 4_000, "first to the highest, and no further");
    let now_ms = wait(&mut clock, 1_000);
    assert_eq!(clock.step(now_ms, 4_000, 4_000), 5_000);
    let now_ms = wait(&mut clock, 1_000);
    assert_eq!(clock.step(now_ms, 5_000, 5_500), 6_000, "others are followed, not added");
    let now_ms = wait(&mut clock, 1_000);
    assert_eq!(clock.step(now_ms, 6_000, 7_700), 7_700);
    wait(&mut clock, 1_000);
    clock.hold();
    let now_ms = wait(&mut clock, 1_000);
    assert_eq!(clock.step(now_ms, 7_700, 7_700), 7_700, "what passed while another was busy does not count");
    assert_eq!(clock.step(now_ms, NEVER_MS, 9_000), 9_000);
    let now_ms = wait(&mut clock, 1_000);
    assert_eq!(clock.step(now_ms, 9_000, 9_000), 10_000);
    assert_eq!(clock.step(now_ms + 40, 10_000, 10_300), 10_300, "followed between two answers");
    let now_ms = wait(&mut clock, 100);
    assert_eq!(clock.step(now_ms, 10_300, 10_300), 10_360, "of what passed between them the rest counts");
}

/// Each sees the other move between two of its own answers.
#[test]
fn two_that_follow_each_other_in_turn_keep_to_the_clock() {
    let mut clocks = [QuietClock::new(WAIT_MS), QuietClock::new(WAIT_MS)];
    let mut watermarks = [0, 0];
    for at_ms in (0..100_000).step_by(50) {
        let (own, other) = if at_ms % 100 == 0 { (0, 1) } else { (1, 0) };
        clocks[own].answer(at_ms, 5, 5, 5);
        for i in [own, other] {
            watermarks[i] = clocks[i].step(at_ms, watermarks[i], watermarks[0].max(watermarks[1]));
            assert!(watermarks[i] <= at_ms, "{watermarks:?} after {at_ms} ms");
        }
    }
    assert!(watermarks[0] > 99_000, "and it does go on: {watermarks:?}");
}

/// One partition of the random stream, with its owner's view of the others.
struct Partition {
    clock: QuietClock,
    watermark_ms: i64,
    next: i64,
    known: Vec<Option<Known>>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Time passes without answers.
    Pass(i64),
    /// All are quiet and watched for this many answers, and everybody hears of everybody.
    Rest(i64),
    /// An answer at the end, or one that shows an open transaction.
    Answer { partition: usize, open: bool },
    /// A record of this event time, relative to the highest so far.
    Record { partition: usize, ahead_ms: i64 },
    /// One owner hears of another's partition.
    Tell { from: usize, to: usize },
    /// One owner lets its partition flow.
    Flow(usize),
    /// The partition gets a new owner, who knows nothing of silence.
    Move(usize),
}

const PARTITIONS: usize = 3;
const IDLE_MS: i64 = 300;

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        6 => (1..150_i64).prop_map(Step::Pass),
        1 => (1_000..90_000_i64).prop_map(Step::Pass),
        2 => (1..12_i64).prop_map(Step::Rest),
        4 => (partition.clone(), prop::bool::weighted(0.02)).prop_map(|(partition, open)| Step::Answer { partition, open }),
        1 => (partition.clone(), -5_000..5_000_i64).prop_map(|(partition, ahead_ms)| Step::Record { partition, ahead_ms }),
        6 => (partition.clone(), partition.clone()).prop_map(|(from, to)| Step::Tell { from, to }),
        8 => partition.clone().prop_map(Step::Flow),
        1 => partition.prop_map(Step::Move),
    ]
}

fn known(partition: &Partition) -> Known {
    Known {
        watermark_ms: partition.watermark_ms,
        idle: partition.clock.is_idle(Some(IDLE_MS), partition.watermark_ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever partitions know of each other: the highest watermark is at most the highest that records or their flow said, plus the
    /// time since; and no watermark goes back.
    #[test]
    fn together_they_never_run_faster_than_the_clock(
        starts in vec(0..20_000_i64, PARTITIONS),
        steps in vec(step(), 1..600),
    ) {
        let mut now_ms = 0;
        let mut partitions: Vec<Partition> = starts.iter().map(|start| Partition {
            clock: QuietClock::new(WAIT_MS),
            watermark_ms: *start,
            next: 5,
            known: vec![None; PARTITIONS],
        }).collect();
        // Highest that any watermark may be now: moved by records, and by the clock.
        let mut bound_ms = starts.iter().copied().max().unwrap_or(0);
        for step in steps {
            match step {
                Step::Pass(ms) => {
                    now_ms += ms;
                    bound_ms += ms;
                }
                Step::Rest(answers) => {
                    for _ in 0..answers {
                        now_ms += WAIT_MS;
                        bound_ms += WAIT_MS;
                        partitions.iter_mut().for_each(|p| p.clock.answer(now_ms, p.next, p.next, p.next));
                    }
                    let told: Vec<_> = partitions.iter().map(|p| Some(known(p))).collect();
                    partitions.iter_mut().for_each(|p| p.known.clone_from(&told));
                }
                Step::Answer { partition, open } => {
                    let p = &mut partitions[partition];
                    p.clock.answer(now_ms, p.next, p.next, p.next + i64::from(open));
                }
                Step::Record { partition, ahead_ms } => {
                    let p = &mut partitions[partition];
                    p.clock.answer(now_ms, p.next, p.next + 1, p.next + 1);
                    p.next += 1;
                    p.watermark_ms = p.watermark_ms.max(bound_ms + ahead_ms);
                    bound_ms = bound_ms.max(p.watermark_ms);
                }
                Step::Tell { from, to } => {
                    let told = known(&partitions[from]);
                    partitions[to].known[from] = Some(told);
                }
                Step::Flow(i) => {
                    let own = known(&partitions[i]);
                    partitions[i].known[i] = Some(own);
                    let flow = Flow::of(partitions[i].known.iter().copied());
                    let p = &mut partitions[i];
                    let to_ms = match flow {
                        Flow::Clock(highest_ms) => p.clock.step(now_ms, p.watermark_ms, highest_ms),
                        Flow::Follow(ms) => { p.clock.hold(); if own.idle { ms } else { NEVER_MS } }
                        Flow::Stay => { p.clock.hold(); NEVER_MS }
                    };
                    p.watermark_ms = p.watermark_ms.max(to_ms);
                    prop_assert!(own.idle || p.watermark_ms == own.watermark_ms, "only an idle one flows");
                    prop_assert!(p.watermark_ms <= bound_ms, "{} is past {bound_ms}", p.watermark_ms);
                }
                Step::Move(i) => partitions[i].clock = QuietClock::new(WAIT_MS),
            }
        }
    }
}
