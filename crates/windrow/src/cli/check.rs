//! `windrow check`: every mistake of a configuration, or what would run.
//!
//! **In** a configuration. **Out** on standard output: streams, views with their inferred types, stages, topics, bounds.
//! **Not here:** the log is not asked; a topic's real partition count may differ.

use std::{fmt::Write, time::Duration};

use clap::Args;
use windrow_core::{
    plan::{self, Shape, Stage, StreamPlan, ViewPlan},
    spec::{Emit, LatePolicy, OnBad, OnFull, StreamSpec, TimeSpec, TimeUnit, TopicFormat},
    topics::Topics,
    value::ColumnType,
    written::RowSchema,
};

use super::{ConfigArgs, failure::Failure};
use crate::{
    config::{
        Config, ListenerConfig, LogKind, Planned, StreamConfig,
        units::{show_duration, show_size},
    },
    log::kafka,
    topics,
};

/// Arguments of `windrow check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windrow check\n  windrow check --config examples/quickstart/windrow.toml --env-file .env\n\nExit codes: 0 fine, 2 with mistakes."
)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let planned = args.config.load()?;
    print!("{} is fine.\n\n{}", args.config.config.display(), render(&planned));
    Ok(())
}

/// Writes the plan for people.
pub(super) fn render(planned: &Planned) -> String {
    let (config, mut out) = (&planned.config, String::new());
    line(&mut out, "app", &config.app);
    line(&mut out, "log", &log(config));
    for plan in &planned.plans {
        if let Some(stream) = config.streams.get(&*plan.spec.name) {
            render_stream(&mut out, config, stream, plan);
        }
        for view in &plan.views {
            render_view(&mut out, config, plan, view);
        }
    }
    for listener in config.listeners.values() {
        render_listener(&mut out, listener);
    }
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name:<12}{value}");
}

fn entry(out: &mut String, name: &str, value: &str) {
    line(out, &format!("  {name}"), value);
}

fn log(config: &Config) -> String {
    let (delivery, every) = (config.log.exactly_once, show_duration(config.log.commit_interval));
    let delivery = if delivery { "exactly once" } else { "at least once" };
    let place = match &config.log.kind {
        LogKind::Embedded { directory, .. } => format!("embedded in {}", directory.display()),
        LogKind::Kafka { bootstrap_servers, properties } => {
            format!("kafka at {} by {}", bootstrap_servers.join(", "), kafka::entrance(properties))
        }
    };
    format!("{place}; {delivery}, a commit each {every}")
}

fn render_stream(out: &mut String, config: &Config, stream: &StreamConfig, plan: &StreamPlan) {
    let spec = &stream.spec;
    let _ = writeln!(out, "\nstream {}", spec.name);
    let retention =
        stream.retention.map_or("kept for ever".to_owned(), |d| format!("kept {}", show_duration(d)));
    let made = match &config.log.kind {
        LogKind::Embedded { .. } => format!("made with {}, {retention}", partitions(stream.partitions)),
        LogKind::Kafka { .. } => "must exist".to_owned(),
    };
    let (word, made) = match &spec.topics {
        Topics::One(_) => ("topic", made),
        Topics::Several(_) => ("topics", format!("each {made}")),
        Topics::Pattern(_) => ("topics", "those that appear are read from their beginning".to_owned()),
    };
    entry(out, word, &format!("{} ({made})", spec.topics));
    entry(out, "format", &format(spec));
    entry(out, "time", &time(spec));
    let idle = spec.idle_ms.filter(|_| !spec.until_end);
    let idle = idle
        .map_or("silence stops time".to_owned(), |idle| format!("flows on after {} of silence", ms(idle)));
    let (late, ahead) = (ms(spec.lateness_ms), ms(spec.max_ahead_ms));
    entry(out, "", &format!("lateness {late}, at most {ahead} ahead, {idle}"));
    let columns: Vec<String> = plan.columns.iter().map(|c| typed(&c.name, c.ty)).collect();
    entry(out, "reads", &or_nothing(&columns));
    let key = if spec.keyed_by.is_empty() { "unknown".to_owned() } else { spec.keyed_by.join(", ") };
    entry(out, "key", &key);
    // A stream that no view runs over in the engine is read by gateways, and those write nothing.
    let is_folded = plan.views.iter().any(|view| topics::runs_in_engine(view));
    let bad = match spec.on_bad {
        _ if !is_folded => "counted and told in the log".to_owned(),
        OnBad::Skip => "skipped and counted".to_owned(),
        OnBad::DeadLetter => format!("to {}", topics::bad(&config.app, &spec.name)),
        OnBad::Stop => "stop the stream".to_owned(),
    };
    let gap = if stream.gap_stops && is_folded { "stops the stream" } else { "counted, then on" };
    entry(out, "bad", &format!("{bad}; a gap: {gap}"));
    if spec.until_end {
        entry(out, "until", "the end: then every window closes");
    }
}

