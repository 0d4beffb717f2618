//! Payloads: the packets of one polling request or answer, as one body.
//!
//! **In** a body. **Out** its packets, in order; and a body of the packets that wait.
//!
//! ```text
//! version 4          4hello \x1e 2 \x1e bAQI=
//! version 3, text    6:4hello 1:2 6:b4AQI=              lengths count UTF-16 units, as JavaScript does
//! version 3, binary  \0 6 \xff 4hello  \1 3 \xff \4..   0 = text, 1 = bytes; the length in digits of one byte each
//! version 3, JSONP   ___eio[0]("6:4hello");             and d=6%3A4hello from the client
//! ```
//!
//! **Invariant:** bounded: [`PACKETS_MAX`] packets, and no length is believed beyond the body that is there.
//! **Not here:** how large a body may be (the transport).
//!
//! Source: the Engine.IO protocol documents, revisions 3 and 4.

use super::{Kind, Malformed, Packet, Revision};

/// Most packets of one body: past it a client is at fault, or at work against us.
pub const PACKETS_MAX: usize = 1024;
/// Stands between packets of version 4.
const SEPARATOR: char = '\x1e';
/// Most digits of a length in version 3: bodies are far smaller.
const DIGITS_MAX: usize = 9;

/// Reads a body; hands each packet to `each`, in order.
///
/// - **Errors:** the first fault of the body; packets before it were handed over.
pub fn decode<E: From<Malformed>>(
    revision: Revision,
    body: &[u8],
    mut each: impl FnMut(Packet<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut count = 0;
    let mut counted = |packet: Packet<'_>| {
        count += 1;
        if count > PACKETS_MAX {
            return Err(E::from(Malformed::TooMany { max: PACKETS_MAX }));
        }
        each(packet)
    };
    match (revision, body.first()) {
        (_, None) => Err(Malformed::Empty.into()),
        (Revision::V3, Some(0 | 1)) => decode_binary(body, &mut counted),
        (Revision::V3, _) => decode_counted(text(body)?, &mut counted),
        (Revision::V4, _) => {
            let mut parts = text(body)?.split(SEPARATOR);
            parts.try_for_each(|part| counted(Packet::of_text(revision, part)?))
        }
    }
}

fn text(body: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(body).map_err(|_| Malformed::Payload)
}

fn decode_counted<E: From<Malformed>>(
    mut rest: &str,
    each: &mut impl FnMut(Packet<'_>) -> Result<(), E>,
) -> Result<(), E> {
    while !rest.is_empty() {
        let (digits, after) = rest.split_once(':').ok_or(Malformed::Payload)?;
        if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Malformed::Payload.into());
        }
        let units: usize = digits.parse().map_err(|_| Malformed::Payload)?;
        let (packet, after) = after.split_at(bytes_of_units(after, units).ok_or(Malformed::Payload)?);
        each(Packet::of_text(Revision::V3, packet)?)?;
        rest = after;
    }
    Ok(())
}

