//! Reading: records become sections, and their order is checked.
//!
//! **In** bytes that may be anything. **Out** sections, or the reason why the journal cannot be trusted.
//! **Invariant:** nothing in here panics, and memory is bounded as `block` says, whatever a record claims.

use super::{
    Progress, SourceMark, VERSION,
    write::{
        FLAG_COMPRESSED, FLAG_LAST, KIND_DELTA, KIND_SLICE, TAG_CLOSED, TAG_PROGRESS, TAG_RETAINED,
        TAG_RETIRED, TAG_SETTLED, TAG_SOURCE,
    },
};
use crate::{
    block::{self, RowRun, TAG_ROWS},
    state::canon::Reader,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Delta { part: u64 },
    Slice { series: u64, index: u64 },
}

impl Kind {
    /// Reads the kind out of a record's head.
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        Some(Head::parse(&mut Reader(value))?.kind)
    }
}

struct Head {
    kind: Kind,
    fingerprint: u64,
    flags: u8,
    commit: u64,
}

impl Head {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        if reader.byte()? != VERSION {
            return None;
        }
        let kind = reader.byte()?;
        let fingerprint = u64::from_le_bytes(reader.array()?);
        let flags = reader.byte()?;
        let commit = reader.unsigned()?;
        let kind = match kind {
            KIND_DELTA => Kind::Delta { part: reader.unsigned()? },
            KIND_SLICE => Kind::Slice { series: reader.unsigned()?, index: reader.unsigned()? },
            _ => return None,
        };
        Some(Self { kind, fingerprint, flags, commit })
    }
}

/// One record of a journal.
#[derive(Debug)]
pub(crate) struct Block {
    pub(super) kind: Kind,
    pub(super) fingerprint: u64,
    pub(super) commit: u64,
    pub(super) last: bool,
    /// Size of the record.
    pub(super) bytes: u64,
    body: Vec<u8>,
}

impl Block {
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut reader = Reader(value);
        let head = Head::parse(&mut reader)?;
        let body = block::unpack(reader.0, head.flags & FLAG_COMPRESSED != 0)?.into_owned();
        Some(Self {
            kind: head.kind,
            fingerprint: head.fingerprint,
            commit: head.commit,
            last: head.flags & FLAG_LAST != 0,
            bytes: value.len() as u64,
            body,
        })
    }

    pub(crate) fn sections(&self) -> Sections<'_> {
        Sections(Reader(&self.body))
    }
}

/// One step of restoring.
#[derive(Debug)]
pub(crate) enum Section<'a> {
    Progress(Progress),
    Rows(RowRun<'a>),
    Source(SourceMark),
    Closed(ClosedWindow<'a>),
    Retired { end_ms: i64 },
    Retained { end_ms: i64, first: bool, keys: Reader<'a> },
}

/// A window whose finals are out.
#[derive(Debug)]
pub(crate) struct ClosedWindow<'a> {
    pub(crate) end_ms: i64,
    /// The bucket stays, for late records.
    pub(crate) stays: bool,
    /// Its keys are kept until it retires.
    pub(crate) retains: bool,
    /// No more keys follow.
    pub(crate) last: bool,
    /// Keys touched in the commit that closed it, each after a flag whether the channel has it.
    pub(crate) keys: &'a [u8],
}

/// The sections of one record.
#[derive(Debug)]
pub(crate) struct Sections<'a>(Reader<'a>);

