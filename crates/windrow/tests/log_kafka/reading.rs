//! Topics that vanish, clusters that do not answer, and what an abort leaves behind.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use windrow::log::{From, Log as _, LogError, Outgoing, ReaderOptions, Tp, WriterOptions, kafka::KafkaLog};

use crate::{
    eventually::within,
    world::{log, spec, topic, unique},
};

#[tokio::test]
async fn an_abort_leaves_nothing_for_the_next_transaction() {
    let log = log().await;
    let tp = Tp::new(topic(&log, 1).await, 0);
    let record = |n: usize| Outgoing {
        topic: tp.topic.clone(),
        partition: 0,
        key: None,
        value: Some(n.to_string().into()),
        headers: Vec::new(),
        timestamp_ms: 1_000,
    };
    let mut writer = log.writer(WriterOptions { transactional_id: Some(unique("w")) }).await.unwrap();
    for round in 0..20 {
        for (count, keep) in [(2_000, false), (1, true)] {
            writer.begin().await.unwrap();
            writer.send((0..count).map(record).collect()).await.unwrap();
            let done = if keep { writer.commit() } else { writer.abort() };
            within("end", done).await.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
    }
    let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
    reader.assign(tp.clone(), From::Earliest);
    let mut seen = 0;
    within("read", async {
        while seen < 20 {
            let answers = reader.next().await.unwrap();
            seen += answers.iter().flat_map(|a| &a.batches).map(|b| b.len()).sum::<usize>();
        }
    })
    .await;
    assert_eq!(seen, 20);
}

#[tokio::test]
async fn a_topic_that_is_missing_or_made_anew_stops_its_reader() {
    let log = log().await;
    let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
    reader.assign(Tp::new("no-such-topic", 0), From::Earliest);
    let missing = within("missing", reader.next()).await.unwrap_err();
    assert!(matches!(&missing, LogError::UnknownTopic(name) if &**name == "no-such-topic"), "{missing:?}");
    reader.unassign(&Tp::new("no-such-topic", 0));

    let topic = topic(&log, 1).await;
    let before = log.topic(&topic).await.unwrap().unwrap().epoch;
    reader.assign(Tp::new(topic.clone(), 0), From::Earliest);
    within("read", reader.next()).await.unwrap();
    assert!(log.delete_topic(&topic).await.unwrap());
    within("made anew", async {
        while !matches!(log.create_topic(&spec(&topic, 1)).await, Ok(true)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_ne!(log.topic(&topic).await.unwrap().unwrap().epoch, before);
    let anew = within("told", async {
        loop {
            if let Err(error) = reader.next().await {
                return error;
            }
        }
    });
    assert!(matches!(anew.await, LogError::Recreated(_)));
}

#[tokio::test]
async fn a_cluster_that_is_away_or_mute_is_told_soon_with_its_address() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [closed, mute.local_addr().unwrap()] {
        let begun = Instant::now();
        let told = KafkaLog::connect(&[format!("kafka://{address}")], &BTreeMap::new()).await.err().unwrap();
        assert!(matches!(&told, LogError::Retry(why) if why.contains(&address.to_string())), "{told:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn properties_that_are_unknown_or_not_open_are_refused_by_name() {
    for (name, value) in
        [("no.such.property", "1"), ("group.id", "x"), ("security.protocol", "TLS"), ("linger.ms", "soon")]
    {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let told = KafkaLog::connect(&["127.0.0.1:1".to_owned()], &properties).await.err().unwrap();
        assert!(matches!(&told, LogError::Fatal(why) if why.contains(name)), "{name}: {told:?}");
    }
}
