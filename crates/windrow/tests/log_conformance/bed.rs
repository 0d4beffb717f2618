//! The test bed: a log of either kind, topics of its own, and short words for writing and reading.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tempfile::TempDir;
use windrow::{
    config::Sync,
    log::{
        Fetched, From, Log, Outgoing, Reader, ReaderOptions, Topic, TopicSpec, Tp, Writer, WriterOptions,
        embedded::EmbeddedLog, kafka::KafkaLog,
    },
};
use windrow_core::batch::{BatchBuilder, Compression};

use crate::eventually::within;

/// A log under test.
pub(crate) struct Bed {
    pub(crate) log: Arc<dyn Log>,
    kind: Kind,
}

enum Kind {
    Embedded(Arc<EmbeddedLog>, #[allow(dead_code, reason = "removed when dropped")] TempDir),
    /// Address and properties.
    Kafka(String, BTreeMap<String, String>),
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) tp: Tp,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
}

impl Bed {
    pub(crate) fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(&directory.path().join("data"), Sync::Commit).unwrap();
        Self { log: log.clone(), kind: Kind::Embedded(log, directory) }
    }

    pub(crate) async fn kafka() -> Self {
        let Ok(address) = std::env::var("WINDROW_TEST_KAFKA") else {
            panic!(
                "WINDROW_TEST_KAFKA is not set: run `cargo xtask test`, or `cargo xtask kafka start` and set it to \
                 the address that prints"
            );
        };
        Self::kafka_with(&address, BTreeMap::new()).await
    }

    /// A Kafka that is entered in some way.
    pub(crate) async fn kafka_with(address: &str, properties: BTreeMap<String, String>) -> Self {
        let log = connect(address, &properties).await;
        Self { log, kind: Kind::Kafka(address.to_owned(), properties) }
    }

    /// Makes a topic that no other test has.
    pub(crate) async fn topic(&self, partitions: i32) -> Topic {
        let spec = spec(&unique("t"), partitions);
        assert!(within("create a topic", self.log.create_topic(&spec)).await.unwrap());
        spec.name
    }

    /// Opens a transactional writer.
    pub(crate) async fn writer(&self, id: &str) -> Box<dyn Writer> {
        let options = WriterOptions { transactional_id: Some(id.to_owned()) };
        within("open a writer", self.log.writer(options)).await.unwrap()
    }

    /// Commits records in one transaction.
    pub(crate) async fn write(&self, records: Vec<Outgoing>) {
        let mut writer = self.writer(&unique("w")).await;
        within("write", async {
            writer.begin().await.unwrap();
            writer.send(records).await.unwrap();
            writer.commit().await.unwrap();
        })
        .await;
    }

    /// Writes values under a codec; in how many batches is not said.
    pub(crate) async fn write_compressed(&self, tp: &Tp, codec: Compression, values: &[String]) {
        match &self.kind {
            Kind::Embedded(log, _) => {
                let mut builder = BatchBuilder::new(codec);
                values.iter().for_each(|v| builder.push(1_000, None, Some(v.as_bytes()), []).unwrap());
                log.append(tp, builder.build(0, -1, -1, -1, false)).await.unwrap();
            }
            Kind::Kafka(address, properties) => {
                let mut properties = properties.clone();
                properties.insert("compression.type".to_owned(), format!("{codec:?}").to_lowercase());
                let log = connect(address, &properties).await;
                let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
                let records = values.iter().map(|v| outgoing(tp, None, Some(v), 1_000)).collect();
                within("write compressed", async {
                    writer.begin().await.unwrap();
                    writer.send(records).await.unwrap();
                    writer.commit().await.unwrap();
                })
                .await;
            }
        }
    }

    /// Opens a reader on partitions.
    pub(crate) async fn reader(&self, tps: &[Tp], from: From) -> Box<dyn Reader> {
        let mut reader = within("open a reader", self.log.reader(ReaderOptions::default())).await.unwrap();
        tps.iter().for_each(|tp| reader.assign(tp.clone(), from));
        reader
    }

    /// Reads from the start until there are `count` records.
    pub(crate) async fn read(&self, tps: &[Tp], count: usize) -> Vec<Got> {
        let mut reader = self.reader(tps, From::Earliest).await;
        take(&mut *reader, count).await
    }
}

/// Opens the Kafka log.
async fn connect(address: &str, properties: &BTreeMap<String, String>) -> Arc<dyn Log> {
    let address = [address.to_owned()];
    within("connect to Kafka", KafkaLog::connect(&address, properties)).await.unwrap()
}

/// Reads on until there are `count` records, and no more.
pub(crate) async fn take(reader: &mut dyn Reader, count: usize) -> Vec<Got> {
    let mut got = Vec::new();
    within(&format!("read {count} records"), async {
        while got.len() < count {
            for answer in reader.next().await.unwrap() {
                assert!(answer.gap.is_none(), "{answer:?}");
                got.extend(records(&answer));
            }
        }
    })
    .await;
    assert_eq!(got.len(), count, "too many: {got:?}");
    got
}

/// Takes the records out of an answer, and checks what holds for every answer.
pub(crate) fn records(answer: &Fetched) -> Vec<Got> {
    let start = answer.gap.map_or(answer.from, |gap| gap.to);
    assert!(answer.from <= answer.next && answer.next <= answer.high_watermark, "{answer:?}");
    assert!(answer.last_stable <= answer.high_watermark, "{answer:?}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut got: Vec<Got> = Vec::new();
    for record in answer.batches.iter().flat_map(|batch| batch.records_from(start)) {
        assert!(record.offset < answer.next, "{record:?} past {}", answer.next);
        assert!(got.last().is_none_or(|last| last.offset < record.offset), "offsets grow");
        got.push(Got {
            tp: answer.tp.clone(),
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(text),
            value: record.value.map(text),
            headers: record.headers.map(|(name, value)| (name.to_owned(), value.map(text))).collect(),
        });
    }
    got
}

/// Reads until the position is the high watermark; nothing may come.
pub(crate) async fn expect_end(reader: &mut dyn Reader) {
    within("reach the end", async {
        loop {
            for answer in reader.next().await.unwrap() {
                assert!(records(&answer).is_empty(), "unexpected: {answer:?}");
                if answer.next == answer.high_watermark {
                    return;
                }
            }
        }
    })
    .await;
}

pub(crate) fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec {
        name: name.into(),
        partitions,
        replication: -1,
        compact: false,
        retention: None,
        retention_bytes: None,
    }
}

pub(crate) fn outgoing(tp: &Tp, key: Option<&str>, value: Option<&str>, timestamp_ms: i64) -> Outgoing {
    Outgoing {
        topic: tp.topic.clone(),
        partition: tp.partition,
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
        headers: Vec::new(),
        timestamp_ms,
    }
}

/// Values `0..count` as records of one partition.
pub(crate) fn numbered(tp: &Tp, range: std::ops::Range<usize>) -> Vec<Outgoing> {
    range.map(|n| outgoing(tp, None, Some(&n.to_string()), 1_000 + n as i64)).collect()
}

pub(crate) fn values(got: &[Got]) -> Vec<&str> {
    got.iter().map(|g| g.value.as_deref().unwrap_or("null")).collect()
}

/// A name that neither another test nor a former run on the same broker has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{now}-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

/// Long enough that what must not happen would have, on an idle machine; a false pass is possible, a false alarm is not.
pub(crate) const QUIET: Duration = Duration::from_millis(700);
