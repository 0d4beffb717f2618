//! The writer: gathers a transaction's records into batches, then hands them to the commit thread.
//!
//! **In** records with their partitions. **Out** a [`Transaction`]. **Invariant:** nothing leaves this struct before `commit`;
//! an abort drops memory and no more. **Not here:** offsets, durability (`commit`).

use std::{
    collections::HashMap,
    sync::{Arc, mpsc::Sender},
};

use async_trait::async_trait;
use tokio::sync::oneshot;
use windrow_core::batch::{BatchBuilder, Compression};

use super::{
    State,
    commit::{Fence, Positions, Request, Sealed, Transaction},
    groups::Ticket,
    store::Place,
    topics::Partition,
};
use crate::log::{LogError, Membership, Outgoing, Result, Topic, Tp, Writer, refuse_no_positions};

/// A batch is closed past this: large enough that its head costs nothing, small enough to be read in one piece.
const BATCH_TARGET_BYTES: usize = 256 << 10;
/// Largest record: the same as Kafka's default, so that what fits here fits there.
pub(super) const RECORD_MAX_BYTES: usize = 1 << 20;
/// What one transaction may hold in memory: 256 times the largest record.
const TRANSACTION_MAX_BYTES: usize = 256 << 20;

/// Sends transactions to the commit thread.
pub(super) async fn submit(requests: &Sender<Request>, transaction: Transaction) -> Result<Vec<i64>> {
    let closed = || LogError::Fatal("the log is closed".to_owned());
    let (answer, answered) = oneshot::channel();
    requests.send(Request::Commit(transaction, answer)).map_err(|_| closed())?;
    answered.await.map_err(|_| closed())?
}

/// A writer on the embedded log.
pub(super) struct EmbeddedWriter {
    state: Arc<State>,
    requests: Sender<Request>,
    fence: Option<Fence>,
    open: bool,
    pending: Vec<Pending>,
    /// Where in `pending` a partition is.
    index: HashMap<Place, usize>,
    /// Partition numbers of the topic used last: records come in runs of one topic.
    last: Option<(Topic, Vec<Option<usize>>)>,
    bytes: usize,
    positions: Vec<Positions>,
}

struct Pending {
    partition: Arc<Partition>,
    compact: bool,
    builder: BatchBuilder,
    sealed: Vec<Sealed>,
}

impl Pending {
    fn seal(&mut self) {
        let builder = std::mem::replace(&mut self.builder, BatchBuilder::new(Compression::None));
        let span = builder.len() as i64;
        if span > 0 {
            self.sealed.push(Sealed { bytes: builder.build_vec(), span });
        }
    }

    fn push(&mut self, record: &Outgoing) -> Result<usize> {
        let refused = |reason| LogError::Refused { topic: record.topic.clone(), reason };
        if self.compact && record.key.is_none() {
            return Err(refused("a compacted topic takes no record without a key".to_owned()));
        }
        let length = |bytes: Option<&bytes::Bytes>| bytes.map_or(0, bytes::Bytes::len);
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let size = length(record.key.as_ref()) + length(record.value.as_ref()) + headers;
        if size > RECORD_MAX_BYTES {
            return Err(refused(format!("{size} bytes, the most is {RECORD_MAX_BYTES}")));
        }
        if self.builder.len_bytes() + size > BATCH_TARGET_BYTES {
            self.seal();
        }
        let before = self.builder.len_bytes();
        let headers = record.headers.iter().map(|(name, value)| (*name, Some(&value[..])));
        self.builder
            .push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers)
            .map_err(|e| refused(e.to_string()))?;
        Ok(self.builder.len_bytes() - before)
    }
}

impl EmbeddedWriter {
    pub(super) fn new(state: Arc<State>, requests: Sender<Request>, fence: Option<Fence>) -> Self {
        Self {
            state,
            requests,
            fence,
            open: false,
            pending: Vec::new(),
            index: HashMap::new(),
            last: None,
            bytes: 0,
            positions: Vec::new(),
        }
    }

