//! Trouble: what a worker does when a commit, a read or a fold fails.
//!
//! **In** an error. **Out** state restored from the journals, a view blamed, or the error handed up.
//! **Invariant:** whatever failed, memory is dropped and read anew before anything else is folded; only a transaction that a
//! rebalance cut short is sent once more, because its state is still the last that was committed plus what it holds.
//! **Not here:** what stops a view for good (`poison`).

use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use tokio::time::Instant;

use super::{RETRY_PAUSE, Worker, owned::Owned, poison::Poison};
use crate::log::{LogError, Result, Topic, Tp};

/// Longest wait for the group to settle before a transaction that it cut short is given up; a rebalance takes well under it.
const REBALANCE_MAX: Duration = Duration::from_secs(15);
/// Between two attempts meanwhile.
const REBALANCE_PAUSE: Duration = Duration::from_millis(20);

impl Worker {
    /// Sends a transaction once more that came while the group took on another generation. The membership is taken anew, which
    /// the group refuses when it has taken a partition away, heard of or not; and all of its partitions must still have their
    /// tasks, for what lies in it is their state.
    pub(super) async fn wait_out_rebalance(&mut self, mut why: String) -> Result<()> {
        let deadline = Instant::now() + REBALANCE_MAX;
        while Instant::now() < deadline {
            tracing::debug!(worker = %self.name, %why, "waiting for the rebalance");
            tokio::time::sleep(REBALANCE_PAUSE).await;
            let is_owned = |tp| self.tasks.contains_key(tp);
            if !self.committer.held().is_some_and(|mut tps| tps.all(is_owned)) {
                break;
            }
            self.committer.again(self.group.membership()?);
            match self.committer.returned().await {
                Err(LogError::Rebalancing(again)) => why = again,
                done => return done,
            }
        }
        Err(LogError::Retry(why))
    }

    /// Answers trouble: what may pass drops the state and restores it; what cannot is handed up.
    pub(super) async fn survive(&mut self, error: LogError) -> Result<()> {
        tracing::warn!(worker = %self.name, %error, "commit or read failed; restoring from the journal");
        self.shared.stats.trouble("commit", error.to_string());
        if let LogError::Retry(_) | LogError::Fenced(_) = error
            && let Some(gone) = self.gone_topic().await
        {
            self.blame_writers(&gone, &LogError::UnknownTopic(gone.clone()));
        }
        match error {
            LogError::Retry(_) | LogError::Rebalancing(_) => tokio::time::sleep(RETRY_PAUSE).await,
            LogError::Fenced(_) => self.reopen().await?,
            // What is restored leaves it out.
            LogError::UnknownTopic(ref topic) if self.may_go(topic) => tokio::time::sleep(RETRY_PAUSE).await,
            LogError::Refused { ref topic, .. } | LogError::UnknownTopic(ref topic)
                if self.blame_writers(topic, &error) =>
            {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            fatal => return Err(fatal),
        }
        self.restore_all().await?;
        self.shared.stats.fine("commit");
        Ok(())
    }

    /// Looks for a topic of its own that is no longer there. A transaction whose partitions cannot be announced fails without
    /// saying which one.
    async fn gone_topic(&self) -> Option<Topic> {
        let topics: BTreeSet<&Topic> = self.tasks.values().flat_map(Owned::topics).collect();
        for topic in topics {
            match self.shared.log.topic(topic).await {
                Ok(Some(_)) => {}
                Ok(None) => return Some(topic.clone()),
                // The log is away: that is all the trouble there is.
                Err(_) => return None,
            }
        }
        None
    }

    /// A topic is gone or takes nothing: every view that writes to it is to blame. Tells whether there is one.
    fn blame_writers(&mut self, topic: &str, error: &LogError) -> bool {
        let mut found = false;
        for (tp, owned) in &self.tasks {
            let views: Vec<_> = owned.writers_of(topic).collect();
            found |= !views.is_empty();
            blame(&mut self.poison, tp, owned, views, &error.to_string());
        }
        found
    }

    async fn reopen(&mut self) -> Result<()> {
        loop {
            match self.committer.reopen(&self.shared, &self.name).await {
                Err(LogError::Retry(why)) => {
                    self.shared.stats.trouble("commit", why);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                done => return done,
            }
        }
    }
}

/// Notes a failure of views at their last committed positions; the second one at the same stops them.
pub(super) fn blame(poison: &mut Poison, tp: &Tp, owned: &Owned, views: Vec<(usize, i64)>, why: &str) {
    for (view, position) in views {
        let name = owned.view_name(view);
        let why = format!("{why} (twice at offset {position} of {tp})");
        if poison.note(tp, view, position, &why) {
            tracing::error!(partition = %tp, view = name, "the view stops: {why}");
        }
    }
}

/// Runs what a record may make panic. The task is of no use afterwards, and is restored like after an abort.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a reason").to_owned()
    })
}
