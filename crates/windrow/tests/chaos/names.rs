//! Names: which partition of which topic is a source of the run, by its number.
//!
//! **Invariant:** sources are numbered from 0; where each is a topic of its own, the number is the end of its name.

/// The names of the sources.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    topic: String,
    are_topics: bool,
}

impl Names {
    pub(crate) fn new(topic: String, are_topics: bool) -> Self {
        Self { topic, are_topics }
    }

    /// Returns topic and partition of a source.
    pub(crate) fn of(&self, number: i32) -> (String, i32) {
        if self.are_topics { (format!("{}.{number}", self.topic), 0) } else { (self.topic.clone(), number) }
    }
}

/// Returns the number of a source.
pub(crate) fn number(topic: &str, partition: i32) -> i32 {
    topic.rsplit_once("-events.").map_or(partition, |(_, number)| number.parse().unwrap_or(-1))
}
