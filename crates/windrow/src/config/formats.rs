//! Formats of a stream: names, schema files, and what else the stream says that must fit them.
//!
//! **In** `format`, `schema`, `message`, the same with `key_` in front, and the spec made of the whole table. **Out** formats with
//! their schemas.
//! **Not here:** schema files (`schemas`).

use std::sync::Arc;

use windrow_core::{
    avro,
    protobuf::Registered,
    spec::{Format, StreamSpec, TimeSpec, TimeUnit},
    suggest::closest,
    value::ColumnType,
};

use super::reader::{Reader, join};
use crate::hub::spec::STREAM_COLUMNS;

mod schemas;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Text,
    Bytes,
    Json,
    Csv,
    Avro,
    AvroRegistry,
    JsonRegistry,
    Protobuf,
    ProtobufRegistry,
}

const VALUES: [(&str, Name); 9] = [
    ("json", Name::Json),
    ("text", Name::Text),
    ("bytes", Name::Bytes),
    ("csv", Name::Csv),
    ("avro", Name::Avro),
    ("avro-registry", Name::AvroRegistry),
    ("json-registry", Name::JsonRegistry),
    ("protobuf", Name::Protobuf),
    ("protobuf-registry", Name::ProtobufRegistry),
];

/// A key has no columns of its own to be told, so it is no record of CSV.
const KEYS: [(&str, Name); 8] = [
    ("text", Name::Text),
    ("json", Name::Json),
    ("bytes", Name::Bytes),
    ("avro", Name::Avro),
    ("avro-registry", Name::AvroRegistry),
    ("json-registry", Name::JsonRegistry),
    ("protobuf", Name::Protobuf),
    ("protobuf-registry", Name::ProtobufRegistry),
];

/// The keys that one format is made of.
struct Keys {
    format: &'static str,
    schema: &'static str,
    message: &'static str,
}

/// Reads the value's format.
pub(super) fn value(stream: &Reader<'_>) -> Format {
    let name = stream.choice("format", &VALUES, &[]);
    let keys = Keys { format: "format", schema: "schema", message: "message" };
    let format = format(stream, name, Name::Json, &keys);
    let Some(tagged) = stream.choice("bytes", &[("base64", false), ("tagged", true)], &[]) else {
        return format;
    };
    match format {
        // Nobody else holds the schema yet.
        Format::Avro(schema) if tagged => Arc::into_inner(schema)
            .map_or(Format::Bytes, |schema| Format::Avro(Arc::new(schema.tagging_bytes()))),
        Format::AvroRegistry(registered) if tagged => Arc::into_inner(registered)
            .map_or(Format::Bytes, |all| Format::AvroRegistry(Arc::new(all.tagging_bytes()))),
        format @ (Format::Avro(_) | Format::AvroRegistry(_)) => format,
        format => {
            stream.wrong(
                "bytes",
                "`bytes` is for `format` = \"avro\" and \"avro-registry\"",
                Some("remove it".to_owned()),
            );
            format
        }
    }
}

/// Reads the key's format.
pub(super) fn key(stream: &Reader<'_>) -> Format {
    let name = stream.choice("key_format", &KEYS, &[]);
    let keys = Keys { format: "key_format", schema: "key_schema", message: "key_message" };
    format(stream, name, Name::Text, &keys)
}

