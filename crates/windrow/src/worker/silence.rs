//! Silence: a worker watches how quiet its partitions are, lets the idle ones flow, and tells the other processes.
//!
//! **In** every fetch answer of a source partition; the table of what others tell. **Out** tasks whose time moved on, just before a
//! cut; records for `<app>.watermarks` in the same transaction.
//! **Invariant:** time is tokio's monotonic one; a partition flows at most each [`STEP`] by the clock and is told at most each
//! [`TELL_PAUSE`], so a system at rest commits about once a second. What is told stands in a transaction with the journal that holds it.
//! **Not here:** the rules (`windrow_core::silence`), the topic (`watermarks`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use windrow_core::silence::{Flow, Known, QuietClock};

use super::{Shared, commit::Epoch, owned::Owned};
use crate::{
    log::{Fetched, ReaderOptions, Topic, Tp},
    stats::{Gauge, Stats},
    topics::StreamWork,
    watermarks::{self, TOLD_EVERY, Watermarks},
};

/// Time between two steps by the clock.
const STEP: Duration = Duration::from_secs(1);
/// Least time between two transactions that tell of changes.
const TELL_PAUSE: Duration = Duration::from_millis(200);

/// What one worker knows of silence.
pub(super) struct Silence {
    streams: Arc<BTreeMap<Topic, StreamWork>>,
    others: Option<Arc<Watermarks>>,
    stats: Arc<Stats>,
    watched: BTreeMap<Tp, Watched>,
    told: BTreeMap<Tp, Known>,
    began: Instant,
    step_at: Instant,
    tell_at: Instant,
    tell_all_at: Instant,
}

struct Watched {
    clock: QuietClock,
    quiet_ms: Arc<Gauge>,
}

impl Silence {
    pub(super) fn new(shared: &Shared) -> Self {
        let now = Instant::now();
        Self {
            streams: shared.streams.clone(),
            others: shared.watermarks.clone(),
            stats: shared.stats.clone(),
            watched: BTreeMap::new(),
            told: BTreeMap::new(),
            began: now,
            step_at: now,
            tell_at: now,
            tell_all_at: now + TOLD_EVERY,
        }
    }

    /// Takes an answer of a partition that is owned, at the moment it came.
    pub(super) fn fetched(&mut self, item: &Fetched) {
        let Some(work) = source(&self.streams, &item.tp.topic) else { return };
        let watched = self.watched.entry(item.tp.clone()).or_insert_with(|| Watched {
            clock: QuietClock::new(millis(ReaderOptions::default().wait_max)),
            quiet_ms: self
                .stats
                .gauge(("partition", work.plan.spec.name.clone(), Some(item.tp.partition)), "quiet_ms"),
        });
        watched.clock.answer(millis(self.began.elapsed()), item.from, item.next, item.high_watermark);
        watched.quiet_ms.set(watched.clock.quiet_ms());
    }

    /// Lets idle partitions flow; call before a cut.
    pub(super) fn flow(&mut self, tasks: &mut BTreeMap<Tp, Owned>) {
        self.watched.retain(|tp, _| tasks.contains_key(tp));
        self.told.retain(|tp, _| tasks.contains_key(tp));
        let now = Instant::now();
        let steps = now >= self.step_at;
        if steps {
            self.step_at = now + STEP;
        }
        let streams = self.streams.clone();
        let flows =
            |work: &&StreamWork| !work.merges() && watermarks::flows(&work.plan, |view| work.scatters(view));
        // Several topics may be of one stream; what is asked of its work is the same for all of them.
        let by_name: BTreeMap<_, _> =
            streams.values().filter(flows).map(|work| (&work.plan.spec.name, work)).collect();
        for work in by_name.into_values() {
            self.flow_stream(work, tasks, steps);
        }
    }

