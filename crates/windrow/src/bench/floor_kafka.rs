//! The floor of talking to Kafka: Produce and Fetch by hand over one blocking socket, record batches walked in place.
//!
//! **In** one broker that leads every partition. **Out** acknowledged batches; counted records.
//! **Invariant:** nothing is done that the protocol does not demand: no metadata, no groups, no CRC on reading, no
//! retries but for a topic just made.
//! It is a limit to compare with, not a client.
//!
//! Source: the Kafka protocol guide; Produce version 7, Fetch version 4.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use memchr::{memchr, memmem};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;
const NO_LEADER: i16 = 5;
const NOT_LEADER: i16 = 6;
/// Bytes before the records of a batch, and where in it some fields are.
const BATCH_HEADER: usize = 61;
const BATCH_PREFIX: usize = 12;
const BATCH_LAST_DELTA: usize = 23;
const BATCH_COUNT: usize = 57;
const FETCH_MAX_BYTES: i32 = 8 << 20;
const PARTITION_MAX_BYTES: i32 = 2 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to one broker.
#[derive(Debug)]
pub(super) struct Broker {
    socket: TcpStream,
    answer: Vec<u8>,
}

/// What reading does with each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Count,
    /// Looks for `ts` and `user`, trusting the bytes blindly.
    TwoMembers,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) records: u64,
    /// Folded out of what was looked at, so that the compiler cannot leave the looking out.
    pub(super) digest: u64,
}

impl Broker {
    /// Connects to `host:port`.
    pub(super) fn connect(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("connect to Kafka at {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { socket, answer: Vec::new() })
    }

    /// Appends one batch to one partition and waits for all replicas.
    pub(super) fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Result<()> {
        let mut body = Vec::with_capacity(batch.len() + 64);
        body.extend((-1_i16).to_be_bytes()); // no transaction
        body.extend((-1_i16).to_be_bytes()); // acks of all replicas
        body.extend(i32::try_from(TIMEOUT.as_millis())?.to_be_bytes());
        put_topic(&mut body, topic, 1)?;
        body.extend(partition.to_be_bytes());
        body.extend(i32::try_from(batch.len())?.to_be_bytes());
        // A producer's batch begins at offset 0, which no CRC covers; the broker gives it its place.
        body.extend(0_i64.to_be_bytes());
        body.extend_from_slice(batch.get(8..).context("a batch has no header")?);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut answer = self.call(PRODUCE, 7, &body)?;
            answer.i32()?;
            answer.skip_string()?;
            answer.i32()?;
            answer.i32()?;
            match answer.i16()? {
                0 => return Ok(()),
                // A topic just made: its leader does not know of it yet.
                UNKNOWN_TOPIC | NO_LEADER | NOT_LEADER if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                error => bail!("Kafka answers a produce request with error {error}"),
            }
        }
    }

    /// Reads partitions `0..partitions` from their beginning to their end.
    pub(super) fn read_all(&mut self, topic: &str, partitions: i32, look: Look) -> Result<Walked> {
        let mut walked = Walked::default();
        let mut next = vec![0_i64; usize::try_from(partitions)?];
        let mut ends = vec![i64::MAX; next.len()];
        while next.iter().zip(&ends).any(|(next, end)| next < end) {
            let mut body = Vec::new();
            for field in [-1, 100, 1, FETCH_MAX_BYTES] {
                body.extend(i32::to_be_bytes(field)); // replica, longest wait, least bytes, most bytes
            }
            body.push(1); // read_committed
            let open: Vec<usize> = (0..next.len()).filter(|p| next[*p] < ends[*p]).collect();
            put_topic(&mut body, topic, i32::try_from(open.len())?)?;
            for partition in open {
                body.extend(i32::try_from(partition)?.to_be_bytes());
                body.extend(next[partition].to_be_bytes());
                body.extend(PARTITION_MAX_BYTES.to_be_bytes());
            }
            let mut answer = self.call(FETCH, 4, &body)?;
            answer.i32()?; // throttle time
            answer.i32()?;
            answer.skip_string()?;
            for _ in 0..answer.i32()? {
                let partition = usize::try_from(answer.i32()?)?;
                let error = answer.i16()?;
                ensure!(error == 0, "Kafka answers a fetch request with error {error}");
                let (high_watermark, _stable) = (answer.i64()?, answer.i64()?);
                for _ in 0..answer.i32()?.max(0) {
                    answer.take(16)?; // an aborted transaction
                }
                let length = usize::try_from(answer.i32()?.max(0))?;
                if let Some(after) = walk(answer.take(length)?, look, &mut walked)? {
                    next[partition] = after;
                }
                ends[partition] = high_watermark;
            }
        }
        Ok(walked)
    }

