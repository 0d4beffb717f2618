//! Writing: one call a partition, so that a process may die or freeze between any two.
//!
//! **Invariant:** as our client of the real one: an end whose answer is lost leaves a writer of no more use; after any other error
//! the transaction can be aborted. An empty list of offsets is not even sent.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use windrow::log::{LogError, Membership, Outgoing, Result, Tp, Writer};

use super::{BACKOFF, SETTLE_MAX, SimLog, member::Proof};
use crate::broker::{
    Broker,
    partition::Txn,
    transactions::{Position, Ticket},
};

pub(super) struct SimWriter {
    log: SimLog,
    ticket: Ticket,
    txn: Option<Txn>,
    dead: bool,
}

impl SimWriter {
    pub(super) async fn open(log: SimLog, id: String) -> Result<Self> {
        let end = Instant::now() + SETTLE_MAX;
        loop {
            match log.call("open_writer", |broker| broker.open_writer(&id)).await {
                Ok(ticket) => return Ok(Self { log, ticket, txn: None, dead: false }),
                Err(LogError::Retry(_)) if Instant::now() < end => sleep(BACKOFF).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// A call that waits while the former transaction ends.
    async fn patiently(
        &mut self,
        what: &'static str,
        ask: impl Fn(&mut Broker, &Ticket, &mut Option<Txn>) -> Result<()>,
    ) -> Result<()> {
        if self.dead {
            return Err(LogError::Fenced("this writer is of no more use".into()));
        }
        let end = Instant::now() + SETTLE_MAX;
        loop {
            let (ticket, mut txn) = (self.ticket.clone(), self.txn);
            // The client knows of its transaction also when the answer is lost.
            let told = self.log.call(what, |broker| {
                let answer = ask(broker, &ticket, &mut txn);
                Ok((answer, txn))
            });
            let answer = match told.await {
                Ok((answer, txn)) => {
                    self.txn = txn;
                    answer
                }
                Err(error) => return self.unsure(error),
            };
            match answer {
                Err(LogError::Retry(_)) if Instant::now() < end => sleep(BACKOFF).await,
                Err(LogError::Fenced(why)) => {
                    // A fenced membership only ends the transaction.
                    self.dead = !why.starts_with("member");
                    return Err(LogError::Fenced(why));
                }
                answer => return answer,
            }
        }
    }

    /// Whether a request had its effect is unknown: a transaction may be open that this client has heard nothing of.
    fn unsure(&mut self, error: LogError) -> Result<()> {
        self.dead = true;
        Err(LogError::Fenced(error.to_string()))
    }
}

#[async_trait]
impl Writer for SimWriter {
    async fn begin(&mut self) -> Result<()> {
        self.log.gate().await;
        if self.dead { Err(LogError::Fenced("this writer is of no more use".into())) } else { Ok(()) }
    }

    async fn send(&mut self, records: Vec<Outgoing>) -> Result<()> {
        let mut parts: BTreeMap<Tp, Vec<Outgoing>> = BTreeMap::new();
        for record in records {
            parts.entry(Tp::new(record.topic.clone(), record.partition)).or_default().push(record);
        }
        // Which partition's broker is first is chance.
        let mut parts: Vec<_> = parts.into_iter().collect();
        while !parts.is_empty() {
            let next = self.log.net.chance(|rng| rng.below(parts.len()));
            let (tp, records) = parts.swap_remove(next);
            self.patiently("produce", |broker, ticket, txn| broker.produce(ticket, txn, &tp, &records))
                .await?;
        }
        Ok(())
    }

    async fn send_offsets(&mut self, _group: &str, offsets: &[(Tp, i64)], member: &Membership) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let proof = member.0.downcast_ref::<Proof>().expect("a membership of this log");
        let holes = self.log.holes.lock().clone();
        let position = |(tp, offset): &(Tp, i64)| {
            let of_this = holes.iter().filter(|(of, _)| of == tp).map(|(_, hole)| *hole);
            Position { tp: tp.clone(), offset: *offset, holes: of_this.collect() }
        };
        let positions: Vec<Position> = offsets.iter().map(position).collect();
        self.log.net.note(|| {
            let list =
                offsets.iter().fold(String::new(), |list, (tp, offset)| format!("{list} {tp}={offset}"));
            format!("{} offsets as {:?}:{list}", self.log.name, proof.now())
        });
        self.patiently("add_offsets", |broker, ticket, txn| {
            broker.add_offsets(ticket, txn, positions.clone(), proof.now())
        })
        .await
    }

    async fn commit(&mut self) -> Result<()> {
        self.end("commit", true).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.end("abort", false).await
    }
}

impl SimWriter {
    async fn end(&mut self, what: &'static str, commit: bool) -> Result<()> {
        if self.dead {
            return Err(LogError::Fenced("this writer is of no more use".into()));
        }
        let (ticket, mut txn) = (self.ticket.clone(), self.txn.take());
        let ended = self.log.call(what, |broker| broker.end(&ticket, &mut txn, commit)).await;
        self.log.net.note(|| format!("{} {what}: {ended:?}", self.log.name));
        match ended {
            Err(error) => self.unsure(error),
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for SimWriter {
    /// A process that lives ends its transaction itself, so that nobody waits for the time-out.
    fn drop(&mut self) {
        let Some(mut txn) = self.txn.take().map(Some) else { return };
        if self.log.is_dead() || self.dead {
            return;
        }
        let (log, ticket) = (self.log.clone(), self.ticket.clone());
        // Dropped with the runtime itself, there is nobody left to tell.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = log.call("abort", |broker| broker.end(&ticket, &mut txn, false)).await;
            });
        }
    }
}
