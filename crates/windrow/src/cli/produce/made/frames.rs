//! Frames of a page-view stream, a million of them where nothing else is said.

use super::{Maker, ProduceArgs};
use crate::cli::generate::Frames;

/// Topic that the original reads, and the stream of the example.
pub(in crate::cli::produce) const TOPIC: &str = "input-stream";
pub(in crate::cli::produce) const STREAM: &str = "frames";

/// A million frames of as many users name nearly each of them.
const USERS: u64 = 100_000;
/// Frames where nothing else is said.
pub(super) const COUNT: u64 = 1_000_000;
/// Time of the first one where nothing else is said.
pub(super) const START_MS: i64 = 1_468_244_385_000;

pub(super) struct Framed(Frames);

impl Framed {
    pub(super) fn of(args: &ProduceArgs) -> Self {
        Self(Frames::new(args.seed.unwrap_or(1), args.keys.unwrap_or(USERS), args.disorder))
    }
}

impl Maker for Framed {
    fn push(&mut self, at_ms: i64, out: &mut Vec<u8>) {
        self.0.push(at_ms, out);
    }
}
