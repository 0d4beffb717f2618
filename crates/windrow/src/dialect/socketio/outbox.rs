//! Outbox: parcels become WebSocket frames, or the body of a poll.
//!
//! **In** parcels. **Out** frames on a pipe; or one payload of what waits, up to a bound.
//! **Invariant:** a parcel leaves only when its poll took it, so nothing is lost with a client that changes its transport. **Not here:** when there is something to say (`connection`).

use std::collections::VecDeque;

use super::{
    door::{Door, Payload},
    engine::{Kind, Revision, payload},
    upper::Parcel,
};
use crate::{
    dialect::websocket::pipe::{As, Pipe},
    session::Outgoing,
};

/// Bytes of parcels that one poll takes; the last one may pass it.
const PAYLOAD_MAX_BYTES: usize = 256 << 10;
/// Packets that one poll takes: python-engineio takes no more, and breaks off where there are.
const PAYLOAD_PACKETS_MAX: usize = 16;

/// Sends parcels as frames.
pub(super) fn send(pipe: &mut Pipe, revision: Revision, parcels: impl IntoIterator<Item = Parcel>) {
    pipe.send(parcels.into_iter().map(|parcel| match parcel {
        Parcel::Text(text) => (As::Text, text),
        Parcel::Binary(body) => {
            let head = match revision {
                Revision::V3 => vec![Kind::Message as u8],
                Revision::V4 => Vec::new(),
            };
            (As::Binary, Outgoing { head, body, tail: Vec::new() })
        }
    }));
}

/// What waits for a poll.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// Texts hold JSON, so they can be written in ASCII.
    is_json: bool,
}

impl Outbox {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, ..Self::default() }
    }

    pub(super) fn push(&mut self, parcels: impl IntoIterator<Item = Parcel>) {
        for parcel in parcels {
            self.bytes += parcel.len_bytes();
            self.parcels.push_back(parcel);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Tells whether there is room for answers to what the client says next.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < PAYLOAD_MAX_BYTES
    }

    /// Takes all out, for another transport.
    pub(super) fn take(&mut self) -> VecDeque<Parcel> {
        self.bytes = 0;
        std::mem::take(&mut self.parcels)
    }

    /// Answers the poll that waits at the door, if one does, and returns how many packets it was told.
    pub(super) fn answer(&mut self, revision: Revision, door: &Door) -> usize {
        if self.parcels.is_empty() {
            return 0;
        }
        let Some(takes_binary) = door.waits() else { return 0 };
        let (count, payload) = self.payload(revision, takes_binary);
        if !door.answer(payload) {
            return 0;
        }
        for parcel in self.parcels.drain(..count) {
            self.bytes -= parcel.len_bytes();
        }
        if self.parcels.is_empty() {
            // A client that is idle holds no buffer.
            self.parcels = VecDeque::new();
        }
        count
    }

    fn payload(&self, revision: Revision, takes_binary: bool) -> (usize, Payload) {
        let (mut count, mut bytes) = (0, 0);
        for parcel in self.parcels.iter().take(PAYLOAD_PACKETS_MAX) {
            if bytes >= PAYLOAD_MAX_BYTES {
                break;
            }
            count += 1;
            bytes += parcel.len_bytes();
        }
        let parcels = || self.parcels.iter().take(count);
        let has_bytes = parcels().any(|parcel| matches!(parcel, Parcel::Binary(_)));
        let is_binary = revision == Revision::V3 && takes_binary && has_bytes;
        let mut body = Vec::with_capacity(bytes + bytes / 8 + 16);
        for parcel in parcels() {
            match (parcel, is_binary) {
                (Parcel::Text(text), true) => payload::put_text_in_binary(pieces(text), &mut body),
                // Clients of the first generation decode what they poll once more than they should: only ASCII survives that.
                (Parcel::Text(text), false) if revision == Revision::V3 && self.is_json => {
                    payload::put_text(revision, [&ascii(text), b"", b""], &mut body);
                }
                (Parcel::Text(text), false) => payload::put_text(revision, pieces(text), &mut body),
                (Parcel::Binary(bytes), true) => payload::put_binary(bytes, &mut body),
                (Parcel::Binary(bytes), false) => payload::put_base64(revision, bytes, &mut body),
            }
        }
        (count, Payload { bytes: body, is_binary })
    }
}

fn pieces(text: &Outgoing) -> [&[u8]; 3] {
    [&text.head, &text.body, &text.tail]
}

