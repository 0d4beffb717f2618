//! Guesses: what a topic's records look like.
//!
//! **In** sampled records. **Out** format, columns with types, the time column, the key column, a first query.
//! **Invariant:** a guess holds for every record looked at; doubt means the wider type, or none.

use std::collections::BTreeMap;

use serde_json::Value;
use windrow_core::{registry::Frame, value::ColumnType};

/// Columns written down; wider records are cut, the planner infers what is used.
const COLUMNS_MAX: usize = 40;

/// Ids of schemas: registries count up from 1.
const SCHEMA_IDS: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// Times looked for: from 2001 to 2128 in each unit.
const SECONDS: std::ops::Range<f64> = 1.0e9..5.0e9;

const TIME_NAMES: [&str; 9] =
    ["ts", "timestamp", "time", "event_time", "eventtime", "datetime", "date", "at", "created_at"];

/// One record.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// One column.
#[derive(Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ty: ColumnType,
    distinct: usize,
}

/// What a topic looks like.
#[derive(Debug, Default)]
pub(super) struct Guess {
    is_json: bool,
    /// Values begin with the id of a schema, which a registry has; and so do keys.
    pub(super) is_framed: bool,
    pub(super) has_framed_keys: bool,
    pub(super) columns: Vec<Column>,
    pub(super) time: Option<(String, &'static str)>,
    pub(super) keyed_by: Option<String>,
}

impl Guess {
    pub(super) fn format(&self) -> &'static str {
        match (self.is_framed, self.is_json) {
            (true, true) => "json-registry",
            (true, false) => "avro-registry",
            (false, true) => "json",
            (false, false) => "text",
        }
    }

    /// Tells whether the ids have to be asked for: JSON says by itself what it holds.
    pub(super) fn needs_registry(&self) -> bool {
        self.has_framed_keys || self.format() == "avro-registry"
    }

    /// A first view: records per minute, by the key or by a column with few values.
    pub(super) fn query(&self, stream: &str) -> String {
        let time = self.time.as_ref().map(|(name, _)| name.as_str());
        let groups =
            self.columns.iter().filter(|c| c.ty == ColumnType::Text && Some(c.name.as_str()) != time);
        let by = self.keyed_by.clone().or_else(|| groups.min_by_key(|c| c.distinct).map(|c| c.name.clone()));
        match by {
            Some(by) => {
                let by = format!("\"{}\"", by.replace('"', "\"\""));
                format!(
                    "SELECT {by}, count(*) AS count\nFROM {stream}\nGROUP BY {by}, tumble(interval '1 minute')"
                )
            }
            None => format!(
                "SELECT window_start, count(*) AS count\nFROM {stream}\nGROUP BY tumble(interval '1 minute')"
            ),
        }
    }
}

/// Looks at all samples.
pub(super) fn guess(samples: &[Sample]) -> Guess {
    let mut objects = Vec::new();
    let values = || samples.iter().filter_map(|s| Some((s.key.as_deref(), s.value.as_deref()?)));
    let is_framed = are_framed(values().map(|(_, value)| value));
    let has_framed_keys = are_framed(samples.iter().filter_map(|s| s.key.as_deref()));
    for (key, value) in values() {
        let value = if is_framed { &value[Frame::BYTES..] } else { value };
        match serde_json::from_slice(value) {
            Ok(Value::Object(members)) => objects.push((key, members)),
            _ => return Guess { is_framed, has_framed_keys, ..Guess::default() },
        }
    }
    let mut seen: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (_, members) in &objects {
        for (name, value) in members {
            seen.entry(name).or_default().push(value);
        }
    }
    let mut columns: Vec<Column> = seen.iter().filter_map(|(name, values)| column(name, values)).collect();
    let time = time(&seen, objects.len());
    let keyed_by = columns
        .iter()
        .map(|c| c.name.clone())
        .find(|name| objects.iter().all(|(key, members)| is_key(*key, members.get(name))));
    columns.truncate(COLUMNS_MAX);
    Guess { is_json: !objects.is_empty(), is_framed, has_framed_keys, columns, time, keyed_by }
}

/// Tells whether all of these, and there are some, begin as a registry's serializers have it.
fn are_framed<'s>(mut all: impl Iterator<Item = &'s [u8]>) -> bool {
    let is_framed = |bytes: &[u8]| Frame::id(bytes).is_some_and(|id| SCHEMA_IDS.contains(&id));
    all.next().is_some_and(is_framed) && all.all(is_framed)
}

