//! The general API: what any Socket.IO client gets of the hub.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use windrow::{
    config::Limits,
    hub::{ChannelSpec, Source},
    session::{Outgoing, Session, Voice},
};

use super::client::{Poller, Socket, eventually, ms, packets, said};
use crate::world::{Table, World};

/// A client in namespace `/`, on either transport.
enum Client {
    Polls(Poller, Vec<String>),
    Socket(Box<Socket>),
}

impl Client {
    async fn join(world: &World, version: u8, polls: bool) -> Self {
        if !polls {
            return Client::Socket(Box::new(Socket::join(world.address(), version).await));
        }
        let poller = Poller::open(world.address(), version).await;
        if version == 4 {
            poller.say(&["40"]).await;
        }
        let mut client = Client::Polls(poller, Vec::new());
        assert!(client.hear().await.starts_with("40"));
        client
    }

    async fn say(&mut self, packet: &str) {
        match self {
            Client::Polls(poller, _) => poller.say(&[packet]).await,
            Client::Socket(socket) => socket.say(packet).await,
        }
    }

    async fn hear(&mut self) -> String {
        match self {
            Client::Socket(socket) => socket.hear().await,
            Client::Polls(poller, ready) => {
                while ready.is_empty() {
                    *ready = poller.hear().await;
                    ready.reverse();
                }
                ready.pop().unwrap()
            }
        }
    }

    /// Says an event with ack 7 and returns what it is answered with; events before it are given to `each`.
    async fn ask_and(&mut self, name: &str, argument: Json, mut each: impl FnMut(Json)) -> Json {
        self.say(&format!("427[\"{name}\",{argument}]")).await;
        loop {
            let (head, mut data) = said(&self.hear().await);
            if head == "37" {
                return data[0].take();
            }
            each(data[1].take());
        }
    }

    async fn ask(&mut self, name: &str, argument: Json) -> Json {
        self.ask_and(name, argument, |event| panic!("unexpected {event}")).await
    }

    /// Hears events of a channel until the table is as wanted; returns the last.
    async fn hear_until(&mut self, channel: &str, table: &mut Table, want: &Table) -> Json {
        loop {
            let (head, data) = said(&self.hear().await);
            assert_eq!((head.as_str(), &data[0]), ("2", &json!(channel)));
            table.apply(&data[1]);
            if table == want {
                return data[1].clone();
            }
        }
    }
}

const KINDS: [(u8, bool); 4] = [(4, false), (4, true), (3, false), (3, true)];

#[tokio::test]
async fn a_client_gets_a_snapshot_then_every_change_in_either_version_on_either_transport() {
    for (version, polls) in KINDS {
        let mut world = World::start().await;
        world.commit(&[("a", 0, Some(1))]).await;
        let mut client = Client::join(&world, version, polls).await;
        let mut table = Table::default();
        let answer = client.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
        assert_eq!(
            (&answer["ok"], &answer["as"], &answer["recovered"]),
            (&json!(true), &json!(1), &json!(false))
        );
        assert_eq!(answer["key"], json!(["id", "window_start"]));
        assert!(answer["at"].is_string(), "{answer}");
        table.apply(&answer);
        let one = Table::of(&[("a", 0, 1)]);
        if table != one {
            // The commit may have been read after the channel went live.
            client.hear_until("likes", &mut table, &one).await;
        }
        world.commit(&[("a", 0, Some(3)), ("b", 0, Some(1))]).await;
        let last = client.hear_until("likes", &mut table, &Table::of(&[("a", 0, 3), ("b", 0, 1)])).await;
        assert!(last["as"] == 1 && last["at"].is_string(), "{last}");

        let mut seen = Vec::new();
        let answer = client.ask_and("filter", json!({"as": 1, "where": "id = 'b'"}), |e| seen.push(e)).await;
        assert_eq!((&answer["ok"], &answer["filtered"]), (&json!(true), &json!(true)), "{seen:?}");
        assert_eq!(answer["gone"], json!([{"id": "a", "window_start": 0}]));
        table.apply(&answer);
        world.commit(&[("a", 0, Some(4)), ("b", 0, Some(2))]).await;
        client.hear_until("likes", &mut table, &Table::of(&[("b", 0, 2)])).await;
        let answer = client.ask("unsubscribe", json!({"as": 1})).await;
        assert_eq!(answer, json!({"ok": true, "as": 1, "unsubscribed": true}));
    }
}

