//! Fingerprints: hashes that say, over restarts and versions, that a question is still the same one.
//!
//! **Invariant:** the hash of a text never changes: FNV-1a with 64 bits, from its own definition.

use super::aggregate::call_text;
use crate::{
    plan::{SourceColumn, ViewPlan},
    spec::StreamSpec,
};

/// Hashes a text: FNV-1a, 64 bits.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Writes all that decides what a view's state means.
pub(super) fn text(stream: &StreamSpec, columns: &[SourceColumn], view: &ViewPlan) -> String {
    let named = |slot: usize| columns.get(slot).map_or_else(|| format!("#{slot}"), column);
    let row = |slot: usize| format!("#{slot}");
    let mut lines = vec![
        format!("topic {} {:?} {:?} {:?}", stream.topic, stream.format, stream.key_format, stream.time),
        format!("shape {:?}", view.shape),
    ];
    lines.extend(view.filter.iter().map(|filter| format!("where {}", filter.text(&named))));
    lines.extend(view.keys.iter().map(|key| format!("key {} = {}", key.name, key.expr.text(&named))));
    lines.extend(view.aggregates.iter().map(|call| format!("aggregate {}", call_text(call, &named))));
    lines.extend(view.outputs.iter().map(|output| {
        let over_row = !view.keys.is_empty() || !view.aggregates.is_empty();
        format!(
            "output {} = {}",
            output.name,
            if over_row { output.expr.text(&row) } else { output.expr.text(&named) }
        )
    }));
    lines.extend(view.having.iter().map(|having| format!("having {}", having.text(&row))));
    lines.join("\n")
}

fn column(column: &SourceColumn) -> String {
    format!("{:?}:{}", column.name, column.ty.map_or("any", |ty| ty.name()))
}
