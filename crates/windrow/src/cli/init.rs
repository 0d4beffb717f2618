//! `windrow init`: looks at a topic and writes a configuration for it.
//!
//! topic → the newest records (bounded) → `infer` (format, columns, time) → a file that is never overwritten
//! **Not here:** guessing (`infer`).

use std::{fmt::Write as _, fs::OpenOptions, io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::time::Instant;

use super::{
    failure::Failure,
    infer::{Guess, Sample, guess},
    open::LogArgs,
};
use crate::{
    config::{self, Variables},
    log::{From, Log, ReaderOptions, Tp},
};

/// Longest look; a quiet topic is not waited for.
const LOOK_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  windrow init clicks --kafka localhost:9092
  windrow init flights --directory windrow-data --output flights.toml

Exit codes: 0 written, 1 the topic is missing or empty, or the file exists; 2 asked wrongly.";

/// Arguments of `windrow init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// The topic to look at
    topic: String,
    #[command(flatten)]
    log: LogArgs,
    /// The file to write; it is never overwritten
    #[arg(long, short, value_name = "FILE", default_value = "windrow.toml")]
    output: PathBuf,
    /// How many records to look at
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    records: u32,
}

pub(super) async fn run(args: InitArgs) -> Result<(), Failure> {
    if args.output.exists() {
        return Err(Failure::failed(anyhow!(
            "{} exists; name another file with --output",
            args.output.display()
        )));
    }
    let log = args.log.open().await?;
    let Some(info) = log.topic(&args.topic).await? else {
        let names: Vec<String> = log.topics().await?.into_iter().map(|t| t.name.to_string()).collect();
        let close = windrow_core::suggest::closest(&args.topic, names.iter().map(String::as_str));
        let hint = close.map(|c| format!("; did you mean {c}?")).unwrap_or_default();
        return Err(Failure::failed(anyhow!("topic {} does not exist{hint}", args.topic)));
    };
    let samples = look(&log, &args.topic, info.partitions, args.records as usize).await?;
    if samples.is_empty() {
        return Err(Failure::failed(anyhow!("topic {} has no records to look at", args.topic)));
    }
    let guess = guess(&samples);
    let text = write(&args, &guess, info.partitions, samples.len());
    // What is written must be right: it is read back before it is given to the user.
    if let Err(errors) = config::parse(&text, "windrow.toml", &Variables::default()) {
        return Err(Failure::Config(errors));
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.output)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", args.output.display()))?;
    println!("looked at {} records and wrote {}", samples.len(), args.output.display());
    println!("next: windrow check --config {0}, then windrow serve --config {0}", args.output.display());
    Ok(())
}

/// Reads the newest records of every partition, an equal share of each.
async fn look(
    log: &Arc<dyn Log>,
    topic: &str,
    partitions: i32,
    wanted: usize,
) -> Result<Vec<Sample>, Failure> {
    let tps: Vec<Tp> = (0..partitions).map(|p| Tp::new(topic, p)).collect();
    let ends = log.ends(&tps).await?;
    let share = (wanted / tps.len().max(1)).max(1) as i64;
    let mut reader = log.reader(ReaderOptions::default()).await?;
    let mut open = std::collections::BTreeMap::new();
    for (tp, end) in tps.into_iter().zip(ends) {
        if end.last_stable > end.earliest {
            reader.assign(tp.clone(), From::Offset((end.last_stable - share).max(end.earliest)));
            open.insert(tp, end.last_stable);
        }
    }
    let mut samples = Vec::new();
    let deadline = Instant::now() + LOOK_MAX;
    while !open.is_empty() && samples.len() < wanted {
        let Ok(answers) = tokio::time::timeout_at(deadline, reader.next()).await else { break };
        for fetched in answers? {
            for batch in &fetched.batches {
                let records = batch.records_from(fetched.from);
                samples.extend(
                    records.take(wanted - samples.len().min(wanted)).map(|r| Sample {
                        key: r.key.map(<[u8]>::to_vec),
                        value: r.value.map(<[u8]>::to_vec),
                    }),
                );
            }
            if open.get(&fetched.tp).is_some_and(|end| fetched.next >= *end) {
                reader.unassign(&fetched.tp);
                open.remove(&fetched.tp);
            }
        }
    }
    Ok(samples)
}

fn write(args: &InitArgs, guess: &Guess, partitions: i32, looked_at: usize) -> String {
    let (app, name) = (name_of(&args.topic), stream_name(&args.topic));
    let mut out = format!(
        "# Written by `windrow init` after a look at {looked_at} records of {}.\napp = \"{app}\"\n\n[log]\n",
        args.topic
    );
    // Writing to a String cannot fail.
    let _ = match (&args.log.kafka, &args.log.directory) {
        (Some(servers), _) => writeln!(out, "kind = \"kafka\"\nbootstrap_servers = {}", quoted(servers)),
        (None, Some(directory)) => writeln!(out, "directory = {}", quoted(&directory.display().to_string())),
        (None, None) => Ok(()),
    };
    if guess.needs_registry() {
        out.push_str("\n[registry]\nurl = \"${SCHEMA_REGISTRY_URL:-http://localhost:8081}\"   # auth, token, tls: docs/CONFIG.md\n");
    }
    let _ =
        writeln!(out, "\n[streams.{name}]\ntopic = {}\nformat = \"{}\"", quoted(&args.topic), guess.format());
    if guess.has_framed_keys {
        out.push_str("key_format = \"avro-registry\"\n");
    }
    if !guess.columns.is_empty() {
        let columns: Vec<String> =
            guess.columns.iter().map(|c| format!("{} = \"{}\"", key(&c.name), c.ty.name())).collect();
        let _ = writeln!(out, "columns = {{ {} }}", columns.join(", "));
    }
    match &guess.time {
        Some((column, unit)) => {
            let _ = writeln!(out, "time = {{ column = {}, unit = \"{unit}\" }}", quoted(column));
        }
        None => out
            .push_str("# time = { column = \"…\", unit = \"ms\" }   # default: the record's own timestamp\n"),
    }
    out.push_str("lateness = \"2s\"                         # how far records may be out of order\n");
    match &guess.keyed_by {
        Some(column) => {
            let _ = writeln!(
                out,
                "keyed_by = [{}]                     # every message key looked at was this column",
                quoted(column)
            );
        }
        None if partitions > 1 => out.push_str(
            "# keyed_by = [\"…\"]                    # the column that the message key is, if it is one\n",
        ),
        None => {}
    }
    let _ = write!(out, "\n[views.{name}_1m]\nsql = \"\"\"\n{}\n\"\"\"\n", guess.query(name.as_str()));
    out.push_str("\n[listeners.main]\nbind = \"127.0.0.1:8080\"\n");
    let _ = writeln!(out, "channels = [\"{name}_1m\", \"{name}\", \"_stats\", \"_clients\"]");
    out
}

/// A legal app name out of a topic's.
fn name_of(topic: &str) -> String {
    let lower = topic.to_ascii_lowercase();
    let mut name: String =
        lower.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).take(80).collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert(0, 't');
    }
    name
}

/// A legal stream name: what a client of Socket.IO keeps for itself gets a letter more.
fn stream_name(topic: &str) -> String {
    let name = name_of(topic);
    let text = format!("[streams.{name}]");
    match config::parse(&text, "", &Variables::default()) {
        Ok(_) => name,
        Err(_) => format!("{name}_s"),
    }
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A TOML string that stands for exactly this text, dollars and all.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace('$', "$$")).to_string()
}
