//! Telling: a row becomes an event, or a part of an answer.
//!
//! ```text
//! {"_topic":"roof",…,"timestamp":1.5e9,"data":{"t":23.1}}   →   42["sensor_values",{"topic":"roof","timestamp":1500000000.0,"data":{"t":23.1}}]
//! ```
//!
//! **In** rows of a channel. **Out** values as the original told them: `timestamp` in seconds, always with a fraction; `data` as it is
//! in the row. **Invariant:** a row without a topic, a timestamp or data is counted and told to nobody; one whose data is empty is told to
//! nobody, as the original did. **Not here:** which rows (`feed`, and the stream's `where`).

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bumpalo::Bump;
use bytes::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use windrow_core::{
    scan::RowFields,
    value::{Datum, write_text},
};

use super::super::feed::Rows;
use crate::{
    config::SensorMirror,
    dialect::socketio::{namespace, packet::Kind, upper::Parcel},
    hub::spec::STREAM_COLUMNS,
    stats::Counter,
};

/// How bytes begin in the rows of a stream with `bytes = "tagged"`. Unescaped quotes are never inside of a text, so this is not either.
const TAG: &str = "{\"$bytes\":\"";
const TAG_END: &str = "\"}";

/// Where the columns stand.
const TOPIC: usize = 0;
const TIMESTAMP: usize = 1;
const DATA: usize = 2;

/// Tells rows.
#[derive(Debug)]
pub(super) struct Teller {
    fields: RowFields,
    per_second: u32,
    /// The column of the timestamp, where all other members are the data.
    all_but: Option<Box<str>>,
    incomplete: Arc<Counter>,
}

/// One row, read.
#[derive(Debug, PartialEq)]
pub(super) struct Values {
    pub(super) topic: String,
    /// Seconds since the epoch, as JSON.
    timestamp: String,
    /// A JSON object; bytes in it are tagged.
    data: String,
}

impl Teller {
    pub(super) fn new(config: &SensorMirror, incomplete: Arc<Counter>) -> Self {
        let names = [Some(&config.topic), Some(&config.timestamp), config.data.as_ref()];
        let columns: Vec<_> = names.into_iter().flatten().map(|name| (name.as_str().into(), None)).collect();
        let all_but = config.data.is_none().then(|| config.timestamp.as_str().into());
        Self { fields: RowFields::new(&columns), per_second: config.per_second, all_but, incomplete }
    }

    /// Appends the events of rows; returns their bytes.
    pub(super) fn events(&self, rows: &Rows, out: &mut Vec<Parcel>) -> usize {
        let event = if rows.are_new { "sensor_values_cache" } else { "sensor_values" };
        let before = out.len();
        for values in self.values(&rows.json) {
            let (data, attachments) = values.event(event);
            out.extend(namespace::packet(Kind::Event, "/", None, &attachments, data.as_bytes()));
        }
        out[before..].iter().map(Parcel::len_bytes).sum()
    }

    /// Reads the rows of a JSON array; what follows it is not looked at.
    pub(super) fn values(&self, rows: &[u8]) -> Vec<Values> {
        let list = Vec::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_slice(rows));
        let mut arena = Bump::new();
        let mut all = Vec::new();
        for row in list.unwrap_or_default() {
            arena.reset();
            match self.read(row.get(), &arena) {
                Some(values) if values.data == "{}" => {}
                Some(values) => all.push(values),
                None => self.incomplete.add(1),
            }
        }
        all
    }

    fn read(&self, row: &str, arena: &Bump) -> Option<Values> {
        let mut columns = Vec::new();
        self.fields.read(row.as_bytes(), arena, &mut columns).ok()?;
        let Datum::Text(topic) = *columns.get(TOPIC)? else { return None };
        let timestamp = self.seconds(*columns.get(TIMESTAMP)?)?;
        let data = match &self.all_but {
            Some(timestamp) => members_but(row, timestamp)?,
            None => match columns.get(DATA)? {
                Datum::Json(object) if object.starts_with('{') => compact(object),
                _ => return None,
            },
        };
        Some(Values { topic: topic.to_owned(), timestamp, data })
    }

    /// Writes a time in seconds, with a fraction even if that is none, as the original did.
    fn seconds(&self, timestamp: Datum<'_>) -> Option<String> {
        let units = match timestamp {
            Datum::Float(units) => units,
            // Exact up to 2^53, which is far beyond any time in milliseconds.
            Datum::Int(units) | Datum::Timestamp(units) => units as f64,
            _ => return None,
        };
        serde_json::to_string(&(units / f64::from(self.per_second))).ok()
    }
}