#[tokio::test]
async fn mistakes_are_answered_with_a_code() {
    let world = World::start().await;
    let mut client = Client::join(&world, 4, false).await;
    for (name, argument, code) in [
        ("subscribe", json!({"channel": "nope", "as": 1}), "unknown_channel"),
        ("subscribe", json!({"channel": "likes"}), "bad_message"),
        ("subscribe", json!({"as": 1}), "bad_message"),
        ("subscribe", json!({"channel": "likes", "as": 1, "where": "idd = 1"}), "bad_filter"),
        ("subscribe", json!({"channel": "likes", "as": 1, "from": "yesterday!"}), "bad_position"),
        ("subscribe", json!({"channel": "likes", "as": 1, "evry": "1s"}), "bad_message"),
        ("subscribe", json!("likes"), "bad_message"),
        ("filter", json!({"where": "id = 'a'"}), "bad_message"),
        ("filter", json!({"as": 3}), "unknown_as"),
        ("unsubscribe", json!({"as": 3}), "unknown_as"),
        ("unsubscribe", json!({"as": 3, "channel": "likes"}), "bad_message"),
        ("publish", json!({}), "bad_message"),
    ] {
        let answer = client.ask(name, argument.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{name} {argument} {answer}");
        assert!(answer.get("ok").is_none());
    }
    for packet in ["427[\"subscribe\"]", "427[\"subscribe\",{},{}]"] {
        client.say(packet).await;
        let (_, data) = said(&client.hear().await);
        assert_eq!(data[0]["error"]["code"], "bad_message", "{packet}");
    }
    client.say("42[\"unsubscribe\",{\"as\":3}]").await;
    let (_, data) = said(&client.hear().await);
    assert_eq!(
        (&data[0], &data[1]["error"]["code"]),
        (&json!("fault"), &json!("unknown_as")),
        "without an ack"
    );
    client.say("42[\"subscribe\",{\"channel\":\"likes\",\"as\":3}]").await;
    let (_, data) = said(&client.hear().await);
    assert_eq!((&data[0], &data[1]["subscribed"]), (&json!("likes"), &json!("likes")), "without an ack");
}

#[tokio::test]
async fn the_general_api_lives_where_the_listener_says() {
    let world = World::listening(Limits::default(), |listener| {
        listener.socketio.namespaces = vec!["/windrow".to_owned()];
    })
    .await;
    let mut socket = Socket::open(world.address(), 4).await;
    socket.say("40").await;
    assert_eq!(socket.hear().await, "44{\"message\":\"Invalid namespace\"}");
    socket.say("40/windrow,{}").await;
    assert!(socket.hear().await.starts_with("40/windrow,{\"sid\":"));
    socket.say("42/windrow,7[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    let heard = socket.hear().await;
    assert!(heard.starts_with("43/windrow,7[{\"ok\":true,"), "{heard}");
    // A client of version 3 comes through `/` on its way, and finds nothing there.
    let mut socket = Socket::join(world.address(), 3).await;
    socket.say("427[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    socket.say("40/windrow,").await;
    assert_eq!(socket.hear().await, "40/windrow,");
}

#[tokio::test]
async fn another_node_goes_on_from_where_a_client_was() {
    for (version, polls) in [(4, false), (3, true)] {
        let mut world = World::start().await;
        let mut client = Client::join(&world, version, polls).await;
        client.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
        world.commit(&[("a", 0, Some(1)), ("b", 0, Some(1))]).await;
        let mut table = Table::default();
        let want = Table::of(&[("a", 0, 1), ("b", 0, 1)]);
        let at = client.hear_until("likes", &mut table, &want).await["at"].clone();
        drop(client);
        world.commit(&[("b", 0, Some(2))]).await;
        world.restart().await;
        let mut client = Client::join(&world, version, polls).await;
        let answer = client.ask("subscribe", json!({"channel": "likes", "as": 1, "from": at})).await;
        assert_eq!((&answer["recovered"], answer.get("snapshot")), (&json!(true), None), "{answer}");
        let want = Table::of(&[("a", 0, 1), ("b", 0, 2)]);
        let missed = client.hear_until("likes", &mut table, &want).await;
        assert_eq!(missed["rows"].as_array().map(Vec::len), Some(1), "just what was missed");
    }
}

#[tokio::test]
async fn a_subscribe_to_a_channel_that_is_still_read_is_answered_when_it_is_or_given_up() {
    let no_topic = |channels: &mut Vec<ChannelSpec>| {
        channels[0].source = Source::View { topic: "app.later".into() };
    };
    let mut world = World::with(Limits::default(), no_topic).await;
    let mut client = Client::join(&world, 4, false).await;
    client.say("427[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    // Others are answered meanwhile.
    client.say("428[\"subscribe\",{\"channel\":\"clicks\",\"as\":2}]").await;
    assert!(client.hear().await.starts_with("438[{\"ok\":true,\"as\":2,"));
    world.create("app.later", true).await;
    assert!(client.hear().await.starts_with("437[{\"ok\":true,\"as\":1,"));
    world.click(&[(None, Some(r#"{"video":"a"}"#))]).await;
    let (_, data) = said(&client.hear().await);
    assert_eq!((&data[0], &data[1]["rows"][0]["video"]), (&json!("clicks"), &json!("a")));

    let world = World::with(Limits::default(), no_topic).await;
    let mut client = Socket::join(world.address(), 4).await;
    client.say("427[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    client.say("428[\"unsubscribe\",{\"as\":2}]").await;
    assert!(client.hear().await.starts_with("438["));
    let heard = said(&client.hear_late().await);
    assert_eq!(heard.1[0]["error"]["code"], "not_ready", "{heard:?}");
}

#[tokio::test]
async fn a_large_snapshot_comes_in_pieces_to_a_client_that_polls() {
    let mut world = World::start().await;
    let ids: Vec<String> = (0..600).map(|i| format!("a{i:03}{}", "x".repeat(1_000))).collect();
    let changes: Vec<_> = ids.iter().map(|id| (id.as_str(), 0, Some(1))).collect();
    world.commit(&changes).await;
    let want = Table::of(&ids.iter().map(|id| (id.as_str(), 0, 1)).collect::<Vec<_>>());
    let mut witness = world.client().await;
    let (mut table, first) = (Table::default(), witness.ask(json!({"subscribe": "likes", "as": 1})).await);
    table.apply(&first);
    if table != want {
        witness.hear_until(&mut table, &want).await;
    }
    let mut client = Client::join(&world, 4, true).await;
    let answer = client.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    assert_eq!((&answer["more"], answer.get("at")), (&json!(true), None));
    let mut table = Table::default();
    table.apply(&answer);
    let last = client.hear_until("likes", &mut table, &want).await;
    assert!(last["at"].is_string() && last.get("more").is_none(), "the last piece has the position");
}

#[tokio::test]
async fn a_drain_says_bye_then_closes_so_that_clients_come_back() {
    let world = World::start().await;
    let mut socket = Socket::join(world.address(), 4).await;
    let poller = Poller::open(world.address(), 4).await;
    poller.say(&["40"]).await;
    poller.hear().await;
    let waits = tokio::spawn(async move { poller.get().await });
    world.hub.drain();
    let (_, data) = said(&socket.hear().await);
    assert_eq!((&data[0], &data[1]["code"]), (&json!("bye"), &json!("draining")));
    assert!(data[1]["reconnect_after_ms"].as_u64().is_some_and(|ms| ms > 0));
    assert_eq!(socket.hear().await, "close 4000");
    let told = waits.await.unwrap();
    let heard = packets(4, told.text());
    assert!(heard[0].starts_with("42[\"bye\",{\"code\":\"draining\","), "{heard:?}");
    world.hub.drained().await;
}

#[tokio::test]
async fn a_client_that_does_not_poll_begins_anew_and_others_go_on() {
    let limits = Limits { outbox_max_bytes: 64 << 10, ring_max_bytes: 4 << 20, ..Limits::default() };
    let mut world = World::with(limits, |_| {}).await;
    let mut slow = Client::join(&world, 4, true).await;
    slow.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    let mut quick = Client::join(&world, 4, false).await;
    quick.ask("subscribe", json!({"channel": "likes", "as": 1})).await;
    let ids: Vec<String> = (0..200).map(|i| format!("a{i:03}{}", "x".repeat(1_000))).collect();
    let overruns = world.stats.counter(("channel", "likes".into(), None), "overruns", "");
    let (mut table, mut round) = (Table::default(), 0);
    // Until it is past the bound for a second, while it does not poll.
    while overruns.get() == 0 {
        assert!(round < 1_000, "the slow client was never found");
        round += 1;
        let changes: Vec<_> = ids.iter().map(|id| (id.as_str(), 0, Some(round))).collect();
        world.commit(&changes).await;
        let want: Vec<_> = ids.iter().map(|id| (id.as_str(), 0, round)).collect();
        quick.hear_until("likes", &mut table, &Table::of(&want)).await;
    }
    let (mut seen, mut resets) = (Table::default(), 0);
    while seen != table {
        let (_, data) = said(&slow.hear().await);
        resets += usize::from(data[1]["reset"] == json!(true));
        seen.apply(&data[1]);
    }
    assert!(resets >= 1);
}

#[tokio::test]
async fn a_client_of_a_stream_that_does_not_poll_is_let_go_and_may_come_back() {
    let limits = Limits { outbox_max_bytes: 64 << 10, ring_max_bytes: 4 << 20, ..Limits::default() };
    let mut world = World::with(limits, |_| {}).await;
    let slow = Poller::open(world.address(), 4).await;
    slow.say(&["40", "427[\"subscribe\",{\"channel\":\"clicks\",\"as\":1,\"from\":\"now\"}]"]).await;
    let mut answers = 0;
    while answers < 2 {
        answers += slow.hear().await.len();
    }
    let mut quick = Client::join(&world, 4, false).await;
    quick.ask("subscribe", json!({"channel": "clicks", "as": 1, "from": "now"})).await;
    let value = json!({"video": "x".repeat(2_000)}).to_string();
    let clicks = vec![(None, Some(value.as_str())); 500];
    let closed = world.stats.counter(("listener", "main".into(), None), "closed", "slow");
    let (mut next, mut sent) = (0, 0);
    while closed.get() == 0 {
        world.click(&clicks).await;
        sent += 500;
        while next < sent {
            let (_, data) = said(&quick.hear().await);
            for row in data[1]["rows"].as_array().unwrap() {
                assert_eq!(row["_offset"], next, "in order, without a hole");
                next += 1;
            }
        }
        assert!(next < 200_000, "the slow client was never found");
    }
    let last = slow.get().await;
    assert!(last.status == 400 || last.text() == "6", "no close packet, so it comes back: {}", last.text());
    assert_eq!(slow.get().await.status, 400);
}

#[tokio::test]
async fn a_client_that_says_too_much_at_once_waits_and_loses_nothing() {
    let limits = Limits { messages_per_second_max: 50, subscriptions_max: 10, ..Limits::default() };
    let world = World::with(limits, |_| {}).await;
    for polls in [false, true] {
        let mut client = Client::join(&world, 4, polls).await;
        let began = std::time::Instant::now();
        let ask = |n: usize| format!("42{n}[\"unsubscribe\",{{\"as\":1}}]");
        match &mut client {
            Client::Socket(socket) => {
                for n in 0..100 {
                    socket.say(&ask(n)).await;
                }
            }
            Client::Polls(poller, _) => {
                let asked: Vec<String> = (0..100).map(ask).collect();
                let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
                let poller = poller.clone();
                let body = asked.join("\u{1e}");
                tokio::spawn(async move { poller.post_bytes(body.as_bytes()).await });
            }
        }
        for n in 0..100 {
            let heard = client.hear().await;
            assert!(heard.starts_with(&format!("43{n}[{{\"as\":1,\"error\"")), "{n}: {heard}");
        }
        // 60 at once, the rest 50 a second.
        assert!(began.elapsed() > ms(500), "{:?}", began.elapsed());
        let held_back = world.stats.counter(("listener", "main".into(), None), "held_back", "message_rate");
        eventually(|| held_back.get() > 0).await;
    }
}

#[tokio::test]
async fn rows_are_encoded_once_for_every_dialect() {
    let mut world = World::start().await;
    let mut sessions: Vec<Session> = [Voice::Plain, Voice::socketio("/"), Voice::socketio("/windrow")]
        .into_iter()
        .map(|voice| Session::new(world.gateway(), Arc::default(), voice))
        .collect();
    let mut out = Vec::new();
    for session in &mut sessions {
        // Until the channel is read.
        while out.iter().all(|o: &Outgoing| !String::from_utf8_lossy(&o.head).contains("\"snapshot\"")) {
            out.clear();
            session.on_text(r#"{"unsubscribe":1}"#, &mut Vec::new());
            session.on_text(r#"{"subscribe":"likes","as":1}"#, &mut out);
            tokio::task::yield_now().await;
        }
        session.pull(1 << 20, &mut Vec::new());
        out.clear();
    }
    let mut witness = world.client().await;
    witness.ask(json!({"subscribe": "likes", "as": 1})).await;
    world.commit(&[("a", 0, Some(1))]).await;
    witness.hear_until(&mut Table::default(), &Table::of(&[("a", 0, 1)])).await;
    let mut bodies = Vec::new();
    for session in &mut sessions {
        let mut rung = windrow::hub::Rung::default();
        rung.add(0);
        session.rang(rung);
        let mut out = Vec::new();
        session.pull(1 << 20, &mut out);
        bodies.extend(out.into_iter().map(|message| message.body));
    }
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| body.as_ptr() == bodies[0].as_ptr()), "the same bytes, not equal ones");
}
