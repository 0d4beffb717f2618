//! Clients that do not read: others go on, memory stays, and whoever reads again gets what is true.

use serde_json::json;
use windrow::config::Limits;

use super::world::{Table, World};

fn small() -> Limits {
    Limits { outbox_max_bytes: 64 << 10, ring_max_bytes: 4 << 20, ..Limits::default() }
}

fn text(i: usize) -> String {
    format!("a{i:03}{}", "x".repeat(1_000))
}

#[tokio::test]
async fn a_client_of_a_view_that_does_not_read_begins_anew_and_ends_right() {
    let mut world = World::with(small(), |_| {}).await;
    let mut slow = world.narrow_client().await;
    slow.ask(json!({"subscribe": "likes", "as": 1})).await;
    let mut quick = world.client().await;
    quick.ask(json!({"subscribe": "likes", "as": 1})).await;
    let ids: Vec<String> = (0..500).map(text).collect();
    let mut table = Table::default();
    let overruns = world.stats.counter(("channel", "likes".into(), None), "overruns", "");
    let mut round = 0;
    // Until it is past the bound for a second, while it does not read.
    while overruns.get() == 0 {
        assert!(round < 1_000, "the slow client was never found");
        round += 1;
        let changes: Vec<_> = ids.iter().map(|id| (id.as_str(), 0, Some(round))).collect();
        world.commit(&changes).await;
        let want: Vec<_> = ids.iter().map(|id| (id.as_str(), 0, round)).collect();
        quick.hear_until(&mut table, &Table::of(&want)).await;
    }
    let (mut seen, mut resets) = (Table::default(), 0);
    while seen != table {
        let message = slow.hear().await;
        resets += usize::from(message["reset"] == json!(true));
        seen.apply(&message);
    }
    assert!(resets >= 1);
    let channel = ("channel", "likes".into(), None);
    assert!(world.stats.counter(channel, "resets", "").get() >= 1);
}

#[tokio::test]
async fn a_client_of_a_stream_that_does_not_read_is_disconnected_with_a_code() {
    let mut world = World::with(small(), |_| {}).await;
    let mut slow = world.narrow_client().await;
    slow.ask(json!({"subscribe": "clicks", "as": 1, "from": "now"})).await;
    let mut quick = world.client().await;
    quick.ask(json!({"subscribe": "clicks", "as": 1, "from": "now"})).await;
    let value = json!({"video": "x".repeat(2_000)}).to_string();
    let clicks = vec![(None, Some(value.as_str())); 500];
    let closed = world.stats.counter(("listener", "main".into(), None), "closed", "slow");
    let (mut next, mut sent) = (0, 0);
    while closed.get() == 0 {
        world.click(&clicks).await;
        sent += 500;
        while next < sent {
            for row in quick.hear().await["rows"].as_array().unwrap() {
                assert_eq!(row["_offset"], next, "in order, without a hole");
                next += 1;
            }
        }
        assert!(next < 200_000, "the slow client was never found");
    }
    loop {
        let message = slow.hear().await;
        if message.get("close").is_some() {
            assert_eq!(message["close"], 4001);
            break;
        }
    }
}

#[tokio::test]
async fn a_stream_that_may_drop_says_how_many() {
    let mut world = World::with(small(), |channels| channels[1].may_drop = true).await;
    let mut slow = world.narrow_client().await;
    slow.ask(json!({"subscribe": "clicks", "as": 1, "from": "now"})).await;
    let mut quick = world.client().await;
    quick.ask(json!({"subscribe": "clicks", "as": 1, "from": "now"})).await;
    let value = json!({"video": "x".repeat(2_000)}).to_string();
    let clicks = vec![(None, Some(value.as_str())); 500];
    let (mut sent, mut quick_seen) = (0_u64, 0);
    for _ in 0..30 {
        world.click(&clicks).await;
        sent += 500;
        while quick_seen < sent {
            let message = quick.hear().await;
            quick_seen += message["rows"].as_array().map_or(0, |rows| rows.len() as u64);
            quick_seen += message["dropped"].as_u64().unwrap_or(0);
        }
    }
    let (mut seen, mut dropped) = (0, 0);
    while seen + dropped < sent {
        let message = slow.hear().await;
        seen += message["rows"].as_array().map_or(0, |rows| rows.len() as u64);
        dropped += message["dropped"].as_u64().unwrap_or(0);
    }
    assert_eq!(seen + dropped, sent);
    assert!(dropped > 0);
}
