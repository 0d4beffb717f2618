//! Any bytes behind a partial's fingerprint: merged, or a stop with a reason; and what was merged can be cut and restored.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use windrow_core::{
    engine::{Task, TaskOptions},
    ledger::SourceSet,
    out::Target,
    plan::Stage,
};

mod common;

/// Version and fingerprint.
const HEAD_BYTES: usize = 9;

/// A partial that merges.
static SAMPLE: LazyLock<Bytes> = LazyLock::new(|| {
    let all = common::written(common::source(Stage::Two), |target| matches!(target, Target::Partials(_)));
    all.into_iter().next().expect("a partial")
});

fuzz_target!(|input: &[u8]| {
    let (mut input, head) = (input, &SAMPLE[..HEAD_BYTES]);
    let mut task = merge();
    task.start(0);
    let sample = common::batch(&[&SAMPLE], 0).expect("a small batch");
    task.fold(&sample, common::NOW_MS).expect("a partial of our own");
    let mut offset = 1;
    while let Some(piece) = common::piece(&mut input) {
        let Some(batch) = common::batch(&[&[head, piece].concat()], offset) else { break };
        // Half merged: the task is not to be used any more.
        if task.fold(&batch, common::NOW_MS).is_err() {
            return;
        }
        offset += 1;
    }
    let mut out = Vec::new();
    task.cut(common::NOW_MS, &mut out);
    let mut again = merge();
    for record in out.iter().filter(|record| matches!(record.target, Target::Journal(_))) {
        again.restore(0, None, record.value.as_deref()).expect("a journal of our own");
    }
    assert!(again.restored().is_ok_and(|at| at == Some(offset)));
});

/// A task that merges the partials of three partitions.
fn merge() -> Task {
    let plan = common::PLAN.clone();
    Task::merge(plan, 0, SourceSet::Partitions(3), "p".into(), 0, TaskOptions::default()).expect("a plan of our own")
}
