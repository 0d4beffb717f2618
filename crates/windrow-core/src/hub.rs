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

use self::{
    departed::{Departed, Left},
    filters::Filters,
    places::Places,
    step::Shape,
    table::Table,
};
pub use self::{
    filters::{FilterId, Rule, Tick, TooManyFilters},
    places::Named,
    ring::{Change, Ring},
    row::{KeyWriter, Row, elements},
    snapshot::{Lost, Piece, SnapshotCursor},
    step::{STEP_MAX_BYTES, Step},
    table::Full,
    watch::{Pulled, Refiltered, Watch},
};
use crate::{
    scan::RowFields,
    value::{ColumnType, Datum},
};

mod departed;
mod filters;
mod keys;
mod missed;
mod places;
mod replay;
mod resume;
mod ring;
mod row;
mod snapshot;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod watch;

pub use replay::Replayed;
pub use resume::{Lapse, Resumed};

/// Tombstones are in a compacted topic for at least a day after they were written (Kafka's default, and the embedded log's);
/// half of it is left for clocks that differ and readers that are slow. Whoever reads an older record may have missed who left before.
pub const TOMBSTONES_KEPT_MS: i64 = 12 * 60 * 60 * 1000;

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
    /// Whether topics may come and go while it lives; else there is one, and another in its place is another life.
    pub has_topics: bool,
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
    /// Next offset of every place.
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
    places: Places,
    table: Table,
    /// The last rows of a sequence.
    recent: VecDeque<Arc<Row>>,
    ring: Ring,
    filters: Filters,
    departed: Departed,
    next: BTreeMap<i32, i64>,
    /// Per place: nobody who stands before this can be told what left.
    floor: BTreeMap<i32, i64>,
    /// Where each place stood when the channel went live: what was read before came from a topic that may be compacted.
    live_from: BTreeMap<i32, i64>,
    /// A row was replaced or ended by a record of another topic.
    is_mixed: bool,
    live: bool,
    /// How often all was forgotten and read anew.
    generation: u32,
    marks: [Arc<Mark>; Tick::ALL.len()],
    arena: Bump,
}

impl Channel {
    /// Makes an empty channel that is not live yet: rows fill the table, and nobody watches.
    pub fn new(options: ChannelOptions) -> Self {
        Self {
            shape: Shape {
                keys: KeyWriter::new(&options.key_names),
                is_table: options.is_table,
                windowed: options.windowed,
            },
            fields: RowFields::new(&options.columns),
            places: Places::default(),
            table: Table::new(options.table_max_bytes),
            recent: VecDeque::new(),
            ring: Ring::new(options.ring_max_bytes),
            filters: Filters::new(options.unindexed_filters_max),
            departed: Departed::default(),
            next: BTreeMap::new(),
            floor: BTreeMap::new(),
            live_from: BTreeMap::new(),
            is_mixed: false,
            live: false,
            generation: 0,
            marks: Default::default(),
            arena: Bump::new(),
            options,
        }
    }

    /// Adds a topic: its epoch is the [`stable_hash`](crate::position::stable_hash) of its name and id; each partition is read from
    /// `offset` on.
    ///
    /// - **Shape:** returns the partitions' places, in the order given. With one topic whose partitions come in order, a place is the
    ///   number of its partition.
    pub fn begin(&mut self, epoch: u64, partitions: impl IntoIterator<Item = (i32, i64)>) -> Vec<i32> {
        partitions.into_iter().map(|(partition, offset)| self.partition((epoch, partition), offset)).collect()
    }

    /// Adds a partition that is read from `offset` on, and returns its place.
    pub fn partition(&mut self, named: Named, offset: i64) -> i32 {
        let place = self.places.add(named);
        if self.next.contains_key(&place) {
            return place;
        }
        self.next.insert(place, offset);
        self.floor.insert(place, offset);
        self.ring.begin(place, offset);
        self.departed.begin(place, offset);
        if self.live {
            self.live_from.insert(place, offset);
        }
        place
    }

    /// Forgets a topic that is no more: the rows that came from it leave, its places are not the channel's any longer.
    ///
    /// - **Shape:** false when that would not be the truth, because its records took the place of rows of other topics: then the
    ///   channel must be read anew.
    pub fn forget(&mut self, epoch: u64) -> bool {
        if self.shape.is_table && self.is_mixed {
            return false;
        }
        let gone = self.places.remove(epoch);
        let leave: Vec<_> =
            self.table.range(b"", None).filter(|row| gone.contains(&row.partition)).cloned().collect();
        for row in leave {
            let offset = self.next.get(&row.partition).copied().unwrap_or(row.offset);
            let old = self.table.remove(&row.key);
            self.record(Change { partition: row.partition, offset, old, new: None });
        }
        self.recent.retain(|row| !gone.contains(&row.partition));
        for place in gone {
            self.ring.end(place);
            self.departed.end(place);
            for of in [&mut self.next, &mut self.floor, &mut self.live_from] {
                of.remove(&place);
            }
        }
        true
    }

