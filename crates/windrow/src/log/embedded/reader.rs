//! The reader: hands over stored batches as they are, waits without polling.
//!
//! **In** partitions and positions. **Out** batches, gaps, and at least every `wait_max` word of silence per partition.
//! **Invariant:** a position moves only with the answer that tells it, so that a cancelled `next` loses nothing.
//! **Not here:** groups; retention, which this only notices.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};
use windrow_core::batch::{Batch, BatchError};

use super::{State, topics::Partition};
use crate::log::{Fetched, From, Gap, LogError, Reader, ReaderOptions, Result, Tp};

/// A reader on the embedded log.
pub(super) struct EmbeddedReader {
    state: Arc<State>,
    options: ReaderOptions,
    assigned: Vec<Assigned>,
    /// Whose turn is first, so that a full partition does not starve the others.
    turn: usize,
    commits: watch::Receiver<u64>,
}

struct Assigned {
    tp: Tp,
    start: From,
    /// Known once the topic exists.
    at: Option<(Arc<Partition>, i64)>,
    answered: Instant,
}

impl EmbeddedReader {
    pub(super) fn new(state: Arc<State>, options: ReaderOptions) -> Self {
        let commits = state.commits.subscribe();
        Self { state, options, assigned: Vec::new(), turn: 0, commits }
    }

    fn resolve(&mut self) -> Result<()> {
        self.assigned.iter_mut().filter(|a| a.at.is_none()).try_for_each(|a| a.resolve(&self.state))
    }

    /// Tells of a partition whose topic was deleted, or deleted and made anew: once, then it is no longer read.
    fn check_gone(&mut self) -> Result<()> {
        let is_gone =
            |a: &Assigned| a.at.as_ref().is_some_and(|(p, _)| p.is_gone() && !self.state.topics.holds(p));
        let Some(index) = self.assigned.iter().position(is_gone) else { return Ok(()) };
        let topic = self.assigned.remove(index).tp.topic;
        let is_back = self.state.topics.get(&topic).is_some();
        Err(if is_back { LogError::Recreated(topic) } else { LogError::UnknownTopic(topic) })
    }

    /// Partitions that have something to tell now, whose turn it is first.
    fn ready(&self) -> Vec<(usize, Arc<Partition>, i64)> {
        let count = self.assigned.len();
        let in_turn = (0..count).map(|i| (i + self.turn) % count);
        in_turn
            .filter_map(|i| {
                let (partition, position) = self.assigned[i].at.as_ref().filter(|(p, _)| !p.is_gone())?;
                let marks = partition.marks();
                (*position != marks.next || *position < marks.low).then(|| (i, partition.clone(), *position))
            })
            .collect()
    }

    /// Empty answers of the partitions that said nothing for `wait_max`.
    fn silent(&mut self, now: Instant) -> Vec<Fetched> {
        let due = |a: &&mut Assigned| now >= a.answered + self.options.wait_max;
        let silent = self.assigned.iter_mut().filter(due).filter_map(|a| {
            let (partition, position) = a.at.as_ref()?;
            // The end is read before the position is compared: a commit in between makes no false silence.
            let ends = partition.ends();
            (ends.high_watermark == *position).then(|| {
                a.answered = now;
                fetched(partition, Vec::new(), *position, *position, None)
            })
        });
        silent.collect()
    }

    async fn fetch(&mut self, ready: Vec<(usize, Arc<Partition>, i64)>) -> Result<Vec<Fetched>> {
        let (state, options) = (self.state.clone(), self.options);
        let work = ready.iter().map(|(_, partition, position)| (partition.clone(), *position)).collect();
        let read = tokio::task::spawn_blocking(move || read_all(&state, options, work)).await;
        let answers = read.map_err(|e| LogError::Retry(format!("reading was interrupted: {e}")))??;
        let now = Instant::now();
        for (answer, (i, _, _)) in answers.iter().zip(&ready) {
            let assigned = &mut self.assigned[*i];
            assigned.answered = now;
            if let Some((_, position)) = &mut assigned.at {
                *position = answer.next;
            }
        }
        if let Some((i, _, _)) = ready.get(answers.len()) {
            self.turn = *i;
        }
        Ok(answers)
    }
}

