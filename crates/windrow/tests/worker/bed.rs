//! The engine role in this process, on a log that fails where it is told.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use windrow::{
    config::{self, Sync, Variables},
    log::{From, Log, Outgoing, ReaderOptions, TopicSpec, Tp, WriterOptions, embedded::EmbeddedLog},
    stats::{Metric, Stats},
    workers::{Start, Workers},
};

use windrow_core::batch::Record;

use crate::{
    eventually::DEADLINE,
    faulty::{Faulty, Script},
};

/// Two partitions, a view whose state lies by key, one in two stages, and one that copies.
const CONFIG: &str = r#"
app = "app"
[log]
commit_interval = "20ms"
[streams.clicks]
topic = "clicks"
partitions = 2
keyed_by = ["video"]
[views.by_video]
sql = "SELECT video, count(*) AS n FROM clicks GROUP BY video"
[views.by_country]
sql = "SELECT country, count(*) AS n FROM clicks GROUP BY country"
[views.copied]
sql = "SELECT video AS v FROM clicks WHERE video <> 'nobody'"
topic = "copies"
"#;

pub(crate) struct Bed {
    pub(crate) script: Arc<Script>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) workers: Workers,
    _complete: watch::Sender<bool>,
    _directory: tempfile::TempDir,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts with one more line for the stream.
    pub(crate) async fn start_with(line: &str) -> Self {
        let text = CONFIG.replace("keyed_by", &format!("{line}\nkeyed_by"));
        let directory = tempfile::tempdir().unwrap();
        let inner: Arc<dyn Log> = EmbeddedLog::open(directory.path(), Sync::Never).unwrap();
        let script = Script::new(inner, "app");
        script.inner.create_topic(&spec("clicks", 2)).await.unwrap();
        let (stats, workers, complete) = work(&script, &text, &[]);
        Self { script, stats, workers, _complete: complete, _directory: directory }
    }

    /// Drains the workers and starts others on the same log, which reset some views first. Meanwhile those partitions of partials
    /// get a record: what the last transaction scattered, nobody has merged.
    pub(crate) async fn restart(self, reset: &[String], unmerged: &[Tp]) -> Self {
        self.workers.drain().await.unwrap();
        let mut writer = self.script.inner.writer(WriterOptions { transactional_id: None }).await.unwrap();
        let record = |tp: &Tp| Outgoing {
            topic: tp.topic.clone(),
            partition: tp.partition,
            key: None,
            value: Some(Bytes::from_static(b"what a reset must not read")),
            headers: Vec::new(),
            timestamp_ms: 0,
        };
        writer.begin().await.unwrap();
        writer.send(unmerged.iter().map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
        let (stats, workers, complete) = work(&self.script, CONFIG, reset);
        Self { stats, workers, _complete: complete, ..self }
    }

    /// Drains the workers, empties a topic of two partitions, and starts others.
    pub(crate) async fn restart_without(self, topic: &str) -> Self {
        self.workers.drain().await.unwrap();
        for tp in [0, 1].map(|p| Tp::new(topic, p)) {
            let end = self.script.inner.ends(std::slice::from_ref(&tp)).await.unwrap()[0].high_watermark;
            self.script.inner.delete_records(&tp, end).await.unwrap();
        }
        let (stats, workers, complete) = work(&self.script, CONFIG, &[]);
        Self { stats, workers, _complete: complete, ..self }
    }

    /// Writes so many clicks to a partition.
    pub(crate) async fn write(&self, partition: i32, count: usize) {
        let mut writer = self.script.inner.writer(WriterOptions { transactional_id: None }).await.unwrap();
        let record = |n| Outgoing {
            topic: "clicks".into(),
            partition,
            key: None,
            value: Some(Bytes::from(json!({"video": format!("v{partition}"), "country": n % 3}).to_string())),
            headers: Vec::new(),
            timestamp_ms: 1_000,
        };
        writer.begin().await.unwrap();
        writer.send((0..count).map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }

    /// Waits until the newest rows of a view's channel add up to that.
    pub(crate) async fn until_sum(&self, view: &str, sum: u64) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.sum(view).await;
            if found == sum {
                return;
            }
            let (troubles, did) = (self.stats.troubles(), self.script.did());
            assert!(Instant::now() < deadline, "{view} adds up to {found}, not {sum}: {troubles:?}, {did:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn sum(&self, view: &str) -> u64 {
        let rows: BTreeMap<_, _> = self.records(&format!("app.{view}")).await.into_iter().collect();
        let parse = |value: &Bytes| serde_json::from_slice::<Value>(value).unwrap()["n"].as_u64().unwrap();
        rows.values().flatten().map(parse).sum()
    }

    /// Records that some partition missed.
    pub(crate) fn gaps(&self) -> u64 {
        let of = |metric: &Metric| if let Metric::Counter(counter) = metric { counter.get() } else { 0 };
        self.stats.snapshot().values().filter_map(|all| all.get(&("gap", "")).map(of)).sum()
    }

    /// Reads keys and values of a topic, in order per partition.
    pub(crate) async fn records(&self, topic: &str) -> Vec<(Option<Bytes>, Option<Bytes>)> {
        let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        self.read(topic, |record| (copy(record.key), copy(record.value))).await
    }

    /// Reads the headers of a topic's records.
    pub(crate) async fn headers(&self, topic: &str) -> Vec<Vec<(String, String)>> {
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
        self.read(topic, |record| {
            record.headers.clone().map(|(name, value)| (name.to_owned(), text(value))).collect()
        })
        .await
    }

    async fn read<T>(&self, topic: &str, take: impl Fn(&Record<'_>) -> T) -> Vec<T> {
        let log = &self.script.inner;
        let Some(info) = log.topic(topic).await.unwrap() else { return Vec::new() };
        let mut all = Vec::new();
        for tp in (0..info.partitions).map(|p| Tp::new(topic, p)) {
            let ends = log.ends(std::slice::from_ref(&tp)).await.unwrap()[0];
            let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
            reader.assign(tp, From::Offset(ends.earliest));
            let mut position = ends.earliest;
            while position < ends.high_watermark {
                for item in reader.next().await.unwrap() {
                    let records = item.batches.iter().flat_map(|batch| batch.records_from(item.from));
                    all.extend(records.map(|record| take(&record)));
                    position = item.next;
                }
            }
        }
        all
    }
}

fn work(script: &Arc<Script>, text: &str, reset: &[String]) -> (Arc<Stats>, Workers, watch::Sender<bool>) {
    let stats = Arc::new(Stats::default());
    let variables: Variables = std::iter::empty::<(String, String)>().collect();
    let config = config::parse(text, "windrow.toml", &variables).unwrap();
    let plans = config::plan(&config, "windrow.toml", text).unwrap();
    let (complete, input_complete) = watch::channel(true);
    let workers = Workers::start(&Start {
        config: &config,
        plans: &plans,
        log: Arc::new(Faulty(script.clone())),
        stats: stats.clone(),
        instance: "one".into(),
        input_complete,
        empty_is_end: false,
        reset,
    });
    (stats, workers, complete)
}

pub(crate) fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec {
        name: name.into(),
        partitions,
        replication: 1,
        compact: false,
        retention: None,
        retention_bytes: None,
    }
}