/// The narrowest type that holds every value; `None` when there is none to tell.
fn column(name: &str, values: &[&Value]) -> Option<Column> {
    let mut ty = None;
    for value in values {
        let this = match value {
            Value::Null => continue,
            Value::Bool(_) => ColumnType::Boolean,
            Value::Number(n) if n.is_i64() => ColumnType::Bigint,
            Value::Number(_) => ColumnType::Double,
            Value::String(_) => ColumnType::Text,
            Value::Array(_) | Value::Object(_) => ColumnType::Json,
        };
        ty = match (ty, this) {
            (None, this) => Some(this),
            (Some(before), this) if before == this => Some(this),
            (Some(ColumnType::Bigint), ColumnType::Double)
            | (Some(ColumnType::Double), ColumnType::Bigint) => Some(ColumnType::Double),
            // Two kinds in one column: no declared type fits.
            _ => return None,
        };
    }
    let mut texts: Vec<&str> = values.iter().filter_map(|v| v.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    // A dot would be read as a path into an object.
    if name.contains('.') {
        return None;
    }
    ty.map(|ty| Column { name: name.to_owned(), ty, distinct: texts.len() })
}

/// The best-named column whose every value is a time in one unit.
fn time(seen: &BTreeMap<&str, Vec<&Value>>, records: usize) -> Option<(String, &'static str)> {
    let rank = |name: &str| {
        let lower = name.to_ascii_lowercase();
        TIME_NAMES
            .iter()
            .position(|t| *t == lower)
            .unwrap_or(TIME_NAMES.len() + usize::from(!lower.contains("time")))
    };
    let mut found: Vec<_> = seen
        .iter()
        .filter(|(_, values)| values.len() == records)
        .filter_map(|(name, values)| Some((rank(name), *name, unit(values)?)))
        .collect();
    found.sort_by_key(|(rank, ..)| *rank);
    found.first().map(|(_, name, unit)| ((*name).to_owned(), *unit))
}

fn unit(values: &[&Value]) -> Option<&'static str> {
    let mut all = values.iter().map(|value| match value {
        Value::Number(n) => {
            let n = n.as_f64()?;
            let units = [("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)];
            units.iter().find(|(_, factor)| SECONDS.contains(&(n / factor))).map(|(unit, _)| *unit)
        }
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(|_| "rfc3339"),
        _ => None,
    });
    let first = all.next()??;
    all.all(|unit| unit == Some(first)).then_some(first)
}

fn is_key(key: Option<&[u8]>, value: Option<&Value>) -> bool {
    match (key, value) {
        (Some(key), Some(Value::String(text))) => key == text.as_bytes(),
        (Some(key), Some(Value::Number(n))) => key == n.to_string().as_bytes(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(records: &[(&str, &str)], expected: Expect) {
        let samples: Vec<Sample> = records
            .iter()
            .map(|(key, value)| Sample {
                key: (!key.is_empty()).then(|| key.as_bytes().to_vec()),
                value: Some(value.as_bytes().to_vec()),
            })
            .collect();
        let guess = guess(&samples);
        let mut out = format!("{} time {:?} key {:?}\n", guess.format(), guess.time, guess.keyed_by);
        for column in &guess.columns {
            writeln!(out, "{} {}", column.name, column.ty.name()).unwrap();
        }
        writeln!(out, "{}", guess.query("s")).unwrap();
        expected.assert_eq(&out);
    }

    #[test]
    fn json_is_looked_through() {
        check(
            &[
                ("a", r#"{"ts":1700000000000,"video":"a","n":1,"x":true,"mixed":1,"tags":[1],"gone":null}"#),
                ("b", r#"{"ts":1700000001000,"video":"b","n":1.5,"mixed":"1","tags":{}}"#),
            ],
            expect![[r#"
                json time Some(("ts", "ms")) key Some("video")
                n double
                tags json
                ts bigint
                video text
                x boolean
                SELECT "video", count(*) AS count
                FROM s
                GROUP BY "video", tumble(interval '1 minute')
            "#]],
        );
    }

    #[test]
    fn times_are_told_by_their_size_and_name() {
        check(
            &[("", r#"{"created":1700000000,"at":"2023-11-14T22:13:20Z","id":1700000000123}"#)],
            expect![[r#"
                json time Some(("at", "rfc3339")) key None
                at text
                created bigint
                id bigint
                SELECT window_start, count(*) AS count
                FROM s
                GROUP BY tumble(interval '1 minute')
            "#]],
        );
    }

    #[test]
    fn what_a_registry_knows_is_told_by_its_frames() {
        check(
            &[("\0\0\0\0\x01\x02", "\0\0\0\0\x07\x02ab"), ("", "\0\0\0\0\x08\x02")],
            expect![[r#"
            avro-registry time None key None
            SELECT window_start, count(*) AS count
            FROM s
            GROUP BY tumble(interval '1 minute')
        "#]],
        );
        check(
            &[("", "\0\0\0\0\x07{\"a\":1}")],
            expect![[r#"
            json-registry time None key None
            a bigint
            SELECT window_start, count(*) AS count
            FROM s
            GROUP BY tumble(interval '1 minute')
        "#]],
        );
        check(
            &[("", "\0\0\0\0\x07\x02ab"), ("", "\0\0\0\0\0\x02")],
            expect![[r#"
            text time None key None
            SELECT window_start, count(*) AS count
            FROM s
            GROUP BY tumble(interval '1 minute')
        "#]],
        );
    }

    #[test]
    fn anything_else_is_text() {
        check(
            &[("", "{\"a\":1}"), ("", "GET /index.html")],
            expect![[r#"
                text time None key None
                SELECT window_start, count(*) AS count
                FROM s
                GROUP BY tumble(interval '1 minute')
            "#]],
        );
    }
}
