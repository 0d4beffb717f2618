//! `bench fanout`: one channel, many clients, the server on a core of its own.
//!
//! **Floor:** the bare epoll server of `floor_push`, under the same load from the same clients.
//! **Invariant:** both servers get the same publications; a delivery is one message at one client.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    child::{Server, free_port, pin_to_core, two_cores},
    load::{Arrived, Load, Pace, Target},
    meter::{Cost, Meter, status_bytes},
    poll::raise_open_files,
    report::{Figure, Group, Report},
};

/// Arguments of `bench fanout`.
#[derive(Debug, Clone, clap::Args)]
pub struct FanoutArgs {
    /// Clients
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// Publications a second
    #[arg(long, default_value_t = 20.0)]
    pub rate: f64,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Messages of one burst
    #[arg(long, default_value_t = 20)]
    pub burst: u32,
    /// Bytes of one message
    #[arg(long, default_value_t = 100)]
    pub bytes: usize,
}

/// What one server did under each pace.
struct Served {
    name: &'static str,
    bytes_per_client: u64,
    paced: (Arrived, Cost),
    bursts: (Arrived, Cost),
}

/// Measures the floor, then Windrow.
pub(super) fn run(args: &FanoutArgs) -> Result<Report> {
    let files = raise_open_files().context("raise the bound of open files")?;
    ensure!(args.clients as u64 + 100 < files, "{} clients need more than {files} open files", args.clients);
    let (server_core, load_core) = two_cores();
    if let Some(core) = load_core {
        pin_to_core(core)?;
    }
    let served = [floor(args, server_core)?, windrow(args, server_core)?];
    let group = |name: String, pick: fn(&Served) -> &(Arrived, Cost)| Group {
        name,
        figures: served.iter().map(|s| figure(s, pick(s))).collect(),
    };
    Ok(Report {
        title: format!("fanout: {} WebSocket clients, messages of {} bytes", args.clients, args.bytes),
        unit: "deliveries",
        groups: vec![
            group(format!("{} a second, one at a time", args.rate), |s| &s.paced),
            group(format!("{} a second, bursts of {}", args.rate, args.burst), |s| &s.bursts),
        ],
    })
}

fn floor(args: &FanoutArgs, core: Option<usize>) -> Result<Served> {
    let port = free_port()?;
    let server = Server::start(&["bench", "floor-push", "--port", &port.to_string()], core)?.listens(port)?;
    serve("bare epoll", &server, &Target { port, subscribe: None, publish: "/" }, args)
}

fn windrow(args: &FanoutArgs, core: Option<usize>) -> Result<Served> {
    let (port, directory) = (free_port()?, TempDir::new()?);
    let config = directory.path().join("windrow.toml");
    fs::write(&config, configuration(port, &directory.path().join("data").display().to_string()))?;
    let config = config.display().to_string();
    let server = Server::start(&["serve", "--config", &config], core)?.listens(port)?;
    let subscribe = Some(r#"{"subscribe":"ticks","as":1,"from":"now"}"#);
    let target = Target { port, subscribe, publish: "/api/streams/ticks" };
    answers(&target)?;
    serve("windrow", &server, &target, args)
}

fn configuration(port: u16, directory: &str) -> String {
    format!(
        r#"app = "bench"

[log]
kind = "embedded"
directory = {directory:?}
sync = "never"
commit_interval = "10ms"

[streams.ticks]
format = "json"
partitions = 1

[listeners.main]
bind = "127.0.0.1:{port}"
dialects = ["websocket", "http"]
channels = ["ticks"]
"#
    )
}

/// Makes sure that the stream's topic is there: a first message makes it, and a client is only served from it.
fn answers(target: &Target) -> Result<()> {
    let one = Pace { per_second: 10.0, burst: 1, seconds: 0.1, bytes: 0 };
    Load::connect(target, 0)?.run(one).map(drop).context("publish a first message")
}

/// Loads one server with both paces.
fn serve(name: &'static str, server: &Server, target: &Target, args: &FanoutArgs) -> Result<Served> {
    let before = status_bytes(server.pid(), "VmRSS:")?;
    let mut load = Load::connect(target, args.clients).with_context(|| format!("load {name}"))?;
    let after = status_bytes(server.pid(), "VmRSS:")?;
    let pace = |burst, seconds| Pace { per_second: args.rate, burst, seconds, bytes: args.bytes };
    // Caches, buffers and branch predictors warm up unmeasured.
    load.run(pace(1, 1.0))?;
    let mut measure = |pace| {
        let meter = Meter::of(server.pid())?;
        let arrived = load.run(pace)?;
        Ok::<_, anyhow::Error>((arrived, meter.stop()?))
    };
    let paced = measure(pace(1, args.seconds))?;
    thread::sleep(Duration::from_millis(100));
    let bursts = measure(pace(args.burst, args.seconds))?;
    let bytes_per_client = after.saturating_sub(before) / args.clients.max(1) as u64;
    Ok(Served { name, bytes_per_client, paced, bursts })
}

fn figure(served: &Served, (arrived, cost): &(Arrived, Cost)) -> Figure {
    let ms = |q| format!("{:.1} ms", arrived.latencies.quantile(q).as_secs_f64() * 1e3);
    let each = cost.cpu.as_secs_f64() * 1e6 / arrived.deliveries.max(1) as f64;
    let figure = Figure::new(served.name, arrived.deliveries, *cost)
        .note("CPU each", format!("{each:.2} µs"))
        .note("p50", ms(0.5))
        .note("p99", ms(0.99))
        .note("a client", format!("{:.1} KiB", served.bytes_per_client as f64 / 1024.0));
    if arrived.missing > 0 { figure.note("MISSING", arrived.missing) } else { figure }
}
