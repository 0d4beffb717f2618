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

/// One record, borrowed from its batch.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Timestamp, milliseconds since the epoch; -1 = none.
    pub timestamp_ms: i64,
    /// Key; `None` = null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` = null.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: Headers<'a>,
}

/// The headers of one record.
#[derive(Debug, Clone, Default)]
pub struct Headers<'a>(std::marker::PhantomData<&'a [u8]>);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
