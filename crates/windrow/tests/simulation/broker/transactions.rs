//! The transactions' coordinator: who may write, what was decided, and markers that are still on their way.
//!
//! ```text
//! end(commit) ─ decided ─┬─ later ─► marker in each partition   (what readers wait for)
//!                        └─ later ─► marker in the offsets      (what require_stable waits for)
//! ```
//!
//! **Invariant:** a decision is final when it is made; its markers arrive in any order, each after its own delay, and the next
//! transaction of the same writer waits for all of them.
//! Source: KIP-98 (fencing by epoch), KIP-360 (time-out bumps the epoch), KIP-447 (offsets of a transaction are pending until its
//! marker), KIP-890 (nothing is added to a transaction that is not open).

use std::collections::{BTreeMap, BTreeSet};

use windrow::log::{LogError, Outgoing, Result, Tp};

use super::{Broker, group::MemberId, partition::Txn};

/// Source offsets that a range did not reach because retention was faster: first missed, first held.
pub(crate) type Hole = (i64, i64);

/// Where one position of a commit stands, and what was missed on the way.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) tp: Tp,
    pub(crate) offset: i64,
    pub(crate) holes: Vec<Hole>,
}

/// A writer's right to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) epoch: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Empty,
    Open {
        txn: Txn,
        since_ms: i64,
        partitions: BTreeSet<Tp>,
        offsets: bool,
    },
    Ending {
        markers: usize,
    },
}

#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    state: State,
}

/// A marker on its way to a partition, or to the offsets.
#[derive(Debug)]
struct Marker {
    due_ms: i64,
    id: String,
    txn: Txn,
    commit: bool,
    to: Option<Tp>,
}

#[derive(Debug, Default)]
pub(crate) struct Transactions {
    last: Txn,
    producers: BTreeMap<String, Producer>,
    markers: Vec<Marker>,
    delivered: u64,
    pending: Vec<(Txn, Vec<Position>)>,
    pub(crate) outcomes: BTreeMap<Txn, bool>,
}

impl Transactions {
    /// Tells whether no transaction is open or waits for a marker.
    pub(crate) fn is_quiet(&self) -> bool {
        self.producers.values().all(|producer| matches!(producer.state, State::Empty))
    }

    /// Markers that arrived so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn next_marker_ms(&self) -> Option<i64> {
        self.markers.iter().map(|marker| marker.due_ms).min()
    }

    pub(crate) fn is_pending(&self, tp: &Tp) -> bool {
        self.pending.iter().any(|(_, positions)| positions.iter().any(|position| position.tp == *tp))
    }

    fn check(&mut self, ticket: &Ticket) -> Result<&mut Producer> {
        let producer = self.producers.entry(ticket.id.clone()).or_default();
        if producer.epoch != ticket.epoch {
            return Err(LogError::Fenced(format!("a newer writer {} is there", ticket.id)));
        }
        Ok(producer)
    }
}

fn concurrent() -> LogError {
    LogError::Retry("the former transaction is still ending".into())
}

impl Broker {
    /// Fences the former writer of that name; its open transaction is aborted first, and waited for by asking again.
    pub(crate) fn open_writer(&mut self, id: &str) -> Result<Ticket> {
        let producer = self.transactions.producers.entry(id.to_owned()).or_default();
        match producer.state {
            State::Empty => {
                producer.epoch += 1;
                Ok(Ticket { id: id.to_owned(), epoch: producer.epoch })
            }
            State::Open { .. } => {
                producer.epoch += 1;
                self.decide(id, false);
                Err(concurrent())
            }
            State::Ending { .. } => Err(concurrent()),
        }
    }