    /// A writer without transactional id is always inside a transaction, which ends with `commit`.
    fn inside(&self, call: &str) -> Result<()> {
        match &self.fence {
            None => Ok(()),
            Some(fence) => {
                fence.check()?;
                if self.open { Ok(()) } else { Err(LogError::Fatal(format!("{call} outside a transaction"))) }
            }
        }
    }

    fn slot(&mut self, topic: &Topic, partition: i32) -> Result<usize> {
        let number = usize::try_from(partition).unwrap_or(usize::MAX);
        if let Some((last, slots)) = &self.last
            && (Arc::ptr_eq(last, topic) || last == topic)
            && let Some(Some(slot)) = slots.get(number)
        {
            return Ok(*slot);
        }
        let found = self.state.topics.get(topic).ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
        let partition = self.state.topics.partition(&Tp::new(topic.clone(), partition))?;
        let place = partition.place;
        let slot = *self.index.entry(place).or_insert_with(|| {
            let builder = BatchBuilder::new(Compression::None);
            self.pending.push(Pending {
                partition,
                compact: found.meta.compact,
                builder,
                sealed: Vec::new(),
            });
            self.pending.len() - 1
        });
        if self.last.as_ref().is_none_or(|(last, _)| last != topic) {
            self.last = Some((topic.clone(), vec![None; found.partitions.len()]));
        }
        if let Some((_, slots)) = &mut self.last {
            // The topic may have grown since.
            slots.resize(slots.len().max(number + 1), None);
            slots[number] = Some(slot);
        }
        Ok(slot)
    }

    fn gather(&mut self, records: &[Outgoing]) -> Result<()> {
        self.inside("send")?;
        for record in records {
            let slot = self.slot(&record.topic, record.partition)?;
            self.bytes += self.pending[slot].push(record)?;
            if self.bytes > TRANSACTION_MAX_BYTES {
                let reason = format!("the transaction has more than {TRANSACTION_MAX_BYTES} bytes");
                return Err(LogError::Refused { topic: record.topic.clone(), reason });
            }
        }
        Ok(())
    }

    /// Empties the writer into a transaction.
    fn take(&mut self) -> Transaction {
        self.open = false;
        self.bytes = 0;
        self.index.clear();
        self.last = None;
        let batches = self.pending.drain(..).map(|mut pending| {
            pending.seal();
            (pending.partition, pending.sealed)
        });
        Transaction {
            batches: batches.collect(),
            positions: std::mem::take(&mut self.positions),
            fence: self.fence.clone(),
        }
    }
}

#[async_trait]
impl Writer for EmbeddedWriter {
    async fn begin(&mut self) -> Result<()> {
        if let Some(fence) = &self.fence {
            fence.check()?;
            if self.open {
                return Err(LogError::Fatal("begin inside a transaction".to_owned()));
            }
        }
        self.open = true;
        Ok(())
    }

    async fn send(&mut self, records: Vec<Outgoing>) -> Result<()> {
        self.gather(&records)
    }

    async fn send_kept(&mut self, records: &Arc<Vec<Outgoing>>) -> Result<()> {
        self.gather(records)
    }

    async fn send_offsets(&mut self, group: &str, offsets: &[(Tp, i64)], member: &Membership) -> Result<()> {
        self.inside("send_offsets")?;
        refuse_no_positions(offsets)?;
        let Some(ticket) = member.0.downcast_ref::<Ticket>() else {
            return Err(LogError::Fatal("this membership is of another log".to_owned()));
        };
        self.state.groups.check(group, ticket, offsets.iter().map(|(tp, _)| tp))?;
        let placed = |(tp, offset): &(Tp, i64)| {
            self.state.topics.partition(tp).map(|partition| (tp.clone(), partition.place, *offset))
        };
        let offsets = offsets.iter().map(placed).collect::<Result<_>>()?;
        self.positions.push(Positions { group: group.into(), ticket: *ticket, offsets });
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.inside("commit")?;
        let transaction = self.take();
        if transaction.is_empty() {
            return Ok(());
        }
        submit(&self.requests, transaction).await.map(drop)
    }

    async fn abort(&mut self) -> Result<()> {
        drop(self.take());
        Ok(())
    }
}
