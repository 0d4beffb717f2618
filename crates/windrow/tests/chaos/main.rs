//! Chaos: three engines on a Kafka that dies too, hurt at random, and the numbers are right.
//!
//! Needs Kafka's jars in `target/kafka` (`cargo xtask kafka start` fetches them) and java; starts its own brokers.
//! `cargo xtask chaos --rounds 100 --seed 7` sets the variables that are read here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod broker;
mod dice;
mod faults;
mod feed;
mod names;
mod oracle;
mod orphan;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../e2e/process.rs"]
mod process;
mod sight;
mod world;

use dice::Dice;
use faults::Round;
use world::{SESSION, Shape, World};

/// Enough for every kind of fault to happen once, and some twice.
const ROUNDS: u64 = 10;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

fn seed() -> u64 {
    let fresh = || jiff::Timestamp::now().as_microsecond().cast_unsigned() % 1_000_000;
    number("WINDROW_CHAOS_SEED").unwrap_or_else(fresh)
}

/// One world at a time: what is measured is Windrow, not the race of two Kafkas for two cores.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn rounds(name: &str, shape: Shape) {
    let _turn = TURN.lock().await;
    let (rounds, seed) = (number("WINDROW_CHAOS_ROUNDS").unwrap_or(ROUNDS), seed());
    let replay = format!("cargo xtask chaos --rounds {rounds} --seed {seed} {name}");
    println!("replay with {replay}");
    let mut dice = Dice(seed);
    let mut world = World::start(name, shape, SESSION, dice.next(), replay).await;
    world.settle();
    for round in 0..rounds {
        let thrown = Round::throw(round, shape, &mut dice);
        world.note(format!("round {}: {:?} for {:?}", round + 1, thrown.faults, thrown.lasts));
        thrown.run(&mut world);
        // Half of the rounds begin in the middle of what the one before left behind.
        if dice.percent(50) {
            world.settle();
        }
    }
    world.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn local_views_are_exact_whatever_dies() {
    rounds("local", Shape::Local).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_in_two_stages_are_exact_whatever_dies_and_grows() {
    rounds("two", Shape::Two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_over_several_topics_are_exact_whatever_dies_and_appears() {
    rounds("several", Shape::Several).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_in_its_commit_holds_nobody_back_for_long_and_has_its_partitions_when_it_is_back() {
    let _turn = TURN.lock().await;
    let seed = seed();
    let replay = format!("cargo xtask chaos --seed {seed} a_process_killed");
    println!("replay with {replay}");
    orphan::run(seed, replay).await;
}
