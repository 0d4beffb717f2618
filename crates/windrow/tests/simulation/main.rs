//! The whole engine role in a simulated world: real workers, real tasks, a Kafka in memory, time by hand, all from one seed.
//!
//! **In** seeds. **Out** nothing, or the first claim that a seed breaks, with the command that replays it.
//! **Invariant:** a seed is a run: no thread, no socket, no clock and no hash order has a say in it.
//!
//! ```sh
//! WINDROW_SIM_SEED=17 cargo test --package windrow --test simulation -- --nocapture replay    # one run, told step by step
//! WINDROW_SIM_SEEDS=5000..9000 cargo test --package windrow --test simulation many_seeds      # others than the usual ones
//! ```
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{
    ops::Range,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use parking_lot::Mutex;

use crate::{
    rng::Rng,
    scenario::Scenario,
    world::{Counts, World},
};

mod broker;
mod check;
mod log;
mod oracle;
mod process;
mod regressions;
mod rng;
mod scenario;
mod seen;
mod source;
mod world;

/// What a usual run must have met: a simulation in which one of these never happens proves nothing about it.
const TROUBLES: [&str; 19] = [
    "aborted",
    "answer lost",
    "asked to stop",
    "call failed",
    "committed",
    "frozen",
    "journal purged",
    "killed",
    "local views compared",
    "lost",
    "merged views compared",
    "retention followed",
    "retention overtook",
    "revoked",
    "slow markers",
    "stale membership refused",
    "transaction timed out",
    "unstable offsets waited for",
    "view added",
];
/// So many seeds meet all of them.
const SEEDS_MEET_ALL: u64 = 500;

/// Seeds of a usual run.
const SEEDS: Range<u64> = 0..2000;

/// Runs one seed; a traced run also tells what happened.
fn run(seed: u64, traced: bool) -> (Result<Counts, String>, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let scenario = Scenario::draw(&mut Rng::new(seed));
        let mut world = World::new(seed, scenario, traced).await;
        let result = world.run().await;
        (result, world.trace())
    })
}

fn run_caught(seed: u64, traced: bool) -> (Result<Counts, String>, Vec<String>) {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, traced)));
    caught.unwrap_or_else(|_| (Err("a panic, see above".into()), Vec::new()))
}

fn replay_command(seed: u64) -> String {
    format!(
        "WINDROW_SIM_SEED={seed} cargo test --package windrow --test simulation -- --nocapture --exact replay"
    )
}

/// Runs seeds on all cores; the lowest that fails is told.
fn run_all(seeds: Range<u64>) -> Counts {
    let next = AtomicU64::new(seeds.start);
    let total: Mutex<Counts> = Mutex::default();
    let failed: Mutex<Option<(u64, String)>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        while failed.lock().is_none() {
            let seed = next.fetch_add(1, SeqCst);
            if !seeds.contains(&seed) {
                break;
            }
            match run_caught(seed, false).0 {
                Ok(counts) => {
                    let mut total = total.lock();
                    counts.into_iter().for_each(|(what, n)| *total.entry(what).or_default() += n);
                }
                Err(why) => {
                    let mut failed = failed.lock();
                    if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                        *failed = Some((seed, why));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..cores).for_each(|_| _ = scope.spawn(work));
    });
    if let Some((seed, why)) = failed.into_inner() {
        panic!("seed {seed}: {why}\n\nreplay: {}", replay_command(seed));
    }
    total.into_inner()
}

#[test]
fn many_seeds_hold_and_reach_every_kind_of_trouble() {
    let seeds = std::env::var("WINDROW_SIM_SEEDS").ok().map_or(SEEDS, |text| {
        let (from, to) = text.split_once("..").expect("WINDROW_SIM_SEEDS is from..to");
        from.parse().unwrap()..to.parse().unwrap()
    });
    let all = seeds.end - seeds.start >= SEEDS_MEET_ALL;
    let counts = run_all(seeds);
    println!("{counts:#?}");
    let never: Vec<_> = TROUBLES.iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(!all || never.is_empty(), "never met: {never:?}");
}

#[test]
fn replay() {
    let Ok(text) = std::env::var("WINDROW_SIM_SEED") else { return };
    let (result, trace) = run(text.parse().unwrap(), true);
    trace.iter().for_each(|line| println!("{line}"));
    result.unwrap();
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..6 {
        let (first, second) = (run_caught(seed, true), run_caught(seed, true));
        let differs = first.1.iter().zip(&second.1).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.0, second.0, "seed {seed}");
        assert!(first.1.len() > 20, "seed {seed} tells nothing");
    }
}
