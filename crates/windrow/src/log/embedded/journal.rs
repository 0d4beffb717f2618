//! Journal files: before the database reads them, is what they hold whole?
//!
//! **In** the directory of a closed database. **Out** files that end with a whole batch, or an error that names file and place.
//! The database itself cuts a journal at the first thing it can't read, also when whole batches follow: committed records
//! would be gone without a word. So we look first, and tell two cases apart:
//!
//! | damage | then |
//! |---|---|
//! | in the newest file, no whole batch after it | a write that was never confirmed: cut off |
//! | anywhere else | an error; nothing is changed |
//!
//! ```text
//! batch = 1 u32 count, u64 number | count × item | 3 u64 xxh3 of the items, "FJL" 3         all little-endian
//! item  = 2 u8 type, u8 compression, u64 keyspace, u16 key, u32 value, u32 stored, key, stored  or  4 u64 keyspace
//! ```
//!
//! **Invariant:** a file is cut only where no committed batch can follow. **Not here:** tables, which carry checksums of their own.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use crate::log::{LogError, Result};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";
const START_BYTES: usize = 13;
/// How far numbers of batches may be apart: flushes take some, too. Wider only means more places that are tried.
const NUMBER_STEP_MAX: u64 = 1 << 24;

/// Makes every journal file end with a whole batch. With `rewrite` the newest one is written anew, because after a failed
/// fsync the pages in memory may be clean and still not on the disk.
pub(super) fn mend(directory: &Path, rewrite: bool) -> Result<()> {
    let files = files(directory).map_err(|e| unreadable(directory, &e))?;
    let newest = files.len().saturating_sub(1);
    let mut number = 0;
    for (i, file) in files.iter().enumerate() {
        let bytes = fs::read(file).map_err(|e| unreadable(file, &e))?;
        let whole = whole_bytes(&bytes, &mut number);
        let rest = &bytes[whole..];
        let blank = rest.iter().all(|byte| *byte == 0);
        if !blank && (i < newest || batch_within(rest, number)) {
            return Err(damaged(file, whole));
        }
        if !blank {
            let (file, cut) = (file.display(), rest.len());
            tracing::warn!(%file, at = whole, cut, "the last write was never finished; cutting it off");
        }
        if i == newest && rewrite {
            replace(file, &bytes[..whole]).map_err(|e| unreadable(file, &e))?;
        } else if !blank {
            cut(file, whole).map_err(|e| unreadable(file, &e))?;
        }
    }
    Ok(())
}

/// Journal files, oldest first; other names are none of ours.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    // What is no readable directory yet is for the database to make, or to name.
    let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Length of the whole batches at the front; `number` becomes the last one's. No sum covers the number itself: it must grow.
fn whole_bytes(bytes: &[u8], number: &mut u64) -> usize {
    let mut at = 0;
    while let Some((size, found)) = batch(&bytes[at..])
        && (*number == 0 || (found > *number && near(found, *number)))
    {
        at += size;
        *number = found;
    }
    at
}

/// Whether a whole batch begins anywhere. Its number may be below `number`, which may be what is damaged.
fn batch_within(bytes: &[u8], number: u64) -> bool {
    memchr::memchr_iter(START, bytes).any(|at| {
        let candidate = &bytes[at..];
        start(candidate).is_some_and(|(_, found)| number == 0 || near(found, number))
            && batch(candidate).is_some()
    })
}

fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) < NUMBER_STEP_MAX
}

fn start(bytes: &[u8]) -> Option<(u32, u64)> {
    let mut rest = bytes;
    (byte(&mut rest)? == START).then_some(())?;
    Some((u32::from_le_bytes(array(&mut rest)?), u64::from_le_bytes(array(&mut rest)?)))
}

/// Size and number of the whole batch at the front.
fn batch(bytes: &[u8]) -> Option<(usize, u64)> {
    let (count, number) = start(bytes)?;
    let mut rest = &bytes[START_BYTES..];
    let mut hasher = Xxh3::new();
    for _ in 0..count {
        let size = item(rest)?;
        let (item, after) = rest.split_at_checked(size)?;
        hasher.update(item);
        rest = after;
    }
    (byte(&mut rest)? == END).then_some(())?;
    (u64::from_le_bytes(array(&mut rest)?) == hasher.digest()).then_some(())?;
    rest = rest.strip_prefix(MAGIC)?;
    Some((bytes.len() - rest.len(), number))
}

/// Size of the item at the front, which may reach past the end.
fn item(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    match byte(&mut rest)? {
        ITEM => {
            let [_type, _compression] = array(&mut rest)?;
            let _keyspace: [u8; 8] = array(&mut rest)?;
            let key = usize::from(u16::from_le_bytes(array(&mut rest)?));
            let _value: [u8; 4] = array(&mut rest)?;
            let stored = u32::from_le_bytes(array(&mut rest)?) as usize;
            (bytes.len() - rest.len()).checked_add(key)?.checked_add(stored)
        }
        CLEAR => Some(9),
        _ => None,
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn cut(file: &Path, at: usize) -> io::Result<()> {
    let file = File::options().write(true).open(file)?;
    file.set_len(at as u64)?;
    file.sync_all()
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = file.with_extension("new");
    let mut writing = File::create(&fresh)?;
    writing.write_all(bytes)?;
    writing.sync_all()?;
    fs::rename(&fresh, file)?;
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn unreadable(path: &Path, error: &io::Error) -> LogError {
    LogError::Fatal(format!("cannot read or write {}: {error}", path.display()))
}

fn damaged(file: &Path, at: usize) -> LogError {
    let file = file.display();
    LogError::Fatal(format!(
        "{file} is damaged at byte {at} and committed records follow: put back a copy of the directory; or, to keep only \
         what was committed before that place, remove the journal files with higher numbers and run `truncate -s {at} {file}`"
    ))
}
