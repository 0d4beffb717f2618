//! `windrow bench`: what this machine can do, each figure beside a floor measured in the same run.
//!
//! **In** the arguments of one bench. **Out** a table, or JSON, on standard output.
//! **Invariant:** a figure never stands alone: the floor of the same work, on the same data, in the same run is beside it.
//! **Not here:** rivals; correctness (the tests).
//!
//! | file | part |
//! |---|---|
//! | `engine` | the engine alone |
//! | `log` | writing and reading; `floor_kafka` is its floor |
//! | `pipeline` | the whole program, Kafka to Kafka |
//! | `fanout` | many clients on one channel; `floor_push` is its floor, `load` its clients, `child` its servers |
//! | `setup`, `data` | the views, the records |
//! | `meter`, `latency`, `report` | what it cost, how late it was, and the table |
//! | `poll` | epoll, bare |

use clap::{Args, Subcommand};

mod child;
mod data;
mod engine;
mod fanout;
mod floor_kafka;
mod floor_push;
mod latency;
mod load;
mod log;
mod meter;
mod pipeline;
mod poll;
mod report;
mod setup;

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
    Engine(engine::EngineArgs),
    /// Producing and consuming, on both logs
    Log(log::LogArgs),
    /// A topic through views into topics, in both delivery modes
    Pipeline(pipeline::PipelineArgs),
    /// Many clients on one channel
    Fanout(fanout::FanoutArgs),
    /// The floor of `fanout`, in a process of its own
    #[command(hide = true)]
    FloorPush(floor_push::FloorPushArgs),
}

/// Runs one bench and prints what it measured.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let report = match &args.what {
        Bench::Engine(args) => engine::run(args)?,
        Bench::Log(args) => log::run(args).await?,
        Bench::Pipeline(args) => pipeline::run(args).await?,
        Bench::Fanout(args) => fanout::run(args)?,
        Bench::FloorPush(args) => return floor_push::run(args),
    };
    match args.json {
        true => println!("{:#}", report.json()),
        false => print!("{report}"),
    }
    Ok(())
}
