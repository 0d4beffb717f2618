//! Packets of Socket.IO: namespaces, events, acks and attachments, said to the echo.

use windrow::config::Limits;

use super::client::{Echo, Poller, Socket};

/// A client of the echo in namespace `/`.
async fn join(echo: &Echo, version: u8) -> Socket {
    let mut socket = Socket::join(echo.address, version).await;
    assert_eq!(socket.hear().await, "42[\"auth\",{}]");
    socket
}

#[tokio::test]
async fn a_namespace_lets_in_whom_it_knows() {
    let echo = Echo::start().await;
    for (connect, answer, then) in [
        ("40", "40{\"sid\":\"", "42[\"auth\",{}]"),
        ("40{\"token\":\"1\"}", "40{\"sid\":\"", "42[\"auth\",{\"token\":\"1\"}]"),
        ("40/custom,", "40/custom,{\"sid\":\"", "42/custom,[\"auth\",{}]"),
        ("40/custom,{\"a\":1}", "40/custom,{\"sid\":\"", "42/custom,[\"auth\",{\"a\":1}]"),
        ("40/random", "44/random,{\"message\":\"Invalid namespace\"}", ""),
        ("40/custom,{\"refuse\":\"no\"}", "44/custom,{\"message\":\"no\"}", ""),
    ] {
        let mut socket = Socket::open(echo.address, 4).await;
        socket.say(connect).await;
        let heard = socket.hear().await;
        assert!(heard.starts_with(answer), "{heard}");
        if !then.is_empty() {
            assert_eq!(socket.hear().await, then);
        }
    }
    // Version 3 is in `/` by itself, and its namespaces have no sid.
    let mut socket = Socket::open(echo.address, 3).await;
    for want in ["40", "42[\"auth\",{}]"] {
        assert_eq!(socket.hear().await, want);
    }
    socket.say("40/custom?refuse=not%20now,").await;
    assert_eq!(socket.hear().await, "44/custom,\"not now\"");
    socket.say("40/custom?token=a%26b&x=1").await;
    for want in ["40/custom,", "42/custom,[\"auth\",{\"token\":\"a&b\",\"x\":\"1\"}]"] {
        assert_eq!(socket.hear().await, want);
    }
    socket.say("40/random").await;
    assert_eq!(socket.hear().await, "44/random,\"Invalid namespace\"");
    let poller = Poller::open(echo.address, 3).await;
    assert_eq!(poller.hear().await, ["40", "42[\"auth\",{}]"]);
}

#[tokio::test]
async fn events_and_acks_go_both_ways_with_and_without_bytes() {
    let echo = Echo::start().await;
    for version in [4, 3] {
        let bytes = |b: &[u8]| match version {
            3 => [&[4], b].concat(),
            _ => b.to_vec(),
        };
        let shown = |b: &[u8]| format!("bytes {:?}", bytes(b));
        let mut socket = join(&echo, version).await;
        for (said, heard) in [
            ("42[\"message\",1,\"2\",{\"3\":[true]}]", "42[\"message-back\",1,\"2\",{\"3\":[true]}]"),
            ("42[\"message\"]", "42[\"message-back\"]"),
            ("42456[\"message-with-ack\",1,{\"3\":[false]}]", "43456[1,{\"3\":[false]}]"),
            ("420[\"message-with-ack\"]", "430[]"),
            ("42[\"message-for-ack\",[1]]", "420[\"please-ack\",[1]]"),
            ("430[[2],3]", "42[\"acked\",[2],3]"),
            ("42[\"message-for-ack\"]", "421[\"please-ack\"]"),
            ("431[]", "42[\"acked\"]"),
            ("450-[\"message\",1]", "42[\"message-back\",1]"),
        ] {
            socket.say(said).await;
            assert_eq!(socket.hear().await, heard);
        }
        let two = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}";
        for (said, heard) in [
            (format!("452-[\"message\",{two}]"), format!("452-[\"message-back\",{two}]")),
            (format!("452-789[\"message-with-ack\",{two}]"), format!("462-789[{two}]")),
            (format!("452-[\"message-for-ack\",{two}]"), format!("452-2[\"please-ack\",{two}]")),
            (format!("462-2[{two}]"), format!("452-[\"acked\",{two}]")),
        ] {
            socket.say(&said).await;
            socket.say_bytes(&bytes(&[1, 2, 3])).await;
            socket.say_bytes(&bytes(&[])).await;
            assert_eq!(socket.hear().await, heard);
            assert_eq!(socket.hear().await, shown(&[1, 2, 3]));
            assert_eq!(socket.hear().await, shown(&[]));
        }
    }
}

