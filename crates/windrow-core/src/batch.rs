//! Batches: the bytes of Kafka record batches (format v2) of one partition, with an in-place iterator.
//!
//! **In** bytes from either log. **Out** records: offset, timestamp, key, value, headers, nothing copied.
//! **Invariant:** a batch that `parse` returned has a right CRC, is decompressed, and every record of it is in bounds with
//! growing offsets; a batch with a bad record is refused whole with the offset of the trouble. Hostile bytes cost at most
//! [`BATCH_MAX_BYTES`] of memory and time linear in that.
//! **Not here:** which batches were aborted (`log` drops those), what the bytes mean (`decode`).
//!
//! Source: Kafka's message format 2; KIP-98 (transactions); KIP-110 (zstd).

use bytes::Bytes;

pub use self::{
    builder::{BatchBuilder, assign_offset, control_batch},
    codec::Compression,
    head::BatchHead,
    murmur2::murmur2,
    record::{Headers, Record, Records},
};

mod builder;
mod codec;
mod head;
mod murmur2;
mod record;
#[cfg(test)]
mod tests;

/// Most bytes of one batch, as stored and decompressed. Brokers take 1 MiB by default; 64 times that leaves room for raised
/// limits and for text that shrinks fifty-fold, and a process that holds a few such batches still lives.
pub const BATCH_MAX_BYTES: usize = 64 << 20;

/// Bytes before the first record.
const HEADER_BYTES: usize = 61;
/// Bytes that `batchLength` does not count: base offset and the length itself.
const PREFIX_BYTES: usize = 12;
/// The CRC covers everything from here.
const CRC_FROM: usize = 21;

/// Past base offset, length, leader epoch, magic, CRC and attributes.
const LAST_OFFSET_DELTA_AT: usize = 23;

const ATTRIBUTE_CODEC: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// One record batch: checked, decompressed, cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    base_offset: i64,
    last_offset_delta: i32,
    leader_epoch: i32,
    attributes: i16,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
    records: Bytes,
}

