//! Coming back with a position: from another node, past the ring, to a topic that is not what it was.

use std::sync::Arc;

use futures_util::SinkExt;
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;
use windrow::{config::Limits, log::Tp};
use windrow_core::position::Position;

use super::{
    cut::{CutLog, Cuts},
    sse::Events,
    world::{Client, Table, World},
};

const LIKES: &str = "likes";

fn narrow() -> Limits {
    Limits { ring_max_bytes: 256 << 10, ..Limits::default() }
}

fn counted(world: &World, channel: &str, reason: &'static str) -> u64 {
    world.stats.counter(("channel", channel.into(), None), "unrecovered", reason).get()
}

/// Writes so many records of about a kilobyte.
async fn write(world: &mut World, from: usize, count: usize) {
    for first in (from..from + count).step_by(100) {
        let values: Vec<String> = (first..(first + 100).min(from + count))
            .map(|i| json!({"video": format!("v{}", i % 3), "i": i, "pad": "x".repeat(1_000)}).to_string())
            .collect();
        let clicks: Vec<_> = values.iter().map(|value| (None, Some(value.as_str()))).collect();
        world.click(&clicks).await;
    }
}

/// Hears rows until the one numbered `last`; returns the numbers.
async fn numbers(client: &mut Client, last: i64) -> Vec<i64> {
    let mut all = Vec::new();
    while all.last() != Some(&last) {
        let message = client.hear().await;
        assert!(message["at"].is_string(), "each message of a stream can be taken up: {message}");
        all.extend(message["rows"].as_array().unwrap().iter().map(|row| row["i"].as_i64().unwrap()));
    }
    all
}

