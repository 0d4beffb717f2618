//! What a row costs in memory.

use super::{Bucket, ROW_OVERHEAD_BYTES};
use crate::plan::{AggregateCall, AggregateKind};

/// Bytes that a bucket of so many rows of `count(*)` has allocated, all of them touched, without their keys.
fn allocated(rows: u32) -> usize {
    let call = AggregateCall { kind: AggregateKind::Count, argument: None, filter: None };
    let mut bucket = Bucket::new(10, &[call]);
    for row in 0..rows {
        let key = row.to_le_bytes();
        bucket.insert(u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15), &key);
        bucket.touch(row);
    }
    let cells = match &bucket.columns[0] {
        crate::aggregate::Column::Count(cells) => cells.capacity() * size_of::<u64>(),
        other => panic!("{other:?}"),
    };
    let heads = bucket.heads.capacity() * size_of::<super::RowHead>();
    let touched = bucket.touched.capacity() * size_of::<u32>();
    bucket.index.allocation_size() + heads + cells + touched
}

#[test]
fn an_open_count_row_costs_at_most_100_bytes_and_its_key() {
    let (mut least, mut most) = (f64::MAX, 0_f64);
    // From one doubling of the vectors to the next but one, in small steps.
    for rows in (20_000..80_000).step_by(2500) {
        let row = allocated(rows) as f64 / f64::from(rows);
        (least, most) = (least.min(row), most.max(row));
    }
    println!("{least:.1} to {most:.1} bytes a row; the bound of the state counts {}", ROW_OVERHEAD_BYTES + 8);
    assert!(most <= 100.0, "{most:.1}");
}
