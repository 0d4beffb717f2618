//! Lines: a body becomes records and rejections.
//!
//! **In** NDJSON, or one JSON array (a body whose first character is `[`), or plain lines for streams of text, bytes and CSV.
//! **Out** records in the order of the body, their bytes shared with it; refused lines by number (elements of an array count
//! like lines), from 1.
//! **Invariant:** what is accepted decodes: JSON streams take objects only, CSV streams as many fields as they have columns. Empty lines are no records and no mistakes.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use windrow_core::{
    decode::write_members,
    spec::{Format, StreamSpec},
    value::Datum,
};

use super::Report;

/// Rejections told in full; the rest is counted. At about 100 bytes each, 100 KiB of answer.
const REJECTED_MAX: usize = 1_000;

/// Longest key: the decoder calls longer ones bad.
const KEY_MAX_BYTES: usize = 64 << 10;

/// A refused line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which one, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// A record to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Option<Bytes>,
    pub(super) value: Bytes,
}

/// Splits a body; [`Report::accepted`] is left at 0.
pub(super) fn split(
    spec: &StreamSpec,
    key: Option<&str>,
    record_max_bytes: usize,
    body: &Bytes,
) -> (Vec<Record>, Report) {
    let keyed: Vec<&str> = match key {
        Some(key) => vec![key],
        None => spec.keyed_by.iter().map(|c| &**c).collect(),
    };
    // A text stream has no columns; its key would be the whole line.
    let has_columns = matches!(spec.format, Format::Json | Format::Csv);
    let keyed = if has_columns { keyed } else { Vec::new() };
    let mut splitter = Splitter {
        spec,
        keyed,
        key_is_needed: !spec.keyed_by.is_empty(),
        record_max_bytes,
        body,
        records: Vec::new(),
        report: Report::default(),
    };
    let start = body.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(body.len());
    if body.get(start) == Some(&b'[') {
        splitter.array();
    } else {
        for (index, line) in body.split(|b| *b == b'\n').enumerate() {
            splitter.line(index + 1, line);
        }
    }
    (splitter.records, splitter.report)
}

struct Splitter<'a> {
    spec: &'a StreamSpec,
    keyed: Vec<&'a str>,
    key_is_needed: bool,
    record_max_bytes: usize,
    body: &'a Bytes,
    records: Vec<Record>,
    report: Report,
}

impl<'a> Splitter<'a> {
    fn array(&mut self) {
        let body = self.body;
        let elements: Vec<&RawValue> = match serde_json::from_slice(body) {
            Ok(elements) => elements,
            Err(error) => return self.reject(error.line(), format!("not a JSON array: {error}")),
        };
        for (index, element) in elements.iter().enumerate() {
            let text = element.get();
            if self.spec.format != Format::Json && text.starts_with('"') {
                match serde_json::from_str::<String>(text) {
                    Ok(text) => self.value(index + 1, Bytes::from(text)),
                    Err(error) => self.reject(index + 1, format!("not a JSON string: {error}")),
                }
            } else {
                self.line(index + 1, text.as_bytes());
            }
        }
    }

    fn line(&mut self, number: usize, line: &'a [u8]) {
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            self.value(number, self.body.slice_ref(line));
        }
    }

    fn value(&mut self, number: usize, value: Bytes) {
        if value.len() > self.record_max_bytes {
            let (is, most) = (value.len(), self.record_max_bytes);
            return self.reject(number, format!("a record must be at most {most} bytes, not {is}"));
        }
        let key = match self.key(&value) {
            Ok(key) => key,
            Err(reason) => return self.reject(number, reason),
        };
        if key.as_ref().is_some_and(|k| k.len() > KEY_MAX_BYTES) {
            return self.reject(number, format!("a key must be at most {KEY_MAX_BYTES} bytes"));
        }
        self.records.push(Record { key, value });
    }

    /// Checks the value, and reads the key out of it.
    fn key(&self, value: &[u8]) -> Result<Option<Bytes>, String> {
        if self.spec.format == Format::Bytes {
            return Ok(None);
        }
        let text =
            std::str::from_utf8(value).map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to() + 1))?;
        if self.spec.format == Format::Text {
            return Ok(None);
        }
        let mut row = Vec::new();
        let text = if self.spec.format == Format::Csv {
            write_members(self.spec, value, &mut row).map_err(|bad| bad.to_string())?;
            // Members begin with a comma; a stream of CSV has at least one.
            row[0] = b'{';
            row.push(b'}');
            std::str::from_utf8(&row).map_err(|e| e.to_string())?
        } else {
            text
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let found = Members(&self.keyed)
            .deserialize(&mut json)
            .and_then(|found| json.end().map(|()| found))
            .map_err(|error| format!("not a JSON object: {error}"))?;
        let mut parts = Vec::with_capacity(found.len());
        for (name, value) in self.keyed.iter().zip(found) {
            match value.filter(|v| v.get() != "null") {
                Some(value) => parts.push(value),
                None if self.key_is_needed => return Err(format!("the key column `{name}` is missing")),
                None => return Ok(None),
            }
        }
        match parts.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(Bytes::from(key_part(one, false)))),
            several => {
                let several: Vec<String> = several.iter().map(|part| key_part(part, true)).collect();
                Ok(Some(Bytes::from(format!("[{}]", several.join(",")))))
            }
        }
    }

    fn reject(&mut self, line: usize, reason: String) {
        if self.report.rejected.len() < REJECTED_MAX {
            self.report.rejected.push(Rejection { line, reason });
        } else {
            self.report.rejected_more += 1;
        }
    }
}

