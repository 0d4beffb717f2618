//! `windrow produce`: records into a topic, or into a running server.
//!
//! records (`source`: generated, NDJSON, CSV) → chunks, paced → `target` (HTTP, or a log) → progress and a summary
//! **Invariant:** a record that is not taken is named with its line and reason, and the exit code tells.

use std::{
    io::IsTerminal,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    made::{
        frames,
        visits::{self, VisitArgs},
    },
    source::{Chunk, Source},
    target::Target,
};
use super::{failure::Failure, open::LogArgs};
use crate::{config::units, publish::Report};

mod csv;
mod made;
mod source;
mod target;

/// Rejections printed; the rest is counted.
const REJECTED_SHOWN: usize = 10;

const EXAMPLES: &str = "\
Examples:
  windrow produce --url http://127.0.0.1:8080 --stream clicks --rate 200
  windrow produce --kafka localhost:9092 --topic clicks --count 1000000 --key video --seed 7
  windrow produce --preset visits --kafka localhost:9092 --frequency 5 --account-id 1 --account-id 2
  windrow produce --preset frames --kafka localhost:9092
  windrow produce --directory windrow-data --topic flights --file flights.csv --null NA
  cat clicks.ndjson | windrow produce --url http://127.0.0.1:8080 --stream clicks --file -

Exit codes: 0 everything was taken, 1 something was not, 2 asked wrongly.";

/// What is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Preset {
    /// {"ts","video","user","country","device","watched_s","referrer","session"}, about 177 bytes
    Clicks,
    /// {"ts","uid",…}, about 2.1 KB, into `input-stream`: a million of them, 10,000 a second of event time, 100,000 users
    Frames,
    /// {"id","account_id","store_id","timestamp"} into `visits`, one a second, 300 of them, like the producer of visit-aggregator
    Visits,
}

/// How a file reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    /// One JSON object a line
    Ndjson,
    /// A header, then rows; numbers become numbers
    Csv,
    /// Any lines
    Text,
}

/// Arguments of `windrow produce`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProduceArgs {
    /// A running server
    #[arg(long, value_name = "URL", help_heading = "Where to")]
    url: Option<String>,
    /// The server's stream [of visits: visits; of frames: frames]
    #[arg(long, value_name = "NAME", help_heading = "Where to")]
    stream: Option<String>,
    #[command(flatten)]
    log: LogArgs,
    /// The log's topic; made if it is missing [of visits: visits; of frames: input-stream]
    #[arg(long, value_name = "NAME", help_heading = "Where to")]
    topic: Option<String>,
    /// Partitions of a topic that is made [default: 1; of visits: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000), help_heading = "Where to")]
    partitions: Option<i32>,
    /// The column that becomes the message key
    #[arg(long, value_name = "COLUMN", help_heading = "Where to")]
    key: Option<String>,

    /// A file to read, "-" for standard input; without one, records are made up
    #[arg(long, value_name = "FILE", help_heading = "From a file")]
    file: Option<PathBuf>,
    /// How it reads [default: by its name, else ndjson]
    #[arg(long, value_name = "FORMAT", help_heading = "From a file")]
    format: Option<FileFormat>,
    /// A text in CSV that means a missing value, beside the empty one
    #[arg(long, value_name = "TEXT", help_heading = "From a file")]
    null: Option<String>,

    /// What is made up
    #[arg(long, default_value = "clicks", help_heading = "Made up")]
    preset: Preset,
    /// How many [default: 10000; of frames: 1000000; with --rate: without end]
    #[arg(long, value_name = "N", help_heading = "Made up")]
    count: Option<u64>,
    /// The same seed gives the same records [default: 1; of visits: another each time]
    #[arg(long, value_name = "N", help_heading = "Made up")]
    seed: Option<u64>,
    /// How many different users [default: 10000; of frames: 100000]
    #[arg(long, value_name = "N", help_heading = "Made up")]
    keys: Option<u64>,
    /// How far clicks and frames may be out of order
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, help_heading = "Made up")]
    disorder: Duration,
    /// Event time of the first record, milliseconds since the epoch [default: so that the last one is now; of frames: 1468244385000]
    #[arg(long, value_name = "MS", help_heading = "Made up")]
    start: Option<i64>,
    #[command(flatten)]
    visits: VisitArgs,

    /// Records a second [default: as fast as they are taken; of visits: --frequency]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "a duration such as 250ms, 2s or 5m".to_owned())
}

