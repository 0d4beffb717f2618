//! Abuse: a thousand of each, and nobody else notices.

use serde_json::json;
use windrow::config::Limits;

use super::client::{Echo, Poller, Socket, eventually, ms, request};
use crate::world::{Table, World};

/// Another client of the same listener is served as if nothing was.
async fn is_served(echo: &Echo) {
    let mut socket = Socket::join(echo.address, 4).await;
    assert_eq!(socket.hear().await, "42[\"auth\",{}]");
    socket.say("427[\"message-with-ack\",1]").await;
    assert_eq!(socket.hear().await, "437[1]");
}

#[tokio::test]
async fn a_thousand_half_open_handshakes_leave_nothing_behind() {
    let echo = Echo::with(Limits::default(), |config| {
        (config.ping_interval, config.ping_timeout) = (ms(1_000), ms(1_000));
    })
    .await;
    for _ in 0..10 {
        let opened = (0..100).map(|_| Poller::open_at(echo.address, 4, "/engine.io/"));
        futures_util::future::join_all(opened).await;
    }
    is_served(&echo).await;
    echo.sessions(0).await;
}

#[tokio::test]
async fn past_the_bound_a_handshake_is_refused_and_sockets_are_not() {
    let limits = Limits { sessions_max: 10, ..Limits::default() };
    let world = World::with(limits, |_| {}).await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(Poller::open(world.address(), 4).await);
    }
    let answer = request(world.address(), "GET", "/socket.io/?EIO=4&transport=polling", "", b"").await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("overloaded")));
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    let refused = world.stats.counter(("listener", "main".into(), None), "refused", "sessions_max");
    assert_eq!(refused.get(), 1);
    Socket::join(world.address(), 4).await;
    sessions[0].say(&["1"]).await;
    let sessions_now = world.stats.gauge(("listener", "main".into(), None), "sessions");
    eventually(|| sessions_now.get() == 9).await;
    Poller::open(world.address(), 4).await;
}

#[tokio::test]
async fn a_thousand_polls_that_never_return_are_given_up() {
    let echo = Echo::with(Limits::default(), |config| {
        (config.ping_interval, config.ping_timeout) = (ms(1_000), ms(1_000));
    })
    .await;
    let polls = (0..1_000).map(|_| async {
        let poller = Poller::open_at(echo.address, 3, "/engine.io/").await;
        // It is never pinged, so its poll waits to the end of the session.
        poller.get().await.status
    });
    let served = is_served(&echo);
    let (ended, ()) = tokio::join!(futures_util::future::join_all(polls), served);
    assert!(ended.iter().all(|status| *status == 400), "the session is over");
    echo.sessions(0).await;
}

#[tokio::test]
async fn a_thousand_upgrades_that_are_given_up_leave_their_sessions_polling() {
    let echo = Echo::start().await;
    let upgrades = (0..200).map(|n| {
        let echo = &echo;
        async move {
            let poller = Poller::open_at(echo.address, 4, "/engine.io/").await;
            for _ in 0..5 {
                let mut socket = Socket::beside(&poller).await;
                if n % 2 == 0 {
                    socket.say("2probe").await;
                    socket.hear().await;
                }
            }
            poller.say(&["4a"]).await;
            while poller.hear().await == ["6"] {}
            poller.say(&["1"]).await;
        }
    });
    futures_util::future::join_all(upgrades).await;
    is_served(&echo).await;
    echo.sessions(0).await;
}

#[tokio::test]
async fn who_says_much_and_does_not_poll_is_heard_only_so_far() {
    let echo = Echo::start().await;
    let poller = Poller::open_at(echo.address, 4, "/engine.io/").await;
    let heard = echo.stats.counter(("listener", "echo".into(), None), "messages_in", "");
    let large = format!("4{}", "x".repeat(9_000));
    let posted = tokio::spawn({
        let (poller, large) = (poller.clone(), large.clone());
        async move { poller.post(&vec![large.as_str(); 100]).await.status }
    });
    eventually(|| heard.get() >= 20).await;
    is_served(&echo).await;
    assert!(heard.get() < 50, "{} answers wait, though nobody takes them", heard.get());
    assert!(!posted.is_finished(), "its body waits with it");
    let mut back = 0;
    while back < 100 {
        let polled = poller.hear().await;
        assert!(polled.iter().all(|packet| *packet == large));
        back += polled.len();
    }
    assert_eq!(posted.await.unwrap(), 200);
}

#[tokio::test]
async fn headers_that_announce_a_million_attachments_cost_nobody_anything() {
    let mut world = World::start().await;
    let mut calm = world.client().await;
    calm.ask(json!({"subscribe": "likes", "as": 1})).await;
    for announced in ["16", "17", "1000000", "99999999999999999999"] {
        let mut socket = Socket::join(world.address(), 4).await;
        socket.say(&format!("45{announced}-[\"subscribe\",{{\"_placeholder\":true,\"num\":0}}]")).await;
        if announced == "16" {
            // As many as may be; the general API takes none, but says so only when they are there.
            for _ in 0..16 {
                socket.say_bytes(&[1]).await;
            }
            assert!(socket.hear().await.starts_with("42[\"fault\",{\"error\":{\"code\":\"bad_message\""));
        } else {
            assert_eq!(socket.hear().await, "close 4500");
        }
    }
    world.commit(&[("a", 0, Some(1))]).await;
    calm.hear_until(&mut Table::default(), &Table::of(&[("a", 0, 1)])).await;
}
