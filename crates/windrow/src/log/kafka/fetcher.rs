//! Fetcher: our own reading path; records go from the socket to the fold without being copied.
//!
//! **In** partitions and positions. **Out** committed batches with positions, high watermarks and last stable offsets.
//! **Before** this file: `wire`, `cluster`. **After** it: workers and the gateways' reader.
//!
//! ```text
//! assign ─► table ─► keeper: who leads it, where does it begin ─► one task per broker: fetch, parse ─► next()
//!             ▲                                                          │ moved, out of range
//!             └──────────────────────────────────────────────────────────┘
//! ```
//!
//! **Invariant:** answers of one partition come in order and without a hole, or a gap says which; an answer that was on its
//! way when its partition was moved or dropped is never handed over. Per broker one answer waits or is on its way while the caller folds
//! another: twice `fetch_max_bytes` at most, plus one oversized batch.
//! **Not here:** transactions (`answer` drops aborted batches), groups.
//!
//! Source: KIP-392 (replicas that are near), KIP-227 (full fetches only), KIP-320 (leader epochs), KIP-595 (diverging epochs), KIP-98 (read_committed).

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::AbortHandle,
};

use self::table::Table;
use super::cluster::Cluster;
use crate::log::{Fetched, From, LogError, Reader, ReaderOptions, Result, Tp};

mod answer;
mod broker;
mod keeper;
mod near;
mod table;

/// Answers that may wait: each broker has at most one, so this is the number of brokers that never wait for each other.
const WAITING_MAX: usize = 64;

/// What a task hands to [`Fetcher::next`].
struct Delivery {
    items: Vec<(u64, Fetched)>,
    trouble: Option<Trouble>,
    /// The broker may fetch again once this is dropped.
    _turn: Option<OwnedSemaphorePermit>,
}

/// A failure. Told only while nothing was assigned anew since: an outage outlasts its queue of failures otherwise, when
/// each makes the caller begin again.
struct Trouble {
    of: Of,
    error: LogError,
}

/// What a failure is about, and the token that it belongs to.
enum Of {
    Part(Tp, u64),
    All(u64),
}

/// A reader of Kafka partitions.
pub(super) struct Fetcher {
    table: Arc<Table>,
    deliveries: mpsc::Receiver<Delivery>,
    keeper: AbortHandle,
    /// A failure that came together with batches is told after them.
    late: Option<LogError>,
}

impl Fetcher {
    /// Starts a reader with no partitions; call it inside a runtime.
    pub(super) fn new(cluster: Arc<Cluster>, options: ReaderOptions) -> Self {
        let table = Arc::new(Table::default());
        let (sender, deliveries) = mpsc::channel(WAITING_MAX);
        let keeper = keeper::run(cluster, table.clone(), options, sender);
        Self { table, deliveries, keeper: tokio::spawn(keeper).abort_handle(), late: None }
    }

    /// Drops what belongs to a former assignment.
    fn current(&mut self, delivery: Delivery) -> Result<Vec<Fetched>> {
        let is_current = |tp: &Tp, token| self.table.token(tp) == Some(token);
        let items: Vec<Fetched> = delivery
            .items
            .into_iter()
            .filter(|(token, item)| is_current(&item.tp, *token))
            .map(|(_, item)| item)
            .collect();
        let trouble = delivery.trouble.filter(|trouble| match &trouble.of {
            Of::Part(tp, token) => is_current(tp, *token),
            Of::All(token) => self.table.newest_token() == *token,
        });
        match trouble {
            Some(trouble) if items.is_empty() => return Err(trouble.error),
            Some(trouble) => self.late = Some(trouble.error),
            None => {}
        }
        Ok(items)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[async_trait]
impl Reader for Fetcher {
    fn assign(&mut self, tp: Tp, from: From) {
        self.table.assign(tp, from);
    }

    fn unassign(&mut self, tp: &Tp) {
        self.table.unassign(tp);
    }

    async fn next(&mut self) -> Result<Vec<Fetched>> {
        if let Some(error) = self.late.take() {
            return Err(error);
        }
        loop {
            let Some(delivery) = self.deliveries.recv().await else {
                return Err(LogError::Fatal("the fetcher's task ended early".into()));
            };
            let items = self.current(delivery)?;
            if !items.is_empty() {
                return Ok(items);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(table: &Table, what: &str) -> Delivery {
        Delivery::trouble(table.newest_token(), LogError::Retry(what.into()))
    }

    #[tokio::test]
    async fn who_assigns_anew_is_not_told_of_the_outage_before() {
        let (sender, deliveries) = mpsc::channel(WAITING_MAX);
        let keeper = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let table = Arc::new(Table::default());
        let mut fetcher = Fetcher { table: table.clone(), deliveries, keeper, late: None };
        fetcher.assign(Tp::new("t", 0), From::Earliest);
        for _ in 0..3 {
            sender.send(outage(&table, "before")).await.unwrap_or_default();
        }
        assert!(matches!(fetcher.next().await, Err(LogError::Retry(why)) if why == "before"));
        fetcher.unassign(&Tp::new("t", 0));
        fetcher.assign(Tp::new("t", 0), From::Earliest);
        sender.send(outage(&table, "after")).await.unwrap_or_default();
        assert!(matches!(fetcher.next().await, Err(LogError::Retry(why)) if why == "after"));
    }
}
