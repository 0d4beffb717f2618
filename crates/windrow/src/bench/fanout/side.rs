//! Side: one server in a process of its own, with its clients.
//!
//! **In** what its clients talk. **Out** what a load cost it. **Invariant:** it serves one channel from which all clients get all.

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::Over;
use crate::bench::{
    child::{Server, free_port},
    load::{Arrived, Load, Pace, Talk, Target},
    meter::{Cost, Meter, status_bytes},
};

/// A running server and its clients.
pub(in crate::bench) struct Side {
    pub(in crate::bench) name: &'static str,
    /// Resident memory that one client takes, when the first ones come: what is freed later is not always given back.
    pub(in crate::bench) bytes_per_client: u64,
    server: Server,
    target: Target,
    load: Option<Load>,
    _directory: Option<TempDir>,
}

/// What arrived, and what it cost the server.
#[derive(Debug, Default)]
pub(in crate::bench) struct Measured {
    pub(in crate::bench) arrived: Arrived,
    pub(in crate::bench) cost: Cost,
}

impl Measured {
    pub(in crate::bench) fn add(&mut self, other: &Self) {
        self.arrived.add(&other.arrived);
        self.cost.add(&other.cost);
    }
}

impl Side {
    /// Starts the floor.
    pub(in crate::bench) fn floor(over: Over, talk: Talk, core: Option<usize>) -> Result<Self> {
        let port = free_port()?;
        let args = ["bench", "floor-push", "--port", &port.to_string(), "--over", over.arg()];
        let server = Server::start(&args, core)?.listens(port)?;
        let target = Target { port, talk, channel: "ticks", publish: "/" };
        Ok(Self { name: "bare epoll", bytes_per_client: 0, server, target, load: None, _directory: None })
    }

    /// Starts Windrow; its channel is there, for a first message came through.
    pub(in crate::bench) fn windrow(talk: Talk, core: Option<usize>) -> Result<Self> {
        let (port, directory) = (free_port()?, TempDir::new()?);
        let config = directory.path().join("windrow.toml");
        fs::write(&config, configuration(port, &directory.path().join("data").display().to_string()))?;
        let server =
            Server::start(&["serve", "--config", &config.display().to_string()], core)?.listens(port)?;
        let target = Target { port, talk, channel: "ticks", publish: "/api/streams/ticks" };
        let first = Pace { per_second: 10.0, burst: 1, seconds: 0.1, bytes: 0 };
        Load::connect(&target, 0)?.run(first).context("publish a first message")?;
        let (bytes_per_client, load) = (0, None);
        Ok(Self { name: "windrow", bytes_per_client, server, target, load, _directory: Some(directory) })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Lets all clients go.
    pub(in crate::bench) fn disconnect(&mut self) {
        self.load = None;
    }

    /// Connects clients, and returns what that cost.
    pub(in crate::bench) fn connect(&mut self, clients: usize) -> Result<Cost> {
        let before = status_bytes(self.server.pid(), "VmRSS:")?;
        let meter = Meter::of(self.server.pid())?;
        let load = Load::connect(&self.target, clients).with_context(|| format!("load {}", self.name))?;
        let cost = meter.stop()?;
        let after = status_bytes(self.server.pid(), "VmRSS:")?;
        if self.bytes_per_client == 0 {
            self.bytes_per_client = after.saturating_sub(before) / clients.max(1) as u64;
        }
        self.load = Some(load);
        Ok(cost)
    }

    /// Loads it for a while.
    pub(in crate::bench) fn run(&mut self, pace: Pace) -> Result<Measured> {
        let load = self.load.as_mut().context("a load without clients")?;
        let meter = Meter::of(self.server.pid())?;
        let arrived = load.run(pace)?;
        Ok(Measured { arrived, cost: meter.stop()? })
    }
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
dialects = ["websocket", "socketio", "http"]
channels = ["ticks"]
"#
    )
}
