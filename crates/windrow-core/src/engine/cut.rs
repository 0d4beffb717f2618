//! The cut: everything since the last one is handed over, and the journal told.
//!
//! **In** a task at any point between records. **Out** the records of one transaction.
//! **Invariant:** afterwards nothing is pending, and the journal records among `out` bring a restored task to this state.

use super::{
    Cut,
    view::{Staged, View},
};
use crate::{journal::RowsOf, out::OutRecord};

impl View {
    /// Appends the view's part of a cut.
    pub(super) fn cut(&mut self, partition: i32, now_ms: i64, out: &mut Vec<OutRecord>, cut: &mut Cut) {
        cut.samples.append(&mut self.samples);
        if self.is_dropped() {
            return;
        }
        match self.stage {
            Staged::Scatter(_) => self.scatter(partition, now_ms, out, cut),
            Staged::Local | Staged::Merge(_) => self.emit_changes(),
        }
        let (rows, finals) = self.rows.drain(self.journal.commit() + 1, now_ms, out);
        cut.rows += rows;
        cut.finals += finals;
        self.late_letters.drain(now_ms, out);
        let sources = if let Staged::Merge(sources) = &self.stage { sources.marks() } else { &[] };
        let rows = RowsOf { buckets: &self.buckets, over: self.over.as_ref().map(|over| &over.bucket) };
        let written = self.journal.write(self.progress(), rows, &self.retained, sources);
        for value in written.records {
            cut.journal_records += 1;
            cut.journal_bytes += value.len() as u64;
            out.push(self.journal.record(value, partition, now_ms));
        }
        cut.series.extend(written.series);
        let over = self.over.as_mut().map(|over| &mut over.bucket);
        for bucket in self.buckets.iter_mut().chain(over).filter(|bucket| !bucket.touched.is_empty()) {
            bucket.settle();
        }
        if let Staged::Merge(sources) = &mut self.stage {
            sources.settle();
        }
        self.touched = 0;
        self.cut_position = self.position;
        self.rows.set_seq(self.journal.commit() + 1);
    }
}
