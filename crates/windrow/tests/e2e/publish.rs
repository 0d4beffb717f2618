//! Publishing through every fault: `Idempotency-Key` over `kill -9` and over gateways, and a disk that is full for a while.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use windrow::{
    config::Sync,
    log::{Log, TopicSpec, embedded::EmbeddedLog, kafka::KafkaLog},
};

use crate::{
    client::get_until,
    process::{DEADLINE, Windrow, free_port, given},
    topic::read_all,
};

const CONFIG: &str = r#"
app = "${APP}"
[log]
kind = "${KIND}"
directory = "${DATA}"
bootstrap_servers = "${KAFKA}"
[streams.clicks]
topic = "${APP}-clicks"
keyed_by = ["video"]
partitions = 2
[views.likes]
sql = "SELECT video, count(*) AS likes FROM clicks GROUP BY video"
[listeners.main]
bind = "127.0.0.1:${PORT}"
"#;

/// A deployment on one log: any number of processes, and the topic to look at in the end.
struct World {
    folder: tempfile::TempDir,
    app: String,
    kafka: Option<String>,
}

impl World {
    async fn new(app: &str, kafka: Option<String>) -> Self {
        let app = format!("{app}-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("windrow.toml"), CONFIG).unwrap();
        let world = Self { folder, app, kafka };
        if world.kafka.is_some() {
            let spec = TopicSpec {
                name: world.topic().into(),
                partitions: 2,
                replication: 1,
                compact: false,
                retention: None,
                retention_bytes: None,
            };
            world.log().await.create_topic(&spec).await.unwrap();
        }
        world
    }

    fn topic(&self) -> String {
        format!("{}-clicks", self.app)
    }

    fn serve(&self, role: &str, port: u16) -> Windrow {
        let config = self.folder.path().join("windrow.toml").display().to_string();
        let kind = if self.kafka.is_some() { "kafka" } else { "embedded" };
        let variables = [
            ("APP", self.app.clone()),
            ("KIND", kind.to_owned()),
            ("DATA", self.folder.path().join("data").display().to_string()),
            ("KAFKA", self.kafka.clone().unwrap_or_else(|| "localhost:9092".to_owned())),
            ("PORT", port.to_string()),
        ];
        Windrow::start(&["serve", "--config", &config, "--role", role], &variables)
    }

    async fn log(&self) -> Arc<dyn Log> {
        match &self.kafka {
            Some(kafka) => KafkaLog::connect(std::slice::from_ref(kafka), &BTreeMap::new()).await.unwrap(),
            None => EmbeddedLog::open(&self.folder.path().join("data"), Sync::Commit).unwrap(),
        }
    }

    /// How often each video is in the source topic. The embedded log must be free.
    async fn videos(&self) -> BTreeMap<String, usize> {
        let mut videos = BTreeMap::new();
        for (_, value) in read_all(&self.log().await, &self.topic()).await {
            let click: Value = serde_json::from_slice(&value.unwrap()).unwrap();
            *videos.entry(click["video"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        videos
    }
}

/// Posts clicks; returns the head and the body of the answer.
fn post(port: u16, once: Option<&str>, body: &str) -> std::io::Result<(String, String)> {
    let mut stream = ask(port, once, body)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((head.to_owned(), body.to_owned()))
}

fn ask(port: u16, once: Option<&str>, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let once = once.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
    write!(
        stream,
        "POST /api/streams/clicks HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n{once}content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

/// Tries again until the answer is 200; returns the body and how many attempts failed.
fn post_until_taken(port: impl Fn() -> u16, once: &str, body: &str) -> (String, usize) {
    let deadline = Instant::now() + DEADLINE;
    for failed in 0.. {
        let last = match post(port(), Some(once), body) {
            Ok((head, body)) if head.starts_with("HTTP/1.1 200") => return (body, failed),
            Ok((head, body)) => {
                assert!(head.starts_with("HTTP/1.1 503"), "{once}: {head} {body}");
                body
            }
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < deadline, "{once} was never taken: {last}");
        std::thread::sleep(Duration::from_millis(20));
    }
    unreachable!("the deadline comes first")
}

/// Committed, never answered, killed: the retry gets the answer, and the records are there once.
async fn killed_between_commit_and_answer(world: World) {
    let port = free_port();
    let mut first = world.serve("all", port);
    get_until(port, "/readyz", |status, _| status == 200).await;
    let body = "{\"video\":\"a\"}\nnonsense\n{\"video\":\"a\"}\n";
    let unread = ask(port, Some("k"), body).unwrap();
    get_until(port, "/api/channels/likes", |_, body| body.contains("\"likes\":2")).await;
    first.kill();
    drop(unread);

    let mut second = world.serve("all", port);
    get_until(port, "/readyz", |status, _| status == 200).await;
    let (answer, _) = post_until_taken(|| port, "k", body);
    assert!(answer.starts_with("{\"accepted\":2,\"rejected\":[{\"line\":2,"), "{answer}");
    assert_eq!(post_until_taken(|| port, "k", body).0, answer);
    let (head, other) = post(port, Some("k"), "{\"video\":\"b\"}").unwrap();
    assert!(head.starts_with("HTTP/1.1 422") && other.contains("idempotency_key_reused"), "{head} {other}");
    second.kill();
    assert_eq!(world.videos().await, BTreeMap::from([("a".to_owned(), 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_killed_before_its_answer_is_there_once_on_the_embedded_log() {
    killed_between_commit_and_answer(World::new("answer-embedded", None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_killed_before_its_answer_is_there_once_on_kafka() {
    let kafka = Some(given("WINDROW_TEST_KAFKA"));
    killed_between_commit_and_answer(World::new("answer-kafka", kafka).await).await;
}

/// Clients publish and try again while the process is killed and started; each record is there once in the end.
async fn killed_while_clients_publish(world: World, kills: usize) {
    let port = free_port();
    let (stop, taken, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let client = |name: usize| {
        let mut sent = Vec::new();
        while !stop.load(SeqCst) {
            let video = format!("v{name}-{}", sent.len());
            let (answer, again) = post_until_taken(|| port, &video, &format!("{{\"video\":\"{video}\"}}"));
            assert_eq!(answer, "{\"accepted\":1,\"rejected\":[]}\n");
            failed.fetch_add(again, SeqCst);
            taken.fetch_add(1, SeqCst);
            sent.push(video);
        }
        sent
    };
    let wanted = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|name| scope.spawn(move || client(name))).collect::<Vec<_>>();
        for _ in 0..kills {
            let mut process = world.serve("all", port);
            let (before, deadline) = (taken.load(SeqCst), Instant::now() + DEADLINE);
            while taken.load(SeqCst) < before + 40 {
                assert!(Instant::now() < deadline, "nothing is taken:\n{}", process.said());
                std::thread::sleep(Duration::from_millis(1));
            }
            process.kill();
        }
        let _last = world.serve("all", port);
        stop.store(true, SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(failed.load(SeqCst) > 0, "no kill hit a request");
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|video| (video, 1)).collect();
    assert_eq!(world.videos().await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_with_keys_survive_kills_on_the_embedded_log() {
    killed_while_clients_publish(World::new("publish-embedded", None).await, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_with_keys_survive_kills_on_kafka() {
    let kafka = Some(given("WINDROW_TEST_KAFKA"));
    killed_while_clients_publish(World::new("publish-kafka", kafka).await, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_that_hear_the_same_key_write_once() {
    let world = World::new("publish-both", Some(given("WINDROW_TEST_KAFKA"))).await;
    let ports = [free_port(), free_port()];
    let _gateways = ports.map(|port| world.serve("gateway", port));
    for port in ports {
        get_until(port, "/healthz", |status, _| status == 200).await;
    }
    const KEYS: usize = 20;
    std::thread::scope(|scope| {
        for port in ports {
            for _ in 0..2 {
                scope.spawn(move || {
                    for n in 0..KEYS {
                        let (once, body) = (format!("k{n}"), format!("{{\"video\":\"v{n}\"}}"));
                        let (answer, _) = post_until_taken(|| port, &once, &body);
                        assert_eq!(answer, "{\"accepted\":1,\"rejected\":[]}\n");
                    }
                });
            }
        }
    });
    let (head, body) = post(ports[1], Some("k0"), "{\"video\":\"other\"}").unwrap();
    assert!(head.starts_with("HTTP/1.1 422"), "{head} {body}");
    let wanted: BTreeMap<_, _> = (0..KEYS).map(|n| (format!("v{n}"), 1)).collect();
    assert_eq!(world.videos().await, wanted);
}

/// A file that may not grow is a full disk that needs no rights: writes stop in the middle of a batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_over_without_a_restart() {
    let world = World::new("full-disk", None).await;
    let port = free_port();
    let mut process = world.serve("all", port);
    get_until(port, "/readyz", |status, _| status == 200).await;
    limit_files(process.pid(), 1 << 20);
    // 100 KB each that does not compress, each with a key of its own.
    let body = |n: usize| {
        let mut state = n as u64 + 1;
        let mut noise = String::new();
        while noise.len() < 100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise.push_str(&format!("{:016x}", state ^ (state >> 29)));
        }
        format!("{{\"video\":\"a\",\"noise\":\"{noise}\"}}")
    };
    let mut taken = 0;
    let refused = loop {
        assert!(taken < 100, "the limit has no effect");
        let (head, answer) = post(port, None, &body(taken)).unwrap();
        if !head.starts_with("HTTP/1.1 200") {
            break (head, answer);
        }
        taken += 1;
    };
    let (head, answer) = refused;
    assert!(head.starts_with("HTTP/1.1 503") && head.to_lowercase().contains("retry-after: "), "{head}");
    assert!(answer.contains("no space left") && answer.contains("make room"), "{answer}");
    // It goes on refusing, with keys too, and says so.
    let (head, answer) = post(port, Some("k"), &body(taken)).unwrap();
    assert!(head.starts_with("HTTP/1.1 503"), "{head} {answer}");
    get_until(port, "/readyz", |status, body| status == 503 && body.contains("no space left")).await;
    limit_files(process.pid(), libc::RLIM_INFINITY);
    let (answer, _) = post_until_taken(|| port, "k", &body(taken));
    assert_eq!(answer, "{\"accepted\":1,\"rejected\":[]}\n");
    get_until(port, "/readyz", |status, _| status == 200).await;
    let likes = format!("\"likes\":{}", taken + 1);
    get_until(port, "/api/channels/likes", |_, body| body.contains(&likes)).await;
    process.terminate();
    assert!(process.wait().success(), "{}", process.said());
    assert_eq!(world.videos().await, BTreeMap::from([("a".to_owned(), taken + 1)]));
}

fn limit_files(pid: i32, bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: plain system call on our own child with a struct of ours.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "prlimit: {}", std::io::Error::last_os_error());
}
