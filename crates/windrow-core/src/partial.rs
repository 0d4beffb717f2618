//! Partials: what the records of one source partition bring to the groups of a view, on their way to the task that merges.
//!
//! **In** rows of an epoch's buckets. **Out** records of `<app>.<view>.partials`, and on the other side the rows again.
//! **Before** this file: `engine` (scatters). **After** it: `engine` (merges).
//!
//! ```text
//! record   version fingerprint flags source from to watermark data, then a body as `block` says, of rows alone
//! ```
//!
//! One record per commit and target partition, more when it would pass the bound. Cells are what was *added*, so every order
//! of merging gives the same. The last record of a commit makes its range and its watermark count; without rows it is only that.
//!
//! **Invariant:** a record that is not ours to the last byte is an error with a reason, never a panic and never a guess.
//! **Not here:** which target partition a group goes to, whether a window is still open (`engine`).

mod read;
mod write;

pub(crate) use read::PartialBlock;
pub(crate) use write::PartialWriter;

/// First byte of every record.
const VERSION: u8 = 1;
const FLAG_LAST: u8 = 1;
const FLAG_COMPRESSED: u8 = 2;

/// What every record of a commit says of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Of the plan, for this part of it.
    pub(crate) fingerprint: u64,
    /// Partition of the stream.
    pub(crate) source: i32,
    /// First offset of the range that the cells stand for.
    pub(crate) from: i64,
    /// First offset after it.
    pub(crate) to: i64,
    /// Watermark after the range.
    pub(crate) watermark_ms: i64,
    /// The same as records alone say it.
    pub(crate) data_ms: i64,
}
