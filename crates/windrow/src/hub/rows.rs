//! Rows: records of a channel's topic become keys and JSON objects.
//!
//! **In** one record. **Out** what [`Channel::apply`] takes: a key, a row or its end, the window's end.
//! **Before** this file: `reader`. **After** it: the channel.
//!
//! | channel | key | row |
//! |---|---|---|
//! | view | the record's key | the record's value |
//! | stream | `[topic, partition, offset]`, or the `latest_by` columns | `_topic` … `_key`, then the value's members, or `_value` |
//! | view without state | `[topic, partition, offset]` | these three, then what is selected |
//!
//! **Invariant:** a record that cannot be a row is counted and left out; it never stops the channel.
//! **Not here:** event time and lateness, which do not concern channels of streams.

use std::sync::Arc;

use bumpalo::Bump;
use windrow_core::{
    batch::Record,
    decode::{BadReason, Decoder, write_key, write_members},
    hub::{Channel, Full, Row},
    plan::ViewPlan,
    registry::Frame,
    scan::RowFields,
    spec::{Format, StreamSpec},
    value::{Datum, write_text},
};

use self::rules::StreamRules;
use super::{
    ChannelSpec, Source,
    spec::{STREAM_COLUMNS, STREAM_KEY},
};
use crate::log::Tp;

mod rules;

/// The decoder of one channel.
pub(crate) struct Rows {
    kind: Kind,
    arena: Bump,
    key: Vec<u8>,
    row: Vec<u8>,
}

enum Kind {
    View,
    Stream { spec: Arc<StreamSpec>, any: RowFields, rules: Box<StreamRules> },
    Select { view: Arc<ViewPlan>, decoder: Box<Decoder>, mistyped: Vec<u64> },
}

/// What a record turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A row is in `key` and `row`.
    Row,
    /// The row of `key` is over.
    End,
    /// Nothing for this channel.
    Nothing,
    /// Not a row.
    Bad,
}

/// What one record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was a row or its end.
    Changed,
    /// It was nothing for this channel.
    Nothing,
    /// It could not be read.
    Bad,
}

impl Rows {
    /// Makes the decoder; a local channel has none.
    pub(crate) fn new(channel: &ChannelSpec) -> Option<Self> {
        let kind = match &channel.source {
            Source::Local => return None,
            Source::View { .. } => Kind::View,
            Source::Stream { spec } => Kind::Stream {
                any: RowFields::new(&[]),
                rules: Box::new(StreamRules::new(channel, spec)),
                spec: spec.clone(),
            },
            Source::Select { plan, view } => {
                let decoder = Box::new(Decoder::new(plan));
                let mistyped = vec![0; decoder.width()];
                Kind::Select { view: plan.views[*view].clone(), decoder, mistyped }
            }
        };
        Some(Self { kind, arena: Bump::new(), key: Vec::new(), row: Vec::new() })
    }

    /// Applies one record to the channel.
    pub(crate) fn apply(
        &mut self,
        channel: &mut Channel,
        (tp, place): (&Tp, i32),
        record: &Record<'_>,
        now_ms: i64,
    ) -> Result<Applied, Full> {
        let found = self.find((&tp.topic, tp.partition), record, now_ms);
        let (place, window_end_ms) = ((place, record.offset), window_end_ms(record, &self.kind));
        match found {
            Found::Row => channel.apply(place, &self.key, Some(&self.row), window_end_ms)?,
            Found::End => channel.apply(place, &self.key, None, window_end_ms)?,
            Found::Nothing => return Ok(Applied::Nothing),
            Found::Bad => return Ok(Applied::Bad),
        }
        Ok(Applied::Changed)
    }

    /// Makes the row of a record of a sequence that is read again; what is no row was counted when it was read first.
    pub(crate) fn past(&mut self, (tp, place): (&Tp, i32), record: &Record<'_>, now_ms: i64) -> Option<Row> {
        let found = self.find((&tp.topic, tp.partition), record, now_ms);
        let offset = record.offset;
        (found == Found::Row).then(|| Row {
            key: self.key.as_slice().into(),
            json: self.row.as_slice().into(),
            window_end_ms: None,
            partition: place,
            offset,
            born: offset,
        })
    }

    /// Reads one record into `key` and `row`.
    fn find(&mut self, (topic, partition): (&str, i32), record: &Record<'_>, now_ms: i64) -> Found {
        self.arena.reset();
        self.key.clear();
        self.row.clear();
        let Self { kind, arena, key, row } = self;
        let from = Origin { topic, partition, record };
        match kind {
            Kind::View => view_row(record, key, row),
            Kind::Stream { spec, any, rules } => stream_row(&from, spec, (any, rules), arena, key, row),
            Kind::Select { view, decoder, mistyped } => {
                select_row(&from, view, (decoder, mistyped), now_ms, arena, key, row)
            }
        }
    }
}

