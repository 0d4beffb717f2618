//! The command line: what each command takes, and what it answers to the shell.
//!
//! | file | command |
//! |---|---|
//! | `serve`, `demo` | run the pipeline |
//! | `check`, `init` | look at a configuration, write one |
//! | `produce`, `tail` | put records in, see rows come out |
//! | `debug` | servers for test suites |
//! | `failure` | exit codes |
//!
//! **Invariant:** results go to standard output, progress and logs to standard error; exit codes are 0, 1 (it failed) and
//! 2 (it was asked wrongly: usage or configuration).

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::failure::Failure;
use crate::{
    bench,
    config::{Planned, Variables, load_planned},
};

mod check;
mod debug;
mod demo;
mod failure;
pub(crate) mod generate;
mod infer;
mod init;
mod open;
mod produce;
mod serve;
mod tail;
pub mod trace;

const EXAMPLES: &str = "\
Examples:
  windrow demo                                       see windows move, with nothing else installed
  windrow init clicks --kafka localhost:9092         look at a topic and write windrow.toml
  windrow check                                      all mistakes at once, then the plan
  windrow serve                                      run it
  windrow tail likes_1m --where \"video = 'a'\"        watch a channel

Exit codes: 0 done, 1 failed, 2 asked wrongly (usage or configuration).";

/// Live windows from a log to every browser.
#[derive(Debug, Parser)]
#[command(name = "windrow", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    trace: trace::TraceArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the configured streams, views and listeners
    Serve(serve::ServeArgs),
    /// Show lively windows at once: needs no configuration, no Kafka, nothing
    Demo(demo::DemoArgs),
    /// Tell every mistake of a configuration, or its plan
    Check(check::CheckArgs),
    /// Look at a topic and write a configuration for it
    Init(init::InitArgs),
    /// Put records into a topic or a server: generated ones, or files of NDJSON or CSV
    Produce(Box<produce::ProduceArgs>),
    /// Print the rows of a channel as they change
    Tail(tail::TailArgs),
    /// Measure this machine, each figure beside its floor
    Bench(bench::BenchArgs),
    /// Servers for the test suites of protocols
    #[command(subcommand)]
    Debug(debug::DebugCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  windrow completions bash > ~/.local/share/bash-completion/completions/windrow"
    )]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
struct ConfigArgs {
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "windrow.toml")]
    config: PathBuf,
    /// A .env file for the ${VARIABLES} in it; the environment wins
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl ConfigArgs {
    fn variables(&self) -> Result<Variables, Failure> {
        let variables = Variables::from_process();
        match &self.env_file {
            Some(file) => variables.with_file(file).map_err(|e| Failure::Config(vec![e])),
            None => Ok(variables),
        }
    }

    fn load(&self) -> Result<Planned, Failure> {
        load_planned(&self.config, &self.variables()?).map_err(Failure::Config)
    }
}

impl Cli {
    /// Returns how this command wants to be traced.
    pub fn trace(&self) -> trace::Trace {
        let quiet = !matches!(self.command, Command::Serve(_));
        self.trace.resolve(quiet)
    }

    /// Runs the command and tells what went wrong, if anything.
    pub fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::failed(error).tell(),
        };
        let result = runtime.block_on(dispatch(self.command));
        // Threads that still wait for input or a closed socket must not hold the process back.
        runtime.shutdown_background();
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        }
    }
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Check(args) => check::run(&args),
        Command::Init(args) => init::run(args).await,
        Command::Produce(args) => produce::run(*args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Bench(args) => bench::run(args).await.map_err(Failure::Failed),
        Command::Debug(command) => debug::run(command).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "windrow", &mut std::io::stdout());
            Ok(())
        }
    }
}
