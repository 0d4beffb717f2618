//! Rude clients: every one gets a clear answer and costs nobody else.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::world::{Table, World};

#[tokio::test]
async fn mistakes_are_answered_with_a_code_and_the_connection_goes_on() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(client.hear().await["error"]["code"], "bad_message");
    let too_deep = "[".repeat(20_000);
    client.socket.send(Message::text(too_deep)).await.unwrap();
    assert_eq!(client.hear().await["error"]["code"], "bad_message");
    for (message, number, code) in [
        (json!({"subscribe": "likes"}), None, "bad_message"),
        (json!({"subscribe": "nope", "as": 1}), Some(1), "unknown_channel"),
        (json!({"subscribe": "likes", "as": 1, "where": "idd = 'a'"}), Some(1), "bad_filter"),
        (json!({"subscribe": "likes", "as": 1, "where": "x".repeat(9_000)}), Some(1), "bad_filter"),
        (json!({"subscribe": "likes", "as": 1, "from": "yesterday"}), Some(1), "bad_position"),
        (json!({"subscribe": "likes", "as": 1, "every": "often"}), Some(1), "bad_message"),
        (json!({"unsubscribe": 1}), Some(1), "unknown_as"),
        (json!({"filter": 1}), Some(1), "unknown_as"),
        (json!({"auth": "token"}), None, "no_auth"),
        (json!({"hello": 1}), None, "bad_message"),
        (json!([1]), None, "bad_message"),
    ] {
        let answer = client.ask(message.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{message} {answer}");
        assert_eq!(answer.get("as").and_then(|n| n.as_i64()), number, "{message} {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|m| !m.is_empty()));
    }
    assert_eq!(client.ask(json!({"subscribe": "likes", "as": 1})).await["subscribed"], "likes");
    assert_eq!(client.ask(json!({"subscribe": "likes", "as": 1})).await["error"]["code"], "as_in_use");
    assert_eq!(client.ask(json!({"ping": 1})).await, json!({"pong": 1}));
}

#[tokio::test]
async fn a_bad_filter_is_told_with_its_place() {
    let world = World::start().await;
    let mut client = world.client().await;
    let answer = client.ask(json!({"subscribe": "likes", "as": 1, "where": "count > 1 AND idd = 'a'"})).await;
    assert_eq!(answer["error"]["column"], 15, "{answer}");
    let hint = answer["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("id"), "{answer}");
}

#[tokio::test]
async fn binary_frames_and_too_large_ones_end_the_connection_with_a_code() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.hear().await["error"]["code"], "bad_request");
    assert_eq!(client.hear().await["close"], 4500);

    let mut client = world.client().await;
    // The server stops reading sense at the header; the client may see its pipe broken while it still writes.
    let _ = client.socket.feed(Message::text("x".repeat(10 << 20))).await;
    let _ = client.socket.flush().await;
    assert_eq!(client.hear().await["error"]["code"], "too_large");
    assert_eq!(client.hear().await["close"], 4503);
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_a_hundred_and_the_rest_is_told_so() {
    let mut world = World::start().await;
    let mut calm = world.client().await;
    calm.ask(json!({"subscribe": "likes", "as": 1})).await;
    let client = world.client().await;
    let (mut say, mut hear) = client.socket.split();
    let talker = tokio::spawn(async move {
        for number in 0..10_000 {
            let message = json!({"subscribe": "likes", "as": number}).to_string();
            if say.send(Message::text(message)).await.is_err() {
                return;
            }
        }
    });
    let (mut good, mut refused) = (0, 0);
    while refused < 100 {
        let Some(Ok(Message::Text(text))) = hear.next().await else { panic!("the connection ended") };
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        match answer["error"]["code"].as_str() {
            None => good += 1,
            Some("too_many_subscriptions") => refused += 1,
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!(good, 100);
    world.commit(&[("a", 0, Some(1))]).await;
    calm.hear_until(&mut Table::default(), &Table::of(&[("a", 0, 1)])).await;
    talker.abort();
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_frame_is_nobodys_problem() {
    use tokio::io::AsyncWriteExt;
    let mut world = World::start().await;
    let mut rude = world.client().await;
    let tokio_tungstenite::MaybeTlsStream::Plain(raw) = rude.socket.get_mut() else { panic!("plain") };
    raw.write_all(&[0x81, 0xfe, 0x10]).await.unwrap();
    let mut client = world.client().await;
    client.ask(json!({"subscribe": "likes", "as": 1})).await;
    world.commit(&[("a", 0, Some(1))]).await;
    let mut table = Table::default();
    client.hear_until(&mut table, &Table::of(&[("a", 0, 1)])).await;
}
