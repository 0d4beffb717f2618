//! Ledger: which number stands for which partition of which topic, for ever?
//!
//! **In** entries, in the order of their topic; the topics that the log has now. **Out** a number for each partition that was ever read;
//! the entries that are missing.
//! **Before** this file: the product's `topics::ledger` (reads and writes). **After** it: `engine`, whose state goes by number.
//!
//! ```text
//! entry   {"topic": "prod.roof", "epoch": "<32 hex digits>", "partitions": 2, "from": "beginning", "gone": false}
//! ```
//!
//! An entry says how things are, not what to do: partitions that no entry before it had get the next numbers. So the same entry twice
//! changes nothing, and processes that write at the same time agree without asking each other.
//!
//! **Invariant:** a number is given once, to one partition of one life of a topic; who reads the same entries has the same numbers.
//! **Not here:** one topic by name, whose partitions are their own numbers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};

/// Numbers that a ledger gives. Each is a partition of a topic of positions, so there is a bound; partitions past it are left out.
pub const SOURCES_MAX: usize = 2_000;

/// Where the first record of a topic is read that nobody has read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Begin {
    /// Where the stream's `start` says: it was there when the stream began.
    Start,
    /// At its beginning: it came later.
    Beginning,
}

/// One record of a ledger: what is known of one life of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    topic: String,
    #[serde(with = "hex")]
    epoch: u128,
    partitions: i32,
    from: Begin,
    gone: bool,
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(epoch: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{epoch:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

impl Entry {
    /// Writes the value of the record.
    pub fn to_json(&self) -> Vec<u8> {
        // Names, numbers and flags always have a text.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Names the topic, as the key of the record.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Tells whether the topic is gone.
    pub fn is_gone(&self) -> bool {
        self.gone
    }
}

/// A topic as the log has it now: name, epoch, partition count.
pub type Found<'t> = (&'t str, u128, i32);

/// The partitions that a stream over several topics has ever read.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// By number.
    sources: Vec<Numbered>,
    lives: BTreeMap<(Arc<str>, u128), Life>,
    entries: usize,
}

#[derive(Debug, Clone)]
struct Numbered {
    topic: Arc<str>,
    partition: i32,
    from: Begin,
}

#[derive(Debug, Clone, Default)]
struct Life {
    /// By partition.
    numbers: Vec<i32>,
    is_gone: bool,
}

impl Ledger {
    /// Takes the next entry.
    ///
    /// - **Errors:** it is not one, with the reason: what stands in the topic was not written by Windrow.
    pub fn take(&mut self, value: Option<&[u8]>) -> Result<(), String> {
        let value = value.ok_or("it has no value")?;
        let entry: Entry = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let Entry { topic, epoch, partitions, from, gone } = entry;
        let topic: Arc<str> = topic.into();
        let life = self.lives.entry((topic.clone(), epoch)).or_default();
        life.is_gone = gone;
        self.entries += 1;
        for partition in range(life.numbers.len(), partitions) {
            if self.sources.len() == SOURCES_MAX {
                break;
            }
            life.numbers.push(self.sources.len() as i32);
            self.sources.push(Numbered { topic: topic.clone(), partition, from });
        }
        Ok(())
    }

    /// Returns the entries that say what was found and the ledger does not: topics that are new, grew, or are back.
    ///
    /// - **Shape:** in the order given; none for what has no number left.
    pub fn news<'t>(&self, found: impl IntoIterator<Item = Found<'t>>) -> Vec<Entry> {
        let from = if self.entries == 0 { Begin::Start } else { Begin::Beginning };
        let mut left = SOURCES_MAX - self.sources.len();
        let mut news = Vec::new();
        for (topic, epoch, partitions) in found {
            let life = self.lives.get(&(topic.into(), epoch));
            let had = life.map_or(0, |life| life.numbers.len());
            let fresh = range(had, partitions).len().min(left);
            left -= fresh;
            if fresh > 0 || life.is_some_and(|life| life.is_gone) {
                let partitions = partitions.max(had as i32);
                news.push(Entry { topic: topic.into(), epoch, partitions, from, gone: false });
            }
        }
        news
    }

    /// Returns the entries that say what the ledger has and was not found. One look is not enough to write them: a broker that was just
    /// started may not know all topics.
    pub fn losses<'t>(&self, found: impl IntoIterator<Item = Found<'t>>) -> Vec<Entry> {
        let found: std::collections::BTreeSet<_> =
            found.into_iter().map(|(topic, epoch, _)| (topic, epoch)).collect();
        let lost = self
            .lives
            .iter()
            .filter(|((topic, epoch), life)| !life.is_gone && !found.contains(&(&**topic, *epoch)));
        let entry = |((topic, epoch), life): (&(Arc<str>, u128), &Life)| Entry {
            topic: topic.to_string(),
            epoch: *epoch,
            partitions: life.numbers.len() as i32,
            from: Begin::Beginning,
            gone: true,
        };
        lost.map(entry).collect()
    }

    /// Tells whether a topic of that name was ever there.
    pub fn knows(&self, topic: &str) -> bool {
        self.lives.range((topic.into(), 0)..).next().is_some_and(|((name, _), _)| **name == *topic)
    }

    /// Counts the numbers that were given.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Tells whether no number was given yet.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns the numbers of a topic's partitions, by partition; fewer than it has where numbers ran out.
    pub fn numbers(&self, topic: &str, epoch: u128) -> &[i32] {
        self.lives.get(&(topic.into(), epoch)).map_or(&[], |life| &life.numbers)
    }

    /// Tells whether what has that number is read from its beginning, whatever the stream's `start` says.
    pub fn is_later(&self, number: i32) -> bool {
        self.source(number).is_some_and(|source| source.from == Begin::Beginning)
    }

    /// Returns the numbers of the topics that are there, ascending.
    pub fn living(&self) -> Vec<i32> {
        self.of_lives(|life| !life.is_gone)
    }

    /// Returns the numbers of the topics that are gone, ascending.
    pub fn gone(&self) -> Vec<i32> {
        self.of_lives(|life| life.is_gone)
    }

    /// Names what has that number.
    pub fn named(&self, number: i32) -> Option<(&Arc<str>, i32)> {
        self.source(number).map(|source| (&source.topic, source.partition))
    }

    fn source(&self, number: i32) -> Option<&Numbered> {
        usize::try_from(number).ok().and_then(|at| self.sources.get(at))
    }

    fn of_lives(&self, wanted: impl Fn(&Life) -> bool) -> Vec<i32> {
        let lives = self.lives.values().filter(|life| wanted(life));
        let mut numbers: Vec<i32> = lives.flat_map(|life| life.numbers.iter().copied()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Partitions that a topic has gained.
fn range(had: usize, has: i32) -> Range<i32> {
    // No ledger holds more numbers than fit.
    had as i32..has
}

/// The partitions that bring partials to the second stage of a view.
#[derive(Debug, Clone)]
pub enum SourceSet {
    /// Those of one topic, which are their own numbers.
    Partitions(i32),
    /// Those of several topics.
    Ledger(Arc<Ledger>),
}

impl SourceSet {
    /// Returns the numbers of those that time waits for, ascending.
    pub fn living(&self) -> Vec<i32> {
        match self {
            SourceSet::Partitions(count) => (0..*count).collect(),
            SourceSet::Ledger(ledger) => ledger.living(),
        }
    }

    /// Returns the numbers of those that never bring anything more.
    pub fn gone(&self) -> Vec<i32> {
        match self {
            SourceSet::Partitions(_) => Vec::new(),
            SourceSet::Ledger(ledger) => ledger.gone(),
        }
    }

    /// Names what has that number: topic and partition, the topic `None` where there is one.
    pub(crate) fn named(&self, number: i32) -> (Option<Arc<str>>, i32) {
        match self {
            SourceSet::Partitions(_) => (None, number),
            SourceSet::Ledger(ledger) => ledger
                .named(number)
                .map_or((None, number), |(topic, partition)| (Some(topic.clone()), partition)),
        }
    }
}

#[cfg(test)]
mod tests;
