//! Channels over several topics: what appears, what leaves, and coming back.

use std::{sync::Arc, time::Duration};

use serde_json::{Value as Json, json};
use windrow::{
    config::{Limits, Variables, parse, plan},
    hub::ChannelSpec,
    log::Tp,
};

use super::{
    cut::{CutLog, Cuts},
    world::{Client, PATIENCE, World},
};

const READS: &str = "topic_pattern = '^plant\\.'";

/// A gateway whose channel `clicks` is a stream of these settings, and `likes` a filter over it.
async fn world(settings: &str) -> World {
    world_with(settings, Cuts::default()).await
}

async fn world_with(settings: &str, cuts: Cuts) -> World {
    let text =
        format!("[streams.clicks]\n{settings}\n[views.likes]\nsql = 'SELECT v FROM clicks WHERE v > 10'");
    let config = parse(&text, "w.toml", &Variables::default()).unwrap();
    let plans = plan(&config, "w.toml", &text).unwrap();
    let change = |channels: &mut Vec<ChannelSpec>| {
        channels[0] = ChannelSpec::view("app", &plans[0], 0);
        channels[1] = ChannelSpec::stream(&plans[0]);
    };
    World::on(Limits::default(), change, |log| Arc::new(CutLog(log, cuts))).await
}

impl World {
    async fn write_to(&mut self, topic: &str, values: &[i64]) {
        let values: Vec<String> = values.iter().map(|v| json!({"v": v}).to_string()).collect();
        let clicks: Vec<_> = values.iter().map(|value| (None, Some(value.as_str()))).collect();
        self.click_to(topic, &clicks).await;
    }
}

fn told(message: &Json, member: &str) -> Vec<(String, i64)> {
    let rows = message[member].as_array().into_iter().flatten();
    rows.map(|row| (row["_topic"].as_str().unwrap().to_owned(), row["v"].as_i64().unwrap_or(-1))).collect()
}

/// Hears rows until there are so many; in the order of topics, and of the log within each.
async fn rows(client: &mut Client, count: usize) -> (Vec<(String, i64)>, Json) {
    let (mut all, mut at) = (Vec::new(), Json::Null);
    while all.len() < count {
        let message = client.hear().await;
        at = message["at"].clone();
        all.extend(told(&message, "rows"));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    (all, at)
}

fn of(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(topic, v)| ((*topic).to_owned(), *v)).collect()
}

#[tokio::test]
async fn a_topic_that_appears_is_read_from_its_beginning_and_what_was_there_from_now_on() {
    let mut world = world(READS).await;
    world.create("plant.a", false).await;
    world.create("other", false).await;
    world.write_to("plant.a", &[1]).await;
    let mut client = world.client().await;
    assert_eq!(client.ask(json!({"subscribe": "clicks", "as": 1})).await["snapshot"], json!([]));
    let mut of_view = world.client().await;
    of_view.ask(json!({"subscribe": "likes", "as": 1})).await;
    let mut filtered = world.client().await;
    filtered.ask(json!({"subscribe": "clicks", "as": 1, "where": "_topic = 'plant.b'"})).await;
    world.write_to("other", &[7]).await;
    world.create("plant.b", false).await;
    world.write_to("plant.b", &[2, 30]).await;
    world.write_to("plant.a", &[4]).await;
    assert_eq!(rows(&mut client, 3).await.0, of(&[("plant.a", 4), ("plant.b", 2), ("plant.b", 30)]));
    assert_eq!(rows(&mut of_view, 1).await.0, of(&[("plant.b", 30)]));
    assert_eq!(rows(&mut filtered, 2).await.0, of(&[("plant.b", 2), ("plant.b", 30)]));
}

#[tokio::test]
async fn a_table_by_topic_has_a_row_for_each_and_loses_it_with_its_topic() {
    let mut world = world(&format!("{READS}\nlatest_by = ['_topic']")).await;
    for topic in ["plant.a", "plant.b"] {
        world.create(topic, false).await;
        world.write_to(topic, &[1, 2]).await;
    }
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    assert_eq!(answer["key"], json!(["_topic"]));
    assert_eq!(told(&answer, "snapshot"), of(&[("plant.a", 2), ("plant.b", 2)]));
    world.click_to("plant.a", &[(None, None)]).await;
    assert_eq!(client.hear().await["gone"], json!([{"_topic": "plant.a"}]));
    world.write_to("plant.a", &[3]).await;
    let (row, at) = rows(&mut client, 1).await;
    assert_eq!(row, of(&[("plant.a", 3)]));
    world.log.delete_topic("plant.b").await.unwrap();
    assert_eq!(client.hear().await["gone"], json!([{"_topic": "plant.b"}]));
    world.write_to("plant.a", &[4]).await;
    assert_eq!(rows(&mut client, 1).await.0, of(&[("plant.a", 4)]), "the others go on");
    let mut late = world.client().await;
    let answer = late.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await;
    assert_eq!((&answer["recovered"], &answer["reason"]), (&json!(false), &json!("epoch")), "{answer}");
    assert_eq!(told(&answer, "snapshot"), of(&[("plant.a", 4)]));
    world.create("plant.b", false).await;
    world.write_to("plant.b", &[9]).await;
    assert_eq!(rows(&mut client, 1).await.0, of(&[("plant.b", 9)]), "made anew, it is news");
}

