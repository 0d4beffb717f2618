//! The source: records with disorder, jumps and bad ones among them, some in transactions that stay open for a while or abort.
//!
//! **Invariant:** a key is always in the same partition when the stream says that it is keyed; what was produced is remembered here,
//! whatever retention does to the log.

use bytes::Bytes;
use windrow::log::{Outgoing, Tp};

use crate::{
    broker::{Broker, partition::Txn, transactions::Ticket},
    oracle::Rec,
    rng::Rng,
    scenario::SOURCE,
};

const BEGIN_MS: i64 = 1_700_000_000_000;

struct Upstream {
    ticket: Ticket,
    txn: Option<Txn>,
    until_ms: i64,
}

pub(crate) struct Source {
    rng: Rng,
    /// Whether a key is always in the same partition.
    keyed: bool,
    /// Event time by partition.
    times: Vec<i64>,
    pub(crate) records: Vec<Vec<(Rec, Option<Txn>)>>,
    upstream: Option<Upstream>,
}

impl Source {
    pub(crate) fn new(partitions: i32, keyed: bool, rng: Rng) -> Self {
        let count = partitions as usize;
        Self { rng, keyed, times: vec![BEGIN_MS; count], records: vec![Vec::new(); count], upstream: None }
    }

    /// Produces a few batches.
    pub(crate) fn produce(&mut self, broker: &mut Broker) {
        for _ in 0..1 + self.rng.below(3) {
            let partition = self.rng.below(self.times.len());
            let records: Vec<Rec> = (0..1 + self.rng.below(7)).map(|_| self.record(partition)).collect();
            let in_transaction = self.rng.per_mille(150);
            self.append(broker, partition, records, in_transaction);
        }
    }

    /// Ends the open transaction when its time has come, or at once.
    pub(crate) fn settle(&mut self, broker: &mut Broker, at_once: bool) {
        let is_due = |open: &Upstream| at_once || open.until_ms <= broker.now_ms;
        if let Some(mut open) = self.upstream.take_if(|open| is_due(open)) {
            let commit = self.rng.per_mille(600);
            // It may have timed out: then it was aborted.
            let _ = broker.end(&open.ticket, &mut open.txn, commit);
        }
    }

    /// One last record a partition, far ahead, so that all windows before it close.
    pub(crate) fn finish(&mut self, broker: &mut Broker) {
        let far = self.times.iter().max().copied().unwrap_or(0) + 10_000;
        for partition in 0..self.times.len() {
            let key = Some(self.key(partition));
            let record = Rec { partition: partition as i32, offset: 0, ts_ms: far, key, num: Some(1) };
            self.append(broker, partition, vec![record], false);
        }
    }

    fn key(&mut self, partition: usize) -> String {
        let number = self.rng.below(4);
        if self.keyed { format!("p{partition}-{number}") } else { format!("k{number}") }
    }

    fn record(&mut self, partition: usize) -> Rec {
        let time = &mut self.times[partition];
        *time += match self.rng.below(20) {
            0 => self.rng.within(5..300),
            _ => self.rng.within(0..6),
        };
        let back = if self.rng.per_mille(100) { self.rng.within(0..200) } else { self.rng.within(0..20) };
        let ts_ms = *time - back;
        let num = self.rng.per_mille(900).then(|| self.rng.within(-5..6));
        let key = if self.rng.per_mille(30) { None } else { Some(self.key(partition)) };
        Rec { partition: partition as i32, offset: 0, ts_ms, key, num }
    }

    fn append(&mut self, broker: &mut Broker, partition: usize, records: Vec<Rec>, in_transaction: bool) {
        let tp = Tp::new(SOURCE, partition as i32);
        let outgoing: Vec<Outgoing> = records.iter().map(outgoing).collect();
        let base = broker.partition(&tp).expect("the source is there").ends().high_watermark;
        let mut txn = None;
        if in_transaction {
            if self.upstream.is_none() {
                let Ok(ticket) = broker.open_writer("upstream") else { return };
                let until_ms = broker.now_ms + self.rng.within(0..3000);
                self.upstream = Some(Upstream { ticket, txn: None, until_ms });
            }
            let Some(open) = &mut self.upstream else { return };
            if broker.produce(&open.ticket, &mut open.txn, &tp, &outgoing).is_err() {
                self.upstream = None;
                return;
            }
            txn = open.txn;
        } else {
            broker.partition_mut(&tp).expect("the source is there").append(&outgoing, None);
        }
        let placed = records.into_iter().zip(base..).map(|(record, offset)| (Rec { offset, ..record }, txn));
        self.records[partition].extend(placed);
    }
}

fn outgoing(record: &Rec) -> Outgoing {
    let value = match (&record.key, record.num) {
        (None, _) => "{broken".to_owned(),
        (Some(key), None) => format!("{{\"k\":\"{key}\",\"t\":{}}}", record.ts_ms),
        (Some(key), Some(num)) => format!("{{\"v\":{num},\"t\":{},\"k\":\"{key}\"}}", record.ts_ms),
    };
    Outgoing {
        topic: SOURCE.into(),
        partition: record.partition,
        key: record.key.clone().map(Bytes::from),
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp_ms: record.ts_ms,
    }
}
