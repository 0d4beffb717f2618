//! The ledger: which `Idempotency-Key`s came lately, with which body, and what became of them.
//!
//! **In** the entries of one partition of `<app>._published`. **Out** whether a key is known.
//! **Invariant:** a key is known for [`KEEP`], unless [`KEYS_MAX`] younger ones pushed it out. **Not here:** who may write an
//! entry (`clerk`).

use std::{collections::VecDeque, hash::BuildHasher, time::Duration};

use bytes::Bytes;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

/// How long a key is known: longer than any client tries again.
pub(super) const KEEP: Duration = Duration::from_secs(3600);

/// Keys known per partition: at about 100 bytes each 2.5 MiB.
pub(super) const KEYS_MAX: usize = 25_000;

/// What is kept of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Hash of the body, the same in every version.
    pub(super) body: u128,
    /// Records committed.
    pub(super) accepted: usize,
}

impl Entry {
    pub(super) fn new(body: &[u8], accepted: usize) -> Self {
        Self { body: xxh3_128(body), accepted }
    }

    pub(super) fn encode(self) -> Bytes {
        Bytes::from(format!("{{\"body\":\"{:032x}\",\"accepted\":{}}}", self.body, self.accepted))
    }

    /// Reads a value of the topic; `None` when it is none of ours.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Stored<'a> {
            body: &'a str,
            accepted: usize,
        }
        let stored: Stored<'_> = serde_json::from_slice(value).ok()?;
        Some(Self { body: u128::from_str_radix(stored.body, 16).ok()?, accepted: stored.accepted })
    }
}

/// The keys of one partition.
pub(super) struct Ledger {
    by_key: HashMap<u128, Entry>,
    /// Oldest first.
    order: VecDeque<(u128, i64)>,
    /// Drawn per process, so that nobody can make two keys that look the same.
    seed: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        let seed = std::collections::hash_map::RandomState::new().hash_one(0);
        Self { by_key: HashMap::new(), order: VecDeque::new(), seed }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Entry> {
        self.by_key.get(&self.name(key)).copied()
    }

    /// Enters a key. The first entry of a key stays.
    pub(super) fn enter(&mut self, key: &[u8], entry: Entry, at_ms: i64) {
        let name = self.name(key);
        if self.by_key.try_insert(name, entry).is_err() {
            return;
        }
        self.order.push_back((name, at_ms));
        if self.order.len() > KEYS_MAX {
            self.drop_oldest();
        }
    }

    /// Forgets what is older than [`KEEP`].
    pub(super) fn forget(&mut self, now_ms: i64) {
        while self.order.front().is_some_and(|(_, at_ms)| is_old(*at_ms, now_ms)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((name, _)) = self.order.pop_front() {
            self.by_key.remove(&name);
        }
    }

    fn name(&self, key: &[u8]) -> u128 {
        xxh3_128_with_seed(key, self.seed)
    }
}

/// Whether an entry of that time is no longer known.
pub(super) fn is_old(at_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(at_ms) > KEEP.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_went() {
        for entry in [Entry::new(b"", 0), Entry::new(b"body", usize::MAX)] {
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
        // In the log for ever: this must not change.
        assert_eq!(
            Entry::new(b"body", 7).encode(),
            "{\"body\":\"177aefccffa6f74acbf1c497eac76e10\",\"accepted\":7}"
        );
        assert_eq!(Entry::decode(b"{\"body\":7}"), None);
    }

    #[test]
    fn the_first_entry_of_a_key_stays_until_it_is_old_or_pushed_out() {
        let mut ledger = Ledger::new();
        let (one, two) = (Entry::new(b"one", 1), Entry::new(b"two", 2));
        ledger.enter(b"k", one, 1_000);
        ledger.enter(b"k", two, 1_000);
        assert_eq!((ledger.get(b"k"), ledger.get(b"l")), (Some(one), None));
        ledger.forget(1_000 + KEEP.as_millis() as i64);
        assert_eq!(ledger.get(b"k"), Some(one));
        ledger.forget(1_001 + KEEP.as_millis() as i64);
        assert_eq!(ledger.get(b"k"), None);
        for n in 0..=KEYS_MAX {
            ledger.enter(&n.to_le_bytes(), one, 1_000);
        }
        assert_eq!((ledger.by_key.len(), ledger.order.len()), (KEYS_MAX, KEYS_MAX));
        assert_eq!(
            (ledger.get(&0_usize.to_le_bytes()), ledger.get(&1_usize.to_le_bytes())),
            (None, Some(one))
        );
    }
}
