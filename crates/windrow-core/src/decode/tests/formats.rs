//! Formats beside JSON and text: what their bytes become, as values and as keys.

use std::sync::Arc;

use super::*;
use crate::avro::Schema;

/// One field of each kind that a time may be of.
const TIMES: &str = r#"{"type": "record", "name": "T", "fields": [
    {"name": "s", "type": "double"},
    {"name": "ms", "type": "long"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "text", "type": ["null", "string"]}
]}"#;

fn avro(schema: &str) -> Format {
    Format::Avro(Arc::new(Schema::parse(schema).unwrap()))
}

fn csv(time: TimeSpec) -> StreamSpec {
    let mut spec = spec(Format::Csv, time);
    spec.columns = [
        ("id", ColumnType::Text),
        ("n", ColumnType::Bigint),
        ("x", ColumnType::Double),
        ("ok", ColumnType::Boolean),
        ("at", ColumnType::Timestamp),
        ("doc", ColumnType::Json),
    ]
    .map(|(name, ty)| (name.into(), ty))
    .into();
    spec
}

/// The row for queries, and the row for channels.
fn both(spec: &StreamSpec, value: &[u8]) -> String {
    let columns: Vec<_> = spec.columns.iter().map(|(n, t)| (&**n, Some(*t))).collect();
    let decoder = Decoder::for_columns(spec, &super::columns(&columns));
    let mut row = Vec::new();
    let row = match write_members(spec, value, &mut row) {
        Ok(()) => String::from_utf8(row).unwrap(),
        Err(bad) => bad.label().to_owned(),
    };
    format!("{}\n  {row}\n", told(&decoder, &record(Some(value))))
}

