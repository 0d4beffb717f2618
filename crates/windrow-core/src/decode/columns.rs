//! Columns: where each slot of a source row comes from.
//!
//! **In** a record and the tokens of its value. **Out** one datum.
//! **Invariant:** the seven columns that are always there win over members of the same name.
//! **Not here:** members of the value (`scan`).

use bumpalo::Bump;

use crate::{
    batch::Record,
    registry::Frame,
    scan,
    spec::Format,
    value::{ColumnType, Datum, write_text},
};

/// Where a slot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
    /// A wanted name of the value.
    Member(usize),
    /// A wanted name of the key.
    KeyMember(usize),
}

impl Source {
    /// Returns the column that is there whatever the value holds, or `None` for a member's name.
    pub(super) fn always(name: &str) -> Option<Self> {
        Some(match name {
            "_topic" => Source::Topic,
            "_partition" => Source::Partition,
            "_offset" => Source::Offset,
            "_timestamp" => Source::Timestamp,
            "_key" => Source::Key,
            "_value" => Source::Value,
            "_headers" => Source::Headers,
            _ => return None,
        })
    }
}

/// Reads a key: text, bytes, or a JSON document as any value is read. `None` when it is not what its format says.
pub(super) fn key<'a>(
    bytes: &'a [u8],
    format: &Format,
    ty: Option<ColumnType>,
    arena: &'a Bump,
) -> Option<Datum<'a>> {
    match (format, ty) {
        (_, Some(ColumnType::Bytes)) | (Format::Bytes, None) => Some(Datum::Bytes(bytes)),
        (Format::Json, _) => scan::convert(scan::document(bytes).ok()?, ty, arena),
        (Format::JsonRegistry, _) => key(Frame::split(bytes).ok()?.1, &Format::Json, ty, arena),
        (_, _) => text(std::str::from_utf8(bytes).ok()?, ty),
    }
}

/// Reads a whole value, already known to be what its format says.
pub(super) fn value<'a>(bytes: &'a [u8], format: &Format, ty: Option<ColumnType>) -> Option<Datum<'a>> {
    if ty == Some(ColumnType::Bytes) || (ty.is_none() && *format == Format::Bytes) {
        return Some(Datum::Bytes(bytes));
    }
    if *format == Format::JsonRegistry {
        return value(Frame::split(bytes).ok()?.1, &Format::Json, ty);
    }
    let whole = std::str::from_utf8(bytes).ok()?;
    match (format, ty) {
        (Format::Json, None | Some(ColumnType::Json)) => Some(Datum::Json(whole)),
        (_, ty) => text(whole, ty),
    }
}

fn text(whole: &str, ty: Option<ColumnType>) -> Option<Datum<'_>> {
    match ty {
        None | Some(ColumnType::Text) => Some(Datum::Text(whole)),
        Some(ColumnType::Json) => scan::document(whole.as_bytes()).ok().map(|_| Datum::Json(whole)),
        Some(ColumnType::Timestamp) => scan::rfc3339_ms(whole).map(Datum::Timestamp),
        _ => None,
    }
}

/// Writes the headers as one JSON object, members in the record's order; a value that is not UTF-8 is null and makes
/// the answer's second half false.
pub(super) fn headers<'a>(record: &Record<'a>, arena: &'a Bump) -> (&'a str, bool) {
    let (mut out, mut whole) = (vec![b'{'], true);
    for (name, value) in record.headers.clone() {
        if out.len() > 1 {
            out.push(b',');
        }
        write_text(name, &mut out);
        out.push(b':');
        match value.map(std::str::from_utf8) {
            Some(Ok(text)) => write_text(text, &mut out),
            other => {
                whole &= other.is_none();
                out.extend_from_slice(b"null");
            }
        }
    }
    out.push(b'}');
    let out = arena.alloc_slice_copy(&out);
    // All pieces were UTF-8.
    (std::str::from_utf8(out).unwrap_or("{}"), whole)
}
