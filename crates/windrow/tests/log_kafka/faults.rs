//! A reader among brokers at fault: what is there is read once and in order, what is gone is told once, and one broker's fault is nobody else's.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;
use windrow::log::{From, Gap, Log as _, LogError, Reader, ReaderOptions, Tp, kafka::KafkaLog};

use crate::{
    eventually::within,
    fake::{Fake, Manner, TOPIC},
};

/// A reader, and all that it handed over so far.
struct Reading {
    reader: Box<dyn Reader>,
    values: BTreeMap<i32, Vec<String>>,
    gaps: Vec<(i32, Gap)>,
    errors: Vec<LogError>,
}

impl Reading {
    async fn start(fake: &Fake, partitions: impl IntoIterator<Item = (i32, From)>) -> Self {
        let log: Arc<KafkaLog> =
            within("connect", KafkaLog::connect(&fake.addresses(), &[].into())).await.unwrap();
        let options = ReaderOptions { wait_max: Duration::from_millis(20), ..ReaderOptions::default() };
        let mut reader = log.reader(options).await.unwrap();
        partitions.into_iter().for_each(|(n, from)| reader.assign(Tp::new(TOPIC, n), from));
        Self { reader, values: BTreeMap::new(), gaps: Vec::new(), errors: Vec::new() }
    }

    async fn until(&mut self, what: &str, pleases: impl Fn(&Self) -> bool) {
        within(what, async {
            while !pleases(self) {
                let answers = match self.reader.next().await {
                    Ok(answers) => answers,
                    Err(error) => {
                        self.errors.push(error);
                        continue;
                    }
                };
                for answer in answers {
                    let start = answer.gap.map_or(answer.from, |gap| gap.to);
                    self.gaps.extend(answer.gap.map(|gap| (answer.tp.partition, gap)));
                    let values = self.values.entry(answer.tp.partition).or_default();
                    let records = answer.batches.iter().flat_map(|batch| batch.records_from(start));
                    values.extend(records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()));
                }
            }
        })
        .await;
    }

    fn count(&self, partition: i32) -> usize {
        self.values.get(&partition).map_or(0, Vec::len)
    }

    fn expect(&self, partition: i32, wanted: impl Iterator<Item = usize>) {
        let wanted: Vec<String> = wanted.map(|n| n.to_string()).collect();
        assert_eq!(self.values.get(&partition), Some(&wanted), "partition {partition}");
    }
}

#[tokio::test]
async fn a_leader_that_moves_is_followed_without_a_word() {
    let fake = Fake::start(2, 1).await;
    fake.change(|state| state.partitions[0].push(0..10));
    let mut reading = Reading::start(&fake, [(0, From::Earliest)]).await;
    reading.until("the first ten", |r| r.count(0) == 10).await;
    for (leader, epoch) in [(1, 2), (0, 3)] {
        fake.change(|state| state.partitions[0].leader = None);
        let fetches = fake.fetches(0) + fake.fetches(1);
        within("it notices", async {
            while fake.fetches(0) + fake.fetches(1) <= fetches {
                tokio::task::yield_now().await;
            }
        })
        .await;
        fake.change(|state| {
            let partition = &mut state.partitions[0];
            (partition.leader, partition.epoch) = (Some(leader), epoch);
            partition.push(partition.records.len()..partition.records.len() + 10);
        });
        reading.until("ten more", |r| r.count(0) == 10 * epoch as usize).await;
    }
    reading.expect(0, 0..30);
    assert!(reading.gaps.is_empty() && reading.errors.is_empty(), "{:?} {:?}", reading.gaps, reading.errors);
}

/// An unclean election: the new leader lacks what was read already. How much it has written since decides nothing.
#[tokio::test]
async fn a_truncated_log_is_told_with_the_offset_at_which_it_diverged() {
    for written in [0, 2, 20] {
        let fake = Fake::start(2, 1).await;
        fake.change(|state| state.partitions[0].push(0..10));
        let mut reading = Reading::start(&fake, [(0, From::Earliest)]).await;
        reading.until("the first ten", |r| r.count(0) == 10).await;
        fake.change(|state| {
            let partition = &mut state.partitions[0];
            partition.records.truncate(6);
            (partition.leader, partition.epoch) = (Some(1), 2);
            partition.push(100..100 + written);
        });
        reading.until("the truncation", |r| !r.gaps.is_empty() && r.count(0) == 10 + written).await;
        fake.change(|state| state.partitions[0].push(200..201));
        reading.until("one more", |r| r.count(0) == 11 + written).await;
        assert_eq!(reading.gaps, [(0, Gap { from: 10, to: 6 })], "after {written}");
        reading.expect(0, (0..10).chain(100..100 + written).chain([200]));
        assert!(reading.errors.is_empty(), "{:?}", reading.errors);
    }
}

