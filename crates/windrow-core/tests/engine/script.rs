//! Scripts: `testdata/*.txt`, text in, text out.
//!
//! ```text
//! # comment                           the claim
//! stream lateness=2 on_bad=skip       options of the stream; all times in scripts are seconds
//! view likes emit=final grace=5       a view with its options, then its query
//!   SELECT k, sum(v) AS sum FROM s GROUP BY k, tumble(interval '10 seconds')
//! columns k v
//! @12 b 5                             a record: event time, then the columns; `-` is missing, `null` is null
//! raw not json                        a record of just these bytes
//! cut | restart | end | now 100       what the worker does
//! stats                               what memory holds then: open windows, their keys, anything at all
//! partitions 3                        in two stages: from so many partitions of the stream to two that merge
//! @12 p1 b 5                          then records name their partition; without a name it is p0
//! cut p1 | end p1                     the same for one partition alone; what it brings waits for the next cut of all
//! flow p1 100                         time goes on in a silent partition
//! grow | forget p1                    the stream gets a partition; one loses its journal, which cannot be
//! --------
//! what came out, in order; a cut that the script asks for is a line of dashes
//! ```
//!
//! Each script also runs with a cut and a restart after every line: finals, late, bad and retired must be the same.

use std::{fmt::Write as _, fs, path::Path, sync::Arc};

use expect_test::expect_file;
use serde_json::{Map, Value};
use windrow_core::{
    engine::{TaskOptions, ViewStats},
    out::{OutRecord, Target},
    plan::{Shape, Stage, StreamPlan, ViewPlan},
    spec::{Emit, LatePolicy, OnBad, OnFull, StreamSpec, TopicFormat, ViewSpec},
};

use crate::{
    cluster::Cluster,
    world::{self, Input, World},
};

const RULE: &str = "--------\n";

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        let text = fs::read_to_string(&path).unwrap();
        let input = text.split(RULE).next().unwrap();
        let output = run(input, false);
        expect_file![&path].assert_eq(&format!("{input}{RULE}{output}"));
        if !input.contains("# cuts matter") && !input.contains("state_max") {
            // One partition whose partials two tasks merge gives what one task gives.
            let staged = run_as(input, false, Some(1));
            assert_eq!(lasting(&output), lasting(&staged), "{} in two stages", path.display());
        }
        if !input.contains("# cuts matter") {
            assert_eq!(lasting(&output), lasting(&run(input, true)), "{} with restarts", path.display());
        }
    }
}

/// The lines that must not depend on cuts and restarts.
fn lasting(output: &str) -> Vec<&str> {
    let mut lines: Vec<_> =
        output.lines().filter(|l| !l.ends_with(" change") && !l.starts_with("- ")).collect();
    lines.retain(|line| !line.starts_with("user") && !line.ends_with(" gone"));
    lines.sort_unstable();
    lines
}

fn run(input: &str, restarts: bool) -> String {
    run_as(input, restarts, None)
}

/// Runs a script, in two stages if it says so or if it is asked for.
fn run_as(input: &str, restarts: bool, partitions: Option<i32>) -> String {
    let script = Script::parse(input);
    let names: Vec<_> = script.plan.views.iter().map(|view| view.spec.name.clone()).collect();
    let partitions = script.partitions.or(partitions);
    let stage = |view: &Arc<ViewPlan>| match partitions {
        Some(_) if view.shape != Shape::Stateless => Stage::Two,
        _ => Stage::Local,
    };
    let stages = script.plan.views.iter().map(stage).collect();
    let options = TaskOptions::default();
    let mut world = Cluster::new(script.plan.clone(), partitions.unwrap_or(1), stages, 2, options);
    let mut out = String::new();
    for line in &script.lines {
        step(&mut world, &script, line, &mut out);
        if restarts {
            show(&mut world, &names, &mut out);
            world.restart();
        }
    }
    show(&mut world, &names, &mut out);
    for (i, name) in names.iter().enumerate() {
        let stats: Vec<_> = world.worlds().map(|world| world.task.view_stats(i)).collect();
        let sum = |of: fn(&ViewStats) -> u64| stats.iter().map(of).sum::<u64>();
        let counts = [
            ("late", sum(|stats| stats.late)),
            ("refused", sum(|stats| stats.refused)),
            ("closed_early", sum(|stats| stats.closed_early)),
        ];
        if !restarts {
            counts
                .iter()
                .filter(|(_, n)| *n > 0)
                .for_each(|(what, n)| writeln!(out, "- {name} {what}={n}").unwrap());
            let stopped = stats.iter().filter_map(|stats| stats.stopped.as_ref());
            stopped.for_each(|why| writeln!(out, "- {why}").unwrap());
        }
    }
    out
}

struct Script {
    plan: Arc<StreamPlan>,
    partitions: Option<i32>,
    columns: Vec<String>,
    lines: Vec<String>,
}

