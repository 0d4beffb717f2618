//! The store: what the two keyspaces hold and how their keys are written.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `records` | partition, base offset | one record batch (format v2) |
//! | `facts` | `f` | version of all this |
//! | | `c` | number of the last write (`database`) |
//! | | `t`, name | [`TopicMeta`] in JSON |
//! | | `m`, partition | low watermark, next offset, bytes held |
//! | | `o`, group, partition | next offset to read |
//!
//! **Invariant:** numbers in keys are big-endian, so that the order of keys is the order of offsets.
//! **Not here:** who may write (`commit`), what is in memory (`topics`).

use std::path::Path;

use bytes::Bytes;
use fjall::{Readable, Snapshot};
use parking_lot::RwLockReadGuard;
use serde::{Deserialize, Serialize};

use super::database::{Database, Open, Operation, Space};
use crate::{
    config,
    log::{LogError, Result},
};

/// Version of the layout above.
const FORMAT: &[u8] = b"1";
const FORMAT_KEY: &[u8] = b"f";

/// A partition's place in keys: topic number, partition number.
pub(super) type Place = [u8; 12];

/// What is stored about a topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TopicMeta {
    /// Its number in keys.
    pub(super) number: u64,
    /// Its id, random: a topic made anew has another.
    pub(super) epoch: u128,
    pub(super) partitions: i32,
    pub(super) compact: bool,
    pub(super) retention_ms: Option<u64>,
    pub(super) retention_bytes: Option<u64>,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// First offset still held.
    pub(super) low: i64,
    /// Offset the next record gets.
    pub(super) next: i64,
    /// Bytes of the batches held.
    pub(super) bytes: u64,
}

impl Marks {
    fn encode(self) -> Vec<u8> {
        [self.low.to_be_bytes(), self.next.to_be_bytes(), self.bytes.to_be_bytes()].concat()
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (fields, []) = stored.as_chunks::<8>() else { return None };
        let [low, next, bytes] = fields else { return None };
        Some(Self {
            low: i64::from_be_bytes(*low),
            next: i64::from_be_bytes(*next),
            bytes: u64::from_be_bytes(*bytes),
        })
    }
}

/// The open store.
pub(super) struct Store {
    pub(super) database: Database,
}

/// One atomic write.
pub(super) struct Write<'a> {
    store: &'a Store,
    operations: Vec<Operation>,
}

/// Batches of one partition at one moment, in offset order. Fields are dropped in order: the iterator before the guard.
pub(super) struct Batches<'a> {
    store: &'a Store,
    first: Option<(i64, Bytes)>,
    rest: fjall::Iter,
    _open: RwLockReadGuard<'a, Option<Open>>,
}

impl Store {
    /// Opens the directory, making it at the first time.
    pub(super) fn open(directory: &Path, sync: config::Sync, room_min_bytes: u64) -> Result<Self> {
        let store = Self { database: Database::open(directory, sync, room_min_bytes)? };
        match store.fact(FORMAT_KEY)? {
            None => {
                let mut write = store.write();
                write.fact(FORMAT_KEY.to_vec(), FORMAT.to_vec());
                write.commit()?;
            }
            Some(found) if found == FORMAT => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                let known = String::from_utf8_lossy(FORMAT);
                let directory = directory.display();
                return Err(LogError::Fatal(format!(
                    "directory {directory} has format {found}, this version reads format {known}"
                )));
            }
        }
        Ok(store)
    }

    /// Starts a write.
    pub(super) fn write(&self) -> Write<'_> {
        Write { store: self, operations: Vec::new() }
    }

    /// Reads all topics.
    pub(super) fn topics(&self) -> Result<Vec<(String, TopicMeta)>> {
        let mut topics = Vec::new();
        let open = self.database.read()?;
        for item in open.iter().flat_map(|open| open.facts.prefix(b"t")) {
            let (key, meta) = item.into_inner().map_err(|e| self.database.error(&e))?;
            let name = &key[1..];
            let meta =
                serde_json::from_slice(&meta).map_err(|e| self.broken("topic", name, &e.to_string()))?;
            topics.push((String::from_utf8_lossy(name).into_owned(), meta));
        }
        Ok(topics)
    }

    /// Reads a partition's marks.
    pub(super) fn marks(&self, place: Place) -> Result<Marks> {
        match self.fact(&marks_key(place))? {
            None => Ok(Marks::default()),
            Some(found) => Marks::decode(&found).ok_or_else(|| self.broken("marks", &place, "wrong length")),
        }
    }

    /// Reads a group's position in a partition.
    pub(super) fn offset(&self, group: &str, place: Place) -> Result<Option<i64>> {
        let Some(found) = self.fact(&offset_key(group, place))? else {
            return Ok(None);
        };
        let bytes: [u8; 8] =
            found.as_ref().try_into().map_err(|_| self.broken("offset", group.as_bytes(), "wrong length"))?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    /// Returns the keys of every group's positions in a topic.
    fn offset_keys(&self, topic: u64) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        let open = self.database.read()?;
        for item in open.iter().flat_map(|open| open.facts.prefix(b"o")) {
            let key = item.key().map_err(|e| self.database.error(&e))?;
            if key.last_chunk::<12>().is_some_and(|place| place[..8] == topic.to_be_bytes()) {
                keys.push(key.to_vec());
            }
        }
        Ok(keys)
    }

    /// Iterates over batches, from the one that holds `from` (or the last before it) on.
    pub(super) fn batches(&self, place: Place, from: i64) -> Result<Batches<'_>> {
        let guard = self.database.read()?;
        let Some(open) = &*guard else { return Err(LogError::Retry("the log is being opened".to_owned())) };
        let snapshot = open.db.snapshot();
        let mut rest = snapshot.range(&open.records, record_key(place, from)..=record_key(place, i64::MAX));
        let mut first = rest.next().map(|item| self.entry(item)).transpose()?;
        if first.as_ref().is_none_or(|(base, _)| *base != from)
            && let Some(before) = self.batch_before(open, &snapshot, place, from)?
        {
            rest = snapshot.range(&open.records, record_key(place, from)..=record_key(place, i64::MAX));
            first = Some(before);
        }
        Ok(Batches { store: self, first, rest, _open: guard })
    }

    fn batch_before(
        &self,
        open: &Open,
        snapshot: &Snapshot,
        place: Place,
        from: i64,
    ) -> Result<Option<(i64, Bytes)>> {
        let mut before = snapshot.range(&open.records, record_key(place, 0)..record_key(place, from));
        before.next_back().map(|item| self.entry(item)).transpose()
    }

    fn fact(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let open = self.database.read()?;
        let found = open.as_ref().map_or(Ok(None), |open| open.facts.get(key));
        // Copied: a view of the database's own memory would outlive the guard.
        found
            .map(|found| found.map(|value| Bytes::copy_from_slice(&value)))
            .map_err(|e| self.database.error(&e))
    }

    fn entry(&self, item: fjall::Guard) -> Result<(i64, Bytes)> {
        let (key, value) = item.into_inner().map_err(|e| self.database.error(&e))?;
        let base = key.last_chunk().map(|base| i64::from_be_bytes(*base));
        Ok((base.ok_or_else(|| self.broken("record key", &key, "too short"))?, value.into()))
    }

    fn broken(&self, what: &str, key: &[u8], reason: &str) -> LogError {
        let directory = self.database.directory().display();
        LogError::Fatal(format!("the log in {directory} is damaged: {what} {}: {reason}", key.escape_ascii()))
    }
}

