//! The hub's rules: one channel's rows, recent changes and filters, and what each watcher is to be told next.
//!
//! **In** upserts and tombstones in the order of the log, positions reached, watchers. **Out** steps, snapshots, positions.
//! **Before** this file: the reader (records became rows). **After** it: sessions, which pull.
//!
//! A watcher is a filter and a number: the last change it was told, or knows that it does not concern it. Pulling takes it
//! forward by one step. Nothing is queued per watcher, so one that does not pull costs nothing and misses nothing until the
//! ring has passed it; then it is lost and begins anew with a snapshot.
//!
//! **Invariant:** what a watcher was told, applied in order, is the matching rows at its number, exactly; `gone` names keys
//! that it knew and no others. A mark is a moment between two commits, so a position never splits one.
//! **Not here:** locks, tasks, ticking, sockets (the product's `hub`, `session`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bumpalo::Bump;

use self::{filters::Filters, step::Shape, table::Table};
pub use self::{
    filters::{FilterId, Rule, Tick, TooManyFilters},
    ring::{Change, Ring},
    row::{KeyWriter, Row, elements},
    snapshot::{Lost, Piece, SnapshotCursor},
    step::{STEP_MAX_BYTES, Step},
    table::Full,
    watch::{Pulled, Refiltered, Watch},
};
use crate::{
    position::{Position, TopicPosition},
    scan::RowFields,
    value::{ColumnType, Datum},
};

mod filters;
mod keys;
mod resume;
mod ring;
mod row;
mod snapshot;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod watch;

pub use resume::Resumed;

/// What a channel is made of.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// Name, part of every position's question.
    pub name: Arc<str>,
    /// What decides the meaning of its rows: a changed plan asks another question.
    pub fingerprint: u64,
    /// Columns that filters may name.
    pub columns: Vec<(Arc<str>, Option<ColumnType>)>,
    /// Columns that name a row.
    pub key_names: Vec<Arc<str>>,
    /// Newest state per key (true), or every record in order (false).
    pub is_table: bool,
    /// Whether rows belong to windows.
    pub windowed: bool,
    /// Rows that a sequence keeps for snapshots.
    pub keep_rows: usize,
    /// Bound of the rows.
    pub table_max_bytes: usize,
    /// Bound of the recent changes.
    pub ring_max_bytes: usize,
    /// Bound of the filters that no index answers.
    pub unindexed_filters_max: usize,
}

/// A moment between two commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// Number of the last change before it.
    pub no: u64,
    /// Next offset of every partition.
    pub offsets: Vec<(i32, i64)>,
    /// Earliest window end that has rows.
    window_end_min_ms: Option<i64>,
}

/// One channel.
#[derive(Debug)]
pub struct Channel {
    options: ChannelOptions,
    shape: Shape,
    fields: RowFields,
    epoch: u64,
    table: Table,
    /// The last rows of a sequence.
    recent: VecDeque<Arc<Row>>,
    ring: Ring,
    filters: Filters,
    next: BTreeMap<i32, i64>,
    /// Where each partition began when this process found it.
    start: BTreeMap<i32, i64>,
    live: bool,
    marks: [Arc<Mark>; Tick::ALL.len()],
    arena: Bump,
}

impl Channel {
    /// Makes an empty channel that is not live yet: rows fill the table, changes are not recorded.
    pub fn new(options: ChannelOptions) -> Self {
        Self {
            shape: Shape {
                keys: KeyWriter::new(&options.key_names),
                is_table: options.is_table,
                windowed: options.windowed,
            },
            fields: RowFields::new(&options.columns),
            epoch: 0,
            table: Table::new(options.table_max_bytes),
            recent: VecDeque::new(),
            ring: Ring::new(options.ring_max_bytes),
            filters: Filters::new(options.unindexed_filters_max),
            next: BTreeMap::new(),
            start: BTreeMap::new(),
            live: false,
            marks: Default::default(),
            arena: Bump::new(),
            options,
        }
    }

    /// Says what is read: the [`stable_hash`](crate::position::stable_hash) of the topic's name and id, and where each partition begins.
    pub fn begin(&mut self, epoch: u64, partitions: impl IntoIterator<Item = (i32, i64)>) {
        self.epoch = epoch;
        partitions.into_iter().for_each(|(partition, offset)| self.partition(partition, offset));
    }

    /// Adds a partition that is read from `offset` on.
    pub fn partition(&mut self, partition: i32, offset: i64) {
        self.next.entry(partition).or_insert(offset);
        self.start.entry(partition).or_insert(offset);
        if self.live {
            self.ring.begin(partition, offset);
        }
    }

    /// Says that the table is complete: from now on changes are recorded and watchers may come.
    pub fn go_live(&mut self) {
        self.live = true;
        for (&partition, &offset) in &self.next {
            self.ring.begin(partition, offset);
        }
        self.mark();
    }

