//! The log under test, with topics and groups of its own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use windrow::log::{
    From, Group, GroupEvent, GroupOptions, Log, Outgoing, ReaderOptions, Topic, TopicSpec, Tp, Writer,
    WriterOptions, kafka::KafkaLog,
};

use crate::eventually::within;

pub(crate) fn address() -> String {
    std::env::var("WINDROW_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("WINDROW_TEST_KAFKA is not set: run `cargo xtask test`, or `cargo xtask kafka start` and set it to what that prints")
    })
}

pub(crate) async fn log() -> Arc<KafkaLog> {
    log_with(&[]).await
}

pub(crate) async fn log_with(properties: &[(&str, &str)]) -> Arc<KafkaLog> {
    let properties: BTreeMap<String, String> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    KafkaLog::connect(&[address()], &properties).await.unwrap()
}

pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{now}-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

pub(crate) async fn topic(log: &KafkaLog, partitions: i32) -> Topic {
    let spec = spec(&unique("k"), partitions);
    assert!(log.create_topic(&spec).await.unwrap());
    spec.name
}

pub(crate) fn spec(name: &str, partitions: i32) -> TopicSpec {
    let (retention, retention_bytes) = (None, None);
    TopicSpec { name: name.into(), partitions, replication: 1, compact: false, retention, retention_bytes }
}

pub(crate) fn options(group: &str, topic: &Topic, instance_id: Option<&str>) -> GroupOptions {
    let instance_id = instance_id.map(str::to_owned);
    GroupOptions { group: group.to_owned(), instance_id, topics: vec![topic.clone()] }
}

pub(crate) async fn event(group: &mut dyn Group) -> GroupEvent {
    within("an event of the group", group.next()).await.unwrap()
}

pub(crate) async fn assigned(group: &mut dyn Group, count: usize) {
    match event(group).await {
        GroupEvent::Assigned(tps) if tps.len() == count => group.answer(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn writer(log: &KafkaLog, id: &str) -> Box<dyn Writer> {
    let options = WriterOptions { transactional_id: Some(id.to_owned()) };
    within("a writer", log.writer(options)).await.unwrap()
}

pub(crate) fn record(tp: &Tp, value: &str) -> Outgoing {
    Outgoing {
        topic: tp.topic.clone(),
        partition: tp.partition,
        key: None,
        value: Some(value.to_owned().into()),
        headers: Vec::new(),
        timestamp_ms: 1_000,
    }
}

/// Commits one record.
pub(crate) async fn put(log: &KafkaLog, tp: &Tp, value: &str) {
    let mut writer = writer(log, &unique("w")).await;
    writer.begin().await.unwrap();
    writer.send(vec![record(tp, value)]).await.unwrap();
    within("commit", writer.commit()).await.unwrap();
}

/// Reads from the start until there are `count` values.
pub(crate) async fn read(log: &KafkaLog, tp: &Tp, count: usize) -> Vec<String> {
    let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
    reader.assign(tp.clone(), From::Earliest);
    let mut values = Vec::new();
    within("read", async {
        while values.len() < count {
            for answer in reader.next().await.unwrap() {
                for record in answer.batches.iter().flat_map(|batch| batch.records_from(answer.from)) {
                    values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                }
            }
        }
    })
    .await;
    values
}
