//! What only the embedded log has: a directory, a process that may be killed, retention of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use windrow::{
    config::Sync,
    log::{
        From, GroupEvent, GroupOptions, Log, LogError, ReaderOptions, TopicSpec, Tp, WriterOptions,
        embedded::EmbeddedLog,
    },
};

use crate::{
    bed::{expect_end, numbered, outgoing, records, spec, take, values},
    eventually::within,
};

/// Where the child of a test works.
const CHILD: &str = "WINDROW_TEST_CHILD";

fn open(directory: &std::path::Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(directory, Sync::Commit).unwrap()
}

async fn commit(log: &dyn Log, records: Vec<windrow::log::Outgoing>) {
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    writer.send(records).await.unwrap();
    writer.commit().await.unwrap();
}

/// Runs this binary again, as another process in `directory`.
fn child(case: &str, directory: &std::path::Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("embedded_only::{case}"), "--ignored", "--nocapture"]);
    command.env(CHILD, directory).stdout(Stdio::piped()).spawn().unwrap()
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

#[test]
fn a_second_process_on_the_directory_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = child("holds_the_directory", directory.path());
    assert!(lines(&mut other).any(|line| line == "open"));
    let error = EmbeddedLog::open(directory.path(), Sync::Commit).err().unwrap().to_string();
    assert!(error.contains(&directory.path().display().to_string()), "{error}");
    assert!(error.contains("in use by another process"), "{error}");
    other.kill().unwrap();
    other.wait().unwrap();
    open(directory.path());
}

#[test]
#[ignore = "the other process of a_second_process_on_the_directory_is_told_so"]
fn holds_the_directory() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let _log = open(directory.as_ref());
    println!("\nopen");
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn after_kill_9_what_was_confirmed_is_there_and_nothing_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let tps = [Tp::new("t", 0), Tp::new("t", 1)];
    let mut confirmed = 0;
    for round in 1..=3 {
        let mut writing = child("writes_until_killed", directory.path());
        let wanted = confirmed + 20 * round;
        let reached = lines(&mut writing)
            .filter_map(|line| line.strip_prefix("committed ")?.parse::<i64>().ok())
            .find(|n| *n >= wanted);
        writing.kill().unwrap();
        writing.wait().unwrap();
        confirmed = reached.unwrap();

        let log = open(directory.path());
        let ends = log.ends(&tps).await.unwrap();
        let there = ends[0].high_watermark;
        // One record in each partition and one offset per transaction: all three agree, and none is behind.
        assert!(there >= confirmed, "{there} of {confirmed}");
        assert_eq!(ends[1].high_watermark, there);
        assert_eq!(log.committed("g", &tps[..1]).await.unwrap(), [Some(there)]);
        let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
        tps.iter().for_each(|tp| reader.assign(tp.clone(), From::Earliest));
        let got = take(&mut *reader, 2 * there as usize).await;
        for tp in &tps {
            let of_one: Vec<_> = got.iter().filter(|g| g.tp == *tp).cloned().collect();
            assert_eq!(values(&of_one), (0..there).map(|n| n.to_string()).collect::<Vec<_>>());
        }
        confirmed = there;
    }
}

#[tokio::test]
#[ignore = "the other process of after_kill_9_what_was_confirmed_is_there_and_nothing_is_torn"]
async fn writes_until_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let log = open(directory.as_ref());
    log.create_topic(&spec("t", 2)).await.unwrap();
    let tps = [Tp::new("t", 0), Tp::new("t", 1)];
    let options = GroupOptions { group: "g".to_owned(), instance_id: None, topics: vec!["t".into()] };
    let mut group = log.group(options).await.unwrap();
    assert!(matches!(group.next().await.unwrap(), GroupEvent::Assigned(_)));
    let mut writer = log.writer(WriterOptions { transactional_id: Some("w".to_owned()) }).await.unwrap();
    let start = log.ends(&tps).await.unwrap()[0].high_watermark as usize;
    for n in start.. {
        writer.begin().await.unwrap();
        writer.send(tps.iter().flat_map(|tp| numbered(tp, n..n + 1)).collect()).await.unwrap();
        let proof = group.membership().unwrap();
        writer.send_offsets("g", &[(tps[0].clone(), n as i64 + 1)], &proof).await.unwrap();
        writer.commit().await.unwrap();
        println!("\ncommitted {}", n + 1);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.join("data"), "/proc/windrow".into()] {
        let error = EmbeddedLog::open(&path, Sync::Commit).err().unwrap();
        assert!(matches!(error, LogError::Fatal(_)));
        let text = error.to_string();
        assert!(text.contains("cannot write") && text.contains(&path.display().to_string()), "{text}");
    }
}

