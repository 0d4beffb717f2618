//! What must be true whenever nothing is under way: outputs, journals and positions say what the oracle says of the same records.
//!
//! **In** the broker at a quiet moment. **Out** nothing, or the first claim that does not hold.
//! **Invariant:** a task restored from the journal as it lies in the log has the state that the oracle computes from the records
//! below its position: rows, windows, watermark. A view in two stages is compared when its partials are all merged.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use windrow::{log::Tp, topics};
use windrow_core::plan::StreamPlan;

use self::restored::Restored;
use crate::{
    broker::Broker,
    oracle::{Expected, Rec, RowKey, expect},
    scenario::{APP, SOURCE, Scenario, View},
    seen::{OfView, Seen},
    source::Source,
};

mod restored;

pub(crate) struct Checker {
    pub(crate) plan: Arc<StreamPlan>,
    seen: Seen,
    /// Highest watermark seen in each journal.
    watermarks: BTreeMap<(String, i32), i64>,
}

/// Where everything stands, as the journals say.
struct Moment<'a> {
    broker: &'a Broker,
    scenario: &'a Scenario,
    source: &'a Source,
    /// By source partition.
    restored: Vec<Restored>,
}

impl Checker {
    pub(crate) fn new(plan: Arc<StreamPlan>) -> Self {
        Self { plan, seen: Seen::default(), watermarks: BTreeMap::new() }
    }

    /// What holds at any moment.
    pub(crate) fn step(&mut self, broker: &Broker, scenario: &Scenario) -> Result<(), String> {
        if let Some(breach) = &broker.breach {
            return Err(breach.clone());
        }
        self.seen.read_on(broker, &scenario.views)
    }

    /// What holds when no transaction is open and no marker on its way; tells of how many views all of it was compared.
    pub(crate) fn quiet(
        &mut self,
        broker: &Broker,
        scenario: &Scenario,
        source: &Source,
    ) -> Result<usize, String> {
        let partitions = 0..scenario.partitions;
        let restored = partitions.map(|p| Restored::of_source(broker, &self.plan, scenario.two_stages(), p));
        let restored = restored.collect::<Result<Vec<_>, _>>()?;
        let moment = Moment { broker, scenario, source, restored };
        let mut compared = 0;
        let mut bad = BTreeSet::new();
        for (view, of) in scenario.views.iter().enumerate().take(self.plan.views.len()) {
            let parts: Vec<Vec<Rec>> = (0..moment.restored.len()).map(|p| moment.records(view, p)).collect();
            for (part, restored) in parts.iter().zip(&moment.restored) {
                let want = expect(std::slice::from_ref(part), of, scenario.lateness_ms);
                bad.extend(want.bad.iter().copied());
                self.watermark(restored, view, &want, of)?;
            }
            let expected = if scenario.two_stages() {
                self.merged(&moment, view, &parts)?
            } else {
                self.local(&moment, view, &parts)?
            };
            let Some(expected) = expected else { continue };
            let seen = self.seen.views.entry(of.name.clone()).or_default();
            outputs(seen, &expected, of).map_err(|why| format!("outputs of {}: {why}", of.name))?;
            compared += 1;
        }
        same("bad records", &self.seen.bad, &bad)?;
        let holes = broker
            .holes
            .iter()
            .flat_map(|(tp, holes)| holes.iter().map(|(from, to)| (tp.partition, *from, *to)));
        same("gaps told", &self.seen.gaps, &holes.collect())?;
        Ok(compared)
    }

    /// A watermark is what the records say, and never less than it was.
    fn watermark(
        &mut self,
        restored: &Restored,
        view: usize,
        want: &Expected,
        of: &View,
    ) -> Result<(), String> {
        let have = restored.stats[view].watermark_ms;
        let at = (format!("{} {}", restored.of, of.name), restored.partition);
        let before = self.watermarks.entry(at).or_insert(i64::MIN);
        if have < *before {
            return Err(format!(
                "{}: the watermark of {} went back from {before} to {have}",
                restored.of, of.name
            ));
        }
        *before = have;
        if of.size_ms.is_some() {
            same("watermark", &have, &want.watermark_ms.unwrap_or(i64::MIN))
                .map_err(|why| format!("{} of {} at {}: {why}", restored.of, of.name, restored.partition))?;
        }
        Ok(())
    }

