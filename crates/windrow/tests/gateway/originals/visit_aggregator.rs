//! The dialect `visit-aggregator`.

use std::collections::BTreeSet;

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use windrow::{
    config::{Dialect, Limits, VisitAggregator},
    hub::ChannelSpec,
};
use windrow_core::value::ColumnType;

use super::client::{Client, Heard, get};
use crate::world::World;

const MINUTE: i64 = 1_589_900_040_000;

fn channels(channels: &mut [ChannelSpec]) {
    let visits = &mut channels[0];
    visits.name = "active_visitors".into();
    visits.key_names = ["account_id", "store_id", "window_start"].map(Into::into).to_vec();
    let of_the_view = [("account_id", ColumnType::Bigint), ("store_id", ColumnType::Text)];
    visits.columns.remove(0);
    visits.columns.splice(0..0, of_the_view.map(|(name, ty)| (name.into(), Some(ty))));
}

async fn world_of(limits: Limits, change: impl Fn(&mut VisitAggregator)) -> World {
    let listener = |listener: &mut windrow::config::ListenerConfig| {
        let mut visits = VisitAggregator {
            channel: "active_visitors".to_owned(),
            account: "account_id".to_owned(),
            store: "store_id".to_owned(),
            count: "count".to_owned(),
            finals: true,
            snapshot: true,
            ..VisitAggregator::default()
        };
        change(&mut visits);
        listener.dialects = vec![Dialect::VisitAggregator];
        listener.channels = Some(Vec::new());
        listener.originals.visit_aggregator = Some(visits);
    };
    World::of(limits, listener, |all| channels(all), |log| log).await
}

pub(super) async fn world() -> World {
    world_of(Limits::default(), |_| {}).await
}

/// A row of the view, with its key: account, store, minute, count, final.
fn row_of(account: i64, store: Option<&str>, minute: i64, count: i64, is_final: bool) -> (String, String) {
    let start = MINUTE + minute * 60_000;
    let row = json!({
        "account_id": account, "store_id": store, "count": count,
        "window_start": start, "window_end": start + 60_000, "final": is_final, "seq": count,
    });
    (json!([account, store, start]).to_string(), row.to_string())
}

/// Commits it.
pub(super) async fn row(
    world: &mut World,
    account: i64,
    store: Option<&str>,
    minute: i64,
    count: i64,
    is_final: bool,
) {
    world.rows(&[row_of(account, store, minute, count, is_final)]).await;
}

pub(super) fn frame(account: i64, store: Option<&str>, minute: i64, count: i64) -> String {
    let from = MINUTE / 1_000 + minute * 60;
    let store = json!(store);
    format!(
        r#"{{"account_id":{account},"store_id":{store},"ts_from":{from}.0,"ts_to":{}.0,"count":{count}}}"#,
        from + 60
    )
}

