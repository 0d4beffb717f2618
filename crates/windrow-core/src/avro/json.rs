//! JSON: a value as JSON, for nested columns and for rows of streams.
//!
//! **In** the bytes of one value. **Out** JSON text: records and maps as objects, a union's value without its branch's name.
//! **Invariant:** a scalar is written as its column would be: times as milliseconds, decimals with all their digits, bytes as
//! base64, where the schema tags them in an object of their own.
//! **Not here:** which columns are wanted (`project`).

use super::{
    Fault, Field, Node, Resolved, Schema,
    cursor::Cursor,
    project::{decimal, deeper, mapped, read_unscaled, uuid},
};
use crate::{
    decode::BadReason,
    value::{Datum, write_text},
};

impl Schema {
    /// Appends `,"name":value` for each field of the record, but of those that `skip` names; `None` for other values.
    ///
    /// - **Errors:** the bytes are no value of this schema; what was appended is then to be cut off.
    pub(crate) fn write_members(
        &self,
        value: &[u8],
        skip: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<()>, BadReason> {
        let mut cursor = Cursor::new(value);
        let mut node = self.root;
        if let Node::Union(branches) = &self.nodes[node] {
            node = branches[cursor.index(branches.len())?];
        }
        let mut field = |field: &Field, cursor: &mut Cursor<'_>| {
            if skip(&field.name) {
                return self.skip(field.node, cursor, 1);
            }
            out.push(b',');
            write_text(&field.name, out);
            out.push(b':');
            self.write(field.node, cursor, 1, out)
        };
        match &self.nodes[node] {
            Node::Record(fields) => {
                cursor.pay(fields.len())?;
                fields.iter().try_for_each(|each| field(each, &mut cursor))?;
            }
            Node::Resolved(record) => self.in_order(record, &mut cursor, 1, field)?,
            _ => return Ok(None),
        }
        cursor.end()?;
        Ok(Some(()))
    }

    /// Hands over the fields of a reader's record in their order, each with a cursor at its value.
    fn in_order<'a>(
        &self,
        record: &Resolved,
        cursor: &mut Cursor<'a>,
        depth: usize,
        mut field: impl FnMut(&Field, &mut Cursor<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        cursor.pay(record.fields.len())?;
        if record.is_straight {
            return record.fields.iter().try_for_each(|each| field(each, cursor));
        }
        let mut starts = Vec::with_capacity(record.fields.len());
        for each in &record.fields {
            starts.push(*cursor);
            self.skip(each.node, cursor, depth)?;
        }
        record.order.iter().try_for_each(|at| field(&record.fields[*at], &mut starts[*at]))
    }

    /// Appends a whole value.
    ///
    /// - **Errors:** as above.
    pub(crate) fn write_value(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadReason> {
        let mut cursor = Cursor::new(value);
        self.write(self.root, &mut cursor, 0, out)?;
        cursor.end()?;
        Ok(())
    }

    pub(super) fn write(
        &self,
        node: usize,
        cursor: &mut Cursor<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match &self.nodes[node] {
            Node::Array(items) => {
                let (depth, mut is_first) = (deeper(depth)?, true);
                out.push(b'[');
                cursor.blocks(|cursor| {
                    comma(&mut is_first, out);
                    self.write(*items, cursor, depth, out)
                })?;
                out.push(b']');
            }
            Node::Map(values) => {
                let (depth, mut is_first) = (deeper(depth)?, true);
                out.push(b'{');
                cursor.blocks(|cursor| {
                    comma(&mut is_first, out);
                    write_text(cursor.text()?, out);
                    out.push(b':');
                    self.write(*values, cursor, depth, out)
                })?;
                out.push(b'}');
            }
            Node::Record(fields) => {
                let (depth, mut is_first) = (deeper(depth)?, true);
                cursor.pay(fields.len())?;
                out.push(b'{');
                for field in fields {
                    comma(&mut is_first, out);
                    write_text(&field.name, out);
                    out.push(b':');
                    self.write(field.node, cursor, depth, out)?;
                }
                out.push(b'}');
            }
            Node::Resolved(record) => {
                let (depth, mut is_first) = (deeper(depth)?, true);
                out.push(b'{');
                self.in_order(record, cursor, depth, |field, cursor| {
                    comma(&mut is_first, out);
                    write_text(&field.name, out);
                    out.push(b':');
                    self.write(field.node, cursor, depth, out)
                })?;
                out.push(b'}');
            }
            Node::Default { node, bytes } => self.write(*node, &mut Cursor::new(bytes), depth, out)?,
            Node::Mismatch => return Err(Fault::Mismatch),
            Node::Union(branches) => {
                let branch = cursor.index(branches.len())?;
                self.write(branches[branch], cursor, depth, out)?;
            }
            Node::Enum(symbols) => write_text(&symbols.all[cursor.index(symbols.all.len())?], out),
            Node::Mapped(symbols) => write_text(mapped(symbols, cursor)?, out),
            Node::Uuid => write_text(&uuid(cursor.take(16)?), out),
            Node::Decimal { size, scale } => {
                out.extend_from_slice(decimal(read_unscaled(*size, cursor)?, *scale).as_bytes());
            }
            _ => match self.scalar(node, cursor)? {
                bytes @ Datum::Bytes(_) if self.tags_bytes => {
                    out.extend_from_slice(b"{\"$bytes\":");
                    bytes.write_json(out);
                    out.push(b'}');
                }
                datum => datum.write_json(out),
            },
        }
        Ok(())
    }
}

fn comma(is_first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::replace(is_first, false) {
        out.push(b',');
    }
}
