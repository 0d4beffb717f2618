//! The HTTP API over real sockets: a gateway on an embedded log, and a client that sees only bytes.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use expect_test::{Expect, expect};
use windrow::{
    config::{self, LogKind, Variables},
    gateway::Gateways,
    hub::{ChannelSpec, Hub},
    log::{From, Log, ReaderOptions, Tp, embedded::EmbeddedLog},
    stats::Stats,
};

const STREAMS: &str = "
[streams.clicks]
partitions = 4
keyed_by = [\"video\"]
[streams.notes]
format = \"text\"
[streams.plants]
topic_pattern = \"^plant[.]\"
[views.likes]
sql = \"SELECT video, count(*) AS n FROM clicks GROUP BY video\"
";

struct Server {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    log: Arc<dyn Log>,
    stats: Arc<Stats>,
    gateways: Option<Gateways>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(listener: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{STREAMS}\n[log]\ndirectory = \"${{DIR}}\"\n{listener}");
        let variables: Variables = [("DIR", folder.path().to_str().unwrap())].into_iter().collect();
        let config = config::parse(&text, "test", &variables).unwrap_or_else(|e| panic!("{e:#?}"));
        let plans = config::plan(&config, "test", &text).unwrap_or_else(|e| panic!("{e:#?}"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (log, stats, gateways) = runtime.block_on(async {
            let LogKind::Embedded { directory, sync } = &config.log.kind else { panic!("embedded") };
            let log: Arc<dyn Log> = EmbeddedLog::open(directory, *sync).unwrap();
            let stats = Arc::new(Stats::default());
            let channels = ChannelSpec::all(&config.app, &plans);
            let hub = Hub::start(log.clone(), channels, &config.limits, stats.clone());
            let gateways = Gateways::bind(&config, &plans, &hub, &log, &stats).await.unwrap();
            (log, stats, gateways)
        });
        let address = gateways.addresses()[0].1;
        Self { runtime, address, log, stats, gateways: Some(gateways), _folder: folder }
    }

    fn local() -> Self {
        Self::start("[listeners.main]\nbind = \"127.0.0.1:0\"\n")
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// Sends a request as it stands, `Host` and `Connection: close` added, and returns the whole answer.
    fn raw(&self, head: &str, body: &[u8]) -> String {
        let mut socket = self.connect();
        let host =
            if head.contains("\nhost:") { String::new() } else { format!("host: {}\r\n", self.address) };
        let head = head.replace('\n', "\r\n");
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        write!(socket, "{head}\r\n{host}{length}connection: close\r\n\r\n").unwrap();
        // The server may answer and close before it has read a body that is too large.
        let _ = socket.write_all(body);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    /// Status and body.
    fn call(&self, head: &str, body: &str) -> String {
        let answer = self.raw(head, body.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or("no answer");
        // A position names topics by their ids, which are new each time.
        let body = match body.split_once("\"at\":\"") {
            Some((before, _)) => format!("{before}\"at\":…}}\n"),
            None => body.to_owned(),
        };
        format!("{status} {body}")
    }

    fn check(&self, head: &str, body: &str, expected: Expect) {
        expected.assert_eq(&self.call(head, body));
    }

    /// Every record of a topic as `partition key value`.
    fn records(&self, topic: &str, partitions: i32) -> Vec<String> {
        self.runtime.block_on(async {
            let tps: Vec<Tp> = (0..partitions).map(|p| Tp::new(topic, p)).collect();
            let ends = self.log.ends(&tps).await.unwrap();
            let mut reader = self.log.reader(ReaderOptions::default()).await.unwrap();
            let mut left: i64 = ends.iter().map(|e| e.last_stable).sum();
            tps.into_iter().for_each(|tp| reader.assign(tp, From::Earliest));
            let mut all = Vec::new();
            while left > 0 {
                for fetched in reader.next().await.unwrap() {
                    left -= fetched.next - fetched.from;
                    for batch in &fetched.batches {
                        for r in batch.records_from(fetched.from) {
                            let text = |b: Option<&[u8]>| {
                                b.map_or("null".into(), |b| String::from_utf8_lossy(b).into_owned())
                            };
                            all.push(format!("{} {} {}", fetched.tp.partition, text(r.key), text(r.value)));
                        }
                    }
                }
            }
            all.sort();
            all
        })
    }
}

#[test]
fn channels_are_listed_as_pinned() {
    let server = Server::local();
    server.check("GET /api/channels HTTP/1.1", "", expect![[r#"
        200 [{"name":"likes","kind":"view","columns":[{"name":"video","type":null},{"name":"n","type":"bigint"},{"name":"final","type":"boolean"},{"name":"seq","type":"bigint"}],"key":["video"],"resumable":true},{"name":"_clients","kind":"view","columns":[{"name":"listener","type":null},{"name":"connected","type":"bigint"}],"key":["listener"],"resumable":true},{"name":"_stats","kind":"view","columns":[{"name":"node","type":null},{"name":"kind","type":null},{"name":"name","type":null},{"name":"partition","type":null},{"name":"at_ms","type":"timestamp"}],"key":["node","kind","name","partition"],"resumable":true}]
    "#]]);
}

#[test]
fn what_is_not_there_is_refused_with_a_code() {
    let server = Server::local();
    let all: String = [
        "GET /api/nothing HTTP/1.1",
        "GET /nothing.js HTTP/1.1",
        "DELETE /api/channels HTTP/1.1",
        "GET /api/channels/liks HTTP/1.1",
        "GET /api/channels/clicks HTTP/1.1",
        "GET /api/channels/_clients?limit=many HTTP/1.1",
        "GET /api/channels/_clients?limit=1&limit=2 HTTP/1.1",
        "GET /api/channels/%ff HTTP/1.1",
        "GET /api/channels/_clients?where=connected%20%3E HTTP/1.1",
        "GET /api/channels/_clients?limit=99999999999999999999999&where=connected%20%3E%201000 HTTP/1.1",
    ]
    .iter()
    .map(|head| format!("{head}\n  {}\n", server.call(head, "").trim_end()))
    .collect();
    expect![[r#"
        GET /api/nothing HTTP/1.1
          404 {"error":{"code":"unknown_path","message":"nothing is served at this path","hint":"GET /api/channels lists the channels"}}
        GET /nothing.js HTTP/1.1
          404 {"error":{"code":"unknown_path","message":"nothing is served at this path","hint":"GET /api/channels lists the channels"}}
        DELETE /api/channels HTTP/1.1
          405 {"error":{"code":"wrong_method","message":"this path does not take this method"}}
        GET /api/channels/liks HTTP/1.1
          404 {"error":{"code":"unknown_channel","message":"there is no channel \"liks\"","hint":"did you mean `likes`?"}}
        GET /api/channels/clicks HTTP/1.1
          404 {"error":{"code":"unknown_channel","message":"there is no channel \"clicks\""}}
        GET /api/channels/_clients?limit=many HTTP/1.1
          400 {"error":{"code":"bad_limit","message":"`limit` must be a whole number, not \"many\""}}
        GET /api/channels/_clients?limit=1&limit=2 HTTP/1.1
          400 {"error":{"code":"bad_query","message":"Failed to deserialize query string: duplicate field `limit`"}}
        GET /api/channels/%ff HTTP/1.1
          400 {"error":{"code":"bad_path","message":"Invalid URL: Invalid UTF-8 in `channel`"}}
        GET /api/channels/_clients?where=connected%20%3E HTTP/1.1
          400 {"error":{"code":"bad_filter","message":"expected an expression, found the end","column":1}}
        GET /api/channels/_clients?limit=99999999999999999999999&where=connected%20%3E%201000 HTTP/1.1
          200 {"rows":[],"more":false,"at":…}
    "#]].assert_eq(&all);
}

#[test]
fn published_records_are_committed_where_their_key_belongs() {
    let server = Server::local();
    server.check(
        "POST /api/streams/clicks HTTP/1.1",
        "{\"video\":\"a\"}\n{\"video\":\"b\",\"n\":1}\nnonsense\n{\"n\":1}\n{\"video\":\"a\"}\n",
        expect![[r#"
            200 {"accepted":3,"rejected":[{"line":3,"reason":"not a JSON object: expected ident at line 1 column 2"},{"line":4,"reason":"the key column `video` is missing"}]}
        "#]],
    );
    server.check("POST /api/streams/clicks?key=video HTTP/1.1", "[{\"video\":\"c\"}, 7]", expect![[r#"
        200 {"accepted":1,"rejected":[{"line":2,"reason":"not a JSON object: invalid type: integer `7`, expected an object at line 1 column 1"}]}
    "#]]);
    server.check(
        "POST /api/streams/clicks?key=n HTTP/1.1",
        "{\"video\":\"a\",\"n\":1}",
        expect![[r#"
        400 {"error":{"code":"bad_key","message":"stream clicks is keyed by video; leave `key` out"}}
    "#]],
    );
    server.check(
        "POST /api/streams/clicks HTTP/1.1",
        "",
        expect![[r#"
        200 {"accepted":0,"rejected":[]}
    "#]],
    );
    server.check("POST /api/streams/click HTTP/1.1", "{}", expect![[r#"
        404 {"error":{"code":"unknown_stream","message":"there is no stream \"click\"","hint":"did you mean `clicks`?"}}
    "#]]);
    server.check(
        "POST /api/streams/notes HTTP/1.1",
        "one\ntwo",
        expect![[r#"
        200 {"accepted":2,"rejected":[]}
    "#]],
    );
    expect![[r#"
        0 a {"video":"a"}
        0 a {"video":"a"}
        0 b {"video":"b","n":1}
        2 c {"video":"c"}"#]]
    .assert_eq(&server.records("clicks", 4).join("\n"));
    expect![[r#"
        0 null one
        0 null two"#]]
    .assert_eq(&server.records("notes", 1).join("\n"));
}

#[test]
fn a_stream_of_several_topics_is_told_which_and_makes_those_that_match() {
    let server = Server::local();
    server.check("POST /api/streams/plants HTTP/1.1", "{}", expect![[r#"
        400 {"error":{"code":"bad_topic","message":"stream plants reads several topics (all that match ^plant[.]): say which by ?topic=NAME"}}
    "#]]);
    server.check("POST /api/streams/plants?topic=animal.a HTTP/1.1", "{}", expect![[r#"
        400 {"error":{"code":"bad_topic","message":"topic \"animal.a\" is not one of stream plants, which reads all that match ^plant[.]"}}
    "#]]);
    let head = "POST /api/streams/plants?topic=plant.a HTTP/1.1\nidempotency-key: one";
    for body in ["{\"v\":1}", "{\"v\":1}"] {
        server.check(
            head,
            body,
            expect![[r#"
            200 {"accepted":1,"rejected":[]}
        "#]],
        );
    }
    server.call(&head.replace("plant.a", "plant.b"), "{\"v\":1}");
    assert_eq!(server.records("plant.a", 1).len(), 1, "a retry");
    assert_eq!(server.records("plant.b", 1).len(), 1, "another topic is another request");
}

#[test]
fn an_idempotency_key_makes_a_retry_safe() {
    let server = Server::local();
    let head = "POST /api/streams/clicks HTTP/1.1\nidempotency-key: one";
    let first = server.call(head, "{\"video\":\"a\"}");
    assert_eq!(first, "200 {\"accepted\":1,\"rejected\":[]}\n");
    assert_eq!(server.call(head, "{\"video\":\"a\"}"), first);
    server.check(head, "{\"video\":\"b\"}", expect![[r#"
        422 {"error":{"code":"idempotency_key_reused","message":"this Idempotency-Key came before with another body"}}
    "#]]);
    let long = format!("POST /api/streams/clicks HTTP/1.1\nidempotency-key: {}", "x".repeat(257));
    server.check(&long, "{\"video\":\"a\"}", expect![[r#"
        400 {"error":{"code":"bad_idempotency_key","message":"Idempotency-Key must be 1 to 256 visible characters"}}
    "#]]);
    assert_eq!(server.records("clicks", 4).len(), 1);
}

#[test]
fn bodies_and_records_are_bounded() {
    let server = Server::start(
        "[listeners.main]\nbind = \"127.0.0.1:0\"\n[limits]\npublish_max = \"4KiB\"\nrecord_max = \"1KiB\"",
    );
    let large = format!("{{\"video\":\"{}\"}}\n", "x".repeat(2_000));
    server.check(
        "POST /api/streams/clicks HTTP/1.1",
        &large,
        expect![[r#"
        200 {"accepted":0,"rejected":[{"line":1,"reason":"a record must be at most 1024 bytes, not 2012"}]}
    "#]],
    );
    server.check("POST /api/streams/clicks HTTP/1.1", &large.repeat(3), expect![[r#"
        413 {"error":{"code":"body_too_large","message":"a body must be at most 4096 bytes","hint":"send it in parts, or raise limits.publish_max"}}
    "#]]);
}

#[test]
fn publishing_follows_the_listeners_rule() {
    let server = Server::start(
        "[listeners.main]\nbind = \"127.0.0.1:0\"\npublish = [\"notes\"]\nchannels = [\"clicks\"]\n",
    );
    server.check("POST /api/streams/clicks HTTP/1.1", "{\"video\":\"a\"}", expect![[r#"
        403 {"error":{"code":"forbidden","message":"stream \"clicks\" takes no records on this listener","hint":"add it to `publish` of [listeners.main]"}}
    "#]]);
    server.check(
        "POST /api/streams/notes HTTP/1.1",
        "x",
        expect![[r#"
        200 {"accepted":1,"rejected":[]}
    "#]],
    );
    server.check(
        "GET /api/stats HTTP/1.1",
        "",
        expect![[r#"
        404 {"error":{"code":"unknown_channel","message":"there is no channel \"_stats\""}}
    "#]],
    );
    let open = Server::start("[listeners.main]\nbind = \"0.0.0.0:0\"\nanonymous = true\n");
    assert!(open.call("POST /api/streams/notes HTTP/1.1", "x").starts_with("403 "));
    assert!(open.call("GET /api/channels HTTP/1.1", "").contains("\"likes\""));
    assert!(!open.call("GET /api/channels HTTP/1.1", "").contains("\"_stats\""));
}

#[test]
fn pages_of_other_origins_are_kept_out() {
    let server =
        Server::start("[listeners.main]\nbind = \"127.0.0.1:0\"\norigins = [\"https://app.example.org\"]\n");
    for path in ["POST /api/streams/notes", "GET /api/channels", "GET /ws", "GET /sse/likes"] {
        let answer = server.call(&format!("{path} HTTP/1.1\norigin: https://evil.example.com"), "x");
        assert!(answer.starts_with("403 ") && answer.contains("forbidden_origin"), "{path}: {answer}");
        let answer = server.call(&format!("{path} HTTP/1.1\nhost: evil.example.com"), "x");
        assert!(answer.starts_with("403 ") && answer.contains("forbidden_host"), "{path}: {answer}");
    }
    let same = format!("POST /api/streams/notes HTTP/1.1\norigin: http://{}", server.address);
    assert!(server.call(&same, "x").starts_with("200 "));
    let listed = "POST /api/streams/notes HTTP/1.1\norigin: https://app.example.org";
    let answer = server.raw(listed, b"x");
    assert!(answer.contains("access-control-allow-origin: https://app.example.org\r\n"), "{answer}");
    let preflight = "OPTIONS /api/streams/notes HTTP/1.1\norigin: https://app.example.org\naccess-control-request-method: POST";
    let answer = server.raw(preflight, b"");
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("idempotency-key"), "{answer}");
}

#[test]
fn probes_and_metrics_say_what_the_stats_say() {
    let server = Server::local();
    server.check(
        "GET /healthz HTTP/1.1",
        "",
        expect![[r#"
        200 {"alive":true}
    "#]],
    );
    server.stats.trouble("log", "kafka at \"x\" does not answer");
    let ready = server.call("GET /readyz HTTP/1.1", "");
    assert!(ready.starts_with("503 {\"ready\":false,\"reasons\":{"), "{ready}");
    assert!(ready.contains(r#""log":"kafka at \"x\" does not answer""#), "{ready}");
    server.call("POST /api/streams/notes HTTP/1.1", "x");
    let metrics = server.call("GET /metrics HTTP/1.1", "");
    for line in [
        "windrow_stream_published_total{stream=\"notes\"} 1",
        "windrow_ready 0",
        "# TYPE windrow_listener_connections gauge",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[test]
fn the_dashboard_comes_with_a_strict_policy_and_is_not_sent_twice() {
    let server = Server::local();
    let answer = server.raw("GET / HTTP/1.1", b"");
    for part in ["HTTP/1.1 200", "text/html", "default-src 'none'", "nosniff", "<!doctype html>"] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    assert!(!answer.contains("unsafe-inline"), "{answer}");
    let etag = answer.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
    let again = server.raw(&format!("GET / HTTP/1.1\nif-none-match: {etag}"), b"");
    assert!(again.starts_with("HTTP/1.1 304") && again.ends_with("\r\n\r\n"), "{again}");
    assert!(server.raw("GET /app.js HTTP/1.1", b"").contains("text/javascript"));
    assert!(server.raw("GET /../Cargo.toml HTTP/1.1", b"").starts_with("HTTP/1.1 404"));
}

#[test]
fn connections_past_the_bound_are_told_so_and_counted() {
    let server =
        Server::start("[listeners.main]\nbind = \"127.0.0.1:0\"\n[limits]\nconnections_per_address_max = 2");
    let held = [server.connect(), server.connect()];
    let accepted = server.stats.counter(("listener", "main".into(), None), "accepted", "");
    wait(|| accepted.get() == 2);
    let mut answer = String::new();
    server.connect().read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503") && head.contains(&format!("content-length: {}", body.len())),
        "{answer}"
    );
    drop(held);
    wait(|| server.stats.gauge(("listener", "main".into(), None), "connections").get() == 0);
    assert!(server.call("GET /healthz HTTP/1.1", "").starts_with("200"));
}

#[test]
fn a_head_that_does_not_come_ends_its_connection() {
    let server =
        Server::start("[listeners.main]\nbind = \"127.0.0.1:0\"\n[limits]\nhandshake_timeout = \"100ms\"");
    let mut socket = server.connect();
    socket.write_all(b"GET / HT").unwrap();
    let mut answer = Vec::new();
    // The server closes; without the bound this would run into the client's own time-out and fail.
    socket.read_to_end(&mut answer).unwrap();
}

#[test]
fn an_address_in_use_is_named_with_its_listener() {
    let server = Server::local();
    let text = format!("{STREAMS}\n[listeners.second]\nbind = \"{}\"\n", server.address);
    let config = config::parse(&text, "test", &Variables::default()).unwrap();
    let plans = config::plan(&config, "test", &text).unwrap();
    let error = server.runtime.block_on(async {
        let hub = Hub::start(server.log.clone(), Vec::new(), &config.limits, server.stats.clone());
        Gateways::bind(&config, &plans, &hub, &server.log, &server.stats).await.err().unwrap()
    });
    assert_eq!(
        error.to_string(),
        format!(
            "listener `second` cannot bind {}: the address is in use; stop the other process or give this listener another port",
            server.address
        )
    );
}

#[test]
fn a_drain_lets_the_request_in_flight_finish_and_closes_the_rest() {
    let mut server = Server::local();
    let mut half = server.connect();
    write!(
        half,
        "POST /api/streams/notes HTTP/1.1\r\nhost: {}\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n",
        server.address
    )
    .unwrap();
    // The server asks for the body when the request has reached its room: from here on it is in flight.
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    half.read_exact(&mut go_on).unwrap();
    half.write_all(b"he").unwrap();
    let accepted = server.stats.counter(("listener", "main".into(), None), "accepted", "");
    let mut idle = server.connect();
    // One that still waits in the kernel's queue would be reset instead of closed.
    wait(|| accepted.get() == 2);
    let gateways = server.gateways.take().unwrap();
    let drained = server.runtime.spawn(gateways.drain());
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "", "an idle connection is closed");
    half.write_all(b"re").unwrap();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"accepted\":1"), "{answer}");
    server
        .runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), drained).await })
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).is_err(), "nobody listens any more");
}

fn wait(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s in vain");
        std::thread::yield_now();
    }
}
