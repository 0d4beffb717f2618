//! What a read_committed reader of the outputs has seen so far, and the rules that hold after each record.
//!
//! **Invariant:** a row's `seq` never goes back; it is final at most once and does not change afterwards; a tombstone has a row to take
//! away; a letter comes once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use windrow::{log::Tp, topics};
use windrow_core::batch::Record;

use crate::{
    broker::Broker,
    oracle::RowKey,
    scenario::{APP, View},
};

#[derive(Debug, Default)]
pub(crate) struct OfView {
    pub(crate) finals: BTreeMap<RowKey, String>,
    pub(crate) last: BTreeMap<RowKey, (String, bool)>,
    pub(crate) user: BTreeMap<RowKey, String>,
    pub(crate) late: BTreeSet<(i32, i64)>,
    seqs: BTreeMap<RowKey, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) views: BTreeMap<String, OfView>,
    pub(crate) bad: BTreeSet<(i32, i64)>,
    /// Records that were gone before they were read: partition, first, first held.
    pub(crate) gaps: BTreeSet<(i32, i64, i64)>,
    cursors: BTreeMap<Tp, i64>,
}

enum Topic {
    Channel,
    User,
    Late,
}

impl Seen {
    /// Reads on, up to the last stable offsets.
    pub(crate) fn read_on(&mut self, broker: &Broker, views: &[View]) -> Result<(), String> {
        for view in views {
            let mut of_view = self.views.remove(&view.name).unwrap_or_default();
            let topics = [
                (Topic::Channel, topics::channel(APP, &view.name)),
                (Topic::User, format!("{}.user", view.name).into()),
                (Topic::Late, topics::late(APP, &view.name)),
            ];
            for (kind, topic) in topics {
                self.each(broker, &topic, |record| match kind {
                    Topic::Channel => of_view.channel(record),
                    Topic::User => of_view.user(record),
                    Topic::Late => letter(&mut of_view.late, record),
                })?;
            }
            self.views.insert(view.name.clone(), of_view);
        }
        let (mut bad, mut gaps) = (std::mem::take(&mut self.bad), std::mem::take(&mut self.gaps));
        self.each(broker, &topics::bad(APP, "s"), |record| match header(record, "reason") {
            Some("gap") => gap(&mut gaps, record),
            _ => letter(&mut bad, record),
        })?;
        (self.bad, self.gaps) = (bad, gaps);
        Ok(())
    }

    fn each(
        &mut self,
        broker: &Broker,
        topic: &str,
        mut take: impl FnMut(&Record<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(state) = broker.topics.get(topic) else { return Ok(()) };
        for (number, partition) in state.partitions.iter().enumerate() {
            let tp = Tp::new(topic, number as i32);
            let cursor = self.cursors.entry(tp.clone()).or_default();
            let (batches, next) = partition.read(*cursor, usize::MAX);
            for record in batches.iter().flat_map(|batch| batch.records_from(*cursor)) {
                take(&record).map_err(|why| format!("{tp} offset {}: {why}", record.offset))?;
            }
            *cursor = next;
        }
        Ok(())
    }
}

impl OfView {
    fn channel(&mut self, record: &Record<'_>) -> Result<(), String> {
        let at = row_key(record.key)?;
        let Some(value) = record.value else {
            let gone = self.last.remove(&at);
            return gone.map(drop).ok_or_else(|| format!("a tombstone for {at:?}, which is not there"));
        };
        let row = json(value)?;
        let is_final = row["final"] == true;
        let seq = row["seq"].as_u64().unwrap_or_default();
        let before = self.seqs.insert(at.clone(), seq);
        if before.is_some_and(|before| before >= seq) {
            return Err(format!("seq of {at:?} went from {before:?} to {seq}"));
        }
        if self.finals.contains_key(&at) {
            return Err(format!("{at:?} was final and comes again: {row}"));
        }
        let text = columns(&row);
        if is_final {
            self.finals.insert(at.clone(), text.clone());
        }
        self.last.insert(at, (text, is_final));
        Ok(())
    }

    fn user(&mut self, record: &Record<'_>) -> Result<(), String> {
        let row = json(record.value.unwrap_or_default())?;
        let key = row["k"].as_str().ok_or_else(|| format!("{row} has no key"))?;
        let at = (key.to_owned(), row["window_start"].as_i64().unwrap_or_default());
        match self.user.insert(at.clone(), columns(&row)) {
            None => Ok(()),
            Some(_) => Err(format!("{at:?} is twice in the user's topic")),
        }
    }
}

fn json(value: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(value).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(value)))
}

/// Reads a row of a channel: key, columns, and whether it is final.
pub(crate) fn row(key: Option<&[u8]>, value: &[u8]) -> Result<(RowKey, String, bool), String> {
    let row = json(value)?;
    Ok((row_key(key)?, columns(&row), row["final"] == true))
}

fn row_key(key: Option<&[u8]>) -> Result<RowKey, String> {
    let key = json(key.unwrap_or_default())?;
    let name = key[0].as_str().ok_or_else(|| format!("{key} is no row's key"))?;
    Ok((name.to_owned(), key[1].as_i64().unwrap_or(0)))
}

fn columns(row: &Value) -> String {
    ["n", "sum", "max", "d"].map(|name| row[name].to_string()).join(",")
}

fn header<'r>(record: &Record<'r>, name: &str) -> Option<&'r str> {
    let found = record.headers.clone().find(|(header, _)| *header == name);
    found.and_then(|(_, value)| std::str::from_utf8(value?).ok())
}

fn number(record: &Record<'_>, name: &str) -> Result<i64, String> {
    let text = header(record, name).and_then(|text| text.parse().ok());
    text.ok_or_else(|| format!("a letter with reason {:?} has no {name}", header(record, "reason")))
}

fn letter(letters: &mut BTreeSet<(i32, i64)>, record: &Record<'_>) -> Result<(), String> {
    let place = (number(record, "source_partition")? as i32, number(record, "source_offset")?);
    if letters.insert(place) { Ok(()) } else { Err(format!("the letter of {place:?} comes twice")) }
}

fn gap(gaps: &mut BTreeSet<(i32, i64, i64)>, record: &Record<'_>) -> Result<(), String> {
    let partition = number(record, "source_partition")? as i32;
    let gap = (partition, number(record, "source_offset")?, number(record, "source_end")?);
    if gaps.insert(gap) { Ok(()) } else { Err(format!("the gap {gap:?} is told twice")) }
}
