//! `bench arrive`: from a record published to its row on a client's WebSocket, through the whole program.
//!
//! **Floor** of the same messages in the same process: the stream's own channel, which no engine and no commit stand before.
//! **Invariant:** the clock starts when a message was due and ends when the client has its row; each message is a row of its own,
//! so none is conflated away. The commit interval is waited out by half on average: it is part of the figure.
//! **Not here:** many clients (`fanout`), many records (`pipeline`).

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{
    child::{Server, free_port},
    load::{Load, Pace, Talk, Target},
    meter::Meter,
    report::{Figure, Group, Report},
};

/// Arguments of `bench arrive`.
#[derive(Debug, Clone, clap::Args)]
pub struct ArriveArgs {
    /// Messages a second
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Clients that watch
    #[arg(long, default_value_t = 10)]
    pub clients: usize,
    /// Commit intervals
    #[arg(long, value_delimiter = ',', default_values_t = ["20ms".to_owned(), "100ms".to_owned()])]
    pub commit_interval: Vec<String>,
    /// Kafka; without it only the embedded log
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
}

/// Measures every commit interval, on the embedded log and on Kafka.
pub(super) fn run(args: &ArriveArgs) -> Result<Report> {
    let mut groups = Vec::new();
    for kafka in [None, args.kafka.as_deref()].into_iter().take(1 + usize::from(args.kafka.is_some())) {
        for interval in &args.commit_interval {
            groups.push(group(args, kafka, interval)?);
        }
    }
    let title =
        format!("arrive: {} messages a second, each a row of its own, {} clients", args.rate, args.clients);
    Ok(Report { title, unit: "deliveries", groups })
}

fn group(args: &ArriveArgs, kafka: Option<&str>, interval: &str) -> Result<Group> {
    let (port, directory) = (free_port()?, TempDir::new()?);
    let app = format!("windrow-bench-arrive-{}-{port}", std::process::id());
    let log = match kafka {
        Some(address) => format!("kind = \"kafka\"\nbootstrap_servers = \"{address}\""),
        None => format!("directory = {:?}", directory.path().join("data").display().to_string()),
    };
    if let Some(address) = kafka {
        let made = std::process::Command::new(std::env::current_exe().context("find this binary")?)
            .args(["produce", "--kafka", address, "--topic", &format!("{app}-ticks"), "--partitions", "1"])
            .args(["--count", "1"])
            .stdout(std::process::Stdio::null())
            .status()?;
        anyhow::ensure!(made.success(), "the topic could not be made: {made}");
    }
    let config = directory.path().join("windrow.toml");
    fs::write(&config, configuration(&app, &log, interval, port))?;
    let server = Server::start(&["serve", "--config", &config.display().to_string()], None)?.listens(port)?;
    let mut figures = Vec::new();
    // The view first: what is published for the stream alone would still be on its way to the view's clients.
    for (name, channel) in [("a view's rows", "seen"), ("the stream itself", "ticks")] {
        let target = Target { port, talk: Talk::Plain, channel, publish: "/api/streams/ticks" };
        // The topic, the engine and the reader are there when a first message came through.
        let first = Pace { per_second: 20.0, burst: 1, seconds: 0.5, bytes: 0 };
        Load::connect(&target, 1)?.run(first).with_context(|| format!("{name}: a first message"))?;
        let mut load = Load::connect(&target, args.clients)?;
        let meter = Meter::of(server.pid())?;
        let arrived = load.run(Pace { per_second: args.rate, burst: 1, seconds: args.seconds, bytes: 0 })?;
        let ms = |q| format!("{:.1} ms", arrived.latencies.quantile(q).as_secs_f64() * 1e3);
        let figure = Figure::new(name, arrived.deliveries, meter.stop()?)
            .note("p50", ms(0.5))
            .note("p99", ms(0.99))
            .note("max", ms(1.0));
        figures.push(if arrived.missing > 0 { figure.note("MISSING", arrived.missing) } else { figure });
    }
    figures.reverse();
    let kind = if kafka.is_some() { "kafka" } else { "embedded" };
    Ok(Group { name: format!("{kind}, commits each {interval}"), figures })
}

fn configuration(app: &str, log: &str, interval: &str, port: u16) -> String {
    format!(
        r#"app = "{app}"

[log]
{log}
commit_interval = "{interval}"

[streams.ticks]
topic = "{app}-ticks"
format = "json"
partitions = 1
keyed_by = ["id"]

[views.seen]
sql = "SELECT id, max(t) AS t, count(*) AS n FROM ticks GROUP BY id"

[listeners.main]
bind = "127.0.0.1:{port}"
dialects = ["websocket", "http"]
channels = ["ticks", "seen"]
"#
    )
}
