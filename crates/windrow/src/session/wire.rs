//! Wire: the JSON of protocol v1, both ways.
//!
//! **In** a client's text. **Out** what it asks for, or a fault with the subscription it belongs to; and the heads and tails
//! of answers. **Invariant:** what was shared is never copied. **Not here:** what the answers are.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use windrow_core::{hub::Tick, value::write_text};

use super::Outgoing;
use crate::hub::{Fault, Message, StartFrom, Subscription};

/// Most bytes of the value of a ping.
const PING_MAX_BYTES: usize = 128;

/// A client's message as it stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incoming {
    subscribe: Option<String>,
    r#as: Option<i64>,
    r#where: Option<String>,
    from: Option<String>,
    every: Option<String>,
    filter: Option<i64>,
    unsubscribe: Option<i64>,
    auth: Option<String>,
    ping: Option<Box<RawValue>>,
}

/// What a client asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Begin a subscription.
    Subscribe { channel: String, number: i64, filter: Option<String>, from: StartFrom, tick: Tick },
    /// End one.
    Unsubscribe(i64),
    /// Change one's filter.
    Filter { number: i64, filter: Option<String> },
    /// Bring a token.
    Auth,
    /// Give this back.
    Ping(Box<RawValue>),
}

impl Request {
    /// Returns the subscription that an error belongs to.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Request::Subscribe { number, .. } | Request::Filter { number, .. } => Some(*number),
            Request::Unsubscribe(number) => Some(*number),
            Request::Auth | Request::Ping(_) => None,
        }
    }
}

impl Incoming {
    /// Reads one message.
    pub(super) fn parse(text: &str) -> Result<Request, (Option<i64>, Fault)> {
        let message: Incoming = serde_json::from_str(text).map_err(|e| (None, bad(e.to_string())))?;
        let number = message.r#as;
        message.request().map_err(|fault| (number, fault))
    }

    fn request(self) -> Result<Request, Fault> {
        let subscribes = self.subscribe.is_some();
        let verbs = [
            subscribes,
            self.filter.is_some(),
            self.unsubscribe.is_some(),
            self.auth.is_some(),
            self.ping.is_some(),
        ];
        if verbs.iter().filter(|v| **v).count() != 1 {
            return Err(bad("a message has one of subscribe, filter, unsubscribe, auth, ping".to_owned()));
        }
        if !subscribes && (self.from.is_some() || self.every.is_some() || self.r#as.is_some()) {
            return Err(bad("as, from and every belong to subscribe".to_owned()));
        }
        if let Some(number) = self.filter {
            return Ok(Request::Filter { number, filter: self.r#where });
        }
        if self.r#where.is_some() && !subscribes {
            return Err(bad("where belongs to subscribe and filter".to_owned()));
        }
        if let Some(value) = self.ping {
            return match value.get().len() {
                0..=PING_MAX_BYTES => Ok(Request::Ping(value)),
                n => {
                    Err(bad(format!("the value of a ping has at most {PING_MAX_BYTES} bytes, this one {n}")))
                }
            };
        }
        if let Some(number) = self.unsubscribe {
            return Ok(Request::Unsubscribe(number));
        }
        let Some(channel) = self.subscribe else { return Ok(Request::Auth) };
        let number =
            self.r#as.ok_or_else(|| bad("subscribe needs \"as\", a number of your own".to_owned()))?;
        let every_ms = self.every.as_deref().map_or(Ok(0), every_ms)?;
        let from = StartFrom::parse(self.from.as_deref())?;
        Ok(Request::Subscribe { channel, number, filter: self.r#where, from, tick: Tick::at_least(every_ms) })
    }
}

fn bad(message: String) -> Fault {
    Fault::new("bad_message", message)
}

/// Reads a duration like `250ms`, `1s`, `5m`.
pub fn every_ms(text: &str) -> Result<u64, Fault> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    match text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)) {
        Some(ms) if unit_ms > 0 => Ok(ms),
        _ => Err(Fault::new("bad_message", format!("{text:?} is not a duration like \"250ms\" or \"1s\""))),
    }
}

/// Begins `{"as":1`.
fn head(number: i64) -> Vec<u8> {
    format!("{{\"as\":{number}").into_bytes()
}

/// Ends a message with its position, if it has one.
fn tail(at: Option<&Bytes>) -> Vec<u8> {
    let Some(at) = at else { return b"}".to_vec() };
    let mut out = Vec::with_capacity(at.len() + 9);
    out.extend_from_slice(b",\"at\":\"");
    out.extend_from_slice(at);
    out.extend_from_slice(b"\"}");
    out
}

/// Makes one of a subscription's messages.
pub(super) fn message(number: i64, message: Message) -> Outgoing {
    let mut head = head(number);
    match message {
        Message::Rows { members, at } => {
            head.push(b',');
            Outgoing { head, body: members, tail: tail(at.as_ref()) }
        }
        Message::Snapshot { rows, more, reset, at, .. } => {
            if reset {
                head.extend_from_slice(b",\"reset\":true");
            }
            snapshot(head, rows, more, at.as_ref())
        }
        Message::Dropped { count, at } => {
            head.extend_from_slice(format!(",\"dropped\":{count}").as_bytes());
            Outgoing { head, body: Bytes::new(), tail: tail(at.as_ref()) }
        }
        Message::End(fault) => error(Some(number), &fault),
    }
}

