//! Any bytes: what a view reads of a value and what a channel shows of it must have the same verdict, for CSV and for a few schemas
//! of Avro and Protobuf that hold every type; and any text is a schema or a mistake with a place in it.
#![no_main]

use std::sync::{Arc, LazyLock};

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use windrow_core::{
    avro::Schema,
    batch::Record,
    decode::{Decoder, write_members},
    plan::SourceColumn,
    protobuf,
    spec::{Format, OnBad, StreamSpec, TimeSpec},
    topics::Topics,
    value::ColumnType,
};

const SCHEMAS: [&str; 4] = [
    r#"{"type": "record", "name": "DataRecord", "fields": [{"name": "timestamp", "type": "double"},
        {"name": "data", "type": {"type": "map", "values": ["string", "bytes", "float", "long", "int", "boolean"]}}]}"#,
    r#"{"type": "record", "name": "R", "fields": [
        {"name": "timestamp", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
        {"name": "data", "type": ["null", {"type": "record", "name": "A", "fields": [
            {"name": "a", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9}},
            {"name": "b", "type": {"type": "array", "items": ["null", "R"]}}]}]},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}},
        {"name": "u", "type": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}},
        {"name": "d", "type": {"type": "int", "logicalType": "date"}}]}"#,
    r#"{"type": "array", "items": {"type": "array", "items": "null"}}"#,
    r#"["null", {"type": "record", "name": "L", "fields": [{"name": "data", "type": "string"}, {"name": "next", "type": ["null", "L"]}]}]"#,
];

static SPECS: LazyLock<Vec<StreamSpec>> = LazyLock::new(|| {
    let avro = |text: &&str| Format::Avro(Arc::new(Schema::parse(text).expect("a schema of our own")));
    let messages = Format::Protobuf(Arc::new(messages()));
    std::iter::once(Format::Csv).chain(SCHEMAS.iter().map(avro)).chain([messages]).map(spec).collect()
});

/// A message with every type in every shape, which holds itself; `data` is a map of messages.
fn messages() -> protobuf::Schema {
    use protobuf::{Enum, Field, Label, Message, Schema, Type};
    let field = |name: &str, number, ty, label, oneof| {
        Field { name: name.into(), number, ty, label, oneof, default: None }
    };
    let scalars = [
        Type::Double, Type::Float, Type::Int32, Type::Int64, Type::Uint32, Type::Uint64, Type::Sint32, Type::Sint64,
        Type::Fixed32, Type::Fixed64, Type::Sfixed32, Type::Sfixed64, Type::Bool, Type::Text, Type::Bytes, Type::Enum(0),
    ];
    let mut fields = vec![
        field("timestamp", 1, Type::Message(2), Label::Explicit, None),
        field("data", 2, Type::Message(1), Label::Map, None),
        field("a", 3, Type::Group(0), Label::Explicit, Some(0)),
        field("b", 4, Type::Message(0), Label::Explicit, Some(0)),
        field("many", 5, Type::Message(0), Label::Repeated, None),
    ];
    for (number, ty) in (16..).zip(scalars) {
        fields.push(field(&format!("one{number}"), number, ty, Label::Implicit, None));
        fields.push(field(&format!("all{number}"), number + 1_000, ty, Label::Repeated, None));
        fields.push(field(&format!("some{number}"), number + 100, ty, Label::Explicit, Some(0)));
    }
    let entry = vec![
        field("key", 1, Type::Text, Label::Implicit, None),
        field("value", 2, Type::Message(0), Label::Explicit, None),
    ];
    let time = vec![
        field("seconds", 1, Type::Int64, Label::Implicit, None),
        field("nanos", 2, Type::Int32, Label::Implicit, None),
    ];
    let message = |name: &str, fields| Message { name: name.into(), fields };
    let messages = vec![
        message("R", fields),
        message("R.DataEntry", entry),
        message("google.protobuf.Timestamp", time),
    ];
    let values = vec![(0, "ZERO".into()), (1, "ONE".into())];
    Schema::new(messages, vec![Enum { values }], 0).expect("a schema of our own")
}

fn spec(format: Format) -> StreamSpec {
    let all = [("timestamp", ColumnType::Double), ("data", ColumnType::Json), ("text", ColumnType::Text)];
    StreamSpec {
        name: "s".into(),
        topics: Topics::One("s".into()),
        columns: if format == Format::Csv { all.map(|(n, t)| (n.into(), t)).into() } else { Vec::new() },
        format,
        key_format: Format::Text,
        time: TimeSpec::Record,
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: OnBad::Skip,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: Vec::new(),
        keep: 0,
        row_filter: None,
        until_end: false,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [which, value @ ..] = bytes else { return };
    let Some(spec) = SPECS.get(usize::from(*which)) else {
        if let Ok(text) = std::str::from_utf8(value)
            && let Err(error) = Schema::parse(text)
        {
            assert!(error.line >= 1 && error.line <= text.matches('\n').count() + 1, "{error}");
        }
        return;
    };
    let mut whole = Vec::new();
    let shown = write_members(spec, value, &mut whole);
    for wanted in [&[][..], &["timestamp"], &["data"], &["data.a", "data.b", "_value"], &["data", "data.a"]] {
        let columns: Vec<_> =
            wanted.iter().map(|name| SourceColumn { name: (*name).into(), ty: None }).collect();
        let decoder = Decoder::for_columns(spec, &columns);
        let (arena, mut row) = (Bump::new(), Vec::new());
        let record = Record { offset: 0, timestamp_ms: 0, key: None, value: Some(value), headers: Default::default() };
        let mut mistyped = vec![0; decoder.width()];
        let read = decoder.decode(("s", 0), &record, 0, &arena, &mut row, &mut mistyped);
        // No bytes are no record of CSV for views, and one empty field for channels.
        if !value.is_empty() || spec.format != Format::Csv {
            assert_eq!(read.err(), shown.err(), "{wanted:?}");
        }
    }
    if shown.is_ok()
        && let Some(first) = whole.first_mut()
    {
        *first = b'{';
        whole.push(b'}');
        serde_json::from_slice::<serde_json::Value>(&whole).expect("rows are JSON");
    }
});
