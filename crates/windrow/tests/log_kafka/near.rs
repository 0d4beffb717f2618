//! A reader that names its rack: it reads from the replica that stands there while that has what it asks for, and from the leader otherwise.

use std::time::Duration;

use windrow::log::{From, Log as _, Reader, ReaderOptions, Tp, kafka::KafkaLog};

use crate::{
    eventually::within,
    fake::{Fake, Manner, RACK, TOPIC},
};

async fn reader(fake: &Fake, rack: &str) -> Box<dyn Reader> {
    let properties = [("client.rack".to_owned(), rack.to_owned())].into();
    let log = within("connect", KafkaLog::connect(&fake.addresses(), &properties)).await.unwrap();
    let options = ReaderOptions { wait_max: Duration::from_millis(20), ..ReaderOptions::default() };
    let mut reader = log.reader(options).await.unwrap();
    reader.assign(Tp::new(TOPIC, 0), From::Earliest);
    reader
}

/// Reads on until there are `count` values in all, each once and in order.
async fn read(reader: &mut dyn Reader, values: &mut Vec<String>, count: usize) {
    within(&format!("{count} values"), async {
        while values.len() < count {
            for answer in reader.next().await.unwrap_or_default() {
                assert!(answer.gap.is_none(), "{answer:?}");
                let records = answer.batches.iter().flat_map(|batch| batch.records_from(answer.from));
                values.extend(records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()));
            }
        }
    })
    .await;
    let wanted: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(*values, wanted);
}

#[tokio::test]
async fn whoever_names_a_rack_reads_from_the_replica_there_and_others_from_the_leader() {
    for (rack, from_replica) in [(RACK, true), ("elsewhere", false), ("", false)] {
        let fake = Fake::start(2, 1).await;
        fake.change(|state| {
            state.partitions[0].push(0..10);
            state.partitions[0].near = Some((1, 10));
        });
        let mut reader = reader(&fake, rack).await;
        let mut values = Vec::new();
        read(&mut *reader, &mut values, 10).await;
        assert_eq!(fake.fetches(1) > 0, from_replica, "rack {rack:?}");
        if from_replica {
            let asked = fake.fetches(0);
            fake.change(|state| {
                state.partitions[0].push(10..20);
                state.partitions[0].near = Some((1, 20));
            });
            read(&mut *reader, &mut values, 20).await;
            assert_eq!(fake.fetches(0), asked, "the leader is not asked for each fetch");
        }
    }
}

#[tokio::test]
async fn a_replica_that_fails_or_lacks_what_is_asked_for_leaves_the_leader_to_serve() {
    for manner in [Manner::Cuts(3), Manner::Mute, Manner::Fine] {
        let fake = Fake::start(2, 1).await;
        fake.change(|state| {
            state.partitions[0].push(0..10);
            state.partitions[0].near = Some((1, 10));
        });
        let mut reader = reader(&fake, RACK).await;
        let mut values = Vec::new();
        read(&mut *reader, &mut values, 10).await;
        fake.change(|state| {
            state.manners[1] = manner;
            state.partitions[0].push(10..20);
            if manner == Manner::Fine {
                // It was made anew and has little: what is asked for is out of its range, which is no gap.
                state.partitions[0].near = Some((1, 4));
            }
        });
        read(&mut *reader, &mut values, 20).await;
    }
}
