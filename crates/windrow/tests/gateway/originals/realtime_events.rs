//! The dialect `realtime-events`.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::{connect_async, tungstenite::Message};
use windrow::{
    config::{Dialect, EventChannel, Limits, ListenerConfig, RealtimeEvents, Secret},
    hub::{ChannelSpec, Source},
};
use windrow_core::{topics::Topics, value::ColumnType};

use super::client::{Client, Heard, asking, get, refusal};
use crate::world::{PATIENCE, World, stream_plan};

const PING: &str = r#"{"type":"ping"}"#;
const SECRET: &str = "a secret of at least thirty-two bytes";
const OF_ONE: &str = "organization_id=1&user_id=1";

fn event(channel: &str) -> String {
    format!(r#"{{"type":"event","channel":"{channel}"}}"#)
}

/// Streams with a column that says whose a record is.
fn channels(all: &mut Vec<ChannelSpec>) {
    all[1].columns.push(("organization_id".into(), Some(ColumnType::Bigint)));
    let mut guests = all[1].clone();
    let mut spec = (*stream_plan(&[], 0).spec).clone();
    (spec.name, spec.topics) = ("guests".into(), Topics::One("guests".into()));
    (guests.name, guests.source) = ("guests".into(), Source::Stream { spec: Arc::new(spec) });
    all.push(guests);
}

async fn world_of(limits: Limits, change: impl Fn(&mut RealtimeEvents)) -> World {
    let listener = |listener: &mut ListenerConfig| {
        let channel = |(name, channel): (&str, &str)| EventChannel {
            name: name.to_owned(),
            channel: channel.to_owned(),
            place: (0, 0),
        };
        let mut events = RealtimeEvents {
            channels: [("payment", "clicks"), ("guest", "guests")].map(channel).to_vec(),
            organization: "organization_id".to_owned(),
            ping_interval: Duration::from_secs(20),
            heartbeat: Duration::from_secs(2),
            secret: None,
            claim: "organization_id".to_owned(),
        };
        change(&mut events);
        listener.dialects = vec![Dialect::RealtimeEvents];
        listener.channels = Some(Vec::new());
        listener.originals.realtime_events = Some(events);
    };
    let world = World::of(limits, listener, channels, |log| log).await;
    world.create("guests", false).await;
    world
}

pub(super) async fn world() -> World {
    world_of(Limits::default(), |_| {}).await
}

/// A client that has heard its first ping, and whose channels are watched.
async fn open(world: &World, query: &str) -> Client {
    let mut client = Client::open(world.address(), &format!("/getEvents/{query}")).await;
    let first: Value = serde_json::from_str(&client.hear().await).unwrap();
    assert_eq!(first["type"], "ping");
    for channel in ["clicks", "guests"] {
        until(|| world.hub.is_live(channel)).await;
    }
    assert_eq!(client.settle().await, Vec::<String>::new());
    client
}

pub(super) async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

/// Commits records of those organizations.
pub(super) async fn records(world: &mut World, topic: &str, organizations: &[i64]) {
    let values: Vec<_> = organizations.iter().map(|of| json!({"organization_id": of}).to_string()).collect();
    let records: Vec<_> = values.iter().map(|value| (None, Some(value.as_str()))).collect();
    world.click_to(topic, &records).await;
}

#[tokio::test]
async fn a_ping_comes_at_once_and_then_in_its_interval() {
    let interval = Duration::from_millis(500);
    let world = world_of(Limits::default(), |events| events.ping_interval = interval).await;
    let mut client = Client::open(world.address(), &format!("/getEvents/payment?{OF_ONE}")).await;
    for _ in 0..3 {
        assert_eq!(client.hear().await, PING);
    }
}

#[tokio::test]
async fn every_client_of_an_organization_hears_of_each_of_its_records() {
    let mut world = world().await;
    let mut ones =
        [open(&world, &format!("payment?{OF_ONE}")).await, open(&world, &format!("payment?{OF_ONE}")).await];
    let mut two = open(&world, "payment?organization_id=2&user_id=-7&session=x").await;
    let mut guest = open(&world, &format!("guest?{OF_ONE}")).await;
    records(&mut world, "video_clicks", &[1, 2, 1, 3, 1]).await;
    // Whoever says something is not heard.
    two.say("hello").await;
    two.socket.send(Message::binary(b"\xff".to_vec())).await.unwrap();
    records(&mut world, "guests", &[1]).await;
    for one in &mut ones {
        for _ in 0..3 {
            assert_eq!(one.hear().await, event("payment"));
        }
        assert_eq!(one.settle().await, Vec::<String>::new());
    }
    assert_eq!(two.hear().await, event("payment"));
    assert_eq!(two.settle().await, Vec::<String>::new());
    assert_eq!(guest.hear().await, event("guest"));
    assert_eq!(guest.settle().await, Vec::<String>::new());
}

#[tokio::test]
async fn every_refusal_is_403_and_nothing() {
    let world = world().await;
    for path in [
        "/getEvents/payment",
        "/getEvents/payment?user_id=1",
        "/getEvents/payment?organization_id=1",
        "/getEvents/payment?organization_id=&user_id=1",
        "/getEvents/payment?organization_id=one&user_id=1",
        "/getEvents/payment?organization_id=1.5&user_id=1",
        "/getEvents/payment?organization_id=%201&user_id=1",
        "/getEvents/payment?organization_id=1&user_id=",
        "/getEvents/payment?organization_id=1&user_id=me",
        // Of several the last counts.
        "/getEvents/payment?organization_id=1&organization_id=x&user_id=1",
        "/getEvents/payment?organization_id=1&user_id=1&channel=nothing",
        "/getEvents/payment?organization_id=1&user_id=1&data=maybe",
        "/getEvents/payment?organization_id=1&user_id=1&from=payment:nonsense",
        "/getEvents/payment?organization_id=1&user_id=1&from=payment:now",
        "/getEvents/payment?organization_id=1&user_id=1&from=guest",
        "/getEvents/nothing?organization_id=1&user_id=1",
        "/getEvents/?organization_id=1&user_id=1",
        "/getevents/payment?organization_id=1&user_id=1",
        "/getEvents/payment/1?organization_id=1&user_id=1",
        "/getEvents/%ff?organization_id=1&user_id=1",
        "/ws",
        "/",
    ] {
        let got = refusal(world.address(), path, None).await;
        assert_eq!(got, (403, "text/plain".to_owned(), String::new()), "{path}");
    }
    open(&world, "payment?organization_id=x&organization_id=1&user_id=1").await;
}

#[tokio::test]
async fn plain_requests_get_the_page_and_nothing_else() {
    let world = world().await;
    let (status, head, body) = get(world.address(), "/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(body.contains(r#"const channels = ["payment","guest"];"#), "{body}");
    assert!(body.contains("<title>Realtime events</title>"), "{body}");
    for path in ["/getEvents/payment?organization_id=1&user_id=1", "/nothing"] {
        let (status, head, body) = get(world.address(), path).await;
        assert_eq!((status, body.as_str()), (404, r#"{"detail":"Not Found"}"#), "{path}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
}

#[tokio::test]
async fn several_channels_and_their_rows_come_on_one_connection() {
    let mut world = world().await;
    let mut both =
        open(&world, &format!("payment?{OF_ONE}&channel=guest&channel=payment&channel=guest&data=true"))
            .await;
    records(&mut world, "guests", &[2, 1]).await;
    let heard: Value = serde_json::from_str(&both.hear().await).unwrap();
    let (kind, channel) = (heard["type"].as_str(), heard["channel"].as_str());
    assert_eq!((kind, channel), (Some("event"), Some("guest")));
    let data = &heard["data"];
    assert_eq!(
        (&data["organization_id"], &data["_offset"], &data["_topic"]),
        (&json!(1), &json!(1), &json!("guests"))
    );
    assert_eq!(heard.as_object().unwrap().len(), 3, "{heard}");
    records(&mut world, "video_clicks", &[1]).await;
    let heard: Value = serde_json::from_str(&both.hear().await).unwrap();
    assert_eq!(heard["channel"], "payment");
    assert_eq!(both.settle().await, Vec::<String>::new());
}

#[tokio::test]
async fn who_comes_back_with_a_position_hears_what_it_missed_on_any_node() {
    let mut world = world().await;
    let mut client = open(&world, &format!("payment?{OF_ONE}&channel=guest&resume=true")).await;
    records(&mut world, "video_clicks", &[1, 1]).await;
    assert_eq!(client.hear().await, event("payment"), "a position is that of all rows of a commit");
    let last: Value = serde_json::from_str(&client.hear().await).unwrap();
    let at = last["at"].as_str().unwrap().to_owned();
    drop(client);
    records(&mut world, "video_clicks", &[1, 2, 1]).await;
    for restart in [false, true] {
        if restart {
            world.restart_with(channels).await;
        }
        let path = format!("/getEvents/payment?{OF_ONE}&from=payment:{at}");
        let mut client = Client::open(world.address(), &path).await;
        let first: Value = serde_json::from_str(&client.hear().await).unwrap();
        assert_eq!(first["type"], "ping");
        for _ in 0..2 {
            let heard: Value = serde_json::from_str(&client.hear().await).unwrap();
            assert_eq!((&heard["type"], &heard["channel"]), (&json!("event"), &json!("payment")));
        }
        assert_eq!(client.settle().await, Vec::<String>::new());
    }
    // The position answers another question.
    let path = format!("/getEvents/payment?organization_id=2&user_id=1&from=payment:{at}");
    let mut client = Client::open(world.address(), &path).await;
    client.hear().await;
    let heard: Value = serde_json::from_str(&client.hear().await).unwrap();
    assert_eq!((&heard["type"], &heard["channel"]), (&json!("missed"), &json!("payment")));
    assert!(heard["reason"].is_string(), "{heard}");
}

#[tokio::test]
async fn pings_tell_positions_to_who_resumes() {
    let interval = Duration::from_millis(500);
    let world = world_of(Limits::default(), |events| events.ping_interval = interval).await;
    let path = format!("/getEvents/payment?{OF_ONE}&channel=guest&resume=1");
    let mut client = Client::open(world.address(), &path).await;
    let ping = loop {
        let ping: Value = serde_json::from_str(&client.hear().await).unwrap();
        if ping["at"].as_object().is_some_and(|at| at.len() == 2) {
            break ping;
        }
    };
    assert!(ping["at"]["payment"].is_string() && ping["at"]["guest"].is_string(), "{ping}");
}

fn token(claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())))
}

#[tokio::test]
async fn with_a_secret_a_token_says_who_may_come() {
    let secret = Secret(SECRET.to_owned());
    let world = world_of(Limits::default(), move |events| events.secret = Some(secret.clone())).await;
    let now = jiff::Timestamp::now().as_second();
    let (good, ended) =
        (json!({"organization_id": [1, 3], "exp": now + 3_600}), json!({"organization_id": 1, "exp": 1}));
    let (path, other) = ("/getEvents/payment?organization_id=1", "/getEvents/payment?organization_id=2");
    for (path, token) in [
        (path, None),
        ("/getEvents/payment?organization_id=1&user_id=1", None),
        (path, Some(token(&ended))),
        (path, Some(token(&json!({})))),
        (path, Some("a.b.c".to_owned())),
        (other, Some(token(&good))),
    ] {
        let got = refusal(world.address(), path, token.as_deref()).await;
        assert_eq!(got, (403, "text/plain".to_owned(), String::new()), "{path} {token:?}");
    }
    let (mut socket, _) = connect_async(asking(world.address(), path, Some(&token(&good)))).await.unwrap();
    socket.close(None).await.unwrap();
    // A browser cannot send a header.
    open(&world, &format!("payment?organization_id=3&token={}", token(&good))).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let secret = Secret(SECRET.to_owned());
    let world = world_of(Limits::default(), move |events| events.secret = Some(secret.clone())).await;
    // It ended almost as long ago as clocks may differ; the rest is for a busy machine to let it in.
    let soon = jiff::Timestamp::now().as_millisecond() as f64 / 1_000.0 - 27.0;
    let token = token(&json!({"organization_id": 1, "exp": soon}));
    let path = format!("/getEvents/payment?organization_id=1&token={token}");
    let mut client = Client::open(world.address(), &path).await;
    assert_eq!(client.hear().await, PING);
    assert_eq!(client.next().await, Heard::Close(1008));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_over_and_others_go_on() {
    let mut world = world_of(Limits::default(), |events| events.heartbeat = Duration::from_millis(200)).await;
    let query = format!("payment?{OF_ONE}&data=true");
    let _stuck = Client::narrow(world.address(), &format!("/getEvents/{query}")).await;
    let mut quick = open(&world, &query).await;
    let counter = |reason| world.stats.counter(("listener", "main".into(), None), "closed", reason);
    let (stalled, slow) = (counter("stalled"), counter("slow"));
    let value = json!({"organization_id": 1, "video": "x".repeat(2_000)}).to_string();
    let batch = vec![(None, Some(value.as_str())); 200];
    let mut offset = 0;
    while stalled.get() + slow.get() == 0 {
        world.click(&batch).await;
        for _ in 0..batch.len() {
            let heard: Value = serde_json::from_str(&quick.hear().await).unwrap();
            assert_eq!(heard["data"]["_offset"], offset, "in order, without a hole");
            offset += 1;
        }
        assert!(offset < 200_000, "the stuck client was never found");
    }
    assert_eq!(slow.get(), 0, "it takes nothing at all, which shows before it is behind");
}

#[tokio::test]
async fn a_client_that_says_nothing_to_pings_of_the_framing_is_over() {
    let interval = Duration::from_millis(300);
    let world = world_of(Limits::default(), |events| events.ping_interval = interval).await;
    // Nobody reads its socket, so nobody answers.
    let _dead = Client::open(world.address(), &format!("/getEvents/payment?{OF_ONE}")).await;
    let timeout = world.stats.counter(("listener", "main".into(), None), "closed", "timeout");
    until(|| timeout.get() == 1).await;
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_and_lets_nobody_in() {
    let world = world().await;
    let mut client = open(&world, &format!("payment?{OF_ONE}")).await;
    world.hub.drain();
    assert_eq!(client.next().await, Heard::Close(1001));
}
