//! Rows: one state of one row of a channel, as the bytes that clients get, and the names of rows that left.
//!
//! **In** the JSON array of the key values and the JSON object of the row. **Out** the same bytes, shared.
//! **Invariant:** a row is never changed, only replaced. **Not here:** which rows there are (`table`).

use std::{borrow::Borrow, cmp::Ordering, sync::Arc};

/// What one row costs beside its bytes: two allocations, a tree slot, two counters, its place in the log.
const ROW_OVERHEAD_BYTES: usize = 152;

/// One state of one row.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// JSON array of the key values: the identity.
    pub key: Box<[u8]>,
    /// The whole row, a JSON object on one line.
    pub json: Box<[u8]>,
    /// End of its window.
    pub window_end_ms: Option<i64>,
    /// Place it came from: the partition of its topic, where the channel has one topic.
    pub partition: i32,
    /// Offset it came from.
    pub offset: i64,
    /// Offset of the first state in a row of them: since then the row was never away.
    pub born: i64,
}

impl Row {
    /// Returns what the row costs in memory.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.json.len() + ROW_OVERHEAD_BYTES
    }
}

/// A shared row that is ordered and looked up by its key.
#[derive(Debug, Clone)]
pub(crate) struct ByKey(pub(crate) Arc<Row>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

/// Writes the names of rows as clients know them: `{"id":"a","window_start":0}`.
#[derive(Debug, Clone)]
pub struct KeyWriter {
    /// `"id":` and so on.
    names: Box<[Box<[u8]>]>,
}

impl KeyWriter {
    /// Prepares the names.
    pub fn new(names: &[Arc<str>]) -> Self {
        let quote = |name: &Arc<str>| {
            let mut out = Vec::with_capacity(name.len() + 3);
            crate::value::write_text(name, &mut out);
            out.push(b':');
            out.into()
        };
        Self { names: names.iter().map(quote).collect() }
    }

    /// Appends the object that names the row of that key.
    pub fn write(&self, key: &[u8], out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (name, value)) in self.names.iter().zip(elements(key)).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }
}

/// Splits a compact JSON array into its elements' bytes. Bytes that are no array give no elements.
pub fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let inner = array.strip_prefix(b"[").and_then(|a| a.strip_suffix(b"]")).unwrap_or_default();
    let mut rest = Some(inner).filter(|i| !i.is_empty());
    std::iter::from_fn(move || {
        let now = rest?;
        let end = element_end(now);
        rest = now.get(end + 1..);
        Some(&now[..end])
    })
}

/// Finds the comma that ends the first element, or the end.
fn element_end(bytes: &[u8]) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for (i, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return i,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_with_the_names_of_its_columns() {
        let writer = KeyWriter::new(&["id".into(), "we\"ird".into()]);
        for (key, want) in [
            (r#"["a",1]"#, r#"{"id":"a","we\"ird":1}"#),
            (r#"["a,\"]",[1,{"b":","}]]"#, r#"{"id":"a,\"]","we\"ird":[1,{"b":","}]}"#),
            (r#"[null]"#, r#"{"id":null}"#),
            ("[]", "{}"),
            ("garbage", "{}"),
        ] {
            let mut out = Vec::new();
            writer.write(key.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{key}");
        }
    }
}
