//! The head of a batch alone: where it ends, for those who keep batches without reading them.
//!
//! **In** bytes that a log has checked when it took them. **Out** a few fields. **Not here:** checks (`Batch::parse`).

/// What the head of a stored batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// First offset.
    pub base_offset: i64,
    /// Last offset.
    pub last_offset: i64,
    /// Highest timestamp.
    pub max_timestamp_ms: i64,
}

impl BatchHead {
    /// Reads the head at the front of `bytes`; `None` when they are too short. Nothing is verified.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let base_offset = fields.i64()?;
        let mut fields = Fields(bytes.get(super::LAST_OFFSET_DELTA_AT..)?);
        let last_offset = base_offset.saturating_add(i64::from(fields.i32()?));
        let _base_timestamp_ms = fields.i64()?;
        Some(Self { base_offset, last_offset, max_timestamp_ms: fields.i64()? })
    }
}

/// Reads big-endian fields off the front of a header.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
    pub(super) fn i8(&mut self) -> Option<i8> {
        self.take().map(i8::from_be_bytes)
    }
    pub(super) fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }
    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}
