//! A Kafka of the test's own, which it may kill and start again: Apache Kafka from the jars that `cargo xtask kafka start` fetches.
//!
//! **Invariant:** its data and its port outlive a kill; process and data are gone when it is dropped.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use windrow::log::{Log as _, kafka::KafkaLog};

use crate::process::free_port;

/// Ready in 6 s on an idle machine.
const START_MAX: Duration = Duration::from_secs(120);

pub(crate) struct Kafka {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Kafka {
    /// Starts one with empty data and waits until it answers.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, controller] = [free_port(), free_port()];
        let data = folder.path().join("data");
        fs::write(folder.path().join("server.properties"), properties(&data.display(), port, controller))
            .unwrap();
        let mut kafka = Self { folder, port, child: None };
        let mut format = kafka.java();
        format.args(["kafka.tools.StorageTool", "format", "--standalone"]);
        format.args(["--cluster-id", "d2luZHJvdy10ZXN0cy0wMg", "--config"]).arg(kafka.config());
        let done = format.output().expect("java starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        kafka.again().await;
        kafka
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it on the data that it left, and waits until it answers.
    pub(crate) async fn again(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut java = self.java();
        java.arg("kafka.Kafka").arg(self.config()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(java.spawn().expect("java starts"));
        let deadline = Instant::now() + START_MAX;
        loop {
            let tried = async {
                let log = KafkaLog::connect(&[self.address()], &[].into()).await?;
                log.topics().await
            };
            let Err(error) = tried.await else { return };
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            let said = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "{error}; it said:\n{}", said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn java(&self) -> Command {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"));
        let libs = target.join("kafka/libs");
        assert!(libs.exists(), "Kafka's jars are missing: `cargo xtask kafka start` fetches them");
        let mut java = Command::new("java");
        java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Xshare:auto"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
        java.arg(format!("{}/*", libs.display())).stdin(Stdio::null());
        java
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

fn properties(data: &dyn std::fmt::Display, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"
    )
}