impl<'a> Sections<'a> {
    /// Returns the next section; the inner `None` = damaged. `columns` tells how many cells a row of the bucket with that end has.
    pub(crate) fn next(&mut self, columns: impl Fn(i64) -> usize) -> Option<Option<Section<'a>>> {
        if self.0.is_empty() { None } else { Some(self.section(columns)) }
    }

    fn section(&mut self, columns: impl Fn(i64) -> usize) -> Option<Section<'a>> {
        let reader = &mut self.0;
        let tag = reader.byte()?;
        let first = reader.signed()?;
        Some(match tag {
            TAG_PROGRESS => Section::Progress(Progress {
                position: first,
                highest_ms: reader.signed()?,
                watermark_ms: reader.signed()?,
                closed_end_ms: reader.signed()?,
                dropped_end_ms: reader.signed()?,
            }),
            TAG_ROWS => Section::Rows(RowRun::read(first, reader, columns(first))?),
            TAG_SOURCE => Section::Source(SourceMark {
                partition: i32::try_from(first).ok().filter(|partition| *partition >= 0)?,
                next_offset: reader.signed()?,
                watermark_ms: reader.signed()?,
                data_ms: reader.signed()?,
                added: reader.byte()? != 0,
                changed: false,
            }),
            TAG_CLOSED => {
                let flags = reader.byte()?;
                let keys = reader.prefixed()?;
                let (retains, last) = (flags & 1 != 0, flags & 2 != 0);
                Section::Closed(ClosedWindow { end_ms: first, stays: false, retains, last, keys })
            }
            TAG_SETTLED => Section::Closed(ClosedWindow {
                end_ms: first,
                stays: true,
                retains: false,
                last: true,
                keys: &[],
            }),
            TAG_RETIRED => Section::Retired { end_ms: first },
            TAG_RETAINED => {
                let begins = reader.byte()? != 0;
                Section::Retained { end_ms: first, first: begins, keys: Reader(reader.prefixed()?) }
            }
            _ => return None,
        })
    }
}

/// What a journal that does not begin with the first commit still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// The first slice of a series, in this commit.
    SeriesIn(u64),
    /// The last slice of this series or of a later one.
    EndOf(u64),
}

/// Watches the order of records while restoring.
#[derive(Debug)]
pub(super) struct Restoring {
    begun: bool,
    needs: Needs,
    /// Part that comes next; above 0 inside a commit.
    next_part: u64,
    /// Series and the slice that comes next.
    next_slice: Option<(u64, u64)>,
}

impl Default for Restoring {
    fn default() -> Self {
        Self { begun: false, needs: Needs::Nothing, next_part: 0, next_slice: None }
    }
}

impl Restoring {
    /// Looks at the very first record; returns the commit before it when the journal was cut off there.
    pub(super) fn begin(&mut self, block: &Block) -> Option<u64> {
        if std::mem::replace(&mut self.begun, true) || block.commit <= 1 {
            return None;
        }
        self.needs = Needs::SeriesIn(block.commit);
        Some(block.commit - 1)
    }

    /// Checks that a record comes next after `commit`.
    pub(super) fn check(&self, block: &Block, commit: u64) -> Result<(), &'static str> {
        match block.kind {
            Kind::Delta { .. } if commit.checked_add(1) != Some(block.commit) => Err("a commit is missing"),
            Kind::Delta { part } if part != self.next_part => Err("a part of a commit is missing"),
            Kind::Delta { .. } => match self.needs {
                Needs::SeriesIn(first) if block.commit > first => Err(NO_SERIES),
                _ => Ok(()),
            },
            Kind::Slice { .. } if self.next_part != 0 => Err("a slice stands inside a commit"),
            Kind::Slice { .. } if commit != block.commit => Err("the commit of a slice is missing"),
            Kind::Slice { series, index } if index != 0 && self.next_slice != Some((series, index)) => {
                Err("a slice of a series is missing")
            }
            Kind::Slice { .. } => Ok(()),
        }
    }

    /// Tells whether a record holds only what is known: a slice, when nothing is missing.
    pub(super) fn is_redundant(&self, block: &Block) -> bool {
        matches!(block.kind, Kind::Slice { .. }) && self.needs == Needs::Nothing
    }

    /// Moves on; tells whether a commit is now complete.
    pub(super) fn applied(&mut self, block: &Block) -> bool {
        match block.kind {
            Kind::Delta { .. } if block.last => {
                self.next_part = 0;
                return true;
            }
            Kind::Delta { .. } => self.next_part += 1,
            Kind::Slice { series, index } => {
                self.next_slice = Some((series, index.saturating_add(1)));
                if index == 0 && self.needs == Needs::SeriesIn(block.commit) {
                    self.needs = Needs::EndOf(series);
                }
                if block.last && matches!(self.needs, Needs::EndOf(needed) if series >= needed) {
                    self.needs = Needs::Nothing;
                }
            }
        }
        false
    }

    pub(super) fn finish(&self) -> Result<(), &'static str> {
        match self.needs {
            _ if self.next_part != 0 => Err("it ends inside a commit"),
            Needs::Nothing => Ok(()),
            Needs::SeriesIn(_) => Err(NO_SERIES),
            Needs::EndOf(_) => Err("it begins with a snapshot series that is not complete"),
        }
    }
}

const NO_SERIES: &str = "it begins neither with the first commit nor with a snapshot series";
