//! Voices: how a session's messages are framed, before the pieces that all clients share.
//!
//! ```text
//! plain       {"as":1,"rows":[…],"at":"…"}
//! Socket.IO   42["likes",{"as":1,"rows":[…],"at":"…"}]           an event with the channel's name; in a namespace 42/name,[…]
//!             437[{"ok":true,"as":1,"at":"…"}]                   the ack of the client's event 7
//! ```
//!
//! **Invariant:** a head and an end, nothing else: what is shared stays as it is. **Not here:** what stands between them (`wire`).

use std::sync::Arc;

use windrow_core::value::write_text;

use super::Outgoing;
use crate::hub::Fault;

/// How a session's messages are framed.
#[derive(Debug, Clone)]
pub enum Voice {
    /// Objects of protocol v1, as they stand.
    Plain,
    /// Packets of Socket.IO in messages of Engine.IO.
    SocketIo {
        /// The namespace with its comma; empty for `/`.
        namespace: Arc<str>,
    },
}

impl Voice {
    /// Speaks in that namespace of Socket.IO.
    pub fn socketio(namespace: &str) -> Self {
        let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
        Voice::SocketIo { namespace: namespace.into() }
    }

    /// Begins what a client is told by itself.
    pub(super) fn news(&self, channel: &str, number: i64) -> Vec<u8> {
        let mut head = Vec::with_capacity(64);
        if let Voice::SocketIo { namespace } = self {
            event(namespace, channel, &mut head);
        }
        begin(number, &mut head);
        head
    }

    /// Begins the answer to what a client asked for; without an ack it comes like news.
    pub(super) fn answer(&self, channel: &str, number: i64, ack: Option<u64>) -> Vec<u8> {
        let (Voice::SocketIo { namespace }, Some(ack)) = (self, ack) else {
            return self.news(channel, number);
        };
        format!("43{namespace}{ack}[{{\"ok\":true,\"as\":{number}").into_bytes()
    }

    /// Makes the answer to what cannot be had; without an ack it is the event `fault`.
    pub(super) fn refusal(&self, number: Option<i64>, ack: Option<u64>, fault: &Fault) -> Outgoing {
        let mut head = Vec::new();
        match (self, ack) {
            (Voice::Plain, _) => {}
            (Voice::SocketIo { namespace }, Some(ack)) => {
                head.extend_from_slice(format!("43{namespace}{ack}[").as_bytes());
            }
            (Voice::SocketIo { namespace }, None) => event(namespace, "fault", &mut head),
        }
        match number {
            Some(number) => {
                begin(number, &mut head);
                head.extend_from_slice(b",\"error\":");
            }
            None => head.extend_from_slice(b"{\"error\":"),
        }
        fault.write_json(&mut head);
        let mut tail = b"}".to_vec();
        self.end(&mut tail);
        Outgoing { head, body: bytes::Bytes::new(), tail }
    }

    /// Makes an event of an object.
    pub fn event(&self, name: &str, object: &str) -> Outgoing {
        let mut head = Vec::new();
        if let Voice::SocketIo { namespace } = self {
            event(namespace, name, &mut head);
        }
        head.extend_from_slice(object.as_bytes());
        self.end(&mut head);
        Outgoing::whole(head)
    }

    /// Makes the event that tells a token alone.
    pub(super) fn offset(&self, token: &str) -> Outgoing {
        // No channel can have this name.
        self.event("windrow:offset", &format!("\"{token}\""))
    }

    /// Adds a text that needs no escapes to the arguments of an event.
    pub(super) fn add_argument(&self, text: &str, event: &mut Outgoing) {
        let Voice::SocketIo { .. } = self else { return };
        let end = if event.tail.is_empty() { &mut event.head } else { &mut event.tail };
        if end.pop() == Some(b']') {
            end.reserve(text.len() + 4);
            end.extend_from_slice(b",\"");
            end.extend_from_slice(text.as_bytes());
            end.extend_from_slice(b"\"]");
        }
    }

    /// Ends a message.
    pub(super) fn end(&self, tail: &mut Vec<u8>) {
        if let Voice::SocketIo { .. } = self {
            tail.push(b']');
        }
    }
}

fn event(namespace: &str, name: &str, head: &mut Vec<u8>) {
    head.extend_from_slice(b"42");
    head.extend_from_slice(namespace.as_bytes());
    head.push(b'[');
    write_text(name, head);
    head.push(b',');
}

fn begin(number: i64, head: &mut Vec<u8>) {
    head.extend_from_slice(b"{\"as\":");
    head.extend_from_slice(number.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_voice_has_its_heads() {
        let (root, other) = (Voice::socketio("/"), Voice::socketio("/windrow"));
        assert_eq!(text(Voice::Plain.news("likes", 1)), r#"{"as":1"#);
        assert_eq!(text(root.news("likes", -1)), r#"42["likes",{"as":-1"#);
        assert_eq!(text(other.news("likes", 1)), r#"42/windrow,["likes",{"as":1"#);
        assert_eq!(text(root.answer("likes", 1, Some(7))), r#"437[{"ok":true,"as":1"#);
        assert_eq!(text(other.answer("likes", 1, Some(7))), r#"43/windrow,7[{"ok":true,"as":1"#);
        assert_eq!(text(root.answer("likes", 1, None)), r#"42["likes",{"as":1"#);
        assert_eq!(text(Voice::Plain.answer("likes", 1, None)), r#"{"as":1"#);
    }

    #[test]
    fn a_refusal_goes_to_who_asked() {
        let fault = Fault::new("bad_filter", "no");
        let whole = |o: Outgoing| text([o.head, o.tail].concat());
        let root = Voice::socketio("/");
        let json = r#"{"code":"bad_filter","message":"no"}"#;
        assert_eq!(whole(Voice::Plain.refusal(None, None, &fault)), format!(r#"{{"error":{json}}}"#));
        assert_eq!(
            whole(root.refusal(Some(2), Some(7), &fault)),
            format!(r#"437[{{"as":2,"error":{json}}}]"#)
        );
        assert_eq!(whole(root.refusal(None, None, &fault)), format!(r#"42["fault",{{"error":{json}}}]"#));
    }
}
