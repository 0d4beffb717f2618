//! Fingerprints: hashes that say, over restarts and versions, that a question is still the same one.
//!
//! **Invariant:** the hash of a text never changes: FNV-1a with 64 bits, from its own definition.

use super::aggregate::call_text;
use crate::{
    plan::{Shape, SourceColumn, ViewPlan},
    spec::{StreamSpec, TimeSpec, TimeUnit},
};

/// Hashes a text: FNV-1a, 64 bits.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Writes all that decides what a view's state means.
pub(super) fn text(stream: &StreamSpec, columns: &[SourceColumn], view: &ViewPlan) -> String {
    let source = |slot: usize| columns.get(slot).map_or_else(|| format!("#{slot}"), column);
    let row = |slot: usize| format!("#{slot}");
    let mut lines = vec![
        format!("{} {}", stream.topics.text(), time(&stream.time)),
        format!("key {} value {}", stream.key_format.name(), stream.format.name()),
        shape(view.shape),
    ];
    lines.extend(view.filter.iter().map(|filter| format!("where {}", filter.text(&source))));
    lines.extend(view.keys.iter().map(|key| format!("key {} = {}", key.name, key.expr.text(&source))));
    lines.extend(view.aggregates.iter().map(|call| format!("aggregate {}", call_text(call, &source))));
    lines.extend(view.over.iter().map(|call| format!("over {}", call_text(call, &row))));
    lines.extend(view.outputs.iter().map(|output| {
        let stateless = view.shape == Shape::Stateless;
        let text = if stateless { output.expr.text(&source) } else { output.expr.text(&row) };
        format!("output {} = {text}", output.name)
    }));
    lines.extend(view.having.iter().map(|having| format!("having {}", having.text(&row))));
    lines.join("\n")
}

/// Writes a name so that it cannot be taken for anything else.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn column(column: &SourceColumn) -> String {
    format!("{}:{}", quoted(&column.name), column.ty.map_or("any", |ty| ty.name()))
}

fn shape(shape: Shape) -> String {
    match shape {
        Shape::Stateless => "stateless".to_owned(),
        Shape::Running => "running".to_owned(),
        Shape::Tumbling { size_ms } => format!("tumble {size_ms} ms"),
    }
}

fn time(time: &TimeSpec) -> String {
    let TimeSpec::Column { column, unit } = time else { return "time of the record".to_owned() };
    let unit = match unit {
        TimeUnit::Seconds => "s",
        TimeUnit::Millis => "ms",
        TimeUnit::Micros => "us",
        TimeUnit::Nanos => "ns",
        TimeUnit::Rfc3339 => "rfc3339",
    };
    format!("time {} {unit}", quoted(column))
}