impl Values {
    /// Writes an event, and its attachments.
    fn event(&self, event: &str) -> (String, Vec<Bytes>) {
        let mut attachments = Vec::new();
        let data = untagged(&self.data, |base64, out| match BASE64_STANDARD.decode(base64) {
            Ok(bytes) => {
                out.push_str(&format!("{{\"_placeholder\":true,\"num\":{}}}", attachments.len()));
                attachments.push(bytes.into());
            }
            // No bytes of ours, so it is left as it is.
            Err(_) => out.push_str(&format!("{TAG}{base64}{TAG_END}")),
        });
        let (topic, timestamp) = (text(&self.topic), &self.timestamp);
        let event = format!("[\"{event}\",{{\"topic\":{topic},\"timestamp\":{timestamp},\"data\":{data}}}]");
        (event, attachments)
    }

    /// Writes the members of an answer in JSON, where bytes are text in base64: the time, the topic if it is wanted, the data.
    pub(super) fn answer(&self, with_topic: bool) -> String {
        let data = untagged(&self.data, |base64, out| out.push_str(&format!("\"{base64}\"")));
        let topic = if with_topic { format!("\"topic\":{},", text(&self.topic)) } else { String::new() };
        format!("{{\"timestamp\":{},{topic}\"data\":{data}}}", self.timestamp)
    }
}

