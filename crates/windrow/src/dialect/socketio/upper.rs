//! Upper: what an Engine.IO session carries, as the connection sees it.
//!
//! **In** messages of the client, rings of the bell, time. **Out** parcels: what is to be sent, in pieces that no transport has
//! framed yet. **Invariant:** nothing here knows whether a socket or a poll carries it. **Not here:** transports (`connection`).

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use super::engine::{Kind, Revision};
use crate::{
    hub::{Bell, Rung},
    session::{Outgoing, Verdict},
};

/// One packet on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialect) enum Parcel {
    /// A text packet with its type in front.
    Text(Outgoing),
    /// A binary message, without its type.
    Binary(Bytes),
}

impl Parcel {
    /// Makes a packet that says nothing but its kind.
    pub(in crate::dialect) fn bare(kind: Kind) -> Self {
        Self::text([kind.digit()])
    }

    /// Makes a text packet in one piece, its type in front.
    pub(in crate::dialect) fn text(text: impl Into<Vec<u8>>) -> Self {
        Parcel::Text(Outgoing::whole(text))
    }

    pub(in crate::dialect) fn len_bytes(&self) -> usize {
        match self {
            Parcel::Text(text) => text.len_bytes(),
            Parcel::Binary(bytes) => bytes.len(),
        }
    }
}

/// Whoever speaks through one Engine.IO session.
pub(in crate::dialect) trait Upper: Send {
    /// Hears a text message.
    fn text(&mut self, text: &str, out: &mut Vec<Parcel>) -> Verdict;

    /// Hears a binary message.
    fn binary(&mut self, bytes: Bytes, out: &mut Vec<Parcel>) -> Verdict;

    /// Tells whether every text that it says holds JSON alone.
    fn is_json(&self) -> bool;

    /// Notes what rang.
    fn rang(&mut self, _rung: Rung) {}

    /// Tells whether [`Self::pull`] may have something to say.
    fn has_news(&self) -> bool {
        false
    }

    /// Appends parcels until about `bytes_max` are ready or there is no more news.
    fn pull(&mut self, _bytes_max: usize, _out: &mut Vec<Parcel>) -> Verdict {
        Verdict::Fine
    }

    /// Notes that the transport takes nothing while there is news.
    fn blocked(&mut self, _now: Instant) -> Verdict {
        Verdict::Fine
    }

    /// Does what is due.
    fn on_time(&mut self, _now: Instant, _out: &mut Vec<Parcel>) -> Verdict {
        Verdict::Fine
    }

    /// Returns when [`Self::on_time`] has something to do. While `takes_more` is false it cannot say anything.
    fn wakes_at(&self, _takes_more: bool) -> Option<Instant> {
        None
    }

    /// Says goodbye before a drain.
    fn goodbye(&mut self, _reconnect_after: std::time::Duration, _out: &mut Vec<Parcel>) {}
}

/// What a new session is told about itself.
#[derive(Debug)]
pub(in crate::dialect) struct Opened<'a> {
    /// The query of the request that opens it.
    pub(in crate::dialect) query: &'a str,
    /// The client's revision.
    pub(in crate::dialect) revision: Revision,
    /// The session's bell.
    pub(in crate::dialect) bell: Arc<Bell>,
}

/// Makes an upper for each session.
pub(in crate::dialect) trait Uppers: Send + Sync + fmt::Debug {
    /// Begins; what is appended is sent after the open packet.
    fn open(&self, opened: &Opened<'_>, out: &mut Vec<Parcel>) -> Box<dyn Upper>;
}