#[tokio::test]
async fn a_stream_goes_on_from_the_log_where_the_ring_no_longer_reaches_and_then_live() {
    let mut world = World::with(narrow(), |_| {}).await;
    let mut client = world.client().await;
    write(&mut world, 0, 1).await;
    let at = client.ask(json!({"subscribe": "clicks", "as": 1})).await["at"].clone();
    let filtered =
        client.ask(json!({"subscribe": "clicks", "as": 2, "where": "video = 'v1'"})).await["at"].clone();
    write(&mut world, 1, 3_000).await;
    for (at, filter, want) in [
        (&at, None, (1..=3_000).collect::<Vec<i64>>()),
        (&filtered, Some("video = 'v1'"), (1..=3_000).filter(|i| i % 3 == 1).collect()),
    ] {
        let mut client = world.client().await;
        let answer = client.ask(json!({"subscribe": "clicks", "as": 1, "from": at, "where": filter})).await;
        assert_eq!((&answer["recovered"], answer.get("snapshot")), (&json!(true), None), "{answer}");
        assert_eq!(&answer["at"], at);
        assert_eq!(numbers(&mut client, *want.last().unwrap()).await, want);
    }
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await;
    write(&mut world, 3_001, 500).await;
    assert_eq!(numbers(&mut client, 3_500).await, (1..=3_500).collect::<Vec<_>>());
    let mut events = Events::open(&world, "/sse/clicks", at.as_str()).await;
    let mut all = Vec::new();
    while all.last() != Some(&3_500) {
        let event = events.next().await;
        assert_eq!((event.name.as_str(), event.id.is_some()), ("rows", true));
        all.extend(event.data["rows"].as_array().unwrap().iter().map(|row| row["i"].as_i64().unwrap()));
    }
    assert_eq!(all, (1..=3_500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_of_which_little_matches_comes_through_long_stretches_where_nothing_does() {
    let mut world = World::with(narrow(), |_| {}).await;
    let mut live = world.client().await;
    let rare = json!({"subscribe": "clicks", "as": 1, "where": "video = 'rare'"});
    let mut asked = rare.clone();
    asked["from"] = live.ask(rare).await["at"].clone();
    live.ask(json!({"subscribe": "clicks", "as": 2})).await;
    for first in [0, 3_000] {
        write(&mut world, first, 2_999).await;
        let value = json!({"video": "rare", "i": first + 2_999}).to_string();
        world.click(&[(None, Some(&value))]).await;
    }
    // Only then is everything read, and nothing else will ring.
    while live.hear().await["rows"][0]["i"] != json!(5_999) {}
    let mut client = world.client().await;
    assert_eq!(client.ask(asked).await["recovered"], true);
    assert_eq!(numbers(&mut client, 5_999).await, [2_999, 5_999]);
}

#[tokio::test]
async fn a_node_that_was_just_started_takes_up_what_another_told() {
    let mut world = World::start().await;
    world.commit(&[("a", 0, Some(1)), ("b", 0, Some(2)), ("c", 0, Some(3))]).await;
    let mut client = world.client().await;
    let mut table = Table::default();
    let mut told = client.ask(json!({"subscribe": LIKES, "as": 1})).await;
    table.apply(&told);
    let want = Table::of(&[("a", 0, 1), ("b", 0, 2), ("c", 0, 3)]);
    if table != want {
        client.hear_until(&mut table, &want).await;
    }
    // Everything was read: the position is past it.
    let mut client = world.client().await;
    let mut table = Table::default();
    told = client.ask(json!({"subscribe": LIKES, "as": 1, "where": "count >= 2"})).await;
    table.apply(&told);
    world.commit(&[("a", 0, Some(5)), ("b", 0, Some(1)), ("c", 0, None)]).await;
    world.restart().await;
    let mut client = world.client().await;
    let again = json!({"subscribe": LIKES, "as": 1, "where": "count >= 2", "from": told["at"]});
    let answer = client.ask(again).await;
    assert_eq!((&answer["recovered"], answer.get("snapshot")), (&json!(true), None), "{answer}");
    client.hear_until(&mut table, &Table::of(&[("a", 0, 5)])).await;
}

/// Returns whether the position says that a part of what follows it was told.
fn is_begun(message: &Json) -> bool {
    Position::decode(message["at"].as_str().unwrap()).unwrap().is_begun
}

/// The rows came through in part and the line broke: what left since is named even if it came after the position.
#[tokio::test]
async fn a_client_that_was_cut_off_among_the_parts_of_a_message_is_told_of_rows_that_came_and_left() {
    let mut world = World::start().await;
    world.commit(&[("a", 0, Some(1))]).await;
    let mut first = world.client().await;
    let mut table = Table::default();
    let mut told = first.ask(json!({"subscribe": "likes", "as": 1})).await;
    table.apply(&told);
    if table != Table::of(&[("a", 0, 1)]) {
        told = first.hear().await;
        table.apply(&told);
    }
    let from = told["at"].clone();
    assert!(!is_begun(&told));
    let ids: Vec<String> = (0..3_000).map(|i| format!("b{i:05}")).collect();
    world.commit(&ids.iter().map(|id| (id.as_str(), 0, Some(1))).collect::<Vec<_>>()).await;
    while table.0.len() < 3_001 {
        table.apply(&first.hear().await);
    }
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "likes", "as": 1, "from": from})).await;
    assert_eq!(answer["recovered"], true);
    let part = client.hear().await;
    assert!(is_begun(&part), "it is a part of a longer one");
    let shown = part["rows"].as_array().unwrap().len();
    assert!((1..3_000).contains(&shown), "{shown}");
    drop(client);
    world.commit(&[("b00000", 0, None)]).await;
    while table.0.len() > 3_000 {
        table.apply(&first.hear().await);
    }
    for (from, is_named) in [(&from, false), (&part["at"], true)] {
        let mut client = world.client().await;
        let answer = client.ask(json!({"subscribe": "likes", "as": 1, "from": from})).await;
        assert_eq!(answer["recovered"], true);
        world.commit(&[("z", 0, Some(1))]).await;
        let mut gone = Vec::new();
        loop {
            let message = client.hear().await;
            gone.extend(message["gone"].as_array().cloned().unwrap_or_default());
            if message["rows"].as_array().unwrap().iter().any(|row| row["id"] == "z") && !is_begun(&message) {
                break;
            }
        }
        let want = if is_named { vec![json!({"id": "b00000", "window_start": 0})] } else { Vec::new() };
        gone.dedup();
        assert_eq!(gone, want);
    }
}

/// The same position with something changed.
fn forged(at: &Json, change: impl Fn(&mut Position)) -> Json {
    let mut position = Position::decode(at.as_str().unwrap()).unwrap();
    change(&mut position);
    json!(position.encode().unwrap())
}

