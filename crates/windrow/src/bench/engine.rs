//! `bench engine`: the engine alone, one partition in memory, three windowed views over one stream.
//!
//! **Floors** of the same batches: looking for two members; then decoding what the views need. Beside it, decoding of each format, and writing rows in each language.
//! **Not here:** logs, commits, sockets.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bumpalo::Bump;
use windrow_core::{
    batch::Batch,
    decode::Decoder,
    engine::{Task, TaskOptions},
    plan::{Stage, StreamPlan},
    scan::RowFields,
    value::ColumnType,
};

use super::{
    data, formats,
    meter::Meter,
    report::{Figure, Group, Report},
    setup, written,
};

/// Arguments of `bench engine`.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArgs {
    /// Records to fold
    #[arg(long, default_value_t = 2_000_000)]
    pub records: u64,
    /// Records between two commits, one measurement each: what comes in 100 ms, and what a worker that is behind gathers
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 500_000])]
    pub commit_every: Vec<u64>,
}

/// Measures floors and engine on the same batches.
pub(super) fn run(args: &EngineArgs) -> Result<Report> {
    let plan = setup::plan(&setup::configuration("bench", "clicks", "kind = \"embedded\""))?;
    let batches = data::batches(args.records)?;
    let mut figures = vec![scan(&batches)?, decode(&batches, &plan)?];
    for commit_every in &args.commit_every {
        figures.push(engine(&batches, plan.clone(), *commit_every)?);
    }
    Ok(Report {
        title: format!(
            "engine: {} JSON records of {} bytes, {} users, count per user in windows of {:?} minutes",
            args.records,
            data::VALUE_BYTES,
            data::USERS,
            setup::MINUTES,
        ),
        unit: "records",
        groups: vec![
            Group { name: "in memory".into(), figures },
            formats::group(args.records)?,
            written::group(args.records)?,
        ],
    })
}

/// The floor: the time and the key out of every value.
fn scan(batches: &[Batch]) -> Result<Figure> {
    let fields =
        RowFields::new(&[("ts".into(), Some(ColumnType::Bigint)), ("user".into(), Some(ColumnType::Text))]);
    let meter = Meter::own()?;
    let mut arena = Bump::new();
    let mut count = 0;
    for batch in batches {
        let mut row = Vec::new();
        for record in batch.records() {
            fields.read(record.value.unwrap_or_default(), &arena, &mut row)?;
            count += u64::from(!row[1].is_null());
        }
        drop(row);
        arena.reset();
    }
    Ok(Figure::new("scan two members", count, meter.stop()?))
}

/// What the views need of every record.
fn decode(batches: &[Batch], plan: &StreamPlan) -> Result<Figure> {
    let decoder = Decoder::new(plan);
    let mut mistyped = vec![0; decoder.width()];
    let meter = Meter::own()?;
    let mut arena = Bump::new();
    let mut count = 0;
    for batch in batches {
        let mut row = Vec::new();
        for record in batch.records() {
            decoder.decode(("clicks", 0), &record, data::NOW_MS, &arena, &mut row, &mut mistyped)?;
            count += 1;
        }
        drop(row);
        arena.reset();
    }
    Ok(Figure::new("decode", count, meter.stop()?))
}

/// All of it: rows and journal come out at each cut.
fn engine(batches: &[Batch], plan: Arc<StreamPlan>, commit_every: u64) -> Result<Figure> {
    let (stages, targets) = (vec![Stage::Local; plan.views.len()], vec![0; plan.views.len()]);
    let mut task = Task::new(plan, &stages, &targets, "clicks".into(), 0, TaskOptions::default())?;
    task.start(0);
    let meter = Meter::own()?;
    let (mut folded, mut since_cut, mut rows, mut journal_bytes) = (0, 0, 0, 0);
    let mut out = Vec::new();
    for batch in batches {
        task.fold(batch, data::NOW_MS)?;
        folded += batch.len() as u64;
        since_cut += batch.len() as u64;
        if since_cut >= commit_every || folded == data::count(batches) {
            let cut = task.cut(data::NOW_MS, &mut out);
            rows += cut.rows;
            journal_bytes += cut.journal_bytes;
            since_cut = 0;
            out.clear();
        }
    }
    let cost = meter.stop()?;
    let bad = task.stats().bad;
    ensure!(bad == 0, "the engine found {bad} of its own records bad");
    Ok(Figure::new(format!("engine, commits of {commit_every}"), folded, cost)
        .note("rows", rows)
        .note("journal", format!("{:.1} MB", journal_bytes as f64 / 1e6)))
}