#[tokio::test]
async fn records_go_by_age_and_by_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let aged = TopicSpec { retention: Some(Duration::from_secs(10)), ..spec("aged", 1) };
    let sized = TopicSpec { retention_bytes: Some(10_000), ..spec("sized", 1) };
    let kept = spec("kept", 1);
    let tps = ["aged", "sized", "kept"].map(|name| Tp::new(name, 0));
    for spec in [&aged, &sized, &kept] {
        log.create_topic(spec).await.unwrap();
    }
    for n in 0..20 {
        let text = "x".repeat(1_000);
        commit(&*log, tps.iter().map(|tp| outgoing(tp, None, Some(&text), 1_000 * n)).collect()).await;
    }
    let mut old = log.reader(ReaderOptions::default()).await.unwrap();
    tps.iter().for_each(|tp| old.assign(tp.clone(), From::Offset(0)));
    log.retain(15_000).await.unwrap();
    let ends = log.ends(&tps).await.unwrap();
    // Older than 15 s - 10 s goes; nine batches of 1,000 bytes and a head fit into 10,000.
    assert_eq!(ends.iter().map(|e| e.earliest).collect::<Vec<_>>(), [5, 11, 0]);
    assert!(ends.iter().all(|e| e.high_watermark == 20));

    let mut seen = Vec::new();
    within("gaps are told", async {
        while seen.len() < 15 + 9 + 20 {
            for answer in old.next().await.unwrap() {
                assert_eq!(answer.gap.is_some(), answer.from == 0 && answer.tp != tps[2], "{answer:?}");
                seen.extend(records(&answer));
            }
        }
    })
    .await;
    // A partition may become empty, and goes on where it was.
    log.retain(1_000_000).await.unwrap();
    commit(&*log, vec![outgoing(&tps[0], None, Some("new"), 2_000_000)]).await;
    drop((old, log));
    let log = open(directory.path());
    let ends = log.ends(&tps[..1]).await.unwrap();
    assert_eq!((ends[0].earliest, ends[0].high_watermark), (20, 21));
}

#[tokio::test]
async fn a_compacted_topic_keeps_the_newest_of_each_key() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    log.create_topic(&TopicSpec { compact: true, ..spec("t", 1) }).await.unwrap();
    let tp = Tp::new("t", 0);
    let refused =
        log.writer(WriterOptions { transactional_id: None }).await.unwrap().send(numbered(&tp, 0..1)).await;
    assert!(matches!(refused, Err(LogError::Refused { .. })), "no key: {refused:?}");
    let text = "x".repeat(20_000);
    let day_ms = 24 * 60 * 60 * 1_000;
    // Key by offset, the time of the pass, what is left. 97 deletes k1; a day later its tombstone goes, too.
    let phases: [(std::ops::Range<i64>, i64, i64, &[i64]); 2] =
        [(0..100, 3, 2_000, &[97, 98, 99]), (100..200, 1, 2_000 + day_ms, &[98, 199])];
    for (range, keys, now_ms, left) in phases {
        for n in range {
            let value = (n != 97).then_some(&text[..]);
            commit(&*log, vec![outgoing(&tp, Some(&format!("k{}", n % keys)), value, 1_000 + n)]).await;
        }
        log.retain(now_ms).await.unwrap();
        // Positions inside the holes are good ones.
        for from in [0, 1, 50, 98] {
            let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
            reader.assign(tp.clone(), From::Offset(from));
            let rest: Vec<i64> = left.iter().copied().filter(|offset| *offset >= from).collect();
            let got = take(&mut *reader, rest.len()).await;
            assert_eq!(got.iter().map(|g| g.offset).collect::<Vec<_>>(), rest, "from {from}");
            expect_end(&mut *reader).await;
        }
    }
    assert_eq!(log.ends(&[tp]).await.unwrap()[0].high_watermark, 200);
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let tp = Tp::new("t", 0);
    let log = open(directory.path());
    log.create_topic(&spec("t", 1)).await.unwrap();
    let info = log.topic("t").await.unwrap();
    commit(&*log, numbered(&tp, 0..10)).await;
    drop(log);
    let log = open(directory.path());
    assert_eq!(log.topic("t").await.unwrap(), info, "the same epoch");
    assert!(!log.create_topic(&spec("t", 1)).await.unwrap());
    commit(&*log, numbered(&tp, 10..20)).await;
    let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
    reader.assign(tp, From::Earliest);
    let got = take(&mut *reader, 20).await;
    assert_eq!(got.iter().map(|g| g.offset).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}
