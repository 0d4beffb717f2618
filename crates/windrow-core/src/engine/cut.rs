//! The cut: everything since the last one is handed over, and the journal told.
//!
//! **In** a task at any point between records. **Out** the records of one transaction.
//! **Invariant:** afterwards nothing is pending, and the journal records among `out` bring a restored task to this state.

use super::{Cut, view::View};
use crate::out::OutRecord;

impl View {
    /// Appends the view's part of a cut.
    pub(super) fn cut(&mut self, partition: i32, now_ms: i64, out: &mut Vec<OutRecord>, cut: &mut Cut) {
        self.emit_changes();
        let (rows, finals) = self.rows.drain(self.journal.commit() + 1, now_ms, out);
        cut.rows += rows;
        cut.finals += finals;
        self.late_letters.drain(now_ms, out);
        cut.samples.append(&mut self.samples);
        let written = self.journal.write(self.progress(), &self.buckets, &self.retained);
        for value in written.records {
            cut.journal_records += 1;
            cut.journal_bytes += value.len() as u64;
            out.push(self.journal.record(value, partition, now_ms));
        }
        cut.series.extend(written.series);
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.touched.is_empty()) {
            bucket.settle();
        }
        self.touched = 0;
        self.rows.set_seq(self.journal.commit() + 1);
    }
}
