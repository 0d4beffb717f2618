//! Any text as a packet of Socket.IO: no panic, and what was read is written again as it was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;

use self::codec::packet::{ATTACHMENTS_MAX, Kind, Packet, name_of, put_head};

// The codec alone: the product around it would bring its broker client along.
#[allow(dead_code)]
#[path = "../../crates/windrow/src/dialect/socketio"]
mod codec {
    pub mod packet;
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(packet) = Packet::decode(text) else { return };
    assert!(packet.attachments <= ATTACHMENTS_MAX);
    if packet.kind == Kind::Event {
        assert!(packet.data.and_then(name_of).is_some(), "an event has a name");
    }
    let mut again = Vec::new();
    put_head(packet.kind, packet.namespace, packet.ack, packet.attachments, &mut again);
    again.extend_from_slice(packet.data.unwrap_or_default().as_bytes());
    let again = String::from_utf8(again).expect("text in, text out");
    assert_eq!(Packet::decode(&again), Ok(Packet { query: None, ..packet }), "{again}");
});