#[tokio::test]
async fn a_position_that_does_not_hold_is_answered_with_its_reason_and_a_snapshot() {
    let mut world = World::with(narrow(), |_| {}).await;
    world.commit(&[("a", 0, Some(1))]).await;
    write(&mut world, 0, 300).await;
    let mut client = world.client().await;
    let likes = client.ask(json!({"subscribe": LIKES, "as": 1})).await["at"].clone();
    let clicks = client.ask(json!({"subscribe": "clicks", "as": 2})).await["at"].clone();
    let mut live = world.client().await;
    live.ask(json!({"subscribe": "clicks", "as": 1})).await;
    write(&mut world, 300, 300).await;
    // The ring has passed the position when the channel has read all.
    numbers(&mut live, 599).await;
    world.log.delete_records(&Tp::new("video_clicks", 0), 400).await.unwrap();
    let epoch = |p: &mut Position| p.topics[0].epoch += 1;
    let ahead = |p: &mut Position| p.topics[0].offsets[0].1 += 1_000;
    let wider = |p: &mut Position| p.topics[0].offsets.push((7, 1));
    let mut number = 10;
    for (channel, at, filter, reason) in [
        (LIKES, likes.clone(), Some("id = 'a'"), "question"),
        (LIKES, clicks.clone(), None, "question"),
        (LIKES, forged(&likes, epoch), None, "epoch"),
        (LIKES, forged(&likes, ahead), None, "ahead"),
        ("clicks", forged(&clicks, wider), None, "ahead"),
        ("clicks", clicks.clone(), None, "history"),
        ("clicks", forged(&clicks, epoch), None, "epoch"),
        ("_clients", likes.clone(), None, "question"),
    ] {
        number += 1;
        let before = counted(&world, channel, reason);
        let asked = json!({"subscribe": channel, "as": number, "where": filter, "from": at});
        let mut answer = client.ask(asked).await;
        while answer["subscribed"].is_null() {
            answer = client.hear().await;
        }
        assert_eq!((&answer["recovered"], &answer["reason"]), (&json!(false), &json!(reason)), "{answer}");
        assert!(answer["snapshot"].is_array(), "{answer}");
        assert_eq!(counted(&world, channel, reason), before + 1);
    }
    let mut events = Events::open(&world, "/sse/clicks", clicks.as_str()).await;
    let first = events.next().await.data;
    assert_eq!((&first["reset"], &first["recovered"]), (&json!(true), &json!(false)));
    assert_eq!((&first["reason"], first["snapshot"].is_array()), (&json!("history"), true));
}

/// Hears what was told of the former topic, up to the reset.
async fn hear_reset(client: &mut Client) -> Json {
    loop {
        let message = client.hear().await;
        if message["reset"] == json!(true) {
            return message;
        }
    }
}

