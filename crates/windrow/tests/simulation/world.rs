//! One run: a scenario, processes that come and go, faults, records, and at the end peace, in which all must be folded.
//!
//! **In** a seed. **Out** what happened, or the claim that does not hold. **Invariant:** the same seed is the same run.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use windrow::{
    config::StreamConfig,
    log::{Log, LogError, TopicSpec, Tp},
    stats::Stats,
    topics,
    worker::{Clock, Shared},
};

use crate::{
    broker::{Broker, Knobs},
    check::Checker,
    log::{Net, SimLog},
    process::{self, Process},
    rng::Rng,
    scenario::{APP, SOURCE, Scenario},
    source::Source,
};

const PROCESSES_MAX: usize = 4;
/// Peace of this length must be enough to fold everything: twice what the longest time-outs come to, one after the other.
const PEACE_MAX: Duration = Duration::from_secs(120);

pub(crate) struct World {
    net: Arc<Net>,
    scenario: Scenario,
    rng: Rng,
    source: Source,
    checker: Checker,
    processes: Vec<Process>,
    names: u32,
    views: usize,
    /// Markers that had arrived at the last look at everything.
    looked_at: u64,
}

/// How often what happened.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

impl World {
    pub(crate) async fn new(seed: u64, scenario: Scenario, traced: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x51b1);
        let mut broker =
            Broker::new(scenario.knobs.clone(), (scenario.session_ms, scenario.answer_ms), rng.fork());
        broker.create(&TopicSpec {
            name: SOURCE.into(),
            partitions: scenario.partitions,
            replication: 1,
            compact: false,
            retention: None,
            retention_bytes: None,
        });
        let net = Net::new(broker, rng.fork(), traced);
        tokio::spawn(net.clone().pass_time());
        net.note(|| format!("{scenario:?}"));
        let source = Source::new(scenario.partitions, scenario.keyed, rng.fork());
        let checker = Checker::new(scenario.plan(scenario.views_at_first));
        let views = scenario.views_at_first;
        Self { net, scenario, rng, source, checker, processes: Vec::new(), names: 0, views, looked_at: 0 }
    }

    /// What happened, if the run was traced.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.net.trace.as_ref().map(|trace| trace.lock().clone()).unwrap_or_default()
    }

    /// Runs the scenario to its end.
    pub(crate) async fn run(&mut self) -> Result<Counts, String> {
        self.start(None).await;
        for _ in 0..self.scenario.steps {
            let pause_ms = match self.rng.below(10) {
                0 => self.rng.within(500..4000),
                _ => self.rng.within(1..300),
            };
            sleep(Duration::from_millis(pause_ms.unsigned_abs())).await;
            self.act().await;
            // Each look at everything restores every task: now and then is enough.
            let closely = self.rng.per_mille(400);
            self.check(closely).await?;
        }
        self.finish().await?;
        Ok(self.net.with(|broker| broker.counts.clone()))
    }

    /// Makes peace and waits until everything is folded.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        self.make_peace().await;
        self.settle().await
    }

    pub(crate) async fn pass(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    pub(crate) fn produce(&mut self) {
        self.net.with(|broker| self.source.produce(broker));
        self.net.changed.notify_waiters();
    }

    pub(crate) fn generation(&self) -> i32 {
        self.net.with(|broker| broker.group.generation())
    }

    pub(crate) fn committed(&self, tp: &Tp) -> Option<i64> {
        self.net.with(|broker| broker.offsets.get(tp).copied())
    }

    pub(crate) fn kill_nth(&mut self, which: usize) {
        let victim = self.processes.remove(which);
        self.net.note(|| format!("{} is killed", victim.name));
        victim.kill();
    }

    pub(crate) fn freeze_nth(&self, which: usize) {
        self.net.note(|| format!("{} is frozen", self.processes[which].name));
        self.processes[which].freeze();
    }

    pub(crate) fn stop_nth(&self, which: usize) {
        self.processes[which].ask_to_stop();
    }

    /// Retention takes everything of a partition of the source below `offset`.
    pub(crate) fn purge(&self, tp: &Tp, offset: i64) {
        self.net.note(|| format!("retention takes {tp} below {offset}"));
        self.net.with(|broker| broker.partition_mut(tp).expect("the source is there").delete_below(offset));
    }

    async fn act(&mut self) {
        let running = self.processes.len();
        match self.rng.below(100) {
            0..55 => self.net.with(|broker| self.source.produce(broker)),
            55..65 if running < PROCESSES_MAX => self.start(None).await,
            65..75 if running > 0 => self.kill().await,
            75..85 if running > 0 => self.freeze(),
            85..88 if running > 0 => {
                let which = self.rng.below(running);
                self.count("asked to stop");
                self.processes[which].ask_to_stop();
            }
            88..95 => self.purge_source(),
            95..100 if self.views < self.scenario.views.len() => self.add_view().await,
            _ if running == 0 => self.start(None).await,
            _ => {}
        }
        self.net.with(|broker| self.source.settle(broker, false));
        self.net.changed.notify_waiters();
        if self.rng.per_mille(150) {
            self.thaw();
        }
    }

    fn count(&self, what: &'static str) {
        self.net.note(|| what.to_owned());
        self.net.with(|broker| broker.count(what));
    }

    pub(crate) async fn start(&mut self, name: Option<Arc<str>>) {
        let name = name.unwrap_or_else(|| {
            self.names += 1;
            format!("w{}", self.names).into()
        });
        self.net.note(|| format!("{name} starts"));
        let plan = self.checker.plan.clone();
        let scenario = &self.scenario;
        let share = async |log: SimLog| {
            let config = StreamConfig {
                spec: plan.spec.clone(),
                partitions: scenario.partitions,
                replication: 1,
                retention: None,
                start_earliest: true,
                gap_stops: false,
            };
            let sources = topics::Sources::one(&SOURCE.into(), scenario.partitions);
            let work = loop {
                let input = (tokio::sync::watch::channel(false).1, false);
                match topics::ensure_work(&log, APP, &plan, &config, &sources, input).await {
                    Ok(work) => break work,
                    Err(LogError::Retry(_)) => sleep(Duration::from_millis(10)).await,
                    Err(error) => panic!("{error}"),
                }
            };
            Shared {
                log: Arc::new(log) as Arc<dyn Log>,
                app: APP.into(),
                streams: Arc::new(work.into_iter().collect()),
                stats: Arc::new(Stats::default()),
                commit_interval: Duration::from_millis(100),
                exactly_once: true,
                task: scenario.bounds.clone(),
                clock: Clock::runtime(1_700_000_000_000),
                watermarks: None,
                ended: process::no_ends(),
            }
        };
        let process = Process::start(&self.net, name, scenario.static_members, share).await;
        self.processes.push(process);
    }

    /// Kills one; often it comes back at once under its name, as a restarted container does.
    async fn kill(&mut self) {
        let which = self.rng.below(self.processes.len());
        let name = self.processes[which].name.clone();
        self.count("killed");
        self.kill_nth(which);
        if self.rng.per_mille(500) {
            self.start(Some(name)).await;
        }
    }

    fn freeze(&mut self) {
        let which = self.rng.below(self.processes.len());
        self.count("frozen");
        self.freeze_nth(which);
    }

    pub(crate) fn thaw(&mut self) {
        for process in self.processes.iter().filter(|process| process.is_frozen()) {
            self.net.note(|| format!("{} thaws", process.name));
            process.thaw();
        }
    }

    /// Retention: up to what was committed, or past it when the scenario says so.
    fn purge_source(&mut self) {
        let history_is_needed = self.scenario.views_at_first < self.scenario.views.len();
        if history_is_needed {
            return;
        }
        let partition = self.rng.below(self.scenario.partitions as usize);
        let tp = Tp::new(SOURCE, partition as i32);
        let loses = self.scenario.loses_records && self.rng.per_mille(500);
        let rng = &mut self.rng;
        let offset = self.net.with(|broker| {
            // Before the first commit nobody knows where reading began: the oracle neither.
            let Some(committed) = broker.offsets.get(&tp).copied() else { return 0 };
            let held = broker.partition_mut(&tp).expect("the source is there");
            let end = held.ends().last_stable;
            let to = if loses && end > committed { rng.within(committed..end + 1) } else { committed };
            held.delete_below(to);
            broker.count(if to > committed { "retention overtook" } else { "retention followed" });
            to
        });
        self.net.note(|| format!("retention takes {tp} below {offset}"));
    }

    /// Everything is stopped, and started again with one more view.
    async fn add_view(&mut self) {
        self.count("view added");
        for process in std::mem::take(&mut self.processes) {
            process.kill();
        }
        self.net.with(|broker| broker.may_go_back = true);
        self.views += 1;
        self.checker.plan = self.scenario.plan(self.views);
        for _ in 0..1 + self.rng.below(2) {
            self.start(None).await;
        }
    }

    /// Rules that always hold; and when nothing is under way, all of them.
    pub(crate) async fn check(&mut self, closely: bool) -> Result<(), String> {
        let over: Vec<Process> = self.processes.extract_if(.., |process| process.is_over()).collect();
        for process in over {
            process.verdict().await?;
        }
        let (checker, scenario, source) = (&mut self.checker, &self.scenario, &self.source);
        let looked_at = &mut self.looked_at;
        self.net.with(|broker| {
            checker.step(broker, scenario)?;
            let delivered = broker.transactions.delivered();
            if !closely || *looked_at == delivered || !broker.transactions.is_quiet() {
                return Ok(());
            }
            *looked_at = delivered;
            let compared = checker.quiet(broker, scenario, source)?;
            broker.count("quiet moments");
            (0..compared).for_each(|_| {
                broker.count(if scenario.two_stages() {
                    "merged views compared"
                } else {
                    "local views compared"
                })
            });
            Ok(())
        })
    }

    async fn make_peace(&mut self) {
        self.net.note(|| "peace".into());
        self.thaw();
        self.net.with(|broker| {
            broker.knobs = Knobs {
                slow_markers: 0,
                failures: 0,
                lost_answers: 0,
                slow_calls: 0,
                ..broker.knobs.clone()
            };
            self.source.settle(broker, true);
            self.source.finish(broker);
        });
        self.net.changed.notify_waiters();
        while self.views < self.scenario.views.len() {
            self.add_view().await;
        }
        if self.processes.is_empty() {
            self.start(None).await;
        }
    }

    /// Waits until everything is folded and committed.
    async fn settle(&mut self) -> Result<(), String> {
        let end = Instant::now() + PEACE_MAX;
        loop {
            sleep(Duration::from_millis(250)).await;
            self.check(true).await?;
            let left = self.left();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(format!("after {PEACE_MAX:?} of peace these are not folded: {left:?}"));
            }
            if self.processes.is_empty() {
                self.start(None).await;
            }
        }
    }

    /// Partitions, of the source and of partials, whose end is not committed.
    fn left(&self) -> Vec<(Tp, Option<i64>, i64)> {
        self.net.with(|broker| {
            let of = |tp: Tp| {
                let end = broker.partition(&tp).map_or(0, |held| held.ends().high_watermark);
                let committed = broker.offsets.get(&tp).copied();
                (committed != Some(end) || !broker.transactions.is_quiet()).then_some((tp, committed, end))
            };
            broker.group.partitions.clone().into_iter().filter_map(of).collect()
        })
    }
}