impl Assigned {
    fn resolve(&mut self, state: &State) -> Result<()> {
        let partition = state.topics.partition(&self.tp)?;
        let marks = partition.marks();
        let position = match self.start {
            From::Offset(offset) => offset,
            From::Earliest => marks.low,
            From::Latest => marks.next,
        };
        self.at = Some((partition, position));
        Ok(())
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    fn assign(&mut self, tp: Tp, from: From) {
        self.unassign(&tp);
        let mut assigned = Assigned { tp, start: from, at: None, answered: Instant::now() };
        // A topic that is missing is told by `next`.
        let _ = assigned.resolve(&self.state);
        self.assigned.push(assigned);
    }

    fn unassign(&mut self, tp: &Tp) {
        self.assigned.retain(|a| a.tp != *tp);
    }

    async fn next(&mut self) -> Result<Vec<Fetched>> {
        loop {
            self.commits.borrow_and_update();
            self.check_gone()?;
            self.resolve()?;
            let ready = self.ready();
            let mut answers = if ready.is_empty() { Vec::new() } else { self.fetch(ready).await? };
            answers.extend(self.silent(Instant::now()));
            if !answers.is_empty() {
                return Ok(answers);
            }
            let Some(due) = self.assigned.iter().map(|a| a.answered + self.options.wait_max).min() else {
                return std::future::pending().await;
            };
            tokio::select! {
                // The sender lives in `self.state`.
                _ = self.commits.changed() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }
}

/// Reads in order until the bytes are used up: answers of the first of `work`, at least one.
fn read_all(state: &State, options: ReaderOptions, work: Vec<(Arc<Partition>, i64)>) -> Result<Vec<Fetched>> {
    let mut left = options.fetch_max_bytes;
    let mut answers = Vec::with_capacity(work.len());
    for (partition, position) in work {
        let (answer, bytes) = read(state, &partition, position, left.min(options.partition_max_bytes))?;
        answers.push(answer);
        left = left.saturating_sub(bytes);
        if left == 0 {
            break;
        }
    }
    Ok(answers)
}

/// Reads one partition: at least one batch when there is one, whatever its size.
///
/// The upper end is taken before the batches and the lower one checked after them: a commit in between is read next
/// time, a retention pass in between makes this read anew, so that neither is passed over.
fn read(state: &State, partition: &Arc<Partition>, from: i64, max_bytes: usize) -> Result<(Fetched, usize)> {
    loop {
        let marks = partition.marks();
        // Past the end: what was there is gone, and new records will come from the end on.
        let start = from.max(marks.low).min(marks.next);
        let gap = (start != from).then_some(Gap { from, to: start });
        if gap.is_some() && partition.is_gone() {
            // That is its deletion, which is told by itself.
            return Ok((fetched(partition, Vec::new(), from, from, None), 0));
        }
        let (batches, next, bytes) = read_range(state, partition, start..marks.next, max_bytes)?;
        if partition.marks().low <= start {
            return Ok((fetched(partition, batches, from, next, gap), bytes));
        }
    }
}

/// Returns batches, the position after them and their stored bytes.
fn read_range(
    state: &State,
    partition: &Partition,
    range: Range<i64>,
    max_bytes: usize,
) -> Result<(Vec<Batch>, i64, usize)> {
    let mut batches = Vec::new();
    let (mut next, mut bytes) = (range.start, 0);
    for entry in state.store.batches(partition.place, range.start)? {
        let (base, stored) = entry?;
        if base >= range.end {
            break;
        }
        if bytes > 0 && bytes + stored.len() > max_bytes {
            return Ok((batches, next, bytes));
        }
        let corrupt = |reason: BatchError| LogError::Corrupt {
            tp: partition.tp.clone(),
            offset: base,
            reason: reason.to_string(),
        };
        let (batch, _) = Batch::parse(&stored).map_err(corrupt)?;
        if batch.last_offset() >= range.start {
            bytes += stored.len();
            next = batch.last_offset() + 1;
            batches.push(batch);
        }
    }
    // Compaction may have taken everything up to the end.
    Ok((batches, range.end, bytes))
}

fn fetched(partition: &Partition, batches: Vec<Batch>, from: i64, next: i64, gap: Option<Gap>) -> Fetched {
    let ends = partition.ends();
    Fetched {
        tp: partition.tp.clone(),
        batches,
        from,
        next,
        high_watermark: ends.high_watermark,
        last_stable: ends.last_stable,
        gap,
    }
}
