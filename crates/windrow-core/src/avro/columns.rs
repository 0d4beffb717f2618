//! Columns: the names and types that SQL sees of a schema.
//!
//! **In** a schema. **Out** the columns of its record, and the type behind a path such as `user.id`.
//! **Invariant:** what is a column here is read by `project` under the same name.
//! **Not here:** values.

use super::{Node, Schema};
use crate::{spec::SchemaColumn, value::ColumnType};

impl Schema {
    /// Returns the fields of the record, or of the record that a union at the top holds; empty for other values.
    pub fn columns(&self) -> Vec<SchemaColumn> {
        self.fields().iter().map(|f| SchemaColumn { name: f.name.clone(), ty: self.ty(f.node) }).collect()
    }

    /// Returns the type of a whole value; `None` when a union holds several.
    pub fn value_type(&self) -> Option<ColumnType> {
        self.ty(self.root)
    }

    /// Tells what is behind a path: outer `None` when there is no such column, inner when it may be of several types.
    pub fn column(&self, path: &str) -> Option<Option<ColumnType>> {
        self.behind(self.root, path)
    }

    pub(super) fn fields(&self) -> &[super::Field] {
        let of = |node: usize| match &self.nodes[node] {
            Node::Record(fields) => Some(fields.as_slice()),
            _ => None,
        };
        match &self.nodes[self.root] {
            Node::Union(branches) => branches.iter().find_map(|b| of(*b)).unwrap_or_default(),
            _ => of(self.root).unwrap_or_default(),
        }
    }

    fn behind(&self, node: usize, path: &str) -> Option<Option<ColumnType>> {
        match &self.nodes[node] {
            Node::Record(fields) => {
                let (head, rest) = split(path);
                let field = fields.iter().find(|f| *f.name == *head)?;
                rest.map_or_else(|| Some(self.ty(field.node)), |rest| self.behind(field.node, rest))
            }
            Node::Map(value) => match self.split_key(*value, path) {
                (_, None) => Some(self.ty(*value)),
                (_, Some(rest)) => self.behind(*value, rest),
            },
            Node::Union(branches) => {
                let found: Vec<_> = branches.iter().filter_map(|b| self.behind(*b, path)).collect();
                if found.is_empty() { None } else { Some(merged(found.into_iter())) }
            }
            _ => None,
        }
    }

    /// A map's keys may hold dots: a key is all of a path, but where the path goes on inside of the map's values.
    pub(super) fn split_key<'p>(&self, value: usize, path: &'p str) -> (&'p str, Option<&'p str>) {
        if self.has_parts(value) { split(path) } else { (path, None) }
    }

    fn has_parts(&self, node: usize) -> bool {
        match &self.nodes[node] {
            Node::Record(_) | Node::Resolved(_) | Node::Map(_) => true,
            Node::Default { node, .. } => self.has_parts(*node),
            Node::Union(branches) => branches.iter().any(|b| self.has_parts(*b)),
            _ => false,
        }
    }

    fn ty(&self, node: usize) -> Option<ColumnType> {
        Some(match &self.nodes[node] {
            Node::Null | Node::Mismatch => return None,
            Node::Default { node, .. } => return self.ty(*node),
            Node::Boolean => ColumnType::Boolean,
            Node::Int | Node::Long => ColumnType::Bigint,
            Node::Float | Node::Double | Node::Widened { .. } => ColumnType::Double,
            Node::Bytes | Node::Fixed(_) => ColumnType::Bytes,
            Node::Text | Node::Uuid | Node::Enum(_) | Node::Mapped(_) => ColumnType::Text,
            Node::Date | Node::Timestamp { .. } => ColumnType::Timestamp,
            Node::Decimal { .. } => ColumnType::Decimal,
            Node::Array(_) | Node::Map(_) | Node::Record(_) | Node::Resolved(_) => ColumnType::Json,
            Node::Union(branches) => {
                let others = branches.iter().filter(|b| !matches!(self.nodes[**b], Node::Null));
                return merged(others.map(|b| self.ty(*b)));
            }
        })
    }
}

/// One type for several: the same, or a number where all are.
fn merged(mut types: impl Iterator<Item = Option<ColumnType>>) -> Option<ColumnType> {
    use ColumnType::{Bigint, Decimal, Double, Number};
    let first = types.next()??;
    types.try_fold(first, |known, next| match (known, next?) {
        (a, b) if a == b => Some(a),
        (Bigint | Double | Number | Decimal, Bigint | Double | Number | Decimal) => Some(Number),
        _ => None,
    })
}

/// Splits a path at its first dot.
pub(super) fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    }
}
