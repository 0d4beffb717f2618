//! A Kafka of this test's own, which it may kill: one node, from the jars that `cargo xtask kafka start` fetched.
//!
//! **Invariant:** it keeps its ports and its data over restarts, and ends with the test.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::process::{DEADLINE, free_port, root};

const PROPERTIES: &str = include_str!("../../../../xtask/src/kafka/server.properties");

pub(crate) struct Broker {
    home: tempfile::TempDir,
    port: u16,
    java: Option<Child>,
}

impl Broker {
    /// Makes an empty one and starts it.
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (port, controller_port) = (free_port(), free_port());
        let properties = PROPERTIES
            .replace("{data}", &home.path().join("data").display().to_string())
            .replace("{port}", &port.to_string())
            .replace("{controller_port}", &controller_port.to_string());
        fs::write(home.path().join("server.properties"), properties).unwrap();
        let mut broker = Self { home, port, java: None };
        let format =
            ["kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", "d2luZHJvdy1jaGFvcy0wMQ"];
        let done = broker.command().args(format).arg("--config").arg(broker.config()).output().unwrap();
        assert!(done.status.success(), "kafka's storage tool: {}", String::from_utf8_lossy(&done.stderr));
        broker.launch();
        broker
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL: nothing is written any more; what the kernel has is what the next start finds.
    pub(crate) fn kill(&mut self) {
        if let Some(mut java) = self.java.take() {
            let _ = java.kill();
            let _ = java.wait();
        }
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn terminate(&mut self) {
        let Some(mut java) = self.java.take() else { return };
        let pid = i32::try_from(java.id()).unwrap();
        // SAFETY: plain system call on our own child, which is not reaped yet.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let end = Instant::now() + Duration::from_secs(30);
        while java.try_wait().unwrap().is_none() {
            if Instant::now() >= end {
                // A controller that waits for itself is a known way for a lone node not to end.
                let _ = java.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it with the data it has, and waits until it answers.
    pub(crate) fn launch(&mut self) {
        let said = File::options().create(true).append(true).open(self.home.path().join("said")).unwrap();
        let mut command = self.command();
        command.arg("kafka.Kafka").arg(self.config());
        command.stdout(said.try_clone().unwrap()).stderr(said);
        self.java = Some(command.spawn().expect("java starts"));
        let end = Instant::now() + DEADLINE;
        while !self.answers() {
            let ended = self.java.as_mut().and_then(|java| java.try_wait().unwrap());
            assert!(
                ended.is_none() && Instant::now() < end,
                "kafka does not start: {ended:?}\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("log_level", "0");
        let client: BaseConsumer = config.create().unwrap();
        client.fetch_metadata(None, Duration::from_secs(2)).is_ok_and(|known| !known.brokers().is_empty())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("said")).unwrap_or_default()
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("server.properties")
    }

    fn command(&self) -> Command {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let libs = target.join("kafka/libs");
        assert!(
            libs.join("version").exists(),
            "kafka's jars are missing; run `cargo xtask kafka start` once"
        );
        let mut java = Command::new("java");
        java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Djava.awt.headless=true", "-cp"]);
        java.arg(format!("{}/*", libs.display())).stdin(Stdio::null());
        java
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
