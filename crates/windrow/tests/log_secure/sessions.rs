//! Sessions that end: credentials are shown again, tokens fetched anew, and whoever reads or writes meanwhile does not notice.

use std::time::Duration;

use windrow::log::{From, LogError, Result, Tp, Writer, WriterOptions};

use crate::{
    bed::{Bed, numbered, take, unique, values},
    broker::{PASSWORD, SESSION, broker},
    endpoint::{Endpoint, Gives, SECRET},
    eventually::within,
    ways::properties,
};

/// Reads and writes on the same connections for three sessions, rests for as long as it is told, and writes again.
async fn outlives(pairs: &[(&str, &str)], rests: impl Fn() -> bool) {
    let bed = Bed::kafka_with(&broker().address("SASL_PLAINTEXT"), properties(pairs)).await;
    let tp = Tp::new(bed.topic(1).await, 0);
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Earliest).await;
    let mut writer = bed.writer(&unique("w")).await;
    let begun = std::time::Instant::now();
    let mut count = 0;
    while begun.elapsed() < SESSION * 3 {
        within("a commit", async {
            writer.begin().await.unwrap();
            writer.send(numbered(&tp, count..count + 1)).await.unwrap();
            writer.commit().await.unwrap();
        })
        .await;
        // Also what would only be told is an error here.
        let got = take(&mut *reader, 1).await;
        assert_eq!(values(&got), [count.to_string()]);
        count += 1;
        // A question of any broker, over connections that were idle.
        assert!(bed.log.topic(&tp.topic).await.unwrap().is_some());
    }
    assert!(count > 3, "only {count} rounds");
    within("the rest", async {
        while rests() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within("a commit after the rest", async {
        writer.begin().await.unwrap();
        writer.send(numbered(&tp, count..count + 1)).await.unwrap();
        writer.commit().await.unwrap();
    })
    .await;
    assert_eq!(values(&take(&mut *reader, 1).await), [count.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_and_a_writer_outlive_the_sessions_of_their_password() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let pairs = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "windrow"),
            ("sasl.password", PASSWORD),
        ];
        outlives(&pairs, || false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_and_a_writer_outlive_their_tokens() {
    let endpoint = Endpoint::start(Gives { life_s: 6, token_life_s: 6 }).await;
    let pairs = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", &endpoint.url),
        ("sasl.oauthbearer.client.id", "windrow"),
        ("sasl.oauthbearer.client.secret", SECRET),
        ("sasl.oauthbearer.scope", "kafka"),
    ];
    // Until whatever the writer had at its last commit is surely over.
    outlives(&pairs, || endpoint.given() < 4).await;
}

/// The endpoint does not know us any more, so that the last token ends under everybody's hands; later it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_cease_are_told_with_the_reason_and_all_goes_on_once_there_are_new_ones() {
    let endpoint = Endpoint::start(Gives { life_s: 4, token_life_s: 4 }).await;
    let pairs = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", &*endpoint.url),
        ("sasl.oauthbearer.client.id", "windrow"),
        ("sasl.oauthbearer.client.secret", SECRET),
        ("sasl.oauthbearer.scope", "kafka"),
    ];
    let bed = Bed::kafka_with(&broker().address("SASL_PLAINTEXT"), properties(&pairs)).await;
    let tp = Tp::new(bed.topic(1).await, 0);
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Earliest).await;
    let mut writer = bed.writer(&unique("w")).await;
    assert!(commit(&mut *writer, &tp, 0).await.is_ok());
    assert_eq!(values(&take(&mut *reader, 1).await), ["0"]);
    endpoint.knows_us(false);
    within("it is told", async {
        loop {
            match reader.next().await {
                Err(LogError::Retry(why))
                    if why.contains("has expired") && why.contains("invalid_client") =>
                {
                    break;
                }
                Err(LogError::Retry(_)) | Ok(_) => {}
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await;
    let told = commit(&mut *writer, &tp, 1).await;
    assert!(!matches!(told, Ok(()) | Err(LogError::Fatal(_))), "{told:?}");
    endpoint.knows_us(true);
    within("a commit", async {
        // As a worker does: a writer that is of no more use is opened anew.
        while commit(&mut *writer, &tp, 1).await.is_err() {
            let options = WriterOptions { transactional_id: Some(unique("w")) };
            match bed.log.writer(options).await {
                Ok(opened) => writer = opened,
                Err(error) => assert!(matches!(error, LogError::Retry(_)), "{error}"),
            }
        }
    })
    .await;
    within("it is read", async {
        loop {
            let got = reader.next().await.unwrap_or_default();
            if got.iter().any(|answer| !crate::bed::records(answer).is_empty()) {
                break;
            }
        }
    })
    .await;
}

async fn commit(writer: &mut dyn Writer, tp: &Tp, value: usize) -> Result<()> {
    let tried = async {
        writer.begin().await?;
        writer.send(numbered(tp, value..value + 1)).await?;
        writer.commit().await
    };
    let done = tried.await;
    if done.is_err() {
        let _ = writer.abort().await;
    }
    done
}
