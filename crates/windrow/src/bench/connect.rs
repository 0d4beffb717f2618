//! `bench connect`: clients that come at once, and what each holds when it is idle.
//!
//! **Floor:** the bare epoll server of `floor_push`, which answers the same words to the same clients.
//! **Invariant:** a client counts when it has heard that it is in; some at a time knock, and both servers are measured in turn.
//! The first round is for memory alone, and warms up. **Not here:** messages (`fanout`).

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    child::{pin_to_core, two_cores},
    fanout::{Over, side::Side},
    load::Talk,
    meter::{Cost, Meter},
    poll::raise_open_files,
    report::{Figure, Group, Report},
};

/// Arguments of `bench connect`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectArgs {
    /// Clients that come at once
    #[arg(long, default_value_t = 2_000)]
    pub clients: usize,
    /// How often they come
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub times: u32,
}

/// What clients do until they count.
const WAYS: [(&str, Over, [Talk; 2]); 4] = [
    ("WebSocket, subscribed", Over::Websocket, [Talk::Bare, Talk::Plain]),
    ("Socket.IO, in a namespace", Over::Socketio, [Talk::SocketIoJoin; 2]),
    ("Socket.IO, subscribed", Over::Socketio, [Talk::SocketIo; 2]),
    ("Socket.IO by polls, subscribed", Over::Polling, [Talk::Polling; 2]),
];

/// A server that used less than this in [`LULL`] has seen all its clients off.
const QUIET: Duration = Duration::from_millis(2);
const LULL: Duration = Duration::from_millis(100);
/// Longest wait for that.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// Measures the floor and Windrow for every way.
pub(super) fn run(args: &ConnectArgs) -> Result<Report> {
    let files = raise_open_files().context("raise the bound of open files")?;
    ensure!(
        2 * args.clients as u64 + 100 < files,
        "twice {} clients need more than {files} open files",
        args.clients
    );
    let (server_core, load_core) = two_cores();
    if let Some(core) = load_core {
        pin_to_core(core)?;
    }
    let groups = WAYS.iter().map(|(name, over, talks)| {
        let sides = [Side::floor(*over, talks[0], server_core)?, Side::windrow(talks[1], server_core)?];
        Ok(Group { name: (*name).to_owned(), figures: measure(args, sides)? })
    });
    let groups = groups.collect::<Result<_>>()?;
    Ok(Report { title: format!("connect: {} clients at once", args.clients), unit: "connects", groups })
}

fn measure(args: &ConnectArgs, mut sides: [Side; 2]) -> Result<Vec<Figure>> {
    let mut costs = [Cost::default(); 2];
    for side in &mut sides {
        side.connect(args.clients)?;
        side.disconnect();
    }
    for _ in 0..args.times {
        for (side, sum) in sides.iter_mut().zip(&mut costs) {
            quiet(side)?;
            sum.add(&side.connect(args.clients)?);
            side.disconnect();
        }
    }
    let count = args.clients as u64 * u64::from(args.times);
    let figures = sides.iter().zip(costs).map(|(side, cost)| {
        Figure::new(side.name, count, cost)
            .note("CPU each", format!("{:.0} µs", cost.cpu.as_secs_f64() * 1e6 / count.max(1) as f64))
            .note("a client", format!("{:.1} KiB", side.bytes_per_client as f64 / 1024.0))
    });
    Ok(figures.collect())
}

/// Waits until the server has nothing to do any more with clients that left.
fn quiet(side: &Side) -> Result<()> {
    let deadline = Instant::now() + QUIET_MAX;
    loop {
        let meter = Meter::of(side.pid())?;
        thread::sleep(LULL);
        if meter.stop()?.cpu < QUIET || Instant::now() >= deadline {
            return Ok(());
        }
    }
}
