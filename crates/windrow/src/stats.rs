//! Stats: every counter of the process, in one place. Rooms add to it; `_stats`, `/metrics`, `/readyz` read it.
//!
//! **Invariant:** adding is lock-free; labels are bounded by the configuration (streams, views, partitions, listeners, fixed
//! reasons), never by what clients send. **Not here:** where the numbers are shown.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

pub mod rows;

/// What a number is about: `("stream", "clicks", Some(0))`, `("listener", "main", None)`.
pub type Subject = (&'static str, Arc<str>, Option<i32>);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// Reads it.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// Reads it.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One registered number.
#[derive(Debug, Clone)]
pub enum Metric {
    /// See [`Counter`].
    Counter(Arc<Counter>),
    /// See [`Gauge`].
    Gauge(Arc<Gauge>),
}

/// Subject, then name with an optional reason: `records`, `bad{reason}`.
pub type Snapshot = BTreeMap<Subject, BTreeMap<(&'static str, &'static str), Metric>>;

/// All numbers of the process, and why it is not ready.
#[derive(Debug, Default)]
pub struct Stats {
    metrics: Mutex<Snapshot>,
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Stats {
    /// Returns the counter of that subject, name and reason (`""` = none), making it at the first call. Keep the handle.
    pub fn counter(&self, subject: Subject, name: &'static str, reason: &'static str) -> Arc<Counter> {
        let mut all = self.metrics.lock();
        let metric = all.entry(subject).or_default().entry((name, reason));
        match metric.or_insert_with(|| Metric::Counter(Arc::default())) {
            Metric::Counter(c) => c.clone(),
            // The same name as another kind is a bug of ours; a detached counter keeps the process alive.
            Metric::Gauge(_) => Arc::default(),
        }
    }

    /// Returns the gauge of that subject and name, making it at the first call. Keep the handle.
    pub fn gauge(&self, subject: Subject, name: &'static str) -> Arc<Gauge> {
        let mut all = self.metrics.lock();
        let metric = all.entry(subject).or_default().entry((name, ""));
        match metric.or_insert_with(|| Metric::Gauge(Arc::default())) {
            Metric::Gauge(g) => g.clone(),
            Metric::Counter(_) => Arc::default(),
        }
    }

    /// Forgets a subject that left this process (a partition that went to another worker).
    pub fn forget(&self, subject: &Subject) {
        self.metrics.lock().remove(subject);
    }

    /// Forgets some numbers of a subject that only half left.
    pub fn forget_some(&self, subject: &Subject, names: &[&str]) {
        if let Some(numbers) = self.metrics.lock().get_mut(subject) {
            numbers.retain(|(name, _), _| !names.contains(name));
        }
    }

    /// Returns handles of all numbers.
    pub fn snapshot(&self) -> Snapshot {
        self.metrics.lock().clone()
    }

    /// Says why the process is not ready: `("log", "kafka at localhost:9092 does not answer")`.
    pub fn trouble(&self, room: &str, why: impl Into<String>) {
        self.troubles.lock().insert(room.to_owned(), why.into());
    }

    /// Takes a trouble back.
    pub fn fine(&self, room: &str) {
        self.troubles.lock().remove(room);
    }

    /// Returns all troubles, by room; empty when ready.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        self.troubles.lock().clone()
    }
}
