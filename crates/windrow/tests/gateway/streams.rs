//! Channels of streams: order, kept rows, tables, and records that are no rows.

use serde_json::{Value as Json, json};
use windrow::{config::Limits, hub::ChannelSpec};
use windrow_core::topics::Topics;

use super::world::{World, stream_plan};

#[tokio::test]
async fn rows_have_their_origin_and_the_members_of_the_value() {
    let mut world = World::start().await;
    world.click(&[(None, Some(r#"{"video":"before"}"#))]).await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    assert_eq!(answer["key"], json!(["_topic", "_partition", "_offset"]));
    assert_eq!(answer["snapshot"], json!([]), "nothing is kept by default");
    world
        .click(&[
            (Some("k"), Some("{\"video\":\"a\",\n \"n\":12345678901234567890}")),
            (None, Some("not json")),
            (None, Some(r#"{"video":"b","_offset":99}"#)),
            (None, None),
        ])
        .await;
    let mut rows = Vec::new();
    while rows.len() < 3 {
        rows.extend(client.hear().await["rows"].as_array().unwrap().clone());
    }
    let row = |offset: i64, key: Json| json!({"_topic": "video_clicks", "_partition": 0, "_offset": offset, "_timestamp": 1_700_000_000_000_i64, "_key": key});
    let with = |mut row: Json, members: Json| {
        row.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        row
    };
    assert_eq!(rows[0], with(row(1, json!("k")), json!({"video": "a", "n": 12_345_678_901_234_567_890_u64})));
    assert_eq!(rows[1], with(row(3, Json::Null), json!({"video": "b"})));
    assert_eq!(rows[2], with(row(4, Json::Null), json!({"_value": null})));
    let bad = world.stats.counter(("channel", "clicks".into(), None), "bad", "unreadable");
    assert_eq!(bad.get(), 1);
}

#[tokio::test]
async fn the_last_rows_are_kept_when_asked_for() {
    let mut world =
        World::with(Limits::default(), |channels| channels[1] = ChannelSpec::stream(&stream_plan(&[], 2)))
            .await;
    let value = |i: i32| json!({"video": format!("v{i}")}).to_string();
    let values: Vec<String> = (0..5).map(value).collect();
    let clicks: Vec<_> = values.iter().map(|v| (None, Some(v.as_str()))).collect();
    world.click(&clicks).await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    let offsets: Vec<_> =
        answer["snapshot"].as_array().unwrap().iter().map(|r| r["_offset"].clone()).collect();
    assert_eq!(offsets, [json!(3), json!(4)]);
}

#[tokio::test]
async fn latest_by_makes_a_table_and_a_null_value_deletes() {
    let latest =
        |channels: &mut Vec<ChannelSpec>| channels[1] = ChannelSpec::stream(&stream_plan(&["video"], 0));
    let mut world = World::with(Limits::default(), latest).await;
    world
        .click(&[(Some("a"), Some(r#"{"video":"a","n":1}"#)), (Some("b"), Some(r#"{"video":"b","n":1}"#))])
        .await;
    world.click(&[(Some("a"), Some(r#"{"video":"a","n":2}"#))]).await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    assert_eq!(answer["key"], json!(["video"]));
    let mut rows: Vec<_> =
        answer["snapshot"].as_array().unwrap().iter().map(|r| (r["video"].clone(), r["n"].clone())).collect();
    rows.sort_by_key(|(video, _)| video.to_string());
    assert_eq!(rows, [(json!("a"), json!(2)), (json!("b"), json!(1))]);
    world.click(&[(Some("a"), None)]).await;
    assert_eq!(client.hear().await["gone"], json!([{"video": "a"}]));
}

#[tokio::test]
async fn a_stream_resumes_without_a_hole() {
    let mut world = World::start().await;
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    world.click(&[(None, Some(r#"{"video":"a"}"#))]).await;
    let at = client.hear().await["at"].clone();
    world.click(&[(None, Some(r#"{"video":"b"}"#)), (None, Some(r#"{"video":"c"}"#))]).await;
    let mut last = 0;
    while last < 2 {
        last = client.hear().await["rows"].as_array().unwrap().last().unwrap()["_offset"].as_i64().unwrap();
    }
    let answer = client.ask(json!({"subscribe": "clicks", "as": 2, "from": at})).await;
    assert_eq!(answer["recovered"], true);
    let rows = client.hear().await["rows"].clone();
    assert_eq!((&rows[0]["video"], &rows[1]["video"]), (&json!("b"), &json!("c")));
}

#[tokio::test]
async fn a_stream_that_nobody_has_written_to_is_empty_and_then_misses_nothing() {
    let mut world = World::with(Limits::default(), |channels| {
        let mut plan = stream_plan(&[], 0);
        let mut spec = (*plan.spec).clone();
        spec.topics = Topics::One("later".into());
        plan.spec = spec.into();
        channels[1] = ChannelSpec::stream(&plan);
    })
    .await;
    let mut client = world.client().await;
    assert_eq!(client.ask(json!({"subscribe": "clicks", "as": 1})).await["snapshot"], json!([]));
    world.create("later", false).await;
    world.click_to("later", &[(None, Some(r#"{"video":"first"}"#))]).await;
    let rows = client.hear().await["rows"].clone();
    assert_eq!((&rows[0]["video"], &rows[0]["_offset"]), (&json!("first"), &json!(0)));
}
