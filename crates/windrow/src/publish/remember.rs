//! Remembering: which `Idempotency-Key`s came, with which body, and what became of them.
//!
//! **In** a key and a body. **Out** the first time a promise to keep; afterwards the same outcome, also while it is pending.
//! **Invariant:** a failure is forgotten, so that a retry tries again; the oldest keys are forgotten past the bound.
//! Memory of one process: behind a balancer a retry must reach the same one.

use std::{collections::VecDeque, hash::BuildHasher, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{PublishError, Report};

/// Keys remembered: at about 200 bytes each 2 MiB, and at 100 requests a second 100 seconds of them.
const KEYS_MAX: usize = 10_000;

type Slot = Option<Result<Report, PublishError>>;

/// The keys of this process.
#[derive(Default)]
pub(super) struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    by_key: HashMap<Arc<str>, Entry>,
    order: VecDeque<Arc<str>>,
    hasher: foldhash::fast::RandomState,
}

struct Entry {
    body_hash: u64,
    outcome: watch::Receiver<Slot>,
}

/// Whether a key is known.
pub(super) enum Seen {
    /// No: whoever gets this writes, and keeps the promise.
    Never(Promise),
    /// Yes, with this body.
    Before(Outcome),
    /// Yes, with another body.
    Otherwise,
}

/// The outcome of the first request, perhaps still to come.
pub(super) struct Outcome(watch::Receiver<Slot>);

impl Outcome {
    pub(super) async fn wait(&mut self) -> Result<Report, PublishError> {
        let gone = || Err(PublishError::Unavailable("the first request with this key failed".to_owned()));
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }
}

/// The duty to say what became of a request. Dropped without a word, the key is forgotten.
pub(super) struct Promise {
    memory: Arc<Mutex<Inner>>,
    key: Arc<str>,
    outcome: watch::Sender<Slot>,
    kept: bool,
}

impl Promise {
    pub(super) fn keep(mut self, result: Result<Report, PublishError>) {
        self.kept = result.is_ok();
        self.outcome.send_replace(Some(result));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.kept {
            let mut memory = self.memory.lock();
            memory.by_key.remove(&self.key);
            memory.order.retain(|key| *key != self.key);
        }
    }
}

impl Memory {
    pub(super) fn begin(&self, stream: &str, key: &str, body: &[u8]) -> Seen {
        let key: Arc<str> = format!("{stream}\n{key}").into();
        let mut inner = self.0.lock();
        let body_hash = inner.hasher.hash_one(body);
        if let Some(entry) = inner.by_key.get(&key) {
            if entry.body_hash != body_hash {
                return Seen::Otherwise;
            }
            return Seen::Before(Outcome(entry.outcome.clone()));
        }
        if inner.order.len() >= KEYS_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.by_key.remove(&oldest);
        }
        let (sender, outcome) = watch::channel(None);
        inner.by_key.insert(key.clone(), Entry { body_hash, outcome });
        inner.order.push_back(key.clone());
        Seen::Never(Promise { memory: self.0.clone(), key, outcome: sender, kept: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_gives_its_first_outcome_again_unless_that_was_a_failure() {
        let memory = Memory::default();
        let Seen::Never(promise) = memory.begin("s", "k", b"body") else { panic!("the key is new") };
        let Seen::Before(mut pending) = memory.begin("s", "k", b"body") else { panic!("the key is pending") };
        assert!(matches!(memory.begin("s", "k", b"other"), Seen::Otherwise));
        assert!(matches!(memory.begin("t", "k", b"body"), Seen::Never(_)), "another stream, another key");
        promise.keep(Ok(Report { accepted: 7, ..Report::default() }));
        assert_eq!(pending.wait().await.unwrap().accepted, 7);

        let Seen::Never(promise) = memory.begin("s", "fails", b"x") else { panic!("the key is new") };
        promise.keep(Err(PublishError::Unavailable("away".into())));
        assert!(matches!(memory.begin("s", "fails", b"x"), Seen::Never(_)), "a failure is forgotten");
    }

    #[test]
    fn the_oldest_key_goes_first() {
        let memory = Memory::default();
        for n in 0..=KEYS_MAX {
            let Seen::Never(promise) = memory.begin("s", &n.to_string(), b"") else { panic!("{n} is new") };
            promise.keep(Ok(Report::default()));
        }
        assert!(matches!(memory.begin("s", "1", b""), Seen::Before(_)));
        assert_eq!(memory.0.lock().by_key.len(), KEYS_MAX);
        assert!(matches!(memory.begin("s", "0", b""), Seen::Never(_)));
    }
}
