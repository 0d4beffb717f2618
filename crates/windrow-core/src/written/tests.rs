//! Schemas of views; rows, read back by the reader that reads everybody's.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::{
    avro::Schema,
    spec::{Emit, SchemaId, TopicFormat, UserTopic, ViewSpec},
    sql::{
        self,
        tests::{stream, view},
    },
};

/// Plans a view over `orders`, which has a column of every type, or `clicks`, which declares none.
fn planned(query: &str, format: TopicFormat) -> Result<Arc<ViewPlan>, String> {
    let mut spec = stream("orders");
    let columns = ColumnType::NAMES.iter().map(|(name, ty)| (format!("a_{name}").into(), *ty));
    spec.columns = columns.collect();
    let topic = UserTopic {
        topic: "spent".into(),
        emit: Emit::Final,
        format,
        schema_id: SchemaId::default(),
        key: None,
        partitions: None,
        retention_ms: None,
    };
    let view = ViewSpec { topic: Some(topic), ..(*view("per-shop", query)).clone() };
    let plans = sql::plan(&[Arc::new(spec), Arc::new(stream("clicks"))], &[Arc::new(view)]);
    let told =
        |errors: Vec<sql::PlanError>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    plans.map_err(told).map(|plans| plans.iter().find_map(|plan| plan.views.first()).unwrap().clone())
}

fn check(query: &str, format: TopicFormat, want: Expect) {
    let text = match planned(query, format) {
        Ok(view) => format!("{}\n", RowSchema::of(&view).unwrap().unwrap().text().trim_end()),
        Err(errors) => errors,
    };
    want.assert_eq(&text);
}

const ALL_TYPES: &str = "SELECT a_text, a_bigint, a_double, a_number, a_boolean, a_decimal, a_timestamp, a_json, a_bytes FROM orders";

const SUMS: &str = "SELECT a_text AS shop, count(*) AS orders, sum(a_bigint) AS cents, coalesce(sum(a_bigint), 0) AS all_cents, avg(a_bigint) AS mean, max(a_bigint) AS most, window_start FROM orders GROUP BY a_text, tumble(interval '1 minute')";