    /// Tells whether [`Self::go_live`] was called.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Applies one record: a row, or the end of one.
    ///
    /// - **Limits:** a record below the partition's position was applied before and is left out.
    /// - **Errors:** the table's bound; the channel must be refused then.
    pub fn apply(
        &mut self,
        (partition, offset): (i32, i64),
        key: &[u8],
        json: Option<&[u8]>,
        window_end_ms: Option<i64>,
    ) -> Result<(), Full> {
        let next = self.next.entry(partition).or_insert(0);
        if offset < *next {
            return Ok(());
        }
        *next = offset + 1;
        let new = json.map(|json| Arc::new(Row { key: key.into(), json: json.into(), window_end_ms }));
        let old = match (&new, self.shape.is_table) {
            (Some(row), true) => self.table.upsert(row.clone())?,
            (None, true) => self.table.remove(key),
            (Some(row), false) => {
                self.keep(row.clone());
                None
            }
            (None, false) => None,
        };
        if self.live && (old.is_some() || new.is_some()) {
            self.record(Change { partition, offset, old, new });
        }
        Ok(())
    }

    fn keep(&mut self, row: Arc<Row>) {
        if self.options.keep_rows > 0 {
            if self.recent.len() == self.options.keep_rows {
                self.recent.pop_front();
            }
            self.recent.push_back(row);
        }
    }

    fn record(&mut self, change: Change) {
        self.arena.reset();
        let arena = &self.arena;
        let bytes = change.new.as_ref().map_or(change.key().len(), |row| row.json.len());
        let (old, new) = (change.old.clone(), change.new.clone());
        let no = self.ring.push(change);
        if !self.filters.need_columns() {
            let none: &[Datum<'_>] = &[];
            self.filters.touch(no, bytes, old.map(|_| none), new.map(|_| none), arena);
            return;
        }
        let (mut old_columns, mut new_columns) = (Vec::new(), Vec::new());
        read_columns(&self.fields, old.as_deref(), arena, &mut old_columns);
        read_columns(&self.fields, new.as_deref(), arena, &mut new_columns);
        let old = old.as_ref().map(|_| old_columns.as_slice());
        let new = new.as_ref().map(|_| new_columns.as_slice());
        self.filters.touch(no, bytes, old, new, arena);
    }

    /// Says that a partition was read up to `next`, beyond records that are not rows.
    pub fn advance(&mut self, partition: i32, next: i64) {
        let known = self.next.entry(partition).or_insert(next);
        *known = next.max(*known);
    }

    /// Says that records below `offset` were lost before they could be read: nobody can resume across.
    pub fn partition_gap(&mut self, partition: i32, offset: i64) {
        self.advance(partition, offset);
        self.ring.begin(partition, offset);
    }

    /// Ends a commit: watchers of [`Tick::Now`] may be told everything up to here. Returns the filters that have news.
    pub fn commit(&mut self) -> Vec<FilterId> {
        self.mark();
        self.filters.take_dirty(Tick::Now)
    }

    fn mark(&mut self) {
        self.marks[Tick::Now as usize] = Arc::new(Mark {
            no: self.ring.last_no(),
            offsets: self.next.iter().map(|(p, o)| (*p, *o)).collect(),
            window_end_min_ms: self.table.window_end_min_ms(),
        });
    }

    /// Ends a tick: its watchers may be told everything up to the last commit. Returns the filters that have news.
    pub fn tick(&mut self, tick: Tick) -> Vec<FilterId> {
        self.marks[tick as usize] = self.marks[Tick::Now as usize].clone();
        if tick == Tick::Second {
            self.filters.trim(self.ring.first_no());
        }
        self.filters.take_dirty(tick)
    }

    /// Tells whether positions fit their bound.
    pub fn is_resumable(&self) -> bool {
        let offsets = self.next.iter().map(|(p, o)| (*p, *o)).collect();
        Position { question: 0, topics: vec![TopicPosition { epoch: 0, offsets }] }.encode().is_some()
    }

    /// Returns the next offset of every partition.
    pub fn offsets(&self) -> &BTreeMap<i32, i64> {
        &self.next
    }

    /// Returns what the channel holds, for its gauges.
    pub fn size(&self) -> Size {
        Size {
            rows: if self.shape.is_table { self.table.len() } else { self.recent.len() },
            table_bytes: self.table.bytes(),
            ring_bytes: self.ring.bytes(),
            filters: self.filters.len(),
        }
    }
}

/// What a channel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows of the table, or kept rows of a sequence.
    pub rows: usize,
    /// Bytes of the table.
    pub table_bytes: usize,
    /// Bytes of the ring.
    pub ring_bytes: usize,
    /// Distinct filters.
    pub filters: usize,
}

fn read_columns<'a>(fields: &RowFields, row: Option<&'a Row>, arena: &'a Bump, columns: &mut Vec<Datum<'a>>) {
    // A row that cannot be read has no columns, and so matches no rule.
    if let Some(row) = row {
        let _ = fields.read(&row.json, arena, columns);
    }
}
