//! Telling: a row becomes a frame.
//!
//! ```text
//! {"account_id":1,"store_id":"us","count":5,"window_start":1589900040000,…}
//!   →   {"account_id":1,"store_id":"us","ts_from":1589900040.0,"ts_to":1589900100.0,"count":5}
//! ```
//!
//! **In** rows of a channel. **Out** one frame each, older windows first. **Invariant:** of rows that match newly only the newest of each
//! account and store is told; of changes every one. A row without a window or a count is counted and told to nobody.
//! **Not here:** which rows (`feed`).

use std::{collections::HashSet, sync::Arc};

use bumpalo::Bump;
use serde::Deserialize;
use serde_json::value::RawValue;
use windrow_core::{
    scan::RowFields,
    value::{Datum, write_text},
};

use super::super::{feed::Rows, left_out};
use crate::{config::VisitAggregator, dialect::Gateway, session::Outgoing, stats::Counter};

/// Where the columns that every frame needs stand; further ones follow.
const ACCOUNT: usize = 0;
const STORE: usize = 1;
const COUNT: usize = 2;
const WINDOW_START: usize = 3;
const WINDOW_END: usize = 4;
const FURTHER: usize = 5;

/// Tells the rows of a listener's channel.
#[derive(Debug)]
pub(super) struct Teller {
    fields: RowFields,
    /// `,"name":` of each further column.
    further: Vec<Vec<u8>>,
    incomplete: Arc<Counter>,
}

/// One row, read.
struct Read<'a> {
    from_ms: i64,
    to_ms: i64,
    columns: Vec<Datum<'a>>,
}

impl Teller {
    pub(super) fn new(config: &VisitAggregator, gateway: &Gateway) -> Self {
        let names = [&config.account, &config.store, &config.count, "window_start", "window_end"];
        let names = names.into_iter().chain(config.fields.iter().map(String::as_str));
        let columns: Vec<_> = names.map(|name| (name.into(), None)).collect();
        let head = |name: &String| {
            let mut head = b",".to_vec();
            write_text(name, &mut head);
            head.push(b':');
            head
        };
        Self {
            fields: RowFields::new(&columns),
            further: config.fields.iter().map(head).collect(),
            incomplete: left_out(gateway, "incomplete"),
        }
    }

    /// Tells each row; returns the bytes of the frames.
    pub(super) fn tell(&self, rows: &Rows, out: &mut Vec<Outgoing>) -> usize {
        // The array is ours; what follows it is not read.
        let list = Vec::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_slice(&rows.json));
        let arena = Bump::new();
        let mut read: Vec<_> =
            list.unwrap_or_default().iter().filter_map(|row| self.read(row.get(), &arena)).collect();
        read.sort_by_key(|row| row.from_ms);
        if rows.are_new {
            let mut seen = HashSet::new();
            read.reverse();
            read.retain(|row| seen.insert(group(&row.columns)));
            read.reverse();
        }
        let before = out.len();
        out.extend(read.iter().map(|row| self.frame(row)));
        out[before..].iter().map(Outgoing::len_bytes).sum()
    }

    fn read<'a>(&self, row: &'a str, arena: &'a Bump) -> Option<Read<'a>> {
        let mut columns = Vec::new();
        self.fields.read(row.as_bytes(), arena, &mut columns).ok()?;
        let time = |place: usize| match columns.get(place) {
            Some(Datum::Int(ms) | Datum::Timestamp(ms)) => Some(*ms),
            _ => None,
        };
        let has_count = columns.get(COUNT).is_some_and(|count| !count.is_null());
        let (Some(from_ms), Some(to_ms), true) = (time(WINDOW_START), time(WINDOW_END), has_count) else {
            self.incomplete.add(1);
            return None;
        };
        Some(Read { from_ms, to_ms, columns })
    }

    fn frame(&self, row: &Read<'_>) -> Outgoing {
        let add = |place: usize, frame: &mut Vec<u8>| {
            row.columns.get(place).copied().unwrap_or(Datum::Null).write_json(frame);
        };
        let mut frame = b"{\"account_id\":".to_vec();
        add(ACCOUNT, &mut frame);
        frame.extend_from_slice(b",\"store_id\":");
        add(STORE, &mut frame);
        let times = format!(",\"ts_from\":{},\"ts_to\":{}", seconds(row.from_ms), seconds(row.to_ms));
        frame.extend_from_slice(times.as_bytes());
        frame.extend_from_slice(b",\"count\":");
        add(COUNT, &mut frame);
        for (number, head) in self.further.iter().enumerate() {
            frame.extend_from_slice(head);
            add(FURTHER + number, &mut frame);
        }
        frame.push(b'}');
        Outgoing::whole(frame)
    }
}

/// Names the group of a row.
fn group(columns: &[Datum<'_>]) -> Vec<u8> {
    let mut name = Vec::new();
    for column in columns.iter().take(COUNT) {
        column.write_json(&mut name);
        name.push(b',');
    }
    name
}

/// Writes milliseconds as seconds, the way Python prints a float: `1589900040.0`.
fn seconds(ms: i64) -> String {
    format!("{:?}", ms as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_printed_as_the_original_prints_them() {
        for (ms, want) in [
            (1_589_900_040_000, "1589900040.0"),
            (1_589_900_040_500, "1589900040.5"),
            (1_589_900_041_123, "1589900041.123"),
            (0, "0.0"),
            (-1_500, "-1.5"),
        ] {
            assert_eq!(seconds(ms), want);
        }
    }
}
