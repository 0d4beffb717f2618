//! Producer: the blocking half of the writer.
//!
//! **In** commands, one at a time. **Out** their results. **Invariant:** the queue is empty before a transaction is committed,
//! and the producer is polled while one is aborted (librdkafka waits for the delivery reports of what it throws away).
//! A commit whose outcome stays unknown makes the writer useless, never a guess.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
    types::RDKafkaErrorCode,
};

use super::{Command, proof};
use crate::log::{
    LogError, Membership, Outgoing, Result, Tp,
    kafka::{security::token::Giver, trouble},
};

/// Between two looks at the queue while it empties. librdkafka tells nobody that it became empty, and rust-rdkafka's `flush` looks
/// each 100 ms, which is a whole commit interval.
const STEP: Duration = Duration::from_micros(200);
/// Longest wait for one blocking call of librdkafka, and for it to be repeated while it says "try again".
const CALL_MAX: Duration = Duration::from_secs(10);
const CALLS_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the queue to empty: above both message time-outs, which empty it with an error.
const DRAIN_MAX: Duration = Duration::from_secs(40);
/// Longest try to abort: an abort that waits for a broker that came back may wait for ever, and everybody who reads what is open waits
/// with it. The next writer of this name settles it in milliseconds.
const ABORT_MAX: Duration = Duration::from_secs(3);
/// Wait for records on their way before they are thrown away.
const ABORT_DRAIN_MAX: Duration = Duration::from_secs(1);
/// An abort at the end of the process only saves others a wait.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A producer and its open transaction.
pub(super) struct Producer {
    inner: BaseProducer<Reports>,
    giver: Giver,
    failure: Arc<Mutex<Option<LogError>>>,
    transactional: bool,
    is_open: bool,
    /// Offsets to commit after the records, when there is no transaction to do it.
    offsets: Option<(Vec<(Tp, i64)>, Membership)>,
    /// Why this writer is of no more use.
    dead: Option<String>,
}

impl Producer {
    pub(super) fn open(config: &ClientConfig, mut giver: Giver, transactional: bool) -> Result<Self> {
        let failure = Arc::new(Mutex::new(None));
        let inner: BaseProducer<Reports> =
            config
                .create_with_context(Reports { failure: failure.clone() })
                .map_err(|error| LogError::Fatal(format!("the writer cannot be made: {error}")))?;
        // Before the first call: while it lasts nobody could.
        // SAFETY: the client lives as long as `inner`.
        unsafe { giver.give(inner.client().native_ptr()) }?;
        if transactional {
            repeat(|| inner.init_transactions(CALL_MAX))
                .map_err(|error| trouble::of_librdkafka(&error, "opening a transactional writer"))?;
        }
        Ok(Self { inner, giver, failure, transactional, is_open: false, offsets: None, dead: None })
    }

    /// Tells whether [`Producer::take_token`] has to be called now and then.
    pub(super) fn wants_tokens(&self) -> bool {
        self.giver.has_tokens()
    }

    /// Hands librdkafka the current token, if it is a new one.
    pub(super) fn take_token(&mut self) {
        // SAFETY: the client lives as long as `inner`.
        if let Err(error) = unsafe { self.giver.give(self.inner.client().native_ptr()) } {
            tracing::debug!(%error, "no new token for the writer");
        }
    }

    pub(super) fn run(&mut self, command: Command) -> Result<()> {
        self.take_token();
        if let Some(why) = &self.dead {
            return Err(LogError::Fenced(why.clone()));
        }
        let result = match command {
            Command::Begin => self.begin(),
            Command::Send(records) => records.iter().try_for_each(|record| self.send(record)),
            Command::Offsets(offsets, member) => self.send_offsets(offsets, member),
            Command::Commit => self.commit(),
            Command::Abort => self.abort(ABORT_MAX),
        };
        if let Err(LogError::Fenced(why)) = &result {
            // Only what fences the producer itself is final; a fenced membership just ends the transaction.
            if self.inner.client().fatal_error().is_some() {
                self.dead = Some(why.clone());
            }
        }
        result
    }

    fn begin(&mut self) -> Result<()> {
        self.failure.lock().take();
        self.offsets = None;
        if self.transactional {
            self.inner
                .begin_transaction()
                .map_err(|error| trouble::of_librdkafka(&error, "beginning a transaction"))?;
        }
        self.is_open = true;
        Ok(())
    }