    /// Appends one batch within the writer's transaction, which begins with it when none is open.
    pub(crate) fn produce(
        &mut self,
        ticket: &Ticket,
        txn: &mut Option<Txn>,
        tp: &Tp,
        records: &[Outgoing],
    ) -> Result<()> {
        let txn = self.enlist(ticket, txn, Some(tp))?;
        let topic = self.topics.get_mut(&tp.topic).ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))?;
        let partition = topic.partitions.get_mut(tp.partition as usize);
        let partition = partition.ok_or_else(|| LogError::UnknownTopic(tp.topic.clone()))?;
        partition.append(records, Some(txn));
        Ok(())
    }

    /// Adds positions to the writer's transaction, if the member is one.
    pub(crate) fn add_offsets(
        &mut self,
        ticket: &Ticket,
        txn: &mut Option<Txn>,
        positions: Vec<Position>,
        member: Option<(MemberId, i32)>,
    ) -> Result<()> {
        let txn = self.enlist(ticket, txn, None)?;
        if let Err(error) = self.group.fence(member) {
            self.count("stale membership refused");
            return Err(error);
        }
        self.transactions.pending.push((txn, positions));
        Ok(())
    }

    fn enlist(&mut self, ticket: &Ticket, known: &mut Option<Txn>, tp: Option<&Tp>) -> Result<Txn> {
        let now_ms = self.now_ms;
        let next = self.transactions.last + 1;
        let producer = match self.transactions.check(ticket) {
            Ok(producer) => producer,
            Err(error) => {
                self.count("stale writer refused");
                return Err(error);
            }
        };
        let open = match &mut producer.state {
            State::Ending { .. } => return Err(concurrent()),
            // The writer believes in a transaction that is over.
            State::Empty if known.is_some() => {
                return Err(LogError::Fenced("the transaction is over".into()));
            }
            state @ State::Empty => {
                *state =
                    State::Open { txn: next, since_ms: now_ms, partitions: BTreeSet::new(), offsets: false };
                state
            }
            state @ State::Open { .. } => state,
        };
        let State::Open { txn, partitions, offsets, .. } = open else { unreachable!("opened above") };
        match tp {
            Some(tp) => _ = partitions.insert(tp.clone()),
            None => *offsets = true,
        }
        let txn = *txn;
        self.transactions.last = self.transactions.last.max(txn);
        *known = Some(txn);
        Ok(txn)
    }

    /// Commits or aborts; the answer comes when that is decided, not when it is visible.
    pub(crate) fn end(&mut self, ticket: &Ticket, txn: &mut Option<Txn>, commit: bool) -> Result<()> {
        let known = txn.take();
        let producer = self.transactions.check(ticket)?;
        match &producer.state {
            State::Open { txn, .. } if Some(*txn) == known => {
                self.decide(&ticket.id, commit);
                Ok(())
            }
            // Nothing was sent: nothing is there to end.
            _ if known.is_none() => Ok(()),
            _ => Err(LogError::Fenced("the transaction is over".into())),
        }
    }

    fn decide(&mut self, id: &str, commit: bool) {
        let Some(producer) = self.transactions.producers.get_mut(id) else { return };
        let State::Open { txn, partitions, offsets, .. } = std::mem::take(&mut producer.state) else {
            return;
        };
        self.transactions.outcomes.insert(txn, commit);
        let offsets = offsets.then_some(None);
        let to: Vec<Option<Tp>> = partitions.into_iter().map(Some).chain(offsets).collect();
        producer.state = if to.is_empty() { State::Empty } else { State::Ending { markers: to.len() } };
        let slow = self.rng.per_mille(self.knobs.slow_markers);
        for to in to {
            let delay_ms =
                if slow { self.rng.within(0..self.knobs.marker_max_ms) } else { self.rng.within(0..3) };
            let due_ms = self.now_ms + delay_ms;
            self.transactions.markers.push(Marker { due_ms, id: id.to_owned(), txn, commit, to });
        }
        self.count(if commit { "committed" } else { "aborted" });
        if slow {
            self.count("slow markers");
        }
    }

    /// Delivers markers that are due and aborts transactions that are open too long.
    pub(super) fn tick_transactions(&mut self) {
        let (now_ms, timeout_ms) = (self.now_ms, self.knobs.transaction_ms);
        let is_over =
            |p: &Producer| matches!(p.state, State::Open { since_ms, .. } if since_ms + timeout_ms <= now_ms);
        let over = self.transactions.producers.iter_mut().filter(|(_, producer)| is_over(producer));
        let over: Vec<String> = over
            .map(|(id, producer)| {
                producer.epoch += 1;
                id.clone()
            })
            .collect();
        for id in over {
            self.count("transaction timed out");
            self.decide(&id, false);
        }
        let mut due: Vec<Marker> = self.transactions.markers.extract_if(.., |m| m.due_ms <= now_ms).collect();
        due.sort_by_key(|marker| marker.due_ms);
        for marker in due {
            self.deliver(marker);
        }
    }

    fn deliver(&mut self, marker: Marker) {
        self.transactions.delivered += 1;
        match &marker.to {
            Some(tp) => {
                if let Some(topic) = self.topics.get_mut(&tp.topic) {
                    topic.partitions[tp.partition as usize].mark(marker.txn, marker.commit);
                }
            }
            None => {
                let pending = self.transactions.pending.extract_if(.., |(txn, _)| *txn == marker.txn);
                let settled: Vec<_> = pending.flat_map(|(_, positions)| positions).collect();
                if marker.commit {
                    settled.into_iter().for_each(|position| self.settle(position));
                }
            }
        }
        let Some(producer) = self.transactions.producers.get_mut(&marker.id) else { return };
        if let State::Ending { markers } = &mut producer.state {
            *markers -= 1;
            if *markers == 0 {
                producer.state = State::Empty;
            }
        }
    }
}
