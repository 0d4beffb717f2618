//! `bench frames`: a million frames of 2.1 KB from a Kafka topic, through the views of `examples/frame-metrics`.
//!
//! **Floor** of the same topic: Fetch by hand, looking at nothing. **Invariant:** the configurations are those of the example, as
//! they stand; the clock runs from the program's start until its group has committed the end of the topic.
//! **Not here:** what the figures are (`tests/e2e/frame_metrics.rs`).

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use windrow_core::batch::{BatchBuilder, Compression};

use super::{
    child::Server,
    floor_kafka::{Broker, Look},
    meter::Meter,
    report::{Figure, Group, Report},
};
use crate::{
    cli::generate::Frames,
    log::{Log, TopicSpec, Tp, kafka::KafkaLog},
};

const VIEWS: &str = include_str!("../../../../examples/frame-metrics/windrow.toml");
const WITH_ECHO: &str = include_str!("../../../../examples/frame-metrics/with-echo.toml");

/// Different users, and the second of the first frame.
const USERS: u64 = 100_000;
const START_MS: i64 = 1_468_244_385_000;
/// Frames of one millisecond.
const PER_MS: u64 = 10;
/// Frames of one batch: a bit less than what the broker takes.
const PER_BATCH: u64 = 400;

/// Longest run of the program.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Time between two looks at the group's offset.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Arguments of `bench frames`.
#[derive(Debug, Clone, clap::Args)]
pub struct FramesArgs {
    /// Frames in the topic
    #[arg(long, default_value_t = 1_000_000)]
    pub records: u64,
    /// Kafka; one broker must lead every partition
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub kafka: String,
}

/// Fills a topic, measures the floor on it, then the example without and with its echo.
pub(super) async fn run(args: &FramesArgs) -> Result<Report> {
    let log: Arc<dyn Log> = KafkaLog::connect(std::slice::from_ref(&args.kafka), &BTreeMap::new()).await?;
    let topic = format!("windrow-frames-{}", std::process::id());
    create(&*log, &topic).await?;
    fill(args, &topic)?;
    let end = log.ends(&[Tp::new(topic.as_str(), 0)]).await?[0].high_watermark;
    let mut figures = vec![floor(args, &topic)?];
    for (name, configuration) in [("both views", VIEWS), ("and every frame sent on", WITH_ECHO)] {
        figures.push(deliver(args, &*log, (&topic, end), name, configuration).await?);
    }
    // Two gigabytes that nobody reads again.
    log.delete_topic(&topic).await?;
    Ok(Report {
        title: format!(
            "frames: {} JSON records of 2.1 KB in one partition, examples/frame-metrics",
            args.records
        ),
        unit: "records",
        groups: vec![Group { name: "kafka to kafka".into(), figures }],
    })
}

async fn create(log: &dyn Log, topic: &str) -> Result<()> {
    let spec = TopicSpec {
        name: topic.into(),
        partitions: 1,
        replication: -1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    ensure!(log.create_topic(&spec).await?, "topic {topic} exists already");
    Ok(())
}

/// Writes the frames, ten thousand to each second, as the original's producer did: uncompressed.
fn fill(args: &FramesArgs, topic: &str) -> Result<()> {
    let mut broker = Broker::connect(&args.kafka)?;
    let mut frames = Frames::new(1, USERS, Duration::ZERO);
    let (mut made, mut value) = (0, Vec::new());
    while made < args.records {
        let mut batch = BatchBuilder::new(Compression::None);
        for _ in 0..PER_BATCH.min(args.records - made) {
            value.clear();
            frames.push(START_MS + i64::try_from(made / PER_MS)?, &mut value);
            batch.push(START_MS, None, Some(&value), std::iter::empty::<(&str, Option<&[u8]>)>())?;
            made += 1;
        }
        broker.produce(topic, 0, &batch.build(0, -1, -1, -1, false))?;
    }
    Ok(())
}

fn floor(args: &FramesArgs, topic: &str) -> Result<Figure> {
    let mut broker = Broker::connect(&args.kafka)?;
    let meter = Meter::own()?;
    let walked = broker.read_all(topic, 1, Look::Count)?;
    let cost = meter.stop()?;
    ensure!(walked.records == args.records, "the topic holds {} records", walked.records);
    Ok(Figure::new("bare Fetch", walked.records, cost))
}

/// Runs the program until it has committed the whole topic.
async fn deliver(
    args: &FramesArgs,
    log: &dyn Log,
    (topic, end): (&str, i64),
    name: &'static str,
    configuration: &str,
) -> Result<Figure> {
    let directory = TempDir::new()?;
    let at = |file: &str| directory.path().join(file).display().to_string();
    let app = format!("{topic}-{}", name.len());
    fs::write(at("windrow.toml"), configuration)?;
    let settings = [
        format!("BOOTSTRAP_SERVERS={}", args.kafka),
        format!("CONSUMER_GROUP_ID={app}"),
        format!("INPUT_TOPIC={topic}"),
        format!("SEC_METRICS_OUTPUT_TOPIC={app}-seconds"),
        format!("MIN_METRICS_OUTPUT_TOPIC={app}-minutes"),
        format!("OUTPUT_STREAM={app}-out"),
        "PRINT_INTERVAL=0".to_owned(),
    ];
    fs::write(at("settings.env"), settings.join("\n"))?;
    let (config, env) = (at("windrow.toml"), at("settings.env"));
    let arguments = ["serve", "--config", &config, "--env-file", &env, "--role", "engine"];
    let mut server = Server::start(&arguments, None)?;
    let meter = Meter::of(server.pid())?;
    let deadline = Instant::now() + RUN_MAX;
    let tp = [Tp::new(topic, 0)];
    let mut first = None;
    loop {
        let done = log.committed(&app, &tp).await?[0].unwrap_or(0);
        if done > 0 {
            first.get_or_insert_with(|| meter.elapsed());
        }
        if done >= end {
            break;
        }
        ensure!(Instant::now() < deadline, "only {done} frames are committed after {RUN_MAX:?}");
        server.alive().context(name)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let cost = meter.stop()?;
    drop(server);
    log.delete_topic(&format!("{app}-out")).await?;
    Ok(Figure::new(name, args.records, cost)
        .note("first commit", format!("{:.1} s", first.unwrap_or_default().as_secs_f64()))
        .note("wall", format!("{:.2} s", cost.wall.as_secs_f64())))
}
