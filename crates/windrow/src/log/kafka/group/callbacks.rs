//! Callbacks: what librdkafka calls when the group moves partitions, and the handshake with the worker behind it.
//!
//! **In** rebalances, on the member's own thread. **Out** numbered events; answers come back by number.
//! **Invariant:** a revocation or a loss returns to librdkafka only when it was answered, the member closes, or
//! the wait is over: then the group gives the partitions away anyhow, and no membership is handed out until the answer is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
    error::KafkaError,
};
use tokio::sync::mpsc;

use super::identity::{Identity, member_id};
use crate::log::{GroupEvent, LogError, Result, Tp};

/// What the member's thread and the worker share.
pub(super) struct Shared {
    events: mpsc::Sender<(u64, Result<GroupEvent>)>,
    wait_max: Duration,
    closing: AtomicBool,
    owns: AtomicBool,
    /// The group has taken partitions whose worker has not answered: until it does, it may believe that it owns them.
    overdue: AtomicBool,
    identity: Mutex<Identity>,
    numbers: Mutex<Numbers>,
    answered: Condvar,
}

#[derive(Default)]
struct Numbers {
    sent: u64,
    answered: u64,
    /// The last one whose answer did not come in time.
    overdue: u64,
}

impl Shared {
    pub(super) fn new(events: mpsc::Sender<(u64, Result<GroupEvent>)>, wait_max: Duration) -> Self {
        Self {
            events,
            wait_max,
            closing: AtomicBool::new(false),
            owns: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            identity: Mutex::default(),
            numbers: Mutex::default(),
            answered: Condvar::new(),
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Tells whether the group has given partitions that were not lost since, nor taken without an answer.
    pub(super) fn owns(&self) -> bool {
        self.owns.load(Ordering::Acquire) && !self.overdue.load(Ordering::Acquire)
    }

    /// Tells whether the member is another one than the one that its partitions came to.
    pub(super) fn is_renamed(&self, id: &str) -> bool {
        self.identity.lock().is_renamed(id)
    }

    /// Lets a waiting callback go and ends the member's thread.
    pub(super) fn close(&self) {
        // Under the lock: a callback that has looked at the flag is already waiting for the signal.
        let _numbers = self.numbers.lock();
        self.closing.store(true, Ordering::Release);
        self.answered.notify_all();
    }

    pub(super) fn answer(&self, number: u64) {
        let mut numbers = self.numbers.lock();
        numbers.answered = number;
        if numbers.overdue <= number {
            self.overdue.store(false, Ordering::Release);
        }
        drop(numbers);
        self.answered.notify_all();
    }

    pub(super) fn fail(&self, error: LogError) {
        let _ = self.events.blocking_send((0, Err(error)));
    }

    fn tell(&self, event: GroupEvent) -> Option<u64> {
        let number = {
            let mut numbers = self.numbers.lock();
            numbers.sent += 1;
            numbers.sent
        };
        if self.is_closing() {
            None
        } else {
            self.events.blocking_send((number, Ok(event))).ok().map(|()| number)
        }
    }

    fn ask(&self, event: GroupEvent) {
        let Some(number) = self.tell(event) else { return };
        let end = Instant::now() + self.wait_max;
        let mut numbers = self.numbers.lock();
        while numbers.answered < number && !self.is_closing() {
            if self.answered.wait_until(&mut numbers, end).timed_out() {
                tracing::error!("a worker did not give its partitions back in {:?}", self.wait_max);
                // Before the group hears that they are free. The member is in its new generation, so nothing else would fence it.
                numbers.overdue = number;
                self.overdue.store(true, Ordering::Release);
                return;
            }
        }
    }
}

/// The context of librdkafka's consumer.
pub(super) struct Callbacks(pub(super) Arc<Shared>);

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::log::kafka::librdkafka_says(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the group's member");
    }
}

impl ConsumerContext for Callbacks {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let tps = names(list);
        let lost = consumer.assignment_lost() || self.0.is_renamed(&member_id(consumer));
        tracing::debug!(?tps, lost, "partitions go");
        if lost {
            self.0.owns.store(false, Ordering::Release);
        }
        if !tps.is_empty() {
            self.0.ask(if lost { GroupEvent::Lost(tps.clone()) } else { GroupEvent::Revoked(tps.clone()) });
            self.0.identity.lock().went(&tps);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Before librdkafka knows where to begin, so it never fetches.
        if let Err(error) = consumer.pause(list) {
            tracing::error!(%error, "the group's member cannot be paused");
        }
        self.0.owns.store(true, Ordering::Release);
        let tps = names(list);
        tracing::debug!(?tps, "partitions come");
        self.0.identity.lock().came(&tps, member_id(consumer));
        if !tps.is_empty() {
            self.0.tell(GroupEvent::Assigned(tps));
        }
    }
}

fn names(list: &TopicPartitionList) -> Vec<Tp> {
    list.elements().iter().map(|element| Tp::new(element.topic(), element.partition())).collect()
}
