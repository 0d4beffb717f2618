//! Configurations in, mistakes out.

use expect_test::{Expect, expect};

use super::*;

mod formats;
mod kafka;
mod listeners;
mod registry;

fn variables() -> Variables {
    [("PARTITIONS", "3"), ("SECRET", "hunter2"), ("QUOTED", "a\"b'c"), ("EMPTY", "")].into_iter().collect()
}

/// Renders all mistakes of a text, or `fine`.
fn check(text: &str, expected: Expect) {
    let rendered = match parse(text, "w.toml", &variables()) {
        Ok(_) => "fine\n".to_owned(),
        Err(errors) => errors.iter().map(|e| format!("{e}\n")).collect(),
    };
    assert!(!rendered.contains("hunter2"), "a secret got into a message");
    expected.assert_eq(&rendered);
}

fn good(text: &str) -> Config {
    parse(text, "w.toml", &variables()).unwrap_or_else(|e| panic!("{e:#?}"))
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    check(
        "[streams.clicks]\nformt = \"json\"\n[views.a]\nsql = \"x\"\ngraze = \"1s\"\n[wiews.b]\nsql = \"\"\n",
        expect![[r#"
            w.toml:2:1: unknown key `formt` in [streams.clicks]
              hint: did you mean `format`?
            w.toml:5:1: unknown key `graze` in [views.a]
              hint: did you mean `grace`?
            w.toml:6:2: unknown key `wiews`
              hint: did you mean `views`?
        "#]],
    );
}

#[test]
fn a_missing_variable_is_named() {
    check(
        "app = \"${APP}\"\n[streams.clicks]\ntopic = \"${A:-${TOPIC}}\"\npartitions = \"${N\"\n",
        expect![[r#"
            w.toml:1:7: variable `APP` is not set
              hint: set it in the environment or in a file given by --env-file, or write a default: ${NAME:-default}
            w.toml:3:9: variable `TOPIC` is not set
              hint: set it in the environment or in a file given by --env-file, or write a default: ${NAME:-default}
            w.toml:4:14: `}` or `:-` must follow `${N`
        "#]],
    );
}

#[test]
fn one_name_for_two_things_is_refused() {
    check(
        "[streams.clicks]\n[views.likes]\nsql = \"a\"\n[views.likes]\nsql = \"b\"\n[views.clicks]\nsql = \"c\"\n",
        expect![[r#"
            w.toml:4:8: `likes` stands here a second time
            w.toml:6:8: view `clicks` has the name of the stream in line 1
              hint: streams and views share one namespace
        "#]],
    );
}

#[test]
fn names_keep_to_the_rule() {
    check(
        "app = \"My App\"\n[streams.Video-Clicks]\ntopic = \"a b\"\n[streams.connect]\n[views.1m]\nsql = \"\"\n[listeners._x]\n",
        expect![[r#"
            w.toml:1:7: `app` must begin with a letter and hold at most 100 of a–z, 0–9, _ and -
              hint: write "my_app"
            w.toml:2:10: the name of a stream must begin with a letter and hold only a–z, 0–9 and _, not "Video-Clicks"
              hint: write `video_clicks`
            w.toml:3:9: `topic` must be 1 to 249 of a–z, A–Z, 0–9, dot, _ and -
            w.toml:4:10: `connect` cannot name a stream: Socket.IO clients keep it for themselves
            w.toml:5:8: the name of a view must begin with a letter and hold only a–z, 0–9 and _, not "1m"
              hint: write `m`
            w.toml:7:12: the name of a listener must begin with a letter and hold only a–z, 0–9 and _, not "_x"
              hint: write `x`
        "#]],
    );
}

#[test]
fn wrong_types_words_and_units_are_told_together() {
    check(
        r#"
[log]
commit_interval = 100
kind = "kafak"
[streams.clicks]
partitions = 0
keep = "many"
idle = "soon"
lateness = "5 minutes"
on_bad = "dead_letter"
columns = { a = "bigint", b = "integer" }
time = { column = "ts" }
until = true
[views.a]
grace = "-1s"
state_max = "1GB"
topic_key = ["k"]
[limits]
frame_max = "1B"
"#,
        expect![[r#"
            w.toml:3:19: `commit_interval` must be text in quotes, not an integer
            w.toml:4:8: `kind` must be one of `embedded` and `kafka`
              hint: did you mean "kafka"?
            w.toml:6:14: `partitions` must be from 1 to 10000, not 0
            w.toml:7:8: `keep` must be a whole number, not "many"
            w.toml:8:8: `idle` must be a duration such as "250ms", "5m" or "30d", not "soon"
            w.toml:9:12: `lateness` must be a duration such as "250ms", "5m" or "30d", not "5 minutes"
            w.toml:10:10: `on_bad` must be one of `skip`, `dead-letter` and `stop`
              hint: did you mean "dead-letter"?
            w.toml:11:31: `columns` must be one of `text`, `bigint`, `double`, `number`, `boolean`, `decimal`, `timestamp`, `json` and `bytes`
            w.toml:12:8: `time` of [streams.clicks] lacks `unit`
              hint: write time = { column = "ts", unit = "ms" }
            w.toml:13:9: `until` must be text in quotes, not a boolean
            w.toml:14:1: [views.a] lacks `sql`
            w.toml:15:9: `grace` must be a duration such as "250ms", "5m" or "30d", not "-1s"
            w.toml:16:13: `state_max` must be a size such as "512KiB" or "64MiB", not "1GB"
            w.toml:17:13: `topic_key` needs `topic`
            w.toml:19:13: `frame_max` must be from 1KiB to 1TiB, not "1B"
        "#]],
    );
}

#[test]
fn topics_are_listed_or_matched_and_mistakes_have_their_place() {
    check(
        r#"
[streams.a]
topic = ["x", "x", "no good"]
[streams.b]
topic = []
[streams.c]
topic = "y"
topic_pattern = "^y"
[streams.d]
topic_pattern = "prod("
[streams.e]
topic_pattern = ""
[streams.f]
topic_pattern = ["y"]
[streams.g]
topic_pattern = "^z"
until = "end"
[views.v]
sql = "SELECT a FROM g"
topic = "zz"
"#,
        expect![[r#"
            w.toml:3:15: `topic` names `x` twice
            w.toml:3:20: `topic` must be 1 to 249 of a–z, A–Z, 0–9, dot, _ and -
            w.toml:5:9: `topic` must name 1 to 100 topics, not 0
            w.toml:8:17: `topic` and `topic_pattern` exclude each other
              hint: remove one of them
            w.toml:10:17: `topic_pattern` cannot be used: the pattern is not a regular expression: unclosed group
            w.toml:12:17: `topic_pattern` must be 1 to 1024 bytes long, not 0
              hint: `.*` matches every topic
            w.toml:14:17: `topic_pattern` must be text in quotes, not an array
            w.toml:17:9: `until` needs one topic: of several nobody can say that no further one appears
            w.toml:20:9: `topic` of view `v` is the topic that stream `g` reads
              hint: write to another topic
        "#]],
    );
    let text = "[streams.s]\ntopic_pattern = '^${PREFIX:-prod}\\.'\n[streams.t]\ntopic = ['a', '${B:-b}']";
    let config = parse(text, "w.toml", &Variables::default()).unwrap();
    let topics = ["s", "t"].map(|name| config.streams[name].spec.topics.to_string());
    assert_eq!(topics, ["all that match ^prod\\.", "a, b"]);
}

#[test]
fn what_is_not_built_yet_says_so() {
    check(
        r#"
[registry]
url = "https://example.org"
[streams.a]
format = "protobuf-registry"
topic_pattern = "^prod$"
[streams.b]
topic = ["x", "y"]
[listeners.main]
dialects = ["http"]
tls = { cert = "a", key = "b" }
[auth]
keys = []
[channels.a]
allow = "true"
"#,
        expect![[r#"
            w.toml:11:7: `tls` is not available yet
              hint: remove it
            w.toml:12:1: [auth] is not available yet
              hint: remove it
            w.toml:14:2: [channels] is not available yet
              hint: remove it
        "#]],
    );
}

#[test]
fn broken_toml_is_told_with_its_place() {
    check(
        "[streams.clicks\nformat = json\n",
        expect![[r#"
            w.toml:1:16: unclosed table, expected `]`
        "#]],
    );
    check(
        "",
        expect![[r#"
            w.toml:1:1: there is no stream
              hint: write a table such as [streams.clicks]
        "#]],
    );
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = good("[streams.clicks]\n[views.v]\nsql = 'SELECT 1'\n");
    expect![[r#"
        Config {
            app: "windrow",
            log: LogConfig {
                kind: Embedded {
                    directory: "windrow-data",
                    sync: Commit,
                },
                exactly_once: true,
                commit_interval: 100ms,
                instance_id: None,
            },
            registry: None,
            streams: {
                "clicks": StreamConfig {
                    spec: StreamSpec {
                        name: "clicks",
                        topics: One(
                            "clicks",
                        ),
                        format: Json,
                        key_format: Text,
                        columns: [],
                        time: Record,
                        lateness_ms: 0,
                        max_ahead_ms: 3600000,
                        idle_ms: Some(
                            30000,
                        ),
                        on_bad: DeadLetter,
                        required: [],
                        keyed_by: [],
                        latest_by: [],
                        keep: 0,
                        row_filter: None,
                        until_end: false,
                    },
                    partitions: 1,
                    replication: -1,
                    retention: Some(
                        604800s,
                    ),
                    start_earliest: true,
                    gap_stops: false,
                },
            },
            views: [
                ViewConfig {
                    spec: ViewSpec {
                        name: "v",
                        sql: "SELECT 1",
                        emit: Changes,
                        grace_ms: 0,
                        late: Topic,
                        retain_ms: Some(
                            3600000,
                        ),
                        topic: None,
                        state_max_bytes: 1073741824,
                        on_full: RefuseNewKeys,
                    },
                    sql_line: 3,
                },
            ],
            listeners: {
                "main": ListenerConfig {
                    name: "main",
                    bind: 127.0.0.1:8080,
                    dialects: [
                        Websocket,
                        Sse,
                        Socketio,
                        Http,
                        Dashboard,
                    ],
                    channels: None,
                    publish: None,
                    origins: [],
                    socketio: SocketioConfig {
                        path: "/socket.io/",
                        versions: [
                            3,
                            4,
                        ],
                        polling: true,
                        websocket: true,
                        ping_interval: 25s,
                        ping_timeout: 20s,
                        max_payload_bytes: 1000000,
                        connect_timeout: 45s,
                        namespaces: [
                            "/",
                        ],
                        recovery: false,
                        cookie: None,
                    },
                    originals: Originals {
                        video_counter: None,
                        visit_aggregator: None,
                        realtime_events: None,
                        sensor_mirror: None,
                    },
                },
            },
            console: ConsoleConfig {
                every: 0,
                views: [],
            },
            limits: Limits {
                connections_max: 100000,
                connections_per_address_max: 100000,
                sessions_max: 100000,
                sessions_per_address_max: 100000,
                frame_max_bytes: 65536,
                subscriptions_max: 100,
                publish_max_bytes: 16777216,
                record_max_bytes: 1048576,
                filter_max_bytes: 8192,
                unindexed_filters_max: 1000,
                outbox_max_bytes: 1048576,
                table_max_bytes: 1073741824,
                ring_max_bytes: 67108864,
                rows_max: 10000,
                handshake_timeout: 10s,
                messages_per_second_max: 100,
                drain_timeout: 10s,
            },
        }
    "#]]
    .assert_debug_eq(&config);
}

#[test]
fn every_value_can_come_from_a_variable() {
    let config = good(
        r#"
app = "${EMPTY:-clicks}"
[log]
instance_id = "${EMPTY}"
[streams.clicks]
topic = "${NOPE:-${NEITHER:-video.clicks}}"
partitions = "${PARTITIONS}"
columns = { video = "text", "user.id" = "bigint" }
keyed_by = "video"
[views.b]
sql = """
SELECT '${QUOTED}' AS "q$$"
"""
[views.a]
sql = "SELECT 1"
retain = "never"
[listeners.main]
bind = "127.0.0.1:${PORT:-0}"
origins = ["https://App.Example.org:443/"]
"#,
    );
    let stream = &config.streams["clicks"];
    assert_eq!(
        (&*config.app, &*stream.spec.topics.to_string(), stream.partitions),
        ("clicks", "video.clicks", 3)
    );
    assert_eq!(config.log.instance_id, None);
    assert_eq!(stream.spec.columns.len(), 2);
    assert_eq!(config.views[0].spec.sql, "SELECT 'a\"b'c' AS \"q$\"\n");
    assert_eq!(config.views[0].sql_line, 12);
    assert_eq!((&*config.views[1].spec.name, config.views[1].spec.retain_ms), ("a", None));
    assert_eq!(config.listeners["main"].origins, ["https://app.example.org"]);
}

#[test]
fn a_file_that_is_not_there_names_the_ways_out() {
    let errors = load(std::path::Path::new("no/such.toml"), &Variables::default()).unwrap_err();
    expect![[r#"
        no/such.toml: this file does not exist
          hint: name another with --config, let `windrow init TOPIC` write one, or try `windrow demo`"#]]
    .assert_eq(&errors[0].to_string());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    /// However a file is mangled, the answer is a configuration or mistakes, each with a place in it.
    #[test]
    fn no_text_breaks_the_reader(cut in 0..2_000_usize, length in 0..40_usize, insert in "[ -~\n\\[\\]\"'{}=.$é]{0,12}") {
        let whole = include_str!("../cli/demo/windrow.toml");
        let boundary = |at: usize| (0..=at.min(whole.len())).rev().find(|i| whole.is_char_boundary(*i)).unwrap_or(0);
        let (from, to) = (boundary(cut), boundary(cut + length));
        let text = format!("{}{insert}{}", &whole[..from], &whole[to..]);
        match parse(&text, "w.toml", &Variables::default()) {
            Ok(config) => drop(plan(&config, "w.toml", &text)),
            Err(errors) => {
                proptest::prop_assert!(!errors.is_empty());
                for error in errors {
                    proptest::prop_assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1, "{error}");
                }
            }
        }
    }
}