fn snapshot(mut head: Vec<u8>, rows: Bytes, more: bool, at: Option<&Bytes>) -> Outgoing {
    head.extend_from_slice(b",\"snapshot\":");
    let tail = if more { b",\"more\":true}".to_vec() } else { tail(at) };
    Outgoing { head, body: rows, tail }
}

/// Makes the answer to a subscribe.
pub(super) fn subscribed(
    number: i64,
    channel: &str,
    subscription: &Subscription,
    first: Option<Message>,
) -> Outgoing {
    let mut head = head(number);
    head.extend_from_slice(b",\"subscribed\":");
    write_text(channel, &mut head);
    head.extend_from_slice(b",\"key\":[");
    for (i, name) in subscription.key_names().iter().enumerate() {
        if i > 0 {
            head.push(b',');
        }
        write_text(name, &mut head);
    }
    head.extend_from_slice(format!("],\"recovered\":{}", subscription.recovered).as_bytes());
    match first {
        Some(Message::Snapshot { rows, more, at, .. }) => snapshot(head, rows, more, at.as_ref()),
        _ if subscription.in_snapshot() => snapshot(head, Bytes::from_static(b"[]"), true, None),
        _ => {
            let at = subscription.at();
            Outgoing { head, body: Bytes::new(), tail: tail(at.as_ref()) }
        }
    }
}

/// Makes the answer to a filter.
pub(super) fn filtered(number: i64, members: Option<Bytes>, at: Option<Bytes>) -> Outgoing {
    let mut head = head(number);
    head.extend_from_slice(b",\"filtered\":true");
    let body = members.unwrap_or_default();
    if !body.is_empty() {
        head.push(b',');
    }
    Outgoing { head, body, tail: tail(at.as_ref()) }
}

/// Makes the answer to an unsubscribe.
pub(super) fn unsubscribed(number: i64) -> Outgoing {
    let mut head = head(number);
    head.extend_from_slice(b",\"unsubscribed\":true");
    Outgoing { head, body: Bytes::new(), tail: tail(None) }
}

/// Makes a position alone.
pub(super) fn position(number: i64, at: &Bytes) -> Outgoing {
    Outgoing { head: head(number), body: Bytes::new(), tail: tail(Some(at)) }
}

/// Makes the answer to a ping.
pub(super) fn pong(value: &str) -> Outgoing {
    let head = format!("{{\"pong\":{value}}}").into_bytes();
    Outgoing { head, body: Bytes::new(), tail: Vec::new() }
}

/// Makes an error, of a subscription or of the connection.
pub(super) fn error(number: Option<i64>, fault: &Fault) -> Outgoing {
    let mut head = match number {
        Some(number) => format!("{{\"as\":{number},\"error\":"),
        None => "{\"error\":".to_owned(),
    }
    .into_bytes();
    fault.write_json(&mut head);
    Outgoing { head, body: Bytes::new(), tail: b"}".to_vec() }
}

/// Makes the goodbye.
pub(super) fn bye(code: &str, reconnect_after: Duration) -> Outgoing {
    let after_ms = reconnect_after.as_millis();
    let head = format!("{{\"bye\":{{\"code\":\"{code}\",\"reconnect_after_ms\":{after_ms}}}}}").into_bytes();
    Outgoing { head, body: Bytes::new(), tail: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_strictly() {
        for (text, want) in [
            (r#"{"subscribe":"a","as":1,"every":"250ms"}"#, "ok"),
            (r#"{"subscribe":"a"}"#, "bad_message"),
            (r#"{"subscribe":"a","as":1,"from":"sideways!"}"#, "bad_position"),
            (r#"{"subscribe":"a","as":1,"every":"soon"}"#, "bad_message"),
            (r#"{"subscribe":"a","as":1.5}"#, "bad_message"),
            (r#"{"subscribe":"a","as":1,"ping":2}"#, "bad_message"),
            (r#"{"unsubscribe":1}"#, "ok"),
            (r#"{"unsubscribe":1,"where":"x"}"#, "bad_message"),
            (r#"{"filter":1,"where":"id = 'b'"}"#, "ok"),
            (r#"{"filter":1}"#, "ok"),
            (r#"{"ping":{"any":[1]}}"#, "ok"),
            (r#"{}"#, "bad_message"),
            (r#"[]"#, "bad_message"),
            (r#"{"subscribed":"a","as":1}"#, "bad_message"),
            ("hello", "bad_message"),
        ] {
            let got = Incoming::parse(text).map_or_else(|(_, fault)| fault.code, |_| "ok");
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, want) in
            [("250ms", Some(250)), ("1s", Some(1000)), ("5m", Some(300_000)), ("0ms", Some(0))]
        {
            assert_eq!(every_ms(text).ok(), want, "{text}");
        }
        for text in ["", "ms", "5", "5h ", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615s"] {
            assert!(every_ms(text).is_err(), "{text}");
        }
    }
}