#[tokio::test]
async fn retention_that_overtakes_the_position_is_told_once_with_its_exact_range() {
    let fake = Fake::start(1, 2).await;
    fake.change(|state| {
        state.partitions[0].push(0..20);
        state.partitions[0].earliest = 8;
    });
    let mut reading = Reading::start(&fake, [(0, From::Offset(3)), (1, From::Earliest)]).await;
    reading.until("the rest", |r| r.count(0) == 12).await;
    fake.change(|state| {
        state.partitions[0].earliest = 20;
        state.partitions[0].push(20..25);
        state.partitions[1].push(0..5);
    });
    reading.until("all", |r| r.count(0) == 17 && r.count(1) == 5).await;
    reading.expect(0, 8..25);
    assert_eq!(reading.gaps, [(0, Gap { from: 3, to: 8 })]);
}

#[tokio::test]
async fn a_topic_made_anew_is_told_once_for_each_partition_and_read_when_assigned() {
    let fake = Fake::start(2, 2).await;
    fake.change(|state| state.partitions.iter_mut().for_each(|p| p.push(0..10)));
    let mut reading = Reading::start(&fake, [(0, From::Earliest), (1, From::Earliest)]).await;
    reading.until("all", |r| r.count(0) + r.count(1) == 20).await;
    fake.change(|state| {
        state.id = Uuid::from_u128(2);
        for partition in &mut state.partitions {
            partition.records.clear();
            partition.push(50..70);
        }
    });
    reading.until("both are told", |r| r.errors.len() == 2).await;
    let is_told = |e: &LogError| matches!(e, LogError::Recreated(topic) if &**topic == TOPIC);
    assert!(reading.errors.iter().all(is_told), "{:?}", reading.errors);
    assert_eq!(reading.count(0) + reading.count(1), 20, "nothing of the new one under the old assignment");
    reading.reader.assign(Tp::new(TOPIC, 0), From::Earliest);
    reading.until("the new one", |r| r.count(0) == 30).await;
    reading.expect(0, (0..10).chain(50..70));
    assert_eq!((reading.errors.len(), reading.count(1)), (2, 10));
}

/// Whatever one broker does, the partitions of the other are read meanwhile, and its own are read whole once it has come to its senses.
#[tokio::test]
async fn a_broker_at_fault_costs_only_its_own_partitions_and_only_time() {
    let manners = [
        Manner::Mute,
        Manner::Cuts(0),
        Manner::Cuts(3),
        Manner::Cuts(6),
        Manner::Cuts(90),
        Manner::Noise(0),
        Manner::Noise(7),
        Manner::Noise(4000),
        Manner::Length(u32::MAX),
        Manner::Length(79 << 20),
    ];
    let all = manners.map(|manner| tokio::spawn(one_broker_at_fault(manner)));
    for (one, manner) in all.into_iter().zip(manners) {
        one.await.unwrap_or_else(|error| panic!("{manner:?}: {error}"));
    }
}

