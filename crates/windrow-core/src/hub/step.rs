//! Steps: the net effect of some changes on one filter, encoded once for all clients that stand at the same place.
//!
//! **In** the touches of a filter after a number, the ring. **Out** `"rows":[…],"gone":[…],"retired":ms`, without the head
//! that differs by client.
//! **Invariant:** a row is named in `gone` only if it matched before the step, and appears in `rows` only as its newest
//! state within the step; a key that was never visible is never named. On a sequence nothing is left out or reordered.
//! **Not here:** who gets a step (`hub`), heads, tails and framing (the dialects).

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    filters::Touch,
    ring::{Change, Ring},
    row::{KeyWriter, Row},
};

/// A step ends after this many bytes of rows, and so bounds what a client that does not read makes the server hold.
pub const STEP_MAX_BYTES: usize = 256 << 10;

/// The net effect of some changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Members of the message without braces; empty when nothing is left to tell.
    pub members: Bytes,
    /// Rows in it.
    pub rows: usize,
    /// Changes that a newer one in the same step replaced.
    pub conflated: usize,
}

/// How the rows of a channel behave.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Names of key columns.
    pub(crate) keys: KeyWriter,
    /// Newest state per key, or every record in order.
    pub(crate) is_table: bool,
    /// Whether rows belong to windows that leave together.
    pub(crate) windowed: bool,
}

/// Finds how many of `touches` one step takes: at least one, and no more than fit.
pub(crate) fn width(touches: &[Touch]) -> usize {
    let Some(first) = touches.first() else { return 0 };
    let limit = first.bytes_total + STEP_MAX_BYTES as u64;
    touches.partition_point(|touch| touch.bytes_total <= limit).max(1)
}

/// Encodes every state that matches, in order; `None` when the ring no longer holds one of them.
pub(crate) fn encode_each(ring: &Ring, touches: &[Touch]) -> Option<Step> {
    let mut writer = Members::default();
    for touch in touches {
        let change = ring.get(touch.no)?;
        if let Some(row) = change.new.as_deref().filter(|_| touch.new) {
            writer.row(row);
        }
    }
    Some(Step { rows: writer.rows, conflated: 0, members: writer.finish() })
}

/// Encodes the net effect of `touches`; `None` when the ring no longer holds one of them.
///
/// - **Shape:** `window_end_min_ms` is the earliest window end that still has rows: those that left before it are told as
///   one `retired`.
pub(crate) fn encode(
    shape: &Shape,
    ring: &Ring,
    touches: &[Touch],
    window_end_min_ms: Option<i64>,
) -> Option<Step> {
    let changes: Vec<(&Touch, &Change)> =
        touches.iter().map(|touch| Some((touch, ring.get(touch.no)?))).collect::<Option<_>>()?;
    let mut writer = Members::default();
    let mut conflated = 0;
    if shape.is_table {
        for net in conflate(&changes) {
            conflated += net.replaced;
            match (net.row, net.was_visible) {
                (Some(row), _) => writer.row(row),
                (None, false) => {}
                (None, true) => match net.left.and_then(|row| row.window_end_ms) {
                    Some(end) if shape.windowed && window_end_min_ms.is_none_or(|least| end < least) => {
                        writer.retired_ms = writer.retired_ms.max(Some(end));
                    }
                    _ => writer.gone(&shape.keys, net.key),
                },
            }
        }
    } else {
        return encode_each(ring, touches);
    }
    Some(Step { rows: writer.rows, conflated, members: writer.finish() })
}

/// What became of one row.
struct Net<'a> {
    key: &'a [u8],
    was_visible: bool,
    /// The newest state, if it matches.
    row: Option<&'a Row>,
    /// The last state of a row that is no longer in the table.
    left: Option<&'a Row>,
    replaced: usize,
}

fn conflate<'a>(changes: &[(&Touch, &'a Change)]) -> Vec<Net<'a>> {
    let mut nets: Vec<Net<'a>> = Vec::with_capacity(changes.len());
    let mut places: HashMap<&[u8], usize, foldhash::fast::RandomState> = HashMap::with_capacity_and_hasher(
        if changes.len() > 1 { changes.len() } else { 0 },
        Default::default(),
    );
    for (touch, change) in changes {
        let key = change.key();
        let row = change.new.as_deref().filter(|_| touch.new);
        let left = if change.new.is_none() { change.old.as_deref() } else { None };
        let place = if changes.len() > 1 { *places.entry(key).or_insert(nets.len()) } else { 0 };
        match nets.get_mut(place) {
            Some(net) => {
                net.replaced += 1;
                (net.row, net.left) = (row, left);
            }
            None => nets.push(Net { key, was_visible: touch.old, row, left, replaced: 0 }),
        }
    }
    nets
}

/// Writes `"rows":[…],"gone":[…],"retired":ms`.
#[derive(Debug, Default)]
pub(crate) struct Members {
    list: Vec<u8>,
    gone: Vec<u8>,
    pub(crate) rows: usize,
    pub(crate) retired_ms: Option<i64>,
}

impl Members {
    pub(crate) fn row(&mut self, row: &Row) {
        if self.rows > 0 {
            self.list.push(b',');
        }
        self.rows += 1;
        self.list.extend_from_slice(&row.json);
    }

    pub(crate) fn gone(&mut self, keys: &KeyWriter, key: &[u8]) {
        if !self.gone.is_empty() {
            self.gone.push(b',');
        }
        keys.write(key, &mut self.gone);
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.list.len() + self.gone.len()
    }

    /// Returns nothing at all when there is nothing to tell.
    pub(crate) fn finish(self) -> Bytes {
        if self.rows == 0 && self.gone.is_empty() && self.retired_ms.is_none() {
            return Bytes::new();
        }
        self.finish_always()
    }

    pub(crate) fn finish_always(self) -> Bytes {
        let mut out = Vec::with_capacity(self.list.len() + self.gone.len() + 40);
        out.extend_from_slice(b"\"rows\":[");
        out.extend_from_slice(&self.list);
        out.push(b']');
        if !self.gone.is_empty() {
            out.extend_from_slice(b",\"gone\":[");
            out.extend_from_slice(&self.gone);
            out.push(b']');
        }
        if let Some(end) = self.retired_ms {
            out.extend_from_slice(b",\"retired\":");
            out.extend_from_slice(itoa::Buffer::new().format(end).as_bytes());
        }
        out.into()
    }

    /// Returns the rows alone, `[…]`.
    pub(crate) fn into_array(self) -> Bytes {
        let mut out = Vec::with_capacity(self.list.len() + 2);
        out.push(b'[');
        out.extend_from_slice(&self.list);
        out.push(b']');
        out.into()
    }
}
