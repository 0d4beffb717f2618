//! The real binary: help, exit codes, and what each command prints.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use expect_test::{Expect, expect};

const WINDROW: &str = env!("CARGO_BIN_EXE_windrow");

/// A folder to work in, and the commands run there.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(config: &str) -> Self {
        let desk = Self::new();
        desk.write("windrow.toml", config);
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(WINDROW);
        command.args(arguments).current_dir(self.path()).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Exit code, standard output, standard error.
    fn check(&self, arguments: &[&str], expected: Expect) {
        expected.assert_eq(&shown(&self.run(arguments)));
    }
}

fn shown(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}{err}", output.status.code().unwrap())
}

const GOOD: &str = r#"app = "shop"

[streams.clicks]
topic = "video_clicks"
time = { column = "ts", unit = "ms" }
lateness = "2s"

[views.likes_1m]
sql = "SELECT video AS id, count(*) AS count FROM clicks GROUP BY video, tumble(interval '1 minute')"
topic = "likes_per_minute"

[views.long]
sql = "SELECT video, watched_s FROM clicks WHERE watched_s > 60.5"
"#;

#[test]
fn every_command_explains_itself_with_examples() {
    let desk = Desk::new();
    for command in ["serve", "demo", "check", "init", "produce", "tail", "completions"] {
        let help = shown(&desk.run(&[command, "--help"]));
        assert!(
            help.starts_with("0\n") && help.contains("Usage:") && help.contains("Example"),
            "{command}: {help}"
        );
    }
    let help = shown(&desk.run(&["--help"]));
    assert!(help.contains("Exit codes: 0 done, 1 failed, 2 asked wrongly"), "{help}");
    for (arguments, code) in [(vec!["--version"], 0), (vec![], 2), (vec!["serv"], 2), (vec!["tail"], 2)] {
        assert_eq!(desk.run(&arguments).status.code(), Some(code), "{arguments:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(shown(&desk.run(&["completions", shell])).contains("windrow"));
    }
}

/// A view whose topic is in Avro.
const AVRO: &str = r#"
[streams.orders]
columns = { shop = "text", cents = "bigint" }
[views.spent]
sql = "SELECT shop, sum(cents) AS cents FROM orders GROUP BY shop"
topic = "spent-by-shop"
topic_format = "avro"
"#;

#[test]
fn check_prints_the_schema_of_a_topic() {
    let said = shown(&Desk::with(AVRO).run(&["check"]));
    let want = r#"schema    {"type":"record","name":"spent","fields":[{"name":"shop","type":["null","string"],"default":null},{"name":"cents","type":["null","long","double"],"default":null}]}"#;
    assert!(said.contains("spent-by-shop (finals, avro)") && said.contains(want), "{said}");
}

#[test]
fn check_prints_the_plan() {
    Desk::with(GOOD).check(
        &["check"],
        expect![[r#"
            0
            windrow.toml is fine.

            app         shop
            log         embedded in windrow-data; exactly once, a commit each 100ms

            stream clicks
              topic     video_clicks (made with 1 partition, kept 7d)
              format    json, key text
              time      column ts, milliseconds
                        lateness 2s, at most 1h ahead, flows on after 30s of silence
              reads     ts number, video any, watched_s number
              key       unknown
              bad       to shop.clicks.bad; a gap: counted, then on

            view likes_1m over clicks
              shape     windows of 1m; one stage: stream clicks has one partition
              rows      id any, count bigint, window_start, window_end, final, seq
              key       id, window_start
              emits     changes; grace 0s, closed windows stay 1h
              state     at most 1GiB a partition, then new keys are refused and counted
              topics    shop.likes_1m, shop.likes_1m.journal, shop.likes_1m.late, likes_per_minute (finals)

            view long over clicks
              shape     a filter, no state; served straight from the stream
              rows      video any, watched_s number
              key       _topic, _partition, _offset
              topics    none

            listener main at 127.0.0.1:8080
              dialects  websocket, sse, socketio, http, dashboard
              channels  every view, _stats, _clients
              publish   every stream
              origins   the same
        "#]],
    );
}

#[test]
fn check_says_which_views_need_two_stages_and_why() {
    let spread = GOOD.replace("lateness", "partitions = 4\nlateness");
    Desk::with(&spread).check(&["check"], expect![[r#"
        0
        windrow.toml is fine.

        app         shop
        log         embedded in windrow-data; exactly once, a commit each 100ms

        stream clicks
          topic     video_clicks (made with 4 partitions, kept 7d)
          format    json, key text
          time      column ts, milliseconds
                    lateness 2s, at most 1h ahead, flows on after 30s of silence
          reads     ts number, video any, watched_s number
          key       unknown
          bad       to shop.clicks.bad; a gap: counted, then on

        view likes_1m over clicks
          shape     windows of 1m; two stages: it groups by (id), but stream clicks has 4 partitions and does not say what its message key is: records of one group may be in several partitions; if the message key is among the group's columns, set keyed_by in [streams.clicks]
          rows      id any, count bigint, window_start, window_end, final, seq
          key       id, window_start
          emits     changes; grace 0s, closed windows stay 1h
          state     at most 1GiB a partition, then new keys are refused and counted
          topics    shop.likes_1m, shop.likes_1m.journal, shop.likes_1m.partials, shop.likes_1m.sources, shop.likes_1m.late, likes_per_minute (finals)

        view long over clicks
          shape     a filter, no state; served straight from the stream
          rows      video any, watched_s number
          key       _topic, _partition, _offset
          topics    none

        listener main at 127.0.0.1:8080
          dialects  websocket, sse, socketio, http, dashboard
          channels  every view, _stats, _clients
          publish   every stream
          origins   the same
    "#]]);
}

#[test]
fn check_promises_no_topic_of_bad_records_where_nobody_would_write_it() {
    for (view, bad) in [
        ("SELECT a FROM s", "  bad       counted and told in the log; a gap: counted, then on\n"),
        (
            "SELECT a, count(*) AS n FROM s GROUP BY a",
            "  bad       to windrow.s.bad; a gap: stops the stream\n",
        ),
    ] {
        let desk = Desk::with(&format!("[streams.s]\non_gap = \"stop\"\n[views.v]\nsql = \"{view}\"\n"));
        let told = shown(&desk.run(&["check"]));
        assert!(told.contains(bad), "{view}: {told}");
    }
}

#[test]
fn check_tells_every_mistake_and_exits_with_2() {
    let desk = Desk::with(
        "[streams.clicks]\nlatenes = \"2s\"\ntopic = \"${TOPIC_OF_CLICKS}\"\n[views.a]\nsql = \"SELECT 1\"\n[views.a]\nsql = \"SELECT 2\"\n",
    );
    desk.check(&["check"], expect![[r#"
        2
        windrow.toml:2:1: unknown key `latenes` in [streams.clicks]
          hint: did you mean `lateness`?
        windrow.toml:3:9: variable `TOPIC_OF_CLICKS` is not set
          hint: set it in the environment or in a file given by --env-file, or write a default: ${NAME:-default}
        windrow.toml:6:8: `a` stands here a second time
        3 mistakes
    "#]]);
    let typo =
        GOOD.replace("SELECT video AS", "SELECT vidoe AS").replace("FROM clicks WHERE", "FORM clicks WHERE");
    Desk::with(&typo).check(
        &["check"],
        expect![[r#"
        2
        windrow.toml:9:15: view `likes_1m`: column `vidoe` is neither grouped by nor inside an aggregate
          hint: add vidoe to GROUP BY, or write max(vidoe)
        windrow.toml:9:67: view `likes_1m`: GROUP BY `video` is not selected, and it is part of the row's key
          hint: add `video` to SELECT
        windrow.toml:13:37: view `long`: expected the end of the text, found clicks
          hint: did you mean `FROM`?
        3 mistakes
    "#]],
    );
    Desk::new().check(
        &["check"],
        expect![[r#"
        2
        windrow.toml: this file does not exist
          hint: name another with --config, let `windrow init TOPIC` write one, or try `windrow demo`
    "#]],
    );
    let config = format!("{GOOD}[listeners.main]\nbind = \"${{BIND}}\"\n");
    let desk = Desk::with(&config);
    desk.write(".env", "# where\nexport BIND='127.0.0.1:9'\n");
    assert!(shown(&desk.run(&["check", "--env-file", ".env"])).contains("listener main at 127.0.0.1:9"));
}

#[test]
fn serve_says_what_the_world_refuses() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap();
    let desk = Desk::with(&format!("{GOOD}[listeners.main]\nbind = \"{bind}\"\n"));
    let output = shown(&desk.run(&["serve", "--log-level", "off"]));
    assert_eq!(
        output,
        format!(
            "1\nerror: listener `main` cannot bind {bind}: the address is in use; stop the other process or give this listener another port\n"
        )
    );

    // A file where the folder should be is not writable for any user, not even the superuser.
    let desk = Desk::with(&format!(
        "{GOOD}[log]\ndirectory = \"file/data\"\n[listeners.main]\nbind = \"127.0.0.1:0\"\n"
    ));
    desk.write("file", "");
    let output = shown(&desk.run(&["serve", "--log-level", "off"]));
    assert!(output.starts_with("1\nerror: ") && output.contains("file/data"), "{output}");

    let desk = Desk::with(GOOD);
    for arguments in [
        ["serve", "--stdin", "click"].as_slice(),
        &["serve", "--until-end"],
        &["serve", "--role", "gateway", "--stdin", "clicks"],
    ] {
        assert_eq!(desk.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn produce_fills_a_topic_and_init_writes_a_configuration_for_it() {
    let desk = Desk::new();
    let log = ["--directory", "data", "--topic", "clicks"];
    let produced = desk.run(
        &[
            ["produce", "--count", "500", "--seed", "7", "--disorder", "1s", "--key", "video"].as_slice(),
            &log,
        ]
        .concat(),
    );
    assert!(shown(&produced).starts_with("0\n500 accepted, 0 rejected, "), "{}", shown(&produced));
    let init = ["init", "clicks", "--directory", "data"];
    desk.check(
        &init,
        expect![[r#"
        0
        looked at 500 records and wrote windrow.toml
        next: windrow check --config windrow.toml, then windrow serve --config windrow.toml
    "#]],
    );
    expect![[r##"
        # Written by `windrow init` after a look at 500 records of clicks.
        app = "clicks"

        [log]
        directory = "data"

        [streams.clicks]
        topic = "clicks"
        format = "json"
        columns = { country = "text", device = "text", referrer = "text", session = "text", ts = "bigint", user = "text", video = "text", watched_s = "double" }
        time = { column = "ts", unit = "ms" }
        lateness = "2s"                         # how far records may be out of order
        keyed_by = ["video"]                     # every message key looked at was this column

        [views.clicks_1m]
        sql = """
        SELECT "video", count(*) AS count
        FROM clicks
        GROUP BY "video", tumble(interval '1 minute')
        """

        [listeners.main]
        bind = "127.0.0.1:8080"
        channels = ["clicks_1m", "clicks", "_stats", "_clients"]
    "##]].assert_eq(&std::fs::read_to_string(desk.path().join("windrow.toml")).unwrap());
    assert_eq!(desk.run(&["check"]).status.code(), Some(0));
    desk.check(
        &init,
        expect![[r#"
        1
        error: windrow.toml exists; name another file with --output
    "#]],
    );
    desk.check(
        &["init", "click", "--directory", "data", "-o", "other.toml"],
        expect![[r#"
        1
        error: topic click does not exist; did you mean clicks?
    "#]],
    );
}

#[test]
fn produce_reads_csv_and_names_the_lines_that_are_refused() {
    let desk = Desk::new();
    desk.write(
        "flights.csv",
        "time_hour,dep_delay,origin\n2013-01-01T05:00:00Z,NA,EWR\n2013-01-01T06:00:00Z,-4,JFK\n",
    );
    let log = ["--directory", "data", "--topic", "flights"];
    let output =
        shown(&desk.run(&[["produce", "--file", "flights.csv", "--null", "NA"].as_slice(), &log].concat()));
    assert!(output.starts_with("0\n2 accepted, 0 rejected, "), "{output}");
    let output = desk.run_with_input(
        &[["produce", "--file", "-"].as_slice(), &log].concat(),
        "{\"origin\":\"LGA\"}\nnonsense\n\n[1]\n",
    );
    let output = shown(&output);
    assert!(output.starts_with("1\n1 accepted, 2 rejected, "), "{output}");
    assert!(
        output.contains("\nline 2: not a JSON object") && output.contains("\nline 4: not a JSON object"),
        "{output}"
    );
    assert_eq!(desk.run(&["produce"]).status.code(), Some(2));
    assert_eq!(desk.run(&["produce", "--url", "http://127.0.0.1:9"]).status.code(), Some(2));
}

#[test]
fn tail_says_when_nobody_is_there() {
    let output = shown(&Desk::new().run(&["tail", "likes", "--url", "http://127.0.0.1:9"]));
    assert!(output.starts_with("1\nerror: cannot connect to ws://127.0.0.1:9/ws"), "{output}");
}

/// A running `windrow`, killed when the test ends.
struct Running {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let lines = std::io::BufRead::lines(std::io::BufReader::new(stream));
                lines.map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            });
        }
        Self { child, lines }
    }

    /// Waits for a line that holds `part`.
    fn line(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {part:?} in {seen:#?}"),
            }
        }
    }

    /// Sends SIGTERM and returns the exit code.
    fn terminate(mut self) -> Option<i32> {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(std::time::Instant::now() < deadline, "SIGTERM does not end it");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn standard_input_is_folded_to_its_end_and_the_process_exits() {
    let desk = Desk::with(&format!("{GOOD}[listeners.main]\nbind = \"127.0.0.1:0\"\n"));
    let input: String = (0..90)
        .map(|s| {
            format!(
                "{{\"ts\":{},\"video\":\"{}\"}}\n",
                1_700_000_040_000_i64 + s * 1_000,
                if s % 3 == 0 { "a" } else { "b" }
            )
        })
        .collect();
    let output = shown(
        &desk.run_with_input(&["serve", "--stdin", "clicks", "--until-end", "--log-level", "warn"], &input),
    );
    assert_eq!(output, "0\n");
    // What was written is there for the next process: the user's topic holds each window once.
    let desk2 = Desk::new();
    let folder = desk.path().join("windrow-data");
    let init = desk2.run(&["init", "likes_per_minute", "--directory", folder.to_str().unwrap()]);
    assert!(shown(&init).contains("looked at 4 records"), "{}", shown(&init));
}

#[test]
fn a_server_takes_records_shows_rows_and_drains_on_sigterm() {
    let desk = Desk::with(&format!("{GOOD}[listeners.main]\nbind = \"127.0.0.1:0\"\n"));
    let server = Running::start(desk.command(&["serve", "--log-format", "json"]));
    let line: serde_json::Value = serde_json::from_str(&server.line("\"address\"")).unwrap();
    let url = format!("http://{}", line["address"].as_str().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    desk.write(
        "one.ndjson",
        &format!("{{\"ts\":{now},\"video\":\"a\"}}\n{{\"ts\":{now},\"video\":\"b\"}}\n"),
    );
    let produced =
        shown(&desk.run(&["produce", "--url", &url, "--stream", "clicks", "--file", "one.ndjson"]));
    assert!(produced.starts_with("0\n2 accepted, 0 rejected, "), "{produced}");
    let tail = ["tail", "likes_1m", "--url", &url, "--snapshot", "--count", "1", "--where", "id = 'b'"];
    let row: serde_json::Value = serde_json::from_slice(&desk.run(&tail).stdout).unwrap();
    assert_eq!((row["id"].as_str(), row["count"].as_i64()), (Some("b"), Some(1)));
    let refused = shown(&desk.run(&["tail", "likes_1m", "--url", &url, "--where", "id ="]));
    assert!(refused.starts_with("1\nerror: bad_filter: "), "{refused}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_demo_says_what_to_open_and_stops_by_itself() {
    let desk = Desk::new();
    let demo = Running::start(desk.command(&["demo", "--no-open", "--port", "0", "--for", "2s"]));
    let line = demo.line("Open ");
    let address = line.rsplit("http://").next().unwrap().trim().to_owned();
    let tail = Desk::new().run(&[
        "tail",
        "totals",
        "--url",
        &format!("http://{address}"),
        "--snapshot",
        "--count",
        "1",
    ]);
    let row: serde_json::Value = serde_json::from_slice(&tail.stdout).unwrap();
    assert!(row["clicks"].as_i64() > Some(0), "{row}");
    demo.line("stopping");
}

#[test]
fn a_server_without_its_kafka_waits_and_says_why_it_is_not_ready() {
    // Nobody listens on the discard port.
    let kafka = "[log]\nkind = \"kafka\"\nbootstrap_servers = \"127.0.0.1:9\"\n";
    let desk = Desk::with(&format!("{GOOD}{kafka}[listeners.main]\nbind = \"127.0.0.1:0\"\n"));
    let server = Running::start(desk.command(&["serve", "--log-format", "json"]));
    let line: serde_json::Value = serde_json::from_str(&server.line("\"address\"")).unwrap();
    let mut socket = std::net::TcpStream::connect(line["address"].as_str().unwrap()).unwrap();
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut socket, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"log\":\""), "{answer}");
    assert_eq!(server.terminate(), Some(0));
}