fn format(stream: &Reader<'_>, name: Option<Name>, default: Name, keys: &Keys) -> Format {
    // A format that was told to be wrong says nothing about the keys beside it.
    let is_told = name.is_none() && stream.has(keys.format);
    let name = name.unwrap_or(default);
    let fitting: [(&'static str, &[Name]); 2] =
        [(keys.schema, &[Name::Avro, Name::AvroRegistry, Name::Protobuf]), (keys.message, &[Name::Protobuf])];
    for (key, names) in fitting {
        if stream.has(key) && !names.contains(&name) && !is_told {
            let fits = KEYS.iter().filter(|(_, name)| names.contains(name)).map(|(word, _)| *word);
            let first = fits.clone().next().unwrap_or_default();
            let hint = format!("write {} = \"{first}\", or remove it", keys.format);
            stream.wrong(key, format!("`{key}` is for `{}` = {}", keys.format, join(fits)), Some(hint));
        }
    }
    let found = match name {
        Name::Avro => schemas::bare_avro(stream, keys),
        Name::AvroRegistry => {
            let reader = stream.text(keys.schema).and_then(|name| schemas::avro(stream, keys.schema, &name));
            Some(Format::AvroRegistry(Arc::new(avro::Registered::new(reader))))
        }
        Name::JsonRegistry => Some(Format::JsonRegistry),
        Name::Protobuf => schemas::protobuf(stream, keys),
        Name::ProtobufRegistry => {
            Some(Format::ProtobufRegistry(Arc::new(Registered::new(crate::protobuf::registered))))
        }
        Name::Text => Some(Format::Text),
        Name::Bytes => Some(Format::Bytes),
        Name::Json => Some(Format::Json),
        Name::Csv => Some(Format::Csv),
    };
    // Whatever stands for a schema that cannot be read is not used.
    found.unwrap_or(Format::Bytes)
}

/// Tells whether a column knows by itself what it counts: a timestamp by its logical type.
pub(super) fn is_timestamp(format: &Format, column: &str) -> bool {
    format.column(column) == Some(Some(ColumnType::Timestamp))
}

/// Checks what else the stream says against its formats.
pub(super) fn check(stream: &Reader<'_>, spec: &StreamSpec) {
    match &spec.format {
        Format::Csv if spec.columns.is_empty() && !stream.has("columns") => {
            let hint =
                "name all fields in their order: columns = { id = \"text\", price = \"double\" }".to_owned();
            stream.wrong("format", "`format` = \"csv\" needs `columns`", Some(hint));
            return;
        }
        format if format.has_schema() && stream.has("columns") => {
            let hint = "remove it; CAST in a query makes another type".to_owned();
            let message = format!("the columns of `format` = \"{}\" are those of its schema", format.name());
            stream.wrong("columns", message, Some(hint));
            return;
        }
        Format::Csv => {}
        format if format.has_schema() => {}
        _ => return,
    }
    for key in ["required", "keyed_by", "latest_by"] {
        for (name, offset) in stream.texts(key).unwrap_or_default() {
            let is_ours = key == "latest_by" && STREAM_COLUMNS.iter().any(|(ours, _)| *ours == name);
            if !is_ours && column(spec, &name).is_none() {
                let (message, hint) = unknown(spec, key, &name);
                stream.source.wrong(offset, message, Some(hint));
            }
        }
    }
    if let TimeSpec::Column { column: name, unit } = &spec.time {
        check_time(&stream.table("time"), spec, name, *unit);
    }
}

fn check_time(time: &Reader<'_>, spec: &StreamSpec, name: &str, unit: TimeUnit) {
    use ColumnType::{Bigint, Decimal, Double, Number, Text, Timestamp};
    if name == "_timestamp" {
        return;
    }
    let Some(ty) = column(spec, name) else {
        let (message, hint) = unknown(spec, "column", name);
        return time.wrong("column", message, Some(hint));
    };
    let fits = match (ty, unit) {
        (None | Some(Timestamp), _) => true,
        (Some(ty), TimeUnit::Rfc3339) => ty == Text,
        (Some(ty), _) => matches!(ty, Bigint | Double | Number | Decimal),
    };
    if !fits {
        let needed = if unit == TimeUnit::Rfc3339 { "text" } else { "a number" };
        let is = ty.map_or("any", ColumnType::name);
        let message = format!("the time column `{name}` is {is}, but its unit needs {needed}");
        time.wrong("unit", message, None);
    }
}

/// What is behind a name: outer `None` when there is no such column, inner when it may be of several types.
fn column(spec: &StreamSpec, name: &str) -> Option<Option<ColumnType>> {
    let declared = spec.columns.iter().find(|(column, _)| **column == *name);
    declared.map(|(_, ty)| Some(*ty)).or_else(|| spec.schema_column(name))
}

fn unknown(spec: &StreamSpec, key: &str, name: &str) -> (String, String) {
    let of_schema = spec.format.columns();
    let declared = spec.columns.iter().map(|(name, _)| name.clone());
    let names: Vec<Arc<str>> = declared.chain(of_schema.into_iter().map(|c| c.name)).collect();
    let hint = match closest(name, names.iter().map(|n| &**n)) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("the columns are {}", join(names.iter().map(|n| &**n))),
    };
    (format!("`{key}` names `{name}`, which is no column"), hint)
}
