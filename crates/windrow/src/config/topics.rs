//! `topic` and `topic_pattern` of a stream.
//!
//! **In** a table of the file. **Out** the topics that it names, or those that match.
//! **Invariant:** a stream reads one topic (its own name when it says nothing), a list of different ones, or a pattern; never two of these.
//! **Not here:** what a pattern never matches (`windrow_core::topics`).

use std::sync::Arc;

use windrow_core::topics::{TopicPattern, Topics};

use super::{names::check_topic, reader::Reader};

/// Topics that one stream may list; whoever has more of them has a pattern for them.
const LISTED_MAX: usize = 100;

/// Longest pattern.
const PATTERN_MAX_BYTES: usize = 1024;

pub(super) fn read(name: &str, app: &str, stream: &Reader<'_>) -> Topics {
    let pattern = stream.text("topic_pattern");
    let (listed, by_name) = (stream.texts("topic"), || Topics::One(name.into()));
    if stream.has("topic_pattern") {
        if stream.has("topic") {
            let hint = "remove one of them".to_owned();
            stream.wrong("topic_pattern", "`topic` and `topic_pattern` exclude each other", Some(hint));
        }
        return pattern.and_then(|pattern| compile(stream, &pattern, app)).unwrap_or_else(by_name);
    }
    let Some(listed) = listed else { return by_name() };
    let mut names: Vec<Arc<str>> = Vec::with_capacity(listed.len());
    for (topic, offset) in &listed {
        check_topic(stream.source, *offset, "topic", topic);
        if names.iter().any(|known| **known == **topic) {
            stream.source.wrong(*offset, format!("`topic` names `{topic}` twice"), None);
        }
        names.push(topic.as_str().into());
    }
    if names.is_empty() || names.len() > LISTED_MAX {
        let hint = Some("name them by a topic_pattern".to_owned()).filter(|_| names.len() > LISTED_MAX);
        stream.wrong(
            "topic",
            format!("`topic` must name 1 to {LISTED_MAX} topics, not {}", names.len()),
            hint,
        );
    }
    match names.as_slice() {
        [] => by_name(),
        [one] => Topics::One(one.clone()),
        _ => Topics::Several(names.into()),
    }
}

fn compile(stream: &Reader<'_>, pattern: &str, app: &str) -> Option<Topics> {
    if pattern.is_empty() || pattern.len() > PATTERN_MAX_BYTES {
        let message =
            format!("`topic_pattern` must be 1 to {PATTERN_MAX_BYTES} bytes long, not {}", pattern.len());
        stream.wrong("topic_pattern", message, Some("`.*` matches every topic".to_owned()));
        return None;
    }
    match TopicPattern::new(pattern, app) {
        Ok(pattern) => Some(Topics::Pattern(Arc::new(pattern))),
        Err(why) => {
            stream.wrong("topic_pattern", format!("`topic_pattern` cannot be used: {why}"), None);
            None
        }
    }
}
