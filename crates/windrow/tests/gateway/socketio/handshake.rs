//! Handshakes: what is offered, and how a wrong one is refused.

use serde_json::{Value as Json, json};
use windrow::config::Limits;

use super::client::{Echo, Poller, Socket, packets, request};
use crate::world::World;

#[tokio::test]
async fn a_wrong_request_is_answered_with_status_and_code() {
    let world = World::start().await;
    let poller = Poller::open(world.address(), 4).await;
    let mut upgraded = Socket::open(world.address(), 4).await;
    let known = format!("EIO=4&transport=polling&sid={}", poller.sid);
    for (method, query, code, message) in [
        ("GET", "EIO=4", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=abc", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=polling&sid=zzz", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling&sid=zzz", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("PUT", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("OPTIONS", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("PUT", &known, 3, "Bad request"),
        ("GET", "EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", "EIO=5&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "EIO=abc&transport=polling", 5, "Unsupported protocol version"),
    ] {
        let answer = request(world.address(), method, &format!("/socket.io/?{query}"), "", b"").await;
        assert_eq!(answer.status, 400, "{method} {query}");
        assert_eq!(answer.json(), json!({"code": code, "message": message}), "{method} {query}");
    }
    // None of them harmed anybody.
    upgraded.say("40").await;
    assert!(upgraded.hear().await.starts_with("40{\"sid\":\""));
    poller.say(&["40"]).await;
}

#[tokio::test]
async fn the_open_packet_says_what_is_offered() {
    let world = World::listening(Limits::default(), |listener| {
        listener.socketio.cookie = Some("io".to_owned());
        listener.socketio.max_payload_bytes = 5_000;
    })
    .await;
    let mut sids = Vec::new();
    for (query, version) in [("EIO=4&", 4), ("EIO=3&", 3), ("", 3)] {
        let path = format!("/socket.io/?{query}transport=polling&t=abc");
        let answer = request(world.address(), "GET", &path, "", b"").await;
        let packets = packets(version, answer.text());
        let open: Json = serde_json::from_str(packets[0].strip_prefix('0').unwrap()).unwrap();
        let sid = open["sid"].as_str().unwrap();
        let cookie = format!("set-cookie: io={}; path=/; httponly; samesite=lax", sid.to_lowercase());
        assert!(answer.head.contains(&cookie), "{}", answer.head);
        assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
        assert!(!sids.contains(&sid.to_owned()));
        sids.push(sid.to_owned());
        let want = json!({
            "sid": sid, "upgrades": ["websocket"], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 5_000,
        });
        assert_eq!((packets.len(), open), (1, want), "{query}");
    }
    let mut socket = Socket::connect(world.address(), "/socket.io/?EIO=4&transport=websocket").await;
    let open: Json = serde_json::from_str(socket.hear().await.strip_prefix('0').unwrap()).unwrap();
    assert_eq!((&open["upgrades"], &open["maxPayload"]), (&json!([]), &json!(5_000)));
}

#[tokio::test]
async fn a_listener_offers_only_what_it_is_configured_for() {
    let four = World::listening(Limits::default(), |listener| {
        listener.socketio.versions = vec![4];
        listener.socketio.websocket = false;
        listener.socketio.path = "/live/".to_owned();
    })
    .await;
    let code = async |path: &str| request(four.address(), "GET", path, "", b"").await;
    assert_eq!(code("/live/?EIO=3&transport=polling").await.json()["code"], 5);
    assert_eq!(code("/live/?transport=polling").await.json()["code"], 5, "no version means 3");
    assert_eq!(code("/live/?EIO=4&transport=websocket").await.json()["code"], 0);
    assert_eq!(code("/socket.io/?EIO=4&transport=polling").await.status, 404);
    let open = code("/live?EIO=4&transport=polling").await;
    assert!(open.text().contains("\"upgrades\":[]"), "{}", open.text());
    let sockets = World::listening(Limits::default(), |listener| listener.socketio.polling = false).await;
    let answer = request(sockets.address(), "GET", "/socket.io/?EIO=4&transport=polling", "", b"").await;
    assert_eq!(answer.json()["code"], 0);
    Socket::join(sockets.address(), 4).await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_poll_with_credentials_and_others_may_not() {
    let world = World::listening(Limits::default(), |listener| {
        listener.origins = vec!["https://app.example.org".to_owned()];
    })
    .await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let origin = "origin: https://app.example.org\r\n";
    let preflight = format!("{origin}access-control-request-method: POST\r\n");
    let credentials = "access-control-allow-credentials: true";
    for (method, headers, status) in [("GET", origin, 200), ("OPTIONS", &preflight, 204)] {
        let answer = request(world.address(), method, path, headers, b"").await;
        assert_eq!(answer.status, status);
        assert!(
            answer.head.contains("access-control-allow-origin: https://app.example.org"),
            "{}",
            answer.head
        );
        assert!(answer.head.contains(credentials), "{}", answer.head);
    }
    let wrong = request(world.address(), "GET", &format!("{path}&sid=x"), origin, b"").await;
    assert!(wrong.status == 400 && wrong.head.contains(credentials), "a page reads its refusal, too");
    for method in ["GET", "POST", "OPTIONS"] {
        let answer = request(world.address(), method, path, "origin: https://evil.example\r\n", b"").await;
        assert_eq!(answer.status, 403, "{method}");
    }
    let socket = format!("{path}\r\n", path = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1");
    let socket = format!(
        "{socket}host: {}\r\norigin: https://evil.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        world.address()
    );
    let mut half = tokio::net::TcpStream::connect(world.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, socket.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut half, &mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 403");
}

#[tokio::test]
async fn the_echo_takes_no_handshake_without_a_version() {
    let echo = Echo::start().await;
    for path in ["/socket.io/", "/engine.io/"] {
        for query in ["transport=polling", "EIO=abc&transport=polling"] {
            let answer = request(echo.address, "GET", &format!("{path}?{query}"), "", b"").await;
            assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(5)), "{path}?{query}");
        }
    }
}
