//! Socket.IO packets: what a message of Engine.IO says.
//!
//! **In** the text of a message. **Out** kind, namespace, ack number, data, and how many binary messages follow.
//! **Before** this file: `engine`. **After** it: the connection, which waits for attachments.
//!
//! ```text
//! 2["likes",{"id":"a"}]        event                   0/windrow,{"token":"…"}   connect to a namespace
//! 21["hi"]                     … that wants ack 1      31["done"]                the ack
//! 51-["pic",{"_placeholder":true,"num":0}]             event, one binary message follows
//! ```
//!
//! **Invariant:** pure and strict: data is JSON of the right shape before anybody looks at it; the number of attachments
//! is bounded; nothing panics. **Not here:** putting attachments in their places.
//!
//! Source: the Socket.IO protocol documents, revisions 3 to 5.

use serde_json::value::RawValue;

/// Attachments that one packet may announce.
pub const ATTACHMENTS_MAX: u32 = 16;
/// Longest name of a namespace, with the query that older clients append.
pub const NAMESPACE_MAX_BYTES: usize = 1024;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Enter a namespace.
    Connect,
    /// Leave it.
    Disconnect,
    /// A name and its arguments.
    Event,
    /// The answer to an event.
    Ack,
    /// The namespace cannot be entered.
    ConnectError,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// `/` when the packet names none.
    pub namespace: &'a str,
    /// What older clients append to a namespace after a `?`.
    pub query: Option<&'a str>,
    /// Number of the ack that is wanted, or given.
    pub ack: Option<u64>,
    /// Binary messages that belong to it and follow.
    pub attachments: u32,
    /// JSON: an array for events and acks, an object (or nothing) for a connect.
    pub data: Option<&'a str>,
}

/// Why something is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a digit from 0 to 6.
    #[error("a packet begins with its type, a digit from 0 to 6")]
    Kind,
    /// No number, or one past the bound.
    #[error("a binary packet says how many of at most {ATTACHMENTS_MAX} attachments follow")]
    Attachments,
    /// Too long.
    #[error("a namespace with its query has at most {NAMESPACE_MAX_BYTES} bytes")]
    Namespace,
    /// Past 64 bits.
    #[error("an ack has a number of at most 64 bits")]
    Ack,
    /// Not JSON, or of the wrong shape.
    #[error("{0}")]
    Data(&'static str),
}

impl<'a> Packet<'a> {
    /// Reads the text of a message.
    ///
    /// - **Errors:** [`Malformed`] for anything but one packet.
    pub fn decode(text: &'a str) -> Result<Self, Malformed> {
        let (kind, is_binary) = match text.as_bytes().first() {
            Some(b'0') => (Kind::Connect, false),
            Some(b'1') => (Kind::Disconnect, false),
            Some(b'2') => (Kind::Event, false),
            Some(b'3') => (Kind::Ack, false),
            Some(b'4') => (Kind::ConnectError, false),
            Some(b'5') => (Kind::Event, true),
            Some(b'6') => (Kind::Ack, true),
            _ => return Err(Malformed::Kind),
        };
        let mut rest = &text[1..];
        let attachments = if is_binary { attachments(&mut rest)? } else { 0 };
        let (namespace, query) = namespace(&mut rest)?;
        let ack = ack(&mut rest)?;
        let data = (!rest.is_empty()).then_some(rest);
        check(kind, ack, data)?;
        Ok(Self { kind, namespace, query, ack, attachments, data })
    }
}

fn attachments(rest: &mut &str) -> Result<u32, Malformed> {
    let (number, after) = rest.split_once('-').ok_or(Malformed::Attachments)?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed::Attachments);
    }
    *rest = after;
    number.parse().ok().filter(|n| *n <= ATTACHMENTS_MAX).ok_or(Malformed::Attachments)
}