fn filter(account: &str) -> String {
    format!(r#"{{"type": "setFilter", "filter": {{"account": {account}}}}}"#)
}

async fn open(world: &World) -> Client {
    Client::open(world.address(), "/ws").await
}

#[tokio::test]
async fn a_frame_is_the_original_s_and_finals_alone_are_told() {
    let mut world = world().await;
    let mut client = open(&world).await;
    row(&mut world, 1, Some("us"), 0, 3, false).await;
    row(&mut world, 1, Some("us"), 0, 5, true).await;
    let want = r#"{"account_id":1,"store_id":"us","ts_from":1589900040.0,"ts_to":1589900100.0,"count":5}"#;
    assert_eq!(client.hear().await, want);
    row(&mut world, 1, None, 0, 2, true).await;
    let want = r#"{"account_id":1,"store_id":null,"ts_from":1589900040.0,"ts_to":1589900100.0,"count":2}"#;
    assert_eq!(client.hear().await, want);
    // As with the original every client gets every frame, whatever it asks in the query.
    let mut other = Client::open(world.address(), "/ws?account=2").await;
    other.settle().await;
    row(&mut world, 2, Some("a\"b"), 1, 1, true).await;
    for client in [&mut client, &mut other] {
        while client.hear().await != frame(2, Some("a\"b"), 1, 1) {}
    }
}

#[tokio::test]
async fn who_connects_is_told_the_newest_of_each_group() {
    let mut world = world().await;
    let mut witness = open(&world).await;
    for (account, store, minute, count) in
        [(1, Some("us"), 0, 5), (1, None, 0, 2), (2, Some("us"), 1, 7), (1, Some("us"), 1, 6)]
    {
        row(&mut world, account, store, minute, count, true).await;
        assert_eq!(witness.hear().await, frame(account, store, minute, count));
    }
    let mut client = open(&world).await;
    let mut heard = [client.hear().await, client.hear().await, client.hear().await];
    assert_eq!(heard[0], frame(1, None, 0, 2), "older windows first");
    heard.sort();
    let mut want = [frame(1, None, 0, 2), frame(1, Some("us"), 1, 6), frame(2, Some("us"), 1, 7)];
    want.sort();
    assert_eq!(heard, want);
    // Narrowing tells nothing; what begins to match is told.
    client.say(&filter("1")).await;
    assert_eq!(client.settle().await, Vec::<String>::new());
    client.say(&filter("2")).await;
    assert_eq!(client.settle().await, [frame(2, Some("us"), 1, 7)]);
}

#[tokio::test]
async fn without_a_snapshot_nothing_is_told_but_what_closes_from_now_on() {
    let mut world = world_of(Limits::default(), |visits| visits.snapshot = false).await;
    let mut witness = open(&world).await;
    witness.settle().await;
    row(&mut world, 1, Some("us"), 0, 5, true).await;
    row(&mut world, 2, Some("us"), 0, 4, true).await;
    assert_eq!([witness.hear().await, witness.hear().await].map(|text| text.len()).len(), 2);
    let mut client = open(&world).await;
    assert_eq!(client.settle().await, Vec::<String>::new());
    client.say(&filter("2")).await;
    client.say(&filter("1")).await;
    assert_eq!(client.settle().await, Vec::<String>::new());
    row(&mut world, 2, None, 1, 3, true).await;
    row(&mut world, 1, None, 1, 2, true).await;
    assert_eq!(client.hear().await, frame(1, None, 1, 2));
}

#[tokio::test]
async fn a_filter_compares_strictly_and_what_is_false_clears_it() {
    let mut world = world_of(Limits::default(), |visits| visits.snapshot = false).await;
    let mut witness = open(&world).await;
    let mut minute = 0;
    for (account, told) in [
        ("1", vec![1]),
        ("\"1\"", vec![]),
        ("1.0", vec![1]),
        ("null", vec![1, 2]),
        ("2", vec![2]),
        ("0", vec![1, 2]),
        ("true", vec![]),
        ("\"\"", vec![1, 2]),
        ("[1]", vec![]),
        ("{}", vec![1, 2]),
        ("1e999", vec![1, 2]),
        ("99999999999999999999999999", vec![]),
        ("\"1' OR 'a' = 'a\"", vec![]),
        ("false", vec![1, 2]),
    ] {
        let mut client = open(&world).await;
        client.settle().await;
        client.say(&filter(account)).await;
        assert_eq!(client.settle().await, Vec::<String>::new(), "{account} is not acked");
        minute += 1;
        for account in [1, 2] {
            row(&mut world, account, None, minute, 9, true).await;
            assert_eq!(witness.hear().await, frame(account, None, minute, 9));
        }
        let mut heard = client.settle().await;
        while heard.len() < told.len() {
            heard.push(client.hear().await);
        }
        let want: Vec<String> = told.into_iter().map(|account| frame(account, None, minute, 9)).collect();
        assert_eq!(heard, want, "{account}");
    }
}

#[tokio::test]
async fn what_is_not_understood_changes_nothing() {
    let mut world = world_of(Limits::default(), |visits| visits.snapshot = false).await;
    let mut client = open(&world).await;
    client.say(&filter("1")).await;
    let texts =
        ["", "hello", "[]", "{}", r#"{"type":"setFilter"}"#, r#"{"type":"x","filter":{"account":2}}"#];
    for text in texts {
        client.say(text).await;
    }
    client.socket.send(Message::binary(b"close".to_vec())).await.unwrap();
    client.socket.send(Message::binary(vec![0xff; 70_000])).await.unwrap();
    // As large as the original took them.
    client.say(&" ".repeat(4 << 20)).await;
    assert_eq!(client.settle().await, Vec::<String>::new());
    let ignored = world.stats.counter(("listener", "main".into(), None), "left_out", "not_understood");
    assert_eq!(ignored.get(), texts.len() as u64 + 3);
    row(&mut world, 2, None, 0, 1, true).await;
    row(&mut world, 1, None, 0, 2, true).await;
    assert_eq!(client.hear().await, frame(1, None, 0, 2));
}

#[tokio::test]
async fn close_closes_and_a_message_past_the_bound_ends_it() {
    let world = world().await;
    let mut client = open(&world).await;
    client.say("close").await;
    assert_eq!(client.next().await, Heard::Close(1000));
    let mut client = open(&world).await;
    client.say(&" ".repeat((4 << 20) + 1)).await;
    assert_eq!(client.next().await, Heard::Close(1009));
    let mut client = open(&world).await;
    client.settle().await;
    world.hub.drain();
    assert_eq!(client.next().await, Heard::Close(1001));
}

#[tokio::test]
async fn partial_counts_and_further_columns_come_where_they_are_asked_for() {
    let mut world = world_of(Limits::default(), |visits| {
        visits.finals = false;
        visits.fields = vec!["final".to_owned()];
    })
    .await;
    let mut client = open(&world).await;
    client.settle().await;
    for (count, is_final) in [(1, false), (2, false), (2, true)] {
        row(&mut world, 1, None, 0, count, is_final).await;
        let plain = frame(1, None, 0, count);
        let want = format!("{},\"final\":{is_final}}}", plain.strip_suffix('}').unwrap());
        assert_eq!(client.hear().await, want);
    }
    client.say(&filter("\"1\"")).await;
    assert_eq!(client.settle().await, Vec::<String>::new());
}

#[tokio::test]
async fn http_answers_as_the_original_does() {
    let world = world().await;
    open(&world).await.settle().await;
    let (status, head, body) = get(world.address(), "/ready").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"OK"}"#));
    assert!(head.contains("content-type: application/json"), "{head}");
    let (status, _, body) = get(world.address(), "/").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"OK"}"#));
    let (status, head, body) = get(world.address(), "/ws").await;
    assert_eq!((status, body.as_str()), (400, "this path speaks WebSocket\n"));
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert_eq!(get(world.address(), "/nothing").await.0, 404);
}

