//! The table: the newest state of every row of a channel, in key order.
//!
//! **In** rows and tombstones. **Out** the state they replace; rows after a key.
//! **Invariant:** never more than its bound; what does not fit is refused and the table says so for ever after, because
//! a table with holes would be wrong in silence. **Not here:** history (`ring`), filters.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use super::row::{ByKey, Row};

/// The table would pass its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel's rows take more than {bytes_max} bytes")]
pub struct Full {
    /// The bound.
    pub bytes_max: usize,
}

/// Rows by key.
#[derive(Debug)]
pub(crate) struct Table {
    rows: BTreeSet<ByKey>,
    /// Rows per window end: the smallest key tells which windows have left.
    windows: BTreeMap<i64, usize>,
    bytes: usize,
    bytes_max: usize,
}

impl Table {
    /// Makes an empty table.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { rows: BTreeSet::new(), windows: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Sets a row and returns the state it replaces.
    pub(crate) fn upsert(&mut self, row: Arc<Row>) -> Result<Option<Arc<Row>>, Full> {
        let replaced = self.rows.get(row.key.as_ref()).map_or(0, |old| old.0.bytes());
        let bytes = self.bytes - replaced + row.bytes();
        if bytes > self.bytes_max {
            return Err(Full { bytes_max: self.bytes_max });
        }
        self.bytes = bytes;
        if let Some(end) = row.window_end_ms {
            *self.windows.entry(end).or_default() += 1;
        }
        let old = self.rows.replace(ByKey(row)).map(|old| old.0);
        old.iter().for_each(|old| self.leave_window(old));
        Ok(old)
    }

    /// Returns a row.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Row>> {
        self.rows.get(key).map(|row| &row.0)
    }

    /// Removes a row and returns its last state.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Arc<Row>> {
        let old = self.rows.take(key)?.0;
        self.bytes -= old.bytes();
        self.leave_window(&old);
        Some(old)
    }

    fn leave_window(&mut self, row: &Row) {
        let Some(end) = row.window_end_ms else { return };
        if let Some(count) = self.windows.get_mut(&end) {
            *count -= 1;
            if *count == 0 {
                self.windows.remove(&end);
            }
        }
    }

    /// Returns the rows whose key begins with the elements in `prefix` (empty = all), from `after` on (itself left out),
    /// in key order.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a Arc<Row>> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        rows.map(|r| &r.0)
            .take_while(move |r| r.key.starts_with(prefix))
            .filter(move |r| begins_with_elements(&r.key, prefix))
    }

    /// Returns the earliest window end of any row: every window that ended before has left.
    pub(crate) fn window_end_min_ms(&self) -> Option<i64> {
        self.windows.first_key_value().map(|(end, _)| *end)
    }

    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns what the rows cost.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Tells whether a key begins with `prefix` and an element ends there: `[1` begins `[1,2]`, not `[10]`.
pub(crate) fn begins_with_elements(key: &[u8], prefix: &[u8]) -> bool {
    prefix.is_empty() || (key.starts_with(prefix) && matches!(key.get(prefix.len()), Some(b',' | b']')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, end: i64) -> Arc<Row> {
        let (key, json) = (key.as_bytes().into(), b"{}".as_slice().into());
        Arc::new(Row { key, json, window_end_ms: Some(end), partition: 0, offset: 0, born: 0 })
    }

    #[test]
    fn bytes_and_windows_follow_every_change() {
        let mut table = Table::new(10_000);
        assert_eq!(table.upsert(row("a", 10)), Ok(None));
        assert_eq!(table.upsert(row("b", 20)), Ok(None));
        assert_eq!(table.upsert(row("a", 30)), Ok(Some(row("a", 10))));
        assert_eq!(table.window_end_min_ms(), Some(20));
        assert_eq!(table.remove(b"b"), Some(row("b", 20)));
        assert_eq!(table.window_end_min_ms(), Some(30));
        assert_eq!(table.remove(b"b"), None);
        assert_eq!((table.len(), table.bytes()), (1, row("a", 30).bytes()));
    }

    #[test]
    fn a_row_past_the_bound_is_refused_and_nothing_changes() {
        let mut table = Table::new(200);
        assert_eq!(table.upsert(row("a", 10)), Ok(None));
        assert_eq!(table.upsert(row("b", 10)), Err(Full { bytes_max: 200 }));
        assert_eq!(table.upsert(row("a", 20)), Ok(Some(row("a", 10))));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_range_holds_its_prefix_and_nothing_else() {
        let mut table = Table::new(100_000);
        for key in ["[\"a\",1]", "[\"a\",2]", "[\"ab\",1]", "[\"b\",1]", "[1]", "[10]"] {
            table.upsert(row(key, 0)).unwrap();
        }
        let keys = |prefix: &str, after: Option<&str>| -> Vec<String> {
            let rows = table.range(prefix.as_bytes(), after.map(str::as_bytes));
            rows.map(|r| String::from_utf8_lossy(&r.key).into_owned()).collect()
        };
        assert_eq!(keys("[\"a\"", None), ["[\"a\",1]", "[\"a\",2]"]);
        assert_eq!(keys("[\"a\"", Some("[\"a\",1]")), ["[\"a\",2]"]);
        assert_eq!(keys("", Some("[\"ab\",1]")), ["[\"b\",1]", "[10]", "[1]"]);
        assert_eq!(keys("[1", None), ["[1]"]);
    }
}
