//! `bench fanout`: one channel, many clients, the server on a core of its own.
//!
//! **Floor:** the bare epoll server of `floor_push`, under the same load from the same clients. On a WebSocket of protocol v1 it
//! sends the messages alone; as Socket.IO, the very bytes that Windrow sends.
//! **Invariant:** both servers get the same publications, in turn, a second each, so that what else the machine does hits both; a
//! delivery is one message at one client. **Not here:** what a connect costs (`connect`).

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};

use self::side::{Measured, Side};
use super::{
    child::{pin_to_core, two_cores},
    load::{Pace, Talk},
    poll::raise_open_files,
    report::{Figure, Group, Report},
};

pub(super) mod side;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Over {
    /// Protocol v1
    Websocket,
    /// Socket.IO on a WebSocket
    Socketio,
    /// Socket.IO by polls
    Polling,
}

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
    /// What carries them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Over::Websocket, Over::Socketio, Over::Polling])]
    pub over: Vec<Over>,
}

/// One server's turn, in seconds.
const TURN: f64 = 1.0;

impl Over {
    /// Its name for the command line.
    pub(super) fn arg(self) -> &'static str {
        match self {
            Over::Websocket => "websocket",
            Over::Socketio => "socketio",
            Over::Polling => "polling",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Over::Websocket => "WebSocket",
            Over::Socketio => "Socket.IO",
            Over::Polling => "Socket.IO by polls",
        }
    }

    /// What clients say to the floor, and to Windrow.
    fn talks(self) -> [Talk; 2] {
        match self {
            Over::Websocket => [Talk::Bare, Talk::Plain],
            Over::Socketio => [Talk::SocketIo; 2],
            Over::Polling => [Talk::Polling; 2],
        }
    }
}

/// Measures the floor and Windrow over every carrier.
pub(super) fn run(args: &FanoutArgs) -> Result<Report> {
    let files = raise_open_files().context("raise the bound of open files")?;
    let needed = 2 * args.clients as u64 + 100;
    ensure!(needed < files, "twice {} clients need more than {files} open files", args.clients);
    let (server_core, load_core) = two_cores();
    if let Some(core) = load_core {
        pin_to_core(core)?;
    }
    let mut groups = Vec::new();
    for over in &args.over {
        groups.extend(measure(args, *over, server_core)?);
    }
    let title = format!("fanout: {} clients, messages of {} bytes", args.clients, args.bytes);
    Ok(Report { title, unit: "deliveries", groups })
}

fn measure(args: &FanoutArgs, over: Over, core: Option<usize>) -> Result<[Group; 2]> {
    let [floor, windrow] = over.talks();
    let mut sides = [Side::floor(over, floor, core)?, Side::windrow(windrow, core)?];
    for side in &mut sides {
        side.connect(args.clients)?;
        // Caches, buffers and branch predictors warm up unmeasured.
        side.run(pace(args, 1, TURN))?;
    }
    let mut group = |burst, name: &str| {
        thread::sleep(Duration::from_millis(100));
        let measured = in_turn(&mut sides, pace(args, burst, args.seconds))?;
        let figures = sides.iter().zip(measured).map(|(side, measured)| figure(side, &measured)).collect();
        Ok::<_, anyhow::Error>(Group {
            name: format!("{}, {} a second, {name}", over.title(), args.rate),
            figures,
        })
    };
    Ok([group(1, "one at a time")?, group(args.burst, &format!("bursts of {}", args.burst))?])
}

fn pace(args: &FanoutArgs, burst: u32, seconds: f64) -> Pace {
    Pace { per_second: args.rate, burst, seconds, bytes: args.bytes }
}

/// Loads both, a turn each, until each had its seconds.
fn in_turn(sides: &mut [Side; 2], pace: Pace) -> Result<[Measured; 2]> {
    let turns = (pace.seconds / TURN).round().max(1.0);
    let turn = Pace { seconds: pace.seconds / turns, ..pace };
    let mut measured: [Measured; 2] = Default::default();
    for _ in 0..turns as u32 {
        for (side, measured) in sides.iter_mut().zip(&mut measured) {
            measured.add(&side.run(turn)?);
        }
    }
    Ok(measured)
}

fn figure(side: &Side, measured: &Measured) -> Figure {
    let Measured { arrived, cost } = measured;
    let ms = |q| format!("{:.1} ms", arrived.latencies.quantile(q).as_secs_f64() * 1e3);
    let each = cost.cpu.as_secs_f64() * 1e6 / arrived.deliveries.max(1) as f64;
    let figure = Figure::new(side.name, arrived.deliveries, *cost)
        .note("CPU each", format!("{each:.2} µs"))
        .note("p50", ms(0.5))
        .note("p99", ms(0.99))
        .note("a client", format!("{:.1} KiB", side.bytes_per_client as f64 / 1024.0));
    if arrived.missing > 0 { figure.note("MISSING", arrived.missing) } else { figure }
}
