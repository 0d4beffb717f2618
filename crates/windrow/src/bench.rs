//! `windrow bench`: what this machine can do, each figure beside a floor measured in the same run.
//!
//! **In** the arguments of one bench. **Out** a table, or JSON, on standard output.
//! **Invariant:** a figure never stands alone: the floor of the same work, on the same data, in the same run is beside it.
//! **Not here:** rivals; correctness (the tests).

use clap::{Args, Subcommand};

/// Arguments of `windrow bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure
    #[command(subcommand)]
    pub what: Bench,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
}

/// The benches.
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {
    /// The engine alone, in memory: JSON in, windows of 1, 5 and 10 minutes out
    Engine,
    /// Producing and consuming, on both logs
    Log,
    /// A topic through views into topics, in both delivery modes
    Pipeline,
    /// Many clients on one channel
    Fanout,
}

/// Runs one bench and prints what it measured.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
    anyhow::bail!("{:?} is not measured yet", args.what)
}
