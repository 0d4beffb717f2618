//! Views that begin anew: a source that grew, a view that was changed, added, or reset. Never wrong; where it can't go on, it says why.

use serde_json::{Value, json};

use crate::{
    place::Place,
    process::{free_port, given},
};

const CONFIG: &str = r#"
[streams.clicks]
topic = "${APP}-clicks"
keyed_by = ["video"]
[views.by_video]
sql = "SELECT video, count(*) AS n FROM clicks GROUP BY video"
[views.by_country]
sql = "SELECT country, count(*) AS n FROM clicks GROUP BY country"
"#;

const RESET: [&str; 2] = ["--reset", "by_video"];

/// Round about over two or four partitions, each video is always in the same.
fn clicks(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"video": format!("v{}", n % 8), "country": format!("c{}", n % 5)})).collect()
}

/// A view in two stages goes on; one whose state lies by key stops until it is reset. From then on it has two stages as well, because
/// the stream's history holds each video in two partitions.
async fn a_source_grows(place: Place, while_running: bool) {
    let topic = format!("{}-clicks", place.app);
    place.make_topic(&topic, 2).await;
    place.write(&topic, 0..2, &clicks(200)).await;
    let process = place.serve(CONFIG, &[]);
    place.until_sum("by_video", "n", 200).await;
    place.until_sum("by_country", "n", 200).await;
    place.until_ready().await;
    let running = if while_running {
        Some(process)
    } else {
        place.end(process);
        None
    };
    place.log().await.add_partitions(&topic, 4).await.unwrap();
    place.write(&topic, 2..4, &clicks(100)).await;
    let process = running.unwrap_or_else(|| place.serve(CONFIG, &[]));
    place.until_sum("by_country", "n", 300).await;
    place.until_trouble(&["view by_video", "2 partitions", "has 4 now", "--reset by_video"]).await;
    place.until_sum("by_video", "n", 200).await;
    place.end(process);

    let process = place.serve(CONFIG, &RESET);
    place.until_sum("by_video", "n", 300).await;
    place.until_sum("by_country", "n", 300).await;
    place.until_ready().await;
    place.end(process);
    // And it keeps what it has.
    place.write(&topic, 0..4, &clicks(40)).await;
    let process = place.serve(CONFIG, &[]);
    place.until_sum("by_video", "n", 340).await;
    place.until_sum("by_country", "n", 340).await;
    place.until_ready().await;
    place.end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_grew_on_the_embedded_log_stops_what_it_must() {
    a_source_grows(Place::new("grown", None), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_grew_on_kafka_stops_what_it_must() {
    a_source_grows(Place::new("grown", Some(given("WINDROW_TEST_KAFKA"))), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_grows_while_it_is_read_stops_what_it_must() {
    a_source_grows(Place::new("growing", Some(given("WINDROW_TEST_KAFKA"))), true).await;
}

/// A changed view is refused with the way out, and that way is right; one that is added reads its own history.
async fn a_view_changes(place: Place) {
    let topic = format!("{}-clicks", place.app);
    place.make_topic(&topic, 2).await;
    place.write(&topic, 0..2, &clicks(100)).await;
    let process = place.serve(CONFIG, &[]);
    place.until_sum("by_video", "n", 100).await;
    place.until_sum("by_country", "n", 100).await;
    place.end(process);

    // Both kinds of state are recognised.
    for view in ["video", "country"] {
        let changed = CONFIG.replace(&format!("{view}, count(*)"), &format!("{view}, 2 * count(*)"));
        let mut refused = place.serve(&changed, &[]);
        assert!(!refused.wait().success(), "{}", refused.said());
        let said = refused.said();
        assert!(said.contains(&format!("--reset by_{view}")), "{said}");
    }
    let changed = CONFIG.replace("count(*)", "2 * count(*)")
        + "[views.added]\nsql = \"SELECT video, count(*) AS n FROM clicks GROUP BY video\"\n";
    let process = place.serve(&changed, &["--reset", "by_video", "--reset", "by_country"]);
    place.until_sum("by_video", "n", 200).await;
    place.until_sum("by_country", "n", 200).await;
    place.until_sum("added", "n", 100).await;
    place.until_ready().await;
    place.end(process);
    // What the channel held before is gone from it: a new gateway finds only what is so now.
    let process = place.serve(&changed, &[]);
    place.until_sum("by_video", "n", 200).await;
    place.until_sum("by_country", "n", 200).await;
    place.end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_begins_anew_only_when_told_on_the_embedded_log() {
    a_view_changes(Place::new("changed", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_begins_anew_only_when_told_on_kafka() {
    a_view_changes(Place::new("changed", Some(given("WINDROW_TEST_KAFKA")))).await;
}

/// The state is of the former topic and the new one holds other records at the same offsets: nothing but stopping is right, until told
/// to begin anew.
async fn a_source_is_made_anew(place: Place) {
    let topic = format!("{}-clicks", place.app);
    place.make_topic(&topic, 2).await;
    place.write(&topic, 0..2, &clicks(100)).await;
    let process = place.serve(CONFIG, &[]);
    place.until_sum("by_video", "n", 100).await;
    place.until_sum("by_country", "n", 100).await;
    place.end(process);
    assert!(place.log().await.delete_topic(&topic).await.unwrap());
    place.make_topic(&topic, 2).await;
    place.write(&topic, 0..2, &clicks(160)).await;
    for reset in [&[][..], &RESET] {
        let mut refused = place.serve(CONFIG, reset);
        assert!(!refused.wait().success(), "{}", refused.said());
        let said = refused.said();
        assert!(said.contains(&format!("topic {topic} was deleted and made anew")), "{said}");
        assert!(said.contains("--reset VIEW"), "{said}");
    }
    let process = place.serve(CONFIG, &["--reset", "by_video", "--reset", "by_country"]);
    place.until_sum("by_video", "n", 160).await;
    place.until_sum("by_country", "n", 160).await;
    place.end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_made_anew_while_nobody_looked_is_noticed_on_the_embedded_log() {
    a_source_is_made_anew(Place::new("reborn", None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_made_anew_while_nobody_looked_is_noticed_on_kafka() {
    a_source_is_made_anew(Place::new("reborn", Some(given("WINDROW_TEST_KAFKA")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_refused_while_another_engine_is_alive() {
    let place = Place::new("two-engines", Some(given("WINDROW_TEST_KAFKA")));
    let topic = format!("{}-clicks", place.app);
    place.make_topic(&topic, 2).await;
    place.write(&topic, 0..2, &clicks(100)).await;
    let first = place.serve(CONFIG, &[]);
    place.until_sum("by_video", "n", 100).await;
    let mut second = place.serve_at(CONFIG, &RESET, free_port());
    assert!(!second.wait().success(), "{}", second.said());
    assert!(second.said().contains("stop the other engines first"), "{}", second.said());
    place.until_sum("by_video", "n", 100).await;
    place.end(first);
}
