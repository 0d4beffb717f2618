//! Addresses: which partition of the stream's topic does a record go to?
//!
//! **In** a request's records. **Out** the same, addressed. **Invariant:** a record whose key decides its partition is never
//! written to another one; records without a key stay together per request, so that batches stay large.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use windrow_core::{batch::murmur2, spec::StreamSpec, topics::Topics};

use super::{PublishError, lines::Record};
use crate::{
    config::{StreamConfig, is_topic},
    log::{Log, LogError, Outgoing, Result, Topic},
    reader::TOPICS_MAX,
    topics,
};

/// How long a partition count is believed.
const PARTITIONS_FRESH: Duration = Duration::from_secs(10);

/// What one writer knows of the topics it writes to.
pub(super) struct Addresses {
    log: Arc<dyn Log>,
    may_create: bool,
    partitions: HashMap<Topic, (i32, Instant)>,
    next_partition: u32,
}

impl Addresses {
    pub(super) fn new(log: Arc<dyn Log>, may_create: bool) -> Self {
        Self { log, may_create, partitions: HashMap::new(), next_partition: 0 }
    }

    /// Appends the records of one request to `out`.
    pub(super) async fn address(
        &mut self,
        (stream, topic): (&StreamConfig, &Topic),
        records: &[Record],
        out: &mut Vec<Outgoing>,
    ) -> Result<()> {
        let timestamp_ms = jiff::Timestamp::now().as_millisecond();
        let count = self.partitions(stream, topic).await?.max(1).cast_unsigned();
        self.next_partition = self.next_partition.wrapping_add(1);
        let unkeyed = self.next_partition % count;
        out.extend(records.iter().map(|record| {
            let partition = record.key.as_ref().map_or(unkeyed, |key| (murmur2(key) & 0x7fff_ffff) % count);
            Outgoing {
                topic: topic.clone(),
                partition: partition.cast_signed(),
                key: record.key.clone(),
                value: Some(record.value.clone()),
                headers: Vec::new(),
                timestamp_ms,
            }
        }));
        Ok(())
    }

    async fn partitions(&mut self, stream: &StreamConfig, topic: &Topic) -> Result<i32> {
        if let Some((count, at)) = self.partitions.get(topic)
            && at.elapsed() < PARTITIONS_FRESH
        {
            return Ok(*count);
        }
        if self.may_create {
            self.check_room(stream, topic).await?;
        }
        let count = topics::ensure_topic(&*self.log, stream, topic, self.may_create).await?;
        // Clients name topics that match a pattern: what is not asked for again is not kept.
        self.partitions.retain(|_, (_, at)| at.elapsed() < PARTITIONS_FRESH);
        self.partitions.insert(topic.clone(), (count, Instant::now()));
        Ok(count)
    }
}

impl Addresses {
    /// Refuses a further topic that channels of its stream would leave out: whoever may publish names topics at will.
    async fn check_room(&self, stream: &StreamConfig, topic: &Topic) -> Result<()> {
        let topics = &stream.spec.topics;
        if topics.listed().is_empty()
            && self.log.topic(topic).await?.is_none()
            && topics::look(&*self.log, topics).await?.len() >= TOPICS_MAX
        {
            let reason = format!("stream {} has {TOPICS_MAX} topics already", stream.spec.name);
            return Err(LogError::Refused { topic: topic.clone(), reason });
        }
        Ok(())
    }
}

/// Tells which topic of a stream a request goes to.
pub(super) fn topic(stream: &StreamSpec, asked: Option<&str>) -> std::result::Result<Topic, PublishError> {
    let (name, topics) = (&stream.name, &stream.topics);
    let wrong = |message: String| Err(PublishError::BadTopic(message));
    match (topics, asked) {
        (Topics::One(one), None) => Ok(one.clone()),
        (_, None) => {
            wrong(format!("stream {name} reads several topics ({topics}): say which by ?topic=NAME"))
        }
        (_, Some(asked)) if !topics.contains(asked) => {
            wrong(format!("topic {asked:?} is not one of stream {name}, which reads {topics}"))
        }
        (_, Some(asked)) if !is_topic(asked) => {
            wrong(format!("{asked:?} cannot name a topic: 1 to 249 of a–z, A–Z, 0–9, dot, _ and -"))
        }
        (_, Some(asked)) => Ok(asked.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(config: &str, asked: Option<&str>) -> String {
        let config =
            crate::config::parse(&format!("[streams.s]\n{config}"), "w.toml", &Default::default()).unwrap();
        match topic(&config.streams["s"].spec, asked) {
            Ok(topic) => topic.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_request_goes_to_a_topic_of_its_stream_or_nowhere() {
        let (one, several, pattern) = ("topic = 'a'", "topic = ['a', 'b']", "topic_pattern = '^a'");
        let told = [
            said(one, None),
            said(one, Some("a")),
            said(one, Some("b")),
            said(several, None),
            said(several, Some("b")),
            said(several, Some("c")),
            said(pattern, None),
            said(pattern, Some("ab")),
            said(pattern, Some("b")),
            said(pattern, Some("a b")),
        ];
        expect_test::expect![[r#"
            a
            a
            topic "b" is not one of stream s, which reads a
            stream s reads several topics (a, b): say which by ?topic=NAME
            b
            topic "c" is not one of stream s, which reads a, b
            stream s reads several topics (all that match ^a): say which by ?topic=NAME
            ab
            topic "b" is not one of stream s, which reads all that match ^a
            "a b" cannot name a topic: 1 to 249 of a–z, A–Z, 0–9, dot, _ and -"#]]
        .assert_eq(&told.join("\n"));
    }
}
