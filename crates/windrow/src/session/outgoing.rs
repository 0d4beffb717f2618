//! Outgoing: one message to a client, in three pieces.
//!
//! **Invariant:** the body is shared by all clients of one filter, whatever they speak; head and tail are a client's own.
//! **Not here:** how it is framed (the dialects).

use std::time::Duration;

use bytes::Bytes;

use super::wire;
use crate::hub::Fault;

/// One message to a client: head, shared members, tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What differs by client.
    pub head: Vec<u8>,
    /// What is shared; may be empty.
    pub body: Bytes,
    /// What ends the message.
    pub tail: Vec<u8>,
}

impl Outgoing {
    /// Makes an error of the connection.
    pub fn error(fault: &Fault) -> Self {
        let mut head = b"{\"error\":".to_vec();
        fault.write_json(&mut head);
        head.push(b'}');
        Self::whole(head)
    }

    /// Makes the last message before the server closes.
    pub fn bye(code: &str, reconnect_after: Duration) -> Self {
        Self::whole(format!("{{\"bye\":{}}}", wire::bye(code, reconnect_after)))
    }

    /// Makes a message in one piece.
    pub fn whole(text: impl Into<Vec<u8>>) -> Self {
        Self { head: text.into(), body: Bytes::new(), tail: Vec::new() }
    }

    /// Returns the size of the message.
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.body.len() + self.tail.len()
    }
}