/// Returns how many bytes of `text` are so many UTF-16 units; `None` when it is shorter, or a character would be cut.
fn bytes_of_units(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

fn decode_binary<E: From<Malformed>>(
    mut rest: &[u8],
    each: &mut impl FnMut(Packet<'_>) -> Result<(), E>,
) -> Result<(), E> {
    while let Some((&marker, after)) = rest.split_first() {
        let end = after.iter().take(DIGITS_MAX + 1).position(|b| *b == 0xff).ok_or(Malformed::Payload)?;
        if end == 0 || after[..end].iter().any(|digit| *digit > 9) {
            return Err(Malformed::Payload.into());
        }
        let len = after[..end].iter().fold(0, |len, digit| len * 10 + usize::from(*digit));
        let body = &after[end + 1..];
        let packet = body.get(..len).ok_or(Malformed::Payload)?;
        rest = &body[len..];
        match marker {
            0 => each(Packet::of_text(Revision::V3, text(packet)?)?)?,
            1 => each(Packet::of_binary(Revision::V3, packet)?)?,
            _ => return Err(Malformed::Payload.into()),
        }
    }
    Ok(())
}

/// Appends a text packet, given in pieces with its type in front, to a text body.
pub fn put_text(revision: Revision, pieces: [&[u8]; 3], body: &mut Vec<u8>) {
    match revision {
        Revision::V4 if !body.is_empty() => body.push(SEPARATOR as u8),
        Revision::V4 => {}
        Revision::V3 => {
            let units: usize = pieces.iter().map(|piece| units_of(piece)).sum();
            body.extend_from_slice(units.to_string().as_bytes());
            body.push(b':');
        }
    }
    pieces.iter().for_each(|piece| body.extend_from_slice(piece));
}

/// Appends a binary message to a text body, as base64.
pub fn put_base64(revision: Revision, bytes: &[u8], body: &mut Vec<u8>) {
    let mut text = String::new();
    super::put_base64(revision, bytes, &mut text);
    put_text(revision, [text.as_bytes(), b"", b""], body);
}

/// Appends a text packet, given in pieces, to a binary body of version 3.
pub fn put_text_in_binary(pieces: [&[u8]; 3], body: &mut Vec<u8>) {
    put_mark(0, pieces.iter().map(|piece| piece.len()).sum(), body);
    pieces.iter().for_each(|piece| body.extend_from_slice(piece));
}

/// Appends a binary message to a binary body of version 3, which such clients take when bytes are among the packets.
pub fn put_binary(bytes: &[u8], body: &mut Vec<u8>) {
    put_mark(1, bytes.len() + 1, body);
    body.push(Kind::Message as u8);
    body.extend_from_slice(bytes);
}

fn put_mark(marker: u8, len: usize, body: &mut Vec<u8>) {
    body.push(marker);
    body.extend(len.to_string().bytes().map(|digit| digit - b'0'));
    body.push(0xff);
}

/// Counts UTF-16 units of UTF-8: one for each character, two for one of four bytes.
fn units_of(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0)).sum()
}

/// Wraps a text body as a script that calls the client back: JSONP.
pub fn jsonp(number: u32, body: &str) -> String {
    // A JSON string is a JavaScript one but for these two, which older engines take for line ends.
    let quoted = serde_json::Value::from(body).to_string();
    let quoted = quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    format!("___eio[{number}]({quoted});")
}