impl Script {
    fn parse(input: &str) -> Self {
        let (mut stream, mut views, mut columns, mut steps) =
            (world::stream(), Vec::new(), Vec::new(), Vec::new());
        let mut partitions = None;
        for line in input.lines() {
            let line = line.split(" # ").next().unwrap().trim_end();
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "#" | "" if !line.starts_with("  ") => {}
                "partitions" => partitions = Some(rest.parse().unwrap()),
                "stream" => rest.split(' ').for_each(|option| stream_option(&mut stream, option)),
                "view" => {
                    let mut words = rest.split(' ');
                    let mut view: ViewSpec = world::view(words.next().unwrap(), "");
                    words.for_each(|option| view_option(&mut view, option));
                    views.push(view);
                }
                "" => {
                    let view = views.last_mut().expect("a query comes after its view");
                    view.sql.push_str(line.trim());
                    view.sql.push('\n');
                }
                "columns" => columns = rest.split(' ').map(str::to_owned).collect(),
                _ => steps.push(line.to_owned()),
            }
        }
        Self { partitions, plan: world::plan(stream, views), columns, lines: steps }
    }
}

fn seconds(text: &str) -> i64 {
    (text.parse::<f64>().unwrap_or_else(|_| panic!("seconds: {text}")) * 1000.0) as i64
}

fn stream_option(stream: &mut StreamSpec, option: &str) {
    match option.split_once('=').unwrap() {
        ("lateness", value) => stream.lateness_ms = seconds(value),
        ("max_ahead", value) => stream.max_ahead_ms = seconds(value),
        ("required", names) => stream.required = names.split(',').map(Into::into).collect(),
        ("on_bad", "skip") => stream.on_bad = OnBad::Skip,
        ("on_bad", "stop") => stream.on_bad = OnBad::Stop,
        other => panic!("stream option {other:?}"),
    }
}

fn view_option(view: &mut ViewSpec, option: &str) {
    let emit = |value| if value == "final" { Emit::Final } else { Emit::Changes };
    match option.split_once('=').unwrap() {
        ("emit", value) => view.emit = emit(value),
        ("grace", value) => view.grace_ms = seconds(value),
        ("retain", value) => view.retain_ms = Some(seconds(value)),
        ("late", "drop") => view.late = LatePolicy::Drop,
        ("late", "update") => view.late = LatePolicy::Update,
        ("state_max", value) => view.state_max_bytes = value.parse().unwrap(),
        ("on_full", "close-oldest") => view.on_full = OnFull::CloseOldest,
        ("on_full", "stop") => view.on_full = OnFull::Stop,
        ("topic_emit", value) => {
            view.topic.get_or_insert_with(|| world::user_topic(Emit::Final, None)).emit = emit(value);
        }
        ("topic_format", "text") => {
            view.topic.get_or_insert_with(|| world::user_topic(Emit::Final, None)).format = TopicFormat::Text;
        }
        ("topic_key", value) => {
            let key = value.split(',').filter(|name| !name.is_empty()).map(Into::into).collect();
            view.topic.get_or_insert_with(|| world::user_topic(Emit::Final, None)).key = Some(key);
        }
        other => panic!("view option {other:?}"),
    }
}

fn step(world: &mut Cluster, script: &Script, line: &str, out: &mut String) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let names: Vec<_> = script.plan.views.iter().map(|view| view.spec.name.clone()).collect();
    let (named, rest) = partition(rest);
    let p = named.unwrap_or(0);
    match (word, named) {
        ("cut", None) => {
            show(world, &names, out);
            out.push_str("- cut\n");
        }
        ("cut", Some(p)) => {
            for record in world.cut_source(p) {
                tell(&record, &names, out);
            }
        }
        ("stats", _) => stats(world, &names, out),
        ("restart", _) => world.restart(),
        ("end", Some(p)) => world.sources[p].end(),
        ("end", None) => world.sources.iter_mut().for_each(World::end),
        ("flow", _) => world.sources[p].task.flow_to(seconds(rest)),
        ("grow", _) => world.grow(),
        ("leave", _) => world.leave(p),
        ("back", _) => world.back(p),
        ("forget", _) => world.sources[p].forget(),
        ("now", _) => world.worlds().for_each(|world| world.now_ms = seconds(rest)),
        ("raw", _) => {
            let value = Some(rest.as_bytes().to_vec());
            fold(world, p, Input { timestamp_ms: 0, value }, out);
        }
        _ => {
            let time = seconds(word.strip_prefix('@').unwrap_or_else(|| panic!("line: {line}")));
            let mut row = Map::new();
            row.insert("t".into(), time.into());
            for (column, value) in script.columns.iter().zip(rest.split(' ').filter(|w| !w.is_empty())) {
                if value != "-" {
                    let value =
                        serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
                    row.insert(column.clone(), value);
                }
            }
            let value = Some(serde_json::to_vec(&row).unwrap());
            fold(world, p, Input { timestamp_ms: time, value }, out);
        }
    }
}

