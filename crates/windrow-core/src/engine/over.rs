//! Over finals: what the finals of each key add up to, `avg(count(*)) OVER (ORDER BY window_start)`.
//!
//! **In** rows of windows, as they are written. **Out** one more value per such aggregate, for that row.
//! **Before** this file: `close` (in which order windows close). **After** it: `rows` (writes the row).
//!
//! One row per key that ever had a final, in a bucket of its own that never closes. It is state like any other: journaled,
//! restored, part of `state_max`.
//!
//! **Invariant:** a final counts once, in the order of windows, and only if `HAVING` held for it; a row that is not final yet
//! counts for itself alone, as if its window closed now and no other one did.
//! **Not here:** partials, which know nothing of finals: what is merged counts where it is merged.

use bumpalo::{Bump, collections::Vec as ArenaVec};

use super::view::{Staged, View};
use crate::{
    plan::{AggregateCall, ViewPlan},
    state::Bucket,
    value::Datum,
    window::RUNNING_END_MS,
};

/// The aggregates over finals of one view, over one partition.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) bucket: Bucket,
}

impl Over {
    /// - **Shape:** `None` = the view has no such aggregates, or does not close windows here.
    pub(super) fn new(plan: &ViewPlan, stage: &Staged) -> Option<Self> {
        let closes = !matches!(stage, Staged::Scatter(_));
        let bucket = || Bucket::new(RUNNING_END_MS, &plan.over);
        (closes && !plan.over.is_empty()).then(|| Self { bucket: bucket() })
    }

    /// Folds a row whose window has closed; tells whether its key was not touched since the last cut.
    pub(super) fn fold<'a>(
        &mut self,
        calls: &'a [AggregateCall],
        of: (&Bucket, u32),
        output: &[Datum<'a>],
        arena: &'a Bump,
    ) -> bool {
        let (hash, key) = (of.0.hash(of.1), of.0.key(of.1));
        let Some(row) = self.bucket.find(hash, key).or_else(|| self.bucket.insert(hash, key)) else {
            debug_assert!(false, "finals outgrew 32 bits below the state's bound");
            return false;
        };
        let Self { bucket } = self;
        for (call, column) in calls.iter().zip(&mut bucket.columns) {
            let grown = column.fold(row as usize, argument(call, output, arena));
            bucket.bytes = bucket.bytes.saturating_add_signed(grown);
        }
        bucket.touch(row)
    }

    /// Appends the results for a row: those of its key's finals, and of the row itself when it is `open`.
    pub(super) fn results<'a>(
        &'a self,
        calls: &'a [AggregateCall],
        of: (&Bucket, u32),
        open: bool,
        output: &mut ArenaVec<'a, Datum<'a>>,
        arena: &'a Bump,
    ) {
        let row = self.bucket.find(of.0.hash(of.1), of.0.key(of.1)).map(|row| row as usize);
        let inputs = output.len();
        for (call, column) in calls.iter().zip(&self.bucket.columns) {
            let result = match row {
                Some(row) if !open => column.result(row, arena),
                _ => column.result_with(row, argument(call, &output[..inputs], arena), arena),
            };
            output.push(result);
        }
    }
}

fn argument<'a>(call: &'a AggregateCall, output: &[Datum<'a>], arena: &'a Bump) -> Datum<'a> {
    // Anything that is not NULL counts.
    call.argument.as_ref().map_or(Datum::Bool(true), |argument| argument.eval(output, arena))
}

impl View {
    /// Writes a row as it stands; a final counts for those of its key that come later.
    pub(super) fn write(&mut self, bucket: &mut Bucket, row: u32, is_final: bool) {
        let bytes = |over: &Option<Over>| over.as_ref().map_or(0, |over| over.bucket.bytes);
        let before = bytes(&self.over);
        let written = self.rows.write(bucket, row, is_final, self.over.as_mut());
        bucket.set_shown(row, written.shown);
        self.touched += usize::from(written.counted);
        self.state_bytes = self.state_bytes.saturating_add(bytes(&self.over)).saturating_sub(before);
    }
}
