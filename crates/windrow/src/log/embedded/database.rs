//! The database: fjall behind one door, opened anew when a write has failed.
//!
//! **In** operations that belong together. **Out** all of them durable, or none and a reason. After a failed write nobody knows
//! what of it reached the disk, and fjall takes no more: the database is closed and opened anew, and the commit number that
//! is part of every write says whether this one is there. Until it can be opened, whoever writes waits and readers are told to
//! come back; `health` says why.
//!
//! **Invariant:** a write answers `Ok` only when what a restart would find holds it, and `Retry` only when it does not.
//! **Not here:** what keys mean (`store`), who may write (`commit`).

use std::{
    ffi::CString,
    fs::File,
    io,
    mem::MaybeUninit,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use fjall::{Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::journal;
use crate::{
    config,
    log::{LogError, Result},
};

/// What is read again when the log opens: at a few hundred MB/s this keeps the start under half a second.
const JOURNAL_MAX_BYTES: u64 = 128 << 20;
/// Memory for what is not yet in tables; two of each keyspace may exist at once.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Between two attempts to open it anew. They end when one succeeds or the log is closed: an open writer has nowhere to go.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// A process that is ending may hold the directory for a moment.
const LOCK_TRIES: usize = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Under this key of `facts` stands the number of the last write.
const COMMIT_KEY: &[u8] = b"c";
/// Under this key a write is tried that nobody needs, as large as the one that failed but no larger than this: small ones may
/// still fit where large ones do not.
const PROBE_KEY: &[u8] = b"p";
const PROBE_MAX_BYTES: usize = 1 << 20;

/// Where an operation goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Space {
    /// Record batches.
    Records,
    /// Everything else.
    Facts,
}

/// One key set, or removed.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) space: Space,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// The handles of an open database. Nothing of them may outlive the guard they were got by.
pub(super) struct Open {
    pub(super) db: fjall::Database,
    pub(super) records: Keyspace,
    pub(super) facts: Keyspace,
}

/// See the module.
pub(super) struct Database {
    directory: PathBuf,
    durability: Option<PersistMode>,
    room_min_bytes: AtomicU64,
    /// `None` while it is opened anew.
    open: RwLock<Option<Open>>,
    /// Number of the last write; held while one is on its way.
    last: Mutex<u64>,
    health: watch::Sender<Option<String>>,
    /// Size of the write that failed: only one as large shows that it is over.
    failed_bytes: AtomicUsize,
    closing: AtomicBool,
    /// What goes wrong next.
    #[cfg(test)]
    pub(super) faults: Mutex<std::collections::VecDeque<Fault>>,
}

/// A place where a test lets something go wrong.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing of the write reaches the disk.
    Before,
    /// All of it does, and yet an error comes back: a failed fsync.
    After,
    /// It cannot be opened.
    Reopen,
}