    /// Says that the table is complete: from now on watchers may come.
    pub fn go_live(&mut self) {
        if !std::mem::replace(&mut self.live, true) {
            self.live_from = self.next.clone();
            self.departed.retire(self.table.window_end_min_ms());
        }
        self.mark();
        let now = self.marks[Tick::Now as usize].clone();
        self.marks.fill(now);
    }

    /// Forgets everything that was read, because its topic is another or lost its end: all watchers begin anew once the
    /// channel is live again.
    pub fn restart(&mut self) {
        self.live = false;
        self.generation += 1;
        self.table = Table::new(self.options.table_max_bytes);
        self.recent.clear();
        self.ring.clear();
        self.filters.trim(u64::MAX);
        self.departed = Departed::default();
        (self.places, self.is_mixed) = Default::default();
        (self.next, self.floor, self.live_from) = Default::default();
    }

    /// Says that a record was read when it was `age_ms` old: past [`TOMBSTONES_KEPT_MS`] tombstones from before it may be gone.
    pub fn aged(&mut self, place: i32, offset: i64, age_ms: i64) {
        if age_ms > TOMBSTONES_KEPT_MS {
            self.raise_floor(place, offset + 1);
        }
    }

    fn raise_floor(&mut self, place: i32, offset: i64) {
        if let Some(floor) = self.floor.get_mut(&place) {
            *floor = offset.max(*floor);
        }
    }

    /// Tells whether [`Self::go_live`] was called.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Applies one record: a row, or the end of one.
    ///
    /// - **Limits:** a record below the position of its place was applied before and is left out, as is one of a place that the
    ///   channel does not have.
    /// - **Errors:** the table's bound; the channel must be refused then.
    pub fn apply(
        &mut self,
        (partition, offset): (i32, i64),
        key: &[u8],
        json: Option<&[u8]>,
        window_end_ms: Option<i64>,
    ) -> Result<(), Full> {
        let Some(next) = self.next.get_mut(&partition).filter(|next| offset >= **next) else {
            return Ok(());
        };
        *next = offset + 1;
        let former = if self.shape.is_table { self.table.get(key) } else { None };
        let born = former.map(|row| row.born);
        self.is_mixed |= former.is_some_and(|row| !self.places.are_of_one_topic(row.partition, partition));
        let row = |json: &[u8]| {
            let born = born.unwrap_or(offset);
            Arc::new(Row { key: key.into(), json: json.into(), window_end_ms, partition, offset, born })
        };
        let new = json.map(row);
        let old = match (&new, self.shape.is_table) {
            (Some(row), true) => {
                self.departed.window(window_end_ms, &self.next);
                self.departed.came(key);
                self.table.upsert(row.clone())?
            }
            (None, true) => self.depart((partition, offset), key, window_end_ms),
            (Some(row), false) => {
                self.keep(row.clone());
                None
            }
            (None, false) => None,
        };
        if old.is_some() || new.is_some() {
            self.record(Change { partition, offset, old, new });
        }
        Ok(())
    }

    fn depart(&mut self, place: (i32, i64), key: &[u8], window_end_ms: Option<i64>) -> Option<Arc<Row>> {
        let old = self.table.remove(key);
        // Once live, a row that is not there is known not to be.
        if old.is_some() || !self.live {
            let window_end_ms = old.as_ref().map_or(window_end_ms, |row| row.window_end_ms);
            let (partition, offset) = place;
            let first_born = old.as_ref().map_or(offset, |row| row.born);
            self.departed.left(key, Left { partition, offset, first_born, window_end_ms });
        }
        old
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
        if !self.live {
            return;
        }
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

    /// Says that a place was read up to `next`, beyond records that are not rows.
    pub fn advance(&mut self, place: i32, next: i64) {
        if let Some(known) = self.next.get_mut(&place) {
            *known = next.max(*known);
        }
    }

    /// Says that records below `offset` were lost before they could be read: nobody can resume across.
    pub fn partition_gap(&mut self, place: i32, offset: i64) {
        if self.next.contains_key(&place) {
            self.advance(place, offset);
            self.ring.begin(place, offset);
            self.raise_floor(place, offset);
        }
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
            if self.live {
                self.departed.retire(self.table.window_end_min_ms());
            }
        }
        self.filters.take_dirty(tick)
    }

    /// Tells whether positions fit their bound.
    pub fn is_resumable(&self) -> bool {
        self.places.text(0, &self.marks[Tick::Now as usize].offsets).is_some()
    }

    /// Tells whether topics may come and go while it lives.
    pub fn has_topics(&self) -> bool {
        self.options.has_topics
    }

    /// Tells whether a topic is among those that are read.
    pub fn has_topic(&self, epoch: u64) -> bool {
        self.places.has(epoch)
    }

    /// Returns the partition behind a place.
    pub fn named(&self, place: i32) -> Option<Named> {
        self.places.named(place)
    }

    /// Returns the next offset of every place.
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