async fn one_broker_at_fault(manner: Manner) {
    let fake = Fake::start(2, 2).await;
    fake.change(|state| state.partitions.iter_mut().for_each(|p| p.push(0..10)));
    let mut reading = Reading::start(&fake, [(0, From::Earliest), (1, From::Earliest)]).await;
    reading.until("all", |r| r.count(0) + r.count(1) == 20).await;
    fake.change(|state| {
        state.manners[0] = manner;
        state.partitions[0].push(10..20);
    });
    let begun = Instant::now();
    for n in 1..=10 {
        fake.change(|state| state.partitions[1].push(n * 10..n * 10 + 10));
        reading.until("the other goes on", |r| r.count(1) == n * 10 + 10).await;
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{manner:?} held the other broker's partition back for {took:?}");
    let address = &fake.addresses()[0];
    let names_it = |e: &LogError| matches!(e, LogError::Retry(why) if why.contains(address.as_str()));
    reading.until("it is told", |r| r.errors.iter().any(names_it)).await;
    assert!(reading.errors.iter().all(|e| matches!(e, LogError::Retry(_))), "{:?}", reading.errors);
    fake.change(|state| state.manners[0] = Manner::Fine);
    reading.until("all of it in the end", |r| r.count(0) == 20).await;
    reading.expect(0, 0..20);
    reading.expect(1, 0..110);
    assert!(reading.gaps.is_empty(), "{:?}", reading.gaps);
}

#[tokio::test]
async fn a_line_that_brings_a_byte_at_a_time_brings_everything() {
    let fake = Fake::start(1, 1).await;
    fake.change(|state| {
        state.partitions[0].push(0..20);
        state.manners[0] = Manner::Pieces(1);
    });
    let mut reading = Reading::start(&fake, [(0, From::Earliest)]).await;
    reading.until("all", |r| r.count(0) == 20).await;
    reading.expect(0, 0..20);
    assert!(reading.errors.is_empty(), "{:?}", reading.errors);
}

#[tokio::test]
async fn a_mute_broker_keeps_no_other_partition_from_beginning() {
    let fake = Fake::start(2, 2).await;
    fake.change(|state| {
        state.partitions.iter_mut().for_each(|p| p.push(0..10));
        state.manners[0] = Manner::Mute;
    });
    let begun = Instant::now();
    let mut reading = Reading::start(&fake, [(0, From::Earliest), (1, From::Earliest)]).await;
    reading.until("the other begins", |r| r.count(1) == 10).await;
    assert!(begun.elapsed() < Duration::from_secs(12), "took {:?}", begun.elapsed());
    fake.change(|state| state.manners[0] = Manner::Fine);
    reading.until("this one in the end", |r| r.count(0) == 10).await;
}

#[tokio::test]
async fn a_broker_that_asks_for_a_pause_gets_it() {
    const PAUSE: Duration = Duration::from_millis(400);
    let fake = Fake::start(1, 1).await;
    let mut reading = Reading::start(&fake, [(0, From::Earliest)]).await;
    reading.until("it reads", |_| fake.fetches(0) > 2).await;
    fake.change(|state| state.manners[0] = Manner::Throttles(PAUSE.as_millis() as i32));
    let before = fake.fetches(0);
    reading.until("the first pause is asked for", |_| fake.fetches(0) > before + 1).await;
    let (begun, before) = (Instant::now(), fake.fetches(0));
    reading.until("three more", |_| fake.fetches(0) >= before + 3).await;
    assert!(begun.elapsed() >= PAUSE * 2, "three fetches in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_broker_that_asks_for_a_pause_gets_it_from_small_questions_too() {
    const PAUSE: Duration = Duration::from_millis(300);
    let fake = Fake::start(1, 1).await;
    let log = within("connect", KafkaLog::connect(&fake.addresses(), &[].into())).await.unwrap();
    fake.change(|state| state.manners[0] = Manner::Throttles(PAUSE.as_millis() as i32));
    // The first pause begins inside the client, when the first answer comes; on a busy machine the test hears of it later.
    let (begun, before) = (Instant::now(), fake.questions(0));
    within("a first answer", log.topic(TOPIC)).await.unwrap();
    for _ in 0..2 {
        within("an answer", log.topic(TOPIC)).await.unwrap();
    }
    assert!(begun.elapsed() >= PAUSE * 2, "two questions in {:?}", begun.elapsed());
    assert_eq!(fake.questions(0), before + 3, "over the connection that it asked on");
}

#[tokio::test]
async fn a_broken_batch_stops_its_partition_with_its_offset_and_no_other() {
    let fake = Fake::start(2, 2).await;
    fake.change(|state| {
        state.partitions.iter_mut().for_each(|p| p.push(0..10));
        state.manners[0] = Manner::Flips;
    });
    let mut reading = Reading::start(&fake, [(0, From::Earliest), (1, From::Earliest)]).await;
    reading.until("it is told", |r| !r.errors.is_empty() && r.count(1) == 10).await;
    fake.change(|state| state.partitions[1].push(10..20));
    reading.until("the other goes on", |r| r.count(1) == 20).await;
    let [LogError::Corrupt { tp, offset, .. }] = &reading.errors[..] else { panic!("{:?}", reading.errors) };
    // Only the last batch of the answer is broken.
    assert_eq!((tp.partition, *offset, reading.count(0)), (0, 9, 9));
}
