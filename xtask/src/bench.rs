//! `cargo xtask bench`: every bench of a release build, on a real Kafka, one after the other.
//!
//! **In** names of benches. **Out** their tables. **Invariant:** nothing else of ours runs meanwhile; the Kafka that ran before goes on
//! after. **Not here:** what is measured (`windrow bench`), and what came of it (`docs/PERFORMANCE.md`).

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{kafka::Running, root, target};

/// The benches in their usual order, and whether they need Kafka.
const BENCHES: &[(&str, bool)] = &[
    ("engine", false),
    ("state", true),
    ("log", true),
    ("pipeline", true),
    ("frames", true),
    ("arrive", true),
    ("fanout", false),
    ("connect", false),
];

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// engine, state, log, pipeline, frames, arrive, fanout, connect (default: all)
    benches: Vec<String>,
    /// Further arguments for each bench, such as `--json`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds and runs.
pub(crate) fn run(args: &Args) -> Result<()> {
    for name in &args.benches {
        ensure!(
            BENCHES.iter().any(|(n, _)| n == name),
            "there is no bench {name}; there are engine, state, log, pipeline, frames, arrive, fanout, connect"
        );
    }
    let chosen =
        BENCHES.iter().filter(|(n, _)| args.benches.is_empty() || args.benches.iter().any(|b| b == n));
    let root = root();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let built =
        cargo.args(["build", "--release", "--locked", "--package", "windrow"]).current_dir(&root).status()?;
    ensure!(built.success(), "the release build failed");
    for (name, on_kafka) in chosen {
        let kafka = on_kafka.then(Running::start).transpose()?;
        println!("\n==> {name}");
        let mut windrow = Command::new(target(&root).join("release/windrow"));
        windrow.args(["bench", name]).args(&args.rest).current_dir(&root);
        if let Some(kafka) = &kafka {
            windrow.args(["--kafka", &kafka.address]);
        }
        let status = windrow.status().context("windrow does not start")?;
        ensure!(status.success(), "windrow bench {name} ended with {status}");
    }
    Ok(())
}
