//! Telling: a row becomes an event.
//!
//! ```text
//! {"id":"a","count":3,"window_start":0,…}   →   42["live_aggregations_1",{"id":"a","count":3}]
//! ```
//!
//! **In** rows of a channel. **Out** one event each, those of older windows first. **Invariant:** of rows that match newly only the newest of
//! each room is told, since an event does not say which window it is of; of changes every one. A row without a room or a count is counted
//! and told to nobody. **Not here:** which rows (`feed`).

use std::{collections::HashSet, sync::Arc};

use bumpalo::Bump;
use serde::Deserialize;
use serde_json::value::RawValue;
use windrow_core::{
    scan::RowFields,
    value::{Datum, write_text},
};

use super::super::{feed::Rows, left_out};
use crate::{
    config::VideoCounter,
    dialect::Gateway,
    session::{Outgoing, Voice},
    stats::Counter,
};

/// Where the columns that every event needs stand.
const ROOM: usize = 0;
const COUNT: usize = 1;
const WINDOW_START: usize = 2;

/// The tellers of a listener's events, by seat.
#[derive(Debug)]
pub(super) struct Tellers(Vec<Teller>);

/// Tells the rows of one event.
#[derive(Debug)]
pub(super) struct Teller {
    event: String,
    voice: Voice,
    fields: Arc<RowFields>,
    /// What is told after the count: `,"name":`, then that column.
    further: Arc<[(Vec<u8>, usize)]>,
    incomplete: Arc<Counter>,
}

/// One row, read.
struct Read<'a> {
    room: &'a str,
    window_start_ms: i64,
    columns: Vec<Datum<'a>>,
}

impl Tellers {
    pub(super) fn new(config: &VideoCounter, gateway: &Gateway) -> Self {
        let mut names: Vec<&str> = vec![&config.room, &config.count, "window_start"];
        let mut further = Vec::new();
        for field in &config.fields {
            let place = names.iter().position(|name| name == field).unwrap_or(names.len());
            if place == names.len() {
                names.push(field);
            }
            let mut head = b",".to_vec();
            write_text(field, &mut head);
            head.push(b':');
            further.push((head, place));
        }
        let columns: Vec<_> = names.iter().map(|name| ((*name).into(), None)).collect();
        let (fields, further): (_, Arc<[_]>) = (Arc::new(RowFields::new(&columns)), further.into());
        let tellers = config.events.iter().map(|event| Teller {
            event: event.event.clone(),
            voice: Voice::socketio("/"),
            fields: fields.clone(),
            further: further.clone(),
            incomplete: left_out(gateway, "incomplete"),
        });
        Self(tellers.collect())
    }

    pub(super) fn of(&self, seat: usize) -> Option<&Teller> {
        self.0.get(seat)
    }
}

impl Teller {
    /// Tells each row.
    pub(super) fn tell(&self, rows: &Rows, mut each: impl FnMut(Outgoing)) {
        // The array is ours; what follows it is not read.
        let list = Vec::<&RawValue>::deserialize(&mut serde_json::Deserializer::from_slice(&rows.json));
        let arena = Bump::new();
        let mut read: Vec<_> =
            list.unwrap_or_default().iter().filter_map(|row| self.read(row.get(), &arena)).collect();
        read.sort_by_key(|row| row.window_start_ms);
        if rows.are_new {
            let mut seen = HashSet::new();
            read.reverse();
            read.retain(|row| seen.insert(row.room));
            read.reverse();
        }
        read.iter().for_each(|row| each(self.event(row)));
    }

    fn read<'a>(&self, row: &'a str, arena: &'a Bump) -> Option<Read<'a>> {
        let mut columns = Vec::new();
        self.fields.read(row.as_bytes(), arena, &mut columns).ok()?;
        let (room, count) = (columns.get(ROOM)?, columns.get(COUNT)?);
        let (Datum::Text(room), false) = (*room, count.is_null()) else {
            self.incomplete.add(1);
            return None;
        };
        let window_start_ms = match columns.get(WINDOW_START) {
            Some(Datum::Int(ms) | Datum::Timestamp(ms)) => *ms,
            _ => 0,
        };
        Some(Read { room, window_start_ms, columns })
    }

    fn event(&self, row: &Read<'_>) -> Outgoing {
        let mut object = b"{\"id\":".to_vec();
        let add = |place: usize, object: &mut Vec<u8>| {
            row.columns.get(place).copied().unwrap_or(Datum::Null).write_json(object);
        };
        add(ROOM, &mut object);
        object.extend_from_slice(b",\"count\":");
        add(COUNT, &mut object);
        for (head, place) in &*self.further {
            object.extend_from_slice(head);
            add(*place, &mut object);
        }
        object.push(b'}');
        self.voice.event(&self.event, &String::from_utf8_lossy(&object))
    }
}
