//! Connection state recovery: exactly what was missed, on any node, or an honest no.

use serde_json::{Value as Json, json};
use windrow::config::Limits;

use super::client::{Socket, said};
use crate::world::{Table, World};

async fn world() -> World {
    World::listening(Limits::default(), |listener| listener.socketio.recovery = true).await
}

/// A client as the official one is: it keeps the last argument of every event that is a text.
struct Client {
    socket: Socket,
    connected: Json,
    offset: Option<String>,
}

impl Client {
    async fn connect(world: &World, auth: &Json) -> Self {
        let mut socket = Socket::open(world.address(), 4).await;
        socket.say(&format!("40{auth}")).await;
        let connected = socket.hear().await;
        let connected = serde_json::from_str(connected.strip_prefix("40").unwrap()).unwrap();
        Self { socket, connected, offset: None }
    }

    /// Comes back with what it has.
    async fn back(self, world: &World) -> Self {
        let Client { socket, connected, offset } = self;
        drop(socket);
        Self::connect(world, &json!({"pid": connected["pid"], "offset": offset, "token": "mine"})).await
    }

    async fn hear(&mut self) -> (String, Json) {
        let (head, data) = said(&self.socket.hear().await);
        if let (true, Some(Json::String(offset))) = (head == "2", data.as_array().and_then(|d| d.last())) {
            self.offset = Some(offset.clone());
        }
        (head, data)
    }

    /// Says an event and returns its ack, with the tokens around it.
    async fn ask(&mut self, name: &str, argument: Json) -> Json {
        self.socket.say(&format!("427[\"{name}\",{argument}]")).await;
        assert_eq!(self.hear().await, ("2".to_owned(), json!(["windrow:offset", ""])));
        let (head, mut data) = self.hear().await;
        assert_eq!(head, "37");
        let (_, offset) = self.hear().await;
        assert_eq!(offset[0], "windrow:offset");
        data[0].take()
    }

    async fn hear_until(&mut self, channel: &str, table: &mut Table, want: &Table) -> Json {
        while table != want {
            let (_, data) = self.hear().await;
            assert_eq!(data[0], channel, "{data}");
            table.apply(&data[1]);
            if table == want {
                return data;
            }
        }
        json!(null)
    }

    fn is_same(&self, before: &Json) -> bool {
        self.connected == *before
    }
}