fn namespace<'a>(rest: &mut &'a str) -> Result<(&'a str, Option<&'a str>), Malformed> {
    if !rest.starts_with('/') {
        return Ok(("/", None));
    }
    let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
    *rest = after;
    if name.len() > NAMESPACE_MAX_BYTES {
        return Err(Malformed::Namespace);
    }
    Ok(name.split_once('?').map_or((name, None), |(name, query)| (name, Some(query))))
}

fn ack(rest: &mut &str) -> Result<Option<u64>, Malformed> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok(None);
    }
    let (number, after) = rest.split_at(digits);
    *rest = after;
    number.parse().map(Some).map_err(|_| Malformed::Ack)
}

fn check(kind: Kind, ack: Option<u64>, data: Option<&str>) -> Result<(), Malformed> {
    let first = data.map(|data| data.as_bytes()[0]);
    match (kind, first) {
        (Kind::Event, Some(b'[')) => check_event(data),
        (Kind::Event, _) => Err(Malformed::Data("an event is an array that begins with its name")),
        (Kind::Ack, _) if ack.is_none() => Err(Malformed::Data("an ack has the number of its event")),
        (Kind::Ack, Some(b'[')) => check_json(data),
        (Kind::Ack, _) => Err(Malformed::Data("an ack is an array")),
        (Kind::Connect, None | Some(b'{')) => check_json(data),
        (Kind::Connect, Some(_)) => Err(Malformed::Data("a connect carries an object or nothing")),
        (Kind::Disconnect, None) => Ok(()),
        (Kind::Disconnect, Some(_)) => Err(Malformed::Data("a disconnect carries nothing")),
        (Kind::ConnectError, _) => check_json(data),
    }
}

fn check_event(data: Option<&str>) -> Result<(), Malformed> {
    let name = data.and_then(name_of);
    name.map(|_| ()).ok_or(Malformed::Data("an event is an array that begins with its name"))
}

fn check_json(data: Option<&str>) -> Result<(), Malformed> {
    let is_json = data.is_none_or(|data| serde_json::from_str::<&RawValue>(data).is_ok());
    if is_json { Ok(()) } else { Err(Malformed::Data("the data is not JSON")) }
}

/// Returns the name of an event, and its arguments as they were written.
pub fn name_of(data: &str) -> Option<(String, Vec<&RawValue>)> {
    let mut parts: Vec<&RawValue> = serde_json::from_str(data).ok()?;
    if parts.is_empty() {
        return None;
    }
    let name = serde_json::from_str(parts.remove(0).get()).ok()?;
    Some((name, parts))
}

