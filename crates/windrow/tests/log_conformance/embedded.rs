//! What only the embedded log has: a directory, a process that may be killed, retention of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
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

/// The limit on a file's size is a real disk fault that needs no rights: the write stops in the middle of a batch.
#[tokio::test]
async fn a_write_that_stops_half_way_is_undone_and_the_same_process_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    log.create_topic(&spec("t", 2)).await.unwrap();
    // The second opening cuts the file that was made large in advance: from then on it grows.
    drop(log);
    let mut writing = child("writes_past_a_limit", directory.path());
    let said: Vec<_> = lines(&mut writing).filter(|line| line.starts_with("saw ")).collect();
    assert!(writing.wait().unwrap().success(), "{said:?}");
    let [refused, told, after] = &said[..] else { panic!("{said:?}") };
    assert!(refused.contains("no space left") && refused.contains("nothing of this transaction"), "{said:?}");
    assert!(told.contains("Some(") && after.contains("None"), "{said:?}");
    let count: i64 = after.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap();
    assert!(count > 2, "{said:?}");

    let log = open(directory.path());
    let tps = [Tp::new("t", 0), Tp::new("t", 1)];
    let ends = log.ends(&tps).await.unwrap();
    assert_eq!(ends.iter().map(|e| e.high_watermark).collect::<Vec<_>>(), [count; 2], "whole transactions");
    let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
    tps.iter().for_each(|tp| reader.assign(tp.clone(), From::Earliest));
    assert_eq!(take(&mut *reader, 2 * count as usize).await.len(), 2 * count as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other process of a_write_that_stops_half_way_is_undone_and_the_same_process_goes_on"]
async fn writes_past_a_limit() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let log = open(directory.as_ref());
    let tps = [Tp::new("t", 0), Tp::new("t", 1)];
    let limit = |bytes: libc::rlim_t| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: plain system call with a struct of ours.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    };
    // Text that does not compress.
    let mut state = 1_u64;
    let mut noise = move || {
        let mut text = String::new();
        while text.len() < 100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:016x}", state ^ (state >> 29)));
        }
        text
    };
    let mut writer = log.writer(WriterOptions { transactional_id: Some("w".to_owned()) }).await.unwrap();
    let mut count = 0;
    limit(1 << 20);
    let mut refused = None;
    for _ in 0..100 {
        writer.begin().await.unwrap();
        writer.send(tps.iter().map(|tp| outgoing(tp, None, Some(&noise()), 1)).collect()).await.unwrap();
        if let Err(error) = writer.commit().await {
            refused = Some(error);
            break;
        }
        count += 1;
    }
    println!("\nsaw {:?}", refused.unwrap());
    println!("saw {:?}", *log.health().borrow());
    assert_eq!(log.ends(&tps).await.unwrap()[0].high_watermark, count);
    limit(libc::RLIM_INFINITY);
    writer.begin().await.unwrap();
    writer.send(tps.iter().map(|tp| outgoing(tp, None, Some(&noise()), 1)).collect()).await.unwrap();
    writer.commit().await.unwrap();
    println!("saw {} {:?}", count + 1, *log.health().borrow());
}

/// Copies the directory, spoils the copy's newest journal, and opens it.
async fn reopened(directory: &Path, spoil: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<String>, LogError> {
    let copy = tempfile::tempdir().unwrap();
    copy_all(directory, copy.path());
    let journal = journal_of(copy.path());
    let mut bytes = std::fs::read(&journal).unwrap();
    spoil(&mut bytes);
    std::fs::write(&journal, bytes).unwrap();
    let log = EmbeddedLog::open(copy.path(), Sync::Commit)?;
    let tps = [Tp::new("t", 0), Tp::new("t", 1)];
    let ends = log.ends(&tps).await?;
    assert_eq!(ends[0].high_watermark, ends[1].high_watermark, "a transaction is whole or not at all");
    let count = ends[0].high_watermark as usize;
    let mut got = Vec::new();
    if count > 0 {
        let mut reader = log.reader(ReaderOptions::default()).await?;
        tps.iter().for_each(|tp| reader.assign(tp.clone(), From::Earliest));
        got = take(&mut *reader, 2 * count).await;
    }
    // It takes new records where the old ones end.
    commit(&*log, numbered(&tps[0], count..count + 1)).await;
    let of_first: Vec<_> = got.into_iter().filter(|g| g.tp == tps[0]).collect();
    Ok(values(&of_first).into_iter().map(str::to_owned).collect())
}

fn journal_of(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "jnl")).max().unwrap()
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