/// What a control batch says about the transaction of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The transaction is void.
    Abort,
    /// The transaction holds.
    Commit,
    /// A marker of another kind, which readers pass over.
    Other(i16),
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The batch goes on past these bytes; logs cut an answer anywhere, so the last batch of one may be this.
    #[error("batch of {need} bytes is cut after {have}")]
    Incomplete {
        /// Bytes there are.
        have: usize,
        /// Bytes the batch needs, as far as known.
        need: usize,
    },
    /// Another message format.
    #[error("batch at offset {offset} has message format {magic}, only format 2 is read")]
    Format {
        /// First offset of the batch.
        offset: i64,
        /// The format's number.
        magic: i8,
    },
    /// The bytes changed since they were written.
    #[error("batch at offset {offset} has CRC {found:08x}, its header says {expected:08x}")]
    Crc {
        /// First offset of the batch.
        offset: i64,
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// More than [`BATCH_MAX_BYTES`], stored or decompressed.
    #[error("batch at offset {offset} is larger than {BATCH_MAX_BYTES} bytes")]
    TooLarge {
        /// First offset of the batch.
        offset: i64,
    },
    /// A length, a count or the compressed bytes are wrong.
    #[error("bad batch or record at offset {offset}: {reason}")]
    Malformed {
        /// Offset of the record, or the batch's first.
        offset: i64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl BatchError {
    /// Returns where the trouble is; `None` when the bytes just end.
    pub fn offset(&self) -> Option<i64> {
        match *self {
            Self::Incomplete { .. } => None,
            Self::Format { offset, .. }
            | Self::Crc { offset, .. }
            | Self::TooLarge { offset }
            | Self::Malformed { offset, .. } => Some(offset),
        }
    }
}

impl Batch {
    /// Reads the batch at the front of `bytes`; also returns how many bytes it took.
    ///
    /// - **Shape:** uncompressed records stay a slice of `bytes`, which they keep alive.
    /// - **Errors:** [`BatchError::Incomplete`] when `bytes` end inside the batch (also when empty); otherwise the batch is
    ///   refused whole.
    /// - **Cost:** one pass of CRC, one over the records' lengths; one allocation when compressed, none otherwise.
    pub fn parse(bytes: &Bytes) -> Result<(Self, usize), BatchError> {
        let have = bytes.len();
        let mut head = head::Fields(bytes);
        let (Some(base_offset), Some(length)) = (head.i64(), head.i32()) else {
            return Err(BatchError::Incomplete { have, need: HEADER_BYTES });
        };
        let malformed = |reason| BatchError::Malformed { offset: base_offset, reason };
        let size = usize::try_from(length).map_err(|_| malformed("negative length"))? + PREFIX_BYTES;
        if size > BATCH_MAX_BYTES {
            return Err(BatchError::TooLarge { offset: base_offset });
        }
        let (Some(leader_epoch), Some(magic)) = (head.i32(), head.i8()) else {
            return Err(BatchError::Incomplete { have, need: size.max(HEADER_BYTES) });
        };
        if magic != 2 {
            return Err(BatchError::Format { offset: base_offset, magic });
        }
        if size < HEADER_BYTES {
            return Err(malformed("length shorter than a batch header"));
        }
        if have < size {
            return Err(BatchError::Incomplete { have, need: size });
        }
        let expected = head.u32().unwrap_or_default();
        let found = crc32c::crc32c(&bytes[CRC_FROM..size]);
        if expected != found {
            return Err(BatchError::Crc { offset: base_offset, expected, found });
        }
        let mut fields = || {
            Some(Self {
                base_offset,
                leader_epoch,
                attributes: head.i16()?,
                last_offset_delta: head.i32()?,
                base_timestamp_ms: head.i64()?,
                max_timestamp_ms: head.i64()?,
                producer_id: head.i64()?,
                producer_epoch: head.i16()?,
                base_sequence: head.i32()?,
                count: head.i32()?,
                records: Bytes::new(),
            })
        };
        let mut batch = fields().ok_or_else(|| malformed("cut header"))?;
        batch.records = batch.decompressed(bytes.slice(HEADER_BYTES..size))?;
        batch.check()?;
        Ok((batch, size))
    }

    fn decompressed(&self, stored: Bytes) -> Result<Bytes, BatchError> {
        let offset = self.base_offset;
        let codec = Compression::from_id(self.attributes & ATTRIBUTE_CODEC)
            .ok_or(BatchError::Malformed { offset, reason: "unknown compression" })?;
        codec.decompress(stored, BATCH_MAX_BYTES).map_err(|trouble| match trouble {
            codec::Trouble::TooLarge => BatchError::TooLarge { offset },
            codec::Trouble::Bad(reason) => BatchError::Malformed { offset, reason },
        })
    }

    /// Walks all records once, so that iterating later cannot meet a bad length.
    fn check(&self) -> Result<(), BatchError> {
        let malformed = |offset, reason| Err(BatchError::Malformed { offset, reason });
        if self.base_offset < 0 || self.last_offset_delta < 0 {
            return malformed(self.base_offset, "negative offset");
        }
        if self.base_offset.checked_add(i64::from(self.last_offset_delta) + 1).is_none() {
            return malformed(self.base_offset, "offsets past the last possible one");
        }
        if self.count < 0 {
            return malformed(self.base_offset, "negative record count");
        }
        let mut rest = &self.records[..];
        let mut delta_last = -1;
        for _ in 0..self.count {
            let offset = self.base_offset + i64::from(delta_last) + 1;
            match record::check(&mut rest) {
                Ok(delta) if delta > delta_last && delta <= self.last_offset_delta => delta_last = delta,
                Ok(_) => return malformed(offset, "record offset out of order"),
                Err(reason) => return malformed(offset, reason),
            }
        }
        if !rest.is_empty() {
            return malformed(self.last_offset(), "bytes after the last record");
        }
        Ok(())
    }

    /// Returns the first offset of the batch; compaction may have taken its record away.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Returns the last offset of the batch: the position after it is one more.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Returns the number of records; less than the span of offsets after compaction.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Tells whether compaction took every record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the bytes of the records, decompressed.
    pub fn len_bytes(&self) -> usize {
        self.records.len()
    }

    /// Returns the partition leader's epoch when the batch was written; -1 = unknown.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Returns how the batch was compressed.
    pub fn compression(&self) -> Compression {
        Compression::from_id(self.attributes & ATTRIBUTE_CODEC).unwrap_or(Compression::None)
    }

    /// Returns the highest timestamp, or with log append time the time of the append.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    /// Tells whether the log's clock gave the timestamp, one for all records.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// Returns the idempotent producer's id; -1 = none.
    pub fn producer_id(&self) -> i64 {
        self.producer_id
    }

    /// Returns the idempotent producer's epoch; -1 = none.
    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch
    }

    /// Returns the idempotent producer's sequence of the first record; -1 = none.
    pub fn base_sequence(&self) -> i32 {
        self.base_sequence
    }

    /// Tells whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Tells whether the batch is a marker of the log, not data.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Returns what a control batch says; `None` for data and for a marker that compaction emptied.
    pub fn control_type(&self) -> Option<ControlType> {
        if !self.is_control() {
            return None;
        }
        // The key holds a version and a type, two bytes each.
        let key = self.records().next()?.key?;
        Some(match i16::from_be_bytes(key.get(2..4)?.try_into().ok()?) {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            other => ControlType::Other(other),
        })
    }

    /// Iterates over all records in offset order, in place.
    pub fn records(&self) -> Records<'_> {
        let fixed = self.is_log_append_time().then_some(self.max_timestamp_ms);
        Records::new(&self.records, self.len(), self.base_offset, self.base_timestamp_ms, fixed)
    }

    /// Iterates over the records at `offset` and above: a fetch may answer with a batch that begins below it.
    pub fn records_from(&self, offset: i64) -> Records<'_> {
        let mut records = self.records();
        records.skip_to(offset);
        records
    }
}