    fn send(&self, outgoing: &Outgoing) -> Result<()> {
        let topic = &*outgoing.topic;
        let mut record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(outgoing.partition)
            .timestamp(outgoing.timestamp_ms);
        if let Some(key) = &outgoing.key {
            record = record.key(key);
        }
        if let Some(value) = &outgoing.value {
            record = record.payload(value);
        }
        if !outgoing.headers.is_empty() {
            let none = OwnedHeaders::new_with_capacity(outgoing.headers.len());
            let headers = outgoing.headers.iter();
            record = record.headers(
                headers.fold(none, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) })),
            );
        }
        let end = Instant::now() + DRAIN_MAX;
        loop {
            let Err((error, back)) = self.inner.send(record) else { return Ok(()) };
            let code = error.rdkafka_error_code();
            if code != Some(RDKafkaErrorCode::QueueFull) || Instant::now() >= end {
                return Err(trouble::of_record(topic, code, &error.to_string()));
            }
            self.step();
            record = back;
        }
    }

    fn send_offsets(&mut self, offsets: Vec<(Tp, i64)>, member: Membership) -> Result<()> {
        if !self.transactional {
            self.offsets = Some((offsets, member));
            return Ok(());
        }
        let list = list(&offsets)?;
        let metadata = &proof(&member)?.metadata;
        repeat(|| self.inner.send_offsets_to_transaction(&list, metadata, CALL_MAX))
            .map_err(|error| trouble::of_membership(&error, "sending source offsets"))
    }

    fn commit(&mut self) -> Result<()> {
        self.drain()?;
        if let Some(failure) = self.failure.lock().take() {
            return Err(failure);
        }
        if self.transactional {
            let committed = repeat(|| self.inner.commit_transaction(CALL_MAX));
            committed.map_err(|error| self.undecided(&error, "committing a transaction"))?;
        } else if let Some((offsets, member)) = self.offsets.take() {
            proof(&member)?.commit(&list(&offsets)?)?;
        }
        self.is_open = false;
        Ok(())
    }

    fn abort(&mut self, limit: Duration) -> Result<()> {
        self.offsets = None;
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        // librdkafka ends a transaction whose partitions it was still announcing, and the broker, which knows of none, calls that a
        // fatal error: let what is on its way arrive first, when somebody takes it.
        self.drain_for(limit.min(ABORT_DRAIN_MAX));
        let aborted = if self.transactional {
            self.polled(|producer| repeat_for(limit, || producer.abort_transaction(limit.min(CALL_MAX))))
        } else {
            self.inner.purge(PurgeConfig::default().queue().inflight());
            Ok(())
        };
        aborted.map_err(|error| self.undecided(&error, "aborting a transaction"))?;
        // Reports of what was thrown away belong to this transaction, not to the next.
        self.drain()
    }

    /// Ends; readers need not wait for the transaction time-out.
    pub(super) fn close(&mut self) {
        if self.is_open && self.dead.is_none() {
            let _ = self.abort(CLOSE_MAX);
        }
    }

    /// A commit or an abort that neither happened nor failed: only the next writer of this name can settle it.
    fn undecided(&mut self, error: &KafkaError, what: &str) -> LogError {
        let told = trouble::of_librdkafka(error, what);
        let must_abort = matches!(error, KafkaError::Transaction(native) if native.txn_requires_abort());
        if must_abort {
            return told;
        }
        let why = told.to_string();
        self.dead = Some(why.clone());
        match told {
            LogError::Retry(_) => LogError::Fenced(why),
            told => told,
        }
    }

    fn drain(&self) -> Result<()> {
        match self.drain_for(DRAIN_MAX) {
            0 => Ok(()),
            left => Err(LogError::Retry(format!(
                "{left} records are still on their way after {} s",
                DRAIN_MAX.as_secs()
            ))),
        }
    }

    /// Waits until the queue is empty, at most so long; returns what is left.
    fn drain_for(&self, limit: Duration) -> i32 {
        let end = Instant::now() + limit;
        while self.inner.in_flight_count() > 0 && Instant::now() < end {
            self.step();
        }
        self.inner.in_flight_count()
    }

    fn step(&self) {
        self.inner.poll(Duration::ZERO);
        std::thread::sleep(STEP);
    }

    /// Runs a blocking call while another thread polls.
    fn polled<T: Send>(&self, call: impl FnOnce(&BaseProducer<Reports>) -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    self.step();
                }
            });
            let result = call(&self.inner);
            done.store(true, Ordering::Release);
            result
        })
    }
}

/// Repeats a call while librdkafka says that repeating it is right.
fn repeat(call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    repeat_for(CALLS_MAX, call)
}

fn repeat_for(limit: Duration, call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    let end = Instant::now() + limit;
    loop {
        match call() {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && !error.txn_requires_abort() && Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn list(offsets: &[(Tp, i64)]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (tp, offset) in offsets {
        list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(*offset))
            .map_err(|error| LogError::Fatal(format!("offset {offset} of {tp}: {error}")))?;
    }
    Ok(list)
}

/// Remembers the first record that could not be delivered; `delivery.report.only.error` keeps the good ones quiet.
struct Reports {
    failure: Arc<Mutex<Option<LogError>>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::log::kafka::librdkafka_says(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the writer");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        let code = error.rdkafka_error_code();
        // Only an abort purges, and its reports may come when the next transaction has begun.
        if matches!(code, Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)) {
            return;
        }
        let failure = trouble::of_record(message.topic(), code, &error.to_string());
        self.failure.lock().get_or_insert(failure);
    }
}
