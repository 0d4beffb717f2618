//! The world of a run: a broker, three engines, a feed, a reader; started, hurt, and asked whether all is well.
//!
//! **Invariant:** whatever goes wrong is told with everything that was done before it.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
    types::RDKafkaErrorCode,
};

use crate::{
    broker::Broker,
    feed::Feed,
    names::Names,
    oracle,
    process::Windrow,
    sight::{SENTINEL, Sight},
};

/// Engines of a run.
pub(crate) const ENGINES: usize = 3;
/// Those with a name of their own; the last one is a member that can't come back as itself.
pub(crate) const NAMED: usize = 2;
/// Session time-out of the members: how long one may be frozen before its partitions move.
pub(crate) const SESSION: Duration = Duration::from_secs(3);
/// Longest wait for everything that was fed to be folded and committed, whatever happened before: an open transaction of a
/// process that never comes back (15 s), and its session, on a machine that is busy.
const SETTLE_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Partitions after which it grows no more.
const PARTITIONS_MAX: i32 = 8;
/// Lines of each engine's log that a failure shows.
const LINES_MAX: usize = 40;
/// Sources at the beginning.
pub(crate) const PARTITIONS: i32 = 4;

/// What kind of views a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Keyed by the group column: every view is local. Time waits for records, so which ones are late is known.
    Local,
    /// Without message keys: views run in two stages, the source may grow, and silence moves time on.
    Two,
    /// The same over a pattern: each source is a topic, and more of them appear.
    Several,
}

const CONFIG: &str = r#"
app = "${APP}"
[log]
kind = "kafka"
bootstrap_servers = "${KAFKA}"
commit_interval = "50ms"
instance_id = "${INSTANCE:-}"
properties = { "session.timeout.ms" = "${SESSION_MS}", "heartbeat.interval.ms" = "500" }
[streams.events]
time = { column = "ts", unit = "ms" }
lateness = "2s"
max_ahead = "1h"
SHAPE
[views.counted]
sql = """
SELECT k, window_start AS at, count(*) AS n, sum(v) AS total, min(v) AS lo, max(v) AS hi, avg(v) AS mean,
       count(DISTINCT u) AS users
FROM events WHERE v >= 0 GROUP BY k, tumble(interval '5 seconds')
"""
grace = "1s"
retain = "1m"
topic = "${APP}-finals"
[views.copied]
sql = "SELECT _topic AS t, _partition AS p, _offset AS o FROM events WHERE v >= 0"
topic = "${APP}-copies"
[listeners.main]
bind = "127.0.0.1:0"
"#;

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) feed: Feed,
    pub(crate) engines: Vec<Option<Windrow>>,
    sight: Sight,
    names: Names,
    name: String,
    shape: Shape,
    app: String,
    config: tempfile::NamedTempFile,
    session: Duration,
    /// What the engines' former processes said.
    past: Vec<String>,
    history: Vec<String>,
    replay: String,
}

impl World {
    /// Starts everything; `replay` is the command that starts the same.
    pub(crate) async fn start(
        name: &str,
        shape: Shape,
        session: Duration,
        seed: u64,
        replay: String,
    ) -> Self {
        let broker = Broker::start();
        let app = &format!("{name}-{}", std::process::id());
        let (address, names) =
            (broker.address(), Names::new(format!("{app}-events"), shape == Shape::Several));
        let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let options = match shape {
            Shape::Local => "topic = \"${APP}-events\"\nidle = \"never\"\nkeyed_by = [\"k\"]",
            Shape::Two => "topic = \"${APP}-events\"\nidle = \"2s\"",
            Shape::Several => "topic_pattern = '^${APP}-events\\.'\npartitions = 4\nidle = \"2s\"",
        };
        std::fs::write(config.path(), CONFIG.replace("SHAPE", options)).unwrap();
        let (topics, partitions) = if shape == Shape::Several { (PARTITIONS, 1) } else { (1, PARTITIONS) };
        for number in 0..topics {
            make_topic(&address, &names.of(number).0, partitions).await;
        }
        let mut world = Self {
            feed: Feed::start(&address, names.clone(), PARTITIONS, shape == Shape::Local, seed),
            sight: Sight::start(&address, app),
            broker,
            names,
            engines: (0..ENGINES).map(|_| None).collect(),
            name: name.to_owned(),
            shape,
            app: app.clone(),
            config,
            session,
            past: vec![String::new(); ENGINES],
            history: Vec::new(),
            replay,
        };
        (0..ENGINES).for_each(|engine| world.start_engine(engine));
        (0..PARTITIONS).for_each(|number| world.watch_source(number));
        world.watch_outputs(0..PARTITIONS);
        world
    }

