//! Assembly: a binary packet's header and the attachments that follow it become one.
//!
//! **In** a header, then binary messages. **Out** the header with its attachments, when all are there.
//! **Invariant:** pure and bounded: as many attachments as the header said (`packet` bounds that), so many bytes in all, so much time;
//! nothing else may come in between. **Not here:** placeholders, which stay in the data as they are.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// How long a client may take to send what it announced.
const ASSEMBLY_MAX: Duration = Duration::from_secs(10);

/// One packet in the making.
#[derive(Debug)]
pub(super) struct Assembly {
    header: String,
    missing: u32,
    attachments: Vec<Bytes>,
    bytes_left: usize,
    until: Instant,
}

impl Assembly {
    /// Begins with a header that announced `missing` attachments; together they have at most `bytes_max`.
    pub(super) fn new(header: &str, missing: u32, bytes_max: usize, now: Instant) -> Self {
        let header = header.to_owned();
        Self { header, missing, attachments: Vec::new(), bytes_left: bytes_max, until: now + ASSEMBLY_MAX }
    }

    /// Adds one; true when it was the last.
    ///
    /// - **Errors:** more bytes than allowed.
    pub(super) fn add(&mut self, bytes: Bytes) -> Result<bool, &'static str> {
        let left = self.bytes_left.checked_sub(bytes.len());
        self.bytes_left = left.ok_or("the attachments of a packet have at most maxPayload bytes in all")?;
        self.attachments.push(bytes);
        self.missing = self.missing.saturating_sub(1);
        Ok(self.missing == 0)
    }

    /// Returns header and attachments.
    pub(super) fn done(self) -> (String, Vec<Bytes>) {
        (self.header, self.attachments)
    }

    /// Returns when the client's time is over.
    pub(super) fn due(&self) -> Instant {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_with_its_last_attachment() {
        let mut assembly = Assembly::new("52-[]", 2, 3, Instant::now());
        assert_eq!(assembly.add(Bytes::from_static(&[1])), Ok(false));
        assert_eq!(assembly.add(Bytes::from_static(&[2, 3])), Ok(true));
        let (header, attachments) = assembly.done();
        assert_eq!((header.as_str(), attachments.len()), ("52-[]", 2));
    }

    #[test]
    fn the_bytes_of_all_attachments_are_bounded() {
        let mut assembly = Assembly::new("52-[]", 2, 3, Instant::now());
        assert_eq!(assembly.add(Bytes::from_static(&[1, 2])), Ok(false));
        assert!(assembly.add(Bytes::from_static(&[1, 2])).is_err());
    }
}
