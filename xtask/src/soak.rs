//! `cargo xtask soak`: the simulation of the engine role over more seeds than a usual run, or one seed told step by step.
//!
//! **In** a first seed and a count, or one seed. **Out** success, or the lowest seed that fails and the command that replays it, which
//! the simulation prints. **Invariant:** a seed means the same here and in the test.
//! **Not here:** the simulation (`crates/windrow/tests/simulation`).

use std::{
    process::Command,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail, ensure};

use crate::root;

/// Seeds between two lines of progress.
const CHUNK: u64 = 1000;

/// What `cargo xtask soak` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// First seed (default: one nobody has tried, from the clock)
    #[arg(long)]
    from: Option<u64>,
    /// Replays one seed and tells what happens in it
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Builds with optimisation: minutes to build, then quicker seeds
    #[arg(long)]
    release: bool,
}

/// Runs seeds until one fails or all have held.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(seed) = args.seed {
        let replayed = simulation(args, "replay", ("WINDROW_SIM_SEED", seed.to_string()))?;
        ensure!(replayed, "seed {seed} fails");
        return Ok(());
    }
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let first = args.from.unwrap_or_else(|| clock().wrapping_mul(1_000_003));
    let began = Instant::now();
    let mut done = 0;
    while done < args.seeds {
        let from = first.wrapping_add(done);
        let to = from.wrapping_add(CHUNK.min(args.seeds - done));
        if !simulation(args, "many_seeds", ("WINDROW_SIM_SEEDS", format!("{from}..{to}")))? {
            bail!("a seed of {from}..{to} fails; the lines above name it and the command that replays it");
        }
        done += to.wrapping_sub(from);
        println!("{done} seeds from {first} on hold, {} s", began.elapsed().as_secs());
    }
    Ok(())
}

fn simulation(args: &Args, test: &str, (name, value): (&str, String)) -> Result<bool> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--locked", "--package", "windrow", "--test", "simulation"]);
    if args.release {
        cargo.arg("--release");
    }
    cargo.args(["--", "--nocapture", test]).env(name, value).current_dir(root());
    Ok(cargo.status()?.success())
}
