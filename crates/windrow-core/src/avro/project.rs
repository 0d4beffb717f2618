//! Project: the wanted columns of a schema, compiled once; one value after the other becomes their tokens.
//!
//! **In** paths; bytes. **Out** a token per path, in their order; `Missing` where a branch or a key is not there.
//! **Invariant:** no allocation for scalars: text and bytes are borrowed, digits of decimals and JSON of nested values go to the arena.
//! **Not here:** column types (`columns`), declared types (`scan::convert`).

use bumpalo::Bump;

use super::{Fault, Field, Node, Resolved, Schema, columns::split, cursor::Cursor, steps, steps::Step};
use crate::{
    decode::BadReason,
    paths::{behind, heads},
    scan::{DEPTH_MAX, Token},
    value::Datum,
};
use std::sync::Arc;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What is wanted of every value.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    schema: Arc<Schema>,
    root: Want,
    /// The same, when it is fields of a record and no more.
    steps: Option<Box<[Step]>>,
    slots: usize,
}

/// What is wanted of one node.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) node: usize,
    /// Where the whole of it goes.
    pub(super) slot: Option<usize>,
    pub(super) parts: Parts,
}

/// What is wanted of its parts.
#[derive(Debug, Clone)]
pub(super) enum Parts {
    None,
    /// Of each field of a record.
    Fields(Vec<Want>),
    /// Of a map's values under these keys.
    Keys {
        value: usize,
        keys: Vec<(Box<str>, Want)>,
    },
    /// Of each branch of a union.
    Branches(Vec<Want>),
    /// Of what the writer did not write.
    Default(Box<Want>),
}

impl Projection {
    /// Compiles the paths; an empty one is the whole value. Paths that lead nowhere stay `Missing`.
    pub(crate) fn new(schema: Arc<Schema>, wanted: &[&str]) -> Self {
        let (mut slot, mut paths) = (None, Vec::new());
        for (index, path) in wanted.iter().enumerate() {
            if path.is_empty() { slot = Some(index) } else { paths.push((*path, index)) }
        }
        let root = Want { slot, ..schema.want(schema.root, &paths) };
        let steps = match (&root.parts, root.slot) {
            (Parts::Fields(fields), None) => Some(steps::compile(&schema, fields)),
            _ => None,
        };
        Self { root, steps, slots: wanted.len(), schema }
    }

    /// Reads one value and hands the token of each path, in their order, to `read`.
    #[inline]
    pub(crate) fn read<'a, T>(
        &self,
        value: &'a [u8],
        arena: &'a Bump,
        read: impl FnOnce(&[Token<'a>]) -> T,
    ) -> Result<T, BadReason> {
        // Most plans want a handful: those need no arena.
        let mut few = [Token::Missing; 8];
        let tokens = match few.get_mut(..self.slots) {
            Some(few) => few,
            None => arena.alloc_slice_fill_copy(self.slots, Token::Missing),
        };
        let mut cursor = Cursor::new(value);
        match (&self.steps, &self.root.parts) {
            (Some(steps), Parts::Fields(fields)) => {
                cursor.pay(fields.len())?;
                self.schema.run(steps, &mut cursor, tokens, 1, arena)?;
            }
            _ => self.schema.read(&self.root, &mut cursor, tokens, 0, arena)?,
        }
        cursor.end()?;
        Ok(read(tokens))
    }
}

impl Want {
    fn nothing(node: usize) -> Self {
        Self { node, slot: None, parts: Parts::None }
    }
}

impl Schema {
    fn want(&self, node: usize, paths: &[(&str, usize)]) -> Want {
        if paths.is_empty() {
            return Want::nothing(node);
        }
        let parts = match &self.nodes[node] {
            Node::Record(fields) => Parts::Fields(
                fields.iter().map(|field| self.want_behind(field.node, &field.name, paths, split)).collect(),
            ),
            Node::Resolved(record) => {
                let want = |(at, field): (usize, &Field)| match record.order.contains(&at) {
                    true => self.want_behind(field.node, &field.name, paths, split),
                    false => Want::nothing(field.node),
                };
                Parts::Fields(record.fields.iter().enumerate().map(want).collect())
            }
            Node::Default { node, .. } => Parts::Default(Box::new(self.want(*node, paths))),
            Node::Map(value) => {
                let at_key = |path| self.split_key(*value, path);
                let want = |key: &str| (key.into(), self.want_behind(*value, key, paths, at_key));
                Parts::Keys { value: *value, keys: heads(paths, at_key).into_iter().map(want).collect() }
            }
            Node::Union(branches) => {
                Parts::Branches(branches.iter().map(|branch| self.want(*branch, paths)).collect())
            }
            _ => Parts::None,
        };
        Want { node, slot: None, parts }
    }