#[tokio::test]
async fn it_is_not_ready_before_its_channel_is() {
    // A topic that is not there yet.
    let world = World::of(
        Limits::default(),
        |listener| {
            listener.dialects = vec![Dialect::VisitAggregator];
            let channel = "later".to_owned();
            listener.originals.visit_aggregator = Some(VisitAggregator { channel, ..Default::default() });
        },
        |channels| {
            let mut later = channels[0].clone();
            later.name = "later".into();
            later.source = windrow::hub::Source::View { topic: "app.later".into() };
            channels.push(later);
        },
        |log| log,
    )
    .await;
    let (status, _, body) = get(world.address(), "/ready").await;
    assert_eq!((status, body.as_str()), (503, r#"{"status":"NOT READY"}"#));
    // A client may come all the same, and waits.
    open(&world).await.settle().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_begins_anew_and_stalls_nobody() {
    let limits = Limits { outbox_max_bytes: 64 << 10, ring_max_bytes: 4 << 20, ..Limits::default() };
    let mut world = world_of(limits, |visits| visits.finals = false).await;
    let mut slow = Client::narrow(world.address(), "/ws").await;
    let mut quick = open(&world).await;
    quick.settle().await;
    let stores: Vec<String> = (0..300).map(|n| format!("{n}{}", "x".repeat(1_000))).collect();
    let overruns = world.stats.counter(("channel", "active_visitors".into(), None), "overruns", "");
    let mut count = 0;
    // Until it is past the bound for a second, while it does not read.
    while overruns.get() == 0 {
        count += 1;
        assert!(count < 1_000, "the slow client was never found");
        let rows: Vec<_> = stores.iter().map(|store| row_of(1, Some(store), 0, count, false)).collect();
        world.rows(&rows).await;
        let mut left: BTreeSet<String> = stores.iter().map(|store| frame(1, Some(store), 0, count)).collect();
        while !left.is_empty() {
            left.remove(&quick.hear().await);
        }
    }
    let mut left: BTreeSet<String> = stores.iter().map(|store| frame(1, Some(store), 0, count)).collect();
    while !left.is_empty() {
        left.remove(&slow.hear().await);
    }
    assert_eq!(slow.settle().await, Vec::<String>::new());
}
