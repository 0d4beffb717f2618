//! Watching: what somebody who looks at a channel through a filter is to be told next.
//!
//! **In** a watcher that pulls. **Out** a step, shared with all who stand at the same place; a snapshot; what another filter
//! would show. **Invariant:** a pull moves the watcher forward only with what it was given; one that cannot be given
//! everything is lost, never told less. **Not here:** what changed (`hub`), coming back with a position (`resume`).

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use bumpalo::Bump;
use bytes::Bytes;

use super::{
    Channel, FilterId, Lost, Mark, Piece, Rule, SnapshotCursor, Tick, TooManyFilters,
    filters::Slot,
    keys,
    missed::Resuming,
    snapshot::matches,
    step::{self, Members, STEP_MAX_BYTES, Step},
};
use crate::position::stable_hash;

/// Somebody who watches a channel through a filter.
#[derive(Debug)]
pub struct Watch {
    /// The filter; product code keys its lists of watchers by it.
    pub filter: FilterId,
    /// How often.
    pub tick: Tick,
    /// The last change told.
    pub(super) no: u64,
    /// Touches of the filter up to there.
    pub(super) touched: u64,
    /// Of which life of the channel.
    pub(super) generation: u32,
    /// What a resumed watcher missed; told before anything else.
    pub(super) resuming: Option<Box<Resuming>>,
    /// Whether it is told every state that matches, in order, instead of what is new in the end.
    pub(super) each: bool,
}

impl Watch {
    /// Makes it one that is told every state of a row that matches, in the order of the channel, and not what left.
    ///
    /// - **Limits:** what a watcher missed that comes back with a position is told as it is in the end.
    pub fn each(self) -> Self {
        Self { each: true, ..self }
    }

    /// Tells whether it is told every state.
    pub fn is_each(&self) -> bool {
        self.each
    }

    /// Tells whether the watcher is still being told what it missed.
    pub fn is_resuming(&self) -> bool {
        self.resuming.is_some()
    }
}

/// What a pull gave.
#[derive(Debug)]
pub enum Pulled {
    /// Up to date with its tick.
    Nothing,
    /// One step; `at` only when it reaches the tick's mark. A step with empty members moved the watcher in silence.
    Step(Arc<Step>, Option<Bytes>),
    /// The ring has passed the watcher: it needs a snapshot, or is to be told what it missed.
    Lost,
    /// The channel forgot everything and read it anew: the watcher needs a snapshot.
    Restarted,
}

/// What changed for a watcher when its filter did.
#[derive(Debug, PartialEq, Eq)]
pub struct Refiltered {
    /// `"rows":[…]` and, if any, `"gone":[…]`; `None` when that is too much for one message: begin anew with a snapshot.
    pub members: Option<Bytes>,
    /// Position.
    pub at: Option<Bytes>,
}

/// Steps kept per filter for others that stand at the same place: one per tick, about.
const SHARED_STEPS_MAX: usize = 4;

impl Channel {
    /// Begins to watch at the last commit.
    pub fn watch(&mut self, rule: Option<Arc<dyn Rule>>, tick: Tick) -> Result<Watch, TooManyFilters> {
        let (name, plan) = (&self.options.name, self.options.fingerprint.to_le_bytes());
        let question = |text: &str| stable_hash([name.as_bytes(), &plan, text.as_bytes()]);
        let filter = self.filters.enter(rule, question, tick)?;
        let touched = self.filters.get(filter).map_or(0, |slot| slot.touched);
        let no = self.marks[Tick::Now as usize].no;
        Ok(Watch { filter, tick, no, touched, generation: self.generation, resuming: None, each: false })
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: &Watch) {
        self.filters.leave(watch.filter, watch.tick);
    }

    /// Takes a watcher one step forward, towards the mark of its tick.
    pub fn pull(&mut self, watch: &mut Watch) -> Pulled {
        let mark = self.marks[watch.tick as usize].clone();
        self.pull_to(watch, &mark)
    }