    fn flow_stream(&mut self, work: &StreamWork, tasks: &mut BTreeMap<Tp, Owned>, steps: bool) {
        let name = &work.plan.spec.name;
        let numbers = work.sources.living();
        let mut known = match &self.others {
            Some(others) => others.known(name, &numbers),
            None => vec![None; numbers.len()],
        };
        let streams = self.streams.clone();
        let number = |tp: &Tp| {
            let of = source(&streams, &tp.topic).filter(|of| of.plan.spec.name == *name);
            of.and_then(|of| of.number(tp.partition)).and_then(|number| numbers.binary_search(&number).ok())
        };
        let mut mine = Vec::new();
        for (tp, owned) in tasks {
            let Some(at) = number(tp) else { continue };
            let own = self.known(work, tp, owned);
            known[at] = Some(own);
            mine.push((tp, owned, own));
        }
        if mine.is_empty() {
            return;
        }
        let (flow, now_ms) = (Flow::of(known), millis(self.began.elapsed()));
        for (tp, owned, own) in mine {
            let Some(watched) = self.watched.get_mut(tp) else { continue };
            match flow {
                Flow::Clock(highest_ms) if steps => {
                    let to_ms = watched.clock.step(now_ms, own.watermark_ms, highest_ms);
                    flow_to(owned, own, to_ms);
                }
                Flow::Clock(_) => {}
                Flow::Follow(to_ms) => {
                    watched.clock.hold();
                    flow_to(owned, own, to_ms);
                }
                Flow::Stay => watched.clock.hold(),
            }
        }
    }

    /// Adds to the epoch what the others have to know; call after the cut.
    pub(super) fn tell(&mut self, tasks: &BTreeMap<Tp, Owned>, now_ms: i64, epoch: &mut Epoch) {
        let (Some(others), now) = (self.others.clone(), Instant::now()) else { return };
        if now < self.tell_at {
            return;
        }
        let all = now >= self.tell_all_at;
        if all {
            self.tell_all_at = now + TOLD_EVERY;
        }
        for (tp, owned) in tasks {
            let Some(work) = source(&self.streams, &tp.topic) else { continue };
            if !watermarks::is_shared(work) {
                continue;
            }
            let Some(number) = work.number(tp.partition) else { continue };
            let known = self.known(work, tp, owned);
            if all || self.told.get(tp) != Some(&known) {
                let stream = &work.plan.spec.name;
                epoch.records.push(others.record(stream, number, known, now_ms));
                self.told.insert(tp.clone(), known);
                self.tell_at = now + TELL_PAUSE;
            }
        }
    }

    /// Tasks went back to their journals. What was told last may have been aborted, so all of it is told again; and records that are
    /// folded again are not behind anybody yet, so silence is watched anew.
    pub(super) fn forget(&mut self) {
        self.told.clear();
        self.watched.clear();
    }

    /// The partition is another's now; should it come back, others have folded it meanwhile.
    pub(super) fn release(&mut self, tp: &Tp) {
        self.told.remove(tp);
        self.watched.remove(tp);
    }

    fn known(&self, work: &StreamWork, tp: &Tp, owned: &Owned) -> Known {
        let clock = self.watched.get(tp).map(|watched| &watched.clock);
        let watermark_ms = owned.task.watermark_ms();
        let idle = clock.is_some_and(|clock| clock.is_idle(work.plan.spec.idle_ms, watermark_ms));
        Known { watermark_ms, idle }
    }
}

/// Where partials are merged the sources' time counts, and nobody watches.
fn source<'s>(streams: &'s BTreeMap<Topic, StreamWork>, topic: &Topic) -> Option<&'s StreamWork> {
    streams.get(topic).filter(|work| !work.merges())
}

/// Only idle partitions flow, and only forward; what ended has nowhere to go.
fn flow_to(owned: &mut Owned, own: Known, to_ms: i64) {
    if own.idle && own.watermark_ms < to_ms {
        owned.task.flow_to(to_ms);
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
