//! Server-sent events, read as `curl` would.

use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use windrow::{
    config::Limits,
    hub::{ChannelSpec, Source},
};

use super::world::{PATIENCE, Table, World};

/// One response, read event by event.
pub(crate) struct Events {
    status: u16,
    lines: BufReader<TcpStream>,
}

#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Json,
    retry: Option<u64>,
}

impl Events {
    pub(crate) async fn open(world: &World, path: &str, last_event_id: Option<&str>) -> Self {
        let id = last_event_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        Self::with(world, path, &id).await
    }

    async fn with(world: &World, path: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(world.address()).await.unwrap();
        let host = world.address();
        // HTTP/1.0 keeps the body free of chunks.
        let request = format!("GET {path} HTTP/1.0\r\nhost: {host}\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(socket);
        let mut line = String::new();
        lines.read_line(&mut line).await.unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        while line.trim() != "" {
            line.clear();
            lines.read_line(&mut line).await.unwrap();
        }
        Self { status, lines }
    }

    pub(crate) async fn next(&mut self) -> Event {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            tokio::time::timeout(PATIENCE, self.lines.read_line(&mut line)).await.unwrap().unwrap();
            let line = line.trim_end();
            match line.split_once(": ") {
                None if line.is_empty() && event.retry.is_some() && event.name.is_empty() => {
                    event = Event::default()
                }
                None if line.is_empty() => return event,
                Some(("event", name)) => event.name = name.to_owned(),
                None if line == "id:" => event.id = Some(String::new()),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                Some(("retry", ms)) => event.retry = ms.parse().ok(),
                _ => panic!("unexpected line {line:?}"),
            }
        }
    }

