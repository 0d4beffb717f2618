//! What becomes of every kind of bad record, and what of good ones.

use expect_test::{Expect, expect};

use super::*;
use crate::{
    batch::{Batch, BatchBuilder, Compression},
    topics::Topics,
};

mod formats;

const NOW_MS: i64 = 1_700_000_000_000;

fn spec(format: Format, time: TimeSpec) -> StreamSpec {
    StreamSpec {
        name: "clicks".into(),
        topics: Topics::One("clicks".into()),
        format,
        key_format: Format::Text,
        columns: Vec::new(),
        time,
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: crate::spec::OnBad::DeadLetter,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: Vec::new(),
        keep: 0,
        row_filter: None,
        until_end: false,
    }
}

fn by_column(unit: TimeUnit) -> TimeSpec {
    TimeSpec::Column { column: "ts".into(), unit }
}

fn columns(list: &[(&str, Option<ColumnType>)]) -> Vec<SourceColumn> {
    list.iter().map(|(name, ty)| SourceColumn { name: (*name).into(), ty: *ty }).collect()
}

fn record(value: Option<&[u8]>) -> Record<'_> {
    Record { offset: 7, timestamp_ms: NOW_MS, key: Some(b"k"), value, headers: Default::default() }
}

/// Decodes one record and prints the event time, the row, and how many values were of another type.
fn told(decoder: &Decoder, record: &Record<'_>) -> String {
    let (arena, mut row, mut mistyped) = (Bump::new(), Vec::new(), vec![0; decoder.width()]);
    match decoder.decode(("clicks", 3), record, NOW_MS, &arena, &mut row, &mut mistyped) {
        Ok(ms) => format!("{ms} {row:?} {mistyped:?}"),
        Err(bad) => format!("{}: {bad}", bad.label()),
    }
}

fn check(decoder: &Decoder, values: &[&str], expect: Expect) {
    let line = |value: &&str| format!("{value} -> {}\n", told(decoder, &record(Some(value.as_bytes()))));
    expect.assert_eq(&values.iter().map(line).collect::<String>());
}

