//! `windrow bench`: what this machine can do, each figure beside a floor measured in the same run.
//!
//! **In** the arguments of one bench. **Out** a table, or JSON, on standard output.
//! **Invariant:** a figure never stands alone: the floor of the same work, on the same data, in the same run is beside it.
//! **Not here:** rivals; correctness (the tests).
//!
//! | file | part |
//! |---|---|
//! | `engine` | the engine alone |
//! | `state` | cuts, memory, restoring |
//! | `log` | writing and reading; `floor_kafka` is its floor |
//! | `pipeline` | the whole program, Kafka to Kafka |
//! | `frames` | the same with an example's views, and records of 2.1 KB |
//! | `fanout` | many clients on one channel; `floor_push` is its floor, `load` its clients, `child` its servers |
//! | `connect` | what a client costs that comes, and one that is idle |
//! | `arrive` | how late a row is at a client |
//! | `setup`, `data` | the views, the records |
//! | `meter`, `latency`, `report` | what it cost, how late it was, and the table |
//! | `poll` | epoll, bare |

use clap::{Args, Subcommand};

mod arrive;
mod child;
mod connect;
mod data;
mod engine;
mod fanout;
mod floor_kafka;
mod floor_push;
mod formats;
mod frames;
mod latency;
mod load;
mod log;
mod meter;
mod pipeline;
mod poll;
mod report;
mod setup;
mod state;
mod written;

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
    /// Keeping state: the pause of a cut, its journal, and restoring it
    State(state::StateArgs),
    /// Producing and consuming, on both logs
    Log(log::LogArgs),
    /// A topic through views into topics, in both delivery modes, and in two stages
    Pipeline(pipeline::PipelineArgs),
    /// A million frames of 2.1 KB through the views of examples/frame-metrics
    Frames(frames::FramesArgs),
    /// Many clients on one channel
    Fanout(fanout::FanoutArgs),
    /// Many clients that come at once
    Connect(connect::ConnectArgs),
    /// How late a row is: from a record published to a client's WebSocket
    Arrive(arrive::ArriveArgs),
    /// The floor of `fanout` and `connect`, in a process of its own
    #[command(hide = true)]
    FloorPush(floor_push::FloorPushArgs),
}

/// Runs one bench and prints what it measured.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let report = match &args.what {
        Bench::Engine(args) => engine::run(args)?,
        Bench::State(args) => state::run(args).await?,
        Bench::Log(args) => log::run(args).await?,
        Bench::Pipeline(args) => pipeline::run(args).await?,
        Bench::Frames(args) => frames::run(args).await?,
        Bench::Fanout(args) => fanout::run(args)?,
        Bench::Connect(args) => connect::run(args)?,
        Bench::Arrive(args) => arrive::run(args)?,
        Bench::FloorPush(args) => return floor_push::run(args),
    };
    match args.json {
        true => println!("{:#}", report.json()),
        false => print!("{report}"),
    }
    Ok(())
}