#[test]
fn each_type_has_its_field() {
    check(
        ALL_TYPES,
        TopicFormat::Avro,
        expect![[r#"
        {"type":"record","name":"per_shop","fields":[{"name":"a_text","type":["null","string"],"default":null},{"name":"a_bigint","type":["null","long"],"default":null},{"name":"a_double","type":["null","double"],"default":null},{"name":"a_number","type":["null","long","double"],"default":null},{"name":"a_boolean","type":["null","boolean"],"default":null},{"name":"a_decimal","type":["null","string"],"default":null},{"name":"a_timestamp","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null},{"name":"a_json","type":["null","string"],"default":null},{"name":"a_bytes","type":["null","bytes"],"default":null}]}
    "#]],
    );
    check(
        ALL_TYPES,
        TopicFormat::Protobuf,
        expect![[r#"
        syntax = "proto3";

        import "google/protobuf/timestamp.proto";

        message per_shop {
          optional string a_text = 1;
          optional int64 a_bigint = 2;
          optional double a_double = 3;
          oneof a_number_number {
            int64 a_number = 4;
            double a_number_double = 5;
          }
          optional bool a_boolean = 6;
          optional string a_decimal = 7;
          google.protobuf.Timestamp a_timestamp = 8;
          optional string a_json = 9;
          optional bytes a_bytes = 10;
        }
    "#]],
    );
    check(
        ALL_TYPES,
        TopicFormat::JsonRegistry,
        expect![[r#"
        {"$schema":"http://json-schema.org/draft-07/schema#","title":"per_shop","type":"object","properties":{"a_text":{"oneOf":[{"type":"null"},{"type":"string"}]},"a_bigint":{"oneOf":[{"type":"null"},{"type":"integer"}]},"a_double":{"oneOf":[{"type":"null"},{"type":"number"}]},"a_number":{"oneOf":[{"type":"null"},{"type":"number"}]},"a_boolean":{"oneOf":[{"type":"null"},{"type":"boolean"}]},"a_decimal":{"oneOf":[{"type":"null"},{"type":"number"}]},"a_timestamp":{"oneOf":[{"type":"null"},{"type":"integer"}]},"a_json":{},"a_bytes":{"oneOf":[{"type":"null"},{"type":"string","contentEncoding":"base64"}]}},"additionalProperties":false}
    "#]],
    );
}

#[test]
fn in_json_every_name_and_every_type_has_its_place() {
    check(
        "SELECT _offset, anything AS \"any \"\"thing\"\"\" FROM clicks",
        TopicFormat::JsonRegistry,
        expect![[r#"
            {"$schema":"http://json-schema.org/draft-07/schema#","title":"per_shop","type":"object","properties":{"_offset":{"oneOf":[{"type":"null"},{"type":"integer"}]},"any \"thing\"":{}},"additionalProperties":false}
        "#]],
    );
}

#[test]
fn a_sum_may_be_past_64_bits_and_what_else_counts_is_not() {
    check(
        SUMS,
        TopicFormat::AvroRegistry,
        expect![[r#"
        {"type":"record","name":"per_shop","fields":[{"name":"shop","type":["null","string"],"default":null},{"name":"orders","type":["null","long"],"default":null},{"name":"cents","type":["null","long","double"],"default":null},{"name":"all_cents","type":["null","long","double"],"default":null},{"name":"mean","type":["null","double"],"default":null},{"name":"most","type":["null","long"],"default":null},{"name":"window_start","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null}]}
    "#]],
    );
    check(
        SUMS,
        TopicFormat::ProtobufRegistry,
        expect![[r#"
        syntax = "proto3";

        import "google/protobuf/timestamp.proto";

        message per_shop {
          optional string shop = 1;
          optional int64 orders = 2;
          oneof cents_number {
            int64 cents = 3;
            double cents_double = 4;
          }
          oneof all_cents_number {
            int64 all_cents = 5;
            double all_cents_double = 6;
          }
          optional double mean = 7;
          optional int64 most = 8;
          google.protobuf.Timestamp window_start = 9;
        }
    "#]],
    );
    check(
        SUMS,
        TopicFormat::JsonRegistry,
        expect![[r#"
        {"$schema":"http://json-schema.org/draft-07/schema#","title":"per_shop","type":"object","properties":{"shop":{"oneOf":[{"type":"null"},{"type":"string"}]},"orders":{"oneOf":[{"type":"null"},{"type":"integer"}]},"cents":{"oneOf":[{"type":"null"},{"type":"number"}]},"all_cents":{"oneOf":[{"type":"null"},{"type":"number"}]},"mean":{"oneOf":[{"type":"null"},{"type":"number"}]},"most":{"oneOf":[{"type":"null"},{"type":"integer"}]},"window_start":{"oneOf":[{"type":"null"},{"type":"integer"}]}},"additionalProperties":false}
    "#]],
    );
}

#[test]
fn what_has_no_place_in_a_schema_is_told_with_its_place_and_a_way_out() {
    let taken = "SELECT a_number AS n,\n a_text AS n_double FROM orders";
    for (query, format, want) in [
        (
            "SELECT a_text AS \"the shop\" FROM orders",
            TopicFormat::Avro,
            expect![[r#"
            view per-shop, line 1, column 18: `the shop` is no name of a field in a schema: letters, digits and `_`, no digit first (write … AS another_name)
        "#]],
        ),
        (
            "SELECT a_text AS \"1st\" FROM orders",
            TopicFormat::Protobuf,
            expect![[r#"
            view per-shop, line 1, column 18: `1st` is no name of a field in a schema: letters, digits and `_`, no digit first (write … AS another_name)
        "#]],
        ),
        (
            "SELECT _offset,\n anything FROM clicks",
            TopicFormat::Avro,
            expect![[r#"
            view per-shop, line 2, column 2: `anything` may be of several types, and a field has its type in the schema (write CAST(… AS text), say, or give the column its type in the stream's `columns`)
        "#]],
        ),
        (
            taken,
            TopicFormat::Protobuf,
            expect![[r#"
            view per-shop, line 1, column 20: `n` may be an integer or a double, and needs the names `n_number` and `n_double` for itself (write … AS another_name)
        "#]],
        ),
    ] {
        check(query, format, want);
    }
    assert!(planned(taken, TopicFormat::Avro).is_ok());
    assert!(RowSchema::of(&planned(taken, TopicFormat::Json).unwrap()).unwrap().is_none());
}

#[test]
fn a_view_s_name_becomes_that_of_a_record() {
    for (view, want) in [("spent", "spent"), ("per-shop.v2", "per_shop_v2"), ("5min", "_5min")] {
        assert_eq!(record_name(view), want);
    }
}

/// One value of a kind, and what a reader makes of it.
fn values() -> impl Strategy<Value = (Kind, OwnedDatum)> {
    let long = || prop_oneof![any::<i64>(), -70..70_i64];
    let finite = || any::<f64>().prop_filter("doubles are finite", |number| number.is_finite());
    prop_oneof![
        (any::<u8>(), Just(OwnedDatum::Null)).prop_map(|(n, null)| (ALL[usize::from(n) % ALL.len()], null)),
        ".{0,80}".prop_map(|text| (Kind::Text, OwnedDatum::Text(text))),
        long().prop_map(|number| (Kind::Long, OwnedDatum::Int(number))),
        long().prop_map(|number| (Kind::Number, OwnedDatum::Int(number))),
        long().prop_map(|number| (Kind::Timestamp, OwnedDatum::Timestamp(number))),
        finite().prop_map(|number| (Kind::Double, OwnedDatum::Float(number))),
        finite().prop_map(|number| (Kind::Number, OwnedDatum::Float(number))),
        any::<bool>().prop_map(|value| (Kind::Boolean, OwnedDatum::Bool(value))),
        proptest::collection::vec(any::<u8>(), 0..80).prop_map(|raw| (Kind::Bytes, OwnedDatum::Bytes(raw))),
    ]
}

const ALL: [Kind; 7] =
    [Kind::Text, Kind::Long, Kind::Double, Kind::Number, Kind::Boolean, Kind::Timestamp, Kind::Bytes];

#[derive(Debug, Clone)]
enum OwnedDatum {
    Null,
    Text(String),
    Int(i64),
    Timestamp(i64),
    Float(f64),
    Bool(bool),
    Bytes(Vec<u8>),
}

impl OwnedDatum {
    fn get(&self) -> Datum<'_> {
        match self {
            Self::Null => Datum::Null,
            Self::Text(text) => Datum::Text(text),
            Self::Int(number) => Datum::Int(*number),
            Self::Timestamp(ms) => Datum::Timestamp(*ms),
            Self::Float(number) => Datum::Float(*number),
            Self::Bool(value) => Datum::Bool(*value),
            Self::Bytes(raw) => Datum::Bytes(raw),
        }
    }
}

fn schema(kind: SchemaKind, kinds: &[Kind]) -> RowSchema {
    let field = |(at, kind): (usize, &Kind)| Field { name: format!("f{at}").into(), kind: *kind, number: 1 };
    RowSchema::new(kind, "row", kinds.iter().enumerate().map(field).collect())
}

proptest! {
    #[test]
    fn rows_are_read_back_as_they_were(row in proptest::collection::vec(values(), 0..12)) {
        let kinds: Vec<Kind> = row.iter().map(|(kind, _)| *kind).collect();
        let schema = schema(SchemaKind::Avro, &kinds);
        let mut written = Vec::new();
        schema.write(None, row.iter().map(|(_, value)| value.get()), &mut written);
        let mut read = Vec::new();
        Schema::parse(schema.text()).unwrap().write_value(&written, &mut read).unwrap();
        let mut want = Vec::new();
        for (at, (_, value)) in row.iter().enumerate() {
            want.extend_from_slice(format!("{}\"f{at}\":", if at == 0 { '{' } else { ',' }).as_bytes());
            value.get().write_json(&mut want);
        }
        want.extend_from_slice(if row.is_empty() { b"{}" } else { b"}" });
        prop_assert_eq!(String::from_utf8(read), String::from_utf8(want));
    }
}

#[test]
fn what_64_bits_do_not_hold_is_a_double() {
    let (schema, wide) = (schema(SchemaKind::Avro, &[Kind::Number]), i128::from(i64::MAX) * 4);
    let (mut written, mut read) = (Vec::new(), Vec::new());
    schema.write(None, [Datum::Wide(&wide)].into_iter(), &mut written);
    Schema::parse(schema.text()).unwrap().write_value(&written, &mut read).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(read["f0"].as_f64(), Some(i64::MAX as f64 * 4.0));
}

#[test]
fn json_holds_every_digit() {
    let (schema, wide) = (schema(SchemaKind::Json, &[Kind::Number, Kind::Any]), i128::from(i64::MAX) * 4);
    let mut written = Vec::new();
    schema.write(None, [Datum::Wide(&wide), Datum::Json("[1.10]")].into_iter(), &mut written);
    assert_eq!(String::from_utf8(written).unwrap(), r#"{"f0":36893488147419103228,"f1":[1.10]}"#);
}

#[test]
fn the_frame_has_the_id_and_in_protobuf_the_way_to_the_message() {
    for (kind, want) in [
        (SchemaKind::Avro, &[0, 0, 0, 1, 2, 2, 14][..]),
        (SchemaKind::Json, b"\0\0\0\x01\x02{\"n\":7}"),
        (SchemaKind::Protobuf, &[0, 0, 0, 1, 2, 0, 8, 7]),
    ] {
        let schema =
            RowSchema::new(kind, "row", vec![Field { name: "n".into(), kind: Kind::Long, number: 1 }]);
        let mut written = Vec::new();
        schema.write(Some(258), [Datum::Int(7)].into_iter(), &mut written);
        assert_eq!(written, want, "{kind:?}");
    }
}
