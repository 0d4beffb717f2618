//! Rules: which records of a stream are rows of its channel, and how a table's rows are named.
//!
//! **In** what the stream's configuration says, the JSON of a row. **Out** whether it is one; its key's columns.
//! **Invariant:** a condition that is NULL does not hold. **Not here:** how a record becomes JSON (`rows`).

use std::sync::Arc;

use bumpalo::Bump;
use windrow_core::{
    scan::RowFields,
    spec::{Format, KEY_PREFIX, StreamSpec},
    sql::{self, Filter},
    value::Datum,
};

use super::super::ChannelSpec;

/// What a stream says of its channel.
#[derive(Default)]
pub(super) struct StreamRules {
    pub(super) latest_by: Option<TableKey>,
    row_filter: Option<(RowFields, Filter)>,
}

impl StreamRules {
    pub(super) fn new(channel: &ChannelSpec, spec: &StreamSpec) -> Self {
        // Reading the configuration has compiled it before.
        let compile = |text: &Arc<str>| sql::filter(text, &channel.columns).ok();
        let fields = RowFields::new(&channel.columns);
        Self {
            latest_by: (!spec.latest_by.is_empty()).then(|| TableKey::new(spec)),
            row_filter: spec.row_filter.as_ref().and_then(compile).map(|filter| (fields, filter)),
        }
    }

    /// Tells whether a record's row is one of the channel.
    pub(super) fn hold(&self, row: &[u8], arena: &Bump) -> bool {
        let Some((fields, filter)) = &self.row_filter else { return true };
        let mut columns = Vec::new();
        fields.read(row, arena, &mut columns).is_ok() && filter.expr.holds(&columns, arena)
    }
}

/// The columns that name a row of a table.
pub(super) struct TableKey {
    pub(super) of_row: RowFields,
    /// The same in a key that has columns, and the key itself: what a null value deletes has no other name.
    of_key: Option<RowFields>,
}

impl TableKey {
    fn new(spec: &StreamSpec) -> Self {
        let fields = |names: &mut dyn Iterator<Item = Arc<str>>| {
            RowFields::new(&names.map(|name| (name, None)).collect::<Vec<_>>())
        };
        let mut in_key = spec.latest_by.iter().map(|name| format!("{KEY_PREFIX}{name}").into());
        Self {
            of_row: fields(&mut spec.latest_by.iter().cloned()),
            of_key: matches!(spec.key_format, Format::Avro(_) | Format::AvroRegistry(_))
                .then(|| fields(&mut in_key.by_ref().chain(std::iter::once("_key".into())))),
        }
    }

    /// Fills in what the row of a null value lacks.
    pub(super) fn complete<'a>(
        &self,
        row: &'a [u8],
        name: Option<&'a str>,
        arena: &'a Bump,
        columns: &mut [Datum<'a>],
    ) {
        let mut key = Vec::new();
        match &self.of_key {
            Some(fields) => {
                if fields.read(row, arena, &mut key).is_err() {
                    return;
                }
                let whole = key.pop().filter(|whole| !matches!(whole, Datum::Json(_)) && columns.len() == 1);
                for (column, of_key) in columns.iter_mut().zip(key).filter(|(column, _)| column.is_null()) {
                    *column = if of_key.is_null() { whole.unwrap_or(of_key) } else { of_key };
                }
            }
            None => {
                if let ([column], Some(name)) = (columns, name)
                    && column.is_null()
                {
                    *column = Datum::Text(name);
                }
            }
        }
    }
}
