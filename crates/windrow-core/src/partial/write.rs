//! Writing: rows for one target partition become the records of one commit.
//!
//! **Invariant:** nothing is written before the commit is known: its range stands in every record.

use std::mem;

use super::{FLAG_COMPRESSED, FLAG_LAST, Head, VERSION};
use crate::{
    block::{self, Body, Cells},
    state::{
        Bucket,
        canon::{put_signed, put_unsigned},
    },
};

/// The partials of one epoch for one target partition.
#[derive(Debug)]
pub(crate) struct PartialWriter {
    body: Body,
    /// Those that are full.
    full: Vec<Vec<u8>>,
    full_bytes: usize,
}

impl PartialWriter {
    pub(crate) fn new(block_max_bytes: usize) -> Self {
        Self { body: Body::new(block_max_bytes), full: Vec::new(), full_bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.full_bytes + self.body.len()
    }

    /// Writes all of one row. A key may come again in the same commit: cells add up.
    pub(crate) fn row(&mut self, bucket: &Bucket, row: u32) {
        self.body.begin_row(bucket, row, Cells::Added);
        loop {
            let whole = self.body.put_row(bucket, row, Cells::Added);
            if !whole || self.body.is_full() {
                self.end_body();
            }
            if whole {
                return;
            }
        }
    }

    fn end_body(&mut self) {
        self.body.end_rows();
        self.full_bytes += self.body.bytes.len();
        self.full.push(mem::take(&mut self.body.bytes));
    }

    /// Ends the epoch and hands its records over: none when there are no rows, unless the head itself is news.
    pub(crate) fn finish(&mut self, head: &Head, is_news: bool) -> Vec<Vec<u8>> {
        if self.body.len() > 0 || (self.full.is_empty() && is_news) {
            self.end_body();
        }
        self.full_bytes = 0;
        let bodies = mem::take(&mut self.full);
        let last = bodies.len().saturating_sub(1);
        bodies.iter().enumerate().map(|(i, body)| record(head, body, i == last)).collect()
    }
}

fn record(head: &Head, body: &[u8], last: bool) -> Vec<u8> {
    let compressed = block::pack(body);
    let flags = if last { FLAG_LAST } else { 0 } | if compressed.is_some() { FLAG_COMPRESSED } else { 0 };
    let mut record = vec![VERSION];
    record.extend_from_slice(&head.fingerprint.to_le_bytes());
    record.push(flags);
    put_unsigned(u64::from(head.source.unsigned_abs()), &mut record);
    for n in [head.from, head.to, head.watermark_ms, head.data_ms] {
        put_signed(n, &mut record);
    }
    record.extend_from_slice(compressed.as_deref().unwrap_or(body));
    record
}
