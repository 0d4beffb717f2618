//! Rows: from a bucket's cells to the bytes that the channel and the user's topic get.
//!
//! **In** a row of a bucket, changed, final or leaving. **Out** records, at the cut.
//! **Before** this file: `state`, `expr`. **After** it: `out`.
//!
//! **Invariant:** a row is on the channel exactly when it was written there and `HAVING` held; what leaves gets a tombstone.
//! All rows of one cut share a few pieces of memory.
//! **Not here:** when a row is written (`close`, `view`).

use std::{mem, ops::Range, sync::Arc};

use bumpalo::{Bump, collections::Vec as ArenaVec};
use bytes::Bytes;

use super::{TaskError, over::Over};
use crate::{
    batch::murmur2,
    out::{OutRecord, Place, Target},
    plan::{Shape, ViewPlan},
    spec::Emit,
    state::{Bucket, canon::Reader},
    value::Datum,
    window::Window,
};

mod json;

pub(super) use json::group_json;
use json::{UserKey, Writer};

/// What became of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// The channel has it now.
    pub(super) shown: bool,
    /// It changed what the finals of its key add up to, for the first time since the last cut.
    pub(super) counted: bool,
}

/// What a record tells about its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Change,
    Final,
    /// `HAVING` no longer holds.
    Gone,
    Retired,
}

/// A record whose bytes are still ranges of a piece of the shared text.
#[derive(Debug)]
struct Pending {
    piece: usize,
    target: Target,
    hash: u32,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    window: Option<Window>,
    state: State,
}

/// A longer text begins another piece: growing one text to what a large epoch writes would copy it, and have the system clear its
/// memory, time and again.
const PIECE_BYTES: usize = 1 << 20;

/// What an [`OutRecord`] costs besides its bytes.
const RECORD_BYTES: usize = 160;

/// Writes the rows of one view.
#[derive(Debug)]
pub(super) struct Rows {
    view: Arc<ViewPlan>,
    writer: Writer,
    channel_changes: bool,
    user_changes: bool,
    arena: Bump,
    /// Pieces before the one at hand.
    full: Vec<Bytes>,
    full_bytes: usize,
    text: Vec<u8>,
    pending: Vec<Pending>,
    rows: u64,
    finals: u64,
}

impl Rows {
    pub(super) fn new(view: Arc<ViewPlan>) -> Result<Self, TaskError> {
        // A running table is never final: whoever asks for its rows gets changes.
        let changes = |emit: Emit| emit == Emit::Changes || view.shape == Shape::Running;
        Ok(Self {
            writer: Writer::new(&view)?,
            channel_changes: changes(view.spec.emit),
            user_changes: view.spec.topic.as_ref().is_some_and(|user| changes(user.emit)),
            view,
            arena: Bump::new(),
            full: Vec::new(),
            full_bytes: 0,
            text: Vec::new(),
            pending: Vec::new(),
            rows: 0,
            finals: 0,
        })
    }

