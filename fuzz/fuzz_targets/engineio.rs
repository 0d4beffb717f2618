//! Any bytes as a body of Engine.IO, in both versions: no panic, and what was read comes back when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

use self::codec::engine::{Data, Kind, Malformed, Packet, Revision, payload};

// The codec alone: the product around it would bring its broker client along.
#[allow(dead_code)]
#[path = "../../crates/windrow/src/dialect/socketio"]
mod codec {
    pub mod engine;
}

fuzz_target!(|bytes: &[u8]| {
    for revision in [Revision::V3, Revision::V4] {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = Packet::of_text(revision, text);
        }
        let _ = Packet::of_binary(revision, bytes);
        let Ok(packets) = read(revision, bytes) else { continue };
        assert!(packets.len() <= payload::PACKETS_MAX);
        let (mut text, mut binary) = (Vec::new(), Vec::new());
        for (kind, data) in &packets {
            match data {
                Owned::Text(said) => {
                    payload::put_text(revision, [&[kind.digit()], said.as_bytes(), b""], &mut text);
                    payload::put_text_in_binary([&[kind.digit()], said.as_bytes(), b""], &mut binary);
                }
                Owned::Binary(bytes) => {
                    payload::put_base64(revision, bytes, &mut text);
                    payload::put_binary(bytes, &mut binary);
                }
            }
        }
        assert_eq!(read(revision, &text).as_ref(), Ok(&packets));
        if revision == Revision::V3 {
            assert_eq!(read(revision, &binary).as_ref(), Ok(&packets));
        }
    }
    let _ = payload::of_jsonp(bytes);
});

#[derive(Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
}

fn read(revision: Revision, body: &[u8]) -> Result<Vec<(Kind, Owned)>, Malformed> {
    let mut packets = Vec::new();
    payload::decode(revision, body, |packet| {
        let data = match packet.data {
            Data::Text(text) => Owned::Text(text.to_owned()),
            Data::Binary(bytes) => Owned::Binary(bytes.into_owned()),
        };
        packets.push((packet.kind, data));
        Ok::<(), Malformed>(())
    })?;
    Ok(packets)
}
