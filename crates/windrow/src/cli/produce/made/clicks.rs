//! Clicks on videos: what the demo shows, numbered.

use super::{Maker, ProduceArgs};
use crate::cli::generate::Clicks;

/// Different users where nothing else is said.
const USERS: u64 = 10_000;

pub(super) struct Clicked(Clicks);

impl Clicked {
    pub(super) fn new(args: &ProduceArgs) -> Self {
        Self(Clicks::numbered(
            args.seed.unwrap_or(1),
            args.keys.unwrap_or(USERS),
            args.disorder.as_millis() as i64,
        ))
    }
}

impl Maker for Clicked {
    fn push(&mut self, at_ms: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.at(at_ms).as_bytes());
    }
}
