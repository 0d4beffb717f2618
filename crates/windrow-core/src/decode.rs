//! Decode: one record becomes one source row and an event time, or a reason why not.
//!
//! **In** a record of a batch, with its topic and partition. **Out** one [`Datum`] per planned column, borrowed from the
//! record or the arena, and the event time.
//! **Before** this file: `batch`, `scan`. **After** it: `expr` and `engine`.
//! **Invariant:** a bad record never stops anything: it is one [`BadReason`], and the row is to be ignored then.
//! **Not here:** what is done about bad records (`engine`), lateness (`engine`).

use bumpalo::Bump;

use crate::{
    batch::Record,
    plan::{SourceColumn, StreamPlan},
    scan::{self, Fields, Token},
    spec::{Format, StreamSpec, TimeSpec, TimeUnit},
    value::{ColumnType, Datum},
};

mod bad;
mod columns;
mod time;

pub use bad::BadReason;
use columns::Source;

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
    format: Format,
    key_format: Format,
    columns: Vec<Column>,
    fields: Fields,
    time: Time,
    max_ahead_ms: i64,
    table: bool,
    value_max_bytes: usize,
}

#[derive(Debug, Clone)]
struct Column {
    source: Source,
    ty: Option<ColumnType>,
}

/// Where the event time comes from.
#[derive(Debug, Clone, Copy)]
enum Time {
    Record,
    Member { slot: usize, unit: TimeUnit },
}

impl Decoder {
    /// Makes the decoder of a planned stream: rows have the plan's columns.
    pub fn new(plan: &StreamPlan) -> Self {
        Self::for_columns(&plan.spec, &plan.columns)
    }

    /// Makes a decoder for any columns of a stream, as a stream's channel needs them.
    pub fn for_columns(spec: &StreamSpec, columns: &[SourceColumn]) -> Self {
        let mut wanted: Vec<&str> = Vec::new();
        let mut slot = |name| {
            wanted.iter().position(|known| *known == name).unwrap_or_else(|| {
                wanted.push(name);
                wanted.len() - 1
            })
        };
        let columns = columns
            .iter()
            .map(|column| {
                let source =
                    Source::always(&column.name).unwrap_or_else(|| Source::Member(slot(&*column.name)));
                Column { source, ty: column.ty }
            })
            .collect();
        let time = match &spec.time {
            TimeSpec::Column { column, unit } if Source::always(column) != Some(Source::Timestamp) => {
                Time::Member { slot: slot(column), unit: *unit }
            }
            _ => Time::Record,
        };
        Self {
            format: spec.format,
            key_format: spec.key_format,
            columns,
            fields: Fields::new(&wanted),
            time,
            max_ahead_ms: spec.max_ahead_ms,
            table: !spec.latest_by.is_empty(),
            value_max_bytes: VALUE_MAX_BYTES,
        }
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
    /// - **Errors:** the reason why the record is bad; `row` is then meaningless. A null value is bad but in a table,
    ///   where it deletes: all members are NULL and the time is the record's.
    /// - **Cost:** one pass over the value; `arena` is used only for escaped text, wide integers and headers.
    pub fn decode<'a>(
        &self,
        tp: (&'a str, i32),
        record: &Record<'a>,
        now_ms: i64,
        arena: &'a Bump,
        row: &mut Vec<Datum<'a>>,
        mistyped: &mut [u64],
    ) -> Result<i64, BadReason> {
        debug_assert_eq!(mistyped.len(), self.width(), "one counter per column");
        row.clear();
        if record.key.is_some_and(|key| key.len() > KEY_MAX_BYTES) {
            return Err(BadReason::KeyTooLarge);
        }
        let fill = |tokens: &[Token<'a>], time| {
            let time_ms = self.time_ms(time, record, tokens, now_ms, arena)?;
            let read = Read { decoder: self, tp, record, tokens, arena, time_ms };
            for (column, mistyped) in self.columns.iter().zip(mistyped) {
                row.push(read.column(column).unwrap_or_else(|| {
                    *mistyped += 1;
                    Datum::Null
                }));
            }
            Ok(time_ms)
        };
        match record.value {
            None if self.table => fill(&[], Time::Record),
            None => Err(BadReason::NullValue),
            Some([]) => Err(BadReason::EmptyValue),
            Some(value) if value.len() > self.value_max_bytes => Err(BadReason::TooLarge),
            Some(value) if self.format == Format::Json => {
                self.fields.scan(value, arena, |tokens| fill(tokens, self.time))?
            }
            Some(value) if std::str::from_utf8(value).is_err() => Err(BadReason::NotUtf8),
            Some(_) => fill(&[], self.time),
        }
    }

    fn time_ms(
        &self,
        time: Time,
        record: &Record<'_>,
        tokens: &[Token<'_>],
        now_ms: i64,
        arena: &Bump,
    ) -> Result<i64, BadReason> {
        let ms = match time {
            Time::Record if record.timestamp_ms == NO_TIMESTAMP => return Err(BadReason::MissingTime),
            Time::Record => time::in_range(record.timestamp_ms).ok_or(BadReason::BadTime)?,
            Time::Member { slot, unit } => {
                time::event_time_ms(tokens.get(slot).copied().unwrap_or_default(), unit, arena)?
            }
        };
        if ms > now_ms.saturating_add(self.max_ahead_ms) { Err(BadReason::TooFarAhead) } else { Ok(ms) }
    }
}

/// What Kafka writes when a record has no timestamp.
const NO_TIMESTAMP: i64 = -1;

/// One record while its row is filled.
struct Read<'r, 'a> {
    decoder: &'r Decoder,
    tp: (&'a str, i32),
    record: &'r Record<'a>,
    tokens: &'r [Token<'a>],
    arena: &'a Bump,
    time_ms: i64,
}

impl<'a> Read<'_, 'a> {
    /// Reads one column; `None` when its value is of another type.
    #[inline]
    fn column(&self, column: &Column) -> Option<Datum<'a>> {
        let (ty, arena) = (column.ty, self.arena);
        match column.source {
            Source::Member(slot) => {
                let token = self.tokens.get(slot).copied().unwrap_or_default();
                // The event-time column knows its unit, which a timestamp column by itself does not.
                match self.decoder.time {
                    Time::Member { slot: time, .. } if time == slot && ty == Some(ColumnType::Timestamp) => {
                        Some(if self.tokens.is_empty() {
                            Datum::Null
                        } else {
                            Datum::Timestamp(self.time_ms)
                        })
                    }
                    _ => scan::convert(token, ty, arena),
                }
            }
            Source::Topic => Some(Datum::Text(self.tp.0)),
            Source::Partition => Some(Datum::Int(i64::from(self.tp.1))),
            Source::Offset => Some(Datum::Int(self.record.offset)),
            Source::Timestamp if self.record.timestamp_ms == NO_TIMESTAMP => Some(Datum::Null),
            Source::Timestamp => Some(Datum::Timestamp(self.record.timestamp_ms)),
            Source::Key => match self.record.key {
                Some(key) => columns::key(key, self.decoder.key_format, ty, arena),
                None => Some(Datum::Null),
            },
            Source::Value => match self.record.value {
                Some(value) => columns::value(value, self.decoder.format, ty),
                None => Some(Datum::Null),
            },
            Source::Headers => match columns::headers(self.record, arena) {
                (object, true) => Some(Datum::Json(object)),
                (_, false) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