    /// Takes a watcher one step forward, towards the last commit.
    pub fn pull_now(&mut self, watch: &mut Watch) -> Pulled {
        let mark = self.marks[Tick::Now as usize].clone();
        self.pull_to(watch, &mark)
    }

    fn pull_to(&mut self, watch: &mut Watch, mark: &Arc<Mark>) -> Pulled {
        if watch.generation != self.generation {
            return Pulled::Restarted;
        }
        if watch.resuming.is_some() {
            return self.pull_missed(watch);
        }
        let Some(slot) = self.filters.get_mut(watch.filter) else { return Pulled::Nothing };
        if watch.no < slot.trimmed_no {
            return Pulled::Lost;
        }
        let touches = slot.touches.make_contiguous();
        let first = touches.partition_point(|touch| touch.no <= watch.no);
        let last = touches.partition_point(|touch| touch.no <= mark.no);
        let Some(news) = touches.get(first..last).filter(|news| !news.is_empty()) else {
            return Pulled::Nothing;
        };
        let taken = &news[..step::width(news)];
        let (from, to) = (taken[0].no, taken[taken.len() - 1].no);
        let at_mark = taken.len() == news.len();
        let count = taken.len() as u64;
        let asked = (from, to, watch.each);
        let made = slot.steps.iter().find(|(made, _)| *made == asked).map(|(_, step)| step.clone());
        let step = match made {
            Some(step) => step,
            None => {
                let made = match watch.each {
                    true => step::encode_each(&self.ring, taken),
                    false => step::encode(&self.shape, &self.ring, taken, mark.window_end_min_ms),
                };
                let Some(step) = made.map(Arc::new) else { return Pulled::Lost };
                slot.steps.truncate(SHARED_STEPS_MAX - 1);
                slot.steps.push_front((asked, step.clone()));
                step
            }
        };
        watch.touched += count;
        watch.no = if at_mark { mark.no } else { to };
        let at = match at_mark {
            true => self.at(watch.filter, mark),
            false => self.at_change(watch.filter, to, &[], mark),
        };
        Pulled::Step(step, at)
    }

    /// Returns how many bytes of rows wait for the watcher.
    pub fn waiting_bytes(&self, watch: &Watch) -> u64 {
        let Some(slot) = self.filters.get(watch.filter) else { return 0 };
        let told = slot.touches.partition_point(|touch| touch.no <= watch.no);
        let last_told = told.checked_sub(1).and_then(|i| slot.touches.get(i));
        let told_bytes = last_told.map_or(slot.trimmed_bytes, |touch| touch.bytes_total);
        slot.bytes_total - told_bytes
    }

    /// Takes a watcher to the last commit and returns how many changes it was not told.
    pub fn skip(&mut self, watch: &mut Watch) -> (u64, Option<Bytes>) {
        let missed = watch.resuming.take().map_or(0, |resuming| resuming.len());
        watch.generation = self.generation;
        let Some(slot) = self.filters.get(watch.filter) else { return (missed, None) };
        let mark = self.marks[Tick::Now as usize].clone();
        let dropped = slot.touched - watch.touched;
        (watch.no, watch.touched) = (mark.no, slot.touched);
        (missed + dropped, self.at(watch.filter, &mark))
    }

    /// Returns a watcher's position when nothing up to the last commit waits for it, and takes it there.
    pub fn idle_position(&mut self, watch: &mut Watch) -> Option<Bytes> {
        if !self.is_up_to_date(watch) {
            return None;
        }
        let mark = self.marks[Tick::Now as usize].clone();
        watch.no = mark.no;
        self.at(watch.filter, &mark)
    }

    /// Tells whether the watcher was told everything up to the last commit.
    pub fn is_up_to_date(&self, watch: &Watch) -> bool {
        let Some(slot) = self.filters.get(watch.filter) else { return false };
        watch.resuming.is_none() && slot.touched == watch.touched && self.is_of_this_life(watch)
    }

