//! Positions: where a client stands in a channel, as an opaque text that it may bring back.
//!
//! **In** offsets per partition, the topic's epoch, the question. **Out** base64url of
//! `kind, question, topics: [epoch, partitions: [number, offset]]`, whole numbers as LEB128.
//! **Invariant:** equal positions are equal texts; whatever does not come out of [`Position::encode`] is refused by
//! [`Position::decode`], which never panics and never allocates more than its input allows.
//! **Not here:** whether the history is still held (`hub`).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Longest text; a channel whose position is longer is not resumable.
pub const TEXT_MAX_BYTES: usize = 1024;

/// First byte of a position up to which everything was told, and nothing from after it.
const WHOLE: u8 = 1;
/// First byte of one that a part of a longer message followed.
const BEGUN: u8 = 2;

/// Offsets of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPosition {
    /// [`stable_hash`] of the topic's name and id: a topic made anew has another.
    pub epoch: u64,
    /// `(partition, next offset)`, partitions rising.
    pub offsets: Vec<(i32, i64)>,
}

/// One position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// [`stable_hash`] of channel, plan, filter and access values.
    pub question: u64,
    /// One per topic of the channel, epochs rising.
    pub topics: Vec<TopicPosition>,
    /// Whether some of what came after it was told as well: who brings it back was cut off in the middle of a longer message.
    pub is_begun: bool,
}

/// Why a text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// Longer than [`TEXT_MAX_BYTES`].
    #[error("a position has at most {TEXT_MAX_BYTES} bytes")]
    TooLong,
    /// Not base64url, cut short, or not what `encode` writes.
    #[error("this is not a position that windrow wrote")]
    Malformed,
    /// Written by another version.
    #[error("position of version {0}, this version writes {WHOLE} and {BEGUN}")]
    Version(u8),
}

impl Position {
    /// Returns the next offset of one partition; one that is not in it stands at 0 from now on.
    pub fn offset_mut(&mut self, (epoch, partition): (u64, i32)) -> &mut i64 {
        let topic = self.topics.binary_search_by_key(&epoch, |topic| topic.epoch).unwrap_or_else(|place| {
            self.topics.insert(place, TopicPosition { epoch, offsets: Vec::new() });
            place
        });
        let offsets = &mut self.topics[topic].offsets;
        let place = offsets.binary_search_by_key(&partition, |(p, _)| *p).unwrap_or_else(|place| {
            offsets.insert(place, (partition, 0));
            place
        });
        &mut offsets[place].1
    }

    /// Returns the text, or `None` when it would be longer than [`TEXT_MAX_BYTES`].
    pub fn encode(&self) -> Option<String> {
        let mut raw = Vec::with_capacity(64);
        raw.push(if self.is_begun { BEGUN } else { WHOLE });
        raw.extend_from_slice(&self.question.to_le_bytes());
        put(self.topics.len() as u64, &mut raw);
        debug_assert!(self.topics.is_sorted_by(|a, b| a.epoch < b.epoch), "epochs rise");
        for topic in &self.topics {
            raw.extend_from_slice(&topic.epoch.to_le_bytes());
            put(topic.offsets.len() as u64, &mut raw);
            let mut least = 0;
            for &(partition, offset) in &topic.offsets {
                debug_assert!(partition >= least && offset >= 0, "partitions rise, offsets count from 0");
                put((partition - least).unsigned_abs().into(), &mut raw);
                put(offset.unsigned_abs(), &mut raw);
                least = partition.saturating_add(1);
            }
        }
        let text = URL_SAFE_NO_PAD.encode(raw);
        (text.len() <= TEXT_MAX_BYTES).then_some(text)
    }

