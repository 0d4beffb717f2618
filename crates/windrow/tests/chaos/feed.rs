//! The feed: records all along, in disorder, some late, some bad, whatever happens to the broker meanwhile.
//!
//! **In** a seed. **Out** records in the source topic; what really arrived there is for the oracle to read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use crate::{dice::Dice, names::Names, process::DEADLINE};

/// Between two handfuls of records.
const TICK: Duration = Duration::from_millis(20);
/// Records in a handful.
const HANDFUL: u64 = 8;
/// How much faster event time goes than the clock, so that windows close all along.
const SPEED: i64 = 3;
/// Group keys.
pub(crate) const KEYS: u64 = 24;
const HOUR_MS: i64 = 3_600_000;

struct Switches {
    paused: AtomicBool,
    stopped: AtomicBool,
    partitions: AtomicI32,
}

/// A producer at work on a thread of its own.
pub(crate) struct Feed {
    switches: Arc<Switches>,
    producer: Arc<BaseProducer>,
    thread: Option<std::thread::JoinHandle<()>>,
    names: Names,
    /// Event times begin here.
    base_ms: i64,
}

impl Feed {
    /// Starts feeding; `keyed` puts all records of a group key into one partition, otherwise their keys are null.
    pub(crate) fn start(address: &str, names: Names, partitions: i32, keyed: bool, seed: u64) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("enable.idempotence", "true").set("log_level", "0");
        config.set("linger.ms", "5").set("message.timeout.ms", "300000");
        // Partitions that are added are seen soon.
        config.set("topic.metadata.refresh.interval.ms", "500");
        let producer: Arc<BaseProducer> = Arc::new(config.create().unwrap());
        let switches = Arc::new(Switches {
            paused: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            partitions: AtomicI32::new(partitions),
        });
        let base_ms = jiff::Timestamp::now().as_millisecond() - 12 * HOUR_MS;
        let thread = std::thread::spawn({
            let (switches, producer, names) = (switches.clone(), producer.clone(), names.clone());
            move || run(&switches, &producer, &names, keyed, base_ms, Dice(seed))
        });
        Self { switches, producer, thread: Some(thread), names, base_ms }
    }

    /// No new records until further notice.
    pub(crate) fn pause(&self, paused: bool) {
        self.switches.paused.store(paused, Ordering::Release);
    }

    /// From now on records go to this many partitions.
    pub(crate) fn spread(&self, partitions: i32) {
        self.switches.partitions.store(partitions, Ordering::Release);
    }

    pub(crate) fn partitions(&self) -> i32 {
        self.switches.partitions.load(Ordering::Acquire)
    }

    /// Stops, and puts one record far later into every partition: every window before it closes. Returns the time of that record.
    pub(crate) fn finish(&mut self) -> i64 {
        self.stop();
        let later_ms = self.base_ms + 11 * HOUR_MS;
        for partition in 0..self.partitions() {
            let value = format!(r#"{{"ts":{later_ms},"k":"mark{partition}","v":1,"u":1}}"#);
            let end = Instant::now() + DEADLINE;
            let (topic, at) = self.names.of(partition);
            let record = || BaseRecord::<str, str>::to(&topic).partition(at).payload(&value);
            while let Err((error, _)) = self.producer.send(record()) {
                assert!(Instant::now() < end, "partition {partition} takes no records: {error}");
                self.producer.poll(TICK);
            }
        }
        self.producer.flush(Duration::from_secs(120)).unwrap();
        later_ms
    }

    fn stop(&mut self) {
        self.switches.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the feed died");
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(
    switches: &Switches,
    producer: &BaseProducer,
    names: &Names,
    keyed: bool,
    base_ms: i64,
    mut dice: Dice,
) {
    let began = Instant::now();
    while !switches.stopped.load(Ordering::Acquire) {
        let elapsed = i64::try_from(began.elapsed().as_millis()).unwrap();
        let partitions = switches.partitions.load(Ordering::Acquire);
        let handful = if switches.paused.load(Ordering::Acquire) { 0 } else { HANDFUL };
        for _ in 0..handful {
            let k = dice.below(KEYS);
            let spread = if keyed { k } else { dice.next() };
            let partition = i32::try_from(spread % u64::from(partitions.unsigned_abs())).unwrap();
            // Partitions are seldom equally far.
            let now_ms = base_ms + elapsed * SPEED - i64::from(partition) * 400;
            let value = value(&mut dice, k, now_ms);
            let (topic, at) = names.of(partition);
            let mut record = BaseRecord::<str, [u8]>::to(&topic).partition(at).payload(&value[..]);
            let key = format!("k{k}");
            if keyed {
                record = record.key(&key);
            }
            // A full queue means that the broker is away: fewer records then, and no harm.
            let _ = producer.send(record);
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(TICK);
    }
}

fn value(dice: &mut Dice, k: u64, now_ms: i64) -> Vec<u8> {
    let behind = match dice.below(100) {
        0..=3 => 8_000 + dice.below(8_000),
        4..=9 => 2_000 + dice.below(3_000),
        _ => dice.below(2_000),
    };
    let ts = now_ms - i64::try_from(behind).unwrap();
    let (v, u) = (dice.below(60), dice.below(9));
    // One in sixty is negative, and no view takes it.
    let v = i64::try_from(v).unwrap() - 1;
    match dice.below(200) {
        0 => b"not json".to_vec(),
        1 => format!(r#"{{"k":"k{k}","v":{v},"u":{u}}}"#).into_bytes(),
        2 => format!(r#"{{"ts":{},"k":"k{k}","v":{v},"u":{u}}}"#, now_ms + 48 * HOUR_MS).into_bytes(),
        _ => format!(r#"{{"ts":{ts},"k":"k{k}","v":{v},"u":{u}}}"#).into_bytes(),
    }
}
