//! Upgrades: from polling to a WebSocket, with nothing lost, and all the ways not to.

use windrow::config::Limits;

use super::client::{Echo, Poller, Socket};

async fn engine(echo: &Echo, version: u8) -> Poller {
    Poller::open_at(echo.address, version, "/engine.io/").await
}

async fn probe(poller: &Poller) -> Socket {
    let mut socket = Socket::beside(poller).await;
    socket.say("2probe").await;
    assert_eq!(socket.hear().await, "3probe");
    socket
}

/// Small and repeatable.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[tokio::test]
async fn what_waits_goes_along_in_order_and_nothing_is_said_twice() {
    let echo = Echo::start().await;
    let seed = std::env::var("WINDROW_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7_u64);
    println!("seed {seed}; again with WINDROW_SEED={seed}");
    let mut dice = Dice(seed);
    for round in 0..40 {
        let version = if round % 2 == 0 { 4 } else { 3 };
        let poller = engine(&echo, version).await;
        let (mut said, mut heard) = (0, Vec::new());
        let mut say = async |count: u64| {
            for _ in 0..count {
                poller.say(&[&format!("4{said}")]).await;
                said += 1;
            }
        };
        say(dice.below(4)).await;
        let mut socket = Socket::beside(&poller).await;
        say(dice.below(4)).await;
        socket.say("2probe").await;
        if dice.below(2) == 0 {
            assert_eq!(socket.hear().await, "3probe");
            say(dice.below(3)).await;
            if dice.below(2) == 0 {
                // The last poll ends with what is there, or with nothing.
                let last = poller.hear().await;
                heard.extend(last.into_iter().filter(|packet| packet != "6"));
            }
        } else {
            assert_eq!(socket.hear().await, "3probe");
        }
        say(dice.below(3)).await;
        socket.say("5").await;
        for _ in 0..dice.below(3) {
            socket.say(&format!("4{said}")).await;
            said += 1;
        }
        socket.say("4end").await;
        loop {
            match socket.hear().await {
                end if end == "4end" => break,
                packet => heard.push(packet),
            }
        }
        let want: Vec<String> = (0..said).map(|n| format!("4{n}")).collect();
        assert_eq!(heard, want, "round {round} of seed {seed}");
    }
}

#[tokio::test]
async fn a_poll_that_waits_ends_when_the_socket_is_ready() {
    let echo = Echo::start().await;
    for version in [3, 4] {
        let poller = engine(&echo, version).await;
        let poll = tokio::spawn({
            let poller = poller.clone();
            async move { poller.hear().await }
        });
        let mut socket = probe(&poller).await;
        assert_eq!(poll.await.unwrap(), ["6"]);
        socket.say("5").await;
        socket.say("4hello").await;
        assert_eq!(socket.hear().await, "4hello");
    }
}

#[tokio::test]
async fn after_an_upgrade_polls_are_refused_and_other_sockets_shown_out() {
    let echo = Echo::start().await;
    let poller = engine(&echo, 4).await;
    let mut socket = probe(&poller).await;
    socket.say("5").await;
    socket.say("4hello").await;
    assert_eq!(socket.hear().await, "4hello");
    assert_eq!((poller.get().await.status, poller.post(&["4x"]).await.status), (400, 400));
    assert_eq!(Socket::beside(&poller).await.hear().await, "close 0");
    socket.say("4still").await;
    assert_eq!(socket.hear().await, "4still");
    drop(socket);
    echo.sessions(0).await;
}

#[tokio::test]
async fn an_upgrade_that_is_given_up_leaves_the_session_polling() {
    let echo = Echo::start().await;
    let poller = engine(&echo, 4).await;
    for round in 0..3 {
        // One says nothing, one only probes, one says what it may not.
        let mut socket = Socket::beside(&poller).await;
        if round > 0 {
            socket.say("2probe").await;
            assert_eq!(socket.hear().await, "3probe");
        }
        let mut second = Socket::beside(&poller).await;
        assert_eq!(second.hear().await, "close 0", "one at a time");
        if round == 2 {
            socket.say("4hello").await;
            assert_eq!(socket.hear().await, "close 0");
        }
        drop(socket);
        poller.say(&["4a"]).await;
        let heard = loop {
            // While the server has not noticed, a poll may end with nothing.
            let heard = poller.hear().await;
            if heard != ["6"] {
                break heard;
            }
        };
        assert_eq!(heard, ["4a"]);
        // The place is free again as soon as the server has noticed.
        let mut again = loop {
            let mut socket = Socket::beside(&poller).await;
            socket.say("2probe").await;
            if socket.hear().await == "3probe" {
                break socket;
            }
        };
        if round == 2 {
            again.say("5").await;
            again.say("4b").await;
            assert_eq!(again.hear().await, "4b");
        }
    }
}

#[tokio::test]
async fn a_socket_that_never_takes_over_is_dropped_in_time() {
    let echo = Echo::with(Limits::default(), |config| config.ping_interval *= 10).await;
    let poller = engine(&echo, 4).await;
    let mut socket = probe(&poller).await;
    assert_eq!(socket.hear_late().await, "close 0");
    poller.say(&["4a"]).await;
    assert_eq!(poller.hear().await, ["4a"]);
}
