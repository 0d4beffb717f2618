//! `windrow serve`: the pipeline, until a signal, a failure or the end of its input.
//!
//! **Invariant:** whatever ends it, it drains: transactions finish, clients are told when to come back. A second signal does
//! not wait for that.

use std::{future::Future, sync::Arc};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use self::{console::Console, input::Input};
use super::{ConfigArgs, failure::Failure};
use crate::{
    config::{Config, LogKind, Planned, plan},
    log::LogError,
    pipeline::{Options, Pipeline, Role},
    publish::{Publisher, Setup},
};

mod console;
mod input;

const EXAMPLES: &str = "\
Examples:
  windrow serve
  windrow serve --config examples/quickstart/windrow.toml --env-file .env
  windrow serve --role gateway                       only readers and sessions; engines run elsewhere
  windrow serve --stdin clicks --until-end < clicks.ndjson
  windrow serve --reset likes_1m                     once, after the view's SQL has changed

Signals: the first SIGINT or SIGTERM drains (limits.drain_timeout), the second stops at once.
Exit codes: 0 drained or at the end of the input, 1 failed, 2 asked wrongly.";

/// Which half of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    /// Workers: windows and commits
    Engine,
    /// Readers, hub and listeners
    Gateway,
    /// Both
    All,
}

/// Arguments of `windrow serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Which half of the pipeline this process runs
    #[arg(long, default_value = "all")]
    role: RoleArg,
    /// Append the lines of standard input to this stream
    #[arg(long, value_name = "STREAM")]
    stdin: Option<String>,
    /// At the end of the input close every window, write it, and exit
    #[arg(long)]
    until_end: bool,
    /// Forget the state of this view and read its history from the stream's start again; may be given several times. No
    /// other engine of the app may be alive
    #[arg(long, value_name = "VIEW")]
    reset: Vec<String>,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    // Before anything else, so that a supervisor that changes its mind at once sees a drain, not a death.
    let mut stop = Stop::listen()?;
    let planned = bounded(args.config.load()?, &args)?;
    let config = &planned.config;
    let role = match args.role {
        RoleArg::Engine => Role::Engine,
        RoleArg::Gateway => Role::Gateway,
        RoleArg::All => Role::All,
    };
    let options = Options { role, input_complete: args.stdin.is_none(), reset: args.reset.clone() };
    let mut pipeline = Pipeline::start(config, &planned.plans, &options).await.map_err(Failure::Failed)?;
    let input = args.stdin.as_ref().map(|stream| Input::start(publisher(&pipeline, config), stream.clone()));
    let mut console = figures(&pipeline, &planned);
    let ended = {
        let working = work(&mut pipeline, input, args.until_end, stop.asked());
        let telling = async {
            match &mut console {
                Some(console) => console.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = working => ended,
            () = telling => Ok(End::Asked),
        }
    };
    if let Some(console) = &mut console {
        console.last(matches!(ended, Ok(End::Reached))).await;
    }
    stop.hurry();
    tracing::info!("draining");
    let drained = pipeline.drain().await;
    ended?;
    drained.map_err(Failure::Failed)
}

/// Makes ready what is told on standard error while records come.
fn figures(pipeline: &Pipeline, planned: &Planned) -> Option<Console> {
    let views = planned.plans.iter().map(|plan| {
        let names = plan.views.iter().map(|view| view.spec.name.clone());
        (plan.spec.name.clone(), names.collect())
    });
    Console::new(&planned.config, views.collect(), pipeline.stats().clone(), pipeline.hub().cloned())
}

/// Why the process ends.
enum End {
    /// Somebody asked for it.
    Asked,
    /// All input was read, and every window closed.
    Reached,
}

/// Waits for what ends the process: a failure, a signal, or with `until_end` the end of all bounded inputs.
async fn work(
    pipeline: &mut Pipeline,
    mut input: Option<Input>,
    until_end: bool,
    asked: impl Future<Output = ()>,
) -> Result<End, Failure> {
    tokio::pin!(asked);
    if let Some(input) = &mut input {
        tokio::select! {
            ended = input.ended() => ended?,
            failed = pipeline.failed() => return told(failed, End::Asked),
            () = &mut asked => return Ok(End::Asked),
        }
        pipeline.input_complete();
    }
    if until_end {
        tokio::select! {
            ended = pipeline.ended() => told(ended, End::Reached),
            () = &mut asked => Ok(End::Asked),
        }
    } else {
        tokio::select! {
            failed = pipeline.failed() => told(failed, End::Asked),
            () = &mut asked => Ok(End::Asked),
        }
    }
}

fn told(result: Result<(), LogError>, end: End) -> Result<End, Failure> {
    result.map(|()| end).map_err(Failure::failed)
}

/// Makes the inputs bounded that `--until-end` is about.
fn bounded(mut planned: Planned, args: &ServeArgs) -> Result<Planned, Failure> {
    if args.role == RoleArg::Gateway && (args.stdin.is_some() || args.until_end) {
        return Err(Failure::usage("--stdin and --until-end need the engine: --role engine or all"));
    }
    if args.role == RoleArg::Gateway && !args.reset.is_empty() {
        return Err(Failure::usage("--reset needs the engine: --role engine or all"));
    }
    for name in &args.reset {
        let known: Vec<&str> = planned.config.views.iter().map(|view| &*view.spec.name).collect();
        if !known.contains(&name.as_str()) {
            let close = windrow_core::suggest::closest(name, known);
            let hint = close.map(|c| format!("; did you mean {c}?")).unwrap_or_default();
            return Err(Failure::usage(format!("--reset: there is no view {name:?}{hint}")));
        }
    }
    let streams = &mut planned.config.streams;
    if let Some(name) = &args.stdin {
        let known: Vec<String> = streams.keys().cloned().collect();
        let Some(stream) = streams.get_mut(name) else {
            let close = windrow_core::suggest::closest(name, known.iter().map(String::as_str));
            let hint = close.map(|c| format!("; did you mean {c}?")).unwrap_or_default();
            return Err(Failure::usage(format!("--stdin: there is no stream {name:?}{hint}")));
        };
        if stream.spec.topics.one().is_none() {
            let topics = &stream.spec.topics;
            return Err(Failure::usage(format!(
                "--stdin needs a stream of one topic, but {name} reads {topics}: lines do not say which they belong to"
            )));
        }
        if args.until_end {
            Arc::make_mut(&mut stream.spec).until_end = true;
        }
    }
    if args.until_end && !streams.values().any(|s| s.spec.until_end) {
        return Err(Failure::usage("--until-end needs --stdin STREAM, or a stream with until = \"end\""));
    }
    if args.stdin.is_some() && args.until_end {
        planned.plans = plan(&planned.config, "", "").map_err(Failure::Config)?;
    }
    Ok(planned)
}

/// A way into the streams from inside this process.
pub(super) fn publisher(pipeline: &Pipeline, config: &Config) -> Publisher {
    let may_create = matches!(config.log.kind, LogKind::Embedded { .. });
    let limits = Arc::new(config.limits.clone());
    Publisher::start(Setup {
        log: pipeline.log().clone(),
        app: config.app.as_str().into(),
        exactly_once: config.log.exactly_once,
        streams: config.streams.clone(),
        may_create,
        limits,
        stats: pipeline.stats().clone(),
    })
}

/// The signals that ask the process to stop.
pub(super) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// From now on a signal ends the process at once: what was open is aborted, as after a crash.
    pub(super) fn hurry(mut self) {
        tokio::spawn(async move {
            self.asked().await;
            eprintln!("stopped before the drain was over");
            std::process::exit(1);
        });
    }
}
