//! Columns: the names and types that SQL sees of a message.
//!
//! **In** a schema. **Out** the columns of its message, and the type behind a path such as `user.id`.
//! **Invariant:** what is a column here is read by `project` under the same name.
//! **Not here:** values.

use super::{
    Label, Schema, Type,
    schema::{Field, Known},
};
use crate::{spec::SchemaColumn, value::ColumnType};

impl Schema {
    /// Returns the fields of the message, in the order of the file.
    pub fn columns(&self) -> Vec<SchemaColumn> {
        let fields = self.messages[self.root].fields.iter();
        fields.map(|f| SchemaColumn { name: f.name.clone(), ty: Some(self.ty(f)) }).collect()
    }

    /// Tells what is behind a path; `None` when there is no such column.
    pub fn column(&self, path: &str) -> Option<ColumnType> {
        self.behind(self.root, path)
    }

    fn behind(&self, message: usize, path: &str) -> Option<ColumnType> {
        let (head, rest) = split(path);
        let field = self.messages[message].fields.iter().find(|f| *f.name == *head)?;
        let Some(rest) = rest else { return Some(self.ty(field)) };
        match field.label {
            Label::Repeated => None,
            Label::Map => {
                let value = self.map_value(field)?;
                match self.split_key(value, rest) {
                    (_, None) => Some(self.ty(value)),
                    (_, Some(rest)) => self.behind(value.ty.message()?, rest),
                }
            }
            Label::Implicit | Label::Explicit => self.behind(self.parts(field)?, rest),
        }
    }

    /// Returns the message whose fields are columns of their own; those with a meaning of their own are one value.
    pub(super) fn parts(&self, field: &Field) -> Option<usize> {
        field.ty.message().filter(|_| self.known(field.ty) == Known::Plain)
    }

    /// Returns the value of a map's entries.
    pub(super) fn map_value(&self, map: &Field) -> Option<&Field> {
        self.messages[map.ty.message()?].field(2)
    }

    /// A map's keys may hold dots: a key is all of a path, but where the path goes on inside of the map's values.
    pub(super) fn split_key<'p>(&self, value: &Field, path: &'p str) -> (&'p str, Option<&'p str>) {
        if self.parts(value).is_some() { split(path) } else { (path, None) }
    }

    fn ty(&self, field: &Field) -> ColumnType {
        match field.label {
            Label::Repeated | Label::Map => ColumnType::Json,
            Label::Implicit | Label::Explicit => self.type_of(field.ty),
        }
    }

    fn type_of(&self, ty: Type) -> ColumnType {
        match ty {
            Type::Double | Type::Float => ColumnType::Double,
            Type::Bool => ColumnType::Boolean,
            Type::Text | Type::Enum(_) => ColumnType::Text,
            Type::Bytes => ColumnType::Bytes,
            Type::Message(message) | Type::Group(message) => match self.messages[message].known {
                Known::Timestamp => ColumnType::Timestamp,
                Known::Duration => ColumnType::Decimal,
                Known::Wrapper => {
                    self.messages[message].field(1).map_or(ColumnType::Json, |f| self.type_of(f.ty))
                }
                Known::Plain | Known::Struct | Known::Value | Known::List => ColumnType::Json,
            },
            _ => ColumnType::Bigint,
        }
    }
}

/// Splits a path at its first dot.
pub(super) fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    }
}
