//! Which topics are read, and by which numbers, on the embedded log.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::{
    config::{self, Config, Variables},
    log::{LogError, TopicSpec, embedded::EmbeddedLog},
};

const LIST: &str = "topic = ['east', 'west']";
const PATTERN: &str = "topic_pattern = '^(east|west|north)$'";

struct Place {
    log: Arc<EmbeddedLog>,
    _directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let log = EmbeddedLog::open(directory.path(), config::Sync::Never).unwrap();
        Self { log, _directory: directory }
    }

    async fn make(&self, name: &str, partitions: i32) {
        let spec = TopicSpec {
            name: name.into(),
            partitions,
            replication: 1,
            compact: false,
            retention: None,
            retention_bytes: None,
        };
        assert!(self.log.create_topic(&spec).await.unwrap(), "{name} was there");
    }

    async fn find(&self, topics: &str, taken: &[&str]) -> Result<Sources> {
        let stream = stream(topics);
        let taken = taken.iter().map(|name| Topic::from(*name)).collect();
        Sources::find(&*self.log, "app", &stream.streams["all"], false, &taken).await
    }

    /// Counts the entries of the ledger.
    async fn entries(&self) -> i64 {
        let tp = crate::log::Tp::new("app.all.topics", 0);
        self.log.ends(&[tp]).await.unwrap()[0].high_watermark
    }
}

fn stream(topics: &str) -> Config {
    config::parse(&format!("[streams.all]\n{topics}"), "test", &Variables::default()).unwrap()
}

/// Each topic that is read, and its numbers.
fn numbers(sources: &Sources) -> Vec<(&str, &[i32])> {
    sources.topics.iter().map(|(name, source)| (&**name, &*source.numbers)).collect()
}

#[tokio::test]
async fn a_partition_keeps_its_number_while_topics_come_and_grow() {
    let place = Place::new();
    place.make("east", 2).await;
    place.make("west", 1).await;
    let first = place.find(PATTERN, &[]).await.unwrap();
    assert_eq!(numbers(&first), [("east", &[0, 1][..]), ("west", &[2])]);
    let entries = place.entries().await;
    assert_eq!(numbers(&place.find(PATTERN, &[]).await.unwrap()), numbers(&first));
    assert_eq!(place.entries().await, entries, "what is known was written again");

    place.make("north", 1).await;
    assert!(place.log.add_partitions("east", 3).await.unwrap());
    let found = first.look(&*place.log, &stream(PATTERN).streams["all"].spec.topics).await.unwrap();
    assert!(first.have_news(&found) && !first.have_losses(&found));
    let grown = place.find(PATTERN, &[]).await.unwrap();
    assert_eq!(numbers(&grown), [("east", &[0, 1, 3][..]), ("north", &[4]), ("west", &[2])]);
    assert!(!grown.have_news(&found));
}

#[tokio::test]
async fn a_topic_made_anew_has_numbers_of_its_own_and_one_that_is_gone_gives_its_to_nobody() {
    let place = Place::new();
    place.make("east", 2).await;
    place.make("west", 1).await;
    let first = place.find(LIST, &[]).await.unwrap();
    assert!(place.log.delete_topic("east").await.unwrap());
    let found = first.look(&*place.log, &stream(LIST).streams["all"].spec.topics).await.unwrap();
    assert!(first.have_losses(&found));
    // It was there, so nobody waits for it.
    let without = place.find(LIST, &[]).await.unwrap();
    assert_eq!(numbers(&without), [("west", &[2][..])]);
    assert_eq!(without.set.gone(), [0, 1]);
    place.make("east", 1).await;
    let again = place.find(LIST, &[]).await.unwrap();
    assert_eq!(numbers(&again), [("east", &[3][..]), ("west", &[2])]);
    assert_eq!((again.set.gone(), again.set.living()), (vec![0, 1], vec![2, 3]));
}

#[tokio::test]
async fn a_listed_topic_that_never_was_is_waited_for_and_nothing_is_numbered_before() {
    let place = Place::new();
    place.make("west", 1).await;
    let error = place.find(LIST, &[]).await.unwrap_err();
    assert!(matches!(&error, LogError::UnknownTopic(name) if **name == *"east"), "{error}");
    assert_eq!(place.entries().await, 0);
}

#[tokio::test]
async fn a_pattern_leaves_the_topics_of_other_streams_and_finds_none_without_harm() {
    let place = Place::new();
    let nothing = place.find(PATTERN, &[]).await.unwrap();
    assert_eq!((numbers(&nothing), nothing.numbers), (vec![], 1));
    place.make("east", 1).await;
    place.make("west", 1).await;
    let rest = place.find(PATTERN, &["east"]).await.unwrap();
    assert_eq!(numbers(&rest), [("west", &[0][..])]);
    let found = rest.look(&*place.log, &stream(PATTERN).streams["all"].spec.topics).await.unwrap();
    assert!(!rest.have_news(&found), "the topic of another stream is no news");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_begin_at_once_give_the_same_numbers() {
    let place = Arc::new(Place::new());
    for (name, partitions) in [("east", 3), ("west", 2), ("north", 1)] {
        place.make(name, partitions).await;
    }
    let finds: Vec<_> = (0..8)
        .map(|_| {
            let place = place.clone();
            tokio::spawn(async move { place.find(PATTERN, &[]).await.unwrap() })
        })
        .collect();
    let last = place.find(PATTERN, &[]).await.unwrap();
    for find in finds {
        assert_eq!(numbers(&find.await.unwrap()), numbers(&last));
    }
    let mut all: Vec<i32> = last.topics.values().flat_map(|source| source.numbers.iter().copied()).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
}
