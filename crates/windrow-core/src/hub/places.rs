//! Places: the partitions of a channel's topics, each with a number of its own.
//!
//! **In** topics that come and go. **Out** numbers for everything inside the channel; epochs and partitions for positions.
//! With one topic a place is the number of its partition.
//! **Invariant:** a number is not given twice while the channel lives; the order in a position is that of the epochs, so that it is
//! the same on every node, in whatever order topics were found there. **Not here:** what is read of a place (`hub`).

use std::collections::{BTreeMap, BTreeSet};

use crate::position::{Position, TEXT_MAX_BYTES, TopicPosition};

/// A partition as every node knows it: the epoch of its topic, and its number there.
pub type Named = (u64, i32);

/// What a partition takes at least of a position's text.
const PARTITION_MIN_BYTES: usize = 2;

/// All places of one channel.
#[derive(Debug, Default)]
pub(super) struct Places {
    names: BTreeMap<i32, Named>,
    numbers: BTreeMap<Named, i32>,
    next: i32,
}

/// A position, sorted by what the channel knows of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Offsets by place, rising.
    pub(super) known: Vec<(i32, i64)>,
    /// Offsets in partitions that the channel does not have.
    pub(super) unknown: Vec<(Named, i64)>,
}

impl Places {
    /// Gives a partition its number, which it may have already.
    pub(super) fn add(&mut self, named: Named) -> i32 {
        let Self { names, numbers, next } = self;
        *numbers.entry(named).or_insert_with(|| {
            let number = *next;
            // More partitions than 31 bits count never come and go in one process.
            *next = next.saturating_add(1);
            names.insert(number, named);
            number
        })
    }

    /// Takes a topic out and returns the places that it had.
    pub(super) fn remove(&mut self, epoch: u64) -> BTreeSet<i32> {
        let of_topic = |(other, _): &Named| *other == epoch;
        let gone = self.numbers.extract_if(.., |named, _| of_topic(named)).map(|(_, place)| place).collect();
        self.names.retain(|_, named| !of_topic(named));
        gone
    }

    /// Tells whether a topic is one of the channel's.
    pub(super) fn has(&self, epoch: u64) -> bool {
        self.numbers.range((epoch, i32::MIN)..=(epoch, i32::MAX)).next().is_some()
    }

    /// Tells whether two places are partitions of the same topic.
    pub(super) fn are_of_one_topic(&self, one: i32, other: i32) -> bool {
        one == other || self.named(one).map(|named| named.0) == self.named(other).map(|named| named.0)
    }

    /// Returns the partition of that number.
    pub(super) fn named(&self, place: i32) -> Option<Named> {
        self.names.get(&place).copied()
    }

    /// Returns a moment's offsets as a position has them.
    pub(super) fn topics(&self, offsets: &[(i32, i64)]) -> Vec<TopicPosition> {
        let mut topics: Vec<TopicPosition> = Vec::new();
        for (&(epoch, partition), place) in &self.numbers {
            let Ok(found) = offsets.binary_search_by_key(place, |(place, _)| *place) else { continue };
            if topics.last().is_none_or(|topic| topic.epoch != epoch) {
                topics.push(TopicPosition { epoch, offsets: Vec::new() });
            }
            if let Some(topic) = topics.last_mut() {
                topic.offsets.push((partition, offsets[found].1));
            }
        }
        topics
    }

    /// Writes a position, or `None` when it would be too long.
    pub(super) fn text(&self, question: u64, offsets: &[(i32, i64)]) -> Option<String> {
        // With thousands of partitions nobody makes the list only to find that it is too long.
        if offsets.len() * PARTITION_MIN_BYTES > TEXT_MAX_BYTES {
            return None;
        }
        Position { question, topics: self.topics(offsets), is_begun: false }.encode()
    }

    /// Sorts what a position says by what is known here.
    pub(super) fn sort(&self, topics: &[TopicPosition]) -> Sorted {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for topic in topics {
            for &(partition, offset) in &topic.offsets {
                let named = (topic.epoch, partition);
                match self.numbers.get(&named) {
                    Some(place) => known.push((*place, offset)),
                    None => unknown.push((named, offset)),
                }
            }
        }
        known.sort_unstable();
        Sorted { known, unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_one_topic_are_its_partitions() {
        let mut places = Places::default();
        assert_eq!([0, 1, 2, 1].map(|partition| places.add((7, partition))), [0, 1, 2, 1]);
        assert_eq!((places.named(2), places.named(3)), (Some((7, 2)), None));
    }

    #[test]
    fn a_position_is_the_same_in_whatever_order_topics_were_found() {
        let (mut here, mut there) = (Places::default(), Places::default());
        for named in [(9, 0), (2, 0), (2, 1)] {
            here.add(named);
        }
        for named in [(2, 0), (2, 1), (9, 0)] {
            there.add(named);
        }
        let text = here.text(1, &[(0, 10), (1, 20), (2, 30)]);
        assert_eq!(text, there.text(1, &[(0, 20), (1, 30), (2, 10)]));
        let position = Position::decode(&text.unwrap()).unwrap();
        let sorted = there.sort(&position.topics);
        assert_eq!(sorted, Sorted { known: vec![(0, 20), (1, 30), (2, 10)], unknown: vec![] });
    }

    #[test]
    fn a_topic_that_left_is_unknown_and_its_places_are_not_given_again() {
        let mut places = Places::default();
        for named in [(9, 0), (2, 0)] {
            places.add(named);
        }
        let both = places.topics(&[(0, 10), (1, 20)]);
        assert_eq!(places.remove(9), [0].into());
        assert!(!places.has(9) && places.has(2) && places.named(0).is_none());
        assert_eq!(places.sort(&both), Sorted { known: vec![(1, 20)], unknown: vec![((9, 0), 10)] });
        assert_eq!(places.add((9, 0)), 2);
    }

    #[test]
    fn a_channel_that_is_too_wide_has_no_position() {
        let mut places = Places::default();
        let offsets: Vec<_> = (0..100).map(|epoch| (places.add((epoch, 0)), 1)).collect();
        assert!(places.text(1, &offsets[..60]).is_some());
        assert_eq!(places.text(1, &offsets), None);
        let offsets: Vec<_> = (0..600).map(|partition| (places.add((1, partition)), 1)).collect();
        assert_eq!(places.text(1, &offsets), None);
    }
}
