//! The dialect `sensor-mirror`: what the original's clients hear, byte by byte, in both versions and on both transports.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use windrow::{
    config::{Dialect, Limits, ListenerConfig, Mirrored, SensorMirror, SocketioConfig},
    hub::{ChannelSpec, Source},
};
use windrow_core::{
    avro::Schema,
    plan::StreamPlan,
    spec::{Format, StreamSpec},
    topics::Topics,
};

use super::client::{Poller, Socket, eventually, packets, request, said};
use crate::{
    sensors::{Value, record},
    world::{PATIENCE, World, stream_plan},
};

const SCHEMA: &str = include_str!("../../../../../examples/sensor-mirror/kafka.timestamp-data.avsc");
const TOPIC: &str = "video_clicks";

fn mirrored() -> Option<Mirrored> {
    Some(Mirrored { channel: "clicks".to_owned(), place: (0, 0) })
}

fn listener(listener: &mut ListenerConfig) {
    listener.dialects = vec![Dialect::SensorMirror];
    listener.channels = Some(Vec::new());
    listener.origins = vec!["*".to_owned()];
    listener.socketio =
        SocketioConfig { cookie: Some("io".to_owned()), ..SocketioConfig::of_sensor_mirror() };
    listener.originals.sensor_mirror = Some(SensorMirror {
        live: mirrored(),
        rest: mirrored(),
        topic: "_topic".to_owned(),
        timestamp: "timestamp".to_owned(),
        per_second: 1,
        data: Some("data".to_owned()),
    });
}

/// The stream of the example, over one topic.
fn sensors(channels: &mut [ChannelSpec]) {
    let spec = StreamSpec {
        format: Format::Avro(Arc::new(Schema::parse(SCHEMA).unwrap().tagging_bytes())),
        columns: Vec::new(),
        row_filter: Some("data::text <> '{}'".into()),
        ..(*stream_plan(&["_topic"], 0).spec).clone()
    };
    let plan = StreamPlan { spec: Arc::new(spec), ..stream_plan(&[], 0) };
    channels[1] = ChannelSpec::stream(&plan);
}

async fn world() -> World {
    world_of(Limits::default()).await
}

async fn world_of(limits: Limits) -> World {
    World::of(limits, listener, |channels| sensors(channels), |log| log).await
}

fn number(n: i64) -> Vec<u8> {
    record(n as f64, &[("n", Value::Long(n))])
}

async fn write(world: &mut World, values: &[Vec<u8>]) {
    let records: Vec<_> = values.iter().map(|value| (0, None, Some(value.as_slice()))).collect();
    world.records(TOPIC, &records).await;
}

