//! Resolution: what of two schemas fits, and what is read then.

use super::*;
use crate::registry::{Answer, Pupil, Reference, SchemaKind};

/// Brings two schemas together, and reads a value: the whole and each path.
fn read(writer: &str, reader: &str, value: &[u8], paths: &[&str]) -> String {
    let (writer, reader) = (Schema::parse(writer).unwrap(), Schema::parse(reader).unwrap());
    let schema = match super::super::resolve::resolved(&writer, &reader) {
        Ok(schema) => Arc::new(schema),
        Err(why) => return why,
    };
    let mut out = Vec::new();
    if let Err(bad) = schema.write_value(value, &mut out) {
        // A verdict never depends on what is wanted.
        let projection = Projection::new(schema, &[]);
        assert_eq!(projection.read(value, &Bump::new(), |_| ()), Err(bad));
        return bad.label().to_owned();
    }
    let mut told = String::from_utf8(out).unwrap();
    let arena = Bump::new();
    let tokens = |tokens: &[Token<'_>]| tokens.iter().map(|token| format!(" {token:?}")).collect::<String>();
    told += &Projection::new(schema, paths).read(value, &arena, tokens).unwrap();
    told
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn scalars_are_promoted_as_the_specification_has_it() {
    let mut out = String::new();
    let types = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    for writer in types {
        let value: &[u8] = match writer {
            "null" => &[],
            "boolean" => &[1],
            // -3
            "int" | "long" => &[5],
            "float" => &[0, 0, 0xC0, 0x3F],
            "double" => &[0, 0, 0, 0, 0, 0, 0xF8, 0x3F],
            _ => b"\x04ab",
        };
        for reader in types {
            let told = read(&format!("\"{writer}\""), &format!("\"{reader}\""), value, &[]);
            if !told.contains("cannot be read") {
                writeln!(out, "{writer} as {reader}: {told}").unwrap();
            }
        }
    }
    // What 32 bits do not hold is rounded to what they do.
    let (long, float) = ("\"long\"", "\"float\"");
    let mut value = Vec::new();
    super::long(16_777_217, &mut value);
    writeln!(out, "{}", read(long, float, &value, &[])).unwrap();
    writeln!(out, "{}", read("\"bytes\"", "\"string\"", b"\x02\xff", &[])).unwrap();
    expect![[r#"
        null as null: null
        boolean as boolean: true
        int as int: -3
        int as long: -3
        int as float: -3
        int as double: -3
        long as long: -3
        long as float: -3
        long as double: -3
        float as float: 1.5
        float as double: 1.5
        double as double: 1.5
        bytes as bytes: "YWI="
        bytes as string: "ab"
        string as bytes: "YWI="
        string as string: "ab"
        16777216
        not_utf8
    "#]]
    .assert_eq(&out);
}

#[test]
fn fields_are_matched_by_name_and_alias_in_the_readers_order_and_defaults_fill_the_rest() {
    let writer = record(
        r#"{"name":"gone","type":"string"},{"name":"b","type":"int"},{"name":"old","type":"int"},{"name":"a","type":"string"}"#,
    );
    let reader = record(
        r#"{"name":"a","type":"string"},{"name":"b","type":"double"},{"name":"new","type":"long","aliases":["older","old"]},
           {"name":"user","type":{"type":"record","name":"U","fields":[{"name":"id","type":"long"},{"name":"tags","type":{"type":"array","items":"string"},"default":["x"]}]},"default":{"id":7}},
           {"name":"none","type":["null","int"],"default":null},
           {"name":"raw","type":"bytes","default":"\u00ff\u0001"},
           {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]},"default":"B"},
           {"name":"m","type":{"type":"map","values":"double"},"default":{"k":1.5}}"#,
    );
    let value = b"\x06xyz\x02\x04\x02v";
    let paths = ["a", "b", "new", "user.id", "user", "none", "raw", "e", "m.k", "gone", "old"];
    expect![[r#"{"a":"v","b":1,"new":2,"user":{"id":7,"tags":["x"]},"none":null,"raw":"/wE=","e":"B","m":{"k":1.5}} Of(Text("v")) Of(Float(1.0)) Of(Int(2)) Of(Int(7)) Nested("{\"id\":7,\"tags\":[\"x\"]}") Null Of(Bytes([255, 1])) Of(Text("B")) Of(Float(1.5)) Missing Missing"#]].assert_eq(&read(&writer, &reader, value, &paths));
    expect!["not_avro"].assert_eq(&read(&writer, &reader, &value[..value.len() - 1], &paths));
}

#[test]
fn unions_and_enums_are_judged_by_what_is_in_the_value() {
    let mut out = String::new();
    let e =
        |symbols: &str, more: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]{more}}}"#);
    let named = |name: &str| {
        format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"{name}","type":"int"}}]}}"#)
    };
    let (two, one) = (format!("[{},{}]", named("A"), named("B")), format!("[{},\"null\"]", named("B")));
    for (writer, reader, value) in [
        (r#"["null","int"]"#, r#""long""#, &b"\x02\x02"[..]),
        (r#"["null","int"]"#, r#""long""#, b"\x00"),
        (r#""int""#, r#"["string","double","int"]"#, b"\x02"),
        (r#""int""#, r#"["string","double"]"#, b"\x02"),
        (r#""int""#, r#"["string","null"]"#, b"\x02"),
        (r#"["string","bytes"]"#, r#"["bytes","string"]"#, b"\x00\x02a"),
        (&e(r#""A","B""#, ""), &e(r#""B""#, ""), b"\x02"),
        (&e(r#""A","B""#, ""), &e(r#""B""#, ""), b"\x00"),
        (&e(r#""A","B""#, ""), &e(r#""C""#, r#","default":"C""#), b"\x00"),
        (&two, &one, b"\x02\x06"),
        (&two, &one, b"\x00\x06"),
        (
            r#"{"type":"array","items":["null","int"]}"#,
            r#"{"type":"array","items":"int"}"#,
            b"\x02\x02\x02\x00",
        ),
        (r#"{"type":"array","items":["null","int"]}"#, r#"{"type":"array","items":"int"}"#, b"\x02\x00\x00"),
    ] {
        writeln!(out, "{}", read(writer, reader, value, &[""])).unwrap();
    }
    expect![[r#"
        1 Of(Int(1))
        schema_mismatch
        1 Of(Int(1))
        1 Of(Float(1.0))
        the value: no branch of the reader's union takes it
        "a" Of(Text("a"))
        "B" Of(Text("B"))
        schema_mismatch
        "C" Of(Text("C"))
        {"B":3} Nested("{\"B\":3}")
        schema_mismatch
        [1] Nested("[1]")
        schema_mismatch
    "#]]
    .assert_eq(&out);
}

#[test]
fn what_can_never_be_read_is_told_with_its_path() {
    let mut out = String::new();
    let inner = |ty: &str| {
        record(&format!(
            r#"{{"name":"u","type":{{"type":"record","name":"U","fields":[{{"name":"id","type":"{ty}"}}]}}}}"#
        ))
    };
    for (writer, reader) in [
        (inner("long"), inner("int")),
        (record(""), record(r#"{"name":"a","type":"int"}"#)),
        (record(""), record(r#"{"name":"a","type":"int","default":"x"}"#)),
        (record(""), "\"string\"".to_owned()),
        (
            r#"{"type":"fixed","name":"F","size":3}"#.to_owned(),
            r#"{"type":"fixed","name":"F","size":4}"#.to_owned(),
        ),
        // Its default has itself for its default.
        (record(""), record(r#"{"name":"a","type":"R","default":{}}"#)),
    ] {
        writeln!(out, "{}", read(&writer, &reader, b"", &[])).unwrap();
    }
    expect![[r#"
        u.id: long cannot be read as int
        a: the writer has no such field, and it has no default
        a: its default is not of its type: "x" is of another type
        the value: record cannot be read as string
        the value: the sizes of fixed differ
        a: its default is not of its type: it nests deeper than 127 levels
    "#]]
    .assert_eq(&out);
}

#[test]
fn a_type_that_holds_itself_is_resolved_once() {
    let list = |more: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"int"}},{{"name":"next","type":["null","L"]}}{more}]}}"#
        )
    };
    let value = b"\x02\x02\x04\x00";
    let reader = list(r#",{"name":"w","type":"int","default":9}"#);
    expect![[r#"{"v":1,"next":{"v":2,"next":null,"w":9},"w":9} Of(Int(2)) Of(Int(9))"#]].assert_eq(&read(
        &list(""),
        &reader,
        value,
        &["next.v", "next.w"],
    ));
}

#[test]
fn a_registered_schema_may_name_types_of_others_and_one_of_another_kind_is_of_no_use() {
    let registered = Registered::default();
    let reference = |name: &str, text: &str| Reference { name: name.into(), text: text.into() };
    let answer = |kind, text: &str| Answer {
        kind,
        text: text.into(),
        references: vec![
            reference(
                "x.Id",
                r#"{"type":"record","name":"Id","namespace":"x","fields":[{"name":"n","type":"int"}]}"#,
            ),
            reference(
                "x.User",
                r#"{"type":"record","name":"User","namespace":"x","fields":[{"name":"id","type":"Id"}]}"#,
            ),
        ],
    };
    let text = record(r#"{"name":"by","type":"x.User"}"#);
    assert!(registered.lacks(1));
    registered.teach(1, &answer(SchemaKind::Avro, &text)).unwrap();
    let mut out = Vec::new();
    registered.schema(1).unwrap().write_value(b"\x06", &mut out).unwrap();
    assert_eq!(out, br#"{"by":{"id":{"n":3}}}"#);
    let told = [
        registered.teach(2, &answer(SchemaKind::Json, &text)).unwrap_err(),
        registered.teach(3, &answer(SchemaKind::Avro, "\"x.Usr\"")).unwrap_err(),
    ];
    expect![[r#"
        it is a schema of Json, not of Avro
        1:1: there is no type `x.Usr`"#]]
    .assert_eq(&told.join("\n"));
    assert_eq!(
        [2, 3, 4].map(|id| registered.schema(id).unwrap_err().label()),
        ["bad_schema", "bad_schema", "unknown_schema"]
    );
    assert!(!registered.lacks(3) && registered.lacks(4));
}

#[test]
fn a_schema_that_nests_without_end_is_refused() {
    let deep = format!("{}\"int\"{}", "{\"type\":".repeat(100_000), "}".repeat(100_000));
    expect!["types must nest at most 127 levels"].assert_eq(&Schema::parse(&deep).unwrap_err().message);
}

#[test]
fn chains_of_types_may_be_longer_than_a_stack() {
    const TYPES: usize = 3_000;
    let list = |name: &str, of: &str| {
        format!(
            r#"{{"type":"record","name":"{name}","fields":[{{"name":"x","type":{{"type":"array","items":{of}}}}}]}}"#
        )
    };
    let mut chain = vec![list("L0", "\"int\"")];
    chain.extend((1..TYPES).map(|at| list(&format!("L{at}"), &format!("\"L{}\"", at - 1))));
    let fields: Vec<_> =
        chain.iter().enumerate().map(|(at, ty)| format!(r#"{{"name":"f{at}","type":{ty}}}"#)).collect();
    let last = format!(r#"{{"name":"z","type":"L{}"}}"#, TYPES - 1);
    let reader = record(&format!(r#"{{"name":"z","type":{}}}"#, list("Z", "\"Z\"")));
    let whole = record(&format!("{},{last}", fields.join(",")));
    let why = read(&whole, &reader, &[], &[]);
    assert_eq!(why, format!("z{}: int cannot be read as record", ".x".repeat(TYPES)));

    // The same in a text that another refers to, and nobody wants it.
    let reader = Schema::parse(&record(r#"{"name":"n","type":"int"}"#)).unwrap();
    let types = format!(r#"{{"type":"record","name":"All","fields":[{}]}}"#, fields.join(","));
    let answer = Answer {
        kind: SchemaKind::Avro,
        text: record(&format!(r#"{{"name":"n","type":"int"}},{last}"#)),
        references: vec![Reference { name: "All".into(), text: types }],
    };
    let registered = crate::avro::Registered::new(Some(Arc::new(reader)));
    assert_eq!(registered.teach(1, &answer), Ok(()));
}
