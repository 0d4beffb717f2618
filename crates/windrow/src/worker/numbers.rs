//! The numbers that an owned partition shows: its own, and those of each view in it.
//!
//! **Invariant:** what left this process leaves its numbers; a view that stopped says so in `/readyz` as long as it is here.
//! **Not here:** how they are summed and shown (`stats::rows`).

use std::{collections::BTreeMap, sync::Arc};

use windrow_core::{decode::BadReason, engine::Task};

use crate::{
    log::Tp,
    stats::{Counter, Gauge, Stats, Subject},
    topics::StreamWork,
};

/// The numbers of one partition, and of each view in it.
pub(super) struct Numbers {
    stats: Arc<Stats>,
    subject: Subject,
    records: Arc<Counter>,
    bad: BTreeMap<BadReason, (Arc<Counter>, u64)>,
    pub(super) gap: Arc<Counter>,
    pub(super) lag: Arc<Gauge>,
    position: Arc<Gauge>,
    views: Vec<ViewNumbers>,
    seen_records: u64,
}

struct ViewNumbers {
    index: usize,
    name: Arc<str>,
    stopped: Arc<Gauge>,
    /// `None` where the view is only scattered.
    state: Option<StateNumbers>,
    /// The view's other stage has numbers under the same partition.
    is_shared: bool,
    late: Arc<Counter>,
    refused: Arc<Counter>,
    repeated: Arc<Counter>,
    seen_late: u64,
    seen_refused: u64,
    seen_repeated: u64,
}

/// Their names.
const STATE: [&str; 4] = ["watermark", "open_windows", "keys", "state_bytes"];

struct StateNumbers {
    watermark: Arc<Gauge>,
    open_windows: Arc<Gauge>,
    keys: Arc<Gauge>,
    state_bytes: Arc<Gauge>,
}

impl Numbers {
    pub(super) fn new(stats: &Arc<Stats>, work: &StreamWork, tp: &Tp) -> Self {
        // Over several topics, their partitions are told apart by number.
        let number = work.number(tp.partition);
        let of = || match work.merges() {
            false => ("partition", work.plan.spec.name.clone(), number),
            true => ("partials", tp.topic.clone(), Some(tp.partition)),
        };
        let views = work.views().map(|index| {
            let name = work.plan.views[index].spec.name.clone();
            let of = || ("view", name.clone(), number);
            let state = (!work.scatters(index)).then(|| StateNumbers {
                watermark: stats.gauge(of(), STATE[0]),
                open_windows: stats.gauge(of(), STATE[1]),
                keys: stats.gauge(of(), STATE[2]),
                state_bytes: stats.gauge(of(), STATE[3]),
            });
            ViewNumbers {
                index,
                state,
                is_shared: work.merges() || work.scatters(index),
                stopped: stats.gauge(of(), "stopped"),
                late: stats.counter(of(), "late", ""),
                refused: stats.counter(of(), "refused", ""),
                repeated: stats.counter(of(), "repeated", ""),
                seen_late: 0,
                seen_refused: 0,
                seen_repeated: 0,
                name: name.clone(),
            }
        });
        Self {
            stats: stats.clone(),
            subject: of(),
            records: stats.counter(of(), "records", ""),
            bad: BadReason::ALL
                .iter()
                .map(|reason| (*reason, (stats.counter(of(), "bad", reason.label()), 0)))
                .collect(),
            gap: stats.counter(of(), "gap", ""),
            lag: stats.gauge(of(), "lag"),
            position: stats.gauge(of(), "position"),
            views: views.collect(),
            seen_records: 0,
        }
    }

    pub(super) fn show(&mut self, task: &Task) {
        let stats = task.stats();
        self.records.add(stats.records - self.seen_records);
        self.seen_records = stats.records;
        for (reason, total) in &stats.bad_by_reason {
            if let Some((counter, seen)) = self.bad.get_mut(reason) {
                counter.add(total - *seen);
                *seen = *total;
            }
        }
        self.position.set(stats.position);
        for numbers in &mut self.views {
            let view = task.view_stats(numbers.index);
            if let Some(state) = &numbers.state {
                state.watermark.set(view.watermark_ms);
                state.open_windows.set(view.open_windows);
                state.keys.set(view.keys);
                state.state_bytes.set(view.state_bytes);
            }
            numbers.late.add(view.late - numbers.seen_late);
            numbers.refused.add(view.refused - numbers.seen_refused);
            numbers.repeated.add(view.repeated - numbers.seen_repeated);
            (numbers.seen_late, numbers.seen_refused) = (view.late, view.refused);
            numbers.seen_repeated = view.repeated;
            if let Some(why) = &view.stopped {
                numbers.stopped.set(1);
                self.stats.trouble(&room(&numbers.name), &**why);
            }
        }
    }

    /// The partition went to another worker: it tells from now on.
    pub(super) fn forget(&self) {
        self.stats.forget(&self.subject);
        for view in &self.views {
            let of = ("view", view.name.clone(), self.subject.2);
            match (&view.state, view.is_shared) {
                (_, false) => self.stats.forget(&of),
                (Some(_), true) => self.stats.forget_some(&of, &STATE),
                (None, true) => {}
            }
            if view.stopped.get() > 0 {
                // Another partition or stage of it that stopped here says so again with its next cut.
                view.stopped.set(0);
                self.stats.fine(&room(&view.name));
            }
        }
    }
}

/// Where a view's trouble stands.
pub(crate) fn room(view: &str) -> String {
    format!("view {view}")
}