fn render_view(out: &mut String, config: &Config, plan: &StreamPlan, view: &ViewPlan) {
    let spec = &view.spec;
    let (shape, stage) = match view.shape {
        Shape::Stateless => ("a filter, no state".to_owned(), "served straight from the stream".to_owned()),
        Shape::Running => ("a running table".to_owned(), stages(config, plan, view)),
        Shape::Tumbling { size_ms } => (format!("windows of {}", ms(size_ms)), stages(config, plan, view)),
    };
    let _ = writeln!(out, "\nview {} over {}", spec.name, plan.spec.name);
    entry(out, "shape", &format!("{shape}; {stage}"));
    let mut rows: Vec<String> = view.outputs.iter().map(|c| typed(&c.name, c.ty)).collect();
    let appended: &[&str] = match view.shape {
        Shape::Stateless => &[],
        Shape::Running => &["final", "seq"],
        Shape::Tumbling { .. } => &["window_start", "window_end", "final", "seq"],
    };
    rows.extend(
        appended
            .iter()
            .filter(|name| view.outputs.iter().all(|c| *c.name != ***name))
            .map(ToString::to_string),
    );
    entry(out, "rows", &or_nothing(&rows));
    entry(out, "key", &view.key_names.join(", "));
    if view.shape != Shape::Stateless {
        let retain = spec.retain_ms.map_or("for ever".to_owned(), ms);
        let (emit, grace) = (emit(spec.emit), ms(spec.grace_ms));
        entry(out, "emits", &format!("{emit}; grace {grace}, closed windows stay {retain}"));
        let full = match spec.on_full {
            OnFull::RefuseNewKeys => "new keys are refused and counted",
            OnFull::CloseOldest => "the oldest window closes",
            OnFull::Stop => "the view stops",
        };
        let most = show_size(spec.state_max_bytes as u64);
        entry(out, "state", &format!("at most {most} a partition, then {full}"));
    }
    entry(out, "topics", &view_topics(config, plan, view).join(", "));
    if let Ok(Some(schema)) = RowSchema::of(view) {
        for (number, text) in schema.text().lines().enumerate() {
            entry(out, if number == 0 { "schema" } else { "" }, text);
        }
    }
}

fn view_topics(config: &Config, plan: &StreamPlan, view: &ViewPlan) -> Vec<String> {
    let (app, name) = (&*config.app, &*view.spec.name);
    let mut all = Vec::new();
    if topics::has_state(view) {
        all.push(topics::channel(app, name).to_string());
        all.push(topics::journal(app, name).to_string());
    }
    if may_scatter(config, plan, view) {
        all.push(topics::partials(app, name).to_string());
        all.push(topics::sources(app, name).to_string());
    }
    if view.is_windowed() && view.spec.late == LatePolicy::Topic {
        all.push(topics::late(app, name).to_string());
    }
    if let Some(user) = &view.spec.topic {
        let format = if user.format == TopicFormat::Json { "" } else { user.format.name() };
        let comma = if format.is_empty() { "" } else { ", " };
        all.push(format!("{} ({}{comma}{format})", user.topic, emit(user.emit)));
    }
    if all.is_empty() { vec!["none".to_owned()] } else { all }
}

/// A partition count at which only the message key can keep a group together.
const SEVERAL: i32 = 2;

