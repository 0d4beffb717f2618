//! Schemas with their mistakes, and values with theirs.

use std::fmt::Write;
use std::sync::Arc;

use bumpalo::Bump;
use expect_test::{Expect, expect};

use super::*;
use crate::scan::Token;

mod generated;
mod resolve;

/// Of the sensors: seconds with a fraction, and a map whose values are of any scalar type. The order of the union is what counts.
const SENSORS: &str = r#"{
    "type": "record", "name": "DataRecord", "namespace": "stcs.avro",
    "fields": [
        {"name": "timestamp", "type": "double", "doc": "seconds"},
        {"name": "data", "type": {"type": "map", "values": ["string", "bytes", "float", "long", "int", "boolean"]}}
    ]
}"#;

/// All logical types, references, and a record inside of a union.
const ORDER: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "raw", "type": {"type": "fixed", "name": "Raw", "size": 16, "logicalType": "uuid"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}]},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
    {"name": "was", "type": ["null", "State"]},
    {"name": "by", "type": ["null", {"type": "record", "name": "User", "fields": [
        {"name": "id", "type": "long"}, {"name": "boss", "type": ["null", "User"]}]}]},
    {"name": "tags", "type": {"type": "array", "items": "string"}}
]}"#;

fn refused(text: &str) -> String {
    match Schema::parse(text) {
        Ok(schema) => format!("{:?}", schema.columns()),
        Err(error) => match &error.hint {
            Some(hint) => format!("{error}\n  hint: {hint}"),
            None => error.to_string(),
        },
    }
}

