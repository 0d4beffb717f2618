//! Listeners: what they may claim, and the tables of their dialects, checked key by key.

use super::*;

#[test]
fn listeners_are_checked_against_the_whole_file() {
    check(
        r#"
[streams.clicks]
[views.likes]
sql = "SELECT 1"
topic = "clicks"
[listeners.a]
bind = "0.0.0.0:80"
[listeners.b]
bind = "127.0.0.1:8081"
channels = ["likes", "_stats", "lykes"]
publish = ["likes"]
dialects = ["http", "http"]
[listeners.c]
bind = "localhost:8081"
origins = ["example.org", "https://App.Example.org:443/", "*"]
[listeners.d]
bind = "8080"
"#,
        expect![[r#"
            w.toml:5:9: `topic` of view `likes` is the topic that stream `clicks` reads
              hint: write to another topic
            w.toml:7:8: [listeners.a] would serve everybody who can reach 0.0.0.0:80: `bind` is not a loopback address and there is no [auth]
              hint: bind to 127.0.0.1, or set anonymous = true if that is meant
            w.toml:10:32: `channels` names `lykes`, which is no stream or view
              hint: did you mean "likes"?
            w.toml:11:12: `publish` names `likes`, which is no stream
              hint: known are `clicks`
            w.toml:12:21: [listeners.b] claims /api twice: "http" and "http"
              hint: name each dialect once
            w.toml:14:8: listeners `b` and `c` both claim 127.0.0.1:8081
              hint: put their dialects into one listener, or give one another port
            w.toml:15:12: `origins` must be like "https://app.example.org": scheme, host and port, no path; or "*"
            w.toml:17:8: `bind` must be an address and a port such as "127.0.0.1:8080" or "[::1]:8080", not "8080"
        "#]],
    );
}

#[test]
fn socketio_is_checked_key_by_key() {
    check(
        r#"
[streams.clicks]
[listeners.a]
bind = "127.0.0.1:1"
dialects = ["socketio", "http"]
socketio = { path = "api/x", versions = [3, 5, "4"], transports = ["poling", "webtransport"], ping_interval = "1ms", pth = "/x" }
[listeners.b]
bind = "127.0.0.1:2"
dialects = ["socketio", "http"]
socketio = { path = "/api/socket.io", versions = [], max_payload = "10B", namespaces = ["windrow", "/a", "/a"], cookie = "a b" }
[listeners.c]
bind = "127.0.0.1:3"
dialects = ["sse"]
recovery = true
socketio = { path = "/x", transports = [] }
"#,
        expect![[r#"
            w.toml:6:21: `path` must be a path such as "/socket.io/", of letters, digits and -._~/, not "api/x"
            w.toml:6:45: `versions` are revisions of Engine.IO, 3 or 4, not 5
              hint: Socket.IO 1 and 2 speak 3; Socket.IO 3 and 4 speak 4
            w.toml:6:68: `transports` must be one of `polling` and `websocket`
              hint: did you mean "polling"?
            w.toml:6:78: `transports` = "webtransport" is not available yet
              hint: available are `polling` and `websocket`
            w.toml:6:111: `ping_interval` must be from 100ms to 5m, not "1ms"
            w.toml:6:118: unknown key `pth` in `socketio` of [listeners.a]
              hint: did you mean `path`?
            w.toml:10:21: `path` /api/socket.io/ is claimed twice: "socketio" and "http" (/api)
              hint: give one of them another listener or path
            w.toml:10:50: `versions` must name 3, 4 or both
            w.toml:10:68: `max_payload` must be from 1KiB to 1GiB, not "10B"
            w.toml:10:89: `namespaces` must be like "/" or "/windrow": a slash, letters, digits and -._~/
            w.toml:10:106: `namespaces` names "/a" twice
            w.toml:10:122: `cookie` must be a name such as "io", of letters, digits and -_., not "a b"
            w.toml:14:12: `recovery` needs the dialect "socketio"
              hint: add "socketio" to `dialects`, or remove the key
            w.toml:15:12: `socketio` needs the dialect "socketio"
              hint: add "socketio" to `dialects`, or remove the table
            w.toml:15:40: `transports` must name `polling`, `websocket` or both
        "#]],
    );
    let config = good(
        r#"
[streams.clicks]
[listeners.main]
dialects = ["socketio"]
recovery = true
socketio = { path = "/live", versions = 4, transports = "websocket", ping_timeout = "5s", namespaces = ["/", "/windrow"], cookie = "io" }
"#,
    );
    let socketio = &config.listeners["main"].socketio;
    let want = SocketioConfig {
        path: "/live/".to_owned(),
        versions: vec![4],
        polling: false,
        ping_timeout: Duration::from_secs(5),
        namespaces: vec!["/".to_owned(), "/windrow".to_owned()],
        recovery: true,
        cookie: Some("io".to_owned()),
        ..SocketioConfig::default()
    };
    assert_eq!(*socketio, want);
}

#[test]
fn video_counter_is_checked_key_by_key() {
    check(
        r#"
[streams.clicks]
[streams.lines]
format = "text"
[listeners.a]
bind = "127.0.0.1:1"
dialects = ["video-counter", "socketio"]
socketio = { namespaces = ["/"] }
video-counter = { events = { live = "likes", connect = "clicks" }, likes = "clicks", fields = ["count"], romm = "id" }
[listeners.b]
bind = "127.0.0.1:2"
dialects = ["video-counter"]
video-counter = { finals = true }
[listeners.c]
bind = "127.0.0.1:3"
dialects = ["video-counter"]
[listeners.d]
bind = "127.0.0.1:4"
dialects = ["sse"]
video-counter = { likes = "lins" }
"#,
        expect![[r#"
            w.toml:8:27: `namespaces` names "/", where "video-counter" is
              hint: serve the general API at "/windrow"
            w.toml:9:37: `events` names `likes`, which is no stream or view
              hint: did you mean "lines"?
            w.toml:9:56: `connect` cannot name an event: Socket.IO clients keep it for themselves
            w.toml:9:76: `likes` must name a stream of one topic with format = "text", not `clicks`
            w.toml:9:96: `fields` names "count", which is told already
            w.toml:9:106: unknown key `romm` in `video-counter` of [listeners.a]
              hint: did you mean `room`?
            w.toml:13:17: `video-counter` must have `events`, `likes` or both
            w.toml:16:12: [listeners.c] speaks "video-counter" and needs its table
              hint: such as video-counter = { events = { live_aggregations_1 = "likes_1m" } }
            w.toml:20:17: `video-counter` needs the dialect "video-counter"
              hint: add "video-counter" to `dialects`, or remove the table
            w.toml:20:27: `likes` names `lins`, which is no stream
              hint: did you mean "lines"?
        "#]],
    );
    let config = good(
        r#"
[streams.clicks]
[listeners.main]
dialects = ["video-counter"]
origins = "*"
video-counter = { events = { "${EVENT:-live}" = "clicks" } }
"#,
    );
    let listener = &config.listeners["main"];
    let socketio = &listener.socketio;
    assert_eq!((socketio.versions.as_slice(), socketio.ping_timeout), (&[4][..], Duration::from_secs(60)));
    let counter = listener.originals.video_counter.as_ref().unwrap();
    assert_eq!((counter.room.as_str(), counter.count.as_str(), counter.finals), ("id", "count", false));
    assert_eq!((counter.events[0].event.as_str(), counter.videos.len()), ("live", 3));
}

#[test]
fn visit_aggregator_is_checked_key_by_key() {
    check(
        r#"
[streams.visits]
[listeners.a]
bind = "127.0.0.1:1"
dialects = ["visit-aggregator", "websocket", "dashboard", "http"]
visit-aggregator = { channel = "visit", fields = ["count", "seq", "seq"], final = true }
[listeners.b]
bind = "127.0.0.1:2"
dialects = ["visit-aggregator"]
visit-aggregator = { snapshot = "no" }
[listeners.c]
bind = "127.0.0.1:3"
dialects = ["visit-aggregator"]
[listeners.d]
bind = "127.0.0.1:4"
dialects = ["socketio", "visit-aggregator"]
socketio = { path = "/ws/live" }
"#,
        expect![[r#"
            w.toml:5:33: [listeners.a] claims /ws twice: "visit-aggregator" and "websocket"
              hint: give one of them a listener of its own
            w.toml:5:46: [listeners.a] claims / twice: "visit-aggregator" and "dashboard"
              hint: give one of them a listener of its own
            w.toml:6:32: `channel` names `visit`, which is no stream or view
              hint: did you mean "visits"?
            w.toml:6:51: `fields` names "count", which is told already
            w.toml:6:67: `fields` names "seq", which is told already
            w.toml:6:75: unknown key `final` in `visit-aggregator` of [listeners.a]
              hint: did you mean `finals`?
            w.toml:10:20: `visit-aggregator` must name a `channel`: a view with windows
            w.toml:10:33: `snapshot` must be true or false, not "no"
            w.toml:13:12: [listeners.c] speaks "visit-aggregator" and needs its table
              hint: such as visit-aggregator = { channel = "active_visitors" }
            w.toml:16:12: [listeners.d] speaks "visit-aggregator" and needs its table
              hint: such as visit-aggregator = { channel = "active_visitors" }
            w.toml:17:21: `path` /ws/live/ is claimed twice: "socketio" and "visit-aggregator" (/ws)
              hint: give one of them another listener or path
        "#]],
    );
    let config = good(
        r#"
[streams.visits]
[listeners.main]
dialects = ["visit-aggregator"]
visit-aggregator = { channel = "visits", snapshot = "${SNAPSHOT:-false}" }
"#,
    );
    let visits = config.listeners["main"].originals.visit_aggregator.as_ref().unwrap();
    assert_eq!(
        (visits.account.as_str(), visits.store.as_str(), visits.count.as_str()),
        ("account_id", "store_id", "count")
    );
    assert_eq!((visits.finals, visits.snapshot), (true, false));
}

#[test]
fn realtime_events_is_checked_key_by_key() {
    check(
        r#"
[streams.payments]
[listeners.a]
bind = "127.0.0.1:1"
dialects = ["realtime-events", "dashboard"]
realtime-events = { channels = { payment = "payment", "a/b" = "payments" }, secret = "short", ping_interval = "1ms", heartbeats = "2s" }
[listeners.b]
bind = "127.0.0.1:2"
dialects = ["realtime-events"]
realtime-events = { secret = "" }
[listeners.c]
bind = "127.0.0.1:3"
dialects = ["realtime-events"]
"#,
        expect![[r#"
            w.toml:5:32: [listeners.a] claims / twice: "realtime-events" and "dashboard"
              hint: give one of them a listener of its own
            w.toml:6:44: `channels` names `payment`, which is no stream or view
              hint: did you mean "payments"?
            w.toml:6:63: `channels` are names in a path: 1 to 64 letters, digits and -._~, not `a/b`
            w.toml:6:86: `secret` must be at least 32 bytes long, as HS256 wants it
              hint: make one: openssl rand -base64 48
            w.toml:6:111: `ping_interval` must be from 100ms to 5m, not "1ms"
            w.toml:6:118: unknown key `heartbeats` in `realtime-events` of [listeners.a]
              hint: did you mean `heartbeat`?
            w.toml:10:19: `realtime-events` must have `channels`
            w.toml:13:12: [listeners.c] speaks "realtime-events" and needs its table
              hint: such as realtime-events = { channels = { payment = "payments" } }
        "#]],
    );
    let config = good(
        r#"
[streams.payments]
[listeners.main]
dialects = ["realtime-events"]
realtime-events = { channels = { payment = "payments" }, heartbeat = "${HEART_BEAT_INTERVAL:-3}s", secret = "${TOKEN_SECRET:-0123456789abcdef0123456789abcdef}" }
"#,
    );
    let events = config.listeners["main"].originals.realtime_events.as_ref().unwrap();
    assert_eq!((events.ping_interval, events.heartbeat), (Duration::from_secs(20), Duration::from_secs(3)));
    assert_eq!((events.organization.as_str(), events.claim.as_str()), ("organization_id", "organization_id"));
    assert!(events.secret.is_some());
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "a secret is never printed");
}

#[test]
fn sensor_mirror_is_checked_key_by_key() {
    check(
        r#"
[streams.sensors]
columns = { timestamp = "double", data = "json" }
[listeners.a]
bind = "127.0.0.1:1"
dialects = ["sensor-mirror", "dashboard"]
sensor-mirror = { live = "sensor", unit = "us", topics = "a" }
[listeners.b]
bind = "127.0.0.1:2"
dialects = ["sensor-mirror"]
sensor-mirror = { unit = "s" }
[listeners.c]
bind = "127.0.0.1:3"
dialects = ["sensor-mirror", "video-counter"]
"#,
        expect![[r#"
            w.toml:6:30: [listeners.a] claims / twice: "sensor-mirror" and "dashboard"
              hint: give one of them a listener of its own
            w.toml:7:26: `live` names `sensor`, which is no stream or view
              hint: did you mean "sensors"?
            w.toml:7:43: `unit` must be one of `s` and `ms`
              hint: did you mean "s"?
            w.toml:7:49: unknown key `topics` in `sensor-mirror` of [listeners.a]
              hint: did you mean `topic`?
            w.toml:11:17: `sensor-mirror` must name a channel in `live`, in `rest` or in both
            w.toml:14:12: [listeners.c] speaks "sensor-mirror" and needs its table
              hint: such as sensor-mirror = { live = "sensors" }
            w.toml:14:30: [listeners.c] claims /socket.io twice: "sensor-mirror" and "video-counter"
              hint: give one of them a listener of its own
        "#]],
    );
    let config = good(
        r#"
[streams.sensors]
columns = { timestamp = "double", data = "json" }
[listeners.main]
dialects = ["sensor-mirror"]
sensor-mirror = { live = "sensors", rest = "sensors" }
[listeners.successor]
bind = "127.0.0.1:1"
dialects = ["sensor-mirror"]
sensor-mirror = { rest = "sensors", timestamp = "_key.timestamp", unit = "ms", data = "*" }
"#,
    );
    let socketio = &config.listeners["main"].socketio;
    assert_eq!((socketio.versions.as_slice(), socketio.cookie.as_deref()), (&[3, 4][..], None));
    assert_eq!(
        (socketio.ping_interval, socketio.ping_timeout),
        (Duration::from_secs(5), Duration::from_secs(10))
    );
    let mirror = |listener: &str| config.listeners[listener].originals.sensor_mirror.clone().unwrap();
    let (main, successor) = (mirror("main"), mirror("successor"));
    assert_eq!(
        (main.topic.as_str(), main.timestamp.as_str(), main.data.as_deref()),
        ("_topic", "timestamp", Some("data"))
    );
    assert_eq!((main.per_second, successor.per_second), (1, 1_000));
    assert_eq!((successor.live.is_some(), successor.data), (false, None));
}
