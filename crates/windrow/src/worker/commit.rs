//! The commit: one epoch becomes one transaction, sent from its own task while the next epoch folds.
//!
//! **In** an [`Epoch`]: records, positions of every partition it touches. **Out** committed, or aborted with a reason.
//! **Invariant:** positions of all owned partitions are in every transaction, also of those that did not move: an empty
//! list would not be fenced. Sending starts here, not while folding, so the last stable offset is held briefly.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Shared;
use crate::log::{LogError, Membership, Outgoing, Result, Tp, Writer, WriterOptions};

/// Everything between two cuts.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    pub(super) records: Vec<Outgoing>,
    pub(super) offsets: Vec<(Tp, i64)>,
    /// Whether any position moved since the last commit.
    pub(super) moved: bool,
    /// Journals whose next snapshot series begins in this epoch.
    pub(super) began: Vec<Tp>,
    /// Journals whose snapshot series is complete with this epoch.
    pub(super) completed: Vec<Tp>,
}

impl Epoch {
    pub(super) fn new(tasks: usize) -> Self {
        Self { offsets: Vec::with_capacity(tasks), ..Self::default() }
    }

    /// Nothing to say and nowhere to go.
    pub(super) fn is_still(&self) -> bool {
        self.records.is_empty() && !self.moved
    }
}

/// What one transaction sends; kept until its verdict, because a rebalance may ask for it once more.
struct Cargo {
    records: Arc<Vec<Outgoing>>,
    offsets: Vec<(Tp, i64)>,
}

type Flight = JoinHandle<(Box<dyn Writer>, Result<()>, Option<Cargo>)>;

/// The worker's writer, at rest or with one transaction in flight.
pub(super) struct Committer {
    group: String,
    exactly_once: bool,
    writer: Option<Box<dyn Writer>>,
    flight: Option<Flight>,
    /// The transaction that a rebalance cut short.
    held: Option<Cargo>,
}

impl Committer {
    pub(super) async fn open(shared: &Shared, name: &str) -> Result<Self> {
        let writer = open_writer(shared, name).await?;
        let (group, exactly_once) = (shared.app.to_string(), shared.exactly_once);
        Ok(Self { group, exactly_once, writer: Some(writer), flight: None, held: None })
    }

    /// A fenced writer is of no more use: a new one of the same name settles what the old one left open.
    pub(super) async fn reopen(&mut self, shared: &Shared, name: &str) -> Result<()> {
        self.stop().await;
        self.writer = None;
        self.writer = Some(open_writer(shared, name).await?);
        Ok(())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    pub(super) fn start(&mut self, epoch: Epoch, member: Membership) {
        self.launch(Cargo { records: Arc::new(epoch.records), offsets: epoch.offsets }, member);
    }

    /// Names the partitions of the transaction that a rebalance cut short.
    pub(super) fn held(&self) -> Option<impl Iterator<Item = &Tp>> {
        self.held.as_ref().map(|cargo| cargo.offsets.iter().map(|(tp, _)| tp))
    }

    /// Sends once more what a rebalance cut short. Only for partitions that are still owned.
    pub(super) fn again(&mut self, member: Membership) {
        if let Some(cargo) = self.held.take() {
            self.launch(cargo, member);
        }
    }

    /// Waits for the verdict on what is in flight, whatever it is, and keeps nothing: the state behind it is about to go.
    pub(super) async fn stop(&mut self) {
        // An error is what the caller is busy with, or goes down with the state.
        let _ = self.returned().await;
        self.held = None;
    }

    fn launch(&mut self, mut cargo: Cargo, member: Membership) {
        debug_assert!(self.flight.is_none(), "one commit in flight");
        let Some(mut writer) = self.writer.take() else { return };
        let (group, exactly_once) = (self.group.clone(), self.exactly_once);
        self.flight = Some(tokio::spawn(async move {
            let result = transact(&mut *writer, &group, &cargo, &member).await;
            let is_cut_short = matches!(result, Err(LogError::Rebalancing(_)));
            if is_cut_short && !exactly_once {
                // Without transactions the records are there already; only the offsets were refused.
                cargo.records = Arc::default();
            }
            (writer, result, is_cut_short.then_some(cargo))
        }));
    }

    /// Waits for the verdict on the transaction in flight. Cancel-safe.
    pub(super) async fn returned(&mut self) -> Result<()> {
        let Some(flight) = &mut self.flight else { return Ok(()) };
        let outcome = flight.await;
        self.flight = None;
        match outcome {
            Ok((writer, result, held)) => {
                self.writer = Some(writer);
                self.held = held;
                result
            }
            // The writer went down with its task: treat it as fenced, so that a new one is opened.
            Err(panic) => Err(LogError::Fenced(format!("the commit task ended early: {panic}"))),
        }
    }
}

async fn open_writer(shared: &Shared, name: &str) -> Result<Box<dyn Writer>> {
    let transactional_id = shared.exactly_once.then(|| format!("{}-{name}", shared.app));
    shared.log.writer(WriterOptions { transactional_id }).await
}

async fn transact(writer: &mut dyn Writer, group: &str, cargo: &Cargo, member: &Membership) -> Result<()> {
    writer.begin().await?;
    let sent = async {
        if !cargo.records.is_empty() {
            writer.send_kept(&cargo.records).await?;
        }
        writer.send_offsets(group, &cargo.offsets, member).await?;
        writer.commit().await
    }
    .await;
    if let Err(error) = sent {
        // What could not be aborted here is aborted by the next writer of this name; the first error is the telling one.
        if let Err(abort) = writer.abort().await {
            tracing::warn!(%abort, "the abort failed as well");
            return Err(LogError::Fenced(error.to_string()));
        }
        return Err(error);
    }
    Ok(())
}
