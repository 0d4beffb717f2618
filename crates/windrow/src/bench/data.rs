//! Data: the clicks that every bench runs on, the same on every machine.
//!
//! **Out** JSON records of 177 bytes: 10,000 users, 1,000 videos, twenty minutes of event time, up to two seconds of
//! disorder; the key is the user.
//! **Invariant:** record `i` of `n` depends on nothing else.

use std::fmt::Write;

use anyhow::Result;
use bytes::Bytes;
use windrow_core::batch::{Batch, BatchBuilder, Compression, murmur2};

/// Event time of the first record.
pub(super) const START_MS: i64 = 1_700_000_040_000;
/// Event time that all records span.
pub(super) const SPAN_MS: i64 = 20 * 60_000;
/// The wall clock of the benches: when the last record came in.
pub(super) const NOW_MS: i64 = START_MS + SPAN_MS + DISORDER_MS;
/// Most that a record is older than one before it.
pub(super) const DISORDER_MS: i64 = 2_000;
/// Bytes of one value.
pub(super) const VALUE_BYTES: usize = 177;

/// Group keys.
pub(super) const USERS: u64 = 10_000;
const VIDEOS: u64 = 1_000;
const COUNTRIES: [&str; 8] = ["DE", "US", "FR", "BR", "IN", "JP", "GB", "PL"];
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0";

/// One record.
#[derive(Debug)]
pub(super) struct Click {
    pub(super) timestamp_ms: i64,
    pub(super) key: String,
    pub(super) video: String,
    pub(super) value: String,
}

/// Which member is the message key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyed {
    /// One of 10,000.
    ByUser,
    /// One of 1,000.
    ByVideo,
}

impl Click {
    /// Makes record `i` of `n`.
    pub(super) fn new(i: u64, n: u64) -> Self {
        let (x, y) = (mixed(2 * i), mixed(2 * i + 1));
        let on_time_ms = START_MS + DISORDER_MS + (i as f64 / n as f64 * SPAN_MS as f64) as i64;
        let timestamp_ms = on_time_ms - (x % DISORDER_MS as u64) as i64;
        let key = format!("u{:07}", (x >> 20) % USERS);
        let video = format!("v{:05}", (y >> 8) % VIDEOS);
        let mut value = format!(
            r#"{{"ts":{timestamp_ms},"user":"{key}","video":"{video}","org":{},"amount":{}.{:02},"country":"{}","agent":""#,
            10 + (y >> 20) % 90,
            10 + (y >> 30) % 90,
            (y >> 40) % 100,
            COUNTRIES[(y >> 50) as usize % COUNTRIES.len()],
        );
        let room = VALUE_BYTES.saturating_sub(value.len() + 2).min(AGENT.len());
        // Writing to a String cannot fail.
        let _ = write!(value, "{}\"}}", &AGENT[..room]);
        Self { timestamp_ms, key, video, value }
    }

    /// Returns the partition of the key, chosen as every Kafka client does.
    pub(super) fn partition(&self, partitions: i32) -> i32 {
        (murmur2(self.key.as_bytes()) & 0x7FFF_FFFF).cast_signed() % partitions
    }
}

/// Records of one batch: what a busy producer packs into a batch of the usual size.
pub(super) const PER_BATCH: u64 = 500;

/// Puts `n` records into batches of one partition.
pub(super) fn batches(n: u64) -> Result<Vec<Batch>> {
    batch_bytes(n)?.iter().map(|bytes| Ok(Batch::parse(bytes)?.0)).collect()
}

/// The same as bytes.
pub(super) fn batch_bytes(n: u64) -> Result<Vec<Bytes>> {
    let mut packer = Packer::default();
    (0..n).try_for_each(|i| packer.push(&Click::new(i, n)))?;
    packer.finish()
}

/// Puts `n` records into batches, each record in the partition of its key.
pub(super) fn partitioned(n: u64, partitions: i32, keyed: Keyed) -> Result<Vec<Vec<Bytes>>> {
    let mut packers: Vec<Packer> = (0..partitions).map(|_| Packer::default()).collect();
    for i in 0..n {
        let mut click = Click::new(i, n);
        if keyed == Keyed::ByVideo {
            click.key = std::mem::take(&mut click.video);
        }
        packers[click.partition(partitions) as usize].push(&click)?;
    }
    packers.into_iter().map(Packer::finish).collect()
}

/// Fills batches of one partition, one after the other.
#[derive(Default)]
struct Packer {
    open: Option<BatchBuilder>,
    full: Vec<Bytes>,
    next_offset: i64,
}

impl Packer {
    fn push(&mut self, click: &Click) -> Result<()> {
        let open = self.open.get_or_insert_with(|| BatchBuilder::new(Compression::None));
        open.push(click.timestamp_ms, Some(click.key.as_bytes()), Some(click.value.as_bytes()), [])?;
        if open.len() as u64 == PER_BATCH {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(batch) = self.open.take() {
            let base_offset = self.next_offset;
            self.next_offset += batch.len() as i64;
            self.full.push(batch.build(base_offset, -1, -1, -1, false));
        }
    }

    fn finish(mut self) -> Result<Vec<Bytes>> {
        self.close();
        Ok(self.full)
    }
}

/// Counts the records of some batches.
pub(super) fn count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.len() as u64).sum()
}

/// Mixes a number's bits (SplitMix64).
fn mixed(i: u64) -> u64 {
    let z = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_177_bytes_of_json() {
        for i in 0..1_000 {
            let click = Click::new(i, 1_000);
            assert_eq!(click.value.len(), VALUE_BYTES);
            let json: serde_json::Value = serde_json::from_str(&click.value).unwrap();
            assert_eq!(json["ts"], click.timestamp_ms);
            assert_eq!(json["user"], *click.key);
        }
        assert_eq!(batches(1_001).unwrap().iter().map(|b| b.len()).sum::<usize>(), 1_001);
    }
}
