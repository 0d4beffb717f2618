//! `bench state`: what keeping state costs: the pause of a cut, bytes in the journal and in memory, and getting it back.
//!
//! **Floors** of the same rows: written as JSON (the cut), held in a plain map (restoring).
//! **Invariant:** the view counts records by user in one open window, so a row is a key of 8 bytes and a count; restoring reads
//! what a worker would read: the journal from the beginning of its last whole snapshot series.
//! **Not here:** folding (`engine`), the group and the watermark's way (`pipeline`).

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hashbrown::HashMap;
use tempfile::TempDir;
use windrow_core::{
    batch::{Batch, BatchBuilder, Compression},
    engine::{SeriesEvent, Task, TaskOptions},
    out::{OutRecord, Target},
    plan::{Stage, StreamPlan},
};

use super::{
    data::{NOW_MS, START_MS},
    latency::Latencies,
    meter::Meter,
    report::{Figure, Group, Report},
    setup,
};
use crate::{
    config::Sync,
    log::{Log, Outgoing, TopicSpec, Tp, WriterOptions, embedded::EmbeddedLog, kafka::KafkaLog},
    worker::read_journal,
};

/// Arguments of `bench state`.
#[derive(Debug, Clone, clap::Args)]
pub struct StateArgs {
    /// Open rows to hold and to restore
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// Rows that change between two cuts
    #[arg(long, default_value_t = 10_000)]
    pub dirty: u64,
    /// Cuts to measure
    #[arg(long, default_value_t = 300)]
    pub cuts: u64,
    /// Kafka, to restore from it, too
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
}

/// Measures cuts, then memory and restoring.
pub(super) async fn run(args: &StateArgs) -> Result<Report> {
    let plan = setup::plan(&configuration())?;
    let (held, journal) = hold(args, &plan)?;
    let map = map(args.rows)?;
    let mut restores = vec![map, restore(args.rows, &plan, &journal)?];
    let directory = TempDir::new()?;
    let embedded: Arc<dyn Log> = EmbeddedLog::open(&directory.path().join("data"), Sync::Commit)?;
    restores
        .push(restore_from(&*embedded, "restore from the embedded log", args.rows, &plan, &journal).await?);
    if let Some(kafka) = &args.kafka {
        let log = KafkaLog::connect(std::slice::from_ref(kafka), &BTreeMap::new()).await?;
        restores.push(restore_from(&*log, "restore from Kafka", args.rows, &plan, &journal).await?);
    }
    Ok(Report {
        title: format!("state: {} open count rows, {} of them dirty at each cut", args.rows, args.dirty),
        unit: "rows",
        groups: vec![
            Group { name: "a cut".into(), figures: cuts(args, &plan)? },
            Group { name: "holding".into(), figures: vec![held] },
            Group { name: "getting it back".into(), figures: restores },
        ],
    })
}

fn configuration() -> String {
    r#"app = "bench"
[streams.clicks]
topic = "clicks"
format = "json"
time = { column = "ts", unit = "ms" }
keyed_by = ["user"]
[views.counted]
sql = '''SELECT "user", count(*) AS count FROM clicks GROUP BY "user", tumble(interval '1 hour')'''
"#
    .to_owned()
}

/// A key of its own for each of ten million, in no order that would compress well.
fn user(n: u64) -> String {
    format!("u{:07}", n * 7_654_321 % 10_000_000)
}

/// One record for each of the users, in batches from `offset` on.
fn batches(users: impl Iterator<Item = u64>, offset: &mut i64) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Compression::None);
    let mut close = |builder: BatchBuilder| -> Result<()> {
        let count = builder.len() as i64;
        batches.push(Batch::parse(&builder.build(*offset, -1, -1, -1, false))?.0);
        *offset += count;
        Ok(())
    };
    for n in users {
        let user = user(n);
        let value = format!(r#"{{"ts":{START_MS},"user":"{user}"}}"#);
        builder.push(START_MS, Some(user.as_bytes()), Some(value.as_bytes()), [])?;
        if builder.len() == 500 {
            close(std::mem::replace(&mut builder, BatchBuilder::new(Compression::None)))?;
        }
    }
    if !builder.is_empty() {
        close(builder)?;
    }
    Ok(batches)
}

