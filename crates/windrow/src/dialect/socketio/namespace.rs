//! Namespaces: which service answers where.
//!
//! **In** a client that wants in, its events, its acks. **Out** parcels.
//! **Before** this file: `layer` (who is in which namespace). **After** it: the services, `general` and `echo`.
//! **Invariant:** a service sees whole events only: the attachments are there. **Not here:** packets, transports.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{engine::Revision, packet, upper::Parcel};
use crate::{
    hub::{Bell, Rung},
    session::{Outgoing, Verdict},
};

/// A whole event.
#[derive(Debug)]
pub(in crate::dialect) struct Event<'a> {
    /// Its name.
    pub(in crate::dialect) name: String,
    /// Its arguments, as they were written; an attachment stands in them as a placeholder.
    pub(in crate::dialect) arguments: Vec<&'a RawValue>,
    /// The ack that the client wants.
    pub(in crate::dialect) ack: Option<u64>,
    /// Bytes, by the numbers of their placeholders.
    pub(in crate::dialect) attachments: Vec<Bytes>,
}

/// The answer to an event of ours.
#[derive(Debug)]
pub(in crate::dialect) struct Acked<'a> {
    /// The number of our event.
    pub(in crate::dialect) ack: u64,
    /// Its arguments: a JSON array.
    pub(in crate::dialect) data: &'a str,
    /// Bytes, by the numbers of their placeholders.
    pub(in crate::dialect) attachments: Vec<Bytes>,
}

/// What becomes of a client after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Next {
    /// It stays.
    Stay,
    /// It is put out of the namespace.
    Leave,
    /// Its session ends; it may come back.
    HangUp,
}

/// One client in one namespace.
pub(in crate::dialect) trait Service: Send {
    /// Answers an event.
    fn event(&mut self, event: Event<'_>, out: &mut Vec<Parcel>) -> Next;

    /// Hears the ack of an event of its own.
    fn acked(&mut self, _acked: Acked<'_>, _out: &mut Vec<Parcel>) {}

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
    fn on_time(&mut self, _now: Instant, _out: &mut Vec<Parcel>) {}

    /// Returns when [`Self::on_time`] has something to do.
    fn wakes_at(&self) -> Option<Instant> {
        None
    }

    /// Says goodbye before a drain.
    fn goodbye(&mut self, _reconnect_after: Duration, _out: &mut Vec<Parcel>) {}
}

/// A client that wants in.
#[derive(Debug)]
pub(in crate::dialect) struct Entering<'a> {
    /// The namespace.
    pub(in crate::dialect) namespace: &'a str,
    /// What it brings: a JSON object.
    pub(in crate::dialect) auth: Option<&'a str>,
    /// The revision of Engine.IO below; with 3 only the query of the namespace can be brought.
    pub(in crate::dialect) revision: Revision,
    /// The query that the session was opened with, where [`Namespaces::read_query`] asks for it.
    pub(in crate::dialect) query: &'a str,
    /// The session's bell.
    pub(in crate::dialect) bell: &'a Arc<Bell>,
}

/// What a client is told that was let in.
pub(in crate::dialect) struct Entered {
    /// Its name in this namespace.
    pub(in crate::dialect) sid: Box<str>,
    /// What it may come back with.
    pub(in crate::dialect) pid: Option<Box<str>>,
    /// Who answers it.
    pub(in crate::dialect) service: Box<dyn Service>,
    /// Said right after the answer.
    pub(in crate::dialect) greeting: Vec<Parcel>,
}

/// A client that is let in as soon as it is known how.
pub(in crate::dialect) trait Candidate: Send {
    /// Notes what rang.
    fn rang(&mut self, rung: Rung);

    /// Tries; with `give_up` for the last time.
    fn attempt(&mut self, give_up: bool) -> Option<Result<Entered, String>>;
}

/// How a client gets in.
pub(in crate::dialect) enum Admission {
    Now(Entered),
    Later(Box<dyn Candidate>),
}

/// All namespaces of a listener.
pub(in crate::dialect) trait Namespaces: Send + Sync + fmt::Debug {
    /// Tells whether they look at the query of a session: it is held for as long as the session lives.
    fn read_query(&self) -> bool {
        false
    }

    /// Lets a client in, or says why not.
    fn enter(&self, entering: &Entering<'_>) -> Result<Admission, String>;
}

/// Makes a packet: its head, then data that is JSON.
pub(in crate::dialect) fn packet(
    kind: packet::Kind,
    namespace: &str,
    ack: Option<u64>,
    attachments: &[Bytes],
    data: &[u8],
) -> impl Iterator<Item = Parcel> {
    let mut head = vec![b'4'];
    let count = u32::try_from(attachments.len()).unwrap_or(u32::MAX);
    packet::put_head(kind, namespace, ack, count, &mut head);
    head.extend_from_slice(data);
    let attachments = attachments.to_vec();
    std::iter::once(Parcel::Text(Outgoing::whole(head))).chain(attachments.into_iter().map(Parcel::Binary))
}
