//! `bench log`: writing and reading records, on the embedded log and on Kafka.
//!
//! **Floors:** for the embedded log the same bytes appended to a file, forced to disk as often, and read back; for Kafka
//! Produce and Fetch by hand.
//! **Not here:** what records mean.

use std::{collections::BTreeMap, fs::File, io::Write, sync::Arc};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    data::{self, Click, Keyed},
    floor_kafka::{Broker, Look, Walked, walk},
    meter::Meter,
    report::{Figure, Group, Report},
};
use crate::{
    config::Sync,
    log::{
        From, Log, Outgoing, ReaderOptions, TopicSpec, Tp, WriterOptions, embedded::EmbeddedLog,
        kafka::KafkaLog,
    },
};

/// Partitions of the topics.
pub(super) const PARTITIONS: i32 = 4;

/// Arguments of `bench log`.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// Records to write and read
    #[arg(long, default_value_t = 1_000_000)]
    pub records: u64,
    /// Records of one transaction
    #[arg(long, default_value_t = 10_000)]
    pub commit_every: usize,
    /// Also measure Kafka at HOST:PORT; one broker must lead every partition
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
}

/// Measures both logs, each beside its floors.
pub(super) async fn run(args: &LogArgs) -> Result<Report> {
    let mut groups = embedded(args).await?;
    if let Some(address) = &args.kafka {
        groups.extend(kafka(args, address).await?);
    }
    Ok(Report {
        title: format!(
            "log: {} records of {} bytes, transactions of {}, {PARTITIONS} partitions",
            args.records,
            data::VALUE_BYTES,
            args.commit_every,
        ),
        unit: "records",
        groups,
    })
}

async fn embedded(args: &LogArgs) -> Result<Vec<Group>> {
    let directory = TempDir::new()?;
    let (file_write, file_read) = file(args, &directory)?;
    let log: Arc<dyn Log> = EmbeddedLog::open(&directory.path().join("data"), Sync::Commit)?;
    let topic = "bench";
    let write = write(&*log, topic, args).await?;
    let read = read(&*log, topic, args.records).await?;
    Ok(vec![
        Group { name: "embedded, write".into(), figures: vec![file_write, write] },
        Group { name: "embedded, read".into(), figures: vec![file_read, read] },
    ])
}

async fn kafka(args: &LogArgs, address: &str) -> Result<Vec<Group>> {
    let log: Arc<dyn Log> = KafkaLog::connect(&[address.to_owned()], &BTreeMap::new()).await?;
    let topic = format!("windrow-bench-{}", std::process::id());
    let bare = format!("{topic}-bare");
    create(&*log, &bare).await?;
    let produce = bare_write(address, &bare, args.records, Keyed::ByUser)?;
    let write = write(&*log, &topic, args).await?;
    let mut broker = Broker::connect(address)?;
    let meter = Meter::own()?;
    let walked = broker.read_all(&bare, PARTITIONS, Look::Count)?;
    let fetch = Figure::new("bare Fetch", walked.records, meter.stop()?);
    let read = read(&*log, &bare, args.records).await?;
    for topic in [&topic, &bare] {
        purge(&*log, topic).await?;
    }
    Ok(vec![
        Group { name: "kafka, write".into(), figures: vec![produce, write] },
        Group { name: "kafka, read".into(), figures: vec![fetch, read] },
    ])
}

/// The floor of the embedded log: a file.
fn file(args: &LogArgs, directory: &TempDir) -> Result<(Figure, Figure)> {
    let path = directory.path().join("floor");
    let per_commit = args.commit_every.div_ceil(data::PER_BATCH as usize);
    let bytes = data::batch_bytes(args.records)?;
    let meter = Meter::own()?;
    let mut file = File::create(&path)?;
    for commit in bytes.chunks(per_commit) {
        commit.iter().try_for_each(|batch| file.write_all(batch))?;
        file.sync_data()?;
    }
    let write = Figure::new("append to a file", args.records, meter.stop()?);
    drop(bytes);
    let meter = Meter::own()?;
    let mut walked = Walked::default();
    walk(&std::fs::read(&path)?, Look::Count, &mut walked)?;
    let read = Figure::new("read a file", walked.records, meter.stop()?);
    ensure!(walked.records == args.records, "the file gave back {} records", walked.records);
    Ok((write, read))
}

