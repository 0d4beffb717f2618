//! What only the Kafka log has to prove: members that return or lose everything, topics that vanish, brokers that do not answer.
//!
//! Needs `WINDROW_TEST_KAFKA=host:port`; without it, it fails and says so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use eventually::within;
use rdkafka::{ClientConfig, admin::AdminClient, admin::AdminOptions, client::DefaultClientContext};
use windrow::log::{
    From, Group, GroupEvent, GroupOptions, Log, LogError, Outgoing, ReaderOptions, Topic, TopicSpec, Tp,
    WriterOptions, kafka::KafkaLog,
};

#[path = "common/eventually.rs"]
mod eventually;

fn address() -> String {
    std::env::var("WINDROW_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("WINDROW_TEST_KAFKA is not set: run `cargo xtask test`, or `cargo xtask kafka start` and set it to what that prints")
    })
}

async fn log() -> Arc<KafkaLog> {
    KafkaLog::connect(&[address()], &BTreeMap::new()).await.unwrap()
}

fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{now}-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

async fn topic(log: &KafkaLog, partitions: i32) -> Topic {
    let spec = spec(&unique("k"), partitions);
    assert!(log.create_topic(&spec).await.unwrap());
    spec.name
}

fn spec(name: &str, partitions: i32) -> TopicSpec {
    let (retention, retention_bytes) = (None, None);
    TopicSpec { name: name.into(), partitions, replication: 1, compact: false, retention, retention_bytes }
}

fn options(group: &str, topic: &Topic, instance_id: Option<&str>) -> GroupOptions {
    let instance_id = instance_id.map(str::to_owned);
    GroupOptions { group: group.to_owned(), instance_id, topics: vec![topic.clone()] }
}

async fn event(group: &mut dyn Group) -> GroupEvent {
    within("an event of the group", group.next()).await.unwrap()
}

async fn assigned(group: &mut dyn Group, count: usize) {
    match event(group).await {
        GroupEvent::Assigned(tps) if tps.len() == count => group.answer(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_static_member_that_leaves_gives_its_partitions_away_at_once() {
    let log = log().await;
    let (topic, group) = (topic(&log, 2).await, unique("g"));
    let mut first = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *first, 2).await;
    first.leave().await.unwrap();
    // The session of `a` would hold them for 45 s.
    let begun = Instant::now();
    let mut second = log.group(options(&group, &topic, Some("b"))).await.unwrap();
    assigned(&mut *second, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    second.leave().await.unwrap();
}

#[tokio::test]
async fn a_static_member_that_vanished_reclaims_its_partitions() {
    let log = log().await;
    let (topic, group) = (topic(&log, 2).await, unique("g"));
    let mut first = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *first, 2).await;
    drop(first);
    let begun = Instant::now();
    let mut again = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *again, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    again.leave().await.unwrap();
}

#[tokio::test]
async fn a_member_thrown_out_hears_of_the_loss_and_has_no_proof_until_it_is_back() {
    let log = log().await;
    let (topic, group) = (topic(&log, 2).await, unique("g"));
    let mut member = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *member, 2).await;
    let old = member.membership().unwrap();
    throw_out(&group, "a");
    let GroupEvent::Lost(tps) = event(&mut *member).await else { panic!("lost") };
    assert_eq!(tps.len(), 2);
    // Before the answer the member is not back, and may not look as if it were.
    assert!(matches!(member.membership(), Err(LogError::Fenced(_))));
    member.answer();
    assigned(&mut *member, 2).await;
    let new = member.membership().unwrap();
    let mut writer = log.writer(WriterOptions { transactional_id: Some(unique("w")) }).await.unwrap();
    for (proof, holds) in [(old, false), (new, true)] {
        writer.begin().await.unwrap();
        let sent = writer.send_offsets(&group, &[(tps[0].clone(), 5)], &proof).await;
        let done = if sent.is_ok() { writer.commit().await } else { sent };
        assert_eq!(done.is_ok(), holds, "{done:?}");
        if !holds {
            assert!(matches!(done, Err(LogError::Fenced(_))), "{done:?}");
            within("abort", writer.abort()).await.unwrap();
        }
    }
    assert_eq!(log.committed(&group, &tps[..1]).await.unwrap(), [Some(5)]);
    member.leave().await.unwrap();
}

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

/// What an administrator does: LeaveGroup version 3 in the member's name.
fn throw_out(group: &str, instance_id: &str) {
    let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
    let head = [13_i16.to_be_bytes(), 3_i16.to_be_bytes(), [0, 0], [0, 1], (-1_i16).to_be_bytes()].concat();
    let body = [head, text(group), 1_i32.to_be_bytes().to_vec(), text(""), text(instance_id)].concat();
    let mut socket = TcpStream::connect(address()).unwrap();
    socket.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
    socket.write_all(&body).unwrap();
    // length, correlation, throttle time, error code
    let mut answer = [0; 14];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[12..], [0, 0], "the broker refused");
}

#[tokio::test]
async fn the_former_of_two_members_with_one_instance_id_is_told() {
    let log = log().await;
    let (topic, group) = (topic(&log, 1).await, unique("g"));
    let mut first = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *first, 1).await;
    let mut second = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *second, 1).await;
    let told = within("the first is told", async {
        loop {
            match first.next().await {
                Ok(GroupEvent::Lost(_)) => first.answer(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(matches!(told, LogError::Fatal(_)), "{told:?}");
    second.leave().await.unwrap();
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
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
    admin.delete_topics(&[&*topic], &AdminOptions::new()).await.unwrap();
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
    assert!(matches!(anew.await, LogError::UnknownTopic(_)));
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
        [("no.such.property", "1"), ("group.id", "x"), ("security.protocol", "SSL"), ("linger.ms", "soon")]
    {
        let properties = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let told = KafkaLog::connect(&["127.0.0.1:1".to_owned()], &properties).await.err().unwrap();
        assert!(matches!(&told, LogError::Fatal(why) if why.contains(name)), "{name}: {told:?}");
    }
}