/// Appends the head of an event or of an ack: everything before its data.
pub fn put_head(kind: Kind, namespace: &str, ack: Option<u64>, attachments: u32, out: &mut Vec<u8>) {
    let digit = match (kind, attachments) {
        (Kind::Connect, _) => b'0',
        (Kind::Disconnect, _) => b'1',
        (Kind::Event, 0) => b'2',
        (Kind::Ack, 0) => b'3',
        (Kind::ConnectError, _) => b'4',
        (Kind::Event, _) => b'5',
        (Kind::Ack, _) => b'6',
    };
    out.push(digit);
    if attachments > 0 {
        out.extend_from_slice(attachments.to_string().as_bytes());
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    if let Some(ack) = ack {
        out.extend_from_slice(ack.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_as_the_protocol_writes_them() {
        let mut out = String::new();
        for text in [
            "0",
            "0{\"token\":\"1\"}",
            "0/admin,{\"token\":\"1\"}",
            "0/admin?a=b",
            "1/admin,",
            "2[\"hi\",1]",
            "212[\"hi\"]",
            "2/admin,456[\"hi\"]",
            "3/admin,456[]",
            "4/admin,{\"message\":\"no\"}",
            "51-[\"pic\",{\"_placeholder\":true,\"num\":0}]",
            "61-/admin,456[{\"_placeholder\":true,\"num\":0}]",
            "",
            "7",
            "2",
            "2{}",
            "2[]",
            "2[1]",
            "2[\"a\"",
            "2[\"a\"]x",
            "3[]",
            "31{}",
            "0[]",
            "0\"a\"",
            "1x",
            "5[\"a\"]",
            "5-[\"a\"]",
            "517-[\"a\"]",
            "5999999999999-[\"a\"]",
            "299999999999999999999999[\"a\"]",
        ] {
            let shown = match Packet::decode(text) {
                Ok(p) => format!(
                    "{:?} {}{} ack={:?} attachments={} {}",
                    p.kind,
                    p.namespace,
                    p.query.map(|query| format!(" query={query}")).unwrap_or_default(),
                    p.ack,
                    p.attachments,
                    p.data.unwrap_or("-")
                ),
                Err(error) => error.to_string(),
            };
            out.push_str(&format!("{text} -> {shown}\n"));
        }
        expect![[r#"
            0 -> Connect / ack=None attachments=0 -
            0{"token":"1"} -> Connect / ack=None attachments=0 {"token":"1"}
            0/admin,{"token":"1"} -> Connect /admin ack=None attachments=0 {"token":"1"}
            0/admin?a=b -> Connect /admin query=a=b ack=None attachments=0 -
            1/admin, -> Disconnect /admin ack=None attachments=0 -
            2["hi",1] -> Event / ack=None attachments=0 ["hi",1]
            212["hi"] -> Event / ack=Some(12) attachments=0 ["hi"]
            2/admin,456["hi"] -> Event /admin ack=Some(456) attachments=0 ["hi"]
            3/admin,456[] -> Ack /admin ack=Some(456) attachments=0 []
            4/admin,{"message":"no"} -> ConnectError /admin ack=None attachments=0 {"message":"no"}
            51-["pic",{"_placeholder":true,"num":0}] -> Event / ack=None attachments=1 ["pic",{"_placeholder":true,"num":0}]
            61-/admin,456[{"_placeholder":true,"num":0}] -> Ack /admin ack=Some(456) attachments=1 [{"_placeholder":true,"num":0}]
             -> a packet begins with its type, a digit from 0 to 6
            7 -> a packet begins with its type, a digit from 0 to 6
            2 -> an event is an array that begins with its name
            2{} -> an event is an array that begins with its name
            2[] -> an event is an array that begins with its name
            2[1] -> an event is an array that begins with its name
            2["a" -> an event is an array that begins with its name
            2["a"]x -> an event is an array that begins with its name
            3[] -> an ack has the number of its event
            31{} -> an ack is an array
            0[] -> a connect carries an object or nothing
            0"a" -> a connect carries an object or nothing
            1x -> a disconnect carries nothing
            5["a"] -> a binary packet says how many of at most 16 attachments follow
            5-["a"] -> a binary packet says how many of at most 16 attachments follow
            517-["a"] -> a binary packet says how many of at most 16 attachments follow
            5999999999999-["a"] -> a binary packet says how many of at most 16 attachments follow
            299999999999999999999999["a"] -> an ack has a number of at most 64 bits
        "#]].assert_eq(&out);
    }

    proptest! {
        #[test]
        fn an_event_comes_back(name in "[a-z_]{1,12}", ack in proptest::option::of(any::<u64>()), at in "(/[a-z]{1,8})?") {
            let namespace = if at.is_empty() { "/" } else { &at };
            let mut text = Vec::new();
            put_head(Kind::Event, namespace, ack, 0, &mut text);
            text.extend_from_slice(format!("[\"{name}\",{{\"n\":1}}]").as_bytes());
            let text = String::from_utf8(text).unwrap();
            let packet = Packet::decode(&text).unwrap();
            prop_assert_eq!((packet.kind, packet.namespace, packet.ack), (Kind::Event, namespace, ack));
            let (found, arguments) = name_of(packet.data.unwrap()).unwrap();
            prop_assert_eq!((found, arguments.len()), (name, 1));
        }

        #[test]
        fn hostile_text_never_panics(text in "[0-9/,\\[\\]\"{}a-]{0,40}|\\PC{0,20}") {
            let _ = Packet::decode(&text);
        }
    }
}