fn stats(world: &mut Cluster, names: &[Arc<str>], out: &mut String) {
    for (i, name) in names.iter().enumerate() {
        let stats: Vec<_> = world.worlds().map(|world| world.task.view_stats(i)).collect();
        let sum = |of: fn(&ViewStats) -> i64| stats.iter().map(of).sum::<i64>();
        let (windows, keys) = (sum(|stats| stats.open_windows), sum(|stats| stats.keys));
        let rest = if sum(|stats| stats.state_bytes) == 0 { ", nothing kept" } else { "" };
        writeln!(out, "- {name} windows={windows} keys={keys}{rest}").unwrap();
    }
}

/// Takes the name of a partition off the front: `p1 …`.
fn partition(rest: &str) -> (Option<usize>, &str) {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    match word.strip_prefix('p').and_then(|number| number.parse().ok()) {
        Some(number) => (Some(number), after),
        None => (None, rest),
    }
}

fn fold(world: &mut Cluster, partition: usize, input: Input, out: &mut String) {
    if let Err(stop) = world.fold(partition, &[input]) {
        writeln!(out, "- stopped: {stop}").unwrap();
    }
}

fn show(world: &mut Cluster, names: &[Arc<str>], out: &mut String) {
    for record in world.cut() {
        tell(&record, names, out);
    }
}

fn tell(record: &OutRecord, names: &[Arc<str>], out: &mut String) {
    let many = names.len() > 1;
    let prefix = |view: usize| if many { format!("{}: ", names[view]) } else { String::new() };
    let line = match record.target {
        Target::Channel(view) => prefix(view) + &channel(record),
        Target::User(view) => {
            let key = record.key.as_deref().map_or("null".into(), String::from_utf8_lossy);
            let value = record.value.as_deref().map_or("null".into(), String::from_utf8_lossy);
            format!("user {}{key} {value}", prefix(view))
        }
        Target::Late(view) => {
            let late: i64 = header(record, "lateness").parse().unwrap_or(-1);
            let (key, window) = (plain(header(record, "key")), span(header(record, "window")));
            let line = format!("late {}{key}{window} by {}", prefix(view), late as f64 / 1000.0);
            if record.headers.iter().any(|(name, _)| *name == "source_offset_end") {
                line + &range(record)
            } else {
                line
            }
        }
        Target::Bad => {
            format!("bad {} at {}", header(record, "reason"), header(record, "source_offset"))
        }
        Target::Journal(_) | Target::Partials(_) => return,
    };
    writeln!(out, "{line}").unwrap();
}

/// What a letter about a partial says more than one about a record.
fn range(record: &OutRecord) -> String {
    let [reason, topic, partition, from, to] =
        ["reason", "source_topic", "source_partition", "source_offset", "source_offset_end"]
            .map(|name| header(record, name));
    let row = String::from_utf8_lossy(record.value.as_deref().unwrap());
    format!(" ({reason} {topic}/{partition} {from}..{to} {row})")
}

fn channel(record: &OutRecord) -> String {
    let key: Vec<Value> = serde_json::from_slice(record.key.as_deref().unwrap()).unwrap();
    let window = record.headers.iter().find(|(name, _)| *name == "window");
    let group = &key[..key.len() - usize::from(window.is_some())];
    let mut line = plain(&serde_json::to_string(group).unwrap());
    if window.is_some() {
        line += &span(header(record, "window"));
    }
    let Some(value) = &record.value else {
        let why = if header(record, "reason") == "retired" { "retired" } else { "gone" };
        return format!("{line} {why}");
    };
    let row: Map<String, Value> = serde_json::from_slice(value).unwrap();
    assert_eq!(row["seq"].to_string(), header(record, "seq"));
    assert_eq!(row["final"].to_string(), header(record, "final"));
    let hidden = ["window_start", "window_end", "final", "seq", "k"];
    for (name, value) in row.iter().filter(|(name, _)| !hidden.contains(&name.as_str())) {
        write!(line, " {name}={value}").unwrap();
    }
    line + if row["final"] == true { " final" } else { " change" }
}

/// A group key as people write it: `["a",1]` is `a 1`.
fn plain(key: &str) -> String {
    let values: Vec<Value> = serde_json::from_str(key).unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let texts: Vec<_> = values.iter().map(text).collect();
    if texts.is_empty() { "()".into() } else { texts.join(" ") }
}

fn span(window: &str) -> String {
    let (start, end) = window.split_once('/').unwrap();
    let seconds = |ms: &str| ms.parse::<i64>().unwrap() as f64 / 1000.0;
    format!(" [{},{})", seconds(start), seconds(end))
}

fn header<'r>(record: &'r OutRecord, name: &str) -> &'r str {
    let found = record.headers.iter().find(|(n, _)| *n == name);
    std::str::from_utf8(&found.unwrap_or_else(|| panic!("header {name}")).1).unwrap()
}
