//! Windrow's automation, in Rust: what a contributor or a CI machine types is `cargo xtask …` and nothing else.
//!
//! **In** the command line. **Out** an exit code: 0 when everything asked for holds. **Not here:** the product.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

mod bench;
mod chaos;
mod deps;
mod flights;
mod kafka;
mod soak;
mod test;
mod tidy;

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "Windrow's automation")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Every check and every test, on real parts; installs or names what is missing
    Test(test::Args),
    /// Every bench of a release build, on a real Kafka
    Bench(bench::Args),
    /// Three engines on a Kafka that dies too, hurt at random; what comes out must be exact
    Chaos(chaos::Args),
    /// The simulation of the engine over many seeds, or one seed step by step
    Soak(soak::Args),
    /// House rules that rustfmt and clippy cannot check
    Tidy,
    /// A real Apache Kafka on this machine, for tests and benches
    Kafka {
        #[command(subcommand)]
        action: KafkaAction,
    },
}

#[derive(Subcommand)]
enum KafkaAction {
    /// Starts it and prints host:port; answers at once when it runs already
    Start {
        /// Port of the broker (default: that of the last start, or a free one)
        #[arg(long)]
        port: Option<u16>,
    },
    /// Stops it; its data stays in target/kafka
    Stop,
    /// Prints host:port when it runs and answers
    Status,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Chaos(args) => chaos::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Tidy => tidy::run(&root()),
        Task::Kafka { action } => match action {
            KafkaAction::Start { port } => kafka::start(port).map(|address| println!("{address}")),
            KafkaAction::Stop => kafka::stop(),
            KafkaAction::Status => kafka::status().map(|address| println!("{address}")),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's folder, wherever `cargo xtask` was called.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