/// The text of one key column. Numbers are written canonically: equal ones must meet in one partition.
fn key_part(value: &RawValue, quoted: bool) -> String {
    let text = value.get();
    if text.starts_with('"') {
        let inner = serde_json::from_str::<String>(text);
        return match inner {
            Ok(inner) if !quoted => inner,
            _ => text.to_owned(),
        };
    }
    let number = match text.parse::<i64>() {
        Ok(int) => Datum::Int(int),
        Err(_) => match text.parse::<f64>() {
            Ok(float) if text.contains(['.', 'e', 'E']) => Datum::float(float),
            _ => return text.to_owned(),
        },
    };
    let mut out = Vec::new();
    number.write_json(&mut out);
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// Reads some members of an object, the last of equal names, and checks the rest.
struct Members<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(name) = map.next_key::<Name<'de>>()? {
            match self.0.iter().position(|wanted| *wanted == name.0) {
                Some(index) => found[index] = Some(map.next_value()?),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// A member's name, borrowed when it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::{Variables, parse};

    fn check(stream: &str, key: Option<&str>, body: &[u8], expected: Expect) {
        let config = parse(&format!("[streams.s]\n{stream}"), "w.toml", &Variables::default()).unwrap();
        let (records, report) = split(&config.streams["s"].spec, key, 40, &Bytes::copy_from_slice(body));
        let mut out = String::new();
        for record in records {
            let key = record.key.map_or("null".into(), |k| String::from_utf8_lossy(&k).into_owned());
            writeln!(out, "{key} -> {}", String::from_utf8_lossy(&record.value)).unwrap();
        }
        for rejection in report.rejected {
            writeln!(out, "{}: {}", rejection.line, rejection.reason).unwrap();
        }
        expected.assert_eq(&out);
    }

    #[test]
    fn good_lines_are_taken_and_bad_ones_named() {
        check(
            "",
            Some("a"),
            b"{\"a\":\"x\",\"b\":1}\n\n{\"a\":1.0}\r\n{\"b\":2}\n[1]\n{\"a\":\n{} {}\n\xff\n{\"a\":\"0123456789012345678901234567890123456789\"}\n{\"a\":\"\\u00e4\"}",
            expect![[r#"
                x -> {"a":"x","b":1}
                1 -> {"a":1.0}
                null -> {"b":2}
                ä -> {"a":"\u00e4"}
                5: not a JSON object: invalid type: sequence, expected an object at line 1 column 0
                6: not a JSON object: EOF while parsing a value at line 1 column 5
                7: not a JSON object: trailing characters at line 1 column 4
                8: not UTF-8 at byte 1
                9: a record must be at most 40 bytes, not 48
            "#]],
        );
    }

    #[test]
    fn an_array_is_taken_element_by_element() {
        check(
            "",
            None,
            b" [ {\"a\":1}, 2, {\"b\": [3]} ]",
            expect![[r#"
                null -> {"a":1}
                null -> {"b": [3]}
                2: not a JSON object: invalid type: integer `2`, expected an object at line 1 column 1
            "#]],
        );
        check(
            "",
            None,
            b"[{},",
            expect![[r#"
            1: not a JSON array: EOF while parsing a value at line 1 column 4
        "#]],
        );
    }

    #[test]
    fn a_keyed_stream_never_takes_a_record_without_its_key() {
        check(
            "keyed_by = [\"a\", \"b\"]",
            None,
            b"{\"a\":\"x\",\"b\":2e0}\n{\"a\":\"x\"}\n{\"a\":null,\"b\":1}",
            expect![[r#"
                ["x",2] -> {"a":"x","b":2e0}
                2: the key column `b` is missing
                3: the key column `a` is missing
            "#]],
        );
    }

    #[test]
    fn text_streams_take_any_line() {
        check(
            "format = \"text\"",
            None,
            b"a b\n{]\n",
            expect![[r#"
            null -> a b
            null -> {]
        "#]],
        );
        check(
            "format = \"text\"",
            None,
            b"[\"a\\nb\", 3]",
            expect![[r#"
            null -> a
            b
            null -> 3
        "#]],
        );
    }

    #[test]
    fn lines_of_csv_are_checked_and_give_their_key() {
        check(
            "format = \"csv\"\nkeyed_by = \"n\"\ncolumns = { id = \"text\", n = \"bigint\" }",
            None,
            b"a,1\n\"b,c\",2.0\r\na\n\"a,1\n,\nx,y\n\xff,1\n[\n",
            expect![[r#"
                1 -> a,1
                2 -> "b,c",2.0
                3: the record of CSV has more or fewer fields than the stream has columns
                4: the value is not one record of CSV
                5: the key column `n` is missing
                6: the key column `n` is missing
                7: not UTF-8 at byte 1
                8: the record of CSV has more or fewer fields than the stream has columns
            "#]],
        );
        check(
            "format = \"csv\"\ncolumns = { id = \"text\", n = \"bigint\" }",
            Some("id"),
            b"[\"a,1\", \"\\\"x\\ny\\\",2\", 3]",
            expect![[r#"
                a -> a,1
                x
                y -> "x
                y",2
                3: the record of CSV has more or fewer fields than the stream has columns
            "#]],
        );
    }

    #[test]
    fn streams_of_bytes_take_any_line() {
        check(
            "format = \"bytes\"",
            None,
            b"a b\n\xff\n",
            expect![[r#"
            null -> a b
            null -> �
        "#]],
        );
    }

    #[test]
    fn a_flood_of_mistakes_is_counted() {
        let config = parse("[streams.s]", "w.toml", &Variables::default()).unwrap();
        let body = Bytes::from("x\n".repeat(1_500));
        let (_, report) = split(&config.streams["s"].spec, None, 40, &body);
        assert_eq!((report.rejected.len(), report.rejected_more), (1_000, 500));
    }
}