struct Origin<'a> {
    topic: &'a str,
    partition: i32,
    record: &'a Record<'a>,
}

impl Origin<'_> {
    fn write_place_key(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        write_text(self.topic, out);
        out.extend_from_slice(format!(",{},{}]", self.partition, self.record.offset).as_bytes());
    }

    /// Writes `"_topic":…,` up to `"_offset":…`.
    fn write_place(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"_topic\":");
        write_text(self.topic, out);
        let place = format!(",\"_partition\":{},\"_offset\":{}", self.partition, self.record.offset);
        out.extend_from_slice(place.as_bytes());
    }
}

/// A view's channel topic is written by the engine: the bytes are the row.
fn view_row(record: &Record<'_>, key: &mut Vec<u8>, row: &mut Vec<u8>) -> Found {
    let Some(name) = record.key else { return Found::Bad };
    key.extend_from_slice(name);
    match record.value {
        None => Found::End,
        Some(value) if value.starts_with(b"{") && value.ends_with(b"}") => {
            row.extend_from_slice(value);
            Found::Row
        }
        Some(_) => Found::Bad,
    }
}

/// Reads the window's end out of the header `window`: `start/end`.
fn window_end_ms(record: &Record<'_>, kind: &Kind) -> Option<i64> {
    let Kind::View = kind else { return None };
    let window = std::str::from_utf8(record.headers.get("window")??).ok()?;
    window.split_once('/')?.1.parse().ok()
}

fn stream_row(
    from: &Origin<'_>,
    spec: &StreamSpec,
    (any, rules): (&RowFields, &StreamRules),
    arena: &Bump,
    key: &mut Vec<u8>,
    row: &mut Vec<u8>,
) -> Found {
    row.push(b'{');
    from.write_place(row);
    row.extend_from_slice(format!(",\"_timestamp\":{},\"_key\":", from.record.timestamp_ms).as_bytes());
    let name = from.record.key.and_then(|key| key_text(key, &spec.key_format));
    match (from.record.key, &spec.key_format) {
        (None, _) => row.extend_from_slice(b"null"),
        (Some(_), Format::Text | Format::Json | Format::JsonRegistry) => {
            name.map_or(Datum::Null, Datum::Text).write_json(row);
        }
        (Some(key), _) if write_key(spec, key, row).is_err() => return Found::Bad,
        (Some(_), _) => {}
    }
    match (from.record.value, &spec.format) {
        (None, _) => row.extend_from_slice(b",\"_value\":null}"),
        (Some(value), Format::Json | Format::JsonRegistry) => {
            let Ok(value) = unframed(value, &spec.format) else { return Found::Bad };
            if any.read(value, arena, &mut Vec::new()).is_err() || !append_members(value, row) {
                return Found::Bad;
            }
            row.push(b'}');
        }
        (Some(value), _) => {
            if write_members(spec, value, row).is_err() {
                return Found::Bad;
            }
            row.push(b'}');
        }
    }
    if from.record.value.is_some() && !rules.hold(row, arena) {
        return Found::Nothing;
    }
    let Some(fields) = &rules.latest_by else {
        from.write_place_key(key);
        return Found::Row;
    };
    let mut columns = Vec::new();
    if fields.of_row.read(row, arena, &mut columns).is_err() {
        return Found::Bad;
    }
    let is_end = from.record.value.is_none();
    if is_end {
        // A null value has no columns: what it deletes is named by its message key.
        fields.complete(row, name, arena, &mut columns);
    }
    write_columns(&columns, key);
    if is_end { Found::End } else { Found::Row }
}

/// What stands behind the frame, where there is one.
fn unframed<'a>(bytes: &'a [u8], format: &Format) -> Result<&'a [u8], BadReason> {
    match format {
        Format::JsonRegistry => Frame::split(bytes).map(|(_, rest)| rest),
        _ => Ok(bytes),
    }
}

fn key_text<'a>(key: &'a [u8], format: &Format) -> Option<&'a str> {
    std::str::from_utf8(unframed(key, format).ok()?).ok()
}

fn write_columns(columns: &[Datum<'_>], key: &mut Vec<u8>) {
    key.push(b'[');
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            key.push(b',');
        }
        column.write_json(key);
    }
    key.push(b']');
}

