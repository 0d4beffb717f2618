//! Close codes: why a WebSocket connection ended, and whether to come back.
//!
//! **Invariant:** 4000–4499 come back, 4500–4999 do not; a code never changes its meaning. `docs/PROTOCOL.md` lists them.

use super::frame::Violation;
use crate::hub::Fault;

/// Normal end, at the client's wish (RFC 6455).
pub const NORMAL: u16 = 1000;
/// The server is about to stop; `bye` said when to come back.
pub const DRAINING: u16 = 4000;
/// More was waiting for a client of a stream than it may leave unread.
pub const SLOW: u16 = 4001;
/// The server has more to do than it can.
pub const OVERLOADED: u16 = 4002;
/// A message that has no meaning here: binary.
pub const BAD_REQUEST: u16 = 4500;
/// Not allowed.
pub const FORBIDDEN: u16 = 4501;
/// Not RFC 6455.
pub const PROTOCOL_ERROR: u16 = 4502;
/// A message past the bound.
pub const TOO_LARGE: u16 = 4503;

/// Returns the code for a breach of the framing, and its name.
pub fn of_violation(violation: Violation) -> (u16, &'static str) {
    match violation {
        Violation::Binary => (BAD_REQUEST, "bad_request"),
        Violation::TooLarge { .. } => (TOO_LARGE, "too_large"),
        Violation::Protocol(_) => (PROTOCOL_ERROR, "protocol_error"),
    }
}

/// Returns the code for a fault that ends the connection.
pub fn of_fault(fault: &Fault) -> u16 {
    match fault.code {
        "slow" => SLOW,
        "draining" => DRAINING,
        "forbidden" => FORBIDDEN,
        _ => OVERLOADED,
    }
}
