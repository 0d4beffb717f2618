//! Sight: what a read_committed reader sees, kept as it comes, and every promise broken on the way.
//!
//! **In** the source topic and all outputs, through librdkafka (none of Windrow's own reading). **Out** a [`Ledger`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{BorrowedMessage, Headers as _},
};
use serde_json::Value;

use crate::names::number;

/// Source, by its number, and offset of a record.
pub(crate) type Place = (i32, i64);
/// Group key and window start.
pub(crate) type Window = (String, i64);
/// What a sentinel's key is: the last record that a test writes into an output.
pub(crate) const SENTINEL: &str = "sentinel";

/// Everything seen so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) source: BTreeMap<Place, Vec<u8>>,
    /// Rows of the user's topic: finals alone.
    pub(crate) finals: BTreeMap<Window, Value>,
    /// Finals of the channel.
    pub(crate) channel: BTreeMap<Window, Value>,
    pub(crate) copies: BTreeSet<Place>,
    pub(crate) late: BTreeMap<Place, Window>,
    /// Partials that came when their window had closed: the end of their range, and how many records they are.
    pub(crate) late_partials: BTreeMap<(Place, Window), (i64, u64)>,
    pub(crate) bad: BTreeMap<Place, String>,
    /// Outputs whose sentinel has come.
    pub(crate) sentinels: BTreeSet<(String, i32)>,
    /// Promises broken so far.
    pub(crate) broken: Vec<String>,
    /// Newest `seq` of each row of the channel, and whether it was final or retired.
    rows: BTreeMap<String, (u64, &'static str)>,
}

/// A reader at work on a thread of its own.
pub(crate) struct Sight {
    ledger: Arc<Mutex<Ledger>>,
    consumer: Arc<BaseConsumer>,
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    seen: TopicPartitionList,
}

impl Sight {
    /// Starts with no partitions.
    pub(crate) fn start(address: &str, app: &str) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", address)
            .set("group.id", format!("{app}-sight"))
            .set("log_level", "0");
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
        config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50");
        let consumer: Arc<BaseConsumer> = Arc::new(config.create().unwrap());
        let (ledger, stopped) = (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (ledger, stopped, consumer, app) =
                (ledger.clone(), stopped.clone(), consumer.clone(), app.to_owned());
            move || {
                while !stopped.load(Ordering::Acquire) {
                    // Errors are a broker that is away; librdkafka comes back by itself.
                    if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                        ledger.lock().unwrap().take(&app, &message);
                    }
                }
            }
        });
        Self { ledger, consumer, stopped, thread: Some(thread), seen: TopicPartitionList::new() }
    }

    /// Reads these partitions too, from their beginning.
    pub(crate) fn watch(&mut self, topic: &str, partitions: std::ops::Range<i32>) {
        let mut more = TopicPartitionList::new();
        for partition in partitions {
            more.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
            self.seen.add_partition(topic, partition);
        }
        self.consumer.incremental_assign(&more).unwrap();
    }

    /// Every partition that is read.
    pub(crate) fn watched(&self) -> Vec<(String, i32)> {
        self.seen.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect()
    }

    /// Looks at what was seen.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.lock().unwrap())
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Ledger {
    fn take(&mut self, app: &str, message: &BorrowedMessage<'_>) {
        if message.key() == Some(SENTINEL.as_bytes()) {
            self.sentinels.insert((message.topic().to_owned(), message.partition()));
            return;
        }
        let kind = message.topic().strip_prefix(app).unwrap_or_default();
        let twice = match kind {
            kind if kind.starts_with("-events") => {
                let place = (number(message.topic(), message.partition()), message.offset());
                self.source.insert(place, message.payload().unwrap_or_default().to_vec());
                false
            }
            "-finals" => {
                let row = json(message.payload());
                self.finals.insert(window(&row), row).is_some()
            }
            "-copies" => {
                let row = json(message.payload());
                let partition = row["p"].as_i64().unwrap_or(-1) as i32;
                let number = number(row["t"].as_str().unwrap_or_default(), partition);
                let place = (number, row["o"].as_i64().unwrap_or(-1));
                !self.copies.insert(place)
            }
            ".counted.late" => self.late(message),
            ".events.bad" => self.bad.insert(source(message), header(message, "reason")).is_some(),
            ".counted" => self.row(message),
            _ => false,
        };
        if twice {
            self.broken.push(format!("{} holds this twice: {}", message.topic(), shown(message)));
        }
    }

    /// A row of the channel: `seq` never back, one final, after it only a tombstone; tells whether it was final twice.
    fn row(&mut self, message: &BorrowedMessage<'_>) -> bool {
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        let seq: u64 = header(message, "seq").parse().unwrap_or(0);
        let state = match (header(message, "final").as_str(), message.payload()) {
            ("true", Some(_)) => "final",
            (_, None) => "gone",
            _ => "change",
        };
        let before = self.rows.insert(key, (seq, state));
        match before {
            Some((old, _)) if seq < old => {
                self.broken.push(format!("seq went back from {old}: {}", shown(message)));
            }
            Some((_, "final")) if state == "change" => {
                self.broken.push(format!("a change after the final: {}", shown(message)));
            }
            Some((_, "gone")) => self.broken.push(format!("something after it retired: {}", shown(message))),
            _ => {}
        }
        if state != "final" {
            return false;
        }
        let row = json(message.payload());
        let window =
            (row["k"].as_str().unwrap_or_default().to_owned(), row["window_start"].as_i64().unwrap_or(-1));
        self.channel.insert(window, row).is_some()
    }

    /// A late record, or a late partial; tells whether it came twice.
    fn late(&mut self, message: &BorrowedMessage<'_>) -> bool {
        let reason = header(message, "reason");
        if reason != "late" {
            // A partial of a partition that was there from the beginning cannot be late.
            self.broken.push(format!("a letter with the reason {reason:?}: {}", shown(message)));
        }
        let group = json(Some(header(message, "key").as_bytes()));
        let start = header(message, "window").split('/').next().and_then(|s| s.parse().ok());
        let window = (group[0].as_str().unwrap_or_default().to_owned(), start.unwrap_or(-1));
        match header(message, "source_offset_end").parse::<i64>() {
            Err(_) => self.late.insert(source(message), window).is_some(),
            Ok(end) => {
                let n = json(message.payload())["n"].as_u64().unwrap_or(0);
                self.late_partials.insert((source(message), window), (end, n)).is_some()
            }
        }
    }
}

fn window(row: &Value) -> Window {
    (row["k"].as_str().unwrap_or_default().to_owned(), row["at"].as_i64().unwrap_or(-1))
}

fn source(message: &BorrowedMessage<'_>) -> Place {
    let integer = |name| header(message, name).parse::<i64>().unwrap_or(-1);
    let partition = i32::try_from(integer("source_partition")).unwrap_or(-1);
    (number(&header(message, "source_topic"), partition), integer("source_offset"))
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let value = message.headers().and_then(|all| all.iter().find(|h| h.key == name)?.value);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

fn json(bytes: Option<&[u8]>) -> Value {
    serde_json::from_slice(bytes.unwrap_or_default()).unwrap_or(Value::Null)
}

fn shown(message: &BorrowedMessage<'_>) -> String {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"none")).into_owned();
    let (key, value) = (text(message.key()), text(message.payload()));
    let at = (message.partition(), message.offset(), header(message, "seq"));
    let from = (header(message, "source_partition"), header(message, "source_offset"));
    format!("{key} {value} at {at:?} from {from:?}")
}