impl Database {
    pub(super) fn open(directory: &Path, sync: config::Sync, room_min_bytes: u64) -> Result<Self> {
        // A limit on the size of files is an error of one write, not the end of the process.
        // SAFETY: sets a disposition that has no handler of ours.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let (open, last) = open(directory, false)?;
        Ok(Self {
            directory: directory.to_owned(),
            durability: match sync {
                config::Sync::Commit => Some(PersistMode::SyncData),
                config::Sync::Interval | config::Sync::Never => Some(PersistMode::Buffer),
            },
            room_min_bytes: AtomicU64::new(room_min_bytes),
            open: RwLock::new(Some(open)),
            last: Mutex::new(last),
            health: watch::Sender::new(None),
            failed_bytes: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            #[cfg(test)]
            faults: Mutex::default(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Why it takes no writes now, if so.
    pub(super) fn health(&self) -> watch::Receiver<Option<String>> {
        self.health.subscribe()
    }

    /// From here on nobody waits for a disk any more.
    pub(super) fn close(&self) {
        self.closing.store(true, SeqCst);
    }

    /// Gives the handles to a reader. While a guard is out the database cannot be opened anew.
    pub(super) fn read(&self) -> Result<RwLockReadGuard<'_, Option<Open>>> {
        let open = self.open.read();
        if open.is_some() {
            return Ok(open);
        }
        Err(LogError::Retry(self.health.borrow().clone().unwrap_or_else(|| "the log is being opened".into())))
    }

    /// Refuses when a write of `bytes` would leave too little room on the disk.
    pub(super) fn room(&self, bytes: usize) -> Result<()> {
        let at = |e| LogError::Retry(format!("the log in {}: {e}", self.directory.display()));
        let free = free_bytes(&self.directory).map_err(at)?;
        let min = self.room_min_bytes.load(SeqCst);
        if free >= min.saturating_add(bytes as u64) {
            return Ok(());
        }
        let why = format!(
            "the disk of the log in {} has {free} bytes left and {min} of them are kept free: make room",
            self.directory.display()
        );
        self.ail(&why, bytes);
        Err(LogError::Retry(why))
    }

    fn ail(&self, why: &str, bytes: usize) {
        self.failed_bytes.fetch_max(bytes.clamp(1, PROBE_MAX_BYTES), SeqCst);
        self.health.send_replace(Some(why.to_owned()));
    }

    /// What is kept free from now on.
    #[cfg(test)]
    pub(super) fn set_room_min(&self, bytes: u64) {
        self.room_min_bytes.store(bytes, SeqCst);
    }

    /// Finds out whether it takes writes again, so that `health` is right also when nobody writes.
    pub(super) fn probe(&self) {
        let bytes = self.failed_bytes.load(SeqCst);
        if bytes == 0 || self.room(bytes).is_err() {
            return;
        }
        // Like records: it does not shrink.
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let value: Vec<u8> = (0..bytes).map(|_| noise()).collect();
        let key = || PROBE_KEY.to_vec();
        let tried = self.write(vec![Operation { space: Space::Facts, key: key(), value: Some(value) }]);
        // What fails says so in `health`.
        let _ =
            tried.and_then(|()| self.write(vec![Operation { space: Space::Facts, key: key(), value: None }]));
    }

    /// Forces everything written so far to disk.
    pub(super) fn persist(&self) -> Result<()> {
        let open = self.read()?;
        let persisted = open.as_ref().map_or(Ok(()), |open| open.db.persist(PersistMode::SyncAll));
        persisted.map_err(|e| self.error(&e))
    }

    /// Makes all operations visible at once, and durable as configured.
    pub(super) fn write(&self, operations: Vec<Operation>) -> Result<()> {
        let mut last = self.last.lock();
        let number = *last + 1;
        let bytes = operations.iter().filter_map(|o| o.value.as_ref()).map(Vec::len).sum();
        if let Err(error) = self.try_write(operations, number) {
            *last = self.settle(number, &error, bytes)?;
            if *last != number {
                let why = self.sentence(&error);
                return Err(LogError::Retry(format!("{why}; nothing of this transaction is written")));
            }
        }
        *last = number;
        if bytes >= self.failed_bytes.load(SeqCst) {
            self.failed_bytes.store(0, SeqCst);
            self.health.send_if_modified(|why| why.take().is_some());
        }
        Ok(())
    }

    fn try_write(&self, operations: Vec<Operation>, number: u64) -> fjall::Result<()> {
        let open = self.open.read();
        let Some(open) = &*open else { return Err(fjall::Error::Poisoned) };
        #[cfg(test)]
        self.fault(Fault::Before)?;
        let mut batch = open.db.batch().durability(self.durability);
        for Operation { space, key, value } in operations {
            let space = match space {
                Space::Records => &open.records,
                Space::Facts => &open.facts,
            };
            match value {
                Some(value) => batch.insert(space, key, value),
                None => batch.remove(space, key),
            }
        }
        batch.insert(&open.facts, COMMIT_KEY, number.to_be_bytes());
        batch.commit()?;
        #[cfg(test)]
        self.fault(Fault::After)?;
        Ok(())
    }

    #[cfg(test)]
    fn fault(&self, fault: Fault) -> io::Result<()> {
        let mut faults = self.faults.lock();
        if faults.front() != Some(&fault) {
            return Ok(());
        }
        faults.pop_front();
        Err(io::Error::other("a fault of the test"))
    }

    /// Opens it anew after write `number` failed; returns the number of the last write that is there.
    fn settle(&self, number: u64, error: &fjall::Error, bytes: usize) -> Result<u64> {
        let mut why = self.sentence(error);
        let rewrite = !is_about_room(error);
        loop {
            tracing::error!(%why, "a write failed; opening the log anew to see what is there");
            self.ail(&why, bytes);
            match self.reopen(rewrite) {
                Ok(found) if found == number || found + 1 == number => return Ok(found),
                Ok(found) => {
                    return Err(LogError::Fatal(format!(
                        "the log in {} lost writes that were confirmed: it ends with write {found} of {}",
                        self.directory.display(),
                        number - 1
                    )));
                }
                Err(e) => why = e.to_string(),
            }
            if self.closing.load(SeqCst) {
                return Err(LogError::Fatal(format!(
                    "{why}; the log closes, and whether the last transaction is there is told when it opens again"
                )));
            }
            std::thread::sleep(REOPEN_PAUSE);
        }
    }

    fn reopen(&self, rewrite: bool) -> Result<u64> {
        let mut slot = self.open.write();
        *slot = None;
        #[cfg(test)]
        self.fault(Fault::Reopen).map_err(|e| LogError::Retry(e.to_string()))?;
        let (open, last) = open(&self.directory, rewrite)?;
        *slot = Some(open);
        Ok(last)
    }

    /// Sorts the database's errors by what helps.
    pub(super) fn error(&self, error: &fjall::Error) -> LogError {
        LogError::Fatal(self.sentence(error))
    }

    fn sentence(&self, error: &fjall::Error) -> String {
        let directory = self.directory.display();
        match error {
            error if is_about_room(error) => {
                format!("no space left for the log in {directory} ({}): make room", plain(error))
            }
            fjall::Error::Poisoned => {
                format!("the log in {directory} takes no more writes: one failed before")
            }
            other => format!("the log in {directory} failed: {}", plain(other)),
        }
    }
}

/// Opens the directory, making it at the first time; returns the number of the last write, too.
fn open(directory: &Path, rewrite: bool) -> Result<(Open, u64)> {
    let at = |e: fjall::Error| open_error(directory, &e);
    mend(directory, rewrite)?;
    let db = fjall::Database::builder(directory).max_journaling_size(JOURNAL_MAX_BYTES).open().map_err(at)?;
    let options = KeyspaceCreateOptions::default;
    // Batches are large: kept apart from their keys, they are not rewritten when the tree is.
    let apart = || options().with_kv_separation(Some(KvSeparationOptions::default()));
    let records = db.keyspace("records", || apart().max_memtable_size(MEMTABLE_BYTES)).map_err(at)?;
    let facts = db.keyspace("facts", || options().max_memtable_size(MEMTABLE_BYTES)).map_err(at)?;
    let last = facts.get(COMMIT_KEY).map_err(at)?;
    let last = last.and_then(|found| Some(u64::from_be_bytes(found.as_ref().try_into().ok()?))).unwrap_or(0);
    Ok((Open { db, records, facts }, last))
}

/// Under the database's own lock, so that files of a process that lives are left alone. When another one comes between this
/// and the opening, that one has them, and opening says so.
fn mend(directory: &Path, rewrite: bool) -> Result<()> {
    // Without the file nobody has the directory open.
    let Ok(lock) = File::open(directory.join("lock")) else { return journal::mend(directory, rewrite) };
    for _ in 0..LOCK_TRIES {
        if lock.try_lock().is_ok() {
            return journal::mend(directory, rewrite);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(open_error(directory, &fjall::Error::Locked))
}

/// Whether making room helps.
fn is_about_room(error: &fjall::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let of = |e: &io::Error| matches!(e.kind(), FileTooLarge | QuotaExceeded | StorageFull);
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => of(e),
        _ => false,
    }
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

fn open_error(directory: &Path, error: &fjall::Error) -> LogError {
    let directory = directory.display();
    LogError::Fatal(match error {
        fjall::Error::Locked => format!(
            "directory {directory} is in use by another process: stop it, or give this one another `directory` in [log]"
        ),
        fjall::Error::Io(e) => format!("cannot write to directory {directory}: {e}"),
        other => format!(
            "cannot open the log in directory {directory}: {}; put back a copy of it, or start with an empty one",
            plain(other)
        ),
    })
}

fn plain(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(e) => e.to_string(),
        fjall::Error::Storage(e) => format!("{e:?}"),
        other => format!("{other:?}"),
    }
}