    /// Tells whether rows are written before they are final.
    pub(super) fn wants_changes(&self) -> bool {
        self.channel_changes || self.user_changes
    }

    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.text.len() + self.pending.len() * RECORD_BYTES
    }

    /// Makes room for what belongs together; returns the number of the piece that it will be in.
    fn piece(&mut self) -> usize {
        if self.text.len() >= PIECE_BYTES {
            let next = Vec::with_capacity(self.text.capacity());
            let full = mem::replace(&mut self.text, next);
            self.full_bytes += full.len();
            self.full.push(full.into());
        }
        self.full.len()
    }

    /// Tells whether `HAVING` holds for a row.
    pub(super) fn holds(&mut self, bucket: &Bucket, row: u32) -> bool {
        let Some(having) = &self.view.having else { return true };
        self.arena.reset();
        let window = window_of(&self.view, bucket.end_ms);
        let output = output_row(&self.view, bucket, row, window, &self.arena);
        having.holds(&output, &self.arena)
    }

    /// Writes a row as it stands.
    pub(super) fn write(
        &mut self,
        bucket: &Bucket,
        row: u32,
        is_final: bool,
        mut over: Option<&mut Over>,
    ) -> Written {
        self.arena.reset();
        let piece = self.piece();
        let Self { view, writer, arena, text, pending, .. } = self;
        let (channel, user) =
            (is_final || self.channel_changes, view.spec.topic.is_some() && (is_final || self.user_changes));
        let window = window_of(view, bucket.end_ms);
        let mut output = output_row(view, bucket, row, window, arena);
        let holds = view.having.as_ref().is_none_or(|having| having.holds(&output, arena));
        let shown = bucket.is_shown(row);
        if !holds && !shown {
            return Written::default();
        }
        let mut counted = false;
        if holds && let Some(over) = &mut over {
            counted = is_final && over.fold(&view.over, (bucket, row), &output, arena);
            over.results(&view.over, (bucket, row), !is_final, &mut output, arena);
        }
        let group = writer.group(view, &output, text);
        let hash = murmur2(&text[group.clone()]);
        let state = match (holds, is_final) {
            (false, _) => State::Gone,
            (true, true) => State::Final,
            (true, false) => State::Change,
        };
        if holds && user {
            let key = writer.user_key(&output, arena, &group, text);
            let value = writer.user_value(view, &output, arena, text);
            // Without a key, rows of one group still stay in order.
            let hash = key.as_ref().map_or(hash, |key| murmur2(&text[key.clone()]));
            let target = Target::User(view.index);
            pending.push(Pending { piece, target, hash, key, value, window, state });
            self.rows += 1;
        }
        if channel {
            let key = Some(json::channel_key(group, window, text));
            let value = holds.then(|| writer.channel_value(view, &output, arena, window, is_final, text));
            let target = Target::Channel(view.index);
            pending.push(Pending { piece, target, hash, key, value, window, state });
            self.rows += 1;
            self.finals += u64::from(state == State::Final);
        }
        Written { shown: holds && (channel || shown), counted }
    }

    /// Writes the tombstone of a retired row.
    pub(super) fn retire(&mut self, end_ms: i64, key: &[u8]) {
        self.arena.reset();
        let piece = self.piece();
        let Self { view, arena, text, pending, .. } = self;
        let window = window_of(view, end_ms);
        let mut datums = ArenaVec::with_capacity_in(view.keys.len(), arena);
        push_keys(view, key, arena, &mut datums);
        let group = group_json(&datums, text);
        let hash = murmur2(&text[group.clone()]);
        let key = Some(json::channel_key(group, window, text));
        let target = Target::Channel(view.index);
        pending.push(Pending { piece, target, hash, key, value: None, window, state: State::Retired });
        self.rows += 1;
    }

    /// Returns a row in the user's shape, in JSON where that has a schema, to tell about it elsewhere.
    pub(super) fn letter(&mut self, bucket: &Bucket, row: u32) -> Vec<u8> {
        self.arena.reset();
        let window = window_of(&self.view, bucket.end_ms);
        let output = output_row(&self.view, bucket, row, window, &self.arena);
        let mut text = Vec::new();
        match self.writer.has_schema() {
            true => drop(self.writer.json_value(&self.view, &output, &self.arena, &mut text)),
            false => drop(self.writer.user_value(&self.view, &output, &self.arena, &mut text)),
        }
        text
    }

    /// Writes the row of a stateless view: straight from the source row.
    pub(super) fn project<'a>(
        &mut self,
        view: &'a ViewPlan,
        row: &[Datum<'a>],
        arena: &'a Bump,
        identity: [Datum<'a>; 3],
    ) {
        let piece = self.piece();
        let Self { writer, text, pending, .. } = self;
        let group = group_json(&identity, text);
        // Records of one partition stay in one partition, in order, unless they have a key of their own.
        let partition = identity[1].integer().and_then(|p| u32::try_from(p).ok()).unwrap_or(0);
        let key = writer.user_key(row, arena, &group, text);
        let hash = match (&key, &writer.user_key) {
            (Some(key), UserKey::Columns(_)) => murmur2(&text[key.clone()]),
            _ => partition,
        };
        let value = writer.user_value(view, row, arena, text);
        let (target, state) = (Target::User(view.index), State::Change);
        pending.push(Pending { piece, target, hash, key, value, window: None, state });
        self.rows += 1;
    }

    /// Hands everything over, with `seq` in the headers; returns the number of records and of finals among them.
    ///
    /// - **Shape:** the value of a channel row ends in its `seq`, which is known only here.
    pub(super) fn drain(&mut self, seq: u64, now_ms: i64, out: &mut Vec<OutRecord>) -> (u64, u64) {
        let mut pieces = mem::take(&mut self.full);
        pieces.push(mem::take(&mut self.text).into());
        self.full_bytes = 0;
        let seq = Bytes::from(seq.to_string());
        let mut header: Option<(Window, Bytes)> = None;
        for pending in self.pending.drain(..) {
            let slice = |range: Range<usize>| pieces[pending.piece].slice(range);
            let mut headers = Vec::new();
            if matches!(pending.target, Target::Channel(_)) {
                if let Some(window) = pending.window {
                    let known = header.take().filter(|(of, _)| *of == window);
                    let known = known.unwrap_or_else(|| (window, window.header().into()));
                    headers.push(("window", known.1.clone()));
                    header = Some(known);
                }
                headers.push(("final", Bytes::from_static(is_final_text(pending.state))));
                headers.push(("seq", seq.clone()));
                match pending.state {
                    State::Gone => headers.push(("reason", Bytes::from_static(b"having"))),
                    State::Retired => headers.push(("reason", Bytes::from_static(b"retired"))),
                    State::Change | State::Final => {}
                }
            }
            out.push(OutRecord {
                target: pending.target,
                place: Place::Hash(pending.hash & 0x7fff_ffff),
                key: pending.key.map(slice),
                value: pending.value.map(slice),
                headers,
                timestamp_ms: now_ms,
            });
        }
        (mem::take(&mut self.rows), mem::take(&mut self.finals))
    }

    /// Forgets what was not handed over.
    pub(super) fn clear(&mut self) {
        self.full.clear();
        self.full_bytes = 0;
        self.text.clear();
        self.pending.clear();
        (self.rows, self.finals) = (0, 0);
    }

    /// Sets the commit number that rows written from now on carry.
    pub(super) fn set_seq(&mut self, seq: u64) {
        self.writer.set_seq(seq);
    }
}

