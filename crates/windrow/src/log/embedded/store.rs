//! The store: one fjall database, its two keyspaces and how their keys are written.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `records` | partition, base offset | one record batch (format v2) |
//! | `facts` | `f` | version of all this |
//! | | `t`, name | [`TopicMeta`] in JSON |
//! | | `m`, partition | low watermark, next offset, bytes held |
//! | | `o`, group, partition | next offset to read |
//!
//! **Invariant:** numbers in keys are big-endian, so that the order of keys is the order of offsets.
//! **Not here:** who may write (`commit`), what is in memory (`topics`).

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode, Readable,
    Snapshot,
};
use serde::{Deserialize, Serialize};

use crate::{
    config,
    log::{LogError, Result},
};

/// Version of the layout above.
const FORMAT: &[u8] = b"1";
const FORMAT_KEY: &[u8] = b"f";

/// What is read again when the log opens: at a few hundred MB/s this keeps the start under half a second.
const JOURNAL_MAX_BYTES: u64 = 128 << 20;
/// Memory for what is not yet in tables; two of each keyspace may exist at once.
const MEMTABLE_BYTES: u64 = 32 << 20;

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

/// The open database.
pub(super) struct Store {
    directory: PathBuf,
    durability: Option<PersistMode>,
    room_min_bytes: u64,
    db: Database,
    records: Keyspace,
    facts: Keyspace,
}

/// One atomic write.
pub(super) struct Write<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
}

/// Batches of one partition at one moment, in offset order.
pub(super) struct Batches<'a> {
    store: &'a Store,
    first: Option<(i64, Bytes)>,
    rest: fjall::Iter,
}

impl Store {
    /// Opens the directory, making it at the first time.
    pub(super) fn open(directory: &Path, sync: config::Sync, room_min_bytes: u64) -> Result<Self> {
        let at = |e: fjall::Error| open_error(directory, e);
        let db = Database::builder(directory).max_journaling_size(JOURNAL_MAX_BYTES).open().map_err(at)?;
        let options = KeyspaceCreateOptions::default;
        // Batches are large: kept apart from their keys, they are not rewritten when the tree is.
        let apart = || options().with_kv_separation(Some(KvSeparationOptions::default()));
        let store = Self {
            directory: directory.to_owned(),
            durability: match sync {
                config::Sync::Commit => Some(PersistMode::SyncData),
                config::Sync::Interval | config::Sync::Never => Some(PersistMode::Buffer),
            },
            room_min_bytes,
            records: db.keyspace("records", || apart().max_memtable_size(MEMTABLE_BYTES)).map_err(at)?,
            facts: db.keyspace("facts", || options().max_memtable_size(MEMTABLE_BYTES)).map_err(at)?,
            db,
        };
        match store.facts.get(FORMAT_KEY).map_err(at)? {
            None => store.facts.insert(FORMAT_KEY, FORMAT).map_err(at)?,
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

    /// Forces everything written so far to disk.
    pub(super) fn persist(&self) -> Result<()> {
        self.db.persist(PersistMode::SyncAll).map_err(|e| self.error(e))
    }

    /// Refuses when a write of `bytes` would leave too little room on the disk. A write that fails half-way is worse: the
    /// database takes no more of them until it is opened anew.
    pub(super) fn room(&self, bytes: usize) -> Result<()> {
        let at = |e| LogError::Retry(format!("the log in {}: {e}", self.directory.display()));
        let free = free_bytes(&self.directory).map_err(at)?;
        if free >= self.room_min_bytes.saturating_add(bytes as u64) {
            return Ok(());
        }
        let (directory, min) = (self.directory.display(), self.room_min_bytes);
        Err(LogError::Retry(format!(
            "the disk of the log in {directory} has {free} bytes left and {min} of them are kept free: make room"
        )))
    }

    /// Starts a write.
    pub(super) fn write(&self) -> Write<'_> {
        Write { store: self, batch: self.db.batch().durability(self.durability) }
    }

    /// Reads all topics.
    pub(super) fn topics(&self) -> Result<Vec<(String, TopicMeta)>> {
        let mut topics = Vec::new();
        for item in self.facts.prefix(b"t") {
            let (key, meta) = item.into_inner().map_err(|e| self.error(e))?;
            let name = &key[1..];
            let meta =
                serde_json::from_slice(&meta).map_err(|e| self.broken("topic", name, &e.to_string()))?;
            topics.push((String::from_utf8_lossy(name).into_owned(), meta));
        }
        Ok(topics)
    }

    /// Reads a partition's marks.
    pub(super) fn marks(&self, place: Place) -> Result<Marks> {
        match self.facts.get(marks_key(place)).map_err(|e| self.error(e))? {
            None => Ok(Marks::default()),
            Some(found) => Marks::decode(&found).ok_or_else(|| self.broken("marks", &place, "wrong length")),
        }
    }

    /// Reads a group's position in a partition.
    pub(super) fn offset(&self, group: &str, place: Place) -> Result<Option<i64>> {
        let Some(found) = self.facts.get(offset_key(group, place)).map_err(|e| self.error(e))? else {
            return Ok(None);
        };
        let bytes: [u8; 8] =
            found.as_ref().try_into().map_err(|_| self.broken("offset", group.as_bytes(), "wrong length"))?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    /// Iterates over batches, from the one that holds `from` (or the last before it) on.
    pub(super) fn batches(&self, place: Place, from: i64) -> Result<Batches<'_>> {
        let snapshot = self.db.snapshot();
        let mut rest = snapshot.range(&self.records, record_key(place, from)..=record_key(place, i64::MAX));
        let mut first = rest.next().map(|item| self.entry(item)).transpose()?;
        if first.as_ref().is_none_or(|(base, _)| *base != from)
            && let Some(before) = self.batch_before(&snapshot, place, from)?
        {
            rest = snapshot.range(&self.records, record_key(place, from)..=record_key(place, i64::MAX));
            first = Some(before);
        }
        Ok(Batches { store: self, first, rest })
    }

    fn batch_before(&self, snapshot: &Snapshot, place: Place, from: i64) -> Result<Option<(i64, Bytes)>> {
        let mut before = snapshot.range(&self.records, record_key(place, 0)..record_key(place, from));
        before.next_back().map(|item| self.entry(item)).transpose()
    }

    fn entry(&self, item: fjall::Guard) -> Result<(i64, Bytes)> {
        let (key, value) = item.into_inner().map_err(|e| self.error(e))?;
        let base = key.last_chunk().map(|base| i64::from_be_bytes(*base));
        Ok((base.ok_or_else(|| self.broken("record key", &key, "too short"))?, value.into()))
    }

    /// Sorts the database's errors by what helps.
    fn error(&self, error: fjall::Error) -> LogError {
        let directory = self.directory.display();
        LogError::Fatal(match error {
            fjall::Error::Io(e) if e.kind() == io::ErrorKind::StorageFull => {
                format!("no space left for the log in {directory}")
            }
            fjall::Error::Poisoned => format!(
                "the log in {directory} takes no more writes: one failed before; start again to recover what is on disk"
            ),
            other => format!("the log in {directory} failed: {}", plain(&other)),
        })
    }

    fn broken(&self, what: &str, key: &[u8], reason: &str) -> LogError {
        let directory = self.directory.display();
        LogError::Fatal(format!("the log in {directory} is damaged: {what} {}: {reason}", key.escape_ascii()))
    }
}

impl Write<'_> {
    /// Adds or replaces a topic.
    pub(super) fn topic(&mut self, name: &str, meta: &TopicMeta) -> Result<()> {
        let text = serde_json::to_vec(meta).map_err(|e| LogError::Fatal(format!("topic {name}: {e}")))?;
        self.batch.insert(&self.store.facts, [b"t", name.as_bytes()].concat(), text);
        Ok(())
    }