impl ProduceArgs {
    /// Returns what is made up; `None` = a file is read.
    fn made_up(&self) -> Option<Preset> {
        self.file.is_none().then_some(self.preset)
    }

    fn is_visits(&self) -> bool {
        self.made_up() == Some(Preset::Visits)
    }

    fn topic(&self) -> Option<&str> {
        self.topic.as_deref().or_else(|| match self.made_up()? {
            Preset::Clicks => None,
            Preset::Frames => Some(frames::TOPIC),
            Preset::Visits => Some(visits::TOPIC),
        })
    }

    fn stream(&self) -> Option<&str> {
        self.stream.as_deref().or_else(|| match self.made_up()? {
            Preset::Clicks => None,
            Preset::Frames => Some(frames::STREAM),
            Preset::Visits => Some(visits::TOPIC),
        })
    }

    fn partitions(&self) -> i32 {
        self.partitions.unwrap_or(if self.is_visits() { visits::PARTITIONS } else { 1 })
    }

    /// Tells whether each message is told, as the producer of visits does.
    fn tells_each(&self) -> bool {
        self.is_visits() && self.rate.is_none()
    }
}

pub(super) async fn run(args: ProduceArgs) -> Result<(), Failure> {
    let mut source = Source::open(&args)?;
    let target = Target::open(&args, source.is_text()).await?;
    let bar = progress(source.total_bytes(), source.total_records());
    let began = Instant::now();
    let mut total = Report::default();
    let mut sent = 0_u64;
    let pace = if args.file.is_some() { args.rate.map(f64::from) } else { made::per_second(&args) };
    while let Some(chunk) = source.next(pace)? {
        let (first, lines, bytes) = (chunk.first_line, chunk.lines, chunk.read_bytes);
        let report = tokio::select! {
            report = target.send(chunk.body) => report?,
            _ = tokio::signal::ctrl_c() => break,
        };
        sent += lines as u64;
        if args.tells_each() {
            bar.suspend(|| (0..report.accepted).for_each(|_| eprintln!("Message sent.")));
        }
        gather(&mut total, report, first, &bar);
        bar.inc(if source.total_bytes().is_some() { bytes } else { lines as u64 });
        if let Some(pace) = pace {
            let due = began + Duration::from_secs_f64(sent as f64 / pace);
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
        }
    }
    bar.finish_and_clear();
    summary(&total, began.elapsed())
}

/// Adds a chunk's report; line numbers count from the start of the input.
fn gather(total: &mut Report, report: Report, first_line: usize, bar: &ProgressBar) {
    total.accepted += report.accepted;
    total.rejected_more += report.rejected_more;
    for mut rejection in report.rejected {
        rejection.line += first_line - 1;
        if total.rejected.len() < REJECTED_SHOWN {
            bar.suspend(|| eprintln!("line {}: {}", rejection.line, rejection.reason));
            total.rejected.push(rejection);
        } else {
            total.rejected_more += 1;
        }
    }
}

fn summary(total: &Report, took: Duration) -> Result<(), Failure> {
    let rejected = total.rejected.len() + total.rejected_more;
    let rate = total.accepted as f64 / took.as_secs_f64().max(0.001);
    println!(
        "{} accepted, {rejected} rejected, {:.1} s, {rate:.0} records/s",
        total.accepted,
        took.as_secs_f64()
    );
    match rejected {
        0 => Ok(()),
        n => Err(Failure::failed(anyhow::anyhow!("{n} records were rejected"))),
    }
}

/// A bar on a terminal, nothing otherwise.
fn progress(bytes: Option<u64>, records: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (length, template) = match (bytes, records) {
        (Some(bytes), _) => (Some(bytes), "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        (None, Some(records)) => (Some(records), "{bar:30} {human_pos}/{human_len} {per_sec} {eta}"),
        (None, None) => (None, "{spinner} {human_pos} records {per_sec} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    length.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style)
}

/// A chunk of lines as it is sent.
fn chunk(lines: Vec<u8>, first_line: usize, count: usize, read_bytes: u64) -> Chunk {
    Chunk { body: Bytes::from(lines), first_line, lines: count, read_bytes }
}
