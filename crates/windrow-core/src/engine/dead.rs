//! Dead letters: records that were late or bad, and partials that came too late, on their way to a topic of their own, as they came.
//!
//! **In** a record and what happened to it. **Out** an [`OutRecord`] with the story in its headers.
//! **Invariant:** nothing is cut off in silence: a key or value that is too long is shortened, and its true length told.

use std::{mem, sync::Arc};

use bytes::Bytes;

use crate::{
    batch::Record,
    out::{OutRecord, Place, Target},
};

/// Where records come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// What state knows it by: the partition, where the stream has one topic.
    pub(super) number: i32,
}

/// Dead letters since the last cut.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    records: Vec<OutRecord>,
    bytes: usize,
}

/// Why a record is late, and for which row.
#[derive(Debug)]
pub(super) struct Lateness<'t> {
    pub(super) key: &'t [u8],
    pub(super) window: String,
    /// By how much the window's close had passed; `None` at the end of a bounded input.
    pub(super) late_ms: Option<i64>,
}

impl Lateness<'_> {
    pub(super) fn text(&self) -> String {
        self.late_ms.map_or_else(|| "end".to_owned(), |ms| ms.to_string())
    }
}

/// Where a partial row comes from, and what it says.
#[derive(Debug)]
pub(super) struct Range<'t> {
    pub(super) topic: &'t str,
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) row: &'t [u8],
}

/// Longest key and value that a dead letter carries: half of what a topic takes by default.
const PART_MAX_BYTES: usize = 480 << 10;
/// What the headers come to.
const HEADERS_BYTES: usize = 160;

impl DeadLetters {
    pub(super) fn late(&mut self, target: Target, source: &Source, record: &Record<'_>, late: &Lateness<'_>) {
        let story = vec![
            ("reason", Bytes::from_static(b"late")),
            ("key", Bytes::copy_from_slice(late.key)),
            ("window", late.window.clone().into()),
            ("lateness", late.text().into()),
        ];
        self.push(target, source, record, story);
    }

    pub(super) fn bad(&mut self, source: &Source, record: &Record<'_>, reason: &'static str) {
        self.push(Target::Bad, source, record, vec![("reason", Bytes::from_static(reason.as_bytes()))]);
    }

    /// Takes a partial row that came when its window had closed.
    pub(super) fn partial(
        &mut self,
        target: Target,
        from: &Range<'_>,
        why: &'static str,
        late: &Lateness<'_>,
    ) {
        let headers = vec![
            ("reason", Bytes::from_static(why.as_bytes())),
            ("key", Bytes::copy_from_slice(late.key)),
            ("window", late.window.clone().into()),
            ("lateness", late.text().into()),
            ("source_topic", Bytes::copy_from_slice(from.topic.as_bytes())),
            ("source_partition", from.partition.to_string().into()),
            ("source_offset", from.from.to_string().into()),
            ("source_offset_end", from.to.to_string().into()),
        ];
        let value = Some(Bytes::copy_from_slice(&from.row[..from.row.len().min(PART_MAX_BYTES)]));
        self.bytes += HEADERS_BYTES + value.as_ref().map_or(0, Bytes::len);
        let place = Place::Hash(from.partition.cast_unsigned());
        self.records.push(OutRecord { target, place, key: None, value, headers, timestamp_ms: 0 });
    }

    fn push(
        &mut self,
        target: Target,
        source: &Source,
        record: &Record<'_>,
        mut headers: Vec<(&'static str, Bytes)>,
    ) {
        headers.extend([
            ("source_topic", Bytes::copy_from_slice(source.topic.as_bytes())),
            ("source_partition", source.partition.to_string().into()),
            ("source_offset", record.offset.to_string().into()),
            ("source_timestamp", record.timestamp_ms.to_string().into()),
        ]);
        let key = record.key.map(|key| shorten(key, "key_length", &mut headers));
        let value = record.value.map(|value| shorten(value, "value_length", &mut headers));
        if record.headers.len() > 0 {
            headers.push(("source_headers", headers_json(record)));
        }
        self.bytes += HEADERS_BYTES + [&key, &value].into_iter().flatten().map(Bytes::len).sum::<usize>();
        let place = Place::Hash(source.partition.cast_unsigned());
        self.records.push(OutRecord { target, place, key, value, headers, timestamp_ms: 0 });
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hands everything over.
    pub(super) fn drain(&mut self, now_ms: i64, out: &mut Vec<OutRecord>) {
        self.bytes = 0;
        let records = mem::take(&mut self.records);
        out.extend(records.into_iter().map(|record| OutRecord { timestamp_ms: now_ms, ..record }));
    }
}

fn shorten(bytes: &[u8], header: &'static str, headers: &mut Vec<(&'static str, Bytes)>) -> Bytes {
    if bytes.len() <= PART_MAX_BYTES {
        return Bytes::copy_from_slice(bytes);
    }
    headers.push((header, bytes.len().to_string().into()));
    Bytes::copy_from_slice(&bytes[..PART_MAX_BYTES])
}

/// The record's own headers as a JSON object; what is not UTF-8 reads as U+FFFD, and a name that came twice has its last value.
fn headers_json(record: &Record<'_>) -> Bytes {
    let text = |value: Option<&[u8]>| value.map(|v| String::from_utf8_lossy(v).into_owned());
    let object: serde_json::Map<String, serde_json::Value> = record
        .headers
        .clone()
        .map(|(name, value)| (name.to_owned(), text(value).map_or(serde_json::Value::Null, Into::into)))
        .collect();
    let mut json = serde_json::to_vec(&object).unwrap_or_default();
    json.truncate(PART_MAX_BYTES);
    json.into()
}