#[test]
fn bad_values_get_their_reason() {
    let spec = spec(Format::Json, by_column(TimeUnit::Millis));
    let decoder = Decoder::for_columns(&spec, &columns(&[("v", None)]));
    check(
        &decoder,
        &[
            r#"{"ts":1,"v":2}"#,
            "hello",
            r#"{"ts":1,"v":2"#,
            r#"{"ts":1}{"ts":2}"#,
            "[1]",
            r#"{"v":1}"#,
            r#"{"ts":null}"#,
            r#"{"ts":"1700000000000"}"#,
            r#"{"ts":{}}"#,
            r#"{"ts":99999999999000}"#,
            r#"{"ts":9e99}"#,
            r#"{"ts":-1}"#,
            r#"{"ts":-62135596800001}"#,
            r#"{"ts":1700003600000}"#,
            r#"{"ts":1700003600001}"#,
            "",
        ],
        expect![[r#"
            {"ts":1,"v":2} -> 1 [Int(2)] [0]
            hello -> not_json: the value is not one complete JSON document
            {"ts":1,"v":2 -> not_json: the value is not one complete JSON document
            {"ts":1}{"ts":2} -> not_json: the value is not one complete JSON document
            [1] -> not_an_object: the value is JSON, but not an object
            {"v":1} -> missing_time: the event time is missing
            {"ts":null} -> missing_time: the event time is missing
            {"ts":"1700000000000"} -> bad_time: the event time is of another type or outside the years 1 to 9999
            {"ts":{}} -> bad_time: the event time is of another type or outside the years 1 to 9999
            {"ts":99999999999000} -> too_far_ahead: the event time is too far past the wall clock
            {"ts":9e99} -> bad_time: the event time is of another type or outside the years 1 to 9999
            {"ts":-1} -> -1 [Null] [0]
            {"ts":-62135596800001} -> bad_time: the event time is of another type or outside the years 1 to 9999
            {"ts":1700003600000} -> 1700003600000 [Null] [0]
            {"ts":1700003600001} -> too_far_ahead: the event time is too far past the wall clock
             -> empty_value: the value is empty
        "#]],
    );
}

#[test]
fn a_record_without_what_the_stream_requires_is_bad() {
    let required = vec!["v".into(), "w".into()];
    let spec = StreamSpec { required, ..spec(Format::Json, by_column(TimeUnit::Seconds)) };
    let decoder = Decoder::for_columns(&spec, &columns(&[("v", Some(ColumnType::Bigint)), ("x", None)]));
    check(
        &decoder,
        &[
            r#"{"ts":1,"v":2}"#,
            r#"{"ts":1}"#,
            r#"{"ts":1,"v":null}"#,
            r#"{"ts":1,"v":"2"}"#,
            r#"{"ts":1,"v":2.5}"#,
            r#"{"ts":true,"v":2}"#,
        ],
        expect![[r#"
            {"ts":1,"v":2} -> 1000 [Int(2), Null] [0, 0]
            {"ts":1} -> missing_column: a column that the stream requires is missing, null, or of another type
            {"ts":1,"v":null} -> missing_column: a column that the stream requires is missing, null, or of another type
            {"ts":1,"v":"2"} -> missing_column: a column that the stream requires is missing, null, or of another type
            {"ts":1,"v":2.5} -> missing_column: a column that the stream requires is missing, null, or of another type
            {"ts":true,"v":2} -> bad_time: the event time is of another type or outside the years 1 to 9999
        "#]],
    );
    let table = StreamSpec { latest_by: vec!["v".into()], ..spec };
    let decoder = Decoder::for_columns(&table, &columns(&[("v", None)]));
    assert_eq!(told(&decoder, &record(None)), "1700000000000 [Null] [0]", "a deletion has no columns");
}

#[test]
fn bad_bytes_get_their_reason() {
    let spec = spec(Format::Json, TimeSpec::Record);
    let decoder = Decoder::for_columns(&spec, &columns(&[("v", None)]));
    let deep = format!("{{\"v\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("{{\"v\":\"{}\"}}", "x".repeat(2 << 20));
    let mut out = String::new();
    let cases: [(&str, Option<&[u8]>); 5] = [
        ("null", None),
        ("invalid UTF-8", Some(b"{\"v\":\"\xff\"}")),
        ("UTF-8 cut in the middle", Some(b"{\"v\":\"\xe2\x82\"}")),
        ("nesting 10,000 deep", Some(deep.as_bytes())),
        ("2 MiB string", Some(large.as_bytes())),
    ];
    for (name, value) in cases {
        out += &format!("{name} -> {}\n", told(&decoder, &record(value)));
    }
    let key = vec![b'k'; KEY_MAX_BYTES + 1];
    out += &format!("key -> {}\n", told(&decoder, &Record { key: Some(&key), ..record(Some(b"{}")) }));
    out += &format!("time -> {}\n", told(&decoder, &Record { timestamp_ms: -1, ..record(Some(b"{}")) }));
    expect![[r#"
        null -> null_value: the value is null, and the stream is not a table
        invalid UTF-8 -> not_utf8: the value is not UTF-8
        UTF-8 cut in the middle -> not_utf8: the value is not UTF-8
        nesting 10,000 deep -> too_deep: the value nests too deep
        2 MiB string -> too_large: the value is larger than one record may be
        key -> key_too_large: the key is larger than 64 KiB
        time -> missing_time: the event time is missing
    "#]]
    .assert_eq(&out);
    let decoder = decoder.with_value_max_bytes(4 << 20);
    assert!(told(&decoder, &record(Some(large.as_bytes()))).starts_with("1700000000000 [Text"));
}

#[test]
fn time_columns_have_units() {
    let mut out = String::new();
    for (unit, value) in [
        (TimeUnit::Seconds, "1700000000.5"),
        (TimeUnit::Millis, "1699999999999"),
        (TimeUnit::Micros, "1699999999999999"),
        (TimeUnit::Nanos, "1699999999999999999"),
        (TimeUnit::Rfc3339, "\"2013-01-01T05:00:00-05:00\""),
        (TimeUnit::Rfc3339, "\"1969-12-31T23:59:59.9995Z\""),
        (TimeUnit::Rfc3339, "\"2013-01-01T05:00:00\""),
        (TimeUnit::Rfc3339, "1700000000000"),
    ] {
        let spec = spec(Format::Json, by_column(unit));
        let decoder = Decoder::for_columns(&spec, &columns(&[("ts", Some(ColumnType::Timestamp))]));
        let object = format!("{{\"ts\":{value}}}");
        out += &format!("{unit:?} {value} -> {}\n", told(&decoder, &record(Some(object.as_bytes()))));
    }
    expect![[r#"
        Seconds 1700000000.5 -> 1700000000500 [Timestamp(1700000000500)] [0]
        Millis 1699999999999 -> 1699999999999 [Timestamp(1699999999999)] [0]
        Micros 1699999999999999 -> 1699999999999 [Timestamp(1699999999999)] [0]
        Nanos 1699999999999999999 -> 1699999999999 [Timestamp(1699999999999)] [0]
        Rfc3339 "2013-01-01T05:00:00-05:00" -> 1357034400000 [Timestamp(1357034400000)] [0]
        Rfc3339 "1969-12-31T23:59:59.9995Z" -> -1 [Timestamp(-1)] [0]
        Rfc3339 "2013-01-01T05:00:00" -> bad_time: the event time is of another type or outside the years 1 to 9999
        Rfc3339 1700000000000 -> bad_time: the event time is of another type or outside the years 1 to 9999
    "#]].assert_eq(&out);
}

#[test]
fn values_of_another_type_are_null_and_counted_per_column() {
    let spec = spec(Format::Json, TimeSpec::Record);
    let columns = columns(&[("n", Some(ColumnType::Bigint)), ("t", Some(ColumnType::Text)), ("any", None)]);
    check(
        &Decoder::for_columns(&spec, &columns),
        &[
            r#"{"n":1,"t":"x","any":[1]}"#,
            r#"{"n":"1","t":2,"any":3.5}"#,
            r#"{"n":null}"#,
            r#"{"t":true,"t":"last"}"#,
        ],
        expect![[r#"
            {"n":1,"t":"x","any":[1]} -> 1700000000000 [Int(1), Text("x"), Json("[1]")] [0, 0, 0]
            {"n":"1","t":2,"any":3.5} -> 1700000000000 [Null, Null, Float(3.5)] [1, 1, 0]
            {"n":null} -> 1700000000000 [Null, Null, Null] [0, 0, 0]
            {"t":true,"t":"last"} -> 1700000000000 [Null, Text("last"), Null] [0, 0, 0]
        "#]],
    );
}

/// The seven columns that are always there.
fn always() -> Vec<SourceColumn> {
    columns(
        &["_topic", "_partition", "_offset", "_timestamp", "_key", "_value", "_headers"].map(|n| (n, None)),
    )
}

#[test]
fn seven_columns_are_always_there() {
    let decoder = Decoder::for_columns(&spec(Format::Json, TimeSpec::Record), &always());
    check(
        &decoder,
        &[r#"{"_offset":1}"#],
        expect![[r#"
        {"_offset":1} -> 1700000000000 [Text("clicks"), Int(3), Int(7), Timestamp(1700000000000), Text("k"), Json("{\"_offset\":1}"), Json("{}")] [0, 0, 0, 0, 0, 0, 0]
    "#]],
    );
    let decoder = Decoder::for_columns(&spec(Format::Text, TimeSpec::Record), &always());
    check(
        &decoder,
        &["any text", ""],
        expect![[r#"
        any text -> 1700000000000 [Text("clicks"), Int(3), Int(7), Timestamp(1700000000000), Text("k"), Text("any text"), Json("{}")] [0, 0, 0, 0, 0, 0, 0]
         -> empty_value: the value is empty
    "#]],
    );
    assert_eq!(told(&decoder, &record(Some(b"\xff"))), "not_utf8: the value is not UTF-8");
    let odd = Record { key: Some(b"\xff"), ..record(Some(b"x")) };
    assert!(told(&decoder, &odd).ends_with("[0, 0, 0, 0, 1, 0, 0]"));
}

#[test]
fn headers_are_one_object_and_what_is_not_text_is_null() {
    let mut batch = BatchBuilder::new(Compression::None);
    let headers: [(&str, Option<&[u8]>); 3] = [("a", Some(b"\"x\"")), ("b", None), ("a", Some(b"2"))];
    batch.push(NOW_MS, None, Some(b"{}"), headers).unwrap();
    let odd: [(&str, Option<&[u8]>); 1] = [("a", Some(b"\xff"))];
    batch.push(NOW_MS, None, Some(b"{}"), odd).unwrap();
    let (batch, _) = Batch::parse(&batch.build(5, -1, -1, -1, false)).unwrap();
    let spec = spec(Format::Json, TimeSpec::Record);
    let decoder = Decoder::for_columns(&spec, &columns(&[("_offset", None), ("_headers", None)]));
    let out: String = batch.records().map(|r| told(&decoder, &r) + "\n").collect();
    expect![[r#"
        1700000000000 [Int(5), Json("{\"a\":\"\\\"x\\\"\",\"b\":null,\"a\":\"2\"}")] [0, 0]
        1700000000000 [Int(6), Null] [0, 1]
    "#]]
    .assert_eq(&out);
}

#[test]
fn a_null_value_deletes_in_a_table() {
    let mut spec = spec(Format::Json, by_column(TimeUnit::Millis));
    spec.latest_by = vec!["id".into()];
    let columns =
        columns(&[("id", None), ("ts", Some(ColumnType::Timestamp)), ("_key", None), ("_value", None)]);
    let decoder = Decoder::for_columns(&spec, &columns);
    let got = told(&decoder, &record(None));
    assert_eq!(got, r#"1700000000000 [Null, Null, Text("k"), Null] [0, 0, 0, 0]"#);
}

#[test]
fn labels_differ() {
    let labels: std::collections::BTreeSet<_> = BadReason::ALL.iter().map(|b| b.label()).collect();
    assert_eq!(labels.len(), BadReason::ALL.len());
}
