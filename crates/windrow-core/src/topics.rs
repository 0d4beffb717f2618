//! Topics: which topics of the log does a stream read?
//!
//! **In** names or a pattern, from the configuration. **Out** whether a topic is one of them.
//! **Invariant:** a pattern matches anywhere in a name unless it says `^` or `$`, never Windrow's own topics (`<app>.…`) nor names
//! that begin with `__`; matching takes time linear in the name. **Not here:** which topics there are (the product's `log`).
//!
//! Source: librdkafka and the consumers of other languages search a name for the pattern too (`regexec`, `re.search`).

use std::{fmt, sync::Arc};

use crate::expr::Pattern;

/// The topics of one stream.
#[derive(Debug, Clone)]
pub enum Topics {
    /// One, by name.
    One(Arc<str>),
    /// Several, by name, in the order of the configuration, each once.
    Several(Arc<[Arc<str>]>),
    /// All that match, those too that appear later.
    Pattern(Arc<TopicPattern>),
}

/// A compiled `topic_pattern`.
#[derive(Debug)]
pub struct TopicPattern {
    pattern: Pattern,
    /// `<app>.`: how the names of Windrow's own topics begin.
    own: Box<str>,
}

impl TopicPattern {
    /// Compiles a pattern of the app of that name.
    ///
    /// - **Errors:** a sentence, when it is malformed or too large.
    pub fn new(source: &str, app: &str) -> Result<Self, String> {
        Ok(Self { pattern: Pattern::regex(source, false)?, own: format!("{app}.").into() })
    }

    /// Tells whether a topic is meant.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && !topic.starts_with(&*self.own) && self.pattern.matches(topic)
    }

    /// Returns the pattern as the user wrote it.
    pub fn source(&self) -> &str {
        self.pattern.source()
    }
}

impl Topics {
    /// Returns the name, when there is one topic and always will be.
    pub fn one(&self) -> Option<&Arc<str>> {
        match self {
            Topics::One(name) => Some(name),
            Topics::Several(_) | Topics::Pattern(_) => None,
        }
    }

    /// Returns the names that the configuration lists; none for a pattern.
    pub fn listed(&self) -> &[Arc<str>] {
        match self {
            Topics::One(name) => std::slice::from_ref(name),
            Topics::Several(names) => names,
            Topics::Pattern(_) => &[],
        }
    }

    /// Tells whether a topic is one of them.
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Topics::Pattern(pattern) => pattern.matches(topic),
            listed => listed.listed().iter().any(|name| **name == *topic),
        }
    }

    /// Writes what decides the meaning of state. Where there may be several, it is not which: that one is added to a list, or matches
    /// a pattern that was changed, is no more than what happens by itself as well.
    pub(crate) fn text(&self) -> String {
        match self {
            Topics::One(name) => format!("topic {name}"),
            Topics::Several(_) | Topics::Pattern(_) => "topics".to_owned(),
        }
    }
}

/// One name, or `a, b`, or `all that match ^prod`.
impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topics::One(name) => f.write_str(name),
            Topics::Several(names) => f.write_str(&names.join(", ")),
            Topics::Pattern(pattern) => write!(f, "all that match {}", pattern.source()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching<'t>(pattern: &str, topics: &[&'t str]) -> Vec<&'t str> {
        let pattern = TopicPattern::new(pattern, "mirror").unwrap();
        topics.iter().copied().filter(|topic| pattern.matches(topic)).collect()
    }

    #[test]
    fn a_pattern_is_searched_for_and_never_finds_windrows_topics_nor_the_logs() {
        let all =
            ["prod.roof", "test.prod.roof", "mirror.sensors.bad", "mirrored", "__consumer_offsets", "_x"];
        assert_eq!(matching("prod\\.", &all), ["prod.roof", "test.prod.roof"]);
        assert_eq!(matching("^prod\\..*", &all), ["prod.roof"]);
        assert_eq!(matching(".*", &all), ["prod.roof", "test.prod.roof", "mirrored", "_x"]);
        assert_eq!(matching("^mirror\\.", &all), [""; 0]);
        assert_eq!(matching("(?i)^PROD", &all), ["prod.roof"]);
    }

    #[test]
    fn a_pattern_that_is_malformed_or_too_large_is_told() {
        let error = |pattern| TopicPattern::new(pattern, "a").unwrap_err();
        assert_eq!(error("prod("), "the pattern is not a regular expression: unclosed group");
        assert_eq!(error("(a{1000}){1000}"), "the pattern takes more than 256 KiB when compiled");
    }

    #[test]
    fn topics_are_told_apart() {
        let several = Topics::Several(["a".into(), "b".into()].into());
        let pattern = Topics::Pattern(Arc::new(TopicPattern::new("a b", "x").unwrap()));
        let one = Topics::One("a".into());
        assert!(one.contains("a") && !one.contains("b") && several.contains("b") && !several.contains("c"));
        let texts = [&one, &several, &pattern].map(Topics::text);
        assert_eq!(texts, ["topic a", "topics", "topics"]);
        assert_eq!([&one, &several, &pattern].map(Topics::to_string), ["a", "a, b", "all that match a b"]);
    }
}