/// One stage when a group never spans partitions. On Kafka only the topic can tell how many there are.
fn stages(config: &Config, plan: &StreamPlan, view: &ViewPlan) -> String {
    let partitions = match config.log.kind {
        LogKind::Embedded { .. } => config.streams.get(&*plan.spec.name).map_or(1, |s| s.partitions),
        LogKind::Kafka { .. } => SEVERAL,
    };
    let reason = plan::stage_reason(plan, view, partitions);
    match (plan::stage(plan, view, partitions), &config.log.kind) {
        (Stage::Local, _) => format!("one stage: {reason}"),
        (Stage::Two, LogKind::Embedded { .. }) => format!("two stages: {reason}"),
        (Stage::Two, LogKind::Kafka { .. }) => {
            format!("one stage if the topic has one partition; with {SEVERAL}, say, two stages: {reason}")
        }
    }
}

/// Tells whether a view may run in two stages.
fn may_scatter(config: &Config, plan: &StreamPlan, view: &ViewPlan) -> bool {
    let made_with = config.streams.get(&*plan.spec.name).map_or(1, |s| s.partitions);
    let is_kafka = matches!(config.log.kind, LogKind::Kafka { .. });
    plan::stage(plan, view, if is_kafka { SEVERAL } else { made_with }) == Stage::Two
}

fn render_listener(out: &mut String, listener: &ListenerConfig) {
    let _ = writeln!(out, "\nlistener {} at {}", listener.name, listener.bind);
    let dialects: Vec<&str> = listener.dialects.iter().map(|d| d.name()).collect();
    entry(out, "dialects", &dialects.join(", "));
    let local = listener.bind.ip().is_loopback();
    let channels = listener.channels.as_ref().map(|c| c.join(", "));
    let default = if local { "every view, _stats, _clients" } else { "every view" };
    entry(out, "channels", channels.as_deref().unwrap_or(default));
    let publish =
        listener.publish.as_ref().map(|p| if p.is_empty() { "none".to_owned() } else { p.join(", ") });
    entry(out, "publish", publish.as_deref().unwrap_or(if local { "every stream" } else { "none" }));
    let origins = if listener.origins.is_empty() {
        String::new()
    } else {
        format!(", {}", listener.origins.join(", "))
    };
    entry(out, "origins", &format!("the same{origins}"));
}

fn format(spec: &StreamSpec) -> String {
    let columns: Vec<String> = match spec.format.has_schema() {
        true => spec.format.columns().iter().map(|c| typed(&c.name, c.ty)).collect(),
        false => spec.columns.iter().map(|(name, ty)| typed(name, Some(*ty))).collect(),
    };
    let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    format!("{}{columns}, key {}", spec.format.name(), spec.key_format.name())
}

fn time(spec: &StreamSpec) -> String {
    match &spec.time {
        TimeSpec::Column { column, .. }
            if spec.schema_column(column) == Some(Some(ColumnType::Timestamp)) =>
        {
            format!("column {column}, a timestamp")
        }
        TimeSpec::Record => "the record's timestamp".to_owned(),
        TimeSpec::Column { column, unit } => {
            let unit = match unit {
                TimeUnit::Seconds => "seconds",
                TimeUnit::Millis => "milliseconds",
                TimeUnit::Micros => "microseconds",
                TimeUnit::Nanos => "nanoseconds",
                TimeUnit::Rfc3339 => "RFC 3339",
            };
            format!("column {column}, {unit}")
        }
    }
}

fn emit(emit: Emit) -> &'static str {
    match emit {
        Emit::Changes => "changes",
        Emit::Final => "finals",
    }
}

fn typed(name: &str, ty: Option<ColumnType>) -> String {
    format!("{name} {}", ty.map_or("any", ColumnType::name))
}

fn or_nothing(parts: &[String]) -> String {
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn partitions(n: i32) -> String {
    if n == 1 { "1 partition".to_owned() } else { format!("{n} partitions") }
}

fn ms(ms: i64) -> String {
    show_duration(Duration::from_millis(ms.max(0).cast_unsigned()))
}
