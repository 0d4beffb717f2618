//! Watching: what somebody who looks at a channel through a filter is to be told next.
//!
//! **In** a watcher that pulls. **Out** a step, shared with all who stand at the same place; a snapshot; what another filter
//! would show. **Invariant:** a pull moves the watcher forward only with what it was given; one that cannot be given
//! everything is lost, never told less. **Not here:** what changed (`hub`), coming back with a position (`resume`).

use std::{collections::VecDeque, sync::Arc};

use bumpalo::Bump;
use bytes::Bytes;

use super::{
    Channel, FilterId, Lost, Mark, Piece, Rule, SnapshotCursor, Tick, TooManyFilters,
    filters::Touch,
    keys,
    snapshot::matches,
    step::{self, Members, STEP_MAX_BYTES, Step},
};
use crate::position::{Position, TopicPosition, stable_hash};

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
    /// What a resumed watcher missed, oldest first; told before anything else.
    pub(super) missed: VecDeque<Touch>,
    /// The moment that `missed` leads up to.
    pub(super) missed_until: Option<Arc<Mark>>,
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
        Ok(Watch { filter, tick, no, touched, missed: VecDeque::new(), missed_until: None })
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
        if watch.missed_until.is_some() {
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
        let made =
            slot.steps.iter().find(|(f, t, _)| (*f, *t) == (from, to)).map(|(_, _, step)| step.clone());
        let step = match made {
            Some(step) => step,
            None => {
                let made = step::encode(&self.shape, &self.ring, taken, mark.window_end_min_ms);
                let Some(step) = made.map(Arc::new) else { return Pulled::Lost };
                slot.steps.truncate(SHARED_STEPS_MAX - 1);
                slot.steps.push_front((from, to, step.clone()));
                step
            }
        };
        watch.touched += count;
        watch.no = if at_mark { mark.no } else { to };
        Pulled::Step(step, if at_mark { self.at(watch.filter, mark) } else { None })
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
        let missed = watch.missed.len() as u64;
        (watch.missed, watch.missed_until) = (VecDeque::new(), None);
        let Some(slot) = self.filters.get(watch.filter) else { return (missed, None) };
        let mark = self.marks[Tick::Now as usize].clone();
        let dropped = slot.touched - watch.touched;
        (watch.no, watch.touched) = (mark.no, slot.touched);
        (missed + dropped, self.at(watch.filter, &mark))
    }

    /// Returns a watcher's position when nothing up to the last commit waits for it, and takes it there.
    pub fn idle_position(&mut self, watch: &mut Watch) -> Option<Bytes> {
        let slot = self.filters.get(watch.filter)?;
        if watch.missed_until.is_some() || slot.touched != watch.touched {
            return None;
        }
        let mark = self.marks[Tick::Now as usize].clone();
        watch.no = mark.no;
        self.at(watch.filter, &mark)
    }

    /// Begins a snapshot at the last commit and takes the watcher there.
    pub fn snapshot(&mut self, watch: &mut Watch) -> (SnapshotCursor, Option<Bytes>) {
        let (_, at) = self.skip(watch);
        if !self.shape.is_table {
            return (SnapshotCursor::new(watch.no, Vec::new(), self.recent.clone()), at);
        }
        let equality = self.filters.get(watch.filter).and_then(|slot| slot.rule.as_ref()?.equality());
        let by_key = equality.filter(|(column, _)| {
            self.options.columns.get(*column).map(|c| &c.0) == self.options.key_names.first()
        });
        let prefixes = by_key.and_then(|(_, values)| keys::key_prefixes(values));
        let prefixes = prefixes.unwrap_or_else(|| vec![Box::default()]);
        (SnapshotCursor::new(watch.no, prefixes, VecDeque::new()), at)
    }

    /// Reads the next piece of a snapshot.
    pub fn piece(
        &self,
        watch: &Watch,
        cursor: &mut SnapshotCursor,
        bytes_max: usize,
        rows_max: usize,
    ) -> Result<Piece, Lost> {
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
        let mut fresh = self.watch(rule, watch.tick)?;
        std::mem::swap(watch, &mut fresh);
        let members = if up_to_date { self.difference(fresh.filter, watch.filter) } else { None };
        self.unwatch(&fresh);
        let at = self.at(watch.filter, &self.marks[Tick::Now as usize].clone());
        Ok(Refiltered { members, at })
    }

    /// Encodes what a watcher of one filter must be told to become one of another.
    fn difference(&self, old: FilterId, new: FilterId) -> Option<Bytes> {
        let (old, new) = (self.filters.get(old)?, self.filters.get(new)?);
        let mut members = Members::default();
        let mut arena = Bump::new();
        for row in self.table.range(b"", None) {
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
        let question = self.filters.get(filter)?.question;
        let topic = TopicPosition { epoch: self.epoch, offsets: mark.offsets.clone() };
        Position { question, topics: vec![topic] }.encode().map(Bytes::from)
    }
}
