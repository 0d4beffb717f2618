//! Sessions as a broker sees them: who shows credentials again keeps its connection, and who was refused knocks seldom.

use std::time::{Duration, Instant};

use windrow::log::{From, Log as _, LogError, Reader, ReaderOptions, Tp, kafka::KafkaLog};

use crate::{
    eventually::within,
    fake::{Fake, TOPIC},
};

async fn reader(fake: &Fake) -> Box<dyn Reader> {
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "windrow"),
        ("sasl.password", "secret"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let log = within("connect", KafkaLog::connect(&fake.addresses(), &properties)).await.unwrap();
    let options = ReaderOptions { wait_max: Duration::from_millis(20), ..ReaderOptions::default() };
    let mut reader = log.reader(options).await.unwrap();
    reader.assign(Tp::new(TOPIC, 0), From::Earliest);
    reader
}

/// Reads until it pleases; returns what was told.
async fn until(reader: &mut dyn Reader, what: &str, pleases: impl Fn(&[LogError]) -> bool) -> Vec<LogError> {
    let mut told = Vec::new();
    within(what, async {
        while !pleases(&told) {
            told.extend(reader.next().await.err());
        }
    })
    .await;
    told
}

#[tokio::test]
async fn credentials_are_shown_again_on_the_same_connection_before_the_session_ends() {
    let fake = Fake::start(1, 1).await;
    fake.change(|state| state.session_ms = 1_500);
    let mut reader = reader(&fake).await;
    until(&mut *reader, "it reads", |_| fake.fetches(0) > 2).await;
    let (before, connections) = fake.logins();
    let told = until(&mut *reader, "two sessions end", |_| fake.logins().0 >= before + 2).await;
    assert_eq!(fake.logins().1, connections, "no new connection");
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn who_is_refused_in_the_middle_says_why_knocks_seldom_and_goes_on_when_let_in() {
    const WHY: &str = "the password was changed";
    let fake = Fake::start(1, 1).await;
    fake.change(|state| state.session_ms = 1_200);
    let mut reader = reader(&fake).await;
    until(&mut *reader, "it reads", |_| fake.fetches(0) > 2).await;
    fake.change(|state| state.refuses = Some(WHY));
    let (begun, before) = (Instant::now(), fake.logins().0);
    let is_why =
        |told: &LogError| matches!(told, LogError::Retry(why) if why.contains(WHY) && why.contains("PLAIN"));
    let told = until(&mut *reader, "three words of it", |told| told.len() >= 3).await;
    assert!(told.iter().all(is_why), "{told:?}");
    // At 0, 1, 3 and 7 s: one more than the doublings of the time that has passed.
    let most = 2 + (begun.elapsed().as_secs() + 1).ilog2() as usize;
    let knocks = fake.logins().0 - before;
    assert!(knocks <= most, "{knocks} knocks in {:?}", begun.elapsed());
    fake.change(|state| {
        state.refuses = None;
        state.partitions[0].push(0..1);
    });
    let fetches = fake.fetches(0);
    until(&mut *reader, "it goes on", |_| fake.fetches(0) > fetches + 2).await;
}