#[tokio::test]
async fn clients_of_a_topic_that_was_made_anew_begin_anew_with_its_rows_alone() {
    let mut world = World::start().await;
    world.commit(&[("a", 0, Some(1)), ("b", 0, Some(2))]).await;
    world.click(&[(None, Some(r#"{"video":"old"}"#))]).await;
    let mut view = world.client().await;
    let mut stream = world.client().await;
    let at = view.ask(json!({"subscribe": LIKES, "as": 1})).await["at"].clone();
    stream.ask(json!({"subscribe": "clicks", "as": 1})).await;
    for (name, compact) in [("app.likes", true), ("video_clicks", false)] {
        assert!(world.log.delete_topic(name).await.unwrap());
        world.create(name, compact).await;
    }
    world.commit(&[("c", 0, Some(7))]).await;
    world.click(&[(None, Some(r#"{"video":"new"}"#))]).await;
    let mut table = Table::of(&[("a", 0, 1), ("b", 0, 2)]);
    let reset = hear_reset(&mut view).await;
    assert_eq!(reset["reason"], "epoch", "{reset}");
    table.apply(&reset);
    let want = Table::of(&[("c", 0, 7)]);
    if table != want {
        view.hear_until(&mut table, &want).await;
    }
    let reset = hear_reset(&mut stream).await;
    assert_eq!((&reset["reason"], &reset["snapshot"]), (&json!("epoch"), &json!([])), "{reset}");
    let rows = stream.hear().await["rows"].clone();
    assert_eq!((&rows[0]["video"], &rows[0]["_offset"]), (&json!("new"), &json!(0)));
    let answer = view.ask(json!({"subscribe": LIKES, "as": 2, "from": at})).await;
    assert_eq!((&answer["recovered"], &answer["reason"]), (&json!(false), &json!("epoch")));
}

#[tokio::test]
async fn clients_of_a_topic_that_lost_its_end_forget_what_is_no_more_and_get_what_came_instead() {
    let cuts = Cuts::default();
    let (limits, cut) = (Limits::default(), cuts.clone());
    let mut world = World::on(limits, |_| {}, |log| Arc::new(CutLog(log, cut))).await;
    let changes = [("b", 0, Some(2)), ("b", 60_000, Some(3)), ("d", 0, Some(4))];
    world.commit(&changes).await;
    let mut view = world.client().await;
    let mut stream = world.client().await;
    let mut table = Table::default();
    let want = Table::of(&[("b", 0, 2), ("b", 60_000, 3), ("d", 0, 4)]);
    let told = view.ask(json!({"subscribe": LIKES, "as": 1})).await;
    table.apply(&told);
    if table != want {
        view.hear_until(&mut table, &want).await;
    }
    stream.ask(json!({"subscribe": "clicks", "as": 1})).await;
    for n in 0..4 {
        let value = json!({"i": n}).to_string();
        world.click(&[(None, Some(&value))]).await;
    }
    assert_eq!(numbers(&mut stream, 3).await, [0, 1, 2, 3]);

    cuts.cut(Tp::new("app.likes", 0), 1);
    let reset = hear_reset(&mut view).await;
    assert_eq!(reset["reason"], "ahead", "{reset}");
    table.apply(&reset);
    if table != want {
        view.hear_until(&mut table, &want).await;
    }
    cuts.cut(Tp::new("video_clicks", 0), 2);
    let reset = hear_reset(&mut stream).await;
    assert_eq!((&reset["reason"], &reset["snapshot"]), (&json!("ahead"), &json!([])), "{reset}");
    assert_eq!(
        numbers(&mut stream, 3).await,
        [2, 3],
        "what stands there now, and nothing from before the cut"
    );
}

#[tokio::test]
async fn clients_that_do_not_read_what_is_read_again_hold_nothing_of_it_and_get_all_in_the_end() {
    let mut world = World::with(narrow(), |_| {}).await;
    let mut client = world.client().await;
    let at = client.ask(json!({"subscribe": "clicks", "as": 1})).await["at"].clone();
    write(&mut world, 0, 5_000).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = world.narrow_client().await;
        client.say(json!({"subscribe": "clicks", "as": 1, "from": at})).await;
        slow.push(client);
    }
    let mut quick = world.client().await;
    assert_eq!(quick.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await["recovered"], true);
    assert_eq!(numbers(&mut quick, 4_999).await, (0..5_000).collect::<Vec<_>>(), "the slow hold up nobody");
    for client in &mut slow[..3] {
        assert_eq!(client.hear().await["recovered"], true);
        assert_eq!(numbers(client, 4_999).await, (0..5_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_filter_that_changes_while_much_is_still_to_be_told_hides_nothing() {
    let limits = Limits { outbox_max_bytes: 64 << 10, ..Limits::default() };
    let mut world = World::with(limits, |_| {}).await;
    let mut live = world.client().await;
    let at = live.ask(json!({"subscribe": "clicks", "as": 1})).await["at"].clone();
    for first in (0..3_000).step_by(500) {
        write(&mut world, first, 500).await;
        numbers(&mut live, first as i64 + 499).await;
    }
    let mut client = world.client().await;
    for message in
        [json!({"subscribe": "clicks", "as": 1, "from": at}), json!({"filter": 1, "where": "video = 'v1'"})]
    {
        client.socket.feed(Message::text(message.to_string())).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let (mut before, mut after, mut is_filtered) = (Vec::new(), Vec::new(), false);
    while after.last() != Some(&2_998) && before.last() != Some(&2_999) {
        let message = client.hear().await;
        is_filtered |= message["filtered"] == json!(true);
        let rows = message["rows"].as_array().into_iter().flatten().map(|row| row["i"].as_i64().unwrap());
        if is_filtered { after.extend(rows) } else { before.extend(rows) }
    }
    let told = before.len() as i64;
    assert!(told < 3_000, "what a client says waits until all is told");
    assert_eq!(before, (0..told).collect::<Vec<_>>());
    assert_eq!(after, (told..3_000).filter(|i| i % 3 == 1).collect::<Vec<_>>());
}

#[tokio::test]
async fn clients_that_are_told_the_log_again_hear_all_of_the_topic_that_replaces_it() {
    let mut world = World::with(narrow(), |_| {}).await;
    let at = world.client().await.ask(json!({"subscribe": "clicks", "as": 1})).await["at"].clone();
    write(&mut world, 0, 9_000).await;
    let mut live = world.client().await;
    live.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await;
    numbers(&mut live, 8_999).await;
    let mut slow = world.narrow_client().await;
    assert_eq!(slow.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await["recovered"], true);
    assert!(world.log.delete_topic("video_clicks").await.unwrap());
    world.create("video_clicks", false).await;
    write(&mut world, 0, 100).await;
    hear_reset(&mut live).await;
    numbers(&mut live, 99).await;
    let mut reset = hear_reset(&mut slow).await;
    if reset["reason"] == "history" {
        // Who read again saw that it was gone before the channel saw why.
        reset = hear_reset(&mut slow).await;
    }
    assert_eq!((&reset["reason"], &reset["snapshot"]), (&json!("epoch"), &json!([])), "{reset}");
    assert_eq!(numbers(&mut slow, 99).await, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_is_told_the_log_again_never_passes_over_what_retention_takes_meanwhile() {
    let mut world = World::with(narrow(), |_| {}).await;
    let at = world.client().await.ask(json!({"subscribe": "clicks", "as": 1})).await["at"].clone();
    let mut live = world.client().await;
    live.ask(json!({"subscribe": "clicks", "as": 1})).await;
    for first in (0..9_000).step_by(500) {
        write(&mut world, first, 500).await;
        numbers(&mut live, first as i64 + 499).await;
    }
    let mut slow = world.narrow_client().await;
    assert_eq!(slow.ask(json!({"subscribe": "clicks", "as": 1, "from": at})).await["recovered"], true);
    world.log.delete_records(&Tp::new("video_clicks", 0), 8_990).await.unwrap();
    let (mut told, mut message) = (0, slow.hear().await);
    while let Some(rows) = message["rows"].as_array() {
        let numbers: Vec<i64> = rows.iter().map(|row| row["i"].as_i64().unwrap()).collect();
        assert_eq!(numbers, (told..told + rows.len() as i64).collect::<Vec<_>>(), "no hole");
        told += rows.len() as i64;
        message = slow.hear().await;
    }
    assert!(told < 8_990, "the client was slow enough to be overtaken");
    assert_eq!(
        (&message["reset"], &message["reason"], &message["snapshot"]),
        (&json!(true), &json!("history"), &json!([])),
        "{message}"
    );
    assert_eq!(world.stats.counter(("channel", "clicks".into(), None), "resets", "").get(), 1);
    write(&mut world, 9_000, 10).await;
    assert_eq!(numbers(&mut slow, 9_009).await, (9_000..9_010).collect::<Vec<_>>());
}

/// What retention takes from under the channel's own reader is lost to all, and all are told.
#[tokio::test]
async fn clients_of_a_topic_that_retention_took_from_under_the_reader_are_told_and_go_on_behind_it() {
    let cuts = Cuts::default();
    let (limits, cut) = (Limits::default(), cuts.clone());
    let mut world = World::on(limits, |_| {}, |log| Arc::new(CutLog(log, cut))).await;
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "clicks", "as": 1})).await;
    write(&mut world, 0, 10).await;
    assert_eq!(numbers(&mut client, 9).await, (0..10).collect::<Vec<_>>());
    cuts.take(Tp::new("video_clicks", 0), 15);
    write(&mut world, 10, 10).await;
    let reset = client.hear().await;
    assert_eq!(
        (&reset["reset"], &reset["reason"], &reset["snapshot"]),
        (&json!(true), &json!("history"), &json!([])),
        "{reset}"
    );
    assert_eq!(numbers(&mut client, 19).await, (15..20).collect::<Vec<_>>());
    assert_eq!(world.stats.counter(("channel", "clicks".into(), None), "gaps", "").get(), 5);
}

/// A view's row that changed in what was lost would stay as it was for ever.
#[tokio::test]
async fn a_table_whose_topic_lost_records_is_read_anew() {
    let cuts = Cuts::default();
    let (limits, cut) = (Limits::default(), cuts.clone());
    let mut world = World::on(limits, |_| {}, |log| Arc::new(CutLog(log, cut))).await;
    world.commit(&[("b", 0, Some(1)), ("d", 0, Some(1))]).await;
    let mut client = world.client().await;
    let mut table = Table::default();
    let told = client.ask(json!({"subscribe": LIKES, "as": 1})).await;
    table.apply(&told);
    let want = Table::of(&[("b", 0, 1), ("d", 0, 1)]);
    if table != want {
        client.hear_until(&mut table, &want).await;
    }
    cuts.take(Tp::new("app.likes", 0), 4);
    // All of one partition.
    world.commit(&[("b", 0, Some(2)), ("d", 0, None), ("b", 60_000, Some(3)), ("d", 60_000, Some(4))]).await;
    let reset = hear_reset(&mut client).await;
    assert_eq!(reset["reason"], "history", "{reset}");
    table.apply(&reset);
    let want = Table::of(&[("b", 0, 2), ("b", 60_000, 3), ("d", 60_000, 4)]);
    if table != want {
        client.hear_until(&mut table, &want).await;
    }
}
