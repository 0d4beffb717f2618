//! Purging: journals that a complete snapshot series made needless and partials that were merged are deleted, after the commit
//! that made them so returned.
//!
//! **In** series that begin and complete in an epoch, committed positions of partials. **Out** `delete_records`.
//! **Invariant:** nothing at or after the first slice of the last complete series is ever deleted, and nothing at all before
//! the commit of its last slice has returned. The bound is the journal's end just before the epoch with the first slice is
//! sent: this worker is the only writer there, so the first slice can only lie at or after it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::commit::Epoch;
use crate::log::{Log, Result, Tp};

/// Between two purges of a partition of partials: what lies there meanwhile is small, each purge is a question to the log.
const PARTIALS_PAUSE: Duration = Duration::from_secs(10);

/// Purges to come.
#[derive(Default)]
pub(super) struct Purges {
    /// Series that are under way: where their first slice lies at the earliest.
    open: BTreeMap<Tp, i64>,
    /// Purges that wait for the commit in flight.
    due: Vec<(Tp, i64)>,
    /// Partitions of partials: when the next purge may be, and below where the last one was.
    consumed: BTreeMap<Tp, (Instant, i64)>,
}

impl Purges {
    /// Notes what an epoch begins and completes; call before it is sent.
    pub(super) async fn plan(&mut self, log: &dyn Log, epoch: &mut Epoch) -> Result<()> {
        for journal in epoch.completed.drain(..) {
            if let Some(bound) = self.open.remove(&journal) {
                self.due.push((journal, bound));
            } else if epoch.began.contains(&journal) {
                // A series of one slice: it began in this very epoch.
                let end = end_of(log, &journal).await?;
                self.due.push((journal.clone(), end));
                epoch.began.retain(|began| *began != journal);
            }
        }
        for journal in epoch.began.drain(..) {
            let end = end_of(log, &journal).await?;
            self.open.insert(journal, end);
        }
        Ok(())
    }

    /// Notes that everything of a partition of partials below `offset` is merged and committed.
    pub(super) fn consumed(&mut self, partials: &Tp, offset: i64) {
        let now = Instant::now();
        let (next, purged) = self.consumed.entry(partials.clone()).or_insert((now + PARTIALS_PAUSE, 0));
        if offset > *purged && now >= *next {
            (*next, *purged) = (now + PARTIALS_PAUSE, offset);
            self.due.push((partials.clone(), offset));
        }
    }

    /// Deletes what is due; call when the commit returned. A failure only leaves the journal longer.
    pub(super) async fn run(&mut self, log: &Arc<dyn Log>) {
        for (journal, bound) in self.due.drain(..) {
            let log = log.clone();
            // Off the hot path: the next epoch is folded meanwhile.
            tokio::spawn(async move {
                if let Err(error) = log.delete_records(&journal, bound).await {
                    tracing::warn!(partition = %journal, bound, %error, "it could not be purged; the next purge tries again");
                }
            });
        }
    }

    /// Tasks were dropped: their series begin anew.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.due.clear();
        self.consumed.clear();
    }
}

async fn end_of(log: &dyn Log, journal: &Tp) -> Result<i64> {
    Ok(log.ends(std::slice::from_ref(journal)).await?.first().map_or(0, |ends| ends.high_watermark))
}
