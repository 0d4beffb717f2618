//! Any bytes as records of a journal, behind its fingerprint: restored, or an error with a reason.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use windrow_core::{out::Target, plan::Stage};

mod common;

/// The journal of a first commit.
static SAMPLE: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    common::written(common::source(Stage::Local), |target| matches!(target, Target::Journal(_)))
});

fuzz_target!(|input: &[u8]| {
    // The first byte says whether a good commit stands before, and the first of each piece what kind of record it is.
    let Some((begins, mut input)) = input.split_first() else { return };
    let mut task = common::source(Stage::Local);
    if begins & 1 == 0 {
        for record in SAMPLE.iter() {
            task.restore(0, None, Some(record)).expect("a journal of our own");
        }
    }
    let sample = &SAMPLE[0];
    while let Some(piece) = common::piece(&mut input) {
        let Some((kind, rest)) = piece.split_first() else { continue };
        let record = [&sample[..1], &[*kind], &sample[2..10], rest].concat();
        if task.restore(0, None, Some(&record)).is_err() {
            return;
        }
    }
    let _ = task.restored();
});
