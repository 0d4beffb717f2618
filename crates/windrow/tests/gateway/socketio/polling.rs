//! Polling: bodies, heartbeats, and every way to hold it wrong.

use std::time::Instant;

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use windrow::config::Limits;

use super::client::{Echo, Poller, Socket, eventually, ms, packets, payload, request};
use crate::world::PATIENCE;

async fn engine(echo: &Echo, version: u8) -> Poller {
    Poller::open_at(echo.address, version, "/engine.io/").await
}

async fn is_over(poller: &Poller) {
    let answer = poller.get().await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(1)));
}

#[tokio::test]
async fn packets_come_back_in_the_body_that_their_version_writes() {
    let echo = Echo::start().await;
    for (version, body, back) in [
        (4, "4hello", "4hello"),
        (4, "4a\u{1e}4b\u{1e}4c", "4a\u{1e}4b\u{1e}4c"),
        (4, "4é\u{1f600}\u{1e}bAQIDBA==", "4é\u{1f600}\u{1e}bAQIDBA=="),
        (4, "6\u{1e}4a", "4a"),
        (3, "6:4hello", "6:4hello"),
        (3, "2:4a2:4b2:4c", "2:4a2:4b2:4c"),
        (3, "4:4é\u{1f600}", "4:4é\u{1f600}"),
    ] {
        let poller = engine(&echo, version).await;
        let posted = poller.post_bytes(body.as_bytes()).await;
        assert_eq!((posted.status, posted.text()), (200, "ok"), "{body}");
        let polled = poller.get().await;
        assert_eq!((polled.status, polled.text()), (200, back));
    }
}

#[tokio::test]
async fn a_client_of_version_3_gets_bytes_as_it_takes_them() {
    let echo = Echo::start().await;
    let poller = engine(&echo, 3).await;
    for query in ["", "&b64=1", "&j=2"] {
        let posted = poller.post_bytes(b"\x00\x03\xff4hi\x01\x03\xff\x04\x01\x02").await;
        assert_eq!(posted.status, 200);
        let polled = poller.get_with(query).await;
        let (kind, body): (_, &[u8]) = match query {
            "" => ("application/octet-stream", b"\x00\x03\xff4hi\x01\x03\xff\x04\x01\x02"),
            "&b64=1" => ("text/plain; charset=utf-8", b"3:4hi6:b4AQI="),
            _ => ("text/javascript; charset=utf-8", b"___eio[2](\"3:4hi6:b4AQI=\");"),
        };
        assert!(polled.head.contains(kind), "{}", polled.head);
        assert_eq!(polled.body, body, "{query}");
    }
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let path = format!("/engine.io/?EIO=3&transport=polling&j=0&sid={}", poller.sid);
    let posted = request(echo.address, "POST", &path, form, b"d=4%3A4a%2Bb").await;
    assert_eq!((posted.status, posted.text()), (200, "ok"));
    assert_eq!(poller.hear().await, ["4a+b"]);
}

#[tokio::test]
async fn what_is_no_payload_ends_the_session() {
    let echo = Echo::start().await;
    for (version, body) in [
        (4, "abc"),
        (4, ""),
        (4, "4a\u{1e}"),
        (4, "2"),
        (4, "5"),
        (4, "0{}"),
        (4, "b???"),
        (3, "abc"),
        (3, "9:4a"),
        (3, "1:3"),
        (3, "\x01\x01\u{ff}"),
    ] {
        let poller = engine(&echo, version).await;
        let posted = poller.post_bytes(body.as_bytes()).await;
        assert_eq!(posted.status, 400, "{version} {body:?}");
        let polled = poller.get().await;
        if polled.status == 200 {
            assert_eq!(polled.text(), payload(version, &["1"]), "the end, if it was asked in time");
            is_over(&poller).await;
        }
    }
    echo.sessions(0).await;
}

