//! `visit-aggregator` of a listener: the channel of counts, and how much of it is told.
//!
//! **Not here:** how it is spoken (`dialect::originals::visit_aggregator`).

use super::{
    super::{Dialect, reader::Reader},
    Need, Read, Want, table_of,
};

/// What every frame has, under the original's names.
const OF_THE_FRAME: [&str; 5] = ["account_id", "store_id", "ts_from", "ts_to", "count"];

/// `visit-aggregator` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisitAggregator {
    /// Channel whose rows are told: a windowed view.
    pub channel: String,
    /// Column that is told as `account_id`, and that clients filter by.
    pub account: String,
    /// Column that is told as `store_id`.
    pub store: String,
    /// Column that is told as `count`.
    pub count: String,
    /// Further columns that are told, under their own names.
    pub fields: Vec<String>,
    /// Whether only final rows are told.
    pub finals: bool,
    /// Whether the newest row of each group is told when a client connects, and when its filter begins to match it.
    pub snapshot: bool,
    /// Line and column of the channel in the file.
    pub place: (usize, usize),
}

pub(super) fn read(listener: &Reader<'_>, dialects: &[Dialect], read: &mut Read) {
    let example = "{ channel = \"active_visitors\" }";
    let (table, is_spoken, has_table) = table_of(listener, dialects, Dialect::VisitAggregator, example);
    let text = |key, default: &str| table.text(key).unwrap_or_else(|| default.to_owned());
    let offset = table.offset("channel");
    let visits = VisitAggregator {
        channel: text("channel", ""),
        account: text("account", "account_id"),
        store: text("store", "store_id"),
        count: text("count", "count"),
        fields: fields(&table),
        finals: table.boolean("finals").unwrap_or(true),
        snapshot: table.boolean("snapshot").unwrap_or(true),
        place: table.source.place(offset),
    };
    if table.has("channel") {
        read.channels.push(("channel", visits.channel.clone(), offset));
    } else if has_table {
        let message = "`visit-aggregator` must name a `channel`: a view with windows";
        listener.wrong("visit-aggregator", message, None);
    }
    table.finish();
    read.originals.visit_aggregator = is_spoken.then_some(visits);
}

fn fields(table: &Reader<'_>) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for (name, offset) in table.texts("fields").unwrap_or_default() {
        if OF_THE_FRAME.contains(&name.as_str()) || fields.contains(&name) {
            table.source.wrong(offset, format!("`fields` names \"{name}\", which is told already"), None);
        }
        fields.push(name);
    }
    fields
}

/// Lists the columns that its channel must have.
pub(super) fn wants(visits: &VisitAggregator) -> impl Iterator<Item = Want<'_>> {
    let need = |key, column| Need { key, column, types: None };
    let mut needs = vec![
        need("account", visits.account.as_str()),
        need("store", &visits.store),
        need("count", &visits.count),
        need("channel", "window_start"),
        need("channel", "window_end"),
    ];
    if visits.finals {
        needs.push(need("finals", "final"));
    }
    needs.extend(visits.fields.iter().map(|field| need("fields", field)));
    std::iter::once(Want {
        whose: String::new(),
        original: "visit-aggregator",
        channel: &visits.channel,
        place: visits.place,
        needs,
    })
}