fn task(plan: &Arc<StreamPlan>) -> Result<Task> {
    let (stages, targets) = (vec![Stage::Local; plan.views.len()], vec![0; plan.views.len()]);
    Ok(Task::new(plan.clone(), &stages, &targets, "clicks".into(), 0, TaskOptions::default())?)
}

/// The time that the fold stands still: rows and journal of an epoch are built.
fn cuts(args: &StateArgs, plan: &Arc<StreamPlan>) -> Result<Vec<Figure>> {
    let mut task = task(plan)?;
    task.start(0);
    let (mut offset, mut out) = (0, Vec::new());
    let held = (10 * args.dirty).min(args.rows.max(args.dirty));
    for batch in batches(0..held, &mut offset)? {
        task.fold(&batch, NOW_MS)?;
    }
    task.cut(NOW_MS, &mut out);
    let (mut pauses, mut plain) = (Latencies::new(), Latencies::new());
    let (mut rows, mut bytes, mut delta_bytes, mut written) = (0, 0, 0, 0);
    let (mut cut_cost, mut plain_cost) = (None, None);
    for n in 0..args.cuts {
        out.clear();
        let first = n * args.dirty % held;
        let users = || (0..args.dirty).map(|i| (first + i) % held);
        for batch in batches(users(), &mut offset)? {
            task.fold(&batch, NOW_MS)?;
        }
        let meter = Meter::own()?;
        let cut = task.cut(NOW_MS, &mut out);
        let cost = meter.stop()?;
        pauses.add(u64::try_from(cost.wall.as_nanos())?);
        add(&mut cut_cost, cost);
        rows += cut.rows;
        bytes += cut.journal_bytes;
        // The first journal records of a cut are the delta; slices of a series come after it, in records of their own.
        if cut.series.is_empty() && cut.journal_records == 1 {
            delta_bytes += cut.journal_bytes;
            written += args.dirty;
        }
        let meter = Meter::own()?;
        let mut text = String::new();
        for n in users() {
            // Writing to a String cannot fail.
            let _ = write!(text, r#"{{"user":"{}","count":{},"final":false}}"#, user(n), n);
        }
        ensure!(!text.is_empty(), "there are no dirty rows");
        let cost = meter.stop()?;
        plain.add(u64::try_from(cost.wall.as_nanos())?);
        add(&mut plain_cost, cost);
    }
    ensure!(rows == args.dirty * args.cuts, "{rows} rows in {} cuts of {}", args.cuts, args.dirty);
    let ms = |l: &Latencies, q| format!("{:.2} ms", l.quantile(q).as_secs_f64() * 1e3);
    let figure = |name: &str, cost, l: &Latencies| -> Result<Figure> {
        Ok(Figure::new(name, rows, cost)
            .note("p50", ms(l, 0.5))
            .note("p99", ms(l, 0.99))
            .note("max", ms(l, 1.0)))
    };
    let per_row = |bytes: u64, rows: u64| match rows {
        0 => "none without a slice".to_owned(),
        rows => format!("{:.1} B", bytes as f64 / rows as f64),
    };
    Ok(vec![
        figure("the rows as JSON", plain_cost.context("no cut")?, &plain)?,
        figure("windrow", cut_cost.context("no cut")?, &pauses)?
            .note("journal a row", per_row(delta_bytes, written))
            .note("with snapshots", per_row(bytes, rows)),
    ])
}

fn add(sum: &mut Option<super::meter::Cost>, cost: super::meter::Cost) {
    let sum =
        sum.get_or_insert(super::meter::Cost { wall: Default::default(), cpu: Default::default(), ..cost });
    sum.wall += cost.wall;
    sum.cpu += cost.cpu;
    sum.peak_rss_bytes = sum.peak_rss_bytes.max(cost.peak_rss_bytes);
}

/// Fills one window; returns what that cost, and the journal that a new owner would read.
fn hold(args: &StateArgs, plan: &Arc<StreamPlan>) -> Result<(Figure, Vec<Bytes>)> {
    let mut offset = 0;
    let mut task = task(plan)?;
    task.start(0);
    let (mut out, mut journal, mut began) = (Vec::new(), Vec::new(), 0);
    let mut first = 0;
    let meter = Meter::own()?;
    let mut cut = |task: &mut Task, journal: &mut Vec<Bytes>| {
        out.clear();
        let at = journal.len();
        let cut = task.cut(NOW_MS, &mut out);
        journal.extend(out.drain(..).filter_map(journal_value));
        for event in cut.series {
            match event {
                SeriesEvent::Began { .. } => began = at,
                SeriesEvent::Completed { .. } => first = began,
            }
        }
    };
    let mut next = 0;
    while next < args.rows {
        let to = (next + args.dirty).min(args.rows);
        for batch in batches(next..to, &mut offset)? {
            task.fold(&batch, NOW_MS)?;
        }
        cut(&mut task, &mut journal);
        next = to;
    }
    let cost = meter.stop()?;
    let stats = task.view_stats(0);
    ensure!(u64::try_from(stats.keys)? == args.rows, "{} rows are open", stats.keys);
    let bytes = stats.state_bytes as f64 / args.rows as f64;
    let figure = Figure::new("fold, cut and hold", args.rows, cost)
        .note("memory a row", format!("{bytes:.0} B with its key of {} B", user(0).len()))
        .note("journal", format!("{} records", journal.len()));
    Ok((figure, journal.split_off(first)))
}

fn journal_value(record: OutRecord) -> Option<Bytes> {
    matches!(record.target, Target::Journal(_)).then_some(record.value).flatten()
}

/// The floor of restoring: a plain map with the same keys.
fn map(rows: u64) -> Result<Figure> {
    let meter = Meter::own()?;
    let mut map: HashMap<Box<[u8]>, u64> = HashMap::new();
    for n in 0..rows {
        *map.entry(user(n).into_bytes().into()).or_default() += 1;
    }
    let cost = meter.stop()?;
    Ok(Figure::new("fill a map", map.len() as u64, cost))
}

fn restore(rows: u64, plan: &Arc<StreamPlan>, journal: &[Bytes]) -> Result<Figure> {
    let meter = Meter::own()?;
    let mut task = task(plan)?;
    for value in journal {
        task.restore(0, None, Some(value))?;
    }
    task.restored()?;
    let cost = meter.stop()?;
    whole("restore from memory", rows, &task, cost, journal)
}

fn whole(name: &str, rows: u64, task: &Task, cost: super::meter::Cost, journal: &[Bytes]) -> Result<Figure> {
    let open = u64::try_from(task.view_stats(0).keys)?;
    ensure!(open == rows, "{open} rows came back of {rows}");
    let bytes: usize = journal.iter().map(Bytes::len).sum();
    Ok(Figure::new(name, open, cost).note("journal", format!("{:.1} MB", bytes as f64 / 1e6)))
}

/// Writes the journal into a topic, then restores from it as a worker does.
async fn restore_from(
    log: &dyn Log,
    name: &str,
    rows: u64,
    plan: &Arc<StreamPlan>,
    journal: &[Bytes],
) -> Result<Figure> {
    let topic = format!("windrow-bench-state-{}", std::process::id());
    let tp = Tp::new(topic.as_str(), 0);
    let spec = TopicSpec {
        name: tp.topic.clone(),
        partitions: 1,
        replication: -1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    log.create_topic(&spec).await?;
    let mut writer = log.writer(WriterOptions { transactional_id: Some(topic.clone()) }).await?;
    for value in journal {
        writer.begin().await?;
        let record = Outgoing {
            topic: tp.topic.clone(),
            partition: 0,
            key: None,
            value: Some(value.clone()),
            headers: Vec::new(),
            timestamp_ms: NOW_MS,
        };
        writer.send(vec![record]).await?;
        writer.commit().await?;
    }
    let (meter, began) = (Meter::own()?, Instant::now());
    let mut task = task(plan)?;
    read_journal(log, tp.clone(), None, 0, &mut task).await?;
    task.restored()?;
    let cost = meter.stop()?;
    let took = began.elapsed();
    log.delete_records(
        &tp,
        log.ends(std::slice::from_ref(&tp)).await?.first().map_or(0, |e| e.high_watermark),
    )
    .await?;
    Ok(whole(name, rows, &task, cost, journal)?.note("took", format!("{:.2} s", took.as_secs_f64())))
}
