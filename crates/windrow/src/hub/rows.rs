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
    decode::Decoder,
    hub::{Channel, Full},
    plan::ViewPlan,
    scan::RowFields,
    spec::{Format, StreamSpec},
    value::{Datum, write_text},
};

use super::{
    ChannelSpec, Source,
    spec::{STREAM_COLUMNS, STREAM_KEY},
};

/// The decoder of one channel.
pub(crate) struct Rows {
    kind: Kind,
    arena: Bump,
    key: Vec<u8>,
    row: Vec<u8>,
}

enum Kind {
    View,
    Stream { spec: Arc<StreamSpec>, any: RowFields, latest_by: Option<RowFields> },
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
    pub(crate) fn new(spec: &ChannelSpec) -> Option<Self> {
        let kind = match &spec.source {
            Source::Local => return None,
            Source::View { .. } => Kind::View,
            Source::Stream { spec } => Kind::Stream {
                any: RowFields::new(&[]),
                latest_by: (!spec.latest_by.is_empty()).then(|| {
                    let columns: Vec<_> = spec.latest_by.iter().map(|n| (n.clone(), None)).collect();
                    RowFields::new(&columns)
                }),
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
        (topic, partition): (&str, i32),
        record: &Record<'_>,
        now_ms: i64,
    ) -> Result<Applied, Full> {
        self.arena.reset();
        self.key.clear();
        self.row.clear();
        let Self { kind, arena, key, row } = self;
        let from = Origin { topic, partition, record };
        let found = match kind {
            Kind::View => view_row(record, key, row),
            Kind::Stream { spec, any, latest_by } => {
                stream_row(&from, spec, (any, latest_by.as_ref()), arena, key, row)
            }
            Kind::Select { view, decoder, mistyped } => {
                select_row(&from, view, (decoder, mistyped), now_ms, arena, key, row)
            }
        };
        let place = (partition, record.offset);
        match found {
            Found::Row => channel.apply(place, key, Some(row), window_end_ms(record, kind))?,
            Found::End => channel.apply(place, key, None, None)?,
            Found::Nothing => return Ok(Applied::Nothing),
            Found::Bad => return Ok(Applied::Bad),
        }
        Ok(Applied::Changed)
    }
}

struct Origin<'a> {
    topic: &'a str,
    partition: i32,
    record: &'a Record<'a>,
}

impl Origin<'_> {
    fn write_key(&self, out: &mut Vec<u8>) {
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
    (any, latest_by): (&RowFields, Option<&RowFields>),
    arena: &Bump,
    key: &mut Vec<u8>,
    row: &mut Vec<u8>,
) -> Found {
    row.push(b'{');
    from.write_place(row);
    row.extend_from_slice(format!(",\"_timestamp\":{},\"_key\":", from.record.timestamp_ms).as_bytes());
    let name = from.record.key.and_then(|key| std::str::from_utf8(key).ok());
    name.map_or(Datum::Null, Datum::Text).write_json(row);
    match (from.record.value, spec.format) {
        (None, _) => row.extend_from_slice(b",\"_value\":null}"),
        (Some(value), Format::Text) => {
            let Ok(text) = std::str::from_utf8(value) else { return Found::Bad };
            row.extend_from_slice(b",\"_value\":");
            write_text(text, row);
            row.push(b'}');
        }
        (Some(value), Format::Json) => {
            if any.read(value, arena, &mut Vec::new()).is_err() || !append_members(value, row) {
                return Found::Bad;
            }
            row.push(b'}');
        }
    }
    let Some(fields) = latest_by else {
        from.write_key(key);
        return Found::Row;
    };
    let mut columns = Vec::new();
    if fields.read(row, arena, &mut columns).is_err() {
        return Found::Bad;
    }
    let is_end = from.record.value.is_none();
    if let ([column], true, Some(name)) = (columns.as_mut_slice(), is_end, name) {
        // A null value has no columns: what it deletes is named by its message key.
        if column.is_null() {
            *column = Datum::Text(name);
        }
    }
    write_key(&columns, key);
    if is_end { Found::End } else { Found::Row }
}

fn write_key(columns: &[Datum<'_>], key: &mut Vec<u8>) {
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
    from.write_key(key);
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