#[tokio::test]
async fn what_topics_share_falls_back_to_the_topic_that_is_left() {
    let mut world = world("topic = ['plant.a', 'plant.b']\nlatest_by = ['id']").await;
    for (topic, v) in [("plant.a", 1), ("plant.b", 2)] {
        world.create(topic, false).await;
        world.click_to(topic, &[(None, Some(&json!({"id": "x", "v": v}).to_string()))]).await;
    }
    let mut client = world.client().await;
    let first = told(&client.ask(json!({"subscribe": "clicks", "as": 1})).await, "snapshot");
    assert_eq!(first.len(), 1, "the topics share the row");
    let (won, lost) =
        if first[0].0 == "plant.a" { ("plant.a", ("plant.b", 2)) } else { ("plant.b", ("plant.a", 1)) };
    world.log.delete_topic(won).await.unwrap();
    let anew = client.hear().await;
    assert_eq!((&anew["reset"], told(&anew, "snapshot")), (&json!(true), of(&[lost])), "{anew}");
}

#[tokio::test]
async fn a_position_over_topics_is_taken_up_by_a_node_that_was_just_started() {
    let mut world = world("topic = ['plant.a', 'plant.b', 'plant.c', 'plant.d']").await;
    for topic in ["plant.a", "plant.b", "plant.d"] {
        world.create(topic, false).await;
    }
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    for topic in ["plant.a", "plant.b", "plant.d"] {
        world.write_to(topic, &[1]).await;
    }
    let (_, at) = rows(&mut client, 3).await;
    world.write_to("plant.a", &[2]).await;
    world.write_to("plant.b", &[3, 4]).await;
    world.create("plant.c", false).await;
    world.write_to("plant.c", &[5]).await;
    world.log.delete_topic("plant.d").await.unwrap();
    world.restart().await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await;
    assert_eq!((&answer["recovered"], answer.get("snapshot")), (&json!(true), None), "{answer}");
    let want = of(&[("plant.a", 2), ("plant.b", 3), ("plant.b", 4), ("plant.c", 5)]);
    let (heard, at) = rows(&mut client, 4).await;
    assert_eq!(heard, want);
    world.write_to("plant.b", &[6]).await;
    let mut again = world.client().await;
    assert_eq!(again.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await["recovered"], true);
    assert_eq!(rows(&mut again, 1).await.0, of(&[("plant.b", 6)]), "exactly what came after");
}

#[tokio::test]
async fn a_topic_that_cannot_be_read_is_counted_and_stops_no_other() {
    let mut world = world(READS).await;
    for topic in ["plant.a", "plant.noise"] {
        world.create(topic, false).await;
    }
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    world.click_to("plant.noise", &[(None, Some("no json")), (None, Some("[]"))]).await;
    world.write_to("plant.a", &[1]).await;
    assert_eq!(rows(&mut client, 1).await.0, of(&[("plant.a", 1)]));
    let bad = world.stats.counter(("channel", "clicks".into(), None), "bad", "unreadable");
    world.write_to("plant.noise", &[2]).await;
    assert_eq!(rows(&mut client, 1).await.0, of(&[("plant.noise", 2)]));
    assert_eq!(bad.get(), 2);
}

#[tokio::test]
async fn a_channel_too_wide_for_a_position_says_so_and_is_served() {
    let mut world = world(READS).await;
    for number in 0..60 {
        world.create(&format!("plant.{number}"), false).await;
    }
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    assert_eq!((answer["snapshot"].as_array().map(Vec::len), answer.get("at")), (Some(0), None), "{answer}");
    let is_resumable =
        |channel: &str| world.hub.channels().iter().any(|c| *c.name == *channel && c.resumable);
    assert!(!is_resumable("clicks") && is_resumable("_clients"));
    world.write_to("plant.42", &[1]).await;
    assert_eq!(rows(&mut client, 1).await, (of(&[("plant.42", 1)]), Json::Null));
}

#[tokio::test]
async fn a_topic_that_one_look_does_not_find_stays() {
    let cuts = Cuts::default();
    let mut world = world_with(&format!("{READS}\nlatest_by = ['_topic']"), cuts.clone()).await;
    world.create("plant.a", false).await;
    world.write_to("plant.a", &[1]).await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    assert_eq!(told(&answer, "snapshot"), of(&[("plant.a", 1)]));
    cuts.hide(1);
    let looked = async {
        while cuts.hidden() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("a look");
    world.write_to("plant.a", &[2]).await;
    let message = client.hear().await;
    assert_eq!((told(&message, "rows"), message.get("gone")), (of(&[("plant.a", 2)]), None), "{message}");
}

#[tokio::test]
async fn what_retention_takes_of_one_topic_is_told_and_nothing_of_the_others_is_lost_or_doubled() {
    let cuts = Cuts::default();
    let mut world = world_with(READS, cuts.clone()).await;
    for topic in ["plant.a", "plant.b"] {
        world.create(topic, false).await;
    }
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    world.write_to("plant.a", &[0]).await;
    world.write_to("plant.b", &[10]).await;
    rows(&mut client, 2).await;
    cuts.take(Tp::new("plant.a", 0), 2);
    world.write_to("plant.a", &[1, 2, 3]).await;
    let reset = client.hear().await;
    assert_eq!(
        (&reset["reset"], &reset["reason"], &reset["snapshot"]),
        (&json!(true), &json!("history"), &json!([])),
        "{reset}"
    );
    world.write_to("plant.b", &[11]).await;
    let (heard, at) = rows(&mut client, 3).await;
    assert_eq!(heard, of(&[("plant.a", 2), ("plant.a", 3), ("plant.b", 11)]));
    assert!(at.is_string());
}
