//! Columns: names become slots, and every use of a column says what type it has.
//!
//! **Invariant:** a column has one type over all views of its stream: a declared one wins, otherwise the first use
//! decides and a later one that differs is an error that names both places.
//! Names are taken as written: `Video` and `video` are two columns, because they are two members of a JSON object.

use std::sync::Arc;

use sqlparser::tokenizer::Location;

use super::{
    PlanError,
    types::{Family, describe},
};
use crate::{
    plan::SourceColumn,
    spec::{Format, StreamSpec, TimeSpec, TimeUnit},
    suggest,
    value::ColumnType,
};

/// Columns that every record has, with their types; those of `_key` and `_value` follow the formats.
const SYSTEM: [(&str, ColumnType); 7] = [
    ("_topic", ColumnType::Text),
    ("_partition", ColumnType::Bigint),
    ("_offset", ColumnType::Bigint),
    ("_timestamp", ColumnType::Timestamp),
    ("_key", ColumnType::Text),
    ("_value", ColumnType::Text),
    ("_headers", ColumnType::Json),
];

/// Longest name of a column.
const NAME_MAX_BYTES: usize = 255;
/// Most columns that a hint lists.
const SHOWN_MAX: usize = 20;
/// Most columns that the views of one stream may read.
pub(super) const COLUMNS_MAX: usize = 1_000;

/// The columns of one relation.
#[derive(Debug)]
pub(super) struct Columns {
    /// What may be named; with types where they are given.
    known: Vec<(Arc<str>, Option<ColumnType>)>,
    /// Whether other names are columns too: a JSON stream that declares none.
    open: bool,
    /// Whose schemas give further columns: those inside of others, and those of the key.
    stream: Option<StreamSpec>,
    /// What the relation is, for messages: "stream clicks".
    relation: String,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    column: SourceColumn,
    /// Where the type comes from.
    why: String,
}

impl Columns {
    /// The columns of a stream: slots are given out as columns are used.
    pub(super) fn of_stream(spec: &StreamSpec) -> Self {
        let mut known: Vec<(Arc<str>, Option<ColumnType>)> =
            spec.columns.iter().map(|(name, ty)| (name.clone(), Some(*ty))).collect();
        let of_schema = spec.format.columns();
        known.extend(of_schema.into_iter().map(|column| (column.name, column.ty)));
        for (name, ty) in SYSTEM {
            let ty = match name {
                "_key" => spec.key_format.whole(),
                "_value" => spec.format.whole(),
                _ => Some(ty),
            };
            // Columns that every record has win over fields of the same name.
            known.retain(|(known, _)| **known != *name);
            known.push((name.into(), ty));
        }
        let mut columns = Self {
            known,
            open: spec.format.is_open() && spec.columns.is_empty(),
            stream: Some(spec.clone()),
            relation: format!("stream {}", spec.name),
            slots: Vec::new(),
        };
        columns.add_needed(spec);
        columns
    }

    /// Adds what the stream itself reads, declared or not.
    fn add_needed(&mut self, spec: &StreamSpec) {
        for name in spec.keyed_by.iter().chain(&spec.latest_by) {
            self.learn(name, None);
        }
        for name in &spec.required {
            self.learn(name, None);
            self.slot(name);
        }
        if let TimeSpec::Column { column, unit } = &spec.time {
            self.learn(column, None);
            let ty = if *unit == TimeUnit::Rfc3339 { ColumnType::Text } else { ColumnType::Number };
            if let Some(slot) = self.slot(column) {
                self.slots[slot].column.ty.get_or_insert(ty);
                self.slots[slot].why = format!("it is the time of stream {}", spec.name);
            }
        }
    }

    fn learn(&mut self, name: &Arc<str>, ty: Option<ColumnType>) {
        let ty = self.of_schema(name).unwrap_or(ty);
        if !self.known.iter().any(|(n, _)| n == name) {
            self.known.push((name.clone(), ty));
        }
    }

    fn of_schema(&self, name: &str) -> Option<Option<ColumnType>> {
        self.stream.as_ref()?.schema_column(name)
    }

    /// The columns of a channel's rows: one slot each, in this order.
    pub(super) fn of_rows(columns: &[(Arc<str>, Option<ColumnType>)]) -> Self {
        let slot = |(name, ty): &(Arc<str>, Option<ColumnType>)| Slot {
            column: SourceColumn { name: name.clone(), ty: *ty },
            why: "the channel says so".to_owned(),
        };
        Self {
            known: columns.to_vec(),
            open: false,
            stream: None,
            relation: "the channel".to_owned(),
            slots: columns.iter().map(slot).collect(),
        }
    }