#[tokio::test]
async fn bytes_go_through_polls_as_well() {
    let echo = Echo::start().await;
    for (version, mark) in [(4, "b"), (3, "b4")] {
        let poller = Poller::open(echo.address, version).await;
        if version == 4 {
            poller.say(&["40"]).await;
        }
        assert_eq!(poller.hear().await.len(), 2);
        let one = "{\"_placeholder\":true,\"num\":0}";
        let (bytes, said) = (format!("{mark}AQID"), format!("451-7[\"message-with-ack\",{one}]"));
        poller.say(&[&said, &bytes]).await;
        let answer = poller.get_with("&b64=1").await;
        let heard = super::client::packets(version, answer.text());
        assert_eq!(heard, [format!("461-7[{one}]"), bytes.clone()]);
        // In two bodies it is the same.
        poller.say(&[&said]).await;
        poller.say(&[&bytes]).await;
        let answer = poller.get_with("&b64=1").await;
        assert_eq!(super::client::packets(version, answer.text()), heard);
    }
}

#[tokio::test]
async fn leaving_a_namespace_leaves_the_others() {
    let echo = Echo::start().await;
    let mut socket = join(&echo, 4).await;
    socket.say("40/custom").await;
    assert!(socket.hear().await.starts_with("40/custom,"));
    assert_eq!(socket.hear().await, "42/custom,[\"auth\",{}]");
    socket.say("41/custom").await;
    socket.say("42/custom,[\"message\",\"late\"]").await;
    socket.say("42[\"message\",\"here\"]").await;
    assert_eq!(socket.hear().await, "42[\"message-back\",\"here\"]");
    socket.say("41").await;
    assert_eq!(socket.hear().await, "close 4003", "in no namespace for too long");
}

#[tokio::test]
async fn the_server_may_put_a_client_out_or_hang_up() {
    let echo = Echo::start().await;
    let mut socket = join(&echo, 4).await;
    socket.say("40/custom").await;
    for _ in 0..2 {
        socket.hear().await;
    }
    socket.say("42/custom,[\"leave\"]").await;
    assert_eq!(socket.hear().await, "41/custom,");
    socket.say("42[\"message\",1]").await;
    assert_eq!(socket.hear().await, "42[\"message-back\",1]");
    socket.say("42[\"hang-up\"]").await;
    assert_eq!(socket.hear().await, "close 4002", "a code that says: come back");
    let poller = Poller::open(echo.address, 3).await;
    assert_eq!(poller.hear().await.len(), 2);
    poller.say(&["42[\"hang-up\"]"]).await;
    let last = poller.get().await;
    assert!(last.text() == "1:6" || last.status == 400, "no close packet: {}", last.text());
    echo.sessions(0).await;
}

#[tokio::test]
async fn a_client_that_never_connects_to_a_namespace_is_let_go() {
    let echo = Echo::start().await;
    let mut socket = Socket::open(echo.address, 4).await;
    assert_eq!(socket.hear().await, "close 4003");
    let poller = Poller::open(echo.address, 4).await;
    assert_eq!(poller.hear().await, ["6"], "the poll that waits ends, and the next one finds nothing");
    assert_eq!(poller.get().await.status, 400);
    echo.sessions(0).await;
}

#[tokio::test]
async fn what_is_no_packet_ends_the_connection() {
    let echo = Echo::start().await;
    for said in [
        "4abc",
        "42{}",
        "42abc[\"message\",1]",
        "42[\"message\",1",
        "43[1]",
        "44{}",
        "47",
        "41x",
        "451-[\"message\"]x",
        "4517-[\"message\"]",
        "451000000-[\"message\",{\"_placeholder\":true,\"num\":0}]",
        "45-[\"message\"]",
    ] {
        let mut socket = join(&echo, 4).await;
        socket.say(said).await;
        assert_eq!(socket.hear().await, "close 4500", "{said}");
    }
    let mut early = Socket::open(echo.address, 4).await;
    early.say("42[\"message\",1]").await;
    assert_eq!(early.hear().await, "close 4500", "before any namespace");
    let mut stray = join(&echo, 4).await;
    stray.say_bytes(&[1]).await;
    assert_eq!(stray.hear().await, "close 4500", "bytes that nothing announced");
    let mut mixed = join(&echo, 4).await;
    mixed.say("451-[\"message\",{\"_placeholder\":true,\"num\":0}]").await;
    mixed.say("42[\"message\",1]").await;
    assert_eq!(mixed.hear().await, "close 4500", "text where bytes were announced");
}

#[tokio::test]
async fn attachments_are_bounded_in_bytes_and_time() {
    let echo = Echo::with(Limits::default(), |config| config.max_payload_bytes = 2_000).await;
    let mut fat = join(&echo, 4).await;
    fat.say("452-[\"message\"]").await;
    fat.say_bytes(&[0; 1_500]).await;
    fat.say_bytes(&[0; 1_500]).await;
    assert_eq!(fat.hear().await, "close 4500");
    let mut slow = join(&echo, 4).await;
    slow.say("452-[\"message\"]").await;
    slow.say_bytes(&[0; 3]).await;
    // A packet of its own shows that all of it was heard.
    slow.say("").await;
    assert_eq!(slow.hear().await, "close 4500");
    let mut never = join(&echo, 4).await;
    never.say("452-[\"message\"]").await;
    assert_eq!(never.hear_late().await, "close 4003");
}
