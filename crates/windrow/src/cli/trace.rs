//! Tracing: what the process says about itself, on standard error.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Clone, Args)]
pub(super) struct TraceArgs {
    /// What is logged: error, warn, info, debug, trace, or per room as in "info,windrow::log=debug"
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG")]
    log_level: Option<String>,
    /// How logs look, on standard error
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// What is logged, and how.
#[derive(Debug)]
pub struct Trace {
    filter: String,
    format: LogFormat,
}

impl TraceArgs {
    pub(super) fn resolve(&self, quiet: bool) -> Trace {
        let default = if quiet { "warn" } else { "info" };
        let filter = self.log_level.clone().unwrap_or_else(|| default.to_owned());
        Trace { filter, format: self.log_format }
    }
}

/// Starts tracing. A filter that cannot be read is told and replaced by `info`.
pub fn start(trace: &Trace) {
    let filter = EnvFilter::try_new(&trace.filter).unwrap_or_else(|error| {
        eprintln!("warning: --log-level {:?}: {error}; using info", trace.filter);
        EnvFilter::new("info")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match trace.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
