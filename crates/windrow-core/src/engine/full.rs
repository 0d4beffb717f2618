//! Full: what a view does when its state reaches its bound, and how a view stops.
//!
//! **In** a record or a partial that would make the state larger. **Out** room for it, or why there is none.
//! **Before** this file: `view`, `merge`. **After** it: `close` (a window goes before its time), `scatter` (an epoch makes room).
//!
//! **Invariant:** what is not taken is counted; a view that stops is where its records say, or where the log has it.

use std::sync::Arc;

use super::{
    SampleKind,
    dead::DeadLetters,
    view::{Reading, Staged, View},
};
use crate::{plan::ViewPlan, spec::OnFull, window::Window};

/// Why a full state takes something not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Key,
    Element,
    Stop,
}

impl View {
    /// Answers a full state; tells whether the record may go in after all.
    #[cold]
    pub(super) fn make_room_for_record<'a>(
        &mut self,
        plan: &'a ViewPlan,
        read: &Reading<'_, 'a>,
        window: Window,
        hash: u64,
        key: &[u8],
    ) -> bool {
        if let Staged::Scatter(_) = self.stage {
            // The bound is for what is kept, and here nothing is: the epoch makes room for itself.
            self.spill();
            return true;
        }
        let max = plan.spec.state_max_bytes;
        let grows = |view: &Self, at: usize, row: u32| view.has_sets && view.would_grow(plan, read, at, row);
        let what = match self.make_room(plan, window, hash, key, grows) {
            Ok(()) => return true,
            Err(Full::Element) => "a new element of a set",
            Err(Full::Key) => "a new key",
            Err(Full::Stop) => {
                self.stop(read, max);
                return false;
            }
        };
        self.refuse(read, &format!("the state holds {max} bytes, its bound, and this is {what}"));
        false
    }

    /// Makes room for a row, or for nothing when the row is there and does not grow.
    pub(super) fn make_room(
        &mut self,
        plan: &ViewPlan,
        window: Window,
        hash: u64,
        key: &[u8],
        grows: impl Fn(&Self, usize, u32) -> bool,
    ) -> Result<(), Full> {
        while self.state_bytes >= plan.spec.state_max_bytes {
            let place = self.locate(window, hash, key);
            if place.is_some_and(|(at, row)| !grows(self, at, row)) {
                return Ok(());
            }
            match plan.spec.on_full {
                OnFull::CloseOldest if self.close_oldest() => {}
                OnFull::RefuseNewKeys | OnFull::CloseOldest if place.is_some() => return Err(Full::Element),
                OnFull::RefuseNewKeys | OnFull::CloseOldest => return Err(Full::Key),
                OnFull::Stop => return Err(Full::Stop),
            }
        }
        Ok(())
    }

    /// Stops the view where the log has it: what came since the last cut is dropped.
    pub(super) fn stop_at_cut(&mut self, why: Arc<str>) {
        if self.is_stopped() {
            return;
        }
        let text = format!("view {} stops at offset {}: {why}", self.plan.spec.name, self.cut_position);
        self.sample(SampleKind::Stopped, self.cut_position, || text.clone());
        self.stats.stopped = Some(text.into());
        self.dropped = true;
        self.position = self.cut_position;
        self.buckets.clear();
        self.retained.clear();
        self.over = None;
        self.forget_current();
        (self.state_bytes, self.touched) = (0, 0);
        self.late_letters = DeadLetters::default();
        self.rows.clear();
    }

    /// Tells whether the view's memory is no longer what the journal says.
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped
    }

    fn stop(&mut self, read: &Reading<'_, '_>, max: usize) {
        let why = format!(
            "view {} stops at offset {}: its state holds {max} bytes, which is state_max, and on_full = \"stop\"",
            self.plan.spec.name, read.record.offset
        );
        self.sample(SampleKind::Stopped, read.record.offset, || why.clone());
        self.position = read.record.offset;
        self.stats.stopped = Some(why.into());
    }

    fn would_grow<'a>(&self, plan: &'a ViewPlan, read: &Reading<'_, 'a>, at: usize, row: u32) -> bool {
        let mut calls = plan.aggregates.iter().zip(&self.buckets[at].columns);
        calls.any(|(call, column)| {
            call.filter.as_ref().is_none_or(|filter| filter.holds(read.row, read.arena))
                && call.argument.as_ref().is_some_and(|argument| {
                    column.would_grow(row as usize, argument.eval(read.row, read.arena))
                })
        })
    }
}