    fn watch_outputs(&mut self, partitions: Range<i32>) {
        let app = &self.app;
        for topic in ["-finals", "-copies", ".counted", ".counted.late", ".events.bad"] {
            self.sight.watch(&format!("{app}{topic}"), partitions.clone());
        }
    }

    fn watch_source(&mut self, number: i32) {
        let (topic, partition) = self.names.of(number);
        self.sight.watch(&topic, partition..partition + 1);
    }

    /// Names a topic of the app.
    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("{}{rest}", self.app)
    }

    /// Notes what is done, for the story of a failure.
    pub(crate) fn note(&mut self, what: String) {
        let line = format!("{} {what}", jiff::Timestamp::now());
        println!("{line}");
        self.history.push(line);
    }

    pub(crate) fn start_engine(&mut self, engine: usize) {
        let config = self.config.path().display().to_string();
        let name = if engine < NAMED { format!("e{engine}") } else { String::new() };
        let variables = [
            ("APP", self.app.clone()),
            ("KAFKA", self.broker.address()),
            ("INSTANCE", name),
            ("SESSION_MS", self.session.as_millis().to_string()),
        ];
        let arguments = ["serve", "--config", &config, "--role", "engine"];
        if let Some(former) = self.engines[engine].take() {
            self.past[engine] += &former.said();
        }
        self.engines[engine] = Some(Windrow::start(&arguments, &variables));
    }

    pub(crate) fn engine(&mut self, engine: usize) -> &mut Windrow {
        self.engines[engine].as_mut().expect("an engine that runs")
    }

    /// Joins the group under the name of an engine's first worker, and goes again.
    pub(crate) fn steal(&mut self, engine: usize) {
        let mut config = client(&self.broker.address());
        config.set("group.id", &self.app).set("group.instance.id", format!("e{engine}-0"));
        config.set("partition.assignment.strategy", "cooperative-sticky").set("enable.auto.commit", "false");
        let thief: BaseConsumer = config.create().unwrap();
        thief.subscribe(&[&self.names.of(0).0]).unwrap();
        let end = Instant::now() + SESSION * 3;
        // It may get no partition, or lose the name again at once; either way the worker has lost it.
        while thief.assignment().unwrap().count() == 0 && Instant::now() < end {
            if let Some(Err(error)) = thief.poll(LOOK)
                && error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId)
            {
                break;
            }
        }
    }

    /// Adds a source and feeds it, unless there are many already.
    pub(crate) fn grow(&mut self) {
        let have = self.feed.partitions();
        if have >= PARTITIONS_MAX {
            return;
        }
        let ((topic, partition), address) = (self.names.of(have), self.broker.address());
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                if partition == 0 {
                    return make_topic(&address, &topic, 1).await;
                }
                let more = NewPartitions::new(&topic, usize::try_from(have + 1).unwrap());
                let made = admin(&address).create_partitions([&more], &AdminOptions::new()).await;
                assert!(made.as_ref().is_ok_and(|all| all.iter().all(Result::is_ok)), "{made:?}");
            });
        });
        self.watch_source(have);
        self.feed.spread(have + 1);
    }

    /// Waits until all that is in the source now is folded and committed; nothing may be broken by then.
    pub(crate) fn settle(&mut self) {
        let ends = self.ends();
        let end = Instant::now() + SETTLE_MAX;
        loop {
            let committed = self.committed();
            let behind = ends.iter().zip(&committed).any(|(end, done)| done < end);
            if !behind {
                break;
            }
            self.check_alive();
            if Instant::now() >= end {
                self.fail(&format!("not folded after {SETTLE_MAX:?}: {committed:?} of {ends:?}"));
            }
            std::thread::sleep(LOOK);
        }
        let broken = self.sight.look(|ledger| ledger.broken.clone());
        if !broken.is_empty() {
            self.fail(&broken.join("\n"));
        }
    }

    /// An engine that ends by itself has failed.
    fn check_alive(&mut self) {
        let ended: Vec<_> = self
            .engines
            .iter_mut()
            .enumerate()
            .filter_map(|(i, e)| Some((i, e.as_mut()?.ended()?)))
            .collect();
        if !ended.is_empty() {
            self.fail(&format!("engines ended by themselves: {ended:?}"));
        }
    }

    fn ends(&self) -> Vec<i64> {
        let consumer = self.consumer();
        let end = Instant::now() + SETTLE_MAX;
        let ask = |(topic, partition): (String, i32)| loop {
            match consumer.fetch_watermarks(&topic, partition, Duration::from_secs(5)) {
                Ok((_, high)) => return high,
                Err(error) => assert!(Instant::now() < end, "the broker does not tell its ends: {error}"),
            }
        };
        self.sources().map(ask).collect()
    }

    fn committed(&self) -> Vec<i64> {
        let mut list = TopicPartitionList::new();
        self.sources().for_each(|(topic, partition)| _ = list.add_partition(&topic, partition));
        let answer = self.consumer().committed_offsets(list, Duration::from_secs(5));
        let Ok(list) = answer else { return vec![-1] };
        let offset = |e: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
            Offset::Offset(offset) => offset,
            _ => -1,
        };
        list.elements().into_iter().map(offset).collect()
    }

    fn sources(&self) -> impl Iterator<Item = (String, i32)> {
        (0..self.feed.partitions()).map(|number| self.names.of(number))
    }

    /// A consumer of the app's group that never joins it.
    fn consumer(&self) -> BaseConsumer {
        let mut config = client(&self.broker.address());
        config.set("group.id", &self.app).create().unwrap()
    }

    /// Ends the run: every window closes, every engine drains, and what came out is what the oracle says, no more and no less.
    pub(crate) fn finish(mut self) {
        let later_ms = self.feed.finish();
        self.settle();
        self.agree(later_ms);
        for engine in 0..ENGINES {
            self.engine(engine).terminate();
        }
        for engine in 0..ENGINES {
            let status = self.engine(engine).wait();
            if !status.success() {
                self.fail(&format!("engine {engine} did not drain: {status}"));
            }
        }
        let outputs = self.sight.watched().into_iter().filter(|(topic, _)| !topic.contains("-events"));
        let outputs: BTreeSet<(String, i32)> = outputs.collect();
        outputs.iter().for_each(|(topic, partition)| self.send_sentinel(topic, *partition));
        self.wait("a sentinel at the end of each output", |ledger| ledger.sentinels == outputs);
        self.agree(later_ms);
        self.sight.look(|ledger| {
            let (source, finals) = (ledger.source.len(), ledger.finals.len());
            let (late, bad) = (ledger.late.len(), ledger.bad.len());
            println!("{source} records, {finals} finals, {late} late, {bad} bad: all as they should be");
            assert!(finals > 20 && late > 0 && bad > 0, "too few to prove anything");
        });
    }

    /// Whoever reads it has read everything before it.
    pub(crate) fn send_sentinel(&self, topic: &str, partition: i32) {
        let producer: BaseProducer = client(&self.broker.address()).create().unwrap();
        let record = BaseRecord::<str, str>::to(topic).partition(partition).key(SENTINEL).payload("");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn agree(&mut self, later_ms: i64) {
        let (end, time_flows) = (Instant::now() + SETTLE_MAX, self.shape != Shape::Local);
        loop {
            let (broken, differences) = self.sight.look(|ledger| {
                let wanted = oracle::wanted(ledger, later_ms, time_flows);
                (ledger.broken.clone(), oracle::differences(ledger, &wanted))
            });
            if !broken.is_empty() {
                self.fail(&broken.join("\n"));
            }
            if differences.is_empty() {
                return;
            }
            if Instant::now() >= end {
                self.fail(&differences.join("\n"));
            }
            std::thread::sleep(LOOK * 10);
        }
    }

    pub(crate) fn wait(&mut self, what: &str, pleases: impl Fn(&crate::sight::Ledger) -> bool) {
        let end = Instant::now() + SETTLE_MAX;
        while !self.sight.look(&pleases) {
            if Instant::now() >= end {
                self.fail(&format!("never came: {what}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Where the words of an engine's processes are kept.
    fn file(&self, engine: usize) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-engine-{engine}.log", self.name))
    }

    /// Tells everything there is to tell.
    pub(crate) fn fail(&mut self, why: &str) -> ! {
        let mut story = format!("{why}\n\nwhat was done:\n{}\n", self.history.join("\n"));
        for (number, engine) in self.engines.iter().enumerate() {
            let said = engine.as_ref().map(Windrow::said).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(LINES_MAX)..].join("\n");
            story += &format!(
                "\nengine {number} said last, all of it is in {}:\n{last}\n",
                self.file(number).display()
            );
        }
        panic!("{story}\nreplay with {}\n{why}", self.replay);
    }
}

impl Drop for World {
    /// Keeps what the engines said, for whoever wants to know how it went.
    fn drop(&mut self) {
        for (number, engine) in self.engines.iter().enumerate() {
            let said = engine.as_ref().map(Windrow::said).unwrap_or_default();
            let _ = std::fs::write(self.file(number), format!("{}{said}", self.past[number]));
        }
    }
}

pub(crate) fn client(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("log_level", "0");
    config
}

async fn make_topic(address: &str, topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = admin(address).create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    client(address).create().unwrap()
}
