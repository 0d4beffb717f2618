//! One Kafka for all tests of this program, with a listener for each way in.
//!
//! **Invariant:** it ends, and its folder goes, when the test program does, however that ends: a shell holds it that waits for the end of its
//! standard input, which is ours.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{certificates, process::free_port};

/// Ready in 6 s on an idle machine.
const START_MAX: Duration = Duration::from_secs(120);

/// Names of listeners.
pub(crate) const LISTENERS: [&str; 7] =
    ["PLAINTEXT", "SSL", "MUTUAL", "SASL_SSL", "SASL_PLAINTEXT", "ELSEWHERE", "EXPIRED"];

/// The user `windrow`'s, for SCRAM and for PLAIN.
pub(crate) const PASSWORD: &str = "pencil-and-paper";
/// For how long the listener SASL_PLAINTEXT believes what it was shown.
pub(crate) const SESSION: Duration = Duration::from_secs(2);

pub(crate) struct Broker {
    folder: PathBuf,
    ports: Vec<u16>,
    _shell: Child,
}

/// The broker; the first caller starts it.
pub(crate) fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

impl Broker {
    fn start() -> Self {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path().to_owned();
        certificates::make(&folder);
        let ports: Vec<u16> = (0..=LISTENERS.len()).map(|_| free_port()).collect();
        let config = folder.join("server.properties");
        fs::write(&config, properties(&folder, &ports)).unwrap();
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "--standalone", "--cluster-id"]);
        format.args(["d2luZHJvdy10ZXN0cy0wMw", "--config"]).arg(&config);
        for hash in ["256", "512"] {
            format.arg("--add-scram").arg(format!("SCRAM-SHA-{hash}=[name=windrow,password={PASSWORD}]"));
        }
        let done = format.output().expect("java starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // From here on the shell removes it.
        let folder = made.keep();
        let said = fs::File::create(folder.join("said")).unwrap();
        let java = java();
        let mut shell = Command::new("sh");
        shell.args(["-c", "folder=$1; shift; \"$@\" & cat; kill -9 $!; rm -rf \"$folder\"", "sh"]);
        shell.arg(&folder).arg(java.get_program()).args(java.get_args());
        shell.arg("kafka.Kafka").arg(&config);
        shell.stdin(Stdio::piped()).stdout(said.try_clone().unwrap()).stderr(said);
        let broker = Self { ports, _shell: shell.spawn().expect("sh starts"), folder };
        let deadline = Instant::now() + START_MAX;
        // The last thing that it does is to listen, on all of them.
        while !broker.ports[..LISTENERS.len()]
            .iter()
            .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        {
            let said = || fs::read_to_string(broker.folder.join("said")).unwrap_or_default();
            assert!(Instant::now() < deadline, "kafka does not start:\n{}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
        broker
    }

    /// Where a listener is, by the name that its certificate is for.
    pub(crate) fn address(&self, listener: &str) -> String {
        let index = LISTENERS.iter().position(|name| *name == listener).unwrap();
        format!("localhost:{}", self.ports[index])
    }

    /// One of the files that `certificates` makes.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn java() -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    let libs = target.join("kafka/libs");
    assert!(libs.exists(), "Kafka's jars are missing: `cargo xtask kafka start` fetches them");
    let mut java = Command::new("java");
    java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    java.arg(format!("{}/*", libs.display())).stdin(Stdio::null());
    java
}

const PROPERTIES: &str = include_str!("../../../../xtask/src/kafka/server.properties");

/// The properties of any test broker, and of its listeners.
fn properties(folder: &Path, ports: &[u16]) -> String {
    let controller = ports[LISTENERS.len()];
    let plain = PROPERTIES
        .replace("{data}", &folder.join("data").display().to_string())
        .replace("{port}", &ports[0].to_string())
        .replace("{controller_port}", &controller.to_string());
    let ours = ["listeners=", "advertised.listeners=", "listener.security.protocol.map="];
    let kept = plain.lines().filter(|line| !ours.iter().any(|name| line.starts_with(name)));
    let mut out: Vec<String> = kept.map(str::to_owned).collect();
    let listeners: Vec<String> =
        LISTENERS.iter().zip(ports).map(|(name, port)| format!("{name}://localhost:{port}")).collect();
    let listeners = listeners.join(",");
    out.push(format!("listeners={listeners},CONTROLLER://127.0.0.1:{controller}"));
    out.push(format!("advertised.listeners={listeners}"));
    out.push(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,MUTUAL:SSL,SASL_SSL:SASL_SSL,\
         SASL_PLAINTEXT:SASL_PLAINTEXT,ELSEWHERE:SSL,EXPIRED:SSL"
            .to_owned(),
    );
    let file = |name: &str| folder.join(name).display().to_string();
    for (listener, certificate) in [
        ("ssl", "broker"),
        ("mutual", "broker"),
        ("sasl_ssl", "broker"),
        ("elsewhere", "elsewhere"),
        ("expired", "expired"),
    ] {
        out.push(format!("listener.name.{listener}.ssl.keystore.type=PEM"));
        out.push(format!(
            "listener.name.{listener}.ssl.keystore.location={}",
            file(&format!("{certificate}.both"))
        ));
    }
    out.push("listener.name.mutual.ssl.client.auth=required".into());
    out.push("listener.name.mutual.ssl.truststore.type=PEM".into());
    out.push(format!("listener.name.mutual.ssl.truststore.location={}", file("ca.pem")));
    for listener in ["sasl_ssl", "sasl_plaintext"] {
        let name = format!("listener.name.{listener}");
        out.push(format!("{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"));
        let module = "org.apache.kafka.common.security";
        out.push(format!(
            "{name}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_windrow=\"{PASSWORD}\";"
        ));
        for hash in ["256", "512"] {
            out.push(format!(
                "{name}.scram-sha-{hash}.sasl.jaas.config={module}.scram.ScramLoginModule required;"
            ));
        }
        out.push(format!(
            "{name}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
        ));
    }
    out.push(format!("listener.name.sasl_plaintext.connections.max.reauth.ms={}", SESSION.as_millis()));
    out.join("\n")
}
