//! Reading: a record becomes its head and runs of rows.
//!
//! **In** bytes that may be anything. **Out** rows to merge, or the reason why they cannot be.
//! **Invariant:** nothing in here panics, and memory is bounded as `block` says.

use std::borrow::Cow;

use super::{FLAG_COMPRESSED, FLAG_LAST, Head, VERSION};
use crate::{
    block::{self, RowRun, TAG_ROWS},
    state::canon::Reader,
};

/// One record of partials.
#[derive(Debug)]
pub(crate) struct PartialBlock<'a> {
    pub(crate) head: Head,
    /// No more records of its commit follow.
    pub(crate) last: bool,
    body: Cow<'a, [u8]>,
}

impl<'a> PartialBlock<'a> {
    /// Reads a record that must be of this plan.
    ///
    /// - **Errors:** what is wrong, as the end of a sentence.
    pub(crate) fn parse(value: &'a [u8], fingerprint: u64) -> Result<Self, &'static str> {
        match value.first() {
            None => return Err("it is empty"),
            Some(&VERSION) => {}
            Some(_) => return Err("its format is not known: it was written by another version of windrow"),
        }
        let (head, flags, rest) = head(value).ok_or("its head cannot be read")?;
        if head.fingerprint != fingerprint {
            return Err(
                "another plan of the view wrote it; take the change back, give the view a new name, or reset it",
            );
        }
        if head.from > head.to {
            return Err("its range ends before it begins");
        }
        let body = block::unpack(rest, flags & FLAG_COMPRESSED != 0).ok_or("it cannot be decompressed")?;
        Ok(Self { head, last: flags & FLAG_LAST != 0, body })
    }

    /// Returns the runs of rows; an inner `None` = damaged, and nothing follows.
    pub(crate) fn runs(&self, columns: usize) -> impl Iterator<Item = Option<RowRun<'_>>> {
        let mut reader = Reader(&self.body);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let run = run(&mut reader, columns);
            if run.is_none() {
                reader = Reader(&[]);
            }
            Some(run)
        })
    }
}

fn run<'b>(reader: &mut Reader<'b>, columns: usize) -> Option<RowRun<'b>> {
    if reader.byte()? != TAG_ROWS {
        return None;
    }
    let end_ms = reader.signed()?;
    RowRun::read(end_ms, reader, columns)
}

fn head(value: &[u8]) -> Option<(Head, u8, &[u8])> {
    let mut reader = Reader(value.get(1..)?);
    let fingerprint = u64::from_le_bytes(reader.array()?);
    let flags = reader.byte()?;
    let head = Head {
        fingerprint,
        source: i32::try_from(reader.unsigned()?).ok()?,
        from: reader.signed()?,
        to: reader.signed()?,
        watermark_ms: reader.signed()?,
        data_ms: reader.signed()?,
    };
    Some((head, flags, reader.0))
}