#[test]
fn fields_of_csv_are_read_as_their_columns_are_declared() {
    let spec = csv(TimeSpec::Record);
    let mut out = String::new();
    for value in [
        r#"a,1,1.5,true,1700000000000,"{""k"":[1]}""#,
        r#""a ""b"", c",-3.0,2,false,2023-11-14T22:13:20Z,null"#,
        r#""",,,,,"#,
        "a,one,1e999,TRUE,yesterday,{",
        "a,+1,.5,1,1.5,",
        "a,1,1.5,true,1",
        "a,1,1.5,true,1,2,3",
        "a\"b,1,1,1,1,1",
    ] {
        out += &format!("{value} -> {}", both(&spec, value.as_bytes()));
    }
    out += &both(&spec, b"\xff,,,,,");
    expect![[r#"
        a,1,1.5,true,1700000000000,"{""k"":[1]}" -> 1700000000000 [Text("a"), Int(1), Float(1.5), Bool(true), Timestamp(1700000000000), Json("{\"k\":[1]}")] [0, 0, 0, 0, 0, 0]
          ,"id":"a","n":1,"x":1.5,"ok":true,"at":1700000000000,"doc":{"k":[1]}
        "a ""b"", c",-3.0,2,false,2023-11-14T22:13:20Z,null -> 1700000000000 [Text("a \"b\", c"), Int(-3), Float(2.0), Bool(false), Timestamp(1700000000000), Null] [0, 0, 0, 0, 0, 0]
          ,"id":"a \"b\", c","n":-3,"x":2,"ok":false,"at":1700000000000,"doc":null
        "",,,,, -> 1700000000000 [Text(""), Null, Null, Null, Null, Null] [0, 0, 0, 0, 0, 0]
          ,"id":"","n":null,"x":null,"ok":null,"at":null,"doc":null
        a,one,1e999,TRUE,yesterday,{ -> 1700000000000 [Text("a"), Null, Null, Null, Null, Null] [0, 1, 1, 1, 1, 1]
          ,"id":"a","n":null,"x":null,"ok":null,"at":null,"doc":null
        a,+1,.5,1,1.5, -> 1700000000000 [Text("a"), Null, Null, Null, Null, Null] [0, 1, 1, 1, 1, 0]
          ,"id":"a","n":null,"x":null,"ok":null,"at":null,"doc":null
        a,1,1.5,true,1 -> csv_fields: the record of CSV has more or fewer fields than the stream has columns
          csv_fields
        a,1,1.5,true,1,2,3 -> csv_fields: the record of CSV has more or fewer fields than the stream has columns
          csv_fields
        a"b,1,1,1,1,1 -> not_csv: the value is not one record of CSV
          not_csv
        not_utf8: the value is not UTF-8
          not_utf8
    "#]].assert_eq(&out);
}

#[test]
fn a_time_column_of_csv_is_a_number_or_text() {
    let mut out = String::new();
    for (column, unit, value) in [
        ("n", TimeUnit::Seconds, ",1700000000,,,,"),
        ("x", TimeUnit::Seconds, ",,1700000000.001,,,"),
        ("at", TimeUnit::Millis, ",,,,1699999999999,"),
        ("at", TimeUnit::Rfc3339, ",,,,2023-11-14T22:13:20Z,"),
        ("id", TimeUnit::Rfc3339, "2023-11-14T22:13:20Z,,,,,"),
        ("n", TimeUnit::Seconds, ",,,,,"),
        ("n", TimeUnit::Seconds, ",soon,,,,"),
    ] {
        let spec = csv(TimeSpec::Column { column: column.into(), unit });
        let decoder = Decoder::for_columns(&spec, &columns(&[(column, None)]));
        out += &format!("{value} -> {}\n", told(&decoder, &record(Some(value.as_bytes()))));
    }
    expect![[r#"
        ,1700000000,,,, -> 1700000000000 [Int(1700000000)] [0]
        ,,1700000000.001,,, -> 1700000000001 [Float(1700000000.001)] [0]
        ,,,,1699999999999, -> 1699999999999 [Int(1699999999999)] [0]
        ,,,,2023-11-14T22:13:20Z, -> 1700000000000 [Text("2023-11-14T22:13:20Z")] [0]
        2023-11-14T22:13:20Z,,,,, -> 1700000000000 [Text("2023-11-14T22:13:20Z")] [0]
        ,,,,, -> missing_time: the event time is missing
        ,soon,,,, -> bad_time: the event time is of another type or outside the years 1 to 9999
    "#]]
    .assert_eq(&out);
}

#[test]
fn bytes_are_one_column_and_never_bad() {
    let spec = spec(Format::Bytes, TimeSpec::Record);
    let decoder = Decoder::for_columns(&spec, &columns(&[("_value", Some(ColumnType::Bytes))]));
    let mut out = String::new();
    for value in [&b"text"[..], b"\xff\x00", b""] {
        let mut row = Vec::new();
        write_members(&spec, value, &mut row).unwrap();
        out += &format!("{} {}\n", told(&decoder, &record(Some(value))), String::from_utf8(row).unwrap());
    }
    out += &format!("{}\n", told(&decoder, &record(None)));
    expect![[r#"
        1700000000000 [Bytes([116, 101, 120, 116])] [0] ,"_value":"dGV4dA=="
        1700000000000 [Bytes([255, 0])] [0] ,"_value":"/wA="
        1700000000000 [Bytes([])] [0] ,"_value":""
        1700000000000 [Null] [0]
    "#]]
    .assert_eq(&out);
}

fn times(s: f64, ms: i64, at_us: i64, text: Option<&str>) -> Vec<u8> {
    let mut out = s.to_le_bytes().to_vec();
    for long in [ms, at_us] {
        let mut rest = ((long << 1) ^ (long >> 63)).cast_unsigned();
        while rest >= 0x80 {
            out.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    match text {
        None => out.push(0),
        Some(text) => {
            out.extend([2, (text.len() * 2) as u8]);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

#[test]
fn a_time_of_avro_is_a_number_text_or_knows_itself() {
    let good =
        times(1_485_907_200.123, 1_485_907_200_123, 1_485_907_200_123_999, Some("2017-02-01T00:00:00.123Z"));
    let none = times(f64::NAN, i64::MAX, i64::MIN, None);
    let mut out = String::new();
    for (column, unit) in [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Millis),
        ("ms", TimeUnit::Micros),
        ("ms", TimeUnit::Seconds),
        ("at", TimeUnit::Millis),
        ("text", TimeUnit::Rfc3339),
        ("text", TimeUnit::Millis),
        ("ms", TimeUnit::Rfc3339),
    ] {
        let spec = spec(avro(TIMES), TimeSpec::Column { column: column.into(), unit });
        let decoder = Decoder::for_columns(&spec, &columns(&[(column, None)]));
        let told = |value: &[u8]| told(&decoder, &record(Some(value)));
        out += &format!("{column} {unit:?}: {} | {}\n", told(&good), told(&none));
    }
    expect![[r#"
        s Seconds: 1485907200123 [Float(1485907200.123)] [0] | bad_time: the event time is of another type or outside the years 1 to 9999
        ms Millis: 1485907200123 [Int(1485907200123)] [0] | bad_time: the event time is of another type or outside the years 1 to 9999
        ms Micros: 1485907200 [Int(1485907200123)] [0] | bad_time: the event time is of another type or outside the years 1 to 9999
        ms Seconds: bad_time: the event time is of another type or outside the years 1 to 9999 | bad_time: the event time is of another type or outside the years 1 to 9999
        at Millis: 1485907200123 [Timestamp(1485907200123)] [0] | bad_time: the event time is of another type or outside the years 1 to 9999
        text Rfc3339: 1485907200123 [Text("2017-02-01T00:00:00.123Z")] [0] | missing_time: the event time is missing
        text Millis: bad_time: the event time is of another type or outside the years 1 to 9999 | missing_time: the event time is missing
        ms Rfc3339: bad_time: the event time is of another type or outside the years 1 to 9999 | bad_time: the event time is of another type or outside the years 1 to 9999
    "#]].assert_eq(&out);
}

#[test]
fn a_value_of_another_type_than_its_use_is_null_and_counted() {
    let schema = r#"{"type": "map", "values": ["null", "string", "int", "double"]}"#;
    let spec = spec(avro(schema), TimeSpec::Record);
    let wanted = [
        ("a", Some(ColumnType::Number)),
        ("a", Some(ColumnType::Text)),
        ("b", Some(ColumnType::Bigint)),
        ("_value", Some(ColumnType::Json)),
    ];
    let decoder = Decoder::for_columns(&spec, &columns(&wanted));
    let mut out = String::new();
    for value in [
        &b"\x04\x02a\x02\x02x\x02b\x04\x0a\x00"[..],
        b"\x04\x02a\x04\x06\x02b\x06\0\0\0\0\0\0\xf8\x3f\x00",
        b"\x02\x02a\x00\x00",
        b"\x00",
        b"\x00\x00",
        b"",
    ] {
        out += &format!("{}\n", told(&decoder, &record(Some(value))));
    }
    expect![[r#"
        1700000000000 [Null, Text("x"), Int(5), Json("{\"a\":\"x\",\"b\":5}")] [1, 0, 0, 0]
        1700000000000 [Int(3), Null, Null, Json("{\"a\":3,\"b\":1.5}")] [0, 1, 1, 0]
        1700000000000 [Null, Null, Null, Json("{\"a\":null}")] [0, 0, 0, 0]
        1700000000000 [Null, Null, Null, Json("{}")] [0, 0, 0, 0]
        not_avro: the value is not one Avro datum of the stream's schema
        not_avro: the value is not one Avro datum of the stream's schema
    "#]]
    .assert_eq(&out);
}

#[test]
fn columns_of_keys_are_read_and_a_key_of_another_schema_is_bad() {
    let schema =
        r#"{"type": "record", "name": "K", "fields": [{"name": "organization_id", "type": "long"}]}"#;
    let mut spec = spec(Format::Json, TimeSpec::Record);
    let wanted = columns(&[("_key.organization_id", None), ("_key", None), ("_key.none", None)]);
    let mut out = String::new();
    for (format, keys) in [
        (avro(schema), &[Some(&b"\x02"[..]), Some(b"\x02\x02"), Some(b""), None][..]),
        (avro("\"long\""), &[Some(b"\x02")]),
        (Format::Json, &[Some(b"{\"organization_id\": 1}"), Some(b"[1]"), Some(b"{"), None]),
        (Format::Bytes, &[Some(b"\xff"), None]),
    ] {
        spec.key_format = format;
        let decoder = Decoder::for_columns(&spec, &wanted);
        for key in keys {
            let mut row = Vec::new();
            let row = match key.map(|key| write_key(&spec, key, &mut row)) {
                Some(Err(bad)) => bad.label().to_owned(),
                Some(Ok(())) => String::from_utf8(row).unwrap(),
                None => "no key".to_owned(),
            };
            let told = told(&decoder, &Record { key: *key, ..record(Some(b"{}")) });
            out += &format!("{} {key:x?} -> {told} {row}\n", spec.key_format.name());
        }
    }
    expect![[r#"
        avro Some([2]) -> 1700000000000 [Int(1), Json("{\"organization_id\":1}"), Null] [0, 0, 0] {"organization_id":1}
        avro Some([2, 2]) -> key_not_avro: the key is not one Avro datum of its schema not_avro
        avro Some([]) -> key_not_avro: the key is not one Avro datum of its schema not_avro
        avro None -> 1700000000000 [Null, Null, Null] [0, 0, 0] no key
        avro Some([2]) -> 1700000000000 [Null, Int(1), Null] [0, 0, 0] 1
        json Some([7b, 22, 6f, 72, 67, 61, 6e, 69, 7a, 61, 74, 69, 6f, 6e, 5f, 69, 64, 22, 3a, 20, 31, 7d]) -> 1700000000000 [Int(1), Json("{\"organization_id\": 1}"), Null] [0, 0, 0] "{\"organization_id\": 1}"
        json Some([5b, 31, 5d]) -> 1700000000000 [Null, Json("[1]"), Null] [1, 0, 1] "[1]"
        json Some([7b]) -> 1700000000000 [Null, Null, Null] [1, 1, 1] "{"
        json None -> 1700000000000 [Null, Null, Null] [0, 0, 0] no key
        bytes Some([ff]) -> 1700000000000 [Null, Bytes([255]), Null] [0, 0, 0] "/w=="
        bytes None -> 1700000000000 [Null, Null, Null] [0, 0, 0] no key
    "#]].assert_eq(&out);
}

#[test]
fn a_null_value_of_a_table_has_the_columns_of_its_key() {
    let mut spec = spec(avro(TIMES), TimeSpec::Record);
    spec.key_format = avro("\"long\"");
    spec.latest_by = vec!["_key".into()];
    let decoder = Decoder::for_columns(&spec, &columns(&[("_key", None), ("ms", None)]));
    let deleted = Record { key: Some(b"\x0e"), ..record(None) };
    assert_eq!(told(&decoder, &deleted), "1700000000000 [Int(7), Null] [0, 0]");
}

/// A message with its time in two ways.
fn protobuf() -> Format {
    use crate::protobuf::{Field, Label, Message, Schema, Type};
    let field = |name: &str, number, ty, label| Field {
        name: name.into(),
        number,
        ty,
        label,
        oneof: None,
        default: None,
    };
    let halves = vec![
        field("seconds", 1, Type::Int64, Label::Implicit),
        field("nanos", 2, Type::Int32, Label::Implicit),
    ];
    let root = vec![
        field("ms", 1, Type::Int64, Label::Implicit),
        field("at", 2, Type::Message(1), Label::Explicit),
        field("_offset", 3, Type::Int64, Label::Implicit),
    ];
    let message = |name: &str, fields| Message { name: name.into(), fields };
    let messages = vec![message("M", root), message("google.protobuf.Timestamp", halves)];
    Format::Protobuf(Arc::new(Schema::new(messages, Vec::new(), 0).unwrap()))
}

#[test]
fn messages_are_values_and_keys_and_a_timestamp_is_a_time() {
    let time = |name: &str| TimeSpec::Column { column: name.into(), unit: TimeUnit::Millis };
    let mut out = String::new();
    for name in ["ms", "at"] {
        let mut spec = spec(protobuf(), time(name));
        spec.key_format = protobuf();
        let wanted =
            columns(&[("at", None), ("_key.ms", None), ("_key", None), ("_value", None), ("_offset", None)]);
        let decoder = Decoder::for_columns(&spec, &wanted);
        for (key, value) in [
            (Some(&b"\x08\x07"[..]), &b"\x08\x05\x12\x02\x08\x06\x18\x01"[..]),
            (Some(b""), b""),
            (None, b"\x12\x05\x08\xff\xff\xff\x7f"),
            (Some(b"\x08"), b"\x08\x05"),
            (None, b"\x08"),
            // A time that no calendar has.
            (None, b"\x08\x05\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ] {
            let mut row = Vec::new();
            let row = match write_members(&spec, value, &mut row) {
                Ok(()) => String::from_utf8(row).unwrap(),
                Err(bad) => bad.label().to_owned(),
            };
            out += &format!("{name} {}\n  {row}\n", told(&decoder, &Record { key, ..record(Some(value)) }));
        }
    }
    expect![[r#"
        ms 5 [Timestamp(6000), Int(7), Json("{\"ms\":7}"), Json("{\"ms\":5,\"at\":6000,\"_offset\":1}"), Int(7)] [0, 0, 0, 0, 0]
          ,"ms":5,"at":6000
        ms 0 [Null, Int(0), Json("{}"), Json("{}"), Int(7)] [0, 0, 0, 0, 0]
          ,"ms":0,"at":null
        ms 0 [Timestamp(268435455000), Null, Null, Json("{\"at\":268435455000}"), Int(7)] [0, 0, 0, 0, 0]
          ,"ms":0,"at":268435455000
        ms key_not_protobuf: the key is not one Protobuf message of its schema
          ,"ms":5,"at":null
        ms not_protobuf: the value is not one Protobuf message of its schema
          not_protobuf
        ms 5 [Null, Null, Null, Json("{\"ms\":5,\"at\":null}"), Int(7)] [1, 0, 0, 0, 0]
          ,"ms":5,"at":null
        at 6000 [Timestamp(6000), Int(7), Json("{\"ms\":7}"), Json("{\"ms\":5,\"at\":6000,\"_offset\":1}"), Int(7)] [0, 0, 0, 0, 0]
          ,"ms":5,"at":6000
        at missing_time: the event time is missing
          ,"ms":0,"at":null
        at 268435455000 [Timestamp(268435455000), Null, Null, Json("{\"at\":268435455000}"), Int(7)] [0, 0, 0, 0, 0]
          ,"ms":0,"at":268435455000
        at key_not_protobuf: the key is not one Protobuf message of its schema
          ,"ms":5,"at":null
        at not_protobuf: the value is not one Protobuf message of its schema
          not_protobuf
        at bad_time: the event time is of another type or outside the years 1 to 9999
          ,"ms":5,"at":null
    "#]].assert_eq(&out);
}