    /// What the paths want behind one name.
    fn want_behind<'p>(
        &self,
        node: usize,
        name: &str,
        paths: &[(&'p str, usize)],
        split: impl Fn(&'p str) -> (&'p str, Option<&'p str>),
    ) -> Want {
        let (slot, rests) = behind(name, paths, split);
        Want { slot, ..self.want(node, &rests) }
    }

    pub(super) fn read<'a>(
        &self,
        want: &Want,
        cursor: &mut Cursor<'a>,
        tokens: &mut [Token<'a>],
        depth: usize,
        arena: &'a Bump,
    ) -> Result<(), Fault> {
        let start = *cursor;
        match &want.parts {
            Parts::None => match want.slot {
                Some(slot) => {
                    tokens[slot] = self.token(want.node, cursor, depth, arena)?;
                    return Ok(());
                }
                None => return self.skip(want.node, cursor, depth),
            },
            Parts::Fields(fields) => {
                let depth = deeper(depth)?;
                cursor.pay(fields.len())?;
                fields.iter().try_for_each(|field| self.read(field, cursor, tokens, depth, arena))?;
            }
            Parts::Branches(branches) => {
                let branch = cursor.index(branches.len())?;
                self.read(&branches[branch], cursor, tokens, depth, arena)?;
            }
            Parts::Default(inside) => {
                if let Node::Default { bytes, .. } = &self.nodes[want.node] {
                    let mut cursor = Cursor::new(arena.alloc_slice_copy(bytes));
                    self.read(inside, &mut cursor, tokens, depth, arena)?;
                }
            }
            Parts::Keys { value, keys } => {
                let depth = deeper(depth)?;
                cursor.blocks(|cursor| {
                    let key = cursor.text()?;
                    match keys.iter().find(|(wanted, _)| **wanted == *key) {
                        Some((_, want)) => self.read(want, cursor, tokens, depth, arena),
                        None => self.skip(*value, cursor, depth),
                    }
                })?;
            }
        }
        if let Some(slot) = want.slot {
            tokens[slot] = self.token(want.node, &mut { start }, depth, arena)?;
        }
        Ok(())
    }

    /// Reads one value whole.
    fn token<'a>(
        &self,
        node: usize,
        cursor: &mut Cursor<'a>,
        depth: usize,
        arena: &'a Bump,
    ) -> Result<Token<'a>, Fault> {
        Ok(match &self.nodes[node] {
            Node::Array(_) | Node::Map(_) | Node::Record(_) | Node::Resolved(_) => {
                let mut out = Vec::new();
                self.write(node, cursor, depth, &mut out)?;
                let text = std::str::from_utf8(&out).map_err(|_| Fault::NotUtf8)?;
                Token::Nested(arena.alloc_str(text))
            }
            Node::Union(branches) => {
                let branch = cursor.index(branches.len())?;
                return self.token(branches[branch], cursor, depth, arena);
            }
            Node::Decimal { size, scale } => {
                let digits = decimal(read_unscaled(*size, cursor)?, *scale);
                Token::Number(arena.alloc_str(&digits))
            }
            Node::Uuid => Token::Of(Datum::Text(arena.alloc_str(&uuid(cursor.take(16)?)))),
            Node::Enum(symbols) => {
                let symbol = cursor.index(symbols.all.len())?;
                Token::Of(Datum::Text(arena.alloc_str(&symbols.all[symbol])))
            }
            Node::Mapped(symbols) => Token::Of(Datum::Text(arena.alloc_str(mapped(symbols, cursor)?))),
            Node::Default { node, bytes } => {
                let bytes: &'a [u8] = arena.alloc_slice_copy(bytes);
                return self.token(*node, &mut Cursor::new(bytes), depth, arena);
            }
            Node::Mismatch => return Err(Fault::Mismatch),
            Node::Null => Token::Null,
            _ => Token::Of(self.scalar(node, cursor)?),
        })
    }

