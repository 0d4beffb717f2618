//! Holding back: what waits, what does not, and in which order it comes.

use std::sync::Mutex;

use tokio::{sync::mpsc, time::timeout};
use windrow_core::batch::{Batch, BatchBuilder, Compression};

use super::*;
use crate::{
    config::{self, RegistryAuth, RegistryConfig, RegistryTls},
    registry::tests::double::Double,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A reader that hands over what the test says, and tells what it was asked to read.
struct Fake {
    answers: mpsc::UnboundedReceiver<Vec<Fetched>>,
    told: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Reader for Fake {
    fn assign(&mut self, tp: Tp, from: From) {
        self.told.lock().unwrap().push(format!("assign {tp} {from:?}"));
    }
    fn unassign(&mut self, tp: &Tp) {
        self.told.lock().unwrap().push(format!("unassign {tp}"));
    }
    async fn next(&mut self) -> Result<Vec<Fetched>> {
        match self.answers.recv().await {
            Some(answer) => Ok(answer),
            None => std::future::pending().await,
        }
    }
}

struct Bed {
    double: Double,
    patient: Patient,
    answers: mpsc::UnboundedSender<Vec<Fetched>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Bed {
    /// A stream over `t`, framed, and a registry that is away.
    async fn new() -> Self {
        let double = Double::start().await;
        double.avro("s", "\"int\"");
        double.avro("s", "\"long\"");
        double.fail(Some(503));
        let config = RegistryConfig {
            urls: vec![double.url()],
            auth: RegistryAuth::None,
            tls: RegistryTls::default(),
            connect_timeout: DEADLINE,
            timeout: DEADLINE,
        };
        let registry = Registry::new(&config, Arc::default()).unwrap();
        let text = "[registry]\nurl = \"http://a\"\n[streams.s]\ntopic = \"t\"\nformat = \"avro-registry\"";
        let config = config::parse(text, "w.toml", &config::Variables::default()).unwrap();
        let (answers, receiver) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut patient = Patient {
            inner: Box::new(Fake { answers: receiver, told: told.clone() }),
            news: registry.news(),
            registry,
            specs: [config.streams["s"].spec.clone()].into(),
            by_topic: HashMap::new(),
            held: HashMap::new(),
            ready: Vec::new(),
        };
        for tp in [Tp::new("t", 0), Tp::new("t", 1), Tp::new("other", 0)] {
            patient.assign(tp, From::Earliest);
        }
        told.lock().unwrap().clear();
        Self { double, patient, answers, told }
    }

    /// The next answer, shown as `topic[partition] from..next of high watermark: records`.
    async fn next(&mut self) -> String {
        let items = timeout(DEADLINE, self.patient.next()).await.expect("an answer").unwrap();
        let shown = items.iter().map(|item| {
            let records: usize = item.batches.iter().map(Batch::len).sum();
            format!("{} {}..{} of {}: {records}", item.tp, item.from, item.next, item.high_watermark)
        });
        shown.collect::<Vec<_>>().join("; ")
    }
}

/// One batch of one framed record of that size.
fn item(topic: &str, partition: i32, offset: i64, id: u32, bytes: usize) -> Fetched {
    let mut framed = Vec::new();
    Frame::write(id, &mut framed);
    framed.resize(framed.len() + bytes, 0);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(&framed), []).unwrap();
    let batch = Batch::parse(&builder.build(offset, -1, -1, -1, false)).unwrap().0;
    Fetched { batches: vec![batch], next: offset + 1, ..empty(topic, partition, offset) }
}

fn empty(topic: &str, partition: i32, at: i64) -> Fetched {
    let tp = Tp::new(topic, partition);
    Fetched { tp, batches: Vec::new(), from: at, next: at, high_watermark: 9, last_stable: 9, gap: None }
}

#[tokio::test]
async fn a_partition_that_waits_holds_back_itself_alone_and_in_order() {
    let mut bed = Bed::new().await;
    bed.answers.send(vec![item("t", 0, 0, 1, 1), item("other", 0, 0, 1, 1), empty("t", 1, 0)]).unwrap();
    assert_eq!(bed.next().await, "other[0] 0..1 of 9: 1; t[1] 0..0 of 9: 0");
    // What follows waits behind it, and is told as a partition that is not at its end.
    bed.answers.send(vec![item("t", 0, 1, 2, 1), empty("other", 0, 1)]).unwrap();
    assert_eq!(bed.next().await, "t[0] 0..0 of 9: 0; other[0] 1..1 of 9: 0");
    bed.answers.send(vec![empty("t", 0, 2)]).unwrap();
    assert_eq!(bed.next().await, "t[0] 0..0 of 9: 0");
    bed.double.fail(None);
    let mut told = Vec::new();
    while told.join("; ").matches(": 1").count() < 2 {
        told.push(bed.next().await);
    }
    // The second schema may be known with the first or after it.
    assert_eq!(told.join("; "), "t[0] 0..1 of 9: 1; t[0] 1..2 of 9: 1");
    bed.answers.send(vec![item("t", 0, 2, 1, 1)]).unwrap();
    assert_eq!(bed.next().await, "t[0] 2..3 of 9: 1");
    assert!(bed.told.lock().unwrap().is_empty() && bed.patient.held.is_empty());
}

#[tokio::test]
async fn beyond_its_bound_a_partition_is_not_read_until_the_first_may_go() {
    let mut bed = Bed::new().await;
    bed.answers.send(vec![item("t", 0, 0, 1, 1), empty("t", 1, 0)]).unwrap();
    bed.next().await;
    for offset in 1..4 {
        bed.answers.send(vec![item("t", 0, offset, 1, HELD_MAX_BYTES / 2)]).unwrap();
        bed.next().await;
    }
    assert_eq!(*bed.told.lock().unwrap(), ["unassign t[0]"]);
    bed.double.fail(None);
    assert_eq!(bed.next().await.matches(": 1").count(), 4);
    assert_eq!(*bed.told.lock().unwrap(), ["unassign t[0]", "assign t[0] Offset(4)"]);
}

#[tokio::test]
async fn beyond_the_bound_of_all_what_would_wait_is_read_again() {
    let mut bed = Bed::new().await;
    let most = HELD_ALL_MAX_BYTES - 2 * ANSWER_OVERHEAD_BYTES;
    bed.answers
        .send(vec![item("t", 0, 0, 1, most), item("t", 1, 5, 1, 1_000), empty("other", 0, 0)])
        .unwrap();
    assert_eq!(bed.next().await, "other[0] 0..0 of 9: 0");
    assert_eq!(*bed.told.lock().unwrap(), ["unassign t[1]"]);
    bed.double.fail(None);
    assert_eq!(bed.next().await, "t[0] 0..1 of 9: 1");
    assert_eq!(*bed.told.lock().unwrap(), ["unassign t[1]", "assign t[1] Offset(5)"]);
}

#[tokio::test]
async fn what_is_no_longer_read_is_not_handed_over() {
    let mut bed = Bed::new().await;
    bed.answers.send(vec![item("t", 0, 0, 1, 1), item("t", 1, 0, 1, 1), empty("other", 0, 0)]).unwrap();
    assert_eq!(bed.next().await, "other[0] 0..0 of 9: 0");
    bed.patient.unassign(&Tp::new("t", 0));
    bed.patient.assign(Tp::new("t", 1), From::Offset(7));
    bed.double.fail(None);
    bed.answers.send(vec![item("t", 1, 7, 1, 1)]).unwrap();
    let mut told = bed.next().await;
    while told != "t[1] 7..8 of 9: 1" {
        assert_eq!(told, "t[1] 7..7 of 9: 0");
        told = bed.next().await;
    }
}