    /// Reads a text that a client sent.
    pub fn decode(text: &str) -> Result<Self, PositionError> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(PositionError::TooLong);
        }
        let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| PositionError::Malformed)?;
        let (&kind, mut rest) = raw.split_first().ok_or(PositionError::Malformed)?;
        if ![WHOLE, BEGUN].contains(&kind) {
            return Err(PositionError::Version(kind));
        }
        let (question, topics) = read(&mut rest).ok_or(PositionError::Malformed)?;
        let position = Self { question, topics, is_begun: kind == BEGUN };
        if rest.is_empty() { Ok(position) } else { Err(PositionError::Malformed) }
    }
}

fn read(rest: &mut &[u8]) -> Option<(u64, Vec<TopicPosition>)> {
    let question = word(rest)?;
    let topics = (0..take(rest)?).map(|_| {
        let epoch = word(rest)?;
        let mut least = 0_i64;
        let offsets = (0..take(rest)?).map(|_| {
            let partition = least.checked_add(i64::try_from(take(rest)?).ok()?)?;
            let offset = i64::try_from(take(rest)?).ok()?;
            least = partition.checked_add(1)?;
            Some((i32::try_from(partition).ok()?, offset))
        });
        Some(TopicPosition { epoch, offsets: offsets.collect::<Option<_>>()? })
    });
    let topics: Vec<_> = topics.collect::<Option<_>>()?;
    topics.is_sorted_by(|a, b| a.epoch < b.epoch).then_some((question, topics))
}

fn word(rest: &mut &[u8]) -> Option<u64> {
    let (head, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_le_bytes(*head))
}

fn put(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads one LEB128 number; a number written longer than needed is refused, so that a position has one text.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        n |= bits << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(n);
        }
    }
    None
}

/// Hashes parts into a number that is the same on every node and in every version: FNV-1a, 64 bits, each part preceded
/// by its length.
pub fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for part in parts {
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut add);
        part.iter().copied().for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = Position> {
        let offsets = proptest::collection::btree_map(0..=i32::MAX, 0..=i64::MAX, 0..20);
        let topics = proptest::collection::btree_map(any::<u64>(), offsets, 0..3);
        let topic = |(epoch, offsets): (_, std::collections::BTreeMap<_, _>)| TopicPosition {
            epoch,
            offsets: offsets.into_iter().collect(),
        };
        (any::<u64>(), topics, any::<bool>()).prop_map(move |(question, topics, is_begun)| Position {
            question,
            topics: topics.into_iter().map(topic).collect(),
            is_begun,
        })
    }

    proptest! {
        #[test]
        fn a_position_comes_back_as_it_was(position in positions()) {
            if let Some(text) = position.encode() {
                prop_assert_eq!(Position::decode(&text), Ok(position));
            }
        }

        #[test]
        fn a_position_has_one_text(text in "[A-Za-z0-9_-]{0,80}") {
            if let Ok(position) = Position::decode(&text) {
                prop_assert_eq!(position.encode(), Some(text));
            }
        }

        #[test]
        fn hostile_bytes_never_panic(mut raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(kind) = raw.first_mut() {
                *kind = WHOLE;
            }
            let _ = Position::decode(&URL_SAFE_NO_PAD.encode(raw));
        }
    }

    #[test]
    fn a_text_that_is_too_long_or_of_another_version_is_refused() {
        assert_eq!(Position::decode(&"A".repeat(1025)), Err(PositionError::TooLong));
        assert_eq!(Position::decode(""), Err(PositionError::Malformed));
        assert_eq!(Position::decode("sideways!"), Err(PositionError::Malformed));
        assert_eq!(Position::decode("Aw"), Err(PositionError::Version(3)));
        let wide = Position {
            question: 1,
            topics: vec![TopicPosition { epoch: 1, offsets: (0..300).map(|p| (p, 1 << 40)).collect() }],
            is_begun: false,
        };
        assert_eq!(wide.encode(), None);
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(stable_hash([b"likes".as_slice(), b""]), stable_hash([b"likes".as_slice(), b""]));
        assert_ne!(stable_hash([b"a".as_slice(), b"b"]), stable_hash([b"ab".as_slice(), b""]));
        assert_eq!(stable_hash([]), 0xcbf2_9ce4_8422_2325);
    }
}