#[tokio::test]
async fn a_client_that_was_cut_off_gets_exactly_what_it_missed_on_another_node() {
    let mut world = world().await;
    let mut client = Client::connect(&world, &json!({})).await;
    let first = client.connected.clone();
    assert!(first["sid"].is_string() && first["pid"].is_string() && first["sid"] != first["pid"], "{first}");
    client.ask("subscribe", json!({"channel": "likes", "as": 1, "where": "count > 0"})).await;
    client.ask("subscribe", json!({"channel": "clicks", "as": 2, "from": "now"})).await;
    world.commit(&[("a", 0, Some(1)), ("b", 0, Some(1))]).await;
    let mut table = Table::default();
    let heard = client.hear_until("likes", &mut table, &Table::of(&[("a", 0, 1), ("b", 0, 1)])).await;
    assert!(heard[2].as_str().is_some_and(|token| !token.is_empty() && token.len() <= 1024), "{heard}");
    world.commit(&[("b", 0, Some(2))]).await;
    for n in 0..3 {
        world.click(&[(None, Some(&format!("{{\"video\":\"{n}\"}}")))]).await;
    }
    world.restart().await;
    let mut client = client.back(&world).await;
    assert!(client.is_same(&first), "recovered is told by the same pid: {}", client.connected);
    let (mut rows, mut videos) = (Vec::new(), Vec::new());
    while rows.is_empty() || videos.len() < 3 {
        let (_, data) = client.hear().await;
        match data[0].as_str() {
            Some("likes") => rows.extend(data[1]["rows"].as_array().unwrap().clone()),
            Some("clicks") => {
                let told = data[1]["rows"].as_array().unwrap();
                videos.extend(told.iter().map(|row| row["video"].as_str().unwrap().to_owned()));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(rows, [crate::world::likes("b", 0, 2)], "only what was missed");
    assert_eq!(videos, ["0", "1", "2"]);
    // It is the same session, so it goes on and can come back again.
    world.commit(&[("a", 0, Some(5)), ("b", 0, Some(0))]).await;
    table.apply(&json!({"rows": [crate::world::likes("b", 0, 2)]}));
    client.hear_until("likes", &mut table, &Table::of(&[("a", 0, 5)])).await;
    let mut client = client.back(&world).await;
    assert!(client.is_same(&first));
    assert_eq!(client.ask("unsubscribe", json!({"as": 2})).await["unsubscribed"], true);
    world.click(&[(None, Some("{\"video\":\"x\"}"))]).await;
    let mut client = client.back(&world).await;
    assert!(client.is_same(&first));
    world.commit(&[("a", 0, Some(6))]).await;
    client.hear_until("likes", &mut table, &Table::of(&[("a", 0, 6)])).await;
}

#[tokio::test]
async fn a_changed_filter_is_part_of_what_is_taken_up() {
    let mut world = world().await;
    let mut client = Client::connect(&world, &json!({})).await;
    client.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    client.ask("filter", json!({"as": 1, "where": "id = 'b'"})).await;
    world.commit(&[("a", 0, Some(1)), ("b", 0, Some(1))]).await;
    let first = client.connected.clone();
    let mut client = client.back(&world).await;
    assert!(client.is_same(&first));
    client.hear_until("likes", &mut Table::default(), &Table::of(&[("b", 0, 1)])).await;
}

#[tokio::test]
async fn what_cannot_be_taken_up_is_begun_anew_and_said_so() {
    let mut world = world().await;
    let client = Client::connect(&world, &json!({})).await;
    let first = client.connected.clone();
    let client = client.back(&world).await;
    assert!(!client.is_same(&first), "nothing was held, nothing is taken up");

    let mut client = client;
    client.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    let (pid, offset) = (client.connected["pid"].clone(), client.offset.clone().unwrap());
    let mut other = Client::connect(&world, &json!({})).await;
    other.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    let mut broken = offset.clone();
    broken.replace_range(4..5, if &offset[4..5] == "A" { "B" } else { "A" });
    for (pid, offset) in [
        (pid.clone(), json!(broken)),
        (pid.clone(), json!("")),
        (pid.clone(), json!(null)),
        (pid.clone(), json!(7)),
        (json!("other"), json!(offset)),
        (other.connected["pid"].clone(), json!(offset)),
        (json!(null), json!(offset)),
    ] {
        let back = Client::connect(&world, &json!({"pid": pid, "offset": offset})).await;
        assert_ne!(back.connected["pid"], pid, "{offset}");
        assert!(back.connected["pid"].is_string());
    }
    let back = Client::connect(&world, &json!({"pid": pid, "offset": offset})).await;
    assert_eq!(back.connected["pid"], pid, "the right one is taken");

    // `_clients` lives in one process: another has none of it, so neither has the session.
    client.ask("subscribe", json!({"channel": "_clients", "as": 2})).await;
    // A token that would be too long is none.
    let long = format!("id = '{}'", "x".repeat(1_000));
    other.ask("filter", json!({"as": 1, "where": long})).await;
    assert_eq!(other.offset.as_deref(), Some(""));
    let before = client.connected.clone();
    world.restart().await;
    let mut client = client.back(&world).await;
    assert!(!client.is_same(&before));
    // And it finds nothing in its way.
    let answer = client.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    assert_eq!((&answer["ok"], &answer["recovered"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn without_the_setting_events_have_no_further_argument() {
    let mut world = World::start().await;
    let mut socket = Socket::open(world.address(), 4).await;
    socket.say("40{\"pid\":\"a\",\"offset\":\"b\"}").await;
    assert!(!socket.hear().await.contains("pid"));
    socket.say("427[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    assert!(socket.hear().await.starts_with("437["));
    world.commit(&[("a", 0, Some(1))]).await;
    let (_, data) = said(&socket.hear().await);
    assert_eq!(data.as_array().map(Vec::len), Some(2));
    // Nor has a client of version 3, which brings nothing when it connects.
    let mut world = self::world().await;
    let mut socket = Socket::join(world.address(), 3).await;
    socket.say("427[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    assert!(socket.hear().await.starts_with("437["));
    world.commit(&[("a", 0, Some(1))]).await;
    let (_, data) = said(&socket.hear().await);
    assert_eq!(data.as_array().map(Vec::len), Some(2));
}
