//! Protocol v1 as it is written in `docs/PROTOCOL.md`.

use std::{sync::Arc, time::Duration};

use serde_json::{Value as Json, json};
use windrow::{
    hub::Fault,
    session::{Outgoing, Session, Voice},
};

use super::world::{Table, World};

/// A message without its position.
fn bare(mut message: Json) -> Json {
    message.as_object_mut().unwrap().remove("at");
    message
}

#[tokio::test]
async fn a_client_gets_a_snapshot_then_every_change() {
    let mut world = World::start().await;
    world.commit(&[("a", 0, Some(1)), ("b", 0, Some(2))]).await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "likes", "as": 1})).await;
    assert_eq!(answer["subscribed"], "likes");
    assert_eq!(answer["key"], json!(["id", "window_start"]));
    assert_eq!(answer["recovered"], false);
    assert!(answer["at"].is_string());
    let mut table = Table::default();
    table.apply(&answer);
    if table != Table::of(&[("a", 0, 1), ("b", 0, 2)]) {
        // The commit may have been read after the channel went live.
        client.hear_until(&mut table, &Table::of(&[("a", 0, 1), ("b", 0, 2)])).await;
    }
    world.commit(&[("a", 0, Some(3)), ("c", 60_000, Some(1))]).await;
    client.hear_until(&mut table, &Table::of(&[("a", 0, 3), ("b", 0, 2), ("c", 60_000, 1)])).await;
    world.commit(&[("a", 0, None), ("b", 0, None)]).await;
    let last = client.hear_until(&mut table, &Table::of(&[("c", 60_000, 1)])).await;
    assert_eq!(last["retired"], 60_000);
}

#[tokio::test]
async fn a_filter_shows_what_matches_and_names_what_no_longer_does() {
    let mut world = World::start().await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "likes", "as": 7, "where": "count >= 2"})).await;
    assert_eq!(answer["snapshot"], json!([]));
    world.commit(&[("a", 0, Some(1)), ("c", 0, Some(5))]).await;
    let mut table = Table::default();
    client.hear_until(&mut table, &Table::of(&[("c", 0, 5)])).await;
    world.commit(&[("a", 0, Some(2)), ("c", 0, Some(1))]).await;
    client.hear_until(&mut table, &Table::of(&[("a", 0, 2)])).await;

    client.say(json!({"filter": 7, "where": "id = 'c'"})).await;
    let answer = client.hear_until(&mut table, &Table::of(&[("c", 0, 1)])).await;
    assert_eq!(answer["filtered"], true);
    assert_eq!(answer["gone"], json!([{"id": "a", "window_start": 0}]));
    assert!(answer["at"].is_string());
    world.commit(&[("a", 0, Some(9)), ("c", 0, Some(2))]).await;
    client.hear_until(&mut table, &Table::of(&[("c", 0, 2)])).await;

    assert_eq!(client.ask(json!({"unsubscribe": 7})).await, json!({"as": 7, "unsubscribed": true}));
    world.commit(&[("c", 0, Some(3))]).await;
    assert_eq!(client.ask(json!({"ping": [1, "x"]})).await, json!({"pong": [1, "x"]}));
}

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let mut world = World::start().await;
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "likes", "as": 1})).await;
    world.commit(&[("a", 0, Some(1)), ("c", 0, Some(1))]).await;
    let mut table = Table::default();
    let at = client.hear_until(&mut table, &Table::of(&[("a", 0, 1), ("c", 0, 1)])).await["at"].clone();
    drop(client);
    let mut other = world.client().await;
    other.ask(json!({"subscribe": "likes", "as": 1, "from": "now"})).await;
    world.commit(&[("a", 0, Some(2)), ("c", 0, None), ("e", 0, Some(1))]).await;
    let mut seen = Table::of(&[("c", 0, 1)]);
    other.hear_until(&mut seen, &Table::of(&[("a", 0, 2), ("e", 0, 1)])).await;

    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "likes", "as": 2, "from": at})).await;
    assert_eq!((&answer["recovered"], &answer["snapshot"]), (&json!(true), &Json::Null));
    let missed = client.hear_until(&mut table, &Table::of(&[("a", 0, 2), ("e", 0, 1)])).await;
    assert_eq!(missed["gone"], json!([{"id": "c", "window_start": 0}]));

    let answer = client.ask(json!({"subscribe": "likes", "as": 3, "where": "count > 0", "from": at})).await;
    assert_eq!(answer["recovered"], false, "the position answers another question");
    assert_eq!(answer["snapshot"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn shared_ticks_gather_changes() {
    let mut world = World::start().await;
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "likes", "as": 1, "every": "200ms"})).await;
    let mut live = world.client().await;
    live.ask(json!({"subscribe": "likes", "as": 1})).await;
    for count in 1..=20 {
        world.commit(&[("a", 0, Some(count))]).await;
    }
    let mut table = Table::default();
    let mut messages = 0;
    while table != Table::of(&[("a", 0, 20)]) {
        table.apply(&client.hear().await);
        messages += 1;
    }
    assert!(messages < 20, "{messages} messages for 20 commits");
}

