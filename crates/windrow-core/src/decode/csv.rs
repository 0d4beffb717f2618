//! CSV: fields become tokens by the declared type of their column.
//!
//! **In** one record. **Out** a token per wanted column.
//! **Invariant:** a record has as many fields as the stream has columns; a field of another form than its type's is NULL and
//! counted. An empty field without quotes is NULL, `""` is empty text.
//! **Not here:** quotes and commas (`crate::csv`).

use std::{borrow::Cow, sync::Arc};

use bumpalo::Bump;

use super::BadReason;
use crate::{
    csv::{Field, fields},
    scan::{self, Token},
    utf8,
    value::{ColumnType, Datum, write_text},
};

/// What is wanted of every record.
#[derive(Debug, Clone)]
pub(super) struct CsvReader {
    /// Type and slot of each column.
    columns: Vec<(ColumnType, Option<usize>)>,
    slots: usize,
}

impl CsvReader {
    pub(super) fn new(declared: &[(Arc<str>, ColumnType)], wanted: &[&str]) -> Self {
        let slot = |name: &str| wanted.iter().position(|wanted| *wanted == name);
        Self { columns: declared.iter().map(|(name, ty)| (*ty, slot(name))).collect(), slots: wanted.len() }
    }

    pub(super) fn read<'a, T>(
        &self,
        value: &'a [u8],
        arena: &'a Bump,
        read: impl FnOnce(&[Token<'a>]) -> T,
    ) -> Result<T, BadReason> {
        let text = utf8::text(value).map_err(|_| BadReason::NotUtf8)?;
        let mut few = [Token::Missing; 8];
        let tokens = match few.get_mut(..self.slots) {
            Some(few) => few,
            None => arena.alloc_slice_fill_copy(self.slots, Token::Missing),
        };
        let count = fields(text, |index, field| {
            if let Some((ty, Some(slot))) = self.columns.get(index) {
                tokens[*slot] = token(field, *ty, arena);
            }
        });
        match count {
            None => Err(BadReason::NotCsv),
            Some(count) if count != self.columns.len() => Err(BadReason::CsvFields),
            Some(_) => Ok(read(tokens)),
        }
    }
}

fn token<'a>(field: Field<'a>, ty: ColumnType, arena: &'a Bump) -> Token<'a> {
    use ColumnType::{Bigint, Boolean, Bytes, Decimal, Double, Json, Number, Text, Timestamp};
    if field.raw.is_empty() && !field.is_quoted {
        return Token::Null;
    }
    let text = match field.text() {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => arena.alloc_str(&text),
    };
    match ty {
        Text | Bytes => Token::Of(Datum::Text(text)),
        Json => scan::document(text.as_bytes()).unwrap_or(Token::Wrong),
        Bigint | Double | Number | Decimal | Timestamp | Boolean => match scan::document(text.as_bytes()) {
            Ok(scalar @ (Token::Number(_) | Token::Bool(_))) => scalar,
            _ if ty == Timestamp => Token::Of(Datum::Text(text)),
            _ => Token::Wrong,
        },
    }
}

/// Appends `,"name":value` for each column; a value of another type is null, as it is in a column.
pub(super) fn write_members(
    declared: &[(Arc<str>, ColumnType)],
    value: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BadReason> {
    let arena = Bump::new();
    let names: Vec<&str> = declared.iter().map(|(name, _)| &**name).collect();
    CsvReader::new(declared, &names).read(value, &arena, |tokens| {
        for ((name, ty), token) in declared.iter().zip(tokens) {
            out.push(b',');
            write_text(name, out);
            out.push(b':');
            scan::convert(*token, Some(*ty), &arena).unwrap_or(Datum::Null).write_json(out);
        }
    })
}