/// The floor of writing to Kafka, without transactions.
pub(super) fn bare_write(address: &str, topic: &str, records: u64, keyed: Keyed) -> Result<Figure> {
    let partitions = data::partitioned(records, PARTITIONS, keyed)?;
    let mut broker = Broker::connect(address)?;
    let meter = Meter::own()?;
    for (partition, batches) in partitions.iter().enumerate() {
        for batch in batches {
            broker.produce(topic, i32::try_from(partition)?, batch)?;
        }
    }
    Ok(Figure::new("bare Produce", records, meter.stop()?).note("transactions", "none"))
}

/// Creates the topic of a bench; a topic that is there already is an error, as its records would be counted.
pub(super) async fn create(log: &dyn Log, topic: &str) -> Result<()> {
    let spec = TopicSpec {
        name: topic.into(),
        partitions: PARTITIONS,
        replication: -1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    ensure!(log.create_topic(&spec).await?, "topic {topic} exists already");
    Ok(())
}

/// Deletes all records of a topic.
pub(super) async fn purge(log: &dyn Log, topic: &str) -> Result<()> {
    let tps = partitions(topic);
    for (tp, ends) in tps.iter().zip(log.ends(&tps).await?) {
        log.delete_records(tp, ends.high_watermark).await?;
    }
    Ok(())
}

/// Names the partitions of a bench's topic.
pub(super) fn partitions(topic: &str) -> Vec<Tp> {
    (0..PARTITIONS).map(|p| Tp::new(topic, p)).collect()
}

async fn write(log: &dyn Log, topic: &str, args: &LogArgs) -> Result<Figure> {
    create(log, topic).await?;
    let topic: Arc<str> = topic.into();
    let mut epochs: Vec<Vec<Outgoing>> = Vec::new();
    for i in 0..args.records {
        if i.is_multiple_of(args.commit_every as u64) {
            epochs.push(Vec::with_capacity(args.commit_every));
        }
        epochs.last_mut().context("an epoch was begun")?.push(outgoing(&topic, Click::new(i, args.records)));
    }
    let mut writer = log.writer(WriterOptions { transactional_id: Some(topic.to_string()) }).await?;
    let meter = Meter::own()?;
    for epoch in epochs {
        writer.begin().await?;
        writer.send(epoch).await?;
        writer.commit().await?;
    }
    Ok(Figure::new("windrow", args.records, meter.stop()?).note("transactions", "exactly once"))
}

fn outgoing(topic: &Arc<str>, click: Click) -> Outgoing {
    Outgoing {
        topic: topic.clone(),
        partition: click.partition(PARTITIONS),
        key: Some(click.key.into()),
        value: Some(click.value.into()),
        headers: Vec::new(),
        timestamp_ms: click.timestamp_ms,
    }
}

async fn read(log: &dyn Log, topic: &str, records: u64) -> Result<Figure> {
    let mut reader = log.reader(ReaderOptions::default()).await?;
    let meter = Meter::own()?;
    partitions(topic).into_iter().for_each(|tp| reader.assign(tp, From::Earliest));
    let (mut count, mut bytes) = (0, 0);
    while count < records {
        for fetched in reader.next().await? {
            for record in fetched.batches.iter().flat_map(|batch| batch.records_from(fetched.from)) {
                bytes += record.value.map_or(0, <[u8]>::len);
                count += 1;
            }
        }
    }
    let cost = meter.stop()?;
    ensure!(bytes as u64 == records * data::VALUE_BYTES as u64, "read {bytes} bytes of values");
    Ok(Figure::new("windrow", count, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_embedded_log_gives_back_every_record_beside_its_floor() {
        let args = LogArgs { records: 5_000, commit_every: 1_000, kafka: None };
        let report = run(&args).await.unwrap();
        let counts: Vec<_> =
            report.groups.iter().flat_map(|group| group.figures.iter().map(|f| f.count)).collect();
        assert_eq!(counts, [5_000; 4]);
    }
}
