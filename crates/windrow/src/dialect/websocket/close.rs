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
/// Nothing came in time: a heartbeat, or a handshake.
pub const TIMEOUT: u16 = 4003;
/// A message that has no meaning here.
pub const BAD_REQUEST: u16 = 4500;
/// Not allowed.
pub const FORBIDDEN: u16 = 4501;
/// Not RFC 6455.
pub const PROTOCOL_ERROR: u16 = 4502;
/// A message past the bound.
pub const TOO_LARGE: u16 = 4503;

/// Which codes the clients of a dialect know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// Those above.
    Own,
    /// Those of RFC 6455 (section 7.4.1) and its registry, for clients that were made for another server.
    Rfc,
}

impl Codes {
    /// Returns the code for a breach of the framing, and its name.
    pub fn of_violation(self, violation: Violation) -> (u16, &'static str) {
        match (violation, self) {
            (Violation::Binary, Codes::Own) => (BAD_REQUEST, "bad_request"),
            (Violation::Binary, Codes::Rfc) => (1003, "bad_request"),
            (Violation::TooLarge { .. }, Codes::Own) => (TOO_LARGE, "too_large"),
            (Violation::TooLarge { .. }, Codes::Rfc) => (1009, "too_large"),
            (Violation::Protocol(_), Codes::Own) => (PROTOCOL_ERROR, "protocol_error"),
            (Violation::Protocol(_), Codes::Rfc) => (1002, "protocol_error"),
        }
    }

    /// Returns the code for a fault that ends the connection.
    pub fn of_fault(self, fault: &Fault) -> u16 {
        match (fault.code, self) {
            ("draining", Codes::Rfc) => 1001,
            // Try again later.
            ("slow" | "timeout" | "not_ready" | "overloaded", Codes::Rfc) => 1013,
            // The client is no longer allowed what it asked for.
            ("expired", Codes::Rfc) => 1008,
            (_, Codes::Rfc) => 1011,
            ("slow", Codes::Own) => SLOW,
            ("draining", Codes::Own) => DRAINING,
            ("forbidden", Codes::Own) => FORBIDDEN,
            ("timeout", Codes::Own) => TIMEOUT,
            ("bad_request", Codes::Own) => BAD_REQUEST,
            (_, Codes::Own) => OVERLOADED,
        }
    }

    /// Returns the code for the end of the server.
    pub fn draining(self) -> u16 {
        self.of_fault(&Fault::new("draining", ""))
    }
}
