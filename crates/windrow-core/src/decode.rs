//! Decode: one record becomes one source row and an event time, or a reason why not.
//!
//! **In** a record of a batch, with its topic and partition. **Out** one [`Datum`] per planned column, borrowed from the
//! record or the arena, and the event time.
//! **Before** this file: `batch`, `scan`, `avro`, `protobuf`, `csv`. **After** it: `expr` and `engine`.
//! **Invariant:** a bad record never stops anything: it is one [`BadReason`], and the row is to be ignored then.
//! **Not here:** what is done about bad records (`engine`), lateness (`engine`).

use std::sync::Arc;

use bumpalo::Bump;

use crate::{
    avro,
    batch::Record,
    plan::{SourceColumn, StreamPlan},
    protobuf,
    registry::Frame,
    scan::{Fields, Token},
    spec::{Format, KEY_PREFIX, StreamSpec, TimeSpec, TimeUnit},
    utf8,
    value::{ColumnType, Datum},
};

mod bad;
mod columns;
mod csv;
mod fill;
mod row;
mod time;
mod writers;

pub use bad::BadReason;
use columns::Source;
use csv::CsvReader;
use fill::Fill;
pub use row::{write_key, write_members};
use writers::Writers;

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
    value: Reader,
    key: Reader,
    time: Time,
    max_ahead_ms: i64,
    table: bool,
    value_max_bytes: usize,
}

#[derive(Debug, Clone)]
struct Column {
    source: Source,
    ty: Option<ColumnType>,
    /// Without a value of it the record is bad.
    required: bool,
}

/// How wanted names are read out of a value or a key.
#[derive(Debug, Clone)]
enum Reader {
    /// It has none.
    Bytes,
    /// It has none, and must be UTF-8.
    Text,
    Json(Fields),
    /// The same behind a frame.
    JsonRegistry(Fields),
    Csv(CsvReader),
    Avro(avro::Projection),
    AvroRegistry(Writers<avro::Schema, avro::Projection>),
    Protobuf(protobuf::Projection),
    ProtobufRegistry(Writers<protobuf::File, protobuf::Family>),
}

/// Names that some column needs, and the slot of each.
#[derive(Default)]
struct Wanted<'s>(Vec<&'s str>);

impl<'s> Wanted<'s> {
    fn slot(&mut self, name: &'s str) -> usize {
        self.0.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.0.push(name);
            self.0.len() - 1
        })
    }
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
        let (mut members, mut key_members) = (Wanted::default(), Wanted::default());
        let columns = columns
            .iter()
            .map(|column| {
                let source = match (Source::always(&column.name), column.name.strip_prefix(KEY_PREFIX)) {
                    // A datum as a whole has no name.
                    (Some(Source::Value), _) if spec.format.is_binary() => Source::Member(members.slot("")),
                    (Some(Source::Key), _) if spec.key_format.is_binary() => {
                        Source::KeyMember(key_members.slot(""))
                    }
                    (Some(always), _) => always,
                    (None, Some(path)) if spec.key_has_columns() => Source::KeyMember(key_members.slot(path)),
                    (None, _) => Source::Member(members.slot(&column.name)),
                };
                Column { source, ty: column.ty, required: spec.required.contains(&column.name) }
            })
            .collect();
        let time = match &spec.time {
            TimeSpec::Column { column, unit } if Source::always(column) != Some(Source::Timestamp) => {
                Time::Member { slot: members.slot(column), unit: *unit }
            }
            _ => Time::Record,
        };
        Self {
            value: Reader::new(&spec.format, &spec.columns, &members),
            key: Reader::of_key(&spec.key_format, &key_members),
            format: spec.format.clone(),
            key_format: spec.key_format.clone(),
            columns,
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
        let key_tokens = self.key.key_tokens(record.key, arena)?;
        let mut fill =
            Fill { decoder: self, tp: &tp, record, key_tokens, now_ms, time_ms: 0, arena, row, mistyped };
        let Some(value) = record.value else {
            // Bytes promise nothing, so that there are none breaks no promise.
            let may_lack = self.table || matches!(self.value, Reader::Bytes);
            return if may_lack {
                fill.row(&[], Time::Record).map(|()| fill.time_ms)
            } else {
                Err(BadReason::NullValue)
            };
        };
        if value.len() > self.value_max_bytes {
            return Err(BadReason::TooLarge);
        }
        let filled = match &self.value {
            // A datum may take no bytes: a record of nulls does, and a message of zeros.
            Reader::Avro(projection) => {
                projection.read(value, arena, |tokens| fill.row(tokens, self.time))?
            }
            Reader::Protobuf(projection) => {
                projection.read(value, arena, |tokens| fill.row(tokens, self.time))?
            }
            Reader::Bytes => fill.row(&[], self.time),
            _ if value.is_empty() => Err(BadReason::EmptyValue),
            Reader::AvroRegistry(writers) => writers.read(value, |projection, datum| {
                projection.read(datum, arena, |tokens| fill.row(tokens, self.time))
            })??,
            Reader::ProtobufRegistry(writers) => writers.read(value, |family, message| {
                family.read(message, arena, |tokens| fill.row(tokens, self.time))
            })??,
            Reader::JsonRegistry(fields) => {
                fields.scan(Frame::split(value)?.1, arena, |tokens| fill.row(tokens, self.time))?
            }
            Reader::Json(fields) => fields.scan(value, arena, |tokens| fill.row(tokens, self.time))?,
            Reader::Csv(reader) => reader.read(value, arena, |tokens| fill.row(tokens, self.time))?,
            Reader::Text if utf8::text(value).is_err() => Err(BadReason::NotUtf8),
            Reader::Text => fill.row(&[], self.time),
        };
        filled.map(|()| fill.time_ms)
    }
}

