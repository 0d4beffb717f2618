//! Talk: what clients of each dialect say, and how they know the answer.
//!
//! **Invariant:** a client says what a real one would, in the same order: a namespace is asked for after the open packet, a
//! subscription after the namespace. **Not here:** sockets (`websocket`, `polling`).

use anyhow::{Result, ensure};
use memchr::memmem;

/// What stands before the send time in a message.
const SENT: &[u8] = br#""t":"#;

/// How a client talks to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Talk {
    /// On a WebSocket whose upgrade subscribes.
    Bare,
    /// Protocol v1.
    Plain,
    /// Socket.IO on a WebSocket.
    SocketIo,
    /// The same without a subscription: it ends with the namespace.
    SocketIoJoin,
    /// Socket.IO by polls, one connection a client.
    Polling,
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for the switch to WebSocket.
    Upgrade,
    /// It waits for the open packet.
    Open,
    /// It waits for its namespace.
    Join,
    /// It waits for its subscription.
    Subscribe,
    /// It listens.
    Ready,
}

impl Talk {
    /// Returns what comes after the upgrade, and what is said then.
    pub(super) fn upgraded(self, channel: &str) -> (Step, Option<String>) {
        match self {
            Talk::Bare => (Step::Ready, None),
            Talk::Plain => {
                let subscribe = format!(r#"{{"subscribe":"{channel}","as":1,"from":"now"}}"#);
                (Step::Subscribe, Some(subscribe))
            }
            Talk::SocketIo | Talk::SocketIoJoin | Talk::Polling => (Step::Open, None),
        }
    }

    /// Hears an answer; returns what comes next, and what is said then.
    pub(super) fn heard(self, step: Step, answer: &[u8], channel: &str) -> Result<(Step, Option<String>)> {
        let text = || String::from_utf8_lossy(answer);
        match step {
            Step::Open => {
                ensure!(answer.starts_with(b"0{"), "no open packet: {}", text());
                Ok((Step::Join, Some("40".to_owned())))
            }
            Step::Join => {
                ensure!(answer.starts_with(b"40{"), "not let into the namespace: {}", text());
                if self == Talk::SocketIoJoin {
                    return Ok((Step::Ready, None));
                }
                let event = format!(r#"421["subscribe",{{"channel":"{channel}","as":1,"from":"now"}}]"#);
                Ok((Step::Subscribe, Some(event)))
            }
            Step::Subscribe => {
                ensure!(memmem::find(answer, b"\"error\"").is_none(), "not subscribed: {}", text());
                let is_subscribed = memmem::find(answer, b"\"subscribed\"").is_some();
                Ok((if is_subscribed { Step::Ready } else { step }, None))
            }
            Step::Upgrade | Step::Ready => Ok((step, None)),
        }
    }
}

/// Calls `message` with each send time in a payload.
pub(super) fn sent_times(payload: &[u8], message: &mut impl FnMut(u64)) {
    for at in memmem::find_iter(payload, SENT) {
        let digits = payload[at + SENT.len()..].iter().take_while(|b| b.is_ascii_digit());
        message(digits.fold(0, |n, b| n * 10 + u64::from(b - b'0')));
    }
}