fn event(name: &str, n: i64) -> String {
    format!(r#"42["{name}",{{"topic":"video_clicks","timestamp":{n}.0,"data":{{"n":{n}}}}}]"#)
}

fn connected(n: u32) -> String {
    format!(r#"42["connected_clients",{n}]"#)
}

/// The next message that is no number of clients.
async fn value(socket: &mut Socket) -> String {
    loop {
        let heard = socket.hear().await;
        if !heard.starts_with("42[\"connected_clients\"") {
            return heard;
        }
    }
}

/// Waits until the channel has a record, by a client of its own.
async fn mirrored_is(world: &World, n: i64) {
    let mut witness = Socket::join(world.address(), 3).await;
    loop {
        let heard = value(&mut witness).await;
        if heard == event("sensor_values_cache", n) || heard == event("sensor_values", n) {
            return;
        }
    }
}

#[tokio::test]
async fn the_open_packet_has_the_times_of_the_original_and_its_cookie() {
    let world = world().await;
    for version in [3, 4] {
        let path = format!("/socket.io/?EIO={version}&transport=polling");
        let answer = request(world.address(), "GET", &path, "origin: http://other.example\r\n", b"").await;
        let open = packets(version, answer.text()).remove(0);
        let open: Json = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let sid = open["sid"].as_str().unwrap();
        let want =
            json!({"sid": sid, "upgrades": ["websocket"], "pingInterval": 5_000, "pingTimeout": 10_000});
        assert_eq!(open, want);
        assert!(
            answer.head.contains(&format!("set-cookie: io={};", sid.to_ascii_lowercase())),
            "{}",
            answer.head
        );
        assert!(answer.head.contains("access-control-allow-origin: http://other.example"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_client_hears_the_number_of_clients_first_then_the_newest_of_each_topic_then_every_record() {
    let mut world = world().await;
    write(&mut world, &[number(1), number(2)]).await;
    for version in [3, 4] {
        let mut socket = Socket::join(world.address(), version).await;
        assert_eq!(socket.hear().await, connected(1), "version {version}");
        assert_eq!(value(&mut socket).await, event("sensor_values_cache", 2));
        write(&mut world, &[number(3), number(4), number(2)]).await;
        for n in [3, 4, 2] {
            assert_eq!(value(&mut socket).await, event("sensor_values", n), "each, in order, older ones too");
        }
        assert!(socket.socket.close(None).await.is_ok());
        eventually(|| world.hub.connected("main") == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_polls_hears_the_same_and_says_nothing() {
    let mut world = world().await;
    write(&mut world, &[number(1)]).await;
    mirrored_is(&world, 1).await;
    eventually(|| world.hub.connected("main") == 0).await;
    let poller = Poller::open(world.address(), 3).await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(poller.hear().await);
    }
    assert_eq!(heard, ["40".to_owned(), connected(1), event("sensor_values_cache", 1)]);
    write(&mut world, &[number(2), number(3)]).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(poller.hear().await);
    }
    assert_eq!(heard, [2, 3].map(|n| event("sensor_values", n)));
}

#[tokio::test]
async fn everybody_is_told_how_many_there_are_whenever_that_changes() {
    let world = world().await;
    let mut first = Socket::join(world.address(), 3).await;
    assert_eq!(first.hear().await, connected(1));
    let mut second = Socket::join(world.address(), 4).await;
    assert_eq!(second.hear().await, connected(2));
    assert_eq!(first.hear().await, connected(2));
    second.socket.close(None).await.unwrap();
    assert_eq!(first.hear().await, connected(1));
}

#[tokio::test]
async fn every_type_of_value_is_told_as_the_original_told_it() {
    let mut world = world().await;
    let mut socket = Socket::join(world.address(), 3).await;
    socket.hear().await;
    let data = [
        ("t", Value::Float(23.1)),
        ("on", Value::Bool(true)),
        ("i", Value::Int(-7)),
        ("l", Value::Long(9_007_199_254_740_993)),
        ("s", Value::Text("a \"é\"")),
    ];
    write(&mut world, &[record(1_485_000_000.25, &data)]).await;
    let want = r#"42["sensor_values",{"topic":"video_clicks","timestamp":1485000000.25,"data":{"t":23.100000381469727,"on":true,"i":-7,"l":9007199254740993,"s":"a \"é\""}}]"#;
    assert_eq!(value(&mut socket).await, want);
    let data = [("a", Value::Bytes(&[0, 255])), ("s", Value::Text("AP8=")), ("b", Value::Bytes(b""))];
    write(&mut world, &[record(1.0, &data)]).await;
    let want = r#"452-["sensor_values",{"topic":"video_clicks","timestamp":1.0,"data":{"a":{"_placeholder":true,"num":0},"s":"AP8=","b":{"_placeholder":true,"num":1}}}]"#;
    // With its kind in front, as version 3 has it.
    assert_eq!(
        [value(&mut socket).await, socket.hear().await, socket.hear().await],
        [want, "bytes [4, 0, 255]", "bytes [4]"]
    );
}

#[tokio::test]
async fn what_is_empty_or_cannot_be_read_is_no_news_and_does_not_take_the_place_of_news() {
    let mut world = world().await;
    let mut socket = Socket::join(world.address(), 3).await;
    socket.hear().await;
    write(&mut world, &[number(1), record(2.0, &[]), b"{\"timestamp\":3}".to_vec(), vec![1, 2, 3]]).await;
    write(&mut world, &[number(4), record(5.0, &[])]).await;
    for n in [1, 4] {
        assert_eq!(value(&mut socket).await, event("sensor_values", n));
    }
    mirrored_is(&world, 4).await;
    let bad = world.stats.counter(("channel", "clicks".into(), None), "bad", "unreadable");
    assert_eq!(bad.get(), 2);
}

#[tokio::test]
async fn between_the_cache_and_what_follows_no_record_is_missing_and_none_is_told_twice() {
    let mut world = world().await;
    let address = world.address();
    let mut clients = Vec::new();
    for n in 1..=400 {
        write(&mut world, &[number(n)]).await;
        if n % 50 != 1 {
            continue;
        }
        // It comes while others are told.
        clients.push(tokio::spawn(async move {
            let mut socket = Socket::join(address, if n % 100 == 1 { 3 } else { 4 }).await;
            let mut heard = Vec::new();
            while heard.last() != Some(&400) {
                let (_, said) = said(&value(&mut socket).await);
                assert!(said[0] == "sensor_values" || heard.is_empty(), "{said}");
                heard.push(said[1]["data"]["n"].as_i64().unwrap());
            }
            heard
        }));
    }
    for client in clients {
        let heard = client.await.unwrap();
        assert_eq!(heard, (heard[0]..=400).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn who_falls_too_far_behind_is_told_the_newest_again_and_what_it_missed_is_counted() {
    let limits = Limits { ring_max_bytes: 4 << 10, ..Limits::default() };
    let mut world = world_of(limits).await;
    write(&mut world, &[number(0)]).await;
    let poller = Poller::open(world.address(), 3).await;
    let mut heard = Vec::new();
    while !heard.contains(&event("sensor_values_cache", 0)) {
        heard.extend(poller.hear().await);
    }
    for n in 1..=200 {
        write(&mut world, &[number(n)]).await;
    }
    mirrored_is(&world, 200).await;
    let mut heard = Vec::new();
    while !heard.contains(&event("sensor_values_cache", 200)) {
        heard.extend(poller.hear().await);
    }
    let dropped = world.stats.counter(("channel", "clicks".into(), None), "dropped", "");
    let told = heard.iter().filter(|event| event.contains("\"sensor_values\"")).count() as u64;
    assert_eq!(dropped.get() + told, 200);
}

#[tokio::test]
async fn a_client_may_choose_topics_when_it_connects_and_later() {
    let mut world = world().await;
    write(&mut world, &[number(1)]).await;
    mirrored_is(&world, 1).await;
    let path = "/socket.io/?EIO=3&transport=websocket&topics=other%2Cvideo_clicks";
    let mut by_query = Socket::connect(world.address(), path).await;
    assert!(by_query.hear().await.starts_with('0'));
    assert_eq!(by_query.hear().await, "40");
    assert_eq!(value(&mut by_query).await, event("sensor_values_cache", 1));
    let mut by_auth = Socket::open(world.address(), 4).await;
    by_auth.say("40{\"topics\":[\"other\"]}").await;
    assert!(by_auth.hear().await.starts_with("40{"));
    for (choice, ack) in [("{\"topics\":[]}", "437[]"), ("\"other\"", "437[]")] {
        for socket in [&mut by_auth, &mut by_query] {
            socket.say(&format!("427[\"watch_topics\",{choice}]")).await;
            assert_eq!(value(socket).await, ack);
        }
    }
    write(&mut world, &[number(2)]).await;
    mirrored_is(&world, 2).await;
    for socket in [&mut by_auth, &mut by_query] {
        socket.say("427[\"watch_topics\",null]").await;
        assert_eq!(value(socket).await, "437[]");
        assert_eq!(value(socket).await, event("sensor_values_cache", 2), "and nothing before it");
    }
    write(&mut world, &[number(3)]).await;
    for socket in [&mut by_auth, &mut by_query] {
        assert_eq!(value(socket).await, event("sensor_values", 3));
    }
}

#[tokio::test]
async fn a_choice_that_is_too_long_is_refused_in_its_ack_and_what_makes_no_sense_has_none() {
    let mut world = world_of(Limits { filter_max_bytes: 64, ..Limits::default() }).await;
    let mut socket = Socket::join(world.address(), 3).await;
    let many: Vec<_> = (0..20).map(|i| format!("topic{i}")).collect();
    socket.say("421[\"watch_topics\",5]").await;
    socket.say("422[\"watch_topics\",{}]").await;
    socket.say("423[\"subscribe\",{\"channel\":\"clicks\"}]").await;
    socket.say(&format!("427{}", json!(["watch_topics", many]))).await;
    let (head, refused) = said(&value(&mut socket).await);
    assert_eq!((head.as_str(), &refused[0]["error"]["code"]), ("37", &json!("too_many_topics")));
    write(&mut world, &[number(1)]).await;
    assert_eq!(value(&mut socket).await, event("sensor_values", 1), "its choice stays as it was");
    socket.say("40/other").await;
    assert_eq!(value(&mut socket).await, "44/other,\"Unable to connect\"");
    let mut refused = Socket::open(world.address(), 4).await;
    refused.say(&format!("40{}", json!({"topics": many}))).await;
    assert!(
        refused.hear().await.starts_with("44\"the topics of a client, as a filter, have at most 64 bytes")
    );
}

#[tokio::test]
async fn the_sisters_answer_over_http_whatever_there_is() {
    let mut world = world().await;
    let address = world.address();
    let get = async |path: &str| {
        let answer = request(address, "GET", path, "", b"").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        answer.json()
    };
    // The topic is there, and empty.
    assert_eq!(get("/topics").await, json!({"error": "no cached messages available"}));
    assert_eq!(get("/topic/video_clicks").await, json!({"error": "no cached message available"}));
    assert_eq!(get("/topics/it's").await, json!({"error": "topic not available"}));
    let data = [("t", Value::Float(23.1)), ("b", Value::Bytes(&[0, 255]))];
    write(&mut world, &[record(2.5, &data), number(1)]).await;
    mirrored_is(&world, 1).await;
    assert_eq!(
        get("/topic/video_clicks").await["data"],
        json!({"n": 1}),
        "the last that came, not the latest"
    );
    write(&mut world, &[record(2.5, &data), record(3.5, &[])]).await;
    let newest = async { while get("/topics").await["video_clicks"]["timestamp"] != json!(2.5) {} };
    tokio::time::timeout(PATIENCE, newest).await.expect("in time");
    let values = json!({"timestamp": 2.5, "data": {"t": 23.1_f32 as f64, "b": "AP8="}});
    assert_eq!(get("/topics").await, json!({"video_clicks": values}));
    for path in ["/topic/video_clicks", "/topics/video_clicks"] {
        let mut want = values.clone();
        want["topic"] = json!("video_clicks");
        assert_eq!(get(path).await, want);
    }
}

#[tokio::test]
async fn without_any_topic_the_sisters_say_so_at_once() {
    let missing = |channels: &mut Vec<ChannelSpec>| {
        sensors(channels);
        let Source::Stream { spec } = &channels[1].source else { unreachable!() };
        let spec = StreamSpec { topics: Topics::One("later".into()), ..(**spec).clone() };
        channels[1].source = Source::Stream { spec: Arc::new(spec) };
    };
    let mut world = World::of(Limits::default(), listener, missing, |log| log).await;
    let address = world.address();
    let get = async |path: &str| request(address, "GET", path, "", b"").await.json();
    assert_eq!(get("/topics").await, json!({"error": "no topic available"}));
    assert_eq!(get("/topic/later").await, json!({"error": "topic not available"}));
    let mut socket = Socket::join(world.address(), 3).await;
    assert_eq!(socket.hear().await, connected(1));
    world.create("later", false).await;
    world.records("later", &[(0, None, Some(&number(1)))]).await;
    let first = value(&mut socket).await.replace("later", TOPIC);
    assert!([event("sensor_values", 1), event("sensor_values_cache", 1)].contains(&first), "{first}");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let world = world().await;
    let answer = request(world.address(), "GET", "/", "", b"").await;
    let page = answer.text();
    assert_eq!(answer.status, 200);
    assert!(
        page.contains("/socket.io/?EIO=3")
            && !page.contains("NONCE")
            && !page.contains("http:")
            && !page.contains("https:"),
        "{page}"
    );
    let word = answer.head.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.to_ascii_lowercase().contains(&format!("<script nonce=\"{word}\"")));
    let other = request(world.address(), "GET", "/other", "", b"").await;
    assert_eq!((other.status, other.text()), (404, "Not Found"));
}
