//! Shape: does a Fetch answer hold as many things as it says?
//!
//! **In** the bytes behind the head. **Out** yes or no. The decoder makes room for as many as an answer says before it reads the first one, so a few
//! bytes of noise could ask for more memory than there is, which ends the process.
//!
//! **Invariant:** what passes has room for each element that it counts. **Not here:** values; what a smaller answer says (metadata,
//! offsets) is taken on trust once its number is that of the request.
//!
//! Source: the Kafka protocol guide, Fetch versions 4 to 16; KIP-482 for compact lengths and tags.

/// From this version on lengths are compact and structures have tags.
const FLEXIBLE: i16 = 12;

/// Tells whether a Fetch answer is whole.
pub(super) fn is_fetch_answer(bytes: &[u8], version: i16) -> bool {
    Walk { bytes, version }.answer().is_some()
}

struct Walk<'a> {
    bytes: &'a [u8],
    version: i16,
}

impl Walk<'_> {
    fn answer(&mut self) -> Option<()> {
        self.skip(4)?; // throttle time
        if self.version >= 7 {
            self.skip(6)?; // error, session
        }
        for _ in 0..self.count()? {
            self.topic()?;
        }
        self.tags()
    }

    fn topic(&mut self) -> Option<()> {
        if self.version >= 13 {
            self.skip(16)?;
        } else {
            let name = if self.is_flexible() { self.count()? } else { self.int(2)? };
            self.skip(name)?;
        }
        for _ in 0..self.count()? {
            self.partition()?;
        }
        self.tags()
    }

    fn partition(&mut self) -> Option<()> {
        // number, error, high watermark, last stable offset; log start; then the aborted ones
        self.skip(if self.version >= 5 { 30 } else { 22 })?;
        for _ in 0..self.count()? {
            self.skip(16)?;
            self.tags()?;
        }
        if self.version >= 11 {
            self.skip(4)?; // preferred replica
        }
        let records = self.count()?;
        self.skip(records)?;
        self.tags()
    }

    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.bytes = self.bytes.get(bytes..)?;
        Some(())
    }

    /// The length of an array or of records; null counts as none.
    fn count(&mut self) -> Option<usize> {
        if self.is_flexible() { Some(self.varint()?.saturating_sub(1)) } else { self.int(4) }
    }

    /// A signed number of so many bytes; -1, null, counts as 0.
    fn int(&mut self, size: usize) -> Option<usize> {
        let (bytes, rest) = self.bytes.split_at_checked(size)?;
        self.bytes = rest;
        let negative = bytes[0] >= 0x80;
        Some(if negative { 0 } else { bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) })
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn tags(&mut self) -> Option<()> {
        if !self.is_flexible() {
            return Some(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()?;
            self.skip(size)?;
        }
        Some(())
    }
}
