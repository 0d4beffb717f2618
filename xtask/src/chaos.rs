//! `cargo xtask chaos`: three engines on a Kafka of their own, hurt at random for as many rounds as asked for.
//!
//! **In** rounds and a seed. **Out** the test's own lines; a failure tells what was done and the command that does it again.
//! **Not here:** what is done and what must come of it (`crates/windrow/tests/chaos`).

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{kafka, root};

/// What `cargo xtask chaos` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each test
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Where the dice begin (default: anew each time; it is printed)
    #[arg(long)]
    seed: Option<u64>,
    /// Run only tests whose name contains this
    test: Option<String>,
}

/// Builds and runs.
pub(crate) fn run(args: &Args) -> Result<()> {
    kafka::fetch()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--locked", "--package", "windrow", "--test", "chaos", "--", "--nocapture"]);
    cargo.args(&args.test).env("WINDROW_CHAOS_ROUNDS", args.rounds.to_string()).current_dir(root());
    if let Some(seed) = args.seed {
        cargo.env("WINDROW_CHAOS_SEED", seed.to_string());
    }
    let status = cargo.status().context("cargo does not start")?;
    ensure!(status.success(), "chaos won");
    Ok(())
}