fn is_final_text(state: State) -> &'static [u8] {
    match state {
        State::Final | State::Retired => b"true",
        State::Change | State::Gone => b"false",
    }
}

/// Returns the window behind a bucket; `None` for a running table.
pub(super) fn window_of(view: &ViewPlan, end_ms: i64) -> Option<Window> {
    match view.shape {
        Shape::Tumbling { size_ms } => Some(Window { start_ms: end_ms.saturating_sub(size_ms), end_ms }),
        Shape::Running | Shape::Stateless => None,
    }
}

/// Builds the output row up to the aggregates over finals: keys, aggregates, window start and end.
fn output_row<'a>(
    view: &'a ViewPlan,
    bucket: &'a Bucket,
    row: u32,
    window: Option<Window>,
    arena: &'a Bump,
) -> ArenaVec<'a, Datum<'a>> {
    let mut output =
        ArenaVec::with_capacity_in(view.keys.len() + bucket.columns.len() + 2 + view.over.len(), arena);
    push_keys(view, bucket.key(row), arena, &mut output);
    output.extend(bucket.columns.iter().map(|column| column.result(row as usize, arena)));
    let time = |ms: Option<i64>| ms.map_or(Datum::Null, Datum::Timestamp);
    output.push(time(window.map(|w| w.start_ms)));
    output.push(time(window.map(|w| w.end_ms)));
    output
}

pub(super) fn push_keys<'a>(
    view: &ViewPlan,
    key: &'a [u8],
    arena: &'a Bump,
    row: &mut ArenaVec<'a, Datum<'a>>,
) {
    let mut reader = Reader(key);
    for column in &view.keys {
        let datum = reader.datum(column.ty, arena);
        debug_assert!(datum.is_some(), "a key in the state is canonical");
        row.push(datum.unwrap_or(Datum::Null));
    }
}
