//! `windrow demo`: windows that move, with nothing else installed.
//!
//! temporary directory → embedded log → lively clicks → views → dashboard; all of it is gone at the end
//! **Invariant:** a few minutes of the past are there from the start, so that every chart has something to show.

use std::{
    io::IsTerminal,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use clap::Args;

use super::{
    failure::Failure,
    generate::{Clicks, lively_rate},
    serve::{Stop, publisher},
};
use crate::{
    config::{self, Planned, Variables, units},
    pipeline::{Options, Pipeline, Role},
    publish::Publisher,
};

/// The configuration; `windrow demo --show-config` prints it.
const CONFIG: &str = include_str!("demo/windrow.toml");

/// Ports tried after the wanted one.
const PORTS_TRIED: u16 = 50;

/// How much past there is from the start, and how many of its records are made per commit.
const PAST_MS: i64 = 4 * 60_000;
const PAST_CHUNK_MS: i64 = 10_000;

/// Pause between two handfuls of clicks.
const TICK: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  windrow demo
  windrow demo --port 9000 --rate 2000 --no-open
  windrow demo --show-config > windrow.toml          a configuration to play with";

/// Arguments of `windrow demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// Where the dashboard is; the next free port if this one is taken
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Clicks a second, on average
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Do not open a browser
    #[arg(long)]
    no_open: bool,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    stop_after: Option<Duration>,
    /// Print the demo's configuration and stop
    #[arg(long)]
    show_config: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "a duration such as 30s or 5m".to_owned())
}

pub(super) async fn run(args: DemoArgs) -> Result<(), Failure> {
    if args.show_config {
        print!("{CONFIG}");
        return Ok(());
    }
    let folder = tempfile::Builder::new()
        .prefix("windrow-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let planned = planned(folder.path(), free_port(args.port)?)?;
    let mut stop = Stop::listen()?;
    let options = Options { role: Role::All, input_complete: true, reset: Vec::new() };
    let mut pipeline =
        Pipeline::start(&planned.config, &planned.plans, &options).await.map_err(Failure::Failed)?;
    let address =
        pipeline.addresses().first().map(|(_, address)| *address).context("the demo has no listener")?;
    welcome(address);
    if !args.no_open && std::io::stdout().is_terminal() {
        open_browser(&format!("http://{address}"));
    }
    let clicks = tokio::spawn(click(publisher(&pipeline, &planned.config), f64::from(args.rate)));
    let over = async {
        match args.stop_after {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        failed = pipeline.failed() => failed.map_err(Failure::failed),
        () = over => Ok(()),
        () = stop.asked() => Ok(()),
    };
    clicks.abort();
    stop.hurry();
    println!("\nstopping; the demo's data goes with it");
    let drained = pipeline.drain().await;
    ended?;
    drained.map_err(Failure::Failed)
}

fn planned(folder: &Path, port: u16) -> Result<Planned, Failure> {
    let variables: Variables =
        [("WINDROW_DATA", folder.display().to_string()), ("PORT", port.to_string())].into_iter().collect();
    let config = config::parse(CONFIG, "demo", &variables).map_err(Failure::Config)?;
    let plans = config::plan(&config, "demo", CONFIG).map_err(Failure::Config)?;
    Ok(Planned { config, plans })
}

/// Asks the system which port is free. Another process may be quicker; then the start says so.
fn free_port(wanted: u16) -> Result<u16, Failure> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let last = wanted.saturating_add(PORTS_TRIED);
    (wanted..=last).find(is_free).ok_or_else(|| {
        Failure::failed(anyhow::anyhow!("no port from {wanted} to {last} is free; name one with --port"))
    })
}

/// Makes clicks: the past in large handfuls, then live ones.
async fn click(publisher: Publisher, rate: f64) {
    let now_ms = || jiff::Timestamp::now().as_millisecond();
    let mut clicks = Clicks::lively(now_ms().cast_unsigned());
    let mut at_ms = now_ms() - PAST_MS;
    let mut due = 0.0;
    let mut ticker = tokio::time::interval(TICK);
    loop {
        // A handful ends where the present is, so the past and a pause of the machine are caught up alike.
        let end_ms = now_ms().min(at_ms + PAST_CHUNK_MS);
        let mut body = Vec::new();
        while at_ms < end_ms {
            due += lively_rate(rate, at_ms) / 1_000.0;
            while due >= 1.0 {
                due -= 1.0;
                body.extend_from_slice(clicks.at(at_ms).as_bytes());
                body.push(b'\n');
            }
            at_ms += 1;
        }
        if !body.is_empty()
            && let Err(error) = publisher.publish("clicks", None, None, body.into()).await
        {
            tracing::warn!(%error, "clicks were not taken");
        }
        if now_ms() - at_ms < PAST_CHUNK_MS {
            ticker.tick().await;
        }
    }
}

fn welcome(address: SocketAddr) {
    let (bold, dim, off) =
        if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    println!(
        "
  {bold}Windrow{off}  live windows from a log to every browser

  {bold}Open   http://{address}{off}

  {dim}clicks come in, about 200 a second, and are folded into{off}
    clicks_10s     per video, windows of 10 seconds
    clicks_1m      per video, windows of a minute
    countries_1m   per country, windows of a minute
    totals         per video, since the start
    long_watches   single clicks, filtered

  {dim}try next{off}
    curl 'http://{address}/api/channels/totals?limit=3'
    curl -N 'http://{address}/sse/clicks_10s?from=now'
    websocat ws://{address}/ws        {dim}then type{off} {{\"subscribe\":\"totals\",\"as\":1,\"where\":\"video = 'otters'\"}}
    windrow tail clicks_10s --url http://{address} --where \"video = 'otters'\"
    curl http://{address}/api/streams/clicks --data-binary '{{\"ts\":'$(date +%s)'000,\"video\":\"yours\"}}'

  {dim}Ctrl-C stops it and takes its data away{off}
"
    );
}

/// Opens the page in whatever browser there is; without one nothing happens.
fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let _ = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_fine() {
        let planned = planned(Path::new("x"), 1).unwrap();
        assert_eq!(planned.config.views.len(), 5);
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_port(port).unwrap() > port);
    }
}
