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
fn planned(query: &str) -> Result<Arc<ViewPlan>, String> {
    let mut spec = stream("orders");
    let columns = ColumnType::NAMES.iter().map(|(name, ty)| (format!("a_{name}").into(), *ty));
    spec.columns = columns.collect();
    let topic = UserTopic {
        topic: "spent".into(),
        emit: Emit::Final,
        format: TopicFormat::Avro,
        schema_id: SchemaId::default(),
        key: None,
        partitions: None,
        retention_ms: None,
    };
    let view = ViewSpec { topic: Some(topic), ..(*view("per-shop", query)).clone() };
    let plans = sql::plan(&[Arc::new(spec), Arc::new(stream("clicks"))], &[Arc::new(view)]);
    let told =
        |errors: Vec<sql::PlanError>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    plans.map_err(told).map(|plans| plans[0].views[0].clone())
}

fn check(query: &str, want: Expect) {
    let text = match planned(query) {
        Ok(view) => format!("{}\n", RowSchema::of(&view).unwrap().text()),
        Err(errors) => errors,
    };
    want.assert_eq(&text);
}

#[test]
fn each_type_has_its_branches() {
    check(
        "SELECT a_text, a_bigint, a_double, a_number, a_boolean, a_decimal, a_timestamp, a_json, a_bytes FROM orders",
        expect![[r#"
            {"type":"record","name":"per_shop","fields":[{"name":"a_text","type":["null","string"],"default":null},{"name":"a_bigint","type":["null","long"],"default":null},{"name":"a_double","type":["null","double"],"default":null},{"name":"a_number","type":["null","long","double"],"default":null},{"name":"a_boolean","type":["null","boolean"],"default":null},{"name":"a_decimal","type":["null","string"],"default":null},{"name":"a_timestamp","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null},{"name":"a_json","type":["null","string"],"default":null},{"name":"a_bytes","type":["null","bytes"],"default":null}]}
        "#]],
    );
}

#[test]
fn a_sum_may_be_past_64_bits_and_what_else_counts_is_not() {
    check(
        "SELECT a_text AS shop, count(*) AS orders, sum(a_bigint) AS cents, coalesce(sum(a_bigint), 0) AS all_cents, avg(a_bigint) AS mean, max(a_bigint) AS most, window_start FROM orders GROUP BY a_text, tumble(interval '1 minute')",
        expect![[r#"
            {"type":"record","name":"per_shop","fields":[{"name":"shop","type":["null","string"],"default":null},{"name":"orders","type":["null","long"],"default":null},{"name":"cents","type":["null","long","double"],"default":null},{"name":"all_cents","type":["null","long","double"],"default":null},{"name":"mean","type":["null","double"],"default":null},{"name":"most","type":["null","long"],"default":null},{"name":"window_start","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null}]}
        "#]],
    );
}

#[test]
fn what_has_no_place_in_a_schema_is_told_with_its_place_and_a_way_out() {
    check(
        "SELECT a_text AS \"the shop\" FROM orders",
        expect![[r#"
        view per-shop, line 1, column 18: `the shop` is no name of a field in Avro: letters, digits and `_`, no digit first (write … AS another_name)
    "#]],
    );
    check(
        "SELECT a_text AS \"1st\" FROM orders",
        expect![[r#"
        view per-shop, line 1, column 18: `1st` is no name of a field in Avro: letters, digits and `_`, no digit first (write … AS another_name)
    "#]],
    );
    check(
        "SELECT _offset,\n anything FROM clicks",
        expect![[r#"
            view per-shop, line 2, column 2: `anything` may be of several types, and a field in Avro has its type in the schema (write CAST(… AS text), say, or give the column its type in the stream's `columns`)
        "#]],
    );
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

fn schema(kinds: &[Kind]) -> RowSchema {
    let fields: Vec<_> = kinds.iter().enumerate().map(|(at, kind)| field(&format!("f{at}"), *kind)).collect();
    RowSchema { text: record("row", &fields.join(",")).into(), kinds: kinds.to_vec() }
}

proptest! {
    #[test]
    fn rows_are_read_back_as_they_were(row in proptest::collection::vec(values(), 0..12)) {
        let kinds: Vec<Kind> = row.iter().map(|(kind, _)| *kind).collect();
        let schema = schema(&kinds);
        let mut written = Vec::new();
        schema.write(row.iter().map(|(_, value)| value.get()), &mut written);
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
    let (schema, wide) = (schema(&[Kind::Number]), i128::from(i64::MAX) * 4);
    let (mut written, mut read) = (Vec::new(), Vec::new());
    schema.write([Datum::Wide(&wide)].into_iter(), &mut written);
    Schema::parse(schema.text()).unwrap().write_value(&written, &mut read).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(read["f0"].as_f64(), Some(i64::MAX as f64 * 4.0));
}
