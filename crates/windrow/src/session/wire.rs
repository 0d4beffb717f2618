//! Wire: the JSON of protocol v1 and of Socket.IO's events, both ways.
//!
//! **In** a client's text. **Out** what it asks for, or a fault with the subscription it belongs to; and the heads and tails
//! of answers. **Invariant:** what was shared is never copied. **Not here:** what the answers are, how they begin (`voice`).

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use windrow_core::{
    hub::{Lapse, Tick},
    value::write_text,
};

use super::{Outgoing, voice::Voice};
use crate::hub::{Fault, Message, StartFrom, Subscription};

/// Most bytes of the value of a ping.
const PING_MAX_BYTES: usize = 128;

/// A client's message as it stands.
#[derive(Debug, Default, Deserialize)]
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

/// What a client says with an event of Socket.IO.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    channel: Option<String>,
    r#as: Option<i64>,
    r#where: Option<String>,
    from: Option<String>,
    every: Option<String>,
}

impl Call {
    /// Reads the argument of an event of that name.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Request, (Option<i64>, Fault)> {
        if !matches!(name, "subscribe" | "filter" | "unsubscribe") {
            let rule = format!("there is no event {name}: known are subscribe, filter, unsubscribe");
            return Err((None, bad(rule)));
        }
        let Some(argument) = argument else {
            return Err((None, bad(format!("{name} takes one object and nothing else"))));
        };
        let call: Call = serde_json::from_str(argument).map_err(|e| (None, bad(e.to_string())))?;
        let number = call.r#as;
        call.request(name).map_err(|fault| (number, fault))
    }

    fn request(self, name: &str) -> Result<Request, Fault> {
        let message = match name {
            "subscribe" if self.channel.is_some() => Incoming {
                subscribe: self.channel,
                r#as: self.r#as,
                r#where: self.r#where,
                from: self.from,
                every: self.every,
                ..Incoming::default()
            },
            "subscribe" => return Err(bad("subscribe needs \"channel\", the name of a channel".to_owned())),
            _ if self.channel.is_some() || self.from.is_some() || self.every.is_some() => {
                return Err(bad("channel, from and every belong to subscribe".to_owned()));
            }
            _ if self.r#as.is_none() => {
                return Err(bad(format!("{name} needs \"as\", the number of a subscription")));
            }
            "filter" => Incoming { filter: self.r#as, r#where: self.r#where, ..Incoming::default() },
            _ => Incoming { unsubscribe: self.r#as, r#where: self.r#where, ..Incoming::default() },
        };
        message.request()
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

/// Ends a message with its position, if it has one.
fn tail(voice: &Voice, at: Option<&Bytes>) -> Vec<u8> {
    let mut out = Vec::with_capacity(at.map_or(0, |at| at.len() + 9) + 2);
    if let Some(at) = at {
        out.extend_from_slice(b",\"at\":\"");
        out.extend_from_slice(at);
        out.push(b'"');
    }
    out.push(b'}');
    voice.end(&mut out);
    out
}

/// Makes one of a subscription's messages.
pub(super) fn message(voice: &Voice, channel: &str, number: i64, message: Message) -> Outgoing {
    let mut head = voice.news(channel, number);
    match message {
        Message::Rows { members, at } => {
            head.push(b',');
            Outgoing { head, body: members, tail: tail(voice, at.as_ref()) }
        }
        Message::Snapshot { rows, more, reset, why, at, .. } => {
            if reset {
                head.extend_from_slice(b",\"reset\":true");
                write_reason(why, &mut head);
            }
            snapshot(voice, head, rows, more, at.as_ref())
        }
        Message::Dropped { count, at } => {
            head.extend_from_slice(format!(",\"dropped\":{count}").as_bytes());
            Outgoing { head, body: Bytes::new(), tail: tail(voice, at.as_ref()) }
        }
        Message::End(fault) => ended(voice, channel, number, &fault),
    }
}

/// Says why a position does not hold.
fn write_reason(why: Option<Lapse>, head: &mut Vec<u8>) {
    if let Some(why) = why {
        head.extend_from_slice(format!(",\"reason\":\"{}\"", why.name()).as_bytes());
    }
}

fn snapshot(voice: &Voice, mut head: Vec<u8>, rows: Bytes, more: bool, at: Option<&Bytes>) -> Outgoing {
    head.extend_from_slice(b",\"snapshot\":");
    let mut end = Vec::new();
    if more {
        end.extend_from_slice(b",\"more\":true");
    }
    end.extend(tail(voice, at.filter(|_| !more)));
    Outgoing { head, body: rows, tail: end }
}

/// Makes the answer to a subscribe.
pub(super) fn subscribed(
    mut head: Vec<u8>,
    voice: &Voice,
    channel: &str,
    subscription: &Subscription,
    first: Option<Message>,
) -> Outgoing {
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
    write_reason(subscription.lapse, &mut head);
    match first {
        Some(Message::Snapshot { rows, more, at, .. }) => snapshot(voice, head, rows, more, at.as_ref()),
        _ if subscription.in_snapshot() => snapshot(voice, head, Bytes::from_static(b"[]"), true, None),
        _ => {
            let at = subscription.at();
            Outgoing { head, body: Bytes::new(), tail: tail(voice, at.as_ref()) }
        }
    }
}

/// Makes the answer to a filter.
pub(super) fn filtered(
    voice: &Voice,
    channel: &str,
    number: i64,
    ack: Option<u64>,
    members: Option<Bytes>,
    at: Option<Bytes>,
) -> Outgoing {
    let mut head = voice.answer(channel, number, ack);
    head.extend_from_slice(b",\"filtered\":true");
    let body = members.unwrap_or_default();
    if !body.is_empty() {
        head.push(b',');
    }
    Outgoing { head, body, tail: tail(voice, at.as_ref()) }
}

/// Makes the answer to an unsubscribe.
pub(super) fn unsubscribed(voice: &Voice, channel: &str, number: i64, ack: Option<u64>) -> Outgoing {
    let mut head = voice.answer(channel, number, ack);
    head.extend_from_slice(b",\"unsubscribed\":true");
    Outgoing { head, body: Bytes::new(), tail: tail(voice, None) }
}

/// Makes a position alone.
pub(super) fn position(voice: &Voice, channel: &str, number: i64, at: &Bytes) -> Outgoing {
    Outgoing { head: voice.news(channel, number), body: Bytes::new(), tail: tail(voice, Some(at)) }
}

/// Makes the end of a subscription that its channel no longer serves.
pub(super) fn ended(voice: &Voice, channel: &str, number: i64, fault: &Fault) -> Outgoing {
    let mut head = voice.news(channel, number);
    head.extend_from_slice(b",\"error\":");
    fault.write_json(&mut head);
    Outgoing { head, body: Bytes::new(), tail: tail(voice, None) }
}

/// Makes the object of a goodbye.
pub fn bye(code: &str, reconnect_after: Duration) -> String {
    let after_ms = reconnect_after.as_millis();
    format!("{{\"code\":\"{code}\",\"reconnect_after_ms\":{after_ms}}}")
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
