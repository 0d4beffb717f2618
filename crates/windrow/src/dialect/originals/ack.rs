//! Acks: how an original answers an event of a client in namespace `/`.
//!
//! **In** the number of the ack, if one is wanted. **Out** packets.

use crate::{
    dialect::socketio::{namespace, packet::Kind, upper::Parcel},
    hub::Fault,
};

/// Answers an event with these arguments, if an answer is wanted.
pub(super) fn say(ack: Option<u64>, arguments: &str, out: &mut Vec<Parcel>) {
    if ack.is_some() {
        out.extend(namespace::packet(Kind::Ack, "/", ack, &[], arguments.as_bytes()));
    }
}

/// Answers an event with what is wrong, if an answer is wanted.
pub(super) fn refuse(ack: Option<u64>, fault: &Fault, out: &mut Vec<Parcel>) {
    let mut error = b"[{\"error\":".to_vec();
    fault.write_json(&mut error);
    error.extend_from_slice(b"}]");
    if ack.is_some() {
        out.extend(namespace::packet(Kind::Ack, "/", ack, &[], &error));
    }
}