/// Reads the body that a JSONP client posts as a form: the value of `d`, in which it doubles the backslash of `\n`.
pub fn of_jsonp(form: &[u8]) -> Result<String, Malformed> {
    let mut pairs = form.split(|b| *b == b'&');
    let value = pairs.find_map(|pair| pair.strip_prefix(b"d=")).ok_or(Malformed::Payload)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|b| char::from(*b).to_digit(16)).ok_or(Malformed::Payload);
                (digit()? * 16 + digit()?) as u8
            }
            plain => plain,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| Malformed::Payload)?;
    // Line ends came as a backslash and an n, true such pairs with the backslash doubled.
    Ok(text.replace("\\\\n", "\u{0}").replace("\\n", "\n").replace('\u{0}', "\\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Data, *};

    fn shown(revision: Revision, body: &[u8]) -> Vec<String> {
        let mut shown = Vec::new();
        let done: Result<(), Malformed> = decode(revision, body, |packet| {
            shown.push(match packet.data {
                Data::Text(text) => format!("{:?} {text}", packet.kind),
                Data::Binary(bytes) => format!("{:?} {bytes:?}", packet.kind),
            });
            Ok(())
        });
        if let Err(error) = done {
            shown.push(format!("! {error:?}"));
        }
        shown
    }

    #[test]
    fn version_4_stands_between_separators() {
        assert_eq!(
            shown(Revision::V4, b"4hello\x1e2\x1ebAQI="),
            ["Message hello", "Ping ", "Message [1, 2]"]
        );
        assert_eq!(shown(Revision::V4, b"4a\x1e\x1e4b"), ["Message a", "! Empty"]);
        assert_eq!(shown(Revision::V4, b"4a\x1e"), ["Message a", "! Empty"]);
        assert_eq!(shown(Revision::V4, b""), ["! Empty"]);
        assert_eq!(shown(Revision::V4, b"4\xff"), ["! Payload"]);
    }

    #[test]
    fn version_3_counts_utf_16_units() {
        assert_eq!(shown(Revision::V3, b"6:4hello1:28:b4AQI="), ["Message hello", "Ping ", "! Payload"]);
        assert_eq!(shown(Revision::V3, b"6:4hello6:b4AQI="), ["Message hello", "Message [1, 2]"]);
        assert_eq!(shown(Revision::V3, "2:4é3:4\u{1f600}".as_bytes()), ["Message é", "Message \u{1f600}"]);
        assert_eq!(shown(Revision::V3, "2:4\u{1f600}".as_bytes()), ["! Payload"]);
        for bad in ["6:4hell", ":4", "+1:4", "x:4", "99999999999:4", "4hello"] {
            assert_eq!(shown(Revision::V3, bad.as_bytes()), ["! Payload"], "{bad:?}");
        }
        assert_eq!(shown(Revision::V3, b"0:"), ["! Empty"]);
    }

    #[test]
    fn version_3_has_a_binary_form() {
        let body = b"\x00\x06\xff4hello\x01\x03\xff\x04\x01\x02";
        assert_eq!(shown(Revision::V3, body), ["Message hello", "Message [1, 2]"]);
        for bad in [
            &b"\x00\x06\xff4hell"[..],
            b"\x00\xff",
            b"\x00\x0a\xff4",
            b"\x00\x01",
            b"\x00\x02\xff4a\x02\x01\xff4",
        ] {
            assert_eq!(shown(Revision::V3, bad).last().map(String::as_str), Some("! Payload"), "{bad:?}");
        }
    }

    #[test]
    fn jsonp_quotes_what_would_end_the_script() {
        assert_eq!(jsonp(3, "4:4\"\n\u{2028}"), "___eio[3](\"4:4\\\"\\n\\u2028\");");
        assert_eq!(of_jsonp(b"d=5%3A4a%2Bb+").unwrap(), "5:4a+b ");
        assert_eq!(of_jsonp(b"d=4%5Cn%5C%5Cn").unwrap(), "4\n\\n");
        assert!(of_jsonp(b"d=%4").is_err());
        assert!(of_jsonp(b"e=4").is_err());
    }

    #[test]
    fn a_body_of_too_many_packets_is_refused() {
        let body = vec!["4"; PACKETS_MAX + 1].join("\x1e");
        let seen = shown(Revision::V4, body.as_bytes());
        assert_eq!((seen.len(), &*seen[PACKETS_MAX]), (PACKETS_MAX + 1, "! TooMany { max: 1024 }"));
    }

    fn packets() -> impl Strategy<Value = Vec<(bool, String)>> {
        proptest::collection::vec((any::<bool>(), "[^\u{1e}]{0,12}"), 1..8)
    }

    proptest! {
        #[test]
        fn what_is_put_comes_back(packets in packets(), v4 in any::<bool>(), binary in any::<bool>()) {
            let revision = if v4 { Revision::V4 } else { Revision::V3 };
            let (mut text, mut bytes, mut want) = (Vec::new(), Vec::new(), Vec::new());
            for (is_text, data) in &packets {
                let data = data.as_bytes();
                if *is_text {
                    // Pieces are cut anywhere, also inside a character.
                    let (head, tail) = data.split_at(data.len() / 2);
                    put_text(revision, [b"4", head, tail], &mut text);
                    put_text_in_binary([b"4", head, tail], &mut bytes);
                    want.push(format!("Message {}", String::from_utf8_lossy(data)));
                } else {
                    put_base64(revision, data, &mut text);
                    put_binary(data, &mut bytes);
                    want.push(format!("Message {data:?}"));
                }
            }
            let body = if binary && !v4 { bytes } else { text };
            prop_assert_eq!(shown(revision, &body), want);
        }

        #[test]
        fn hostile_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..64), v4 in any::<bool>()) {
            shown(if v4 { Revision::V4 } else { Revision::V3 }, &body);
            let _ = of_jsonp(&body);
        }
    }
}
