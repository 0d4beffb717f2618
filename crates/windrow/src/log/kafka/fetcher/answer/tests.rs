//! Answers as a broker gives them, written as words, read as a read_committed reader does.
//!
//! `10+3` three records from offset 10; `/p7` in a transaction of producer 7; `commit7`, `abort7` its marker; `!` a flipped byte;
//! `~` cut in the middle.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, EpochEndOffset, PartitionData};
use windrow_core::batch::{BatchBuilder, Compression, ControlType, control_batch};

use super::read;
use crate::log::{LogError, Tp};

fn batch(word: &str) -> Bytes {
    let (word, flaw) = match word.strip_suffix(['!', '~']) {
        Some(rest) => (rest, word.chars().last()),
        None => (word, None),
    };
    let (at, what) = word.split_once('+').unwrap();
    let at: i64 = at.parse().unwrap();
    let bytes = if let Some(producer) = what.strip_prefix("commit") {
        control_batch(at, producer.parse().unwrap(), 0, ControlType::Commit, 1)
    } else if let Some(producer) = what.strip_prefix("abort") {
        control_batch(at, producer.parse().unwrap(), 0, ControlType::Abort, 1)
    } else {
        let (count, producer) = what.split_once("/p").unwrap_or((what, "-1"));
        let producer: i64 = producer.parse().unwrap();
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..count.parse::<usize>().unwrap() {
            builder.push(1, None, Some(b"v"), []).unwrap();
        }
        builder.build(at, producer, 0, 0, producer >= 0)
    };
    match flaw {
        Some('~') => bytes.slice(..bytes.len() / 2),
        Some(_) => {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            bytes.into()
        }
        None => bytes,
    }
}

/// Reads batches at a position, with aborted transactions as (producer, first offset); shows visible offsets and the next position.
fn shown(position: i64, words: &str, aborted: &[(i64, i64)]) -> String {
    let records: BytesMut = words.split_whitespace().flat_map(batch).collect();
    let aborted = aborted.iter().map(|&(producer, first)| {
        AbortedTransaction::default().with_producer_id(producer.into()).with_first_offset(first)
    });
    let data = PartitionData::default()
        .with_high_watermark(100)
        .with_last_stable_offset(90)
        .with_aborted_transactions(Some(aborted.collect()))
        .with_records(Some(records.freeze()));
    let reading = read(&Tp::new("t", 0), position, data);
    let fetched = reading.fetched;
    assert_eq!((fetched.from, fetched.high_watermark, fetched.last_stable), (position, 100, 90));
    let offsets: Vec<i64> =
        fetched.batches.iter().flat_map(|b| b.records_from(position)).map(|record| record.offset).collect();
    let broken = match reading.broken {
        None => String::new(),
        Some(LogError::Corrupt { offset, .. }) => format!(" broken at {offset}"),
        Some(other) => panic!("{other}"),
    };
    format!("{offsets:?} next {}{broken}", fetched.next)
}

#[test]
fn committed_records_are_seen_and_the_position_passes_everything_else() {
    for (position, words, aborted, expected) in [
        (0, "", &[][..], "[] next 0"),
        (0, "0+2 2+2", &[], "[0, 1, 2, 3] next 4"),
        (0, "0+2/p7 2+commit7", &[], "[0, 1] next 3"),
        (0, "0+2/p7 2+abort7", &[(7, 0)], "[] next 3"),
        // The producer's next transaction is another one.
        (0, "0+1/p7 1+abort7 2+1/p7 3+commit7", &[(7, 0)], "[2] next 4"),
        (0, "0+1/p7 1+abort7 2+1/p7 3+abort7 4+1", &[(7, 0), (7, 2)], "[4] next 5"),
        // Producers interleave, and so does plain data.
        (0, "0+1/p7 1+1/p8 2+1 3+abort7 4+1/p8 5+commit8", &[(7, 0)], "[1, 2, 4] next 6"),
        // The list comes in any order.
        (0, "0+1/p7 1+abort7 2+1/p8 3+abort8 4+1", &[(8, 2), (7, 0)], "[4] next 5"),
        // The position lies inside the aborted transaction, and inside a batch.
        (1, "0+3/p7 3+abort7 4+2", &[(7, 0)], "[4, 5] next 6"),
        (3, "2+3", &[], "[3, 4] next 5"),
        // A batch wholly below the position moves nothing.
        (3, "0+2", &[], "[] next 3"),
        (3, "0+2 3+1", &[], "[3] next 4"),
    ] {
        assert_eq!(shown(position, words, aborted), expected, "{words:?} at {position}");
    }
}

#[test]
fn a_broken_batch_ends_the_reading_in_front_of_it_and_a_cut_one_waits() {
    for (words, expected) in [
        ("0+2 2+2~", "[0, 1] next 2"),
        ("0+2~", "[] next 0"),
        ("0+2 2+2! 4+1", "[0, 1] next 2 broken at 2"),
        ("0+2!", "[] next 0 broken at 0"),
    ] {
        assert_eq!(shown(0, words, &[]), expected, "{words:?}");
    }
}

#[test]
fn a_log_cut_below_the_position_is_told_as_a_gap() {
    for (end, to) in [(5, 5), (0, 0), (12, 10)] {
        let epoch = EpochEndOffset::default().with_epoch(3).with_end_offset(end);
        let reading = read(&Tp::new("t", 0), 10, PartitionData::default().with_diverging_epoch(epoch));
        let gap = reading.fetched.gap.unwrap();
        assert_eq!((gap.from, gap.to, reading.fetched.next), (10, to, to), "cut at {end}");
    }
}
