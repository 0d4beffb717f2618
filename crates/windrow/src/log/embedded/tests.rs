//! What only shows from inside: waking, cancelling, bounds, compaction against a model.

use std::{collections::BTreeMap, path::PathBuf};

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

/// Reads the first partition from its start, up to what it held before.
async fn read_whole(directory: &Path) -> Result<Vec<String>> {
    let log = EmbeddedLog::open(directory, config::Sync::Never)?;
    let tp = Tp::new("t", 0);
    let mut reader = reader(&log, &[&tp], From::Earliest, ReaderOptions::default()).await;
    let mut values = Vec::new();
    while values.len() < 8 {
        for item in reader.next().await? {
            assert_eq!(item.gap, None, "damage is no gap");
            let records = item.batches.iter().flat_map(|batch| batch.records_from(item.from));
            values.extend(records.map(|record| String::from_utf8_lossy(record.value.unwrap()).into_owned()));
            if item.batches.is_empty() {
                return Ok(values);
            }
        }
    }
    Ok(values)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Whatever byte of whatever table is turned over: what is read is what was written, or it is an error
/// that names the directory.
#[tokio::test]
async fn a_damaged_table_is_an_error_and_never_other_records() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(directory.path(), config::Sync::Commit).unwrap();
    let spec = TopicSpec {
        name: "t".into(),
        partitions: 1,
        replication: -1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    log.create_topic(&spec).await.unwrap();
    let tp = Tp::new("t", 0);
    // Small batches lie with their keys, large ones apart from them.
    let values: Vec<String> =
        (0..8).map(|n| format!("{n}{}", "xyz".repeat(if n % 2 == 0 { 10 } else { 1_500 }))).collect();
    for value in &values {
        commit(&log, vec![record(&tp, "k", Some(value), 1)]).await;
    }
    {
        let open = log.state.store.database.read().unwrap();
        let open = open.as_ref().unwrap();
        open.records.rotate_memtable_and_wait().unwrap();
        open.facts.rotate_memtable_and_wait().unwrap();
    }
    drop(log);
    assert_eq!(read_whole(directory.path()).await.unwrap(), values);
    let is_table = |path: &PathBuf| {
        path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tables" | "blobs")))
    };
    let tables: Vec<_> = files_below(directory.path()).into_iter().filter(is_table).collect();
    assert!(tables.len() >= 4, "{tables:?}");
    let (mut refused, mut harmless) = (0, 0);
    for table in &tables {
        let whole = std::fs::read(table).unwrap();
        for at in (0..whole.len()).step_by((whole.len() / 25).max(1)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(table, bytes).unwrap();
            match read_whole(directory.path()).await {
                Ok(read) => {
                    assert_eq!(read, values, "{} byte {at}", table.display());
                    harmless += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        text.contains(&*directory.path().to_string_lossy()),
                        "{} byte {at}: {text}",
                        table.display()
                    );
                    refused += 1;
                }
            }
            std::fs::write(table, &whole).unwrap();
        }
    }
    // Numbers that nothing depends on here.
    assert!(refused > 10 * harmless, "{refused} refused, {harmless} harmless");
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
async fn a_full_disk_refuses_writes_harms_nothing_and_is_over_without_a_restart() {
    let bed = bed(false).await;
    let database = &bed.log.state.store.database;
    let health = bed.log.health();
    commit(&bed.log, vec![record(&bed.tp, "k", None, 1)]).await;
    database.set_room_min(u64::MAX / 2);
    let mut writer = bed.log.writer(WriterOptions { transactional_id: Some("w".to_owned()) }).await.unwrap();
    writer.begin().await.unwrap();
    writer.send(vec![record(&bed.tp, "k", None, 2)]).await.unwrap();
    let error = writer.commit().await.unwrap_err();
    assert!(matches!(error, LogError::Retry(_)) && error.to_string().contains("make room"), "{error}");
    assert!(health.borrow().as_ref().is_some_and(|why| why.contains("make room")), "{health:?}");
    let spec = TopicSpec {
        name: "u".into(),
        partitions: 1,
        replication: -1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    assert!(matches!(bed.log.create_topic(&spec).await, Err(LogError::Retry(_))), "no topic either");
    // Reading and purging go on.
    let mut all = reader(&bed.log, &[&bed.tp], From::Earliest, ReaderOptions::default()).await;
    assert_eq!(offsets(&all.next().await.unwrap()), [0]);
    bed.log.delete_records(&bed.tp, 1).await.unwrap();
    // There is room again: the same writer goes on, and nothing of what was refused is there.
    database.set_room_min(0);
    writer.begin().await.unwrap();
    writer.send(vec![record(&bed.tp, "k", None, 3)]).await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(*health.borrow(), None);
    assert_eq!(offsets(&all.next().await.unwrap()), [1]);
    let ends = bed.log.ends(std::slice::from_ref(&bed.tp)).await.unwrap();
    assert_eq!((ends[0].earliest, ends[0].high_watermark), (1, 2));
}

#[tokio::test]
async fn a_full_disk_is_noticed_to_be_over_when_nobody_writes() {
    let bed = bed(false).await;
    let mut health = bed.log.health();
    let database = &bed.log.state.store.database;
    database.set_room_min(u64::MAX / 2);
    assert!(database.room(1).is_err());
    database.set_room_min(0);
    let healthy = health.wait_for(Option::is_none);
    tokio::time::timeout(Duration::from_secs(60), healthy).await.expect("told by itself").unwrap();
}

/// After each: what the writer is told, and how many records are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_answered_by_what_the_disk_holds() {
    use database::Fault::{After, Before, Reopen};
    let cases: [(&[database::Fault], bool); 4] = [
        (&[Before], false),
        (&[After], true),
        (&[Before, Reopen, Reopen], false),
        (&[After, Reopen, Reopen], true),
    ];
    let bed = bed(false).await;
    let options = GroupOptions { group: "g".to_owned(), instance_id: None, topics: vec!["t".into()] };
    let mut group = bed.log.group(options).await.unwrap();
    assert!(matches!(group.next().await.unwrap(), super::super::GroupEvent::Assigned(_)));
    let member = group.membership().unwrap();
    let mut writer = bed.log.writer(WriterOptions { transactional_id: Some("w".to_owned()) }).await.unwrap();
    let mut all = reader(&bed.log, &[&bed.tp], From::Earliest, ReaderOptions::default()).await;
    let tps = std::slice::from_ref(&bed.tp);
    let mut there = 0;
    for (faults, lands) in cases {
        for faults in [faults, &[]] {
            bed.log.state.store.database.faults.lock().extend(faults);
            writer.begin().await.unwrap();
            writer.send(vec![record(&bed.tp, "k", None, there)]).await.unwrap();
            writer.send_offsets("g", &[(bed.tp.clone(), there + 1)], &member).await.unwrap();
            let told = writer.commit().await;
            let landed = faults.is_empty() || lands;
            assert_eq!(told.is_ok(), landed, "{faults:?}: {told:?}");
            assert!(told.is_ok() || matches!(told, Err(LogError::Retry(_))), "{faults:?}: {told:?}");
            assert!(bed.log.state.store.database.faults.lock().is_empty(), "{faults:?}");
            there += i64::from(landed);
            // The reader and the member are the ones from before.
            assert_eq!(bed.log.ends(tps).await.unwrap()[0].high_watermark, there, "{faults:?}");
            let position = bed.log.committed("g", tps).await.unwrap()[0];
            assert_eq!(position.unwrap_or(0), there, "{faults:?}");
            if landed {
                assert_eq!(offsets(&all.next().await.unwrap()), [there - 1], "{faults:?}");
            }
        }
    }
    drop((writer, all, group));
    let Bed { log, tp, _directory: directory } = bed;
    drop(log);
    let log = EmbeddedLog::open(directory.path(), config::Sync::Commit).unwrap();
    let mut all = reader(&log, &[&tp], From::Earliest, ReaderOptions::default()).await;
    assert_eq!(offsets(&all.next().await.unwrap()), (0..there).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_that_closes_does_not_wait_for_its_disk() {
    let bed = bed(false).await;
    let mut writer = bed.log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    let mut health = bed.log.health();
    let endless = std::iter::once(database::Fault::Before).chain([database::Fault::Reopen; 100_000]);
    bed.log.state.store.database.faults.lock().extend(endless);
    writer.send(vec![record(&bed.tp, "k", None, 1)]).await.unwrap();
    let writing = tokio::spawn(async move { writer.commit().await });
    health.wait_for(Option::is_some).await.unwrap();
    let log = bed.log;
    tokio::task::spawn_blocking(move || drop(log)).await.unwrap();
    let error = writing.await.unwrap().unwrap_err();
    assert!(
        matches!(error, LogError::Fatal(_)) && error.to_string().contains("told when it opens"),
        "{error}"
    );
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
