//! The ends of bounded inputs, as they come in.
//!
//! **In** partitions that are folded and committed to their end. **Out** the moment when all are.
//! **Invariant:** with two stages the second must have ended as well. A view that stopped is not waited for where it can't come to
//! its end, but then the whole did not succeed. **Not here:** how one partition ends (`worker::owned`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use crate::{
    log::{LogError, Result, Tp},
    stats::Stats,
    worker::room_of_view,
};

/// Between two looks at views that stopped.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Partitions of bounded inputs; for those of partials with the view they belong to.
pub(super) type Expected = BTreeMap<Tp, Option<Arc<str>>>;

pub(super) struct Ends {
    reached: mpsc::UnboundedReceiver<Tp>,
    /// `None` until the topics are there.
    expected: watch::Receiver<Option<Expected>>,
    stats: Arc<Stats>,
    seen: BTreeSet<Tp>,
}

impl Ends {
    pub(super) fn new(
        reached: mpsc::UnboundedReceiver<Tp>,
        expected: watch::Receiver<Option<Expected>>,
        stats: Arc<Stats>,
    ) -> Self {
        Self { reached, expected, stats, seen: BTreeSet::new() }
    }

    /// Waits for all of them; for ever when nothing is bounded. Cancel-safe.
    ///
    /// - **Errors:** a view stopped on the way, with its reason.
    pub(super) async fn all(&mut self) -> Result<()> {
        loop {
            if self.are_all_seen() {
                let mut troubles = self.stats.troubles().into_iter();
                let stopped = troubles.find(|(room, _)| room.starts_with(&room_of_view("")));
                return stopped.map_or(Ok(()), |(_, why)| Err(LogError::Fatal(why)));
            }
            tokio::select! {
                reached = self.reached.recv() => match reached {
                    Some(tp) => _ = self.seen.insert(tp),
                    None => return std::future::pending().await,
                },
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
    }

    fn are_all_seen(&self) -> bool {
        let expected = self.expected.borrow();
        let Some(expected) = expected.as_ref().filter(|expected| !expected.is_empty()) else { return false };
        let troubles = self.stats.troubles();
        let is_stopped = |view: &Arc<str>| troubles.contains_key(&room_of_view(view));
        expected.iter().all(|(tp, view)| self.seen.contains(tp) || view.as_ref().is_some_and(is_stopped))
    }
}
