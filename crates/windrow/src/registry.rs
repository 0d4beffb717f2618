//! The schema registry: asked once for each id, however many readers wait for the answer.
//!
//! **In** ids that records name. **Out** schemas with all they refer to; or that there is none under an id.
//! **Before** this file: `config`. **After** it: the formats, which are taught before a record is handed over.
//!
//! | file | part |
//! |---|---|
//! | `http` | one question over HTTP: addresses in turn, who asks, certificates, bounds |
//! | `schemas` | a schema with what it refers to |
//! | `enrolled` | a log for who writes, once the schemas of what is written have ids |
//! | `taught` | a log whose readers hold records back until their schemas are known |
//!
//! An id that the registry says it does not have is asked for again for `UNKNOWN_WAIT`: a producer registers and writes at once, and what
//! answers may be a replica that lags. After that the records are bad. What is said so is forgotten after `UNKNOWN_KEPT`.
//!
//! **Invariant:** one question in flight an id. A registry that is away, refuses or answers nonsense is waited for, with a pause that
//! grows, and `/readyz` says so; no record is ever judged by that. Everything is bounded: questions, answers, what is kept.
//! **Not here:** what a schema means (`windrow_core`).
//!
//! Source: Confluent Schema Registry, "API reference".

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use windrow_core::registry::Answer;

use crate::{config::RegistryConfig, stats::Stats};
use http::Http;

pub mod enrolled;
mod http;
mod schemas;
mod taught;
#[cfg(test)]
mod tests;

pub use taught::Taught;

/// How long an unknown id is asked for again, and the pauses meanwhile.
const UNKNOWN_WAIT: Duration = Duration::from_secs(2);
const UNKNOWN_PAUSE: Duration = Duration::from_millis(500);
/// How long an unknown id stays so.
const UNKNOWN_KEPT: Duration = Duration::from_secs(30);
/// First and longest pause while the registry is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Questions in flight: a registry has few threads, and serves others as well.
const QUESTIONS_MAX: usize = 4;
/// Ids that are asked for at once; further ones wait for their turn.
const ASKED_MAX: usize = 256;
/// Ids of which it is known that they are unknown.
const UNKNOWN_MAX: usize = 4_096;
/// Texts of schemas that are kept for a second stream of the same ids. What a stream has learned it keeps by itself.
const ANSWERS_MAX_BYTES: usize = 16 << 20;

/// What is known of an id.
#[derive(Debug, Clone)]
pub(crate) enum Look {
    /// Its schema.
    Found(Arc<Answer>),
    /// There is none.
    Unknown,
    /// It is being asked for, or will be: look again when there is news.
    Asked,
}

/// A registry; see the module.
#[derive(Debug)]
pub struct Registry {
    http: Arc<Http>,
    state: Mutex<State>,
    questions: Semaphore,
    news: watch::Sender<u64>,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct State {
    ids: BTreeMap<u32, Known>,
    asked: usize,
    unknown: usize,
    answers_bytes: usize,
}

#[derive(Debug)]
enum Known {
    Asked,
    Found(Arc<Answer>),
    Unknown { since: Instant },
}

impl Registry {
    /// Makes ready to ask; nothing is asked yet.
    ///
    /// - **Errors:** certificates that cannot be used.
    pub fn new(config: &RegistryConfig, stats: Arc<Stats>) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            http: Arc::new(Http::new(config)?),
            state: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            news: watch::Sender::new(0),
            stats,
        }))
    }

    /// Tells what is known of an id, and asks for it when that is nothing. Must be called inside a runtime.
    pub(crate) fn look(self: &Arc<Self>, id: u32) -> Look {
        let mut state = self.state.lock();
        match state.ids.get(&id) {
            Some(Known::Asked) => return Look::Asked,
            Some(Known::Found(answer)) => return Look::Found(answer.clone()),
            Some(Known::Unknown { since }) if since.elapsed() < UNKNOWN_KEPT => return Look::Unknown,
            Some(Known::Unknown { .. }) => state.unknown -= 1,
            None => {}
        }
        if state.asked >= ASKED_MAX {
            state.ids.remove(&id);
            return Look::Asked;
        }
        state.asked += 1;
        state.ids.insert(id, Known::Asked);
        drop(state);
        tokio::spawn(self.clone().ask(id));
        Look::Asked
    }

    /// Returns what changes with each answer.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Asks until there is an answer.
    async fn ask(self: Arc<Self>, id: u32) {
        let began = Instant::now();
        let (mut pause, mut told) = (PAUSES.0, String::new());
        let known = loop {
            let wait = match self.question(id).await {
                Ok(Some(answer)) => break Known::Found(Arc::new(answer)),
                Ok(None) if began.elapsed() >= UNKNOWN_WAIT => {
                    tracing::warn!("the registry has no schema {id}; records with it are bad");
                    break Known::Unknown { since: Instant::now() };
                }
                Ok(None) => UNKNOWN_PAUSE,
                Err(why) => {
                    if told != why {
                        tracing::warn!("the registry cannot be asked for schema {id}: {why}; trying again");
                        told.clone_from(&why);
                    }
                    self.stats.trouble("registry", why);
                    let now = jittered(pause);
                    pause = (pause * 2).min(PAUSES.1);
                    now
                }
            };
            tokio::time::sleep(wait).await;
        };
        self.state.lock().settle(id, known);
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn question(&self, id: u32) -> Result<Option<Answer>, String> {
        let _turn = self.questions.acquire().await.map_err(|closed| closed.to_string())?;
        let http = self.http.clone();
        // The client blocks: it is asked a few times in the life of a process.
        let asked = tokio::task::spawn_blocking(move || schemas::by_id(&http, id)).await;
        let answer = asked.unwrap_or_else(|panic| Err(panic.to_string()))?;
        self.stats.fine("registry");
        Ok(answer)
    }
}

impl State {
    /// Enters an answer, and forgets what there is no room for.
    fn settle(&mut self, id: u32, known: Known) {
        self.asked -= 1;
        match &known {
            Known::Found(answer) => self.answers_bytes += bytes(answer),
            _ => self.unknown += 1,
        }
        self.ids.insert(id, known);
        while self.answers_bytes > ANSWERS_MAX_BYTES {
            let others = self.ids.iter().filter(|(other, _)| **other != id);
            let found = others.filter_map(|(id, known)| match known {
                Known::Found(answer) => Some((*id, bytes(answer))),
                _ => None,
            });
            let Some((oldest, bytes)) = found.min() else { return };
            self.ids.remove(&oldest);
            self.answers_bytes -= bytes;
        }
        if self.unknown > UNKNOWN_MAX {
            let unknown = self.ids.iter().filter_map(|(id, known)| match known {
                Known::Unknown { since } => Some((*since, *id)),
                _ => None,
            });
            if let Some((_, longest)) = unknown.min() {
                self.ids.remove(&longest);
                self.unknown -= 1;
            }
        }
    }
}

fn bytes(answer: &Answer) -> usize {
    let references = answer.references.iter().map(|r| r.name.len() + r.text.len());
    answer.text.len() + references.sum::<usize>()
}

/// Between half of a pause and all of it, so that the nodes of an app do not ask in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}
