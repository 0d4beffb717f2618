//! `cargo xtask kafka start|stop|status`: a real Apache Kafka (KRaft, one node) from its Maven Central jars, without containers.
//!
//! **In** `java` and `mvn`. **Out** `host:port` of a broker that answers. All it makes lies in `target/kafka`: `libs`, `data`,
//! `server.properties`, `kafka.log`, `state`.
//!
//! **Invariant:** one broker per folder; starting twice gives the same one; a stopped one starts again with its data and ports. Only a
//! process that is surely ours is ever signalled. **Not here:** what speaks to it.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

mod jars;
mod probe;
mod running;

pub(crate) use running::Running;

/// Ready in 4 s on an idle machine; this much when two cores are busy with a build.
const START_MAX: Duration = Duration::from_secs(120);
/// A broker that closes cleanly writes its checkpoints; after this it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Between two looks at a broker that starts or stops.
const TICK: Duration = Duration::from_millis(50);

/// Starts Kafka if it does not run, waits until it answers, and returns its `host:port`.
///
/// - **Port:** `port`, or the one of the last start, or a free one.
/// - **Errors:** what is missing and the command that brings it; the end of the broker's log when it dies.
pub(crate) fn start(port: Option<u16>) -> Result<String> {
    let home = Home::open()?;
    if let Some(broker) = home.running() {
        ensure!(
            port.is_none_or(|p| p == broker.port),
            "kafka runs already on port {}; `cargo xtask kafka stop` ends it",
            broker.port
        );
        return home.ready(&broker);
    }
    jars::fetch(&home.path)?;
    let broker = home.launch(port)?;
    home.ready(&broker)
}

/// Fetches the jars without starting anything.
pub(crate) fn fetch() -> Result<()> {
    jars::fetch(&Home::open()?.path)
}

/// Stops it and waits for its end; nothing to do is fine.
pub(crate) fn stop() -> Result<()> {
    let home = Home::open()?;
    let Some(broker) = home.running() else { return Ok(()) };
    signal("-TERM", broker.pid);
    let end = Instant::now() + STOP_MAX;
    while home.is_ours(broker.pid) {
        if Instant::now() >= end {
            signal("-KILL", broker.pid);
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Returns the `host:port` of the running broker.
pub(crate) fn status() -> Result<String> {
    let home = Home::open()?;
    let broker = home.running().context("kafka does not run; `cargo xtask kafka start` starts it")?;
    ensure!(probe::answers(broker.port), "kafka runs (pid {}) but does not answer yet", broker.pid);
    Ok(broker.address())
}

/// A broker of ours: process and ports.
#[derive(Debug, Clone, Copy)]
struct Broker {
    pid: u32,
    port: u16,
    controller_port: u16,
}

impl Broker {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The folder of the broker, locked against a second xtask.
struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    fn open() -> Result<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
        let path = target.join("kafka");
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::create(path.join("lock"))?;
        lock.lock().context("cannot lock target/kafka")?;
        Ok(Self { path, _lock: lock })
    }

    /// The last start: `pid port controller_port`.
    fn last(&self) -> Option<Broker> {
        let text = fs::read_to_string(self.path.join("state")).ok()?;
        let mut words = text.split_whitespace();
        Some(Broker {
            pid: words.next()?.parse().ok()?,
            port: words.next()?.parse().ok()?,
            controller_port: words.next()?.parse().ok()?,
        })
    }

    fn running(&self) -> Option<Broker> {
        self.last().filter(|broker| self.is_ours(broker.pid))
    }

    /// A pid is reused sooner or later; the command line says whose it is.
    fn is_ours(&self, pid: u32) -> bool {
        let ps = Command::new("ps").args(["-ww", "-o", "stat=,command=", "-p", &pid.to_string()]).output();
        ps.is_ok_and(|o| {
            let text = String::from_utf8_lossy(&o.stdout).into_owned();
            let mark = self.path.join("server.properties");
            !text.starts_with('Z') && text.contains("kafka.Kafka") && text.contains(&*mark.to_string_lossy())
        })
    }

    fn launch(&self, port: Option<u16>) -> Result<Broker> {
        let last = self.last();
        let port = match (port, last) {
            (Some(port), _) => port,
            (None, Some(last)) if is_free(last.port) => last.port,
            _ => free_port()?,
        };
        let controller_port = match last {
            Some(last) if is_free(last.controller_port) && last.controller_port != port => {
                last.controller_port
            }
            _ => free_port()?,
        };
        ensure!(is_free(port), "port {port} is taken; choose another with --port");
        let data = self.path.join("data");
        if last.is_some_and(|last| last.controller_port != controller_port) && data.exists() {
            // The quorum's only voter is known by that address: with another one the old data cannot elect a leader.
            eprintln!("kafka's old controller port is taken: starting with empty data");
            fs::remove_dir_all(&data)?;
        }
        let config = self.path.join("server.properties");
        fs::write(&config, properties(&data, port, controller_port))?;
        if !data.join("meta.properties").exists() {
            self.format(&config)?;
        }
        let log = File::create(self.path.join("kafka.log"))?;
        let mut java = self.java(&["-Xms256m", "-Xmx1g"]);
        java.arg("kafka.Kafka").arg(&config).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut java, 0); // outlives the terminal's Ctrl-C
        let pid = java.spawn().context("java does not start")?.id();
        let broker = Broker { pid, port, controller_port };
        fs::write(self.path.join("state"), format!("{pid} {port} {controller_port}\n"))?;
        Ok(broker)
    }

    fn format(&self, config: &Path) -> Result<()> {
        let mut java = self.java(&[]);
        java.args([
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "--cluster-id",
            "d2luZHJvdy10ZXN0cy0wMQ",
        ]);
        let done = java.arg("--config").arg(config).output().context("java does not start")?;
        ensure!(done.status.success(), "kafka's storage tool: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    fn java(&self, heap: &[&str]) -> Command {
        let mut java = Command::new("java");
        java.args(heap).args(["-XX:+UseParallelGC", "-Xshare:auto"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Djava.awt.headless=true", "-cp"]);
        java.arg(format!("{}/*", self.path.join("libs").display())).stdin(Stdio::null());
        java
    }

    fn ready(&self, broker: &Broker) -> Result<String> {
        let end = Instant::now() + START_MAX;
        while !probe::answers(broker.port) {
            if !self.is_ours(broker.pid) {
                bail!("kafka died while starting:\n{}", self.log_end());
            }
            ensure!(Instant::now() < end, "kafka does not answer after {START_MAX:?}:\n{}", self.log_end());
            std::thread::sleep(TICK);
        }
        Ok(broker.address())
    }

    fn log_end(&self) -> String {
        let log = fs::read(self.path.join("kafka.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// One node, one copy of everything, few internal partitions, no waiting for members that will not come. Tests that kill a broker of
/// their own start it with the same text.
const PROPERTIES: &str = include_str!("kafka/server.properties");

fn properties(data: &Path, port: u16, controller_port: u16) -> String {
    PROPERTIES
        .replace("{data}", &data.display().to_string())
        .replace("{port}", &port.to_string())
        .replace("{controller_port}", &controller_port.to_string())
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
