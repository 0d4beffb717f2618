//! `bench pipeline`: a Kafka topic through three windowed views into Kafka topics, by the real program in its own process.
//!
//! **Floors** of the same topic: Fetch by hand, and the same with a look for the two members that the views need.
//! **Invariant:** the clock runs from the program's start until its group has committed the end of the topic; CPU time is the
//! program's alone, without the broker's.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    child::Server,
    data::{self, Keyed},
    floor_kafka::{Broker, Look},
    log::{PARTITIONS, bare_write, create, partitions, purge},
    meter::Meter,
    report::{Figure, Group, Report},
    setup,
};
use crate::{
    log::{Ends, Log, kafka::KafkaLog},
    topics,
};

/// Longest run of one delivery mode.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Time between two looks at the group's offsets.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `bench pipeline`.
#[derive(Debug, Clone, clap::Args)]
pub struct PipelineArgs {
    /// Records in the topic
    #[arg(long, default_value_t = 5_000_000)]
    pub records: u64,
    /// Kafka; one broker must lead every partition
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub kafka: String,
}

/// One run of the program.
struct Case<'a> {
    name: &'static str,
    topic: &'a str,
    app: String,
    configuration: String,
}

/// Fills a topic, measures the floors on it, then the program in both delivery modes.
pub(super) async fn run(args: &PipelineArgs) -> Result<Report> {
    let log: Arc<dyn Log> = KafkaLog::connect(std::slice::from_ref(&args.kafka), &BTreeMap::new()).await?;
    let topic = format!("windrow-bench-{}", std::process::id());
    create(&*log, &topic).await?;
    bare_write(&args.kafka, &topic, args.records, Keyed::ByUser)?;
    let mut figures = vec![
        floor(args, &topic, "fetch and look", Look::TwoMembers)?,
        floor(args, &topic, "bare Fetch", Look::Count)?,
    ];
    for delivery in ["exactly_once", "at_least_once"] {
        let app = format!("{topic}-{}", delivery.replace('_', "-"));
        let configuration = setup::configuration(&app, &topic, &of_log(args, delivery));
        figures
            .push(deliver(args, &*log, &Case { name: delivery, topic: &topic, app, configuration }).await?);
    }
    purge(&*log, &topic).await?;
    let groups = vec![
        Group { name: "kafka to kafka".into(), figures },
        stages(args, &*log, &format!("{topic}-by-video")).await?,
    ];
    Ok(Report {
        title: format!(
            "pipeline: {} JSON records of {} bytes in {PARTITIONS} partitions, count per user in windows of {:?} minutes, changes emitted",
            args.records,
            data::VALUE_BYTES,
            setup::MINUTES,
        ),
        unit: "records",
        groups,
    })
}

/// The same 1,000 groups, folded where the key says they are, and shuffled. The local way is the floor.
async fn stages(args: &PipelineArgs, log: &dyn Log, topic: &str) -> Result<Group> {
    create(log, topic).await?;
    bare_write(&args.kafka, topic, args.records, Keyed::ByVideo)?;
    let mut figures = Vec::new();
    for (name, says_key) in [("local", true), ("two stages", false)] {
        let app = format!("{topic}-{}", name.replace(' ', "-"));
        let configuration = setup::grouped(&app, topic, &of_log(args, "exactly_once"), "video", says_key);
        figures.push(deliver(args, log, &Case { name, topic, app, configuration }).await?);
    }
    purge(log, topic).await?;
    Ok(Group { name: "1,000 groups, exactly once".into(), figures })
}

fn of_log(args: &PipelineArgs, delivery: &str) -> String {
    format!("kind = \"kafka\"\nbootstrap_servers = \"{}\"\ndelivery = \"{delivery}\"", args.kafka)
}

fn floor(args: &PipelineArgs, topic: &str, name: &str, look: Look) -> Result<Figure> {
    let mut broker = Broker::connect(&args.kafka)?;
    let meter = Meter::own()?;
    let walked = broker.read_all(topic, PARTITIONS, look)?;
    let cost = meter.stop()?;
    ensure!(walked.records == args.records, "the topic holds {} records", walked.records);
    Ok(Figure::new(name, walked.records, cost).note("digest", format!("{:x}", walked.digest)))
}

/// Runs the program until it has committed the whole topic.
async fn deliver(args: &PipelineArgs, log: &dyn Log, case: &Case<'_>) -> Result<Figure> {
    let Case { name, topic, app, configuration } = case;
    let directory = TempDir::new()?;
    let config = directory.path().join("windrow.toml");
    fs::write(&config, configuration)?;
    let config = config.display().to_string();
    let mut server = Server::start(&["serve", "--config", &config, "--role", "engine"], None)?;
    let meter = Meter::of(server.pid())?;
    let deadline = Instant::now() + RUN_MAX;
    let tps = partitions(topic);
    let mut first = None;
    loop {
        let done: i64 = log.committed(app, &tps).await?.into_iter().flatten().sum();
        if done > 0 {
            first.get_or_insert_with(|| meter.elapsed());
        }
        if u64::try_from(done)? >= args.records && is_merged(log, app).await? {
            break;
        }
        ensure!(Instant::now() < deadline, "only {done} records are committed after {RUN_MAX:?}");
        server.alive().context(*name)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let cost = meter.stop()?;
    let rows = rows_out(log, app).await?;
    Ok(Figure::new(*name, args.records, cost)
        .note("first commit", format!("{:.1} s", first.unwrap_or_default().as_secs_f64()))
        .note("rows", rows))
}

/// Tells whether the second stage of every view that has two has read all that the first wrote.
async fn is_merged(log: &dyn Log, app: &str) -> Result<bool> {
    for minutes in setup::MINUTES {
        let topic = topics::partials(app, &format!("clicks_{minutes}m"));
        if log.topic(&topic).await?.is_none() {
            continue;
        }
        let tps = partitions(&topic);
        let (ends, done) = (log.ends(&tps).await?, log.committed(app, &tps).await?);
        // The last offset is a transaction's marker.
        let is_behind = |(ends, done): (&Ends, &Option<i64>)| done.unwrap_or(0) + 1 < ends.high_watermark;
        if ends.iter().zip(&done).any(is_behind) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Counts what the views' channels hold, transaction markers included.
async fn rows_out(log: &dyn Log, app: &str) -> Result<i64> {
    let mut rows = 0;
    for minutes in setup::MINUTES {
        let tps = partitions(&format!("{app}.clicks_{minutes}m"));
        rows += log.ends(&tps).await?.iter().map(|ends| ends.high_watermark).sum::<i64>();
    }
    Ok(rows)
}