/// Writes a text as JSON.
pub(super) fn text(text: &str) -> String {
    let mut out = Vec::new();
    write_text(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes an object without blanks, so that an empty one is `{}`; rows of JSON stand there as they came.
fn compact(object: &str) -> String {
    let inner = object.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(object);
    if inner.trim().is_empty() { "{}".to_owned() } else { object.to_owned() }
}

/// Replaces what is tagged; the outermost object is no tag, whatever its members are called.
fn untagged(json: &str, mut each: impl FnMut(&str, &mut String)) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    if let Some(inner) = json.strip_prefix('{') {
        out.push('{');
        rest = inner;
    }
    while let Some((before, after)) = rest.split_once(TAG) {
        let Some((base64, after)) = after.split_once(TAG_END) else {
            out.push_str(before);
            out.push_str(TAG);
            rest = after;
            continue;
        };
        out.push_str(before);
        each(base64, &mut out);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Writes the members of a row that are its value's: neither ours nor the timestamp.
fn members_but(row: &str, timestamp: &str) -> Option<String> {
    struct Members<'a>(&'a str);
    impl<'de> Visitor<'de> for Members<'_> {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a row")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
            let mut out = String::from("{");
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                let is_ours = STREAM_COLUMNS.iter().any(|(ours, _)| *ours == name) || name == "_value";
                if is_ours || name == self.0 {
                    continue;
                }
                if out.len() > 1 {
                    out.push(',');
                }
                out.push_str(&text(&name));
                out.push(':');
                out.push_str(value.get());
            }
            out.push('}');
            Ok(out)
        }
    }
    serde_json::Deserializer::from_str(row).deserialize_map(Members(timestamp)).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn teller(timestamp: &str, per_second: u32, data: Option<&str>) -> Teller {
        let config = SensorMirror {
            topic: "_topic".to_owned(),
            timestamp: timestamp.to_owned(),
            per_second,
            data: data.map(str::to_owned),
            ..SensorMirror::default()
        };
        Teller::new(&config, Arc::default())
    }

    fn told(teller: &Teller, row: &str) -> String {
        let values = teller.values(format!("[{row}],\"gone\":[]").as_bytes());
        let events = values.iter().map(|values| {
            let (event, attachments) = values.event("e");
            let attachments: String = attachments.iter().map(|bytes| format!(" {bytes:?}")).collect();
            format!("{event}{attachments} | {}\n", values.answer(true))
        });
        let events: String = events.collect();
        if events.is_empty() { format!("nothing, {} incomplete\n", teller.incomplete.get()) } else { events }
    }

    #[test]
    fn a_row_is_told_as_the_original_told_it() {
        let teller = teller("timestamp", 1, Some("data"));
        let mut out = String::new();
        for row in [
            r#"{"_topic":"a","_key":null,"timestamp":1485000000,"data":{"t":23.100000381469727,"n":5,"b":true,"s":"x"}}"#,
            r#"{"_topic":"a","timestamp":1485000000.25,"data":{"s":"{\"$bytes\":\"AA==\"}","b":{"$bytes":"AP8="},"c":{"$bytes":""}}}"#,
            r#"{"_topic":"a","timestamp":-1.5e9,"data":{"$bytes":"AP8=","x":{"$bytes":"?"}}}"#,
            r#"{"_topic":"a \"é\"","timestamp":0,"data":{"s":1}}"#,
            r#"{"_topic":"a","timestamp":1,"data":{}}"#,
            r#"{"_topic":"a","timestamp":1,"data":{ }}"#,
            r#"{"_topic":"a","timestamp":null,"data":{"s":1}}"#,
            r#"{"_topic":"a","timestamp":1,"data":[1]}"#,
            r#"{"_topic":5,"timestamp":1,"data":{"s":1}}"#,
            r#"{"_topic":"a","timestamp":1}"#,
        ] {
            out.push_str(&told(&teller, row));
        }
        expect![[r#"
            ["e",{"topic":"a","timestamp":1485000000.0,"data":{"t":23.100000381469727,"n":5,"b":true,"s":"x"}}] | {"timestamp":1485000000.0,"topic":"a","data":{"t":23.100000381469727,"n":5,"b":true,"s":"x"}}
            ["e",{"topic":"a","timestamp":1485000000.25,"data":{"s":"{\"$bytes\":\"AA==\"}","b":{"_placeholder":true,"num":0},"c":{"_placeholder":true,"num":1}}}] b"\0\xff" b"" | {"timestamp":1485000000.25,"topic":"a","data":{"s":"{\"$bytes\":\"AA==\"}","b":"AP8=","c":""}}
            ["e",{"topic":"a","timestamp":-1500000000.0,"data":{"$bytes":"AP8=","x":{"$bytes":"?"}}}] | {"timestamp":-1500000000.0,"topic":"a","data":{"$bytes":"AP8=","x":"?"}}
            ["e",{"topic":"a \"é\"","timestamp":0.0,"data":{"s":1}}] | {"timestamp":0.0,"topic":"a \"é\"","data":{"s":1}}
            nothing, 0 incomplete
            nothing, 0 incomplete
            nothing, 1 incomplete
            nothing, 2 incomplete
            nothing, 3 incomplete
            nothing, 4 incomplete
        "#]].assert_eq(&out);
    }

    #[test]
    fn the_successor_s_key_is_the_time_and_its_value_the_data() {
        let teller = teller("_key.timestamp", 1_000, None);
        let mut out = String::new();
        for row in [
            r#"{"_topic":"a","_partition":0,"_offset":1,"_timestamp":7,"_key":{"timestamp":1491000000123},"t":1.5,"b":{"$bytes":"AP8="}}"#,
            r#"{"_topic":"a","_key":{"timestamp":1491000000000},"_value":null}"#,
            r#"{"_topic":"a","_key":null,"t":1.5}"#,
        ] {
            out.push_str(&told(&teller, row));
        }
        expect![[r#"
            ["e",{"topic":"a","timestamp":1491000000.123,"data":{"t":1.5,"b":{"_placeholder":true,"num":0}}}] b"\0\xff" | {"timestamp":1491000000.123,"topic":"a","data":{"t":1.5,"b":"AP8="}}
            nothing, 0 incomplete
            nothing, 1 incomplete
        "#]].assert_eq(&out);
    }
}