    fn call(&mut self, key: i16, version: i16, body: &[u8]) -> Result<Bytes<'_>> {
        let mut head = Vec::new();
        head.extend(i32::try_from(body.len() + 10)?.to_be_bytes());
        head.extend(key.to_be_bytes());
        head.extend(version.to_be_bytes());
        head.extend(1_i32.to_be_bytes()); // correlation
        head.extend((-1_i16).to_be_bytes()); // no client id
        head.extend_from_slice(body);
        self.socket.write_all(&head)?;
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).context("Kafka closed the connection")?;
        let length = usize::try_from(i32::from_be_bytes(length))?;
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        self.socket.read_exact(&mut self.answer[..length])?;
        let mut answer = Bytes(&self.answer[..length]);
        answer.i32()?; // correlation
        Ok(answer)
    }
}

/// Begins a request's list of one topic with so many partitions.
fn put_topic(body: &mut Vec<u8>, topic: &str, partitions: i32) -> Result<()> {
    body.extend(1_i32.to_be_bytes());
    body.extend(i16::try_from(topic.len())?.to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    body.extend(partitions.to_be_bytes());
    Ok(())
}

/// Walks all whole batches; returns the offset after the last one.
pub(super) fn walk(mut bytes: &[u8], look: Look, walked: &mut Walked) -> Result<Option<i64>> {
    let mut next = None;
    while bytes.len() >= BATCH_HEADER {
        let at = |from: usize| Bytes(&bytes[from..]);
        let length = BATCH_PREFIX + usize::try_from(at(8).i32()?)?;
        let Some(batch) = bytes.get(..length) else { break };
        next = Some(at(0).i64()? + i64::from(at(BATCH_LAST_DELTA).i32()?) + 1);
        let mut records = Bytes(&batch[BATCH_HEADER..]);
        for _ in 0..at(BATCH_COUNT).i32()? {
            let length = records.varint()?;
            let mut record = Bytes(records.take(length)?);
            record.take(1)?;
            record.varint_any()?; // timestamp
            record.varint_any()?; // offset
            let key = record.varint_any()?;
            record.take(usize::try_from(key).unwrap_or(0))?;
            let value = usize::try_from(record.varint_any()?).unwrap_or(0);
            let value = record.take(value)?;
            if look == Look::TwoMembers {
                walked.digest = walked.digest.wrapping_add(two_members(value));
            }
            walked.records += 1;
        }
        bytes = &bytes[length..];
    }
    Ok(next)
}

/// Reads a time and looks at a name, in the order in which the records have them.
fn two_members(value: &[u8]) -> u64 {
    const TS: &[u8] = b"\"ts\":";
    const USER: &[u8] = b"\"user\":\"";
    let Some(ts) = memmem::find(value, TS).map(|at| at + TS.len()) else { return 0 };
    let digits = value[ts..].iter().take_while(|b| b.is_ascii_digit());
    let time = digits.fold(0_u64, |n, b| n * 10 + u64::from(b - b'0'));
    let Some(user) = memmem::find(&value[ts..], USER).map(|at| ts + at + USER.len()) else { return time };
    let len = memchr(b'"', &value[user..]).unwrap_or(0);
    value[user..user + len].iter().fold(time, |n, b| n.wrapping_mul(31).wrapping_add(u64::from(*b)))
}

/// Bytes not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(n) else { bail!("an answer of Kafka is cut") };
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn skip_string(&mut self) -> Result<()> {
        let length = usize::try_from(self.i16()?)?;
        self.take(length).map(drop)
    }

    fn varint(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.varint_any()?)?)
    }

    #[inline]
    fn varint_any(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for (i, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7F) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        bail!("a number of a record is cut")
    }
}

#[cfg(test)]
mod tests {
    use windrow_core::batch::{BatchBuilder, Compression};

    use super::*;

    #[test]
    fn walking_finds_every_record_and_both_members() {
        let mut bytes = Vec::new();
        for base_offset in [0, 2] {
            let mut batch = BatchBuilder::new(Compression::None);
            for value in [r#"{"ts":5,"user":"a"}"#, r#"{"ts":7}"#] {
                batch.push(1, None, Some(value.as_bytes()), []).unwrap();
            }
            bytes.extend_from_slice(&batch.build(base_offset, -1, -1, -1, false));
        }
        let mut walked = Walked::default();
        let whole = bytes.len();
        bytes.extend_from_slice(&[0; 70]); // the beginning of one more
        assert_eq!(walk(&bytes[..whole + 11], Look::TwoMembers, &mut walked).unwrap(), Some(4));
        assert_eq!((walked.records, walked.digest), (4, 2 * (5 * 31 + u64::from(b'a') + 7)));
        assert!(walk(&bytes[..whole - 1], Look::Count, &mut walked).unwrap().is_some_and(|next| next == 2));
    }
}