/// Writes JSON with an escape for every character that is not ASCII: outside of strings it has none.
fn ascii(text: &Outgoing) -> Vec<u8> {
    let mut out = pieces(text).concat();
    if out.is_ascii() {
        return out;
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    out.clear();
    let mut units = [0; 2];
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() => out.push(byte),
            _ => {
                let escapes = character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"));
                escapes.for_each(|escape| out.extend_from_slice(escape.as_bytes()));
            }
        }
    }
    out
}

/// Makes the body of a poll that holds one bare packet.
pub(super) fn bare(revision: Revision, kind: Kind) -> Payload {
    text(revision, &[kind.digit()])
}

/// Makes the body of a poll that holds one text packet.
pub(super) fn text(revision: Revision, packet: &[u8]) -> Payload {
    let mut bytes = Vec::new();
    payload::put_text(revision, [packet, b"", b""], &mut bytes);
    Payload { bytes, is_binary: false }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        let body = Bytes::from_static("é".as_bytes());
        let text = Outgoing { head: b"42[\"".to_vec(), body, tail: b"\"]".to_vec() };
        outbox.push([Parcel::Text(text), Parcel::Binary(Bytes::from_static(&[1, 2]))]);
        outbox
    }

    #[test]
    fn a_poll_takes_all_that_waits_as_its_version_writes_it() {
        for (revision, takes_binary, want) in [
            (Revision::V4, true, &b"42[\"\xc3\xa9\"]\x1ebAQI="[..]),
            (Revision::V3, false, b"7:42[\"\xc3\xa9\"]6:b4AQI="),
            (Revision::V3, true, b"\x00\x08\xff42[\"\xc3\xa9\"]\x01\x03\xff\x04\x01\x02"),
        ] {
            let (door, mut outbox) = (Door::default(), outbox());
            let mut poll = door.poll(takes_binary).unwrap();
            assert_eq!(outbox.answer(revision, &door), 2);
            let payload = poll.try_recv().unwrap();
            assert_eq!(payload.bytes, want, "{revision:?} {takes_binary}");
            assert_eq!(payload.is_binary, revision == Revision::V3 && takes_binary);
            assert!(outbox.is_empty() && outbox.bytes == 0);
        }
    }

    #[test]
    fn json_is_ascii_for_clients_of_the_third_version_that_poll_text() {
        for (revision, is_json, want) in [
            (Revision::V3, true, &b"24:4[\"a\\u00e9\\ud83d\\ude00\"]"[..]),
            (Revision::V3, false, "9:4[\"aé\u{1f600}\"]".as_bytes()),
            (Revision::V4, true, "4[\"aé\u{1f600}\"]".as_bytes()),
        ] {
            let (door, mut outbox) = (Door::default(), Outbox::new(is_json));
            let mut poll = door.poll(false).unwrap();
            outbox.push([Parcel::text("4[\"aé\u{1f600}\"]")]);
            outbox.answer(revision, &door);
            assert_eq!(poll.try_recv().unwrap().bytes, want, "{revision:?} {is_json}");
        }
    }

    #[test]
    fn a_poll_takes_so_many_packets_and_the_rest_waits() {
        let (door, mut outbox) = (Door::default(), Outbox::default());
        outbox.push((0..PAYLOAD_PACKETS_MAX + 3).map(|n| Parcel::text(format!("4{n}"))));
        let _first = door.poll(true).unwrap();
        assert_eq!(outbox.answer(Revision::V4, &door), PAYLOAD_PACKETS_MAX);
        let _second = door.poll(true).unwrap();
        assert_eq!(outbox.answer(Revision::V4, &door), 3);
    }

    #[test]
    fn what_a_client_that_hung_up_did_not_hear_waits_for_its_next_poll() {
        let (door, mut outbox) = (Door::default(), outbox());
        drop(door.poll(true).unwrap());
        assert_eq!(outbox.answer(Revision::V4, &door), 0);
        let mut poll = door.poll(true).unwrap();
        assert_eq!(outbox.answer(Revision::V4, &door), 2);
        assert!(poll.try_recv().is_ok());
    }

    #[test]
    fn a_poll_takes_so_many_bytes_and_the_rest_waits() {
        let (door, mut outbox) = (Door::default(), Outbox::default());
        let large = || Parcel::Binary(Bytes::from(vec![0; PAYLOAD_MAX_BYTES / 2 + 1]));
        outbox.push([large(), large(), large()]);
        assert!(!outbox.has_room());
        let _first = door.poll(true).unwrap();
        assert_eq!(outbox.answer(Revision::V4, &door), 2);
        assert!(outbox.has_room());
        let _second = door.poll(true).unwrap();
        assert_eq!(outbox.answer(Revision::V4, &door), 1);
    }
}
