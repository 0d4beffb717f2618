//! Scan: the wanted members of one JSON object, in one pass that also proves the whole document valid.
//!
//! **In** the bytes of a record's value or of a row. **Out** one token per wanted name; a datum where it is read.
//! **Before** this file: `batch`. **After** it: `decode` (records), the hub's filters (rows).
//! **Invariant:** the verdict on a document is serde_json's, to the byte: what it refuses is refused here, and the values
//! are the same; so a truncated document is never half accepted.
//! **Not here:** event time and the columns that are not in the value (`decode`).
//!
//! | file | part |
//! |---|---|
//! | `cursor` | the grammar |
//! | `digits` | runs of digits, eight bytes at once |
//! | `specials` | where strings end, 64 bytes at once |
//! | `token` | a value's span, and its datum |
//! | `fields` | the wanted names |
//! | `convert` | declared types |

use std::sync::Arc;

use bumpalo::Bump;

use crate::{
    utf8,
    value::{ColumnType, Datum},
};

mod convert;
mod cursor;
mod digits;
mod fields;
mod specials;
mod token;

pub(crate) use convert::{convert, convert_common, rfc3339_ms};
pub(crate) use digits::integer;
pub(crate) use fields::Fields;
pub(crate) use token::{Token, text};

/// Arrays and objects inside each other, the outermost counted: more is refused, at the same depth as serde_json does.
pub const DEPTH_MAX: usize = 127;

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not one complete JSON document.
    #[error("not one complete JSON document")]
    NotJson,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
}

/// Reads the columns of a channel's rows out of their JSON, for filters.
#[derive(Debug, Clone)]
pub struct RowFields {
    types: Vec<Option<ColumnType>>,
    fields: Fields,
}

impl RowFields {
    /// Compiles the names, which must differ from each other.
    pub fn new(columns: &[(Arc<str>, Option<ColumnType>)]) -> Self {
        let names: Vec<&str> = columns.iter().map(|(name, _)| &**name).collect();
        Self { types: columns.iter().map(|(_, ty)| *ty).collect(), fields: Fields::new(&names) }
    }

    /// Reads one row.
    ///
    /// - **Shape:** `row` is cleared, then holds one datum per column; NULL where the member is missing or of another type.
    /// - **Errors:** the document is refused; `row` is then empty.
    /// - **Cost:** one pass over the document; `arena` is used only for escaped text and wide integers.
    pub fn read<'a>(
        &self,
        object: &'a [u8],
        arena: &'a Bump,
        row: &mut Vec<Datum<'a>>,
    ) -> Result<(), ScanError> {
        row.clear();
        self.fields.scan(object, arena, |tokens| {
            for (token, ty) in tokens.iter().zip(&self.types) {
                match convert_common(token, *ty) {
                    Some(datum) => row.push(datum),
                    None => row.push(convert(*token, *ty, arena).unwrap_or(Datum::Null)),
                }
            }
        })
    }
}

/// Proves one JSON document of any kind valid and returns its token.
pub(crate) fn document(bytes: &[u8]) -> Result<Token<'_>, ScanError> {
    let text = utf8::text(bytes).map_err(|_| ScanError::NotUtf8)?;
    let mut cursor = cursor::Cursor::new(text);
    cursor.space();
    let span = cursor.value(0)?;
    cursor.end()?;
    Ok(cursor.token(span))
}

#[cfg(test)]
mod tests;
