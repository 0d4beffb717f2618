//! Row: a whole value or key as JSON, for channels of streams.
//!
//! **In** a record's bytes and its stream's formats. **Out** JSON, appended.
//! **Invariant:** what is written here is what the columns of the same names hold.
//! **Not here:** values of JSON, which are rows already (the hub).

use super::{BadReason, columns::Source, csv};
use crate::{
    registry::Frame,
    spec::{Format, StreamSpec},
    value::{Datum, write_text},
};

/// Appends `,"name":value` for each column of a value that is not JSON; `,"_value":…` when it has none.
///
/// - **Errors:** why the value is bad; what was appended is then to be cut off.
pub fn write_members(spec: &StreamSpec, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadReason> {
    match &spec.format {
        Format::Csv => return csv::write_members(&spec.columns, value, out),
        Format::Avro(schema) => {
            if schema.write_members(value, |name| Source::always(name).is_some(), out)?.is_some() {
                return Ok(());
            }
        }
        Format::Protobuf(schema) => {
            return schema.write_members(value, |name| Source::always(name).is_some(), out);
        }
        Format::ProtobufRegistry(registered) => {
            let (id, rest) = Frame::split(value)?;
            let (schema, message) = registered.schema(id, rest)?;
            return schema.write_members(message, |name| Source::always(name).is_some(), out);
        }
        Format::AvroRegistry(registered) => {
            let (id, datum) = Frame::split(value)?;
            let schema = registered.schema(id)?;
            if schema.write_members(datum, |name| Source::always(name).is_some(), out)?.is_some() {
                return Ok(());
            }
        }
        Format::Text | Format::Bytes | Format::Json | Format::JsonRegistry => {}
    }
    out.extend_from_slice(b",\"_value\":");
    write_whole(&spec.format, value, out)
}

/// Appends a key as JSON.
///
/// - **Errors:** why the key is bad; what was appended is then to be cut off.
pub fn write_key(spec: &StreamSpec, key: &[u8], out: &mut Vec<u8>) -> Result<(), BadReason> {
    match &spec.key_format {
        // Keys of JSON stay text in rows: they are what the message's key is.
        Format::Json => write_whole(&Format::Text, key, out),
        Format::JsonRegistry => write_whole(&Format::Text, Frame::split(key)?.1, out),
        format => write_whole(format, key, out),
    }
}

fn write_whole(format: &Format, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadReason> {
    match format {
        Format::Avro(schema) => return schema.write_value(bytes, out),
        Format::Protobuf(schema) => return schema.write_value(bytes, out),
        Format::ProtobufRegistry(registered) => {
            let (id, rest) = Frame::split(bytes)?;
            let (schema, message) = registered.schema(id, rest)?;
            return schema.write_value(message, out);
        }
        Format::AvroRegistry(registered) => {
            let (id, datum) = Frame::split(bytes)?;
            return registered.schema(id)?.write_value(datum, out);
        }
        Format::Bytes => Datum::Bytes(bytes).write_json(out),
        Format::JsonRegistry => return write_whole(&Format::Json, Frame::split(bytes)?.1, out),
        Format::Text | Format::Csv | Format::Json => {
            write_text(std::str::from_utf8(bytes).map_err(|_| BadReason::NotUtf8)?, out);
        }
    }
    Ok(())
}