#[tokio::test]
async fn clients_are_counted_in_a_channel() {
    let world = World::start().await;
    let mut client = world.client().await;
    let mut row = client.ask(json!({"subscribe": "_clients", "as": 1})).await["snapshot"].clone();
    while row != json!([{"listener": "main", "connected": 1}]) {
        row = client.hear().await["rows"].clone();
    }
    let other = world.client().await;
    while row != json!([{"listener": "main", "connected": 2}]) {
        row = client.hear().await["rows"].clone();
    }
    drop(other);
    while row != json!([{"listener": "main", "connected": 1}]) {
        row = client.hear().await["rows"].clone();
    }
}

#[tokio::test]
async fn a_drain_says_when_to_come_back_and_waits_for_everybody() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "likes", "as": 1})).await;
    world.hub.drain();
    let bye = client.hear().await;
    assert_eq!(bye["bye"]["code"], "draining");
    assert!(bye["bye"]["reconnect_after_ms"].as_u64().is_some_and(|ms| (500..4_500).contains(&ms)));
    assert_eq!(client.hear().await["close"], 4000);
    drop(client);
    tokio::time::timeout(super::world::PATIENCE, world.hub.drained()).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_call_has_a_limit_and_a_position() {
    let mut world = World::start().await;
    let rows: Vec<(String, i64)> = (0..500).map(|i| (format!("a{i:03}"), i)).collect();
    let changes: Vec<_> = rows.iter().map(|(id, n)| (id.as_str(), 0, Some(*n))).collect();
    world.commit(&changes).await;
    // A client that has all rows proves that they are read.
    let mut client = world.client().await;
    let mut table = Table::default();
    table.apply(&client.ask(json!({"subscribe": "likes", "as": 1})).await);
    while table.0.len() < 500 {
        table.apply(&client.hear().await);
    }
    let some = world.hub.snapshot("likes", None, 10).await.unwrap();
    let listed: Vec<Json> = serde_json::from_slice(&some.rows).unwrap();
    assert_eq!((listed.len(), some.more), (10, true));
    let none = world.hub.snapshot("likes", None, 0).await.unwrap();
    assert_eq!((&none.rows[..], none.more), (&b"[]"[..], true));
    let one = world.hub.snapshot("likes", Some("id = 'a007'"), 10).await.unwrap();
    let listed: Vec<Json> = serde_json::from_slice(&one.rows).unwrap();
    assert_eq!((listed, one.more), (vec![super::world::likes("a007", 0, 7)], false));
    let code = |fault: Fault| fault.code;
    assert_eq!(world.hub.snapshot("nope", None, 1).await.map(drop).map_err(code), Err("unknown_channel"));
    assert_eq!(world.hub.snapshot("likes", Some("id ="), 1).await.map(drop).map_err(code), Err("bad_filter"));
}

#[tokio::test]
async fn a_large_snapshot_comes_in_pieces_and_only_the_last_has_a_position() {
    let mut world = World::start().await;
    let rows: Vec<String> = (0..6_000).map(|i| format!("a{i:05}")).collect();
    let changes: Vec<_> = rows.iter().map(|id| (id.as_str(), 0, Some(1))).collect();
    world.commit(&changes).await;
    let mut client = world.client().await;
    let mut table = Table::default();
    table.apply(&client.ask(json!({"subscribe": "likes", "as": 1})).await);
    while table.0.len() < 6_000 {
        table.apply(&client.hear().await);
    }
    let mut message = client.ask(json!({"subscribe": "likes", "as": 2})).await;
    assert_eq!(bare(message.clone())["subscribed"], "likes");
    let mut count = 0;
    let mut pieces = 0;
    loop {
        pieces += 1;
        count += message["snapshot"].as_array().unwrap().len();
        assert!(message.to_string().len() <= 256 << 10);
        let more = message["more"] == json!(true);
        assert_eq!(message["at"].is_string(), !more);
        if !more {
            break;
        }
        message = client.hear().await;
    }
    assert_eq!(count, 6_000);
    assert!(pieces >= 2, "{pieces}");
}

#[tokio::test]
async fn a_subscription_that_hears_nothing_is_told_its_position() {
    let mut world = World::start().await;
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "likes", "as": 1})).await;
    let mut session = Session::new(world.gateway(), Arc::default(), Voice::Plain);
    let mut out = Vec::new();
    session.on_text(r#"{"subscribe":"likes","as":5}"#, &mut out);
    out.clear();
    let due = session.wakes_at().unwrap();
    session.on_time(due - Duration::from_millis(1), &mut out);
    assert!(out.is_empty());
    session.on_time(due, &mut out);
    let told = |message: &Outgoing| {
        serde_json::from_slice::<Json>(&[&message.head[..], &message.body, &message.tail].concat()).unwrap()
    };
    let first = told(&out[0]);
    assert_eq!((out.len(), bare(first.clone())), (1, json!({"as": 5})));
    world.commit(&[("a", 0, Some(1))]).await;
    client.hear_until(&mut Table::default(), &Table::of(&[("a", 0, 1)])).await;
    out.clear();
    let due = session.wakes_at().unwrap();
    session.on_time(due, &mut out);
    assert!(out.is_empty(), "rows wait, so the position would be of the past");
}