#[test]
fn mistakes_in_schemas_have_place_and_way_out() {
    let mut out = String::new();
    for text in [
        "",
        "{\"type\": \"record\",\n",
        "7",
        "\"strng\"",
        "\"map\"",
        "[]",
        "[\"int\", \"int\"]",
        "[\"int\", [\"null\"]]",
        "{\"typ\": \"int\"}",
        "{\"type\": \"recrod\", \"name\": \"A\"}",
        "{\"type\": \"record\", \"name\": \"A\"}",
        "{\"type\": \"record\", \"name\": \"9\", \"fields\": []}",
        "{\"type\": \"record\", \"name\": \"A\", \"fields\": {}}",
        "{\"type\": \"record\", \"name\": \"A\", \"fields\": [\n  {\"name\": \"a\", \"type\": \"int\"},\n  {\"name\": \"a\", \"type\": \"int\"}]}",
        "{\"type\": \"record\", \"name\": \"A\", \"fields\": [\n  {\"name\": \"ä-b\", \"type\": \"int\"}]}",
        "{\"type\": \"record\", \"name\": \"A\", \"fields\": [\n  {\"name\": \"a\", \"type\": \"Adress\"},\n  {\"name\": \"b\", \"type\": \"int\"}]}",
        "{\"type\": \"array\"}",
        "{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\", \"A\"]}",
        "{\"type\": \"fixed\", \"name\": \"F\", \"size\": -1}",
        "{\"type\": \"string\", \"logicalType\": \"timestamp-millis\"}",
        "{\"type\": \"bytes\", \"logicalType\": \"decimal\"}",
        "{\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 39}",
        "{\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 3, \"scale\": 4}",
    ] {
        writeln!(out, "{}", refused(text)).unwrap();
    }
    expect![[r#"
        1:1: not JSON: EOF while parsing a value
        2:1: not JSON: EOF while parsing an object
        1:1: a type must be a name, an object or a list, not 7
        1:1: there is no type `strng`
          hint: did you mean "string"?
        1:1: there is no type `map`
          hint: a type with parts is an object: {"type": "map", …}
        1:1: a union must hold a type
        1:9: the union holds "int" twice
        1:9: a union must not hold a union
        1:1: `type` is missing
          hint: is `typ` meant?
        1:10: there is no type `recrod`
          hint: did you mean "record"?
        1:1: `fields` is missing
        1:28: `9` is no name of Avro
          hint: a name has letters, digits and `_`, and begins with no digit
        1:43: `fields` must be a list, not {}
        3:12: the record has a field `a` already
        2:12: `ä-b` is no name of Avro
          hint: a name has letters, digits and `_`, and begins with no digit
        2:25: there is no type `Adress`
          hint: a named type must be defined before it is used; a union is a list
        1:1: `items` is missing
        1:42: `symbols` holds `A` twice
        1:40: `size` must be a number of bytes, not -1
        1:35: `timestamp-millis` is no logical type of this type
          hint: it stands on long
        1:1: `precision` is missing
        1:58: `precision` must be from 1 to 38, not 39
        1:70: `scale` must be from 0 to the precision 3, not 4
    "#]]
    .assert_eq(&out);
}

#[test]
fn columns_have_the_types_of_the_schema() {
    let mut out = String::new();
    for (schema, paths) in [
        (SENSORS, &["timestamp", "data", "data.a", "data.a.b", "nope"][..]),
        (
            ORDER,
            &[
                "id",
                "raw",
                "day",
                "at",
                "price",
                "state",
                "was",
                "by",
                "by.id",
                "by.boss.boss.id",
                "by.no",
                "tags",
                "tags.a",
            ],
        ),
        (r#"["null", "long", "double"]"#, &["a"]),
        (
            r#"{"type": "map", "values": {"type": "map", "values": ["int", "string"]}}"#,
            &["a", "a.b", "a.b.c"],
        ),
    ] {
        let schema = Schema::parse(schema).unwrap();
        let names: Vec<_> = schema.columns().iter().map(|c| c.name.to_string()).collect();
        writeln!(out, "{} {:?}", names.join(" "), schema.value_type()).unwrap();
        for path in paths {
            writeln!(out, "  {path}: {:?}", schema.column(path)).unwrap();
        }
    }
    expect![[r#"
        timestamp data Some(Json)
          timestamp: Some(Some(Double))
          data: Some(Some(Json))
          data.a: Some(None)
          data.a.b: Some(None)
          nope: None
        id raw day at price state was by tags Some(Json)
          id: Some(Some(Text))
          raw: Some(Some(Text))
          day: Some(Some(Timestamp))
          at: Some(Some(Timestamp))
          price: Some(Some(Decimal))
          state: Some(Some(Text))
          was: Some(Some(Text))
          by: Some(Some(Json))
          by.id: Some(Some(Bigint))
          by.boss.boss.id: Some(Some(Bigint))
          by.no: None
          tags: Some(Some(Json))
          tags.a: None
         Some(Number)
          a: None
         Some(Json)
          a: Some(Some(Json))
          a.b: Some(None)
          a.b.c: Some(None)
    "#]]
    .assert_eq(&out);
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(value: &str, out: &mut Vec<u8>) {
    long(value.len() as i64, out);
    out.extend_from_slice(value.as_bytes());
}

fn sensors() -> Vec<u8> {
    let mut out = 1_485_907_200.25_f64.to_le_bytes().to_vec();
    long(6, &mut out);
    for (branch, (key, value)) in [
        ("s", &b"\x02x"[..]),
        ("b", b"\x04\xff\x00"),
        ("f", &23.1_f32.to_le_bytes()),
        ("l", b"\x03"),
        ("i", b"\x54"),
        ("o", b"\x01"),
    ]
    .into_iter()
    .enumerate()
    {
        text(key, &mut out);
        long(branch as i64, &mut out);
        out.extend_from_slice(value);
    }
    out.push(0);
    out
}

fn order() -> Vec<u8> {
    let mut out = Vec::new();
    text("67e55044-10b1-426f-9247-bb680e5fe0c8", &mut out);
    out.extend_from_slice(&[
        0x67, 0xe5, 0x50, 0x44, 0x10, 0xb1, 0x42, 0x6f, 0x92, 0x47, 0xbb, 0x68, 0x0e, 0x5f, 0xe0, 0xc8,
    ]);
    long(-1, &mut out);
    long(-1, &mut out);
    out.extend_from_slice(b"\x02\x04\xfe\x0c"); // branch 1, two bytes: -500
    out.extend_from_slice(b"\x02\x02\x00"); // PAID, was NEW
    out.extend_from_slice(b"\x02\x0e\x02\x10\x00"); // by 7, whose boss is 8
    out.extend_from_slice(b"\x03\x08\x02a\x02b"); // a block that says its size: two items in four bytes
    out.push(0);
    out
}

fn read(schema: &str, value: &[u8], wanted: &[&str]) -> String {
    let projection = Projection::new(Arc::new(Schema::parse(schema).unwrap()), wanted);
    let arena = Bump::new();
    let told = projection.read(value, &arena, |tokens| {
        wanted
            .iter()
            .zip(tokens)
            .map(|(w, t)| format!("{w}={}", show(*t, &arena)))
            .collect::<Vec<_>>()
            .join(" ")
    });
    told.unwrap_or_else(|bad| bad.label().to_owned())
}

fn show(token: Token<'_>, arena: &Bump) -> String {
    match token {
        Token::Of(datum) => format!("{datum:?}"),
        other => other.raw(arena).unwrap_or("missing").to_owned(),
    }
}

fn whole(schema: &str, value: &[u8]) -> String {
    let mut out = Vec::new();
    match Schema::parse(schema).unwrap().write_value(value, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(bad) => bad.label().to_owned(),
    }
}

#[test]
fn a_union_is_read_in_the_order_of_the_schema_and_floats_keep_their_32_bits() {
    let value = sensors();
    let wanted = ["timestamp", "data.s", "data.b", "data.f", "data.l", "data.i", "data.o", "data.none"];
    expect![[r#"timestamp=Float(1485907200.25) data.s=Text("x") data.b=Bytes([255, 0]) data.f=Float(23.100000381469727) data.l=Int(-2) data.i=Int(42) data.o=Bool(true) data.none=missing"#]].assert_eq(&read(SENSORS, &value, &wanted));
    expect![[r#"{"timestamp":1485907200.25,"data":{"s":"x","b":"/wA=","f":23.100000381469727,"l":-2,"i":42,"o":true}}"#]].assert_eq(&whole(SENSORS, &value));
}

#[test]
fn tagged_bytes_are_told_from_text_wherever_they_are() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "raw", "type": "bytes"},
        {"name": "data", "type": {"type": "map", "values": ["string", "bytes", {"type": "fixed", "name": "F", "size": 2}]}}
    ]}"#;
    let mut value = b"\x02\xff".to_vec();
    long(3, &mut value);
    for (name, branch, held) in [("t", 0, b"\x02a".as_slice()), ("b", 1, b"\x02\x00"), ("f", 2, b"\x01\x02")]
    {
        text(name, &mut value);
        long(branch, &mut value);
        value.extend_from_slice(held);
    }
    value.push(0);
    let written = |schema: &Schema| {
        let mut out = Vec::new();
        schema.write_members(&value, |_| false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let plain = Schema::parse(schema).unwrap();
    assert_eq!(written(&plain), r#","raw":"/w==","data":{"t":"a","b":"AA==","f":"AQI="}"#);
    let tagged = r#","raw":{"$bytes":"/w=="},"data":{"t":"a","b":{"$bytes":"AA=="},"f":{"$bytes":"AQI="}}"#;
    assert_eq!(written(&plain.tagging_bytes()), tagged);
}

#[test]
fn logical_types_references_and_records_in_unions_are_read() {
    let value = order();
    let wanted = [
        "id",
        "raw",
        "day",
        "at",
        "price",
        "state",
        "was",
        "by.id",
        "by.boss.id",
        "by.boss.boss.id",
        "by",
        "tags",
    ];
    expect![[r#"
        id=Text("67e55044-10b1-426f-9247-bb680e5fe0c8")
        raw=Text("67e55044-10b1-426f-9247-bb680e5fe0c8")
        day=Timestamp(-86400000)
        at=Timestamp(-1)
        price=-5.00
        state=Text("PAID")
        was=Text("NEW")
        by.id=Int(7)
        by.boss.id=Int(8)
        by.boss.boss.id=missing
        by={"id":7,"boss":{"id":8,"boss":null}}
        tags=["a","b"]"#]]
    .assert_eq(&read(ORDER, &value, &wanted).replace(' ', "\n"));
    expect![[r#"{"id":"67e55044-10b1-426f-9247-bb680e5fe0c8","raw":"67e55044-10b1-426f-9247-bb680e5fe0c8","day":-86400000,"at":-1,"price":-5.00,"state":"PAID","was":"NEW","by":{"id":7,"boss":{"id":8,"boss":null}},"tags":["a","b"]}"#]].assert_eq(&whole(ORDER, &value));
    assert_eq!(read(ORDER, &value, &[""]), format!("={}", whole(ORDER, &value)));
}

#[test]
fn the_verdict_does_not_depend_on_what_is_wanted() {
    for (schema, value, some) in [
        (SENSORS, sensors(), &["data.f"][..]),
        (ORDER, order(), &["by.id", "tags"]),
        (ORDER, order(), &["by"]),
    ] {
        for cut in 0..value.len() {
            let cut = &value[..cut];
            assert_eq!(read(schema, cut, &[]), "not_avro", "{cut:x?}");
            assert_eq!(read(schema, cut, some), "not_avro", "{cut:x?}");
            assert_eq!(whole(schema, cut), "not_avro", "{cut:x?}");
        }
        let more = [value.as_slice(), b"\0"].concat();
        assert_eq!((read(schema, &more, &[]), whole(schema, &more)), ("not_avro".into(), "not_avro".into()));
        for index in 0..value.len() {
            for byte in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bent = value.clone();
                bent[index] = byte;
                let is_bad =
                    |told: String| ["not_avro", "not_utf8", "too_deep"].contains(&&*told).then_some(told);
                let verdict = is_bad(whole(schema, &bent));
                assert_eq!(is_bad(read(schema, &bent, &[])), verdict, "{bent:x?}");
                assert_eq!(is_bad(read(schema, &bent, some)), verdict, "{bent:x?}");
            }
        }
    }
}

#[test]
fn what_bytes_say_is_checked_against_what_is_there() {
    let check = |schema: &str, value: &[u8], expect: Expect| {
        assert_eq!(read(schema, value, &[]), whole(schema, value));
        expect.assert_eq(&whole(schema, value));
    };
    let nulls = r#"{"type": "array", "items": "null"}"#;
    // 2^62 nulls take no bytes, and would take years.
    check(nulls, b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00", expect!["not_avro"]);
    check("\"boolean\"", b"\x02", expect!["not_avro"]);
    check("\"int\"", b"\x80\x80\x80\x80\x10", expect!["not_avro"]);
    check("\"long\"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", expect!["not_avro"]);
    check("\"string\"", b"\x01", expect!["not_avro"]);
    check("\"string\"", b"\x02\xff", expect!["not_utf8"]);
    check("[\"null\", \"int\"]", b"\x04", expect!["not_avro"]);
    check("[\"null\", \"int\"]", b"\x01", expect!["not_avro"]);
    // A block of one item that says two bytes, and has one.
    check("{\"type\": \"array\", \"items\": \"int\"}", b"\x01\x04\x02\x00", expect!["not_avro"]);
    // A record that holds itself, and one whose empty fields double at each of 60 levels.
    check(
        r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}"#,
        b"",
        expect!["too_deep"],
    );
    let mut doubling = String::from("{\"type\": \"record\", \"name\": \"R0\", \"fields\": []}");
    for level in 1..40 {
        doubling = format!(
            r#"{{"type": "record", "name": "R{level}", "fields": [{{"name": "a", "type": {doubling}}}, {{"name": "b", "type": "R{}"}}]}}"#,
            level - 1
        );
    }
    check(&doubling, b"", expect!["not_avro"]);
    let chain = r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#;
    check(chain, &[2; 500], expect!["too_deep"]);
    check(
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 38}"#,
        &[&[34][..], &[1; 17]].concat(),
        expect!["not_avro"],
    );
}

#[test]
fn decimals_keep_their_digits() {
    let schema = |scale| {
        format!(r#"{{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": {scale}}}"#)
    };
    let mut out = String::new();
    for (scale, bytes) in [
        (0, &b"\x02\x05"[..]),
        (2, b"\x02\x05"),
        (2, b"\x02\xff"),
        (2, b"\x04\x04\xd2"),
        (2, b"\x00"),
        (0, b"\x20\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        (38, b"\x20\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
        (0, b"\x22\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
        (0, b"\x24\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
    ] {
        writeln!(out, "{}", whole(&schema(scale), bytes)).unwrap();
    }
    expect![[r#"
        5
        0.05
        -0.01
        12.34
        0.00
        170141183460469231731687303715884105727
        -1.70141183460469231731687303715884105728
        not_avro
        -2
    "#]]
    .assert_eq(&out);
}
