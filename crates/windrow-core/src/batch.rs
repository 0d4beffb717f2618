//! Batches: the bytes of Kafka record batches (format v2) of one partition, with an in-place iterator.
//!
//! **In** bytes from either log. **Out** records: offset, timestamp, key, value, headers, nothing copied.
//! **Invariant:** a batch that `parse` returned has a right CRC, is decompressed, and every record of it is in bounds;
//! a batch with a bad record is refused whole with the offset of the trouble.
//! **Not here:** which batches were aborted (`log` drops those), what the bytes mean (`decode`).
//!
//! Source: Kafka's message format 2; KIP-98.

/// placeholder
#[derive(Debug, Clone)]
pub struct Batch;
