//! Topics of state that somebody else made: used when they keep all, refused with the way out when they do not.

use std::time::Duration;

use serde_json::{Value, json};
use windrow::log::TopicSpec;

use crate::{place::Place, process::given};

const CONFIG: &str = r#"
[streams.clicks]
topic = "${APP}-clicks"
[views.by_country]
sql = "SELECT country, count(*) AS n FROM clicks GROUP BY country"
"#;

/// Each topic that holds state is looked at: one that would lose it by itself stops the start.
async fn a_topic_of_state_that_loses_records_is_refused(place: Place) {
    let topic = format!("{}-clicks", place.app);
    place.make_topic(&topic, 2).await;
    let clicks: Vec<Value> = (0..10).map(|n| json!({"country": format!("c{n}")})).collect();
    place.write(&topic, 0..2, &clicks).await;
    for (kind, retention, compact, setting) in [
        ("journal", Some(Duration::from_hours(1)), false, "retention.ms=3600000"),
        ("partials", None, true, "cleanup.policy=compact"),
        ("sources", Some(Duration::from_hours(2)), false, "retention.ms=7200000"),
    ] {
        let name = format!("{}.by_country.{kind}", place.app);
        let spec = TopicSpec {
            name: name.as_str().into(),
            partitions: 2,
            replication: -1,
            compact,
            retention,
            retention_bytes: None,
        };
        let log = place.log().await;
        // The start before has made those that it came to.
        log.delete_topic(&name).await.unwrap();
        log.create_topic(&spec).await.unwrap();
        drop(log);
        let mut process = place.serve(CONFIG, &[]);
        assert!(!process.wait().success(), "{name} was taken: {}", process.said());
        let said = process.said();
        assert!(said.contains(&format!("topic {name} loses records by itself ({setting})")), "{said}");
        place.log().await.delete_topic(&name).await.unwrap();
    }
    let process = place.serve(CONFIG, &[]);
    place.until_sum("by_country", "n", 10).await;
    place.end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_state_that_loses_records_is_refused_on_the_embedded_log() {
    a_topic_of_state_that_loses_records_is_refused(Place::new("foreign", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_state_that_loses_records_is_refused_on_kafka() {
    a_topic_of_state_that_loses_records_is_refused(Place::new("foreign", Some(given("WINDROW_TEST_KAFKA"))))
        .await;
}
