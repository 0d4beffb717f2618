//! Purging journals: what a complete snapshot series made needless is deleted, after its last commit returned.
//!
//! **In** series that begin and complete in an epoch. **Out** `delete_records` on their journals.
//! **Invariant:** nothing at or after the first slice of the last complete series is ever deleted, and nothing at all before
//! the commit of its last slice has returned. The bound is the journal's end just before the epoch with the first slice is
//! sent: this worker is the only writer there, so the first slice can only lie at or after it.

use std::{collections::BTreeMap, sync::Arc};

use super::commit::Epoch;
use crate::log::{Log, Result, Tp};

/// Purges to come.
#[derive(Default)]
pub(super) struct Purges {
    /// Series that are under way: where their first slice lies at the earliest.
    open: BTreeMap<Tp, i64>,
    /// Purges that wait for the commit in flight.
    due: Vec<(Tp, i64)>,
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

    /// Deletes what is due; call when the commit returned. A failure only leaves the journal longer.
    pub(super) async fn run(&mut self, log: &Arc<dyn Log>) {
        for (journal, bound) in self.due.drain(..) {
            let log = log.clone();
            // Off the hot path: the next epoch is folded meanwhile.
            tokio::spawn(async move {
                if let Err(error) = log.delete_records(&journal, bound).await {
                    tracing::warn!(%journal, bound, %error, "the journal could not be purged; the next series tries again");
                }
            });
        }
    }

    /// Tasks were dropped: their series begin anew.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.due.clear();
    }
}

async fn end_of(log: &dyn Log, journal: &Tp) -> Result<i64> {
    Ok(log.ends(std::slice::from_ref(journal)).await?.first().map_or(0, |ends| ends.high_watermark))
}