/// Appends the members of a valid JSON object, each after a comma, on one line. Members with a name of ours are left out.
fn append_members(object: &[u8], row: &mut Vec<u8>) -> bool {
    let inner = object.trim_ascii();
    let Some(inner) = inner.strip_prefix(b"{").and_then(|i| i.strip_suffix(b"}")) else { return false };
    let inner = inner.trim_ascii();
    if inner.is_empty() {
        return true;
    }
    if memchr::memmem::find(inner, b"\"_").is_some() || memchr::memmem::find(inner, b"\\u").is_some() {
        return append_foreign_members(object, row);
    }
    row.push(b',');
    // Line ends are only ever blanks between tokens: inside text they are escaped.
    row.extend(inner.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    true
}

/// The slow way, for values whose members may have a name of ours.
fn append_foreign_members(object: &[u8], row: &mut Vec<u8>) -> bool {
    use serde::de::{Deserializer as _, MapAccess, Visitor};
    use serde_json::value::RawValue;

    struct Members<'a>(&'a mut Vec<u8>);
    impl<'de> Visitor<'de> for Members<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                if STREAM_COLUMNS.iter().any(|(ours, _)| *ours == name) {
                    continue;
                }
                self.0.push(b',');
                write_text(&name, self.0);
                self.0.push(b':');
                let value = value.get().bytes();
                self.0.extend(value.map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_slice(object).deserialize_map(Members(row)).is_ok()
}

fn select_row(
    from: &Origin<'_>,
    view: &ViewPlan,
    (decoder, mistyped): (&Decoder, &mut [u64]),
    now_ms: i64,
    arena: &Bump,
    key: &mut Vec<u8>,
    row: &mut Vec<u8>,
) -> Found {
    let mut columns = Vec::with_capacity(decoder.width());
    let tp = (from.topic, from.partition);
    if decoder.decode(tp, from.record, now_ms, arena, &mut columns, mistyped).is_err() {
        return Found::Bad;
    }
    if view.filter.as_ref().is_some_and(|filter| !filter.holds(&columns, arena)) {
        return Found::Nothing;
    }
    row.push(b'{');
    from.write_place(row);
    for output in view.outputs.iter().filter(|o| !STREAM_KEY.contains(&o.name.as_ref())) {
        row.push(b',');
        write_text(&output.name, row);
        row.push(b':');
        output.expr.eval(&columns, arena).write_json(row);
    }
    row.push(b'}');
    from.write_place_key(key);
    Found::Row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(object: &str) -> String {
        let mut row = b"{\"_offset\":1".to_vec();
        assert!(append_members(object.as_bytes(), &mut row), "{object}");
        row.push(b'}');
        String::from_utf8(row).unwrap()
    }

    /// Writes the row of one record, and its key.
    fn stream(spec: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let config = crate::config::parse(&format!("[streams.s]\n{spec}"), "w.toml", &Default::default());
        let spec = config.unwrap().streams["s"].spec.clone();
        with_spec(spec, key, value)
    }

    fn with_spec(spec: Arc<StreamSpec>, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let plans = windrow_core::sql::plan(&[spec], &[]).unwrap();
        let channel = ChannelSpec::stream(&plans[0]);
        let mut rows = Rows::new(&channel).unwrap();
        let record = Record { offset: 7, timestamp_ms: 1, key, value, headers: Default::default() };
        let found = rows.find(("t", 0), &record, 2);
        format!("{found:?} {} {}", String::from_utf8_lossy(&rows.key), String::from_utf8_lossy(&rows.row))
    }

    #[test]
    fn what_is_framed_has_the_members_behind_its_frame() {
        let json = "format = \"json-registry\"\nkey_format = \"json-registry\"";
        let table = format!("{json}\nlatest_by = \"id\"");
        let frame = |rest: &str| [&[0, 0, 0, 0, 7], rest.as_bytes()].concat();
        let (key, value) = (frame("\"k\""), frame("{\"id\":\"\\\"k\\\"\",\"n\":1}"));
        let told = [
            stream(json, Some(&key), Some(&value)),
            stream(json, Some(&key), Some(b"{\"id\":1}")),
            stream(&table, Some(&key), Some(&value)),
            stream(&table, Some(&key), None),
        ];
        expect_test::expect![[r#"
            Row ["t",0,7] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"\"k\"","id":"\"k\"","n":1}
            Bad  {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"\"k\""
            Row ["\"k\""] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"\"k\"","id":"\"k\"","n":1}
            End ["\"k\""] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"\"k\"","_value":null}"#]].assert_eq(&told.join("\n"));
    }

    #[test]
    fn rows_of_csv_and_bytes_have_their_columns() {
        let csv = "format = \"csv\"\ncolumns = { id = \"text\", n = \"bigint\" }";
        let table = format!("{csv}\nlatest_by = \"id\"\nkey_format = \"bytes\"");
        let told = [
            stream(csv, Some(b"k"), Some(b"\"a,b\",1")),
            stream(csv, None, Some(b"a")),
            stream(&table, Some(b"\xff"), Some(b"a,2")),
            stream(&table, Some(b"a"), None),
            stream("format = \"bytes\"\nkey_format = \"bytes\"", Some(b"\xff"), Some(b"\x00\x01")),
        ];
        expect_test::expect![[r#"
            Row ["t",0,7] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"k","id":"a,b","n":1}
            Bad  {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":null
            Row ["a"] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"/w==","id":"a","n":2}
            End ["a"] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"YQ==","_value":null}
            Row ["t",0,7] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":"/w==","_value":"AAE="}"#]].assert_eq(&told.join("\n"));
    }

    #[test]
    fn rows_of_avro_have_their_fields_but_those_with_a_name_of_ours() {
        let schema = |text| Format::Avro(Arc::new(windrow_core::avro::Schema::parse(text).unwrap()));
        let record = schema(
            r#"{"type": "record", "name": "R", "fields": [
                {"name": "_offset", "type": "int"}, {"name": "n", "type": "int"}, {"name": "raw", "type": "bytes"}]}"#,
        );
        let config = crate::config::parse("[streams.s]\nlatest_by = \"n\"", "w.toml", &Default::default());
        let mut spec = StreamSpec::clone(&config.unwrap().streams["s"].spec);
        spec.format = record;
        spec.key_format = schema("\"long\"");
        let mut told = vec![
            with_spec(Arc::new(spec.clone()), Some(b"\x02"), Some(b"\x10\x04\x02\xff")),
            with_spec(Arc::new(spec.clone()), Some(b"\x02"), Some(b"\x10\x04\x02")),
            with_spec(Arc::new(spec.clone()), Some(b"\x02\x02"), Some(b"\x10\x04\x02\xff")),
        ];
        spec.format = schema("[\"null\", \"string\"]");
        spec.latest_by = vec!["_key".into()];
        told.push(with_spec(Arc::new(spec.clone()), Some(b"\x02"), Some(b"\x02\x02x")));
        told.push(with_spec(Arc::new(spec.clone()), Some(b"\x02"), Some(b"\x00")));
        told.push(with_spec(Arc::new(spec.clone()), Some(b"\x02"), None));
        spec.latest_by = vec!["n".into()];
        told.push(with_spec(Arc::new(spec.clone()), Some(b"\x02"), None));
        spec.key_format =
            schema(r#"{"type": "record", "name": "K", "fields": [{"name": "n", "type": "int"}]}"#);
        told.push(with_spec(Arc::new(spec), Some(b"\x02"), None));
        expect_test::expect![[r#"
            Row [2] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1,"n":2,"raw":"/w=="}
            Bad  {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1,"n":2,"raw":
            Bad  {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1
            Row [1] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1,"_value":"x"}
            Row [1] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1,"_value":null}
            End [1] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1,"_value":null}
            End [1] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":1,"_value":null}
            End [1] {"_topic":"t","_partition":0,"_offset":7,"_timestamp":1,"_key":{"n":1},"_value":null}"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn records_for_which_the_condition_of_a_stream_does_not_hold_are_no_rows_of_its_channel() {
        let table = "columns = { data = \"json\", n = \"bigint\" }\nwhere = \"data::text <> '{}' AND _topic <> 'x'\"\nlatest_by = \"_topic\"";
        let told = [
            stream(table, None, Some(br#"{"data":{"a":1}}"#)),
            stream(table, None, Some(br#"{"data":{}}"#)),
            stream(table, None, Some(br#"{"n":1}"#)),
            stream(table, None, Some(b"{")),
            stream(table, None, None),
            stream("where = \"_offset > 7\"", None, Some(b"{}")),
            stream("where = \"_offset = 7\"", None, Some(b"{}")),
        ];
        expect_test::expect![[r#"
            Row ["t"]
            Nothing
            Nothing
            Bad
            End ["t"]
            Nothing
            Row ["t",0,7]"#]]
        .assert_eq(
            &told
                .map(|told| told.split('{').next().unwrap_or_default().trim_end_matches(' ').to_owned())
                .join("\n"),
        );
    }

    #[test]
    fn members_follow_ours_on_one_line_and_never_replace_them() {
        for (object, want) in [
            ("{}", r#"{"_offset":1}"#),
            (" { \"a\" : 1 ,\n \"b\":\"x\\ny\" }\r\n", r#"{"_offset":1,"a" : 1 ,  "b":"x\ny"}"#),
            (r#"{"_offset":9,"a":12345678901234567890}"#, r#"{"_offset":1,"a":12345678901234567890}"#),
            (r#"{"\u005foffset":9,"b":[1,{"_key":2}]}"#, r#"{"_offset":1,"b":[1,{"_key":2}]}"#),
            (r#"{"_other":1.0}"#, r#"{"_offset":1,"_other":1.0}"#),
        ] {
            assert_eq!(members(object), want);
        }
    }
}