const TRANSACTIONS: usize = 12;

/// Twelve transactions of two partitions in a directory; returns where in the journal each ends.
async fn filled(directory: &Path) -> Vec<usize> {
    let log = open(directory);
    log.create_topic(&spec("t", 2)).await.unwrap();
    drop(log);
    let mut ends = Vec::new();
    for n in 0..TRANSACTIONS {
        let log = open(directory);
        let tps = [Tp::new("t", 0), Tp::new("t", 1)];
        commit(&*log, tps.iter().flat_map(|tp| numbered(tp, n..n + 1)).collect()).await;
        drop(log);
        ends.push(std::fs::metadata(journal_of(directory)).unwrap().len() as usize);
    }
    ends
}

fn first(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_journal_torn_anywhere_gives_exactly_the_whole_transactions_before() {
    let directory = tempfile::tempdir().unwrap();
    let ends = filled(directory.path()).await;
    let cuts = (ends[TRANSACTIONS - 3]..=ends[TRANSACTIONS - 1]).step_by(29).chain(ends.iter().copied());
    for cut in cuts {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        for tail in [&b""[..], &[0; 100], &[0xff; 100], &[1; 100], b"\x01\x02\x00\x00\x00FJL\x03"] {
            let got = reopened(directory.path(), |bytes| {
                bytes.truncate(cut);
                bytes.extend_from_slice(tail);
            })
            .await;
            assert_eq!(got.unwrap(), first(whole), "cut at {cut}, then {tail:?}");
        }
    }
}

#[tokio::test]
async fn a_garbled_last_transaction_is_cut_off_and_an_earlier_one_is_an_error_with_a_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let ends = filled(directory.path()).await;
    let start = ends[TRANSACTIONS - 4];
    for at in (start..ends[TRANSACTIONS - 1]).step_by(5) {
        let broken = ends.iter().position(|end| at < *end).unwrap();
        let got = reopened(directory.path(), |bytes| bytes[at] ^= 0x55).await;
        // A batch's number (bytes 5 to 12) is under no sum: a larger one is seen where the next is smaller, and does no harm
        // where none follows.
        let is_number = (5..13).contains(&(at - ends[broken - 1]));
        if broken == TRANSACTIONS - 1 {
            let got = got.unwrap();
            assert!(got == first(broken) || is_number && got == first(broken + 1), "byte {at}: {got:?}");
            continue;
        }
        let error = got.unwrap_err().to_string();
        let at_place = |place: usize| error.contains(&format!(".jnl is damaged at byte {place} "));
        assert!(at_place(ends[broken - 1]) || is_number && at_place(ends[broken]), "byte {at}: {error}");
        assert!(error.contains("truncate -s"), "byte {at}: {error}");
    }
    // The way out works.
    let keep = ends[5];
    let got = reopened(directory.path(), |bytes| {
        bytes[keep + 20] ^= 1;
        bytes.truncate(keep);
    });
    assert_eq!(got.await.unwrap(), first(6));
}

#[tokio::test]
async fn the_journal_of_a_process_that_lives_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    log.create_topic(&spec("t", 1)).await.unwrap();
    let before = std::fs::metadata(journal_of(directory.path())).unwrap().len();
    assert!(EmbeddedLog::open(directory.path(), Sync::Commit).is_err());
    assert_eq!(std::fs::metadata(journal_of(directory.path())).unwrap().len(), before);
    commit(&*log, numbered(&Tp::new("t", 0), 0..3)).await;
    drop(log);
    assert_eq!(open(directory.path()).ends(&[Tp::new("t", 0)]).await.unwrap()[0].high_watermark, 3);
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
