//! Filters: which of a channel's distinct filters does a change concern?
//!
//! **In** compiled rules, counted by their users; columns of the old and the new row of a change. **Out** per filter the
//! numbers of the changes that touched it, and per tick the filters that have news.
//! **Invariant:** a change touches a filter when the old or the new row matches. A rule with an equality on a column is
//! looked up by the row's value, so its cost does not grow with the number of such rules; all others are evaluated, once
//! per distinct text, and there are at most `unindexed_max` of them.
//! **Not here:** who uses a filter (the product's subscriptions), what is sent (`step`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use bumpalo::Bump;

use super::{keys::index_key, keys::index_keys, step::Step};
use crate::{
    sql::Filter,
    value::{Datum, Value},
};

/// A compiled filter over the columns of a channel.
pub trait Rule: fmt::Debug + Send + Sync {
    /// Canonical text: rules of equal text match the same rows.
    fn text(&self) -> &str;
    /// `column = one of these values`, true for every row that matches; the columns are the channel's.
    fn equality(&self) -> Option<(usize, &[Value])>;
    /// The columns that it reads.
    fn columns(&self) -> &[usize];
    /// Tells whether a row matches; only TRUE is true.
    fn holds<'a>(&self, row: &[Datum<'a>], arena: &'a Bump) -> bool;
}

impl Rule for Filter {
    fn text(&self) -> &str {
        &self.canonical
    }

    fn equality(&self) -> Option<(usize, &[Value])> {
        self.equality.as_ref().map(|(column, values)| (*column, values.as_slice()))
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn holds<'a>(&self, row: &[Datum<'a>], arena: &'a Bump) -> bool {
        // An unreadable row has no columns and matches nothing, whatever the condition says of NULLs.
        !row.is_empty() && self.expr.holds(row, arena)
    }
}

/// How often a watcher wants news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tick {
    /// With each commit.
    Now,
    /// 100 ms.
    Tenth,
    /// 250 ms.
    Quarter,
    /// 1 s.
    Second,
    /// 5 s.
    Slow,
}

impl Tick {
    /// All of them with their period in milliseconds, rising.
    pub const ALL: [(Tick, u64); 5] = [
        (Tick::Now, 0),
        (Tick::Tenth, 100),
        (Tick::Quarter, 250),
        (Tick::Second, 1_000),
        (Tick::Slow, 5_000),
    ];

    /// Returns the shared tick for a wish: the next longer one, or the longest.
    pub fn at_least(every_ms: u64) -> Tick {
        Self::ALL.iter().find(|(_, ms)| *ms >= every_ms).map_or(Tick::Slow, |(tick, _)| *tick)
    }
}

/// One distinct filter of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterId(u32);

impl FilterId {
    /// Returns a small number, used again after the filter is forgotten.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The channel has as many filters without an equality as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel takes at most {max} different filters without an equality on a column")]
pub struct TooManyFilters {
    /// The bound.
    pub max: usize,
}

/// A change that concerns a filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch {
    /// Number of the change.
    pub(crate) no: u64,
    /// Bytes of all touches of the filter up to this one.
    pub(crate) bytes_total: u64,
    /// Whether the old row matched.
    pub(crate) old: bool,
    /// Whether the new row matches.
    pub(crate) new: bool,
}

/// The first and the last change of a step, and whether it tells each.
pub(crate) type Stretch = (u64, u64, bool);

/// One distinct filter.
#[derive(Debug)]
pub(crate) struct Slot {
    /// `None` = every row.
    pub(crate) rule: Option<Arc<dyn Rule>>,
    /// Hash of channel, plan and filter.
    pub(crate) question: u64,
    /// Touches, rising; those whose change left the ring are trimmed now and then.
    pub(crate) touches: VecDeque<Touch>,
    /// Number of the last touch that was trimmed.
    pub(crate) trimmed_no: u64,
    /// Bytes of all touches up to that one.
    pub(crate) trimmed_bytes: u64,
    /// Touches since the filter exists.
    pub(crate) touched: u64,
    /// Bytes of those.
    pub(crate) bytes_total: u64,
    /// The latest steps made: clients of one filter that stand at one place share the bytes.
    pub(crate) steps: VecDeque<(Stretch, Arc<Step>)>,
    users: [u32; Tick::ALL.len()],
    dirty: u8,
    seen_no: u64,
}

