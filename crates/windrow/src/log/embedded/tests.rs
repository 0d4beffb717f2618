//! What only shows from inside: waking, cancelling, bounds, compaction against a model.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::log::{Fetched, From, Gap, Outgoing, Topic};

struct Bed {
    log: Arc<EmbeddedLog>,
    tp: Tp,
    _directory: TempDir,
}

async fn bed(compact: bool) -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(directory.path(), config::Sync::Never).unwrap();
    let spec = TopicSpec {
        name: "t".into(),
        partitions: 2,
        replication: -1,
        compact,
        retention: None,
        retention_bytes: None,
    };
    log.create_topic(&spec).await.unwrap();
    Bed { log, tp: Tp::new("t", 0), _directory: directory }
}

fn record(tp: &Tp, key: &str, value: Option<&str>, timestamp_ms: i64) -> Outgoing {
    Outgoing {
        topic: tp.topic.clone(),
        partition: tp.partition,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
        headers: Vec::new(),
        timestamp_ms,
    }
}

async fn commit(log: &EmbeddedLog, records: Vec<Outgoing>) {
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.send(records).await.unwrap();
    writer.commit().await.unwrap();
}

async fn reader(log: &EmbeddedLog, tps: &[&Tp], from: From, options: ReaderOptions) -> Box<dyn Reader> {
    let mut reader = log.reader(options).await.unwrap();
    tps.iter().for_each(|tp| reader.assign((*tp).clone(), from));
    reader
}