    /// A view in one stage: each partition for itself.
    fn local(
        &self,
        moment: &Moment<'_>,
        view: usize,
        parts: &[Vec<Rec>],
    ) -> Result<Option<Vec<Expected>>, String> {
        let of = &moment.scenario.views[view];
        let mut expected = Vec::new();
        for (part, restored) in parts.iter().zip(&moment.restored) {
            let want = expect(std::slice::from_ref(part), of, moment.scenario.lateness_ms);
            state(&restored.open[view], restored.stats[view].keys, &want, of)
                .map_err(|why| format!("state of {} in partition {}: {why}", of.name, restored.partition))?;
            expected.push(want);
        }
        Ok(Some(expected))
    }

    /// A view in two stages: all partitions together, once all partials are merged.
    fn merged(
        &mut self,
        moment: &Moment<'_>,
        view: usize,
        parts: &[Vec<Rec>],
    ) -> Result<Option<Vec<Expected>>, String> {
        let (broker, of) = (moment.broker, &moment.scenario.views[view]);
        let want = expect(parts, of, moment.scenario.lateness_ms);
        let mut open = BTreeMap::new();
        let mut keys = 0;
        let topic = topics::partials(APP, &of.name);
        let mut all = true;
        for partition in 0..moment.scenario.partitions {
            let tp = Tp::new(topic.clone(), partition);
            let Ok(held) = broker.partition(&tp) else { return Ok(None) };
            let restored = Restored::of_partials(broker, &self.plan, view, &moment.restored, partition)?;
            if broker.offsets.get(&tp).copied().unwrap_or(0) < held.ends().high_watermark {
                all = false;
                continue;
            }
            keys += restored.stats[view].keys;
            open.extend(restored.open[view].clone());
            if all && parts.iter().all(|part| !part.is_empty()) {
                self.watermark(&restored, view, &want, of)?;
            }
        }
        if !all {
            return Ok(None);
        }
        state(&open, keys, &want, of).map_err(|why| format!("merged state of {}: {why}", of.name))?;
        Ok(Some(vec![want]))
    }
}

impl Moment<'_> {
    /// Records below a view's position that count: committed ones, without those that retention took before they were read.
    fn records(&self, view: usize, partition: usize) -> Vec<Rec> {
        let position = self.restored[partition].stats[view].position;
        let holes = self.broker.holes.get(&Tp::new(SOURCE, partition as i32));
        let is_lost =
            |at: i64| holes.is_some_and(|holes| holes.iter().any(|(from, to)| (*from..*to).contains(&at)));
        let counts = |(record, txn): &&(Rec, Option<u64>)| {
            let committed = txn.is_none_or(|txn| self.broker.transactions.outcomes.get(&txn) == Some(&true));
            record.offset < position && committed && !is_lost(record.offset)
        };
        self.source.records[partition].iter().filter(counts).map(|(record, _)| record.clone()).collect()
    }
}

fn state(open: &BTreeMap<RowKey, String>, keys: i64, want: &Expected, of: &View) -> Result<(), String> {
    same("keys", &keys, &(want.open.len() as i64))?;
    if of.size_ms.is_some() { same("rows of open windows", open, &want.open) } else { Ok(()) }
}

fn outputs(seen: &OfView, expected: &[Expected], of: &View) -> Result<(), String> {
    let mut want = Expected::default();
    for part in expected {
        want.finals.extend(part.finals.clone());
        want.last.extend(part.last.clone());
        want.late.extend(part.late.iter().copied());
    }
    same("finals", &seen.finals, &want.finals)?;
    if of.user_topic && of.size_ms.is_some() {
        same("finals in the user's topic", &seen.user, &want.finals)?;
    }
    same("the channel's table", &seen.last, &want.last)?;
    same("late records", &seen.late, &want.late)
}

fn same<T: PartialEq + Debug>(what: &str, have: &T, want: &T) -> Result<(), String> {
    if have == want { Ok(()) } else { Err(format!("{what}\n   have {have:?}\n   want {want:?}")) }
}