impl Slot {
    /// Tells whether a row matches.
    pub(crate) fn holds<'a>(&self, row: &[Datum<'a>], arena: &'a Bump) -> bool {
        self.rule.as_ref().is_none_or(|rule| rule.holds(row, arena))
    }
}

/// Filters by the value that their column must equal.
type ByValue = HashMap<Box<[u8]>, Vec<FilterId>, foldhash::fast::RandomState>;

/// All filters of one channel.
#[derive(Debug)]
pub(crate) struct Filters {
    slots: Vec<Option<Slot>>,
    free: Vec<FilterId>,
    by_text: HashMap<Box<str>, FilterId, foldhash::fast::RandomState>,
    /// Column → value → filters.
    index: BTreeMap<usize, ByValue>,
    unindexed: Vec<FilterId>,
    everything: Option<FilterId>,
    unindexed_max: usize,
    dirty: [Vec<FilterId>; Tick::ALL.len()],
    scratch: Vec<FilterId>,
}

impl Filters {
    pub(crate) fn new(unindexed_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_text: HashMap::default(),
            index: BTreeMap::new(),
            unindexed: Vec::new(),
            everything: None,
            unindexed_max,
            dirty: Default::default(),
            scratch: Vec::new(),
        }
    }

    /// Adds a user of a filter; a text that is known is shared.
    pub(crate) fn enter(
        &mut self,
        rule: Option<Arc<dyn Rule>>,
        question: impl FnOnce(&str) -> u64,
        tick: Tick,
    ) -> Result<FilterId, TooManyFilters> {
        let text = rule.as_ref().map_or("", |rule| rule.text());
        let id = match self.by_text.get(text) {
            Some(&id) => id,
            None => self.make(question(text), rule)?,
        };
        if let Some(slot) = self.get_mut(id) {
            slot.users[tick as usize] += 1;
        }
        Ok(id)
    }

    fn make(&mut self, question: u64, rule: Option<Arc<dyn Rule>>) -> Result<FilterId, TooManyFilters> {
        let equality = rule.as_ref().and_then(|rule| rule.equality());
        if rule.is_some() && equality.is_none() && self.unindexed.len() >= self.unindexed_max {
            return Err(TooManyFilters { max: self.unindexed_max });
        }
        let id = self.free.pop().unwrap_or(FilterId(self.slots.len() as u32));
        match (&rule, equality) {
            (None, _) => self.everything = Some(id),
            (Some(_), None) => self.unindexed.push(id),
            (Some(_), Some((column, values))) => {
                let by_value = self.index.entry(column).or_default();
                for key in index_keys(values) {
                    by_value.entry(key).or_default().push(id);
                }
            }
        }
        self.by_text.insert(rule.as_ref().map_or("", |rule| rule.text()).into(), id);
        let slot = Slot {
            rule,
            question,
            touches: VecDeque::new(),
            trimmed_no: 0,
            trimmed_bytes: 0,
            touched: 0,
            bytes_total: 0,
            steps: VecDeque::new(),
            users: [0; Tick::ALL.len()],
            dirty: 0,
            seen_no: 0,
        };
        match self.slots.get_mut(id.0 as usize) {
            Some(place) => *place = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        Ok(id)
    }

    /// Takes a user away; a filter without users is forgotten.
    pub(crate) fn leave(&mut self, id: FilterId, tick: Tick) {
        let Some(slot) = self.get_mut(id) else { return };
        slot.users[tick as usize] -= 1;
        if slot.users != [0; Tick::ALL.len()] {
            return;
        }
        let Some(slot) = self.slots[id.0 as usize].take() else { return };
        self.free.push(id);
        let Some(rule) = slot.rule else {
            self.by_text.remove("");
            self.everything = None;
            return;
        };
        self.by_text.remove(rule.text());
        match rule.equality() {
            None => self.unindexed.retain(|other| *other != id),
            Some((column, values)) => {
                let Some(by_value) = self.index.get_mut(&column) else { return };
                for key in index_keys(values) {
                    if let Some(ids) = by_value.get_mut(&key) {
                        ids.retain(|other| *other != id);
                        if ids.is_empty() {
                            by_value.remove(&key);
                        }
                    }
                }
                if by_value.is_empty() {
                    self.index.remove(&column);
                }
            }
        }
    }

    pub(crate) fn get(&self, id: FilterId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: FilterId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Returns how many distinct filters there are.
    pub(crate) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Tells whether some filter needs the columns of rows.
    pub(crate) fn need_columns(&self) -> bool {
        !self.unindexed.is_empty() || !self.index.is_empty()
    }

    /// Records a change with every filter that it concerns.
    ///
    /// - **Shape:** `old` and `new` hold the channel's columns (empty when [`Self::need_columns`] is false); `None` = no row.
    /// - **Cost:** one lookup per indexed column and row, plus the evaluation of the rules found and of all unindexed ones.
    pub(crate) fn touch<'a>(
        &mut self,
        no: u64,
        bytes: usize,
        old: Option<&[Datum<'a>]>,
        new: Option<&[Datum<'a>]>,
        arena: &'a Bump,
    ) {
        let mut found = std::mem::take(&mut self.scratch);
        found.extend(self.everything);
        found.extend_from_slice(&self.unindexed);
        for (&column, by_value) in &self.index {
            for row in [old, new].into_iter().flatten() {
                let Some(key) = row.get(column).and_then(|datum| index_key(*datum)) else { continue };
                if let Some(ids) = by_value.get(key.as_slice()) {
                    found.extend_from_slice(ids);
                }
            }
        }
        for id in found.drain(..) {
            let Some(slot) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { continue };
            if slot.seen_no == no {
                continue;
            }
            slot.seen_no = no;
            let old = old.is_some_and(|row| slot.holds(row, arena));
            let new = new.is_some_and(|row| slot.holds(row, arena));
            if !old && !new {
                continue;
            }
            slot.touched += 1;
            slot.bytes_total += bytes as u64;
            slot.touches.push_back(Touch { no, bytes_total: slot.bytes_total, old, new });
            for (tick, users) in slot.users.iter().enumerate() {
                if *users > 0 && slot.dirty & (1 << tick) == 0 {
                    slot.dirty |= 1 << tick;
                    self.dirty[tick].push(id);
                }
            }
        }
        self.scratch = found;
    }

    /// Takes the filters that have news for watchers of that tick.
    pub(crate) fn take_dirty(&mut self, tick: Tick) -> Vec<FilterId> {
        let ids = std::mem::take(&mut self.dirty[tick as usize]);
        for id in &ids {
            if let Some(slot) = self.get_mut(*id) {
                slot.dirty &= !(1 << tick as u8);
            }
        }
        ids
    }

    /// Forgets touches whose change has left the ring.
    pub(crate) fn trim(&mut self, first_no: u64) {
        for slot in self.slots.iter_mut().flatten() {
            while let Some(touch) = slot.touches.front().filter(|touch| touch.no < first_no) {
                (slot.trimmed_no, slot.trimmed_bytes) = (touch.no, touch.bytes_total);
                slot.touches.pop_front();
            }
            if slot.touches.is_empty() {
                slot.touches.shrink_to(0);
                slot.steps = VecDeque::new();
            }
        }
    }
}