    /// Sets a partition's marks.
    pub(super) fn marks(&mut self, place: Place, marks: Marks) {
        self.batch.insert(&self.store.facts, marks_key(place), marks.encode());
    }

    /// Adds or replaces a batch.
    pub(super) fn put(&mut self, place: Place, base_offset: i64, batch: Vec<u8>) {
        self.batch.insert(&self.store.records, record_key(place, base_offset), batch);
    }

    /// Removes a batch.
    pub(super) fn remove(&mut self, place: Place, base_offset: i64) {
        self.batch.remove(&self.store.records, record_key(place, base_offset));
    }

    /// Sets a group's position.
    pub(super) fn offset(&mut self, group: &str, place: Place, offset: i64) {
        self.batch.insert(&self.store.facts, offset_key(group, place), offset.to_be_bytes());
    }

    /// Makes all of it visible at once, and durable as configured.
    pub(super) fn commit(self) -> Result<()> {
        self.batch.commit().map_err(|e| self.store.error(e))
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

/// What the disk that holds `directory` has left for this user.
fn free_bytes(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_encoded_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte and `stat` is memory of the right size, which the call fills on success.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

fn open_error(directory: &Path, error: fjall::Error) -> LogError {
    let directory = directory.display();
    LogError::Fatal(match error {
        fjall::Error::Locked => format!(
            "directory {directory} is in use by another process: stop it, or give this one another `directory` in [log]"
        ),
        fjall::Error::Io(e) => format!("cannot write to directory {directory}: {e}"),
        other => format!("cannot open the log in directory {directory}: {}", plain(&other)),
    })
}

fn plain(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(e) => e.to_string(),
        fjall::Error::Storage(e) => format!("{e:?}"),
        other => format!("{other:?}"),
    }
}
