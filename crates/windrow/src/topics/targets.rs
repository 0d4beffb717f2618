//! Targets: where the records of a task go.
//!
//! **In** a record with its [`Target`]. **Out** topic, partition, and whether the topic takes it.
//! **Invariant:** a row that is larger than its topic takes is found here, before anything is sent; a letter is shortened instead,
//! with its true length in a header. **Not here:** how the topics are made (`topics`).

use bytes::Bytes;
use windrow_core::out::{OutRecord, Place, Target};

use crate::log::{LogError, Outgoing, Result, Topic};

/// One topic that tasks write to.
#[derive(Debug, Clone)]
pub(super) struct Sink {
    pub(super) topic: Topic,
    pub(super) partitions: i32,
    /// Largest record that it takes.
    pub(super) record_max_bytes: usize,
}

/// Where one view's records go.
#[derive(Debug, Clone, Default)]
pub(super) struct ViewTargets {
    pub(super) channel: Option<Sink>,
    pub(super) journal: Option<Sink>,
    pub(super) late: Option<Sink>,
    pub(super) user: Option<Sink>,
    pub(super) partials: Option<Sink>,
}

impl ViewTargets {
    pub(super) fn partials(&self) -> Option<&Sink> {
        self.partials.as_ref()
    }

    fn all(&self) -> impl Iterator<Item = &Sink> {
        [&self.channel, &self.journal, &self.late, &self.user, &self.partials].into_iter().flatten()
    }
}

/// Where the records of one topic's tasks go, by [`Target`].
#[derive(Debug, Clone)]
pub struct Targets {
    pub(super) bad: Option<Sink>,
    pub(super) views: Vec<ViewTargets>,
}

impl Targets {
    /// Returns the journal topic of a view, when its tasks have one in that partition.
    pub fn journal(&self, view: usize, partition: i32) -> Option<Topic> {
        let sink = self.views.get(view)?.journal.as_ref()?;
        (partition < sink.partitions).then(|| sink.topic.clone())
    }

    /// Tells whether the stream has a topic for dead letters.
    pub fn has_letters(&self) -> bool {
        self.bad.is_some()
    }

    /// Returns all topics that tasks write to; some of them more than once.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.bad.iter().chain(self.views.iter().flat_map(ViewTargets::all)).map(|sink| &sink.topic)
    }

    /// Returns the views that write to a topic: all of them for the stream's own letters.
    pub fn writers_of(&self, topic: &str) -> Vec<usize> {
        let is_bad = self.bad.as_ref().is_some_and(|bad| *bad.topic == *topic);
        let writes = |view: &ViewTargets| is_bad || view.all().any(|sink| *sink.topic == *topic);
        self.views.iter().enumerate().filter(|(_, view)| writes(view)).map(|(index, _)| index).collect()
    }

    /// Turns a task's record into one for the log.
    ///
    /// - **Errors:** [`LogError::Refused`] when its topic does not take a record of that size; [`LogError::Fatal`] when the
    ///   target was never made, which is a bug of the plan.
    pub fn resolve(&self, record: OutRecord) -> Result<Outgoing> {
        let target = record.target;
        let sink = self.sink(target).ok_or_else(|| {
            LogError::Fatal(format!(
                "a record for {target:?} has no topic to go to; this is a bug of windrow"
            ))
        })?;
        let partition = match record.place {
            Place::Exact(p) if p < sink.partitions => p,
            // A letter topic with fewer partitions than its source still takes every letter.
            Place::Exact(p) => p % sink.partitions,
            Place::Hash(h) => ((h & 0x7fff_ffff) % sink.partitions.cast_unsigned()).cast_signed(),
        };
        let mut outgoing = Outgoing {
            topic: sink.topic.clone(),
            partition,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms,
        };
        let size = size_bytes(&outgoing);
        if size > sink.record_max_bytes {
            let is_letter = matches!(target, Target::Late(_) | Target::Bad);
            if !(is_letter && shorten(&mut outgoing, size - sink.record_max_bytes)) {
                let reason = format!(
                    "a record of {size} bytes{}, and topic {} takes at most {}; raise its max.message.bytes, or make the \
                     view's rows smaller",
                    of_key(outgoing.key.as_ref()),
                    sink.topic,
                    sink.record_max_bytes
                );
                return Err(LogError::Refused { topic: sink.topic.clone(), reason });
            }
        }
        Ok(outgoing)
    }

    fn sink(&self, target: Target) -> Option<&Sink> {
        let view = |v: usize| self.views.get(v);
        match target {
            Target::Bad => self.bad.as_ref(),
            Target::Channel(v) => view(v)?.channel.as_ref(),
            Target::User(v) => view(v)?.user.as_ref(),
            Target::Late(v) => view(v)?.late.as_ref(),
            Target::Journal(v) => view(v)?.journal.as_ref(),
            Target::Partials(v) => view(v)?.partials.as_ref(),
        }
    }
}

fn size_bytes(record: &Outgoing) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    // A header's two lengths take at most five bytes each.
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len() + 10);
    length(&record.key) + length(&record.value) + headers.sum::<usize>()
}

/// Takes the excess off a letter's value; tells whether it was long enough for that.
fn shorten(letter: &mut Outgoing, excess: usize) -> bool {
    /// What the header with the true length comes to.
    const HEADER_BYTES: usize = 48;
    let Some(value) = &mut letter.value else { return false };
    let Some(left) = value.len().checked_sub(excess + HEADER_BYTES) else { return false };
    if !letter.headers.iter().any(|(name, _)| *name == "value_length") {
        letter.headers.push(("value_length", value.len().to_string().into()));
    }
    value.truncate(left);
    true
}

/// Names the row, as far as a sentence bears it.
fn of_key(key: Option<&Bytes>) -> String {
    const SHOWN_MAX_CHARS: usize = 80;
    let Some(key) = key else { return String::new() };
    let text = String::from_utf8_lossy(key);
    let shown: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    format!(" with key {shown}{}", if shown.len() < text.len() { "…" } else { "" })
}
