//! Engine.IO packets: one WebSocket frame, or one part of a polling payload, and back.
//!
//! **In** the text or the bytes of one packet. **Out** its kind and its data, borrowed where nothing has to be decoded.
//! **Before** this file: `frame` (WebSocket) or `payload` (polling). **After** it: `packet` (Socket.IO).
//!
//! ```text
//!                version 3        version 4
//! text frame     4hello           4hello
//! binary frame   \x04 bytes       bytes            (always a message)
//! as base64      b4aGk=           baGk=
//! ```
//!
//! **Invariant:** pure and strict: what is not a packet is an error, nothing panics, nothing is allocated but what base64
//! turns into bytes. **Not here:** the order of packets, which the connection keeps.
//!
//! Source: the Engine.IO protocol documents, revisions 3 and 4.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub mod payload;

/// A revision of the protocol, as `EIO` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: the client pings.
    V3,
    /// `EIO=4`: the server pings.
    V4,
}

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The handshake, from the server.
    Open,
    /// The end of the transport.
    Close,
    /// Are you there? With `probe` when an upgrade is tried.
    Ping,
    /// Yes.
    Pong,
    /// Anything that the layer above says.
    Message,
    /// The new transport takes over.
    Upgrade,
    /// Nothing; ends a poll that waits.
    Noop,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Open, Kind::Close, Kind::Ping, Kind::Pong, Kind::Message, Kind::Upgrade, Kind::Noop];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Returns the digit that stands for it.
    pub fn digit(self) -> u8 {
        b'0' + self as u8
    }
}

/// What a packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(Cow<'a, [u8]>),
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// What it carries.
    pub data: Data<'a>,
}

/// Why something is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing at all.
    #[error("a packet is at least one character long")]
    Empty,
    /// Not a digit from 0 to 6.
    #[error("a packet begins with its type, a digit from 0 to 6")]
    Kind,
    /// A binary packet that is not a message.
    #[error("only a message may be binary")]
    Binary,
    /// Not base64.
    #[error("bytes in text are written in base64, with padding")]
    Base64,
    /// A payload whose lengths and parts do not fit.
    #[error("a payload is made of packets, each with its true length")]
    Payload,
    /// More packets than one payload may hold.
    #[error("a payload has at most {max} packets")]
    TooMany {
        /// The bound.
        max: usize,
    },
}

impl<'a> Packet<'a> {
    /// Reads a text frame, or a text part of a payload.
    ///
    /// - **Errors:** [`Malformed`] for anything but one packet.
    pub fn of_text(revision: Revision, text: &'a str) -> Result<Self, Malformed> {
        let first = *text.as_bytes().first().ok_or(Malformed::Empty)?;
        if first == b'b' {
            return Self::of_base64(revision, &text[1..]);
        }
        let kind = first.checked_sub(b'0').and_then(Kind::of).ok_or(Malformed::Kind)?;
        Ok(Self { kind, data: Data::Text(&text[1..]) })
    }

    /// Reads a binary frame, or a binary part of a payload.
    pub fn of_binary(revision: Revision, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = match revision {
            Revision::V4 => bytes,
            Revision::V3 => {
                let (first, rest) = bytes.split_first().ok_or(Malformed::Empty)?;
                only_message(Kind::of(*first))?;
                rest
            }
        };
        Ok(Self { kind: Kind::Message, data: Data::Binary(Cow::Borrowed(bytes)) })
    }

    fn of_base64(revision: Revision, text: &str) -> Result<Self, Malformed> {
        let encoded = match revision {
            Revision::V4 => text,
            Revision::V3 => {
                let first = *text.as_bytes().first().ok_or(Malformed::Empty)?;
                only_message(first.checked_sub(b'0').and_then(Kind::of))?;
                &text[1..]
            }
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| Malformed::Base64)?;
        Ok(Self { kind: Kind::Message, data: Data::Binary(Cow::Owned(bytes)) })
    }
}

fn only_message(kind: Option<Kind>) -> Result<(), Malformed> {
    match kind {
        Some(Kind::Message) => Ok(()),
        Some(_) => Err(Malformed::Binary),
        None => Err(Malformed::Kind),
    }
}

/// Appends bytes as a text packet: how a transport without binary carries a binary message.
pub fn put_base64(revision: Revision, bytes: &[u8], out: &mut String) {
    out.push_str(match revision {
        Revision::V3 => "b4",
        Revision::V4 => "b",
    });
    STANDARD.encode_string(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(packet: Result<Packet<'_>, Malformed>) -> String {
        match packet {
            Ok(Packet { kind, data: Data::Text(text) }) => format!("{kind:?} {text:?}"),
            Ok(Packet { kind, data: Data::Binary(bytes) }) => format!("{kind:?} bytes {bytes:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_text_packet_is_its_type_and_what_follows() {
        let base64 = "bytes in text are written in base64, with padding";
        for (text, v3, v4) in [
            ("4hello", "Message \"hello\"", "Message \"hello\""),
            ("2probe", "Ping \"probe\"", "Ping \"probe\""),
            ("6", "Noop \"\"", "Noop \"\""),
            ("4", "Message \"\"", "Message \"\""),
            ("b4AQI=", "Message bytes [1, 2]", base64),
            ("bAQI=", "a packet begins with its type, a digit from 0 to 6", "Message bytes [1, 2]"),
            ("b2AQI=", "only a message may be binary", base64),
            ("b4A", base64, base64),
            (
                "7",
                "a packet begins with its type, a digit from 0 to 6",
                "a packet begins with its type, a digit from 0 to 6",
            ),
            (
                "é",
                "a packet begins with its type, a digit from 0 to 6",
                "a packet begins with its type, a digit from 0 to 6",
            ),
            ("", "a packet is at least one character long", "a packet is at least one character long"),
        ] {
            assert_eq!(shown(Packet::of_text(Revision::V3, text)), v3, "{text:?}, version 3");
            assert_eq!(shown(Packet::of_text(Revision::V4, text)), v4, "{text:?}, version 4");
        }
    }

    #[test]
    fn a_binary_frame_of_version_3_begins_with_its_type() {
        assert_eq!(shown(Packet::of_binary(Revision::V4, &[4, 1])), "Message bytes [4, 1]");
        assert_eq!(shown(Packet::of_binary(Revision::V3, &[4, 1])), "Message bytes [1]");
        assert_eq!(shown(Packet::of_binary(Revision::V3, &[2, 1])), "only a message may be binary");
        assert_eq!(shown(Packet::of_binary(Revision::V3, &[9])), Malformed::Kind.to_string());
        assert_eq!(shown(Packet::of_binary(Revision::V3, &[])), Malformed::Empty.to_string());
    }

    #[test]
    fn base64_comes_back() {
        for revision in [Revision::V3, Revision::V4] {
            let mut text = String::new();
            put_base64(revision, &[0, 255, 7], &mut text);
            assert_eq!(shown(Packet::of_text(revision, &text)), "Message bytes [0, 255, 7]");
        }
    }
}