#[tokio::test]
async fn a_second_poll_ends_the_session_and_the_first_one() {
    let echo = Echo::start().await;
    for version in [3, 4] {
        let poller = engine(&echo, version).await;
        let first = tokio::spawn({
            let poller = poller.clone();
            async move { poller.get().await }
        });
        // Whoever comes second is refused; which one that is, the network decides.
        let second = poller.get().await;
        let first = first.await.unwrap();
        let (good, bad) = if first.status == 200 { (first, second) } else { (second, first) };
        assert_eq!((good.status, packets(version, good.text())), (200, vec!["1".to_owned()]));
        assert_eq!((bad.status, &bad.json()["code"]), (400, &json!(3)));
        is_over(&poller).await;
    }
}

#[tokio::test]
async fn a_second_body_while_one_comes_ends_the_session() {
    let echo = Echo::start().await;
    let poller = engine(&echo, 4).await;
    let mut slow = tokio::net::TcpStream::connect(echo.address).await.unwrap();
    let head = format!(
        "POST /engine.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: {}\r\ncontent-length: 10\r\n\r\n4a",
        poller.sid, echo.address
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Until the first has its place.
    while poller.post(&["4b"]).await.status == 200 {}
    assert_eq!(poller.hear().await.last().map(String::as_str), Some("1"));
    is_over(&poller).await;
}

#[tokio::test]
async fn a_body_past_the_bound_is_413_and_ends_the_session() {
    let echo = Echo::with(Limits::default(), |config| config.max_payload_bytes = 2_000).await;
    let poller = engine(&echo, 4).await;
    let whole = format!("4{}", "x".repeat(1_999));
    poller.say(&[&whole]).await;
    assert_eq!(poller.hear().await, [whole.as_str()]);
    assert_eq!(poller.post(&[&"4".repeat(2_001)]).await.status, 413);
    assert_eq!(poller.hear().await, ["1"]);
    is_over(&poller).await;
    // A length that is a lie costs nothing: nobody waits for all of it.
    let poller = engine(&echo, 4).await;
    let mut liar = tokio::net::TcpStream::connect(echo.address).await.unwrap();
    let head = format!(
        "POST /engine.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: {}\r\ncontent-length: 99999999999\r\n\r\n",
        poller.sid, echo.address
    );
    liar.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let chunk = [b'4'; 1_000];
    for _ in 0..4 {
        let _ = liar.write_all(&chunk).await;
    }
    let mut byte = [0; 12];
    if liar.read_exact(&mut byte).await.is_ok() {
        answer.extend(byte);
    }
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn the_server_pings_version_4_and_ends_who_does_not_answer() {
    let echo = Echo::with(Limits::default(), |config| {
        (config.ping_interval, config.ping_timeout) = (ms(300), ms(200));
    })
    .await;
    let poller = engine(&echo, 4).await;
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(poller.hear().await, ["2"]);
        assert!(asked.elapsed() > ms(150), "not before its time");
        poller.say(&["3"]).await;
    }
    assert_eq!(poller.hear().await, ["2"]);
    echo.sessions(0).await;
    is_over(&poller).await;
    // The same on a socket: it is closed with a code.
    let mut socket = Socket::connect(echo.address, "/engine.io/?EIO=4&transport=websocket").await;
    assert!(socket.hear().await.starts_with('0'));
    for _ in 0..3 {
        assert_eq!(next_text(&mut socket).await, "2");
        socket.say("3").await;
    }
    assert_eq!(silent_end(&mut socket).await, 4003);
}

#[tokio::test]
async fn the_client_pings_in_version_3_and_ends_when_it_stops() {
    let echo = Echo::with(Limits::default(), |config| {
        (config.ping_interval, config.ping_timeout) = (ms(300), ms(200));
    })
    .await;
    let poller = engine(&echo, 3).await;
    for _ in 0..3 {
        poller.say(&["2"]).await;
        assert_eq!(poller.hear().await, ["3"]);
    }
    echo.sessions(0).await;
    is_over(&poller).await;
    let mut socket = Socket::connect(echo.address, "/engine.io/?EIO=3&transport=websocket").await;
    assert!(socket.hear().await.starts_with('0'));
    for data in ["", "probe"] {
        socket.say(&format!("2{data}")).await;
        assert_eq!(socket.hear().await, format!("3{data}"));
    }
    assert_eq!(silent_end(&mut socket).await, 4003);
}

async fn next_text(socket: &mut Socket) -> String {
    let next = tokio::time::timeout(PATIENCE, socket.socket.next()).await.expect("a message in time");
    next.unwrap().unwrap().into_text().unwrap().to_string()
}

/// Waits for the end without a word, and returns its code.
async fn silent_end(socket: &mut Socket) -> u16 {
    loop {
        match socket.socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(Message::Text(text))) => assert_eq!(text.as_str(), "2"),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_says_close_is_gone_and_its_poll_ends_with_nothing() {
    let echo = Echo::start().await;
    for version in [3, 4] {
        let poller = engine(&echo, version).await;
        let poll = tokio::spawn({
            let poller = poller.clone();
            async move { poller.get().await }
        });
        let waits = echo.stats.counter(("listener", "echo".into(), None), "messages_in", "");
        // An echo shows that the session is up; the poll that brings it is the one that waits.
        let before = waits.get();
        poller.say(&["4a"]).await;
        eventually(|| waits.get() > before).await;
        let first = poll.await.unwrap();
        assert_eq!(packets(version, first.text()), ["4a"]);
        let poll = tokio::spawn({
            let poller = poller.clone();
            async move { poller.get().await }
        });
        // Whichever comes first, the poll never hangs.
        poller.say(&["1"]).await;
        let last = poll.await.unwrap();
        match last.status {
            200 => assert_eq!(packets(version, last.text()), ["6"]),
            status => assert_eq!(status, 400, "it came after the end"),
        }
        is_over(&poller).await;
    }
    let mut socket = Socket::connect(echo.address, "/engine.io/?EIO=4&transport=websocket").await;
    assert!(socket.hear().await.starts_with('0'));
    socket.say("1").await;
    assert_eq!(socket.end().await, "close 1000");
}

#[tokio::test]
async fn a_client_that_gives_up_a_poll_ends_its_session() {
    let echo = Echo::start().await;
    let poller = engine(&echo, 4).await;
    let mut gone = tokio::net::TcpStream::connect(echo.address).await.unwrap();
    let head = format!(
        "GET /engine.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: {}\r\n\r\n",
        poller.sid, echo.address
    );
    gone.write_all(head.as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    let answered = tokio::time::timeout(ms(200), gone.read_exact(&mut byte)).await;
    assert!(answered.is_err(), "it waits");
    drop(gone);
    // Of what was on its way nobody knows whether it came.
    echo.sessions(0).await;
    is_over(&poller).await;
}

#[tokio::test]
async fn a_socket_that_says_what_is_no_packet_is_closed_with_a_code() {
    let echo = Echo::with(Limits::default(), |config| config.max_payload_bytes = 2_000).await;
    for (text, code) in [("abc", 4500), ("2", 4500), ("5", 4500), ("b???", 4500), (&"4".repeat(2_001), 4503)]
    {
        let mut socket = Socket::connect(echo.address, "/engine.io/?EIO=4&transport=websocket").await;
        assert!(socket.hear().await.starts_with('0'));
        socket.say(text).await;
        assert_eq!(socket.end().await, format!("close {code}"), "{text:.5}");
    }
    let mut socket = Socket::connect(echo.address, "/engine.io/?EIO=3&transport=websocket").await;
    assert!(socket.hear().await.starts_with('0'));
    socket.say_bytes(&[4, 1, 2]).await;
    assert_eq!(socket.hear().await, "bytes [4, 1, 2]");
    socket.say_bytes(&[2, 1, 2]).await;
    assert_eq!(socket.end().await, "close 4500");
}
