//! Rows that a view writes in Protobuf: the text of their schema compiles, and they are read back by it as they were.

use proptest::prelude::*;
use serde_json::json;
use windrow::config::plan;
use windrow_core::{value::Datum, written::RowSchema};

use super::*;

const VIEW: &str = r#"
[streams.s]
columns = { t = "text", i = "bigint", d = "double", n = "number", b = "boolean", at = "timestamp", raw = "bytes" }
[views.rows]
sql = "SELECT t, i, d, n, b, at, raw, t AS t2, i AS i2, d AS d2, n AS n2, b AS b2, at AS at2 FROM s"
topic = "rows"
topic_format = "protobuf"
"#;

fn schema() -> RowSchema {
    let config = parse(VIEW, "w.toml", &Variables::default()).unwrap();
    let plans = plan(&config, "w.toml", VIEW).unwrap();
    RowSchema::of(&plans[0].views[0]).unwrap().unwrap()
}

/// The values of a row's first seven columns, twice but for the bytes.
type Row = (
    Option<String>,
    Option<i64>,
    Option<f64>,
    Option<Result<i64, f64>>,
    Option<bool>,
    Option<i64>,
    Option<Vec<u8>>,
);

fn rows() -> impl Strategy<Value = Row> {
    let long = || prop_oneof![any::<i64>(), -70..70_i64];
    let finite = || any::<f64>().prop_filter("doubles are finite", |number| number.is_finite());
    let number = prop_oneof![long().prop_map(Ok), finite().prop_map(Err)];
    (
        proptest::option::of(".{0,300}"),
        proptest::option::of(long()),
        proptest::option::of(finite()),
        proptest::option::of(number),
        any::<Option<bool>>(),
        proptest::option::of(-62_135_596_800_000..=253_402_300_799_999_i64),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80)),
    )
}

fn datums(row: &Row) -> [Datum<'_>; 7] {
    let (text, long, double, number, boolean, at, raw) = row;
    [
        text.as_deref().map_or(Datum::Null, Datum::Text),
        long.map_or(Datum::Null, Datum::Int),
        double.map_or(Datum::Null, Datum::Float),
        number.map_or(Datum::Null, |number| number.map_or_else(Datum::Float, Datum::Int)),
        boolean.map_or(Datum::Null, Datum::Bool),
        at.map_or(Datum::Null, Datum::Timestamp),
        raw.as_deref().map_or(Datum::Null, Datum::Bytes),
    ]
}

fn json(value: Datum<'_>) -> Value {
    let mut out = Vec::new();
    value.write_json(&mut out);
    serde_json::from_slice(&out).unwrap()
}

proptest! {
    #[test]
    fn rows_are_read_back_as_they_were(row in rows(), again in rows()) {
        let (schema, folder) = (schema(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("rows.proto"), schema.text().as_bytes()).unwrap();
        let spec = spec(folder.path(), "rows.proto", "rows");
        let (first, second) = (datums(&row), datums(&again));
        let mut written = Vec::new();
        schema.write(None, first.iter().chain(&second[..6]).copied(), &mut written);
        let read = self::row(&spec, &written).unwrap();
        let names = ["t", "i", "d", "n", "b", "at", "raw", "t2", "i2", "d2", "n2", "b2", "at2"];
        for (name, value) in names.iter().zip(first.iter().chain(&second[..6])) {
            let (here, double) = (&read[*name], format!("{name}_double"));
            match value {
                Datum::Float(_) if name.starts_with('n') => {
                    prop_assert_eq!((here, &read[&double]), (&json!(null), &json(*value)));
                }
                _ => prop_assert_eq!(here, &json(*value), "{}", name),
            }
        }
    }
}