    async fn rest(mut self) -> String {
        let mut text = String::new();
        tokio::time::timeout(PATIENCE, self.lines.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }
}

/// Who is cut off among the pieces has forgotten its rows, so the position that went with them must be gone as well.
#[tokio::test]
async fn a_snapshot_in_pieces_takes_the_former_id_away_until_it_is_whole() {
    let mut world = World::start().await;
    let rows: Vec<String> = (0..6_000).map(|i| format!("a{i:05}")).collect();
    let changes: Vec<_> = rows.iter().map(|id| (id.as_str(), 0, Some(1))).collect();
    world.commit(&changes).await;
    let mut client = world.client().await;
    let mut table = Table::default();
    table.apply(&client.ask(json!({"subscribe": "likes", "as": 1})).await);
    while table.0.len() < 6_000 {
        table.apply(&client.hear().await);
    }
    let mut events = Events::open(&world, "/sse/likes", None).await;
    let mut ids = Vec::new();
    loop {
        let piece = events.next().await;
        assert_eq!((piece.name.as_str(), piece.data["reset"] == json!(true)), ("snapshot", ids.is_empty()));
        ids.push(piece.id);
        if piece.data["more"] != json!(true) {
            break;
        }
    }
    let (last, before) = ids.split_last().unwrap();
    assert!(last.as_ref().is_some_and(|id| !id.is_empty()));
    assert_eq!(before[0].as_deref(), Some(""), "the first piece empties it");
    assert!(before[1..].iter().all(Option::is_none), "{before:?}");
}

#[tokio::test]
async fn a_browser_gets_a_snapshot_then_rows_and_resumes_by_itself() {
    let mut world = World::start().await;
    let mut events = Events::open(&world, "/sse/likes?where=count%20%3E%200", None).await;
    assert_eq!(events.status, 200);
    let first = events.next().await;
    assert_eq!(first.name, "snapshot");
    assert_eq!(first.data["channel"], "likes");
    assert_eq!(first.data["key"], json!(["id", "window_start"]));
    assert!(first.id.is_some());
    world.commit(&[("a", 0, Some(1))]).await;
    let (mut table, want) = (Table::default(), Table::of(&[("a", 0, 1)]));
    let mut id = None;
    while table != want {
        let event = events.next().await;
        assert_eq!(event.name, "rows");
        table.apply(&event.data);
        id = event.id;
    }
    drop(events);
    world.commit(&[("a", 0, Some(2))]).await;
    let mut events =
        Events::open(&world, "/sse/likes?where=count%20%3E%200&from=snapshot", id.as_deref()).await;
    let want = Table::of(&[("a", 0, 2)]);
    while table != want {
        let event = events.next().await;
        assert_eq!(event.name, "rows", "resumed without a snapshot");
        table.apply(&event.data);
    }
}

#[tokio::test]
async fn several_channels_share_one_connection_and_one_id() {
    let mut world = World::start().await;
    let mut events = Events::open(&world, "/sse?channel=likes&channel=clicks", None).await;
    let (one, two) = (events.next().await, events.next().await);
    assert_eq!((&one.data["channel"], &two.data["channel"]), (&json!("likes"), &json!("clicks")));
    assert_eq!(two.id.as_ref().map(|id| id.split('.').count()), Some(2));
    world.click(&[(None, Some(r#"{"video":"a"}"#))]).await;
    let rows = events.next().await;
    assert_eq!((&rows.data["channel"], &rows.data["rows"][0]["video"]), (&json!("clicks"), &json!("a")));
    drop(events);
    world.click(&[(None, Some(r#"{"video":"b"}"#))]).await;
    let mut events = Events::open(&world, "/sse?channel=likes&channel=clicks", rows.id.as_deref()).await;
    assert_eq!(events.next().await.data["rows"][0]["video"], "b");
}

#[tokio::test]
async fn mistakes_are_told_with_a_status_and_the_end_is_no_content() {
    let world = World::start().await;
    for (path, status, code) in [
        ("/sse/nope", 404, "unknown_channel"),
        ("/sse/likes?where=nope%20%3D%201", 400, "bad_filter"),
        ("/sse/likes?from=yesterday!", 400, "bad_position"),
        ("/sse/likes?whre=x", 400, "bad_request"),
        ("/sse", 400, "bad_request"),
    ] {
        let events = Events::open(&world, path, None).await;
        assert_eq!(events.status, status, "{path}");
        let answer: Json = serde_json::from_str(&events.rest().await).unwrap();
        assert_eq!(answer["error"]["code"], code, "{path}");
    }
    let events = Events::open(&world, "/sse/likes", Some("end")).await;
    assert_eq!(events.status, 204);
}

#[tokio::test]
async fn a_drain_says_bye_with_a_time_to_come_back() {
    let world = World::start().await;
    let mut events = Events::open(&world, "/sse/likes", None).await;
    events.next().await;
    world.hub.drain();
    let bye = events.next().await;
    assert_eq!((bye.name.as_str(), &bye.data["code"]), ("bye", &json!("draining")));
    assert_eq!(bye.retry, bye.data["reconnect_after_ms"].as_u64());
    assert_eq!(events.rest().await, "");
}

/// What an `EventSource` does after a refusal, by the HTML standard: it comes back after 200 with its own type, after nothing else.
async fn comes_back(world: &World, path: &str) -> Event {
    let mut events = Events::with(world, path, "Accept: text/event-stream\r\n").await;
    assert_eq!(events.status, 200, "{path}");
    let event = events.next().await;
    assert_eq!(event.id, None, "the browser keeps the position that it has");
    assert!(event.retry.is_some_and(|ms| ms > 0), "{path}: {event:?}");
    assert_eq!(events.rest().await, "");
    event
}

#[tokio::test]
async fn a_browser_comes_back_by_itself_after_what_may_pass_and_others_read_the_status() {
    let limits = Limits { unindexed_filters_max: 1, ..Limits::default() };
    let no_topic = |channels: &mut Vec<ChannelSpec>| {
        channels[0].source = Source::View { topic: "app.missing".into() };
    };
    let world = World::with(limits, no_topic).await;
    // Nothing else goes on, so time jumps to the end of the wait.
    tokio::time::pause();
    let event = comes_back(&world, "/sse/likes").await;
    assert_eq!((event.name.as_str(), &event.data["error"]["code"]), ("fault", &json!("not_ready")));
    assert_eq!(Events::open(&world, "/sse/likes", None).await.status, 503);
    tokio::time::resume();
    let _first = Events::open(&world, "/sse/clicks?where=video%20%3E%20%27a%27", None).await;
    let full = "/sse/clicks?where=video%20%3E%20%27b%27";
    let event = comes_back(&world, full).await;
    assert_eq!((event.name.as_str(), &event.data["error"]["code"]), ("fault", &json!("too_many_filters")));
    assert!(event.retry > Some(30_000), "other clients must leave first");
    assert_eq!(Events::open(&world, full, None).await.status, 429);
    let mistake = Events::with(&world, "/sse/likes?from=yesterday!", "accept: text/event-stream\r\n").await;
    assert_eq!(mistake.status, 400, "coming back cannot mend it");
    world.hub.drain();
    let event = comes_back(&world, "/sse/likes").await;
    assert_eq!((event.name.as_str(), &event.data["code"]), ("bye", &json!("draining")));
    let curl = Events::with(&world, "/sse/likes", "accept: */*\r\n").await;
    assert_eq!(curl.status, 503);
}
