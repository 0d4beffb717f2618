//! Shape: the bytes that Windrow would send, made once and shared.
//!
//! **Invariant:** what a client gets here is as long, and parted into as many messages, as what it gets from Windrow.

use std::rc::Rc;

/// As long as the position of a stream in one partition.
const AT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// As long as what a row of a stream has before its own columns.
const COLUMNS: &[u8] =
    br#"{"_topic":"ticks","_partition":0,"_offset":10000,"_timestamp":1795652857211,"_key":null,"#;
const SID: &str = "AAAAAAAAAAAAAAAAAAAA";
/// What stands between the packets of a payload.
const BETWEEN: u8 = 0x1E;

/// The answer to the sample key of RFC 6455, which the load sends.
pub(super) const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// What opens a session.
pub(super) fn open() -> String {
    format!(
        r#"0{{"sid":"{SID}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
    )
}

/// What answers a packet of a client; and whether it subscribes.
pub(super) fn answer(packet: &[u8]) -> Option<(String, bool)> {
    match packet.first_chunk()? {
        b"40" => Some((format!(r#"40{{"sid":"{SID}"}}"#), false)),
        b"42" => {
            let told = r#""subscribed":"ticks","key":["_topic","_partition","_offset"],"recovered":false"#;
            Some((format!(r#"431[{{"ok":true,"as":1,{told},"at":"{AT}"}}]"#), true))
        }
        _ => None,
    }
}

/// Makes one event of all messages of a round, each an object and a row.
pub(super) fn event<'a>(messages: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = br#"42["ticks",{"as":1,"rows":["#.to_vec();
    for (i, message) in messages.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(COLUMNS);
        out.extend_from_slice(message.strip_prefix(b"{").unwrap_or(message));
    }
    out.extend_from_slice(format!(r#"],"at":"{AT}"}}]"#).as_bytes());
    out
}

/// Makes a text frame, unmasked.
pub(super) fn frame(text: &[u8]) -> Rc<[u8]> {
    let mut out = vec![0x81];
    match text.len() {
        short @ ..126 => out.push(short as u8),
        long if long <= usize::from(u16::MAX) => {
            out.push(126);
            out.extend((long as u16).to_be_bytes());
        }
        longer => {
            out.push(127);
            out.extend((longer as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
    out.into()
}

/// Makes the answer to a poll.
pub(super) fn payload(packets: &[Rc<[u8]>]) -> Rc<[u8]> {
    let body = packets.join(&BETWEEN);
    let mut out = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\ncache-control: no-store\r\n\
         content-length: {}\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend(body);
    out.into()
}