fn offsets(answers: &[Fetched]) -> Vec<i64> {
    let of_one = |a: &Fetched| {
        let from = a.from;
        a.batches.iter().flat_map(|b| b.records_from(from)).map(|r| r.offset).collect::<Vec<_>>()
    };
    answers.iter().flat_map(of_one).collect()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_commit_not_by_the_clock() {
    let bed = bed(false).await;
    let options = ReaderOptions { wait_max: HOUR, ..ReaderOptions::default() };
    let mut reader = reader(&bed.log, &[&bed.tp], From::Earliest, options).await;
    assert!(reader.next().now_or_never().is_none(), "nothing to tell yet");
    let before = Instant::now();
    let (answers, ()) = tokio::join!(reader.next(), commit(&bed.log, vec![record(&bed.tp, "k", None, 1)]));
    assert_eq!(offsets(&answers.unwrap()), [0]);
    assert!(before.elapsed() < HOUR);
}

#[tokio::test]
async fn a_cancelled_next_loses_nothing() {
    let bed = bed(false).await;
    for n in 0..20 {
        commit(&bed.log, vec![record(&bed.tp, "k", None, n)]).await;
    }
    let options = ReaderOptions { partition_max_bytes: 1, ..ReaderOptions::default() };
    let mut reader = reader(&bed.log, &[&bed.tp], From::Earliest, options).await;
    let mut got = Vec::new();
    while got.len() < 20 {
        // Polled once and, if the fetch did not end that fast, dropped in the middle of it.
        let answers = match reader.next().now_or_never() {
            Some(answers) => answers,
            None => reader.next().await,
        };
        got.extend(offsets(&answers.unwrap()));
    }
    assert_eq!(got, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fetch_keeps_its_bounds_and_partitions_take_turns() {
    let bed = bed(false).await;
    let other = Tp::new("t", 1);
    for n in 0..10 {
        commit(&bed.log, vec![record(&bed.tp, "k", None, n), record(&other, "k", None, n)]).await;
    }
    // One batch at a time, whatever its size.
    let options = ReaderOptions { fetch_max_bytes: 1, ..ReaderOptions::default() };
    let mut reader = reader(&bed.log, &[&bed.tp, &other], From::Earliest, options).await;
    let mut turns = Vec::new();
    for _ in 0..20 {
        let answers = reader.next().await.unwrap();
        assert_eq!((answers.len(), answers[0].batches.len()), (1, 1));
        turns.push(answers[0].tp.partition);
    }
    assert!(turns.windows(2).all(|w| w[0] != w[1]), "{turns:?}");
}

#[tokio::test]
async fn a_position_past_the_end_is_told_and_reading_goes_on_there() {
    let bed = bed(false).await;
    commit(&bed.log, vec![record(&bed.tp, "k", None, 1)]).await;
    let mut reader = reader(&bed.log, &[&bed.tp], From::Offset(7), ReaderOptions::default()).await;
    let answers = reader.next().await.unwrap();
    assert_eq!((answers[0].gap, answers[0].next), (Some(Gap { from: 7, to: 1 }), 1));
    commit(&bed.log, vec![record(&bed.tp, "k", None, 1)]).await;
    assert_eq!(offsets(&reader.next().await.unwrap()), [1]);
}

#[tokio::test]
async fn a_missing_topic_is_told_until_it_is_there() {
    let bed = bed(false).await;
    let missing = Tp::new("missing", 0);
    let mut reader = reader(&bed.log, &[&missing], From::Earliest, ReaderOptions::default()).await;
    for _ in 0..2 {
        assert!(matches!(reader.next().await, Err(LogError::UnknownTopic(t)) if *t == *"missing"));
    }
    let mut writer = bed.log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    let sent = writer.send(vec![record(&missing, "k", None, 1)]).await;
    assert!(matches!(sent, Err(LogError::UnknownTopic(_))));
    let sent = writer.send(vec![record(&Tp::new("t", 2), "k", None, 1)]).await;
    assert_eq!(sent.unwrap_err().to_string(), "record refused by t: partition 2 of 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_get_offsets_without_holes_or_doubles() {
    let bed = bed(false).await;
    let writing = (0..50).map(|w| {
        let (log, tp) = (bed.log.clone(), bed.tp.clone());
        tokio::spawn(async move {
            for n in 0..4 {
                commit(&log, vec![record(&tp, &format!("{w}"), None, n); 3]).await;
            }
        })
    });
    futures_util::future::join_all(writing).await.into_iter().for_each(|done| done.unwrap());
    let mut reader = reader(&bed.log, &[&bed.tp], From::Earliest, ReaderOptions::default()).await;
    let answers = reader.next().await.unwrap();
    assert_eq!(offsets(&answers), (0..600).collect::<Vec<_>>());
    // A transaction lies together.
    for batch in answers.iter().flat_map(|a| &a.batches) {
        let mut keys = batch.records().map(|r| r.key.map(<[u8]>::to_vec));
        let first = keys.next();
        assert!(batch.len() == 3 && keys.all(|k| Some(k) == first));
    }
}

#[tokio::test]
async fn a_closed_log_says_so() {
    let bed = bed(false).await;
    let mut writer = bed.log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.send(vec![record(&bed.tp, "k", None, 1)]).await.unwrap();
    drop(bed.log);
    assert_eq!(writer.commit().await.unwrap_err().to_string(), "the log is closed");
}

#[tokio::test]
async fn a_member_that_is_dropped_has_left() {
    let bed = bed(false).await;
    let options = GroupOptions { group: "g".to_owned(), instance_id: None, topics: vec![Topic::from("t")] };
    let mut first = bed.log.group(options.clone()).await.unwrap();
    assert!(first.next().now_or_never().is_some());
    let mut second = bed.log.group(options.clone()).await.unwrap();
    assert!(second.next().now_or_never().is_none());
    drop(first);
    assert!(
        matches!(second.next().await.unwrap(), super::super::GroupEvent::Assigned(tps) if tps.len() == 2)
    );
}

#[tokio::test]
async fn what_is_no_batch_is_not_appended() {
    let bed = bed(false).await;
    for bytes in [&b""[..], &[0; 70]] {
        let result = bed.log.append(&bed.tp, Bytes::copy_from_slice(bytes)).await;
        assert!(matches!(result, Err(LogError::Refused { .. })), "{result:?}");
    }
}

#[test]
fn another_format_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedLog::open(directory.path(), config::Sync::Interval).unwrap());
    {
        let db = fjall::Database::builder(directory.path()).open().unwrap();
        db.keyspace("facts", fjall::KeyspaceCreateOptions::default).unwrap().insert("f", "9").unwrap();
    }
    let error = EmbeddedLog::open(directory.path(), config::Sync::Interval).err().unwrap().to_string();
    assert!(error.ends_with("has format 9, this version reads format 1"), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_harms_nothing() {
    let Bed { log, tp, _directory: directory } = bed(false).await;
    commit(&log, vec![record(&tp, "k", None, 1)]).await;
    drop(log);
    let log = EmbeddedLog::open_with(directory.path(), config::Sync::Commit, u64::MAX / 2).unwrap();
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.send(vec![record(&tp, "k", None, 2)]).await.unwrap();
    let error = writer.commit().await.unwrap_err();
    assert!(matches!(error, LogError::Retry(_)) && error.to_string().contains("make room"), "{error}");
    // Reading and purging go on.
    let mut all = reader(&log, &[&tp], From::Earliest, ReaderOptions::default()).await;
    assert_eq!(offsets(&all.next().await.unwrap()), [0]);
    log.delete_records(&tp, 1).await.unwrap();
    drop((writer, all, log));
    let log = EmbeddedLog::open(directory.path(), config::Sync::Commit).unwrap();
    commit(&log, vec![record(&tp, "k", None, 3)]).await;
    let ends = log.ends(&[tp]).await.unwrap();
    assert_eq!((ends[0].earliest, ends[0].high_watermark), (1, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Keys 0..6, a value or a tombstone, one commit per list; compacted after some of them.
    #[test]
    fn compaction_keeps_the_newest_at_its_offset(
        commits in prop::collection::vec((prop::collection::vec((0..6_u8, any::<bool>()), 1..6), prop::bool::weighted(0.2)), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bed = bed(true).await;
            let mut newest = BTreeMap::new();
            let mut end = 0;
            for (records, compacts) in &commits {
                let name = |key: u8| format!("k{key}");
                commit(&bed.log, records.iter().map(|(k, v)| record(&bed.tp, &name(*k), v.then_some("v"), 1)).collect()).await;
                for (key, value) in records {
                    newest.insert(name(*key).into_bytes(), (end, *value));
                    end += 1;
                }
                if *compacts {
                    let (state, tp) = (bed.log.state.clone(), bed.tp.clone());
                    let partition = state.topics.partition(&tp).unwrap();
                    compact::run(&state, &partition, 2).unwrap();
                    let stored = reader(&bed.log, &[&bed.tp], From::Earliest, ReaderOptions::default()).await.next().await.unwrap();
                    let left: BTreeMap<_, _> = stored[0].batches.iter().flat_map(Batch::records)
                        .map(|r| (r.key.unwrap().to_vec(), (r.offset, r.value.is_some()))).collect();
                    assert_eq!(left, newest);
                    assert_eq!(offsets(&stored).len(), newest.len(), "one record a key");
                    assert_eq!(stored[0].next, end);
                    let bytes: u64 = state.store.batches(partition.place, 0).unwrap().map(|b| b.unwrap().1.len() as u64).sum();
                    assert_eq!(partition.marks().bytes, bytes);
                }
            }
        });
    }
}
