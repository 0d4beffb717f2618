//! Source: which life of a topic a journal was written from.
//!
//! **In** the topic's id as the log tells it. **Out** a header of every journal record, and a check of it on restoring.
//! **Invariant:** a journal is never continued on a topic that was deleted and made anew: its offsets are of other records, and
//! nothing tells which of those the new one holds again. **Not here:** a topic made anew while it is read (the log tells that).

use std::time::Duration;

use bytes::Bytes;
use windrow_core::{
    batch::Record,
    out::{OutRecord, Target},
};

use crate::log::{Log, LogError, Result, Topic, Tp};

/// Name of the header.
const HEADER: &str = "source";
/// A topic that was made a moment ago, or is just being made anew, is not known to every broker yet.
const LOOKS_MAX: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// What a log tells that knows no ids.
const UNKNOWN: u128 = 1;

/// The topic that a task reads.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    topic: Topic,
    /// `None` where the log knows no ids.
    id: Option<Bytes>,
}

impl Source {
    pub(super) async fn of(log: &dyn Log, tp: &Tp) -> Result<Self> {
        let mut looks = 1;
        let epoch = loop {
            match log.topic(&tp.topic).await? {
                Some(found) => break found.epoch,
                None if looks == LOOKS_MAX => return Err(LogError::UnknownTopic(tp.topic.clone())),
                None => looks += 1,
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        };
        let id = (epoch != UNKNOWN).then(|| Bytes::copy_from_slice(&epoch.to_be_bytes()));
        Ok(Self { topic: tp.topic.clone(), id })
    }

    /// Tells whether it is that life of the topic.
    pub(super) fn is_of(&self, epoch: u128) -> bool {
        self.id.as_deref().is_none_or(|id| *id == epoch.to_be_bytes())
    }

    /// Marks a record of a journal; others are left alone.
    pub(super) fn mark(&self, record: &mut OutRecord) {
        if let (Target::Journal(_), Some(id)) = (&record.target, &self.id) {
            record.headers.push((HEADER, id.clone()));
        }
    }

    /// Tells whether journals show which topic they were written from.
    pub(super) fn is_known(&self) -> bool {
        self.id.is_some()
    }

    /// Checks that a record of a journal was written from this topic; one without a mark may be.
    pub(super) fn check(&self, record: &Record<'_>) -> Result<()> {
        let of_record = record.headers.get(HEADER).flatten();
        match (of_record, self.id.as_deref()) {
            (Some(then), Some(now)) if then != now => Err(LogError::Recreated(self.topic.clone())),
            _ => Ok(()),
        }
    }
}

/// Offsets and journals are of the former topic.
pub(super) fn made_anew(app: &str, topic: &str) -> LogError {
    LogError::Fatal(format!(
        "topic {topic} was deleted and made anew since app {app} began to read it: the state of its views is of the former one; \
         reset each of them (`--reset VIEW`), or give the app another name to begin with the new one"
    ))
}