impl Write<'_> {
    /// Adds or replaces a topic.
    pub(super) fn topic(&mut self, name: &str, meta: &TopicMeta) -> Result<()> {
        let text = serde_json::to_vec(meta).map_err(|e| LogError::Fatal(format!("topic {name}: {e}")))?;
        self.fact([b"t", name.as_bytes()].concat(), text);
        Ok(())
    }

    /// Removes a topic, its partitions' marks and every group's positions in them.
    pub(super) fn remove_topic(&mut self, name: &str, meta: &TopicMeta) -> Result<()> {
        self.forget([b"t", name.as_bytes()].concat());
        for n in 0..meta.partitions {
            self.forget(marks_key(place(meta.number, n)).to_vec());
        }
        for key in self.store.offset_keys(meta.number)? {
            self.forget(key);
        }
        Ok(())
    }

    /// Sets a partition's marks.
    pub(super) fn marks(&mut self, place: Place, marks: Marks) {
        self.fact(marks_key(place).to_vec(), marks.encode());
    }

    /// Adds or replaces a batch.
    pub(super) fn put(&mut self, place: Place, base_offset: i64, batch: Vec<u8>) {
        self.record(place, base_offset, Some(batch));
    }

    /// Removes a batch.
    pub(super) fn remove(&mut self, place: Place, base_offset: i64) {
        self.record(place, base_offset, None);
    }

    /// Sets a group's position.
    pub(super) fn offset(&mut self, group: &str, place: Place, offset: i64) {
        self.fact(offset_key(group, place), offset.to_be_bytes().to_vec());
    }

    /// Makes all of it visible at once, and durable as configured.
    pub(super) fn commit(self) -> Result<()> {
        self.store.database.write(self.operations)
    }

    fn forget(&mut self, key: Vec<u8>) {
        self.operations.push(Operation { space: Space::Facts, key, value: None });
    }

    fn fact(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.operations.push(Operation { space: Space::Facts, key, value: Some(value) });
    }

    fn record(&mut self, place: Place, base_offset: i64, value: Option<Vec<u8>>) {
        let key = record_key(place, base_offset).to_vec();
        self.operations.push(Operation { space: Space::Records, key, value });
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<(i64, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let item = self.rest.next()?;
        Some(self.store.entry(item))
    }
}

/// Writes a partition's place.
pub(super) fn place(topic: u64, partition: i32) -> Place {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&topic.to_be_bytes());
    place[8..].copy_from_slice(&partition.to_be_bytes());
    place
}

fn record_key(place: Place, base_offset: i64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..12].copy_from_slice(&place);
    key[12..].copy_from_slice(&base_offset.max(0).to_be_bytes());
    key
}

/// The group's name comes with its length, so that no name is the start of another key.
fn offset_key(group: &str, place: Place) -> Vec<u8> {
    [b"o", &(group.len() as u32).to_be_bytes()[..], group.as_bytes(), &place].concat()
}

fn marks_key(place: Place) -> [u8; 13] {
    let mut key = [b'm'; 13];
    key[1..].copy_from_slice(&place);
    key
}
