//! The dialect `video-counter`: what the original's clients say and hear, byte by byte.

use serde_json::{Value as Json, json};
use windrow::{
    config::{CounterEvent, Dialect, Limits, ListenerConfig, SocketioConfig, VideoCounter},
    hub::{ChannelSpec, Source},
};

use super::client::{Poller, Socket, packets, request, said};
use crate::world::World;

const MINUTE: i64 = 60_000;

/// The listener of the example, with the same view behind all three events.
fn listener(listener: &mut ListenerConfig) {
    let event = |minutes| CounterEvent {
        event: format!("live_aggregations_{minutes}"),
        channel: "likes".to_owned(),
        place: (0, 0),
    };
    listener.dialects = vec![Dialect::VideoCounter];
    listener.channels = Some(Vec::new());
    listener.origins = vec!["*".to_owned()];
    listener.socketio = SocketioConfig::of_video_counter();
    listener.originals.video_counter = Some(VideoCounter {
        events: vec![event(1)],
        room: "id".to_owned(),
        count: "count".to_owned(),
        ..VideoCounter::default()
    });
}

async fn world() -> World {
    World::listening(Limits::default(), listener).await
}

async fn world_of(change: impl Fn(&mut VideoCounter)) -> World {
    World::listening(Limits::default(), |config| {
        listener(config);
        config.originals.video_counter.iter_mut().for_each(&change);
    })
    .await
}

async fn join(world: &World) -> Socket {
    Socket::join(world.address(), 4).await
}

/// Says an event with ack 7 and hears it.
async fn acked(socket: &mut Socket, event: &str, ack: &str) {
    socket.say(&format!("427{event}")).await;
    assert_eq!(socket.hear().await, format!("437{ack}"), "{event}");
}

async fn register(socket: &mut Socket, rooms: Json) {
    acked(socket, &json!(["register_room", {"rooms": rooms}]).to_string(), "[]").await;
}

/// Makes sure that all said so far was heard, and that nothing was said to it.
async fn hears_nothing(socket: &mut Socket) {
    acked(socket, "[\"consume_1_min_aggregations\"]", "[]").await;
}