    /// Reads a scalar that needs no arena.
    #[inline]
    pub(super) fn scalar<'a>(&self, node: usize, cursor: &mut Cursor<'a>) -> Result<Datum<'a>, Fault> {
        Ok(match &self.nodes[node] {
            Node::Boolean => Datum::Bool(cursor.boolean()?),
            Node::Int => Datum::Int(i64::from(cursor.int()?)),
            Node::Long => Datum::Int(cursor.long()?),
            Node::Float => Datum::float(f64::from(cursor.float()?)),
            Node::Double => Datum::float(cursor.double()?),
            Node::Widened { is_long, to_float } => {
                let whole = if *is_long { cursor.long()? } else { i64::from(cursor.int()?) };
                Datum::float(if *to_float { f64::from(whole as f32) } else { whole as f64 })
            }
            Node::Text => Datum::Text(cursor.text()?),
            Node::Bytes => Datum::Bytes(cursor.bytes()?),
            Node::Fixed(size) => Datum::Bytes(cursor.take(*size)?),
            Node::Date => Datum::Timestamp(i64::from(cursor.int()?) * DAY_MS),
            // Down, before 1970 too, so that windows stay half-open.
            Node::Timestamp { per_ms } => Datum::Timestamp(cursor.long()?.div_euclid(*per_ms)),
            // Null; the callers have arms of their own for the rest.
            _ => Datum::Null,
        })
    }

    /// Walks over one value, checking all of it.
    pub(super) fn skip(&self, node: usize, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fault> {
        match &self.nodes[node] {
            Node::Null | Node::Default { .. } => {}
            Node::Mismatch => return Err(Fault::Mismatch),
            Node::Boolean => _ = cursor.boolean()?,
            Node::Int | Node::Date | Node::Widened { is_long: false, .. } => _ = cursor.int()?,
            Node::Long | Node::Timestamp { .. } | Node::Widened { .. } => _ = cursor.long()?,
            Node::Float => _ = cursor.take(4)?,
            Node::Double => _ = cursor.take(8)?,
            Node::Bytes => _ = cursor.bytes()?,
            Node::Text => cursor.skip_text()?,
            Node::Uuid => _ = cursor.take(16)?,
            Node::Decimal { size, .. } => _ = read_unscaled(*size, cursor)?,
            Node::Fixed(size) => _ = cursor.take(*size)?,
            Node::Enum(symbols) => _ = cursor.index(symbols.all.len())?,
            Node::Mapped(symbols) => _ = mapped(symbols, cursor)?,
            Node::Array(items) => {
                let depth = deeper(depth)?;
                cursor.blocks(|cursor| self.skip(*items, cursor, depth))?;
            }
            Node::Map(values) => {
                let depth = deeper(depth)?;
                cursor.blocks(|cursor| {
                    cursor.text()?;
                    self.skip(*values, cursor, depth)
                })?;
            }
            Node::Union(branches) => {
                let branch = cursor.index(branches.len())?;
                self.skip(branches[branch], cursor, depth)?;
            }
            Node::Record(fields) | Node::Resolved(Resolved { fields, .. }) => {
                let depth = deeper(depth)?;
                cursor.pay(fields.len())?;
                fields.iter().try_for_each(|field| self.skip(field.node, cursor, depth))?;
            }
        }
        Ok(())
    }
}

/// Reads a writer's symbol as the reader's.
pub(super) fn mapped<'s>(symbols: &'s [Option<Box<str>>], cursor: &mut Cursor<'_>) -> Result<&'s str, Fault> {
    let at = cursor.index(symbols.len())?;
    symbols[at].as_deref().ok_or(Fault::Mismatch)
}

/// One level further down, as deep as JSON may be.
pub(super) fn deeper(depth: usize) -> Result<usize, Fault> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Fault::TooDeep) }
}

/// Reads a decimal's whole number: two's complement, big-endian, of any length that 128 bits hold.
pub(super) fn read_unscaled(size: Option<usize>, cursor: &mut Cursor<'_>) -> Result<i128, Fault> {
    let bytes = match size {
        Some(size) => cursor.take(size)?,
        None => cursor.bytes()?,
    };
    let fill = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xFF } else { 0 };
    let mut wide = [fill; 16];
    let (spare, kept) = bytes.split_at(bytes.len().saturating_sub(16));
    wide[16 - kept.len()..].copy_from_slice(kept);
    let is_same = (wide[0] >= 0x80) == (fill == 0xFF);
    if spare.iter().any(|byte| *byte != fill) || !is_same {
        return Err(Fault::Malformed);
    }
    Ok(i128::from_be_bytes(wide))
}

/// Writes a decimal as JSON would have it: `12.30`.
pub(super) fn decimal(unscaled: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Writes a UUID's bytes as RFC 9562 does.
pub(super) fn uuid(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
