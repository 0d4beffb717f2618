//! Building batches.
//!
//! **In** records. **Out** the bytes of one batch, as a broker would store them.
//! **Invariant:** what is built, `Batch::parse` reads back to the byte. **Not here:** which offset comes next.

use bytes::Bytes;

use super::{
    ATTRIBUTE_CONTROL, ATTRIBUTE_TRANSACTIONAL, BATCH_MAX_BYTES, BatchError, CRC_FROM, Compression,
    ControlType, HEADER_BYTES, PREFIX_BYTES,
};

/// Collects records into one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Compression,
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    record: Vec<u8>,
    count: i32,
    /// Offset of the next record, from the base.
    next_delta: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl BatchBuilder {
    /// Starts an empty batch.
    pub fn new(codec: Compression) -> Self {
        Self {
            codec,
            bytes: vec![0; HEADER_BYTES],
            record: Vec::new(),
            count: 0,
            next_delta: 0,
            base_timestamp_ms: -1,
            max_timestamp_ms: -1,
        }
    }

    /// Adds a record at the next offset.
    ///
    /// - **Errors:** [`BatchError::TooLarge`] when the batch would pass [`BATCH_MAX_BYTES`]; it stays as it was.
    pub fn push<'h, H>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), BatchError>
    where
        H: IntoIterator<Item = (&'h str, Option<&'h [u8]>), IntoIter: ExactSizeIterator>,
    {
        let base_timestamp_ms = if self.count == 0 { timestamp_ms } else { self.base_timestamp_ms };
        let record = &mut self.record;
        record.clear();
        record.push(0);
        put_varint(record, timestamp_ms.wrapping_sub(base_timestamp_ms));
        put_varint(record, i64::from(self.next_delta));
        put_field(record, key);
        put_field(record, value);
        let headers = headers.into_iter();
        put_varint(record, headers.len() as i64);
        for (name, value) in headers {
            put_field(record, Some(name.as_bytes()));
            put_field(record, value);
        }
        if self.bytes.len() + self.record.len() + 5 > BATCH_MAX_BYTES || self.next_delta == i32::MAX {
            return Err(BatchError::TooLarge { offset: i64::from(self.next_delta) });
        }
        put_field(&mut self.bytes, Some(&self.record));
        let first = self.count == 0;
        self.max_timestamp_ms = if first { timestamp_ms } else { self.max_timestamp_ms.max(timestamp_ms) };
        self.base_timestamp_ms = base_timestamp_ms;
        self.count += 1;
        self.next_delta += 1;
        Ok(())
    }

    /// Leaves a hole of `offsets` before the next record, as compaction does; `false` when the batch cannot span it.
    pub fn skip(&mut self, offsets: i64) -> bool {
        let next = i64::from(self.next_delta).checked_add(offsets).and_then(|next| i32::try_from(next).ok());
        if let Some(next) = next {
            self.next_delta = next;
        }
        next.is_some()
    }

    /// Returns the number of records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Tells whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the size so far, before compression, header included.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the highest timestamp so far; -1 when empty.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    /// Finishes the batch. Without an idempotent producer, id, epoch and sequence are -1.
    ///
    /// - **Limits:** an empty batch spans one offset, as the format has no way to span none.
    pub fn build(
        self,
        base_offset: i64,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        transactional: bool,
    ) -> Bytes {
        let flags = if transactional { ATTRIBUTE_TRANSACTIONAL } else { 0 };
        self.finish(base_offset, producer_id, producer_epoch, base_sequence, flags).into()
    }

    /// Finishes a batch of no producer, in memory of its own, so that [`assign_offset`] can place it later.
    pub fn build_vec(self) -> Vec<u8> {
        self.finish(0, -1, -1, -1, 0)
    }

    fn finish(
        self,
        base_offset: i64,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        flags: i16,
    ) -> Vec<u8> {
        let mut codec = self.codec;
        let mut bytes = self.bytes;
        if codec != Compression::None {
            let mut packed = vec![0; HEADER_BYTES];
            // Writing to memory cannot fail; if a codec did, the batch goes out as it is.
            match codec.compress(&bytes[HEADER_BYTES..], &mut packed) {
                Ok(()) => bytes = packed,
                Err(_) => codec = Compression::None,
            }
        }
        let mut head = Vec::with_capacity(HEADER_BYTES);
        head.extend(base_offset.to_be_bytes());
        head.extend(((bytes.len() - PREFIX_BYTES) as i32).to_be_bytes());
        head.extend((-1_i32).to_be_bytes());
        head.push(2);
        head.extend([0; 4]);
        head.extend((codec.id() | flags).to_be_bytes());
        head.extend((self.next_delta - 1).max(0).to_be_bytes());
        head.extend(self.base_timestamp_ms.to_be_bytes());
        head.extend(self.max_timestamp_ms.to_be_bytes());
        head.extend(producer_id.to_be_bytes());
        head.extend(producer_epoch.to_be_bytes());
        head.extend(base_sequence.to_be_bytes());
        head.extend(self.count.to_be_bytes());
        bytes[..HEADER_BYTES].copy_from_slice(&head);
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

/// Moves a built batch to another base offset, which its CRC does not cover. Shorter bytes stay as they are.
pub fn assign_offset(batch: &mut [u8], base_offset: i64) {
    if let Some(field) = batch.first_chunk_mut() {
        *field = base_offset.to_be_bytes();
    }
}

/// Builds the marker that ends a producer's transaction.
pub fn control_batch(
    base_offset: i64,
    producer_id: i64,
    producer_epoch: i16,
    kind: ControlType,
    timestamp_ms: i64,
) -> Bytes {
    let kind: i16 = match kind {
        ControlType::Abort => 0,
        ControlType::Commit => 1,
        ControlType::Other(other) => other,
    };
    let mut key = [0; 4];
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut builder = BatchBuilder::new(Compression::None);
    // The value is a version and the coordinator's epoch; six bytes always fit.
    let fits = builder.push(timestamp_ms, Some(&key), Some(&[0; 6]), []);
    debug_assert!(fits.is_ok());
    let flags = ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL;
    builder.finish(base_offset, producer_id, producer_epoch, -1, flags).into()
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