impl Reader {
    fn new(format: &Format, declared: &[(Arc<str>, ColumnType)], wanted: &Wanted<'_>) -> Self {
        match format {
            Format::Text => Reader::Text,
            Format::Bytes => Reader::Bytes,
            Format::Json => Reader::Json(Fields::new(&wanted.0)),
            Format::Csv => Reader::Csv(CsvReader::new(declared, &wanted.0)),
            Format::Avro(schema) => Reader::Avro(avro::Projection::new(schema.clone(), &wanted.0)),
            Format::Protobuf(schema) => {
                Reader::Protobuf(protobuf::Projection::new(schema.clone(), &wanted.0))
            }
            Format::ProtobufRegistry(registered) => {
                Reader::ProtobufRegistry(Writers::new(registered.lessons(), &wanted.0, protobuf::Family::new))
            }
            Format::JsonRegistry => Reader::JsonRegistry(Fields::new(&wanted.0)),
            Format::AvroRegistry(registered) => {
                Reader::AvroRegistry(Writers::new(registered.lessons(), &wanted.0, avro::Projection::new))
            }
        }
    }

    /// A key of JSON is looked into only where some column needs it; a datum is checked always, as values are.
    fn of_key(format: &Format, wanted: &Wanted<'_>) -> Self {
        match format {
            Format::Json if wanted.0.is_empty() => Reader::Text,
            format => Self::new(format, &[], wanted),
        }
    }

    /// Reads the wanted columns of a key: none of a null one, `None` of one that is not what its format says.
    fn key_tokens<'a>(
        &self,
        key: Option<&'a [u8]>,
        arena: &'a Bump,
    ) -> Result<Option<&'a [Token<'a>]>, BadReason> {
        let kept = |tokens: &[Token<'a>]| &*arena.alloc_slice_copy(tokens);
        match (self, key) {
            (Reader::Json(fields), Some(key)) => Ok(fields.scan(key, arena, kept).ok()),
            (Reader::JsonRegistry(fields), Some(key)) => {
                Ok(Frame::split(key).and_then(|(_, key)| Ok(fields.scan(key, arena, kept)?)).ok())
            }
            (Reader::AvroRegistry(writers), Some(key)) => {
                let read = |projection: &avro::Projection, datum| projection.read(datum, arena, kept);
                // Of a schema that is of no use the reason says more.
                writers.read(key, read)?.map(Some).map_err(|_| BadReason::KeyNotAvro)
            }
            (Reader::Avro(projection), Some(key)) => {
                projection.read(key, arena, kept).map(Some).map_err(|_| BadReason::KeyNotAvro)
            }
            (Reader::ProtobufRegistry(writers), Some(key)) => {
                let read = |family: &protobuf::Family, message| family.read(message, arena, kept);
                writers.read(key, read)?.map(Some).map_err(|_| BadReason::KeyNotProtobuf)
            }
            (Reader::Protobuf(projection), Some(key)) => {
                projection.read(key, arena, kept).map(Some).map_err(|_| BadReason::KeyNotProtobuf)
            }
            _ => Ok(Some(&[])),
        }
    }
}

#[cfg(test)]
mod tests;
