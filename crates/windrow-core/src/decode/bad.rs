//! Why a record is bad: the closed list, with the label that counters and dead-letter headers carry.
//!
//! **Invariant:** labels are stable (people alert on them) and few (they are a metric's label values).
//! **Not here:** what happens to a bad record (`on_bad`, in the engine).

use std::fmt;

use crate::scan::ScanError;

/// Why a record could not become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadReason {
    /// The value is not one JSON document: wrong, truncated, or followed by something else.
    NotJson,
    /// The value is JSON, but not an object.
    NotAnObject,
    /// The value is not one datum of the stream's schema: cut off, followed by something else, or of another schema.
    NotAvro,
    /// The key is not one datum of its schema.
    KeyNotAvro,
    /// A value or key of a registry does not begin with a zero and the id of a schema.
    NotFramed,
    /// The registry has no schema under the id of the value or key.
    UnknownSchema,
    /// The schema under that id is of another kind, or cannot be read.
    BadSchema,
    /// What was written with that schema cannot be read with the stream's.
    SchemaMismatch,
    /// The value is not one message of the stream's schema: cut off, or of no shape that the encoding has.
    NotProtobuf,
    /// The key is not one message of its schema.
    KeyNotProtobuf,
    /// The value is not one record of CSV.
    NotCsv,
    /// The record of CSV has more or fewer fields than the stream has columns.
    CsvFields,
    /// The value nests deeper than [`scan::DEPTH_MAX`](crate::scan::DEPTH_MAX).
    TooDeep,
    /// The value is not UTF-8.
    NotUtf8,
    /// The value has no bytes.
    EmptyValue,
    /// The value is null, and the stream is not a table, where null deletes.
    NullValue,
    /// The value is larger than the record bound.
    TooLarge,
    /// The key is larger than [`KEY_MAX_BYTES`](super::KEY_MAX_BYTES).
    KeyTooLarge,
    /// A column that the stream requires is missing, null, or of another type.
    MissingColumn,
    /// The event time is missing or null.
    MissingTime,
    /// The event time is of another type or outside the years 1 to 9999.
    BadTime,
    /// The event time is further past the wall clock than the stream's `max_ahead`.
    TooFarAhead,
}

impl BadReason {
    /// Every reason, in the documented order.
    pub const ALL: [BadReason; 22] = [
        BadReason::NotJson,
        BadReason::NotAnObject,
        BadReason::NotAvro,
        BadReason::KeyNotAvro,
        BadReason::NotFramed,
        BadReason::UnknownSchema,
        BadReason::BadSchema,
        BadReason::SchemaMismatch,
        BadReason::NotProtobuf,
        BadReason::KeyNotProtobuf,
        BadReason::NotCsv,
        BadReason::CsvFields,
        BadReason::TooDeep,
        BadReason::NotUtf8,
        BadReason::EmptyValue,
        BadReason::NullValue,
        BadReason::TooLarge,
        BadReason::KeyTooLarge,
        BadReason::MissingColumn,
        BadReason::MissingTime,
        BadReason::BadTime,
        BadReason::TooFarAhead,
    ];

    /// Returns the stable label of counters and headers.
    pub fn label(self) -> &'static str {
        match self {
            BadReason::NotJson => "not_json",
            BadReason::NotAnObject => "not_an_object",
            BadReason::NotAvro => "not_avro",
            BadReason::KeyNotAvro => "key_not_avro",
            BadReason::NotFramed => "not_framed",
            BadReason::UnknownSchema => "unknown_schema",
            BadReason::BadSchema => "bad_schema",
            BadReason::SchemaMismatch => "schema_mismatch",
            BadReason::NotProtobuf => "not_protobuf",
            BadReason::KeyNotProtobuf => "key_not_protobuf",
            BadReason::NotCsv => "not_csv",
            BadReason::CsvFields => "csv_fields",
            BadReason::TooDeep => "too_deep",
            BadReason::NotUtf8 => "not_utf8",
            BadReason::EmptyValue => "empty_value",
            BadReason::NullValue => "null_value",
            BadReason::TooLarge => "too_large",
            BadReason::KeyTooLarge => "key_too_large",
            BadReason::MissingColumn => "missing_column",
            BadReason::MissingTime => "missing_time",
            BadReason::BadTime => "bad_time",
            BadReason::TooFarAhead => "too_far_ahead",
        }
    }
}

impl fmt::Display for BadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadReason::NotJson => "the value is not one complete JSON document",
            BadReason::NotAnObject => "the value is JSON, but not an object",
            BadReason::NotAvro => "the value is not one Avro datum of the stream's schema",
            BadReason::KeyNotAvro => "the key is not one Avro datum of its schema",
            BadReason::NotFramed => "the value or key does not begin with a zero and the id of a schema",
            BadReason::UnknownSchema => "the registry has no schema under the id of the value or key",
            BadReason::BadSchema => "the schema under the id of the value or key cannot be used",
            BadReason::SchemaMismatch => {
                "the value or key was written with a schema that cannot be read as the stream's"
            }
            BadReason::NotProtobuf => "the value is not one Protobuf message of its schema",
            BadReason::KeyNotProtobuf => "the key is not one Protobuf message of its schema",
            BadReason::NotCsv => "the value is not one record of CSV",
            BadReason::CsvFields => "the record of CSV has more or fewer fields than the stream has columns",
            BadReason::TooDeep => "the value nests too deep",
            BadReason::NotUtf8 => "the value is not UTF-8",
            BadReason::EmptyValue => "the value is empty",
            BadReason::NullValue => "the value is null, and the stream is not a table",
            BadReason::TooLarge => "the value is larger than one record may be",
            BadReason::KeyTooLarge => "the key is larger than 64 KiB",
            BadReason::MissingColumn => {
                "a column that the stream requires is missing, null, or of another type"
            }
            BadReason::MissingTime => "the event time is missing",
            BadReason::BadTime => "the event time is of another type or outside the years 1 to 9999",
            BadReason::TooFarAhead => "the event time is too far past the wall clock",
        })
    }
}

impl std::error::Error for BadReason {}

impl From<ScanError> for BadReason {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::NotUtf8 => BadReason::NotUtf8,
            ScanError::NotJson => BadReason::NotJson,
            ScanError::TooDeep => BadReason::TooDeep,
            ScanError::NotAnObject => BadReason::NotAnObject,
        }
    }
}
