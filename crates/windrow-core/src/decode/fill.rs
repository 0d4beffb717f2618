//! Fill: the tokens of one record become its event time and its row.
//!
//! **In** a record, the tokens of its key and of its value. **Out** the event time, and one datum per column.
//! **Invariant:** a value of another type than its column's is NULL and counted.
//! **Not here:** how tokens are read (`scan`, `avro`, `protobuf`, `csv`), where a column comes from (`columns`).
//!
//! The fields are borrowed, not moved, and a datum stays in registers until it stands in the row: memory that was written in
//! pieces and is read as a whole right after makes the processor wait, which cost a quarter of decoding a message.

use bumpalo::Bump;

use super::{
    BadReason, Column, Decoder, Time,
    columns::{self, Source},
    time,
};
use crate::{
    batch::Record,
    scan::{self, Token},
    value::{ColumnType, Datum},
};

/// What Kafka writes when a record has no timestamp.
const NO_TIMESTAMP: i64 = -1;

/// One record and the row that it becomes.
pub(super) struct Fill<'f, 'a> {
    pub(super) decoder: &'f Decoder,
    pub(super) tp: &'f (&'a str, i32),
    pub(super) record: &'f Record<'a>,
    /// `None` when the key is not what its format says.
    pub(super) key_tokens: Option<&'a [Token<'a>]>,
    pub(super) now_ms: i64,
    /// The event time, once the row is filled.
    pub(super) time_ms: i64,
    pub(super) arena: &'a Bump,
    pub(super) row: &'f mut Vec<Datum<'a>>,
    pub(super) mistyped: &'f mut [u64],
}

impl<'a> Fill<'_, 'a> {
    /// Tells the event time and appends a datum per column.
    #[inline(never)]
    pub(super) fn row(&mut self, tokens: &[Token<'a>], time: Time) -> Result<(), BadReason> {
        self.time_ms = self.time_ms(time, tokens)?;
        for (index, column) in self.decoder.columns.iter().enumerate() {
            if let Source::Member(slot) = column.source
                && let Some(token) = tokens.get(slot)
                && let Some(datum) = scan::convert_common(token, column.ty)
            {
                self.row.push(datum);
                continue;
            }
            let datum = self.column(column, tokens).unwrap_or_else(|| {
                self.mistyped[index] += 1;
                Datum::Null
            });
            if column.required && datum.is_null() && self.record.value.is_some() {
                return Err(BadReason::MissingColumn);
            }
            self.row.push(datum);
        }
        Ok(())
    }

    fn time_ms(&self, time: Time, tokens: &[Token<'_>]) -> Result<i64, BadReason> {
        let ms = match time {
            Time::Record if self.record.timestamp_ms == NO_TIMESTAMP => return Err(BadReason::MissingTime),
            Time::Record => time::in_range(self.record.timestamp_ms).ok_or(BadReason::BadTime)?,
            Time::Member { slot, unit } => {
                time::event_time_ms(tokens.get(slot).copied().unwrap_or_default(), unit, self.arena)?
            }
        };
        let is_ahead = ms > self.now_ms.saturating_add(self.decoder.max_ahead_ms);
        if is_ahead { Err(BadReason::TooFarAhead) } else { Ok(ms) }
    }

    /// Reads one column; `None` when its value is of another type.
    #[inline(never)]
    fn column(&self, column: &Column, tokens: &[Token<'a>]) -> Option<Datum<'a>> {
        let (ty, arena) = (column.ty, self.arena);
        match column.source {
            Source::Member(slot) => {
                let token = tokens.get(slot).copied().unwrap_or_default();
                // The event-time column knows its unit, which a timestamp column by itself does not.
                match self.decoder.time {
                    Time::Member { slot: time, .. } if time == slot && ty == Some(ColumnType::Timestamp) => {
                        Some(if tokens.is_empty() { Datum::Null } else { Datum::Timestamp(self.time_ms) })
                    }
                    _ => scan::convert(token, ty, arena),
                }
            }
            Source::KeyMember(slot) => {
                scan::convert(self.key_tokens?.get(slot).copied().unwrap_or_default(), ty, arena)
            }
            Source::Topic => Some(Datum::Text(self.tp.0)),
            Source::Partition => Some(Datum::Int(i64::from(self.tp.1))),
            Source::Offset => Some(Datum::Int(self.record.offset)),
            Source::Timestamp if self.record.timestamp_ms == NO_TIMESTAMP => Some(Datum::Null),
            Source::Timestamp => Some(Datum::Timestamp(self.record.timestamp_ms)),
            Source::Key => match self.record.key {
                Some(key) => columns::key(key, &self.decoder.key_format, ty, arena),
                None => Some(Datum::Null),
            },
            Source::Value => match self.record.value {
                Some(value) => columns::value(value, &self.decoder.format, ty),
                None => Some(Datum::Null),
            },
            Source::Headers => match columns::headers(self.record, arena) {
                (object, true) => Some(Datum::Json(object)),
                (_, false) => None,
            },
        }
    }
}