    pub(super) fn is_known(&self, name: &str) -> bool {
        self.known.iter().any(|(n, _)| **n == *name) || self.of_schema(name).is_some()
    }

    /// Returns the declared columns, for `*`; `None` when there are none.
    pub(super) fn declared(&self, spec: &StreamSpec) -> Option<Vec<Arc<str>>> {
        match &spec.format {
            Format::Text | Format::Bytes => Some(vec!["_value".into()]),
            _ if self.open => None,
            format if format.has_schema() => {
                let names: Vec<_> = format.columns().into_iter().map(|c| c.name).collect();
                Some(if names.is_empty() { vec!["_value".into()] } else { names })
            }
            _ => Some(spec.columns.iter().map(|(name, _)| name.clone()).collect()),
        }
    }

    /// Returns the slot of a column that is already in use or known, giving it one.
    pub(super) fn slot(&mut self, name: &str) -> Option<usize> {
        if let Some(slot) = self.slots.iter().position(|s| *s.column.name == *name) {
            return Some(slot);
        }
        let (name, ty, why) = match self.known.iter().find(|(n, _)| **n == *name) {
            Some((name, ty)) => (name.clone(), *ty, "it is declared so".to_owned()),
            None if self.of_schema(name).is_some() => {
                (name.into(), self.of_schema(name).flatten(), "the schema says so".to_owned())
            }
            None if self.open => (name.into(), None, String::new()),
            None => return None,
        };
        self.slots.push(Slot { column: SourceColumn { name, ty }, why });
        Some(self.slots.len() - 1)
    }

    /// Resolves a name.
    ///
    /// - **Errors:** an unknown name, with the closest known one; a name past [`COLUMNS_MAX`].
    pub(super) fn resolve(&mut self, name: &str, quoted: bool, at: Location) -> Result<usize, PlanError> {
        if name.len() > NAME_MAX_BYTES {
            let message =
                format!("a column's name has at most {NAME_MAX_BYTES} bytes, this one {}", name.len());
            return Err(PlanError::at(at, message));
        }
        if let Some(slot) = self.slot(name) {
            let message = || format!("the views of {} read more than {COLUMNS_MAX} columns", self.relation);
            return if slot < COLUMNS_MAX { Ok(slot) } else { Err(PlanError::at(at, message())) };
        }
        let hint = self.way_out(name, quoted);
        Err(PlanError::at(at, format!("{} has no column `{name}`", self.relation)).hint(Some(hint)))
    }

    fn way_out(&self, unknown: &str, quoted: bool) -> String {
        let names = || self.known.iter().map(|(name, _)| &**name);
        if let Some(close) = suggest::closest(unknown, names()) {
            return format!("did you mean `{close}`?");
        }
        if quoted {
            return format!("double quotes are for names; text is written '{unknown}'");
        }
        let mut shown: Vec<&str> =
            names().filter(|name| !name.starts_with('_')).take(SHOWN_MAX + 1).collect();
        if shown.is_empty() {
            shown = names().collect();
        }
        let rest = if shown.len() > SHOWN_MAX { ", …" } else { "" };
        shown.truncate(SHOWN_MAX);
        format!("the columns are {}{rest}", shown.join(", "))
    }

    pub(super) fn ty(&self, slot: usize) -> Option<ColumnType> {
        self.slots.get(slot).and_then(|s| s.column.ty)
    }

    pub(super) fn name(&self, slot: usize) -> Arc<str> {
        self.slots.get(slot).map_or_else(|| "?".into(), |s| s.column.name.clone())
    }

    /// Records that a use needs the column to be of a family.
    ///
    /// - **Errors:** it is of another one; the message says since when.
    pub(super) fn infer(
        &mut self,
        slot: usize,
        family: Family,
        at: Location,
        view: Option<&str>,
    ) -> Result<(), PlanError> {
        let Some(entry) = self.slots.get_mut(slot) else { return Ok(()) };
        match entry.column.ty {
            Some(ty) if family.accepts(ty) => Ok(()),
            Some(ty) => {
                let name = &entry.column.name;
                let (is, needed) = (describe(ty), family.name());
                let message =
                    format!("column `{name}` is {is} ({}), but is used as {needed} here", entry.why);
                Err(PlanError::at(at, message)
                    .hint(Some("a column has one type; CAST makes another".to_owned())))
            }
            None => {
                if let Some(ty) = family.inferred() {
                    entry.column.ty = Some(ty);
                    let view = view.map(|v| format!(" of view {v}")).unwrap_or_default();
                    entry.why = format!("by its use at line {}, column {}{view}", at.line, at.column);
                }
                Ok(())
            }
        }
    }

    pub(super) fn into_source(self) -> Vec<SourceColumn> {
        self.slots.into_iter().map(|s| s.column).collect()
    }
}
