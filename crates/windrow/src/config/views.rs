//! `[views.*]`: queries and what stands beside them.

use std::{sync::Arc, time::Duration};

use windrow_core::spec::{Emit, LatePolicy, OnFull, SchemaId, TopicFormat, UserTopic, ViewSpec};

use super::{ViewConfig, names::check_topic, reader::Reader};

const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// State below this cannot hold a journal block.
const STATE_MIN: u64 = 1 << 20;

/// No machine this is made for has more memory.
const STATE_MAX: u64 = 1 << 42;

/// As of a stream's topic.
const PARTITIONS_MAX: i64 = 10_000;

const EMITS: [(&str, Emit); 2] = [("changes", Emit::Changes), ("final", Emit::Final)];

const ON_FULL: [(&str, OnFull); 3] = [
    ("refuse-new-keys", OnFull::RefuseNewKeys),
    ("close-oldest", OnFull::CloseOldest),
    ("stop", OnFull::Stop),
];

const LATE: [(&str, LatePolicy); 3] =
    [("drop", LatePolicy::Drop), ("topic", LatePolicy::Topic), ("update", LatePolicy::Update)];

pub(super) fn read(name: &str, view: Reader<'_>) -> ViewConfig {
    let (sql, sql_line) = sql(&view);
    let grace = view.duration("grace", Duration::ZERO..=YEAR).unwrap_or(Duration::ZERO);
    if view.boolean("fill_gaps") == Some(true) {
        view.wrong("fill_gaps", "`fill_gaps` = true is not available yet", Some("remove it".to_owned()));
    }
    let spec = ViewSpec {
        name: name.into(),
        sql,
        emit: view.choice("emit", &EMITS, &[]).unwrap_or(Emit::Changes),
        grace_ms: grace.as_millis() as i64,
        late: view.choice("late", &LATE, &[]).unwrap_or(LatePolicy::Topic),
        retain_ms: retain(&view),
        topic: user_topic(&view),
        state_max_bytes: view.size("state_max", STATE_MIN..=STATE_MAX).unwrap_or(1 << 30) as usize,
        on_full: view.choice("on_full", &ON_FULL, &[]).unwrap_or(OnFull::RefuseNewKeys),
    };
    view.finish();
    ViewConfig { spec: Arc::new(spec), sql_line }
}

/// The query, and the line of the file where its first line stands.
fn sql(view: &Reader<'_>) -> (String, usize) {
    if !view.has("sql") {
        view.wrong("sql", format!("{} lacks `sql`", view.title), None);
        return (String::new(), 0);
    }
    let offset = view.offset("sql");
    let line = view.source.place(offset).0;
    // TOML drops a newline right behind the opening quotes.
    let behind = view.source.text.get(offset + 3..).unwrap_or_default();
    let multiline = ["\"\"\"", "'''"].iter().any(|q| view.source.text[offset..].starts_with(q));
    let dropped = multiline && (behind.starts_with('\n') || behind.starts_with("\r\n"));
    (view.text("sql").unwrap_or_default(), line + usize::from(dropped))
}

/// `"never"` keeps closed windows for ever.
fn retain(view: &Reader<'_>) -> Option<i64> {
    if view.has("retain") && view.text("retain").as_deref() == Some("never") {
        return None;
    }
    let retain = view.duration("retain", Duration::ZERO..=99 * YEAR);
    Some(retain.unwrap_or(Duration::from_secs(3_600)).as_millis() as i64)
}

fn user_topic(view: &Reader<'_>) -> Option<UserTopic> {
    let topic = view.text("topic");
    if let Some(topic) = &topic {
        check_topic(view.source, view.offset("topic"), "topic", topic);
    }
    let emit = view.choice("topic_emit", &EMITS, &[]).unwrap_or(Emit::Final);
    let format = view.choice("topic_format", &TopicFormat::NAMES, &["csv"]);
    let key = view.texts("topic_key").map(|names| names.iter().map(|(n, _)| n.as_str().into()).collect());
    let partitions = view.number("topic_partitions", 1..=PARTITIONS_MAX).map(|n| n as i32);
    let retention_ms = topic_retention(view);
    if !view.has("topic") {
        for other in ["topic_emit", "topic_format", "topic_key", "topic_partitions", "topic_retention"] {
            if view.has(other) {
                view.wrong(other, format!("`{other}` needs `topic`"), None);
            }
        }
    }
    topic.map(|topic| UserTopic {
        topic: topic.as_str().into(),
        emit,
        format: format.unwrap_or(TopicFormat::Json),
        schema_id: SchemaId::default(),
        key,
        partitions,
        retention_ms,
    })
}

/// `"never"` forgets nothing.
fn topic_retention(view: &Reader<'_>) -> Option<u64> {
    if !view.has("topic_retention") || view.text("topic_retention").as_deref() == Some("never") {
        return None;
    }
    view.duration("topic_retention", Duration::from_secs(1)..=99 * YEAR).map(|time| time.as_millis() as u64)
}