fn live(id: &str, count: i64) -> String {
    format!(r#"42["live_aggregations_1",{{"id":"{id}","count":{count}}}]"#)
}

/// Waits until a view's commit has been read.
async fn committed(world: &mut World, id: &str, start: i64, count: i64) {
    let mut witness = join(world).await;
    register(&mut witness, json!([id])).await;
    world.commit(&[(id, start, Some(count))]).await;
    while witness.hear().await != live(id, count) {}
}

#[tokio::test]
async fn the_open_packet_is_the_original_s() {
    let world = world().await;
    for query in ["EIO=4&transport=polling", "EIO=4"] {
        let answer = request(world.address(), "GET", &format!("/socket.io/?{query}"), "", b"").await;
        let open: Json = serde_json::from_str(answer.text().strip_prefix('0').unwrap()).unwrap();
        let sid = &open["sid"];
        let want =
            json!({"sid": sid, "upgrades": ["websocket"], "pingInterval": 25_000, "pingTimeout": 60_000});
        assert_eq!(open, want, "{query}");
    }
}

#[tokio::test]
async fn a_wrong_request_is_told_what_the_original_told() {
    let world = world().await;
    let unsupported =
        "\"The client is using an unsupported version of the Socket.IO or Engine.IO protocols\"";
    for (method, query, want) in [
        ("GET", "EIO=3&transport=polling", unsupported),
        ("GET", "EIO=5&transport=polling", unsupported),
        ("GET", "transport=polling", unsupported),
        ("GET", "EIO=4&transport=polling&sid=zzz", "\"Invalid session zzz\""),
        ("POST", "EIO=4&transport=polling&sid=zzz", "\"Invalid session zzz\""),
        ("POST", "EIO=4&transport=polling", "\"Invalid session None\""),
        ("GET", "EIO=4&transport=abc", "\"Invalid transport\""),
        ("GET", "EIO=4&transport=websocket", "\"Invalid websocket upgrade\""),
    ] {
        let answer = request(world.address(), method, &format!("/socket.io/?{query}"), "", b"").await;
        assert_eq!((answer.status, answer.text()), (400, want), "{method} {query}");
        assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
    }
    let answer = request(world.address(), "GET", "/", "", b"").await;
    assert_eq!((answer.status, answer.text()), (404, "Not Found"));
}

#[tokio::test]
async fn every_page_may_come_and_is_told_its_origin() {
    let world = world().await;
    let path = "/socket.io/?EIO=4&transport=polling";
    for (method, headers, status) in [
        ("GET", "origin: http://localhost:3000\r\n", 200),
        ("OPTIONS", "origin: http://localhost:3000\r\n", 200),
        (
            "OPTIONS",
            "origin: http://localhost:3000\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: x-mine\r\n",
            204,
        ),
    ] {
        let answer = request(world.address(), method, path, headers, b"").await;
        assert_eq!(answer.status, status, "{method} {headers}");
        for want in ["allow-origin: http://localhost:3000", "allow-credentials: true"] {
            assert!(answer.head.contains(&format!("access-control-{want}")), "{}", answer.head);
        }
        let echoed = answer.head.contains("access-control-allow-headers: x-mine");
        assert_eq!(echoed, headers.contains("x-mine"), "{}", answer.head);
    }
    let answer = request(world.address(), "GET", path, "", b"").await;
    assert!(answer.status == 200 && !answer.head.contains("allow-origin"), "{}", answer.head);
}

#[tokio::test]
async fn other_namespaces_are_not_there_and_what_is_no_packet_is_left_out() {
    let world = world().await;
    let mut socket = Socket::open(world.address(), 4).await;
    socket.say("40/foo,").await;
    assert_eq!(socket.hear().await, "44/foo,\"Unable to connect\"");
    // Neither before nor after it is let in does any of these end the session.
    for is_in in [false, true] {
        for wrong in
            ["4", "4x", "42", "42{\"a\":1}", "42[]", "42[5]", "4399[", "44", "45x-[\"a\"]", "42/foo,[\"a\"]"]
        {
            socket.say(wrong).await;
        }
        socket.say_bytes(b"nobody announced these").await;
        if !is_in {
            socket.say("40").await;
            assert!(socket.hear().await.starts_with("40{\"sid\":\""));
        }
    }
    hears_nothing(&mut socket).await;
}

#[tokio::test]
async fn the_general_api_lives_beside_it() {
    let world = World::listening(Limits::default(), |config| {
        listener(config);
        config.dialects.push(Dialect::Socketio);
        config.channels = Some(vec!["likes".to_owned()]);
    })
    .await;
    let mut socket = join(&world).await;
    socket.say("40/windrow,").await;
    assert!(socket.hear().await.starts_with("40/windrow,{\"sid\":"));
    socket.say("42/windrow,7[\"subscribe\",{\"channel\":\"likes\",\"as\":1}]").await;
    assert!(socket.hear().await.starts_with("43/windrow,7[{\"ok\":true,"));
    register(&mut socket, json!(["a"])).await;
    socket.say("40/foo,").await;
    assert_eq!(socket.hear().await, "44/foo,\"Unable to connect\"");
}

#[tokio::test]
async fn what_makes_no_sense_has_no_ack_and_no_error() {
    let world = world().await;
    let mut socket = join(&world).await;
    for event in [
        r#"["consume_topic",{"rooms":["a"]}]"#,
        r#"["register_room"]"#,
        r#"["register_room",{}]"#,
        r#"["register_room",null]"#,
        r#"["register_room",["a"]]"#,
        r#"["register_room","a"]"#,
        r#"["register_room",{"rooms":5}]"#,
        r#"["leave_room"]"#,
        r#"["subscribe",{"channel":"likes","as":1}]"#,
    ] {
        socket.say(&format!("421{event}")).await;
        socket.say(&format!("42{event}")).await;
        hears_nothing(&mut socket).await;
    }
}

#[tokio::test]
async fn who_is_in_a_room_gets_its_events_whoever_consumes() {
    let mut world = world().await;
    let (mut quiet, mut eager, mut stranger) = (join(&world).await, join(&world).await, join(&world).await);
    register(&mut quiet, json!(["a", "b"])).await;
    for event in ["1", "5", "10"].map(|minutes| format!("consume_{minutes}_min_aggregations")) {
        for socket in [&mut eager, &mut stranger] {
            // With or without an argument, as often as one likes.
            socket.say(&json!([event, {}]).to_string().replacen('[', "42[", 1)).await;
            acked(socket, &json!([event, {}]).to_string(), "[]").await;
            acked(socket, &json!([event]).to_string(), "[]").await;
        }
    }
    // After it had consumed, as the original's page does; and a growing list.
    register(&mut eager, json!(["a"])).await;
    register(&mut eager, json!(["a", "c"])).await;
    register(&mut stranger, json!("z")).await;
    world.commit(&[("a", 0, Some(1))]).await;
    for socket in [&mut quiet, &mut eager] {
        assert_eq!(socket.hear().await, r#"42["live_aggregations_1",{"id":"a","count":1}]"#);
    }
    world.commit(&[("b", 0, Some(4))]).await;
    world.commit(&[("c", 0, Some(5))]).await;
    world.commit(&[("z", 0, Some(6))]).await;
    assert_eq!(quiet.hear().await, live("b", 4));
    assert_eq!(eager.hear().await, live("c", 5), "once each, however often it consumed");
    assert_eq!(stranger.hear().await, live("z", 6), "a text is one room");
    for socket in [&mut quiet, &mut eager, &mut stranger] {
        hears_nothing(socket).await;
    }
}

#[tokio::test]
async fn a_room_tells_its_newest_count_when_it_is_registered_then_every_change_older_windows_first() {
    let mut world = world().await;
    world.commit(&[("a", 0, Some(7)), ("b", 0, Some(1)), ("c", 0, Some(9))]).await;
    committed(&mut world, "a", 2 * MINUTE, 2).await;
    committed(&mut world, "a", MINUTE, 8).await;
    let mut socket = join(&world).await;
    register(&mut socket, json!(["a"])).await;
    assert_eq!(socket.hear().await, live("a", 2), "of all windows the newest");
    register(&mut socket, json!(["a", "b"])).await;
    assert_eq!(socket.hear().await, live("b", 1), "only what is new");
    // The window before closes in the commit that opens the next.
    world.commit(&[("a", 3 * MINUTE, Some(1)), ("a", 2 * MINUTE, Some(3))]).await;
    assert_eq!(socket.hear().await, live("a", 3));
    assert_eq!(socket.hear().await, live("a", 1));
    // A row that leaves is no news.
    world.commit(&[("a", 0, None), ("b", 0, None)]).await;
    world.commit(&[("b", MINUTE, Some(2))]).await;
    assert_eq!(socket.hear().await, live("b", 2));
}

#[tokio::test]
async fn who_leaves_a_room_hears_no_more_of_it_until_it_comes_back() {
    let mut world = world().await;
    let mut socket = join(&world).await;
    register(&mut socket, json!(["a", "b"])).await;
    acked(&mut socket, r#"["leave_room",{"rooms":["a","x"]}]"#, "[]").await;
    committed(&mut world, "a", 0, 1).await;
    world.commit(&[("b", 0, Some(2))]).await;
    assert_eq!(socket.hear().await, live("b", 2));
    acked(&mut socket, r#"["leave_room",{"rooms":"b"}]"#, "[]").await;
    committed(&mut world, "b", 0, 3).await;
    hears_nothing(&mut socket).await;
    register(&mut socket, json!(["a"])).await;
    assert_eq!(socket.hear().await, live("a", 1));
}

#[tokio::test]
async fn final_counts_alone_and_further_fields_are_options() {
    let mut world = world_of(|counter| {
        counter.finals = true;
        counter.fields = vec!["final".to_owned(), "window_start".to_owned()];
    })
    .await;
    let mut socket = join(&world).await;
    register(&mut socket, json!(["a"])).await;
    let row = |count, is_final| json!({"id": "a", "count": count, "window_start": 0, "window_end": MINUTE, "final": is_final, "seq": count});
    let changes = [row(1, false), row(2, true)].map(|row| row.to_string());
    for row in changes {
        world.row("[\"a\",0]", &row).await;
    }
    let want = r#"42["live_aggregations_1",{"id":"a","count":2,"final":true,"window_start":0}]"#;
    assert_eq!(socket.hear().await, want);
}

#[tokio::test]
async fn a_row_without_a_count_is_counted_and_told_to_nobody() {
    let mut world = world().await;
    let mut socket = join(&world).await;
    register(&mut socket, json!(["a"])).await;
    world.row("[\"a\",0]", r#"{"id":"a","count":null,"window_start":0}"#).await;
    world.commit(&[("a", MINUTE, Some(1))]).await;
    assert_eq!(socket.hear().await, live("a", 1));
    let left_out = world.stats.counter(("listener", "main".into(), None), "left_out", "incomplete");
    assert_eq!(left_out.get(), 1);
}

#[tokio::test]
async fn a_channel_that_is_not_there_yet_is_told_when_it_is() {
    let later = |channels: &mut Vec<ChannelSpec>| {
        channels[0].source = Source::View { topic: "app.later".into() };
    };
    let mut world = World::of(Limits::default(), listener, later, |log| log).await;
    let mut socket = join(&world).await;
    register(&mut socket, json!(["a"])).await;
    register(&mut socket, json!(["b"])).await;
    world.create("app.later", true).await;
    world.row_to("app.later", "[\"b\",0]", r#"{"id":"b","count":1,"window_start":0}"#).await;
    assert_eq!(socket.hear().await, live("b", 1));
}

#[tokio::test]
async fn more_rooms_than_a_filter_holds_are_refused_in_the_ack_and_the_others_stay() {
    let mut world = World::listening(Limits { filter_max_bytes: 64, ..Limits::default() }, listener).await;
    let mut socket = join(&world).await;
    register(&mut socket, json!(["a"])).await;
    let many = json!(["register_room", {"rooms": (0..20).map(|i| format!("a{i}")).collect::<Vec<_>>()}]);
    socket.say(&format!("427{many}")).await;
    let (head, data) = said(&socket.hear().await);
    assert_eq!((head.as_str(), &data[0]["error"]["code"]), ("37", &json!("too_many_rooms")));
    world.commit(&[("a", 0, Some(1)), ("a1", 0, Some(1))]).await;
    assert_eq!(socket.hear().await, live("a", 1));
    hears_nothing(&mut socket).await;
}

#[tokio::test]
async fn a_room_s_name_is_text_whatever_it_holds() {
    let mut world = world().await;
    let mut socket = join(&world).await;
    let id = r#"it's "a" \ ' OR 'x' = 'x"#;
    register(&mut socket, json!([id])).await;
    world.commit(&[("b", 0, Some(1)), (id, 0, Some(2))]).await;
    let want = json!(["live_aggregations_1", {"id": id, "count": 2}]);
    assert_eq!(said(&socket.hear().await).1, want);
    hears_nothing(&mut socket).await;
}

#[tokio::test]
async fn a_client_that_polls_hears_the_same() {
    let mut world = world().await;
    // From here on the channel is there.
    committed(&mut world, "c", 0, 1).await;
    let poller = Poller::open(world.address(), 4).await;
    poller.say(&["40"]).await;
    assert!(poller.hear().await[0].starts_with("40{\"sid\":"));
    poller.say(&["427[\"register_room\",{\"rooms\":[\"a\",\"b\"]}]"]).await;
    assert_eq!(poller.hear().await, ["437[]"]);
    world.commit(&[("a", 0, Some(1)), ("a", MINUTE, Some(2))]).await;
    assert_eq!(packets(4, poller.get().await.text()), [live("a", 1), live("a", 2)]);
}

#[tokio::test]
async fn what_waited_is_told_before_what_a_further_room_brings() {
    let mut world = world().await;
    committed(&mut world, "b", 0, 9).await;
    committed(&mut world, "a", 0, 1).await;
    let poller = Poller::open(world.address(), 4).await;
    poller.say(&["40", "42[\"register_room\",{\"rooms\":[\"a\"]}]"]).await;
    while !poller.hear().await.contains(&live("a", 1)) {}
    committed(&mut world, "a", MINUTE, 2).await;
    committed(&mut world, "a", 2 * MINUTE, 3).await;
    poller.say(&["42[\"register_room\",{\"rooms\":[\"b\"]}]"]).await;
    assert_eq!(poller.hear().await, [live("a", 2), live("a", 3), live("b", 9)]);
}

#[tokio::test]
async fn clients_far_behind_begin_anew_with_the_newest_counts() {
    let limits = Limits { ring_max_bytes: 4 << 10, ..Limits::default() };
    let mut world = World::listening(limits, listener).await;
    let poller = Poller::open(world.address(), 4).await;
    poller.say(&["40", "42[\"register_room\",{\"rooms\":[\"a\"]}]"]).await;
    poller.hear().await;
    for count in 1..200 {
        world.commit(&[("a", count * MINUTE, Some(count))]).await;
    }
    committed(&mut world, "a", 200 * MINUTE, 200).await;
    assert_eq!(poller.hear().await, [live("a", 200)]);
}