    /// Tells whether the channel did not begin anew since the watcher last looked.
    pub fn is_of_this_life(&self, watch: &Watch) -> bool {
        watch.generation == self.generation
    }

    /// Begins a snapshot at the last commit and takes the watcher there.
    pub fn snapshot(&mut self, watch: &mut Watch) -> (SnapshotCursor, Option<Bytes>) {
        let (_, at) = self.skip(watch);
        if !self.shape.is_table {
            return (SnapshotCursor::new(watch.no, Vec::new(), self.recent.clone()), at);
        }
        let prefixes = self.filters.get(watch.filter).map(|slot| self.prefixes(slot)).unwrap_or_default();
        (SnapshotCursor::new(watch.no, prefixes, VecDeque::new()), at)
    }

    /// Returns how the keys of rows begin that can match; one empty prefix = any.
    pub(super) fn prefixes(&self, slot: &Slot) -> Vec<Box<[u8]>> {
        let equality = slot.rule.as_ref().and_then(|rule| rule.equality());
        let by_key = equality.filter(|(column, _)| {
            self.options.columns.get(*column).map(|c| &c.0) == self.options.key_names.first()
        });
        let prefixes = by_key.and_then(|(_, values)| keys::key_prefixes(values));
        prefixes.unwrap_or_else(|| vec![Box::default()])
    }

    /// Reads the next piece of a snapshot.
    pub fn piece(
        &self,
        watch: &Watch,
        cursor: &mut SnapshotCursor,
        bytes_max: usize,
        rows_max: usize,
    ) -> Result<Piece, Lost> {
        if watch.generation != self.generation {
            return Err(Lost);
        }
        let slot = self.filters.get(watch.filter).ok_or(Lost)?;
        cursor.read((&self.table, &self.ring, &self.fields), slot, bytes_max, rows_max)
    }

    /// Changes a watcher's filter; it must have been pulled up to the last commit before, else it gets no members.
    pub fn refilter(
        &mut self,
        watch: &mut Watch,
        rule: Option<Arc<dyn Rule>>,
    ) -> Result<Refiltered, TooManyFilters> {
        let up_to_date = self.idle_position(watch).is_some();
        let mut fresh = Watch { each: watch.each, ..self.watch(rule, watch.tick)? };
        std::mem::swap(watch, &mut fresh);
        let members = if up_to_date { self.difference(fresh.filter, watch.filter) } else { None };
        self.unwatch(&fresh);
        let at = self.at(watch.filter, &self.marks[Tick::Now as usize].clone());
        Ok(Refiltered { members, at })
    }

    /// Encodes what a watcher of one filter must be told to become one of another.
    fn difference(&self, old: FilterId, new: FilterId) -> Option<Bytes> {
        let (old, new) = (self.filters.get(old)?, self.filters.get(new)?);
        // Rows that neither can match are not looked at: whoever watches a few rows of a large table changes its filter cheaply.
        let mut prefixes: BTreeSet<_> = self.prefixes(old).into_iter().chain(self.prefixes(new)).collect();
        if prefixes.iter().any(|prefix| prefix.is_empty()) {
            prefixes = BTreeSet::from([Box::default()]);
        }
        let mut members = Members::default();
        let mut arena = Bump::new();
        for row in prefixes.iter().flat_map(|prefix| self.table.range(prefix, None)) {
            arena.reset();
            let was = matches(old, &self.fields, row, &arena);
            match (was, matches(new, &self.fields, row, &arena)) {
                (false, true) => members.row(row),
                (true, false) => members.gone(&self.shape.keys, &row.key),
                _ => {}
            }
            if members.len_bytes() > STEP_MAX_BYTES {
                return None;
            }
        }
        Some(members.finish_always())
    }

    /// Returns the text of the position of that filter at that moment; `None` when it would be too long.
    pub(super) fn at(&self, filter: FilterId, mark: &Mark) -> Option<Bytes> {
        self.position(filter, &mark.offsets)
    }
}
