//! Project: the wanted columns of a message, compiled once; one message after the other becomes their tokens.
//!
//! **In** paths; bytes. **Out** a token per path, in their order; `Missing` where nothing is there.
//! **Invariant:** one pass over the bytes, with the verdict of `check`; the last value counts, pieces of one message are merged, and a
//! oneof holds its last member. No allocation for scalars: text and bytes are borrowed.
//! **Not here:** which paths lead where (`want`), declared types (`scan::convert`).

use std::sync::Arc;

use bumpalo::Bump;

use super::{
    Fault, Label, Schema, Type, check, deeper,
    gather::fits,
    known,
    schema::{Field, Known},
    want::{Absent, Compiler, Parts, Pass, Slot, Want, Wants, Whole},
    wire::{BYTES, Cursor, EIGHT, FOUR, VARINT, Wire},
};
use crate::{decode::BadReason, scan::Token, value::Datum};

/// What most plans want at most; more goes to the arena.
const FEW: usize = 8;

/// What is wanted of every message.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    schema: Arc<Schema>,
    wants: Wants,
    wholes: Vec<Whole>,
    /// Where the whole message goes.
    root: Option<usize>,
    slots: usize,
}

/// One value of a whole, behind the one before it.
struct Piece<'a> {
    wire: Wire<'a>,
    before: Option<&'a Piece<'a>>,
}

/// What was found so far.
struct Found<'f, 'a> {
    tokens: &'f mut [Token<'a>],
    /// The last piece of each whole.
    wholes: &'f mut [Option<&'a Piece<'a>>],
    arena: &'a Bump,
}

impl<'a> Found<'_, 'a> {
    fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            match *slot {
                Slot::Scalar(slot) => self.tokens[slot] = Token::Missing,
                Slot::Whole(whole) => self.wholes[whole] = None,
            }
        }
    }

    fn push(&mut self, whole: usize, wire: Wire<'a>) {
        let before = self.wholes[whole];
        self.wholes[whole] = Some(self.arena.alloc(Piece { wire, before }));
    }
}

impl Projection {
    /// Compiles the paths; an empty one is the whole message. Paths that lead nowhere stay `Missing`.
    pub(crate) fn new(schema: Arc<Schema>, wanted: &[&str]) -> Self {
        let (mut root, mut paths) = (None, Vec::new());
        for (index, path) in wanted.iter().enumerate() {
            if path.is_empty() { root = Some(index) } else { paths.push((*path, index)) }
        }
        let mut compiler = Compiler { schema: &schema, wholes: Vec::new() };
        let wants = compiler.message(schema.root, &paths);
        let wholes = compiler.wholes;
        Self { wants, wholes, root, slots: wanted.len(), schema }
    }

    /// Reads one message and hands the token of each path, in their order, to `read`.
    #[inline]
    pub(crate) fn read<'a, T>(
        &self,
        value: &'a [u8],
        arena: &'a Bump,
        read: impl FnOnce(&[Token<'a>]) -> T,
    ) -> Result<T, BadReason> {
        let (mut few, mut few_wholes) = ([Token::Missing; FEW], [None; FEW]);
        let tokens = match few.get_mut(..self.slots) {
            Some(few) => few,
            None => arena.alloc_slice_fill_copy(self.slots, Token::Missing),
        };
        let wholes = match few_wholes.get_mut(..self.wholes.len()) {
            Some(few) => few,
            None => arena.alloc_slice_fill_copy(self.wholes.len(), None),
        };
        let mut found = Found { tokens, wholes, arena };
        self.schema.read(&self.wants, value, 0, &mut found)?;
        for (whole, last) in self.wholes.iter().zip(&*found.wholes) {
            if let Some(last) = last {
                found.tokens[whole.slot] = self.schema.whole(whole.of, last, arena)?;
            }
        }
        if let Some(slot) = self.root {
            let mut out = Vec::new();
            self.schema.write_message(self.schema.root, &mut std::iter::once(value), arena, &mut out);
            found.tokens[slot] = Token::Nested(text_in(&out, arena)?);
        }
        Ok(read(found.tokens))
    }
}

impl Schema {
    /// Reads one piece of a message; `depth` is that of what holds it.
    fn read<'a>(
        &self,
        wants: &Wants,
        bytes: &'a [u8],
        depth: usize,
        found: &mut Found<'_, 'a>,
    ) -> Result<(), Fault> {
        if wants.fields.is_empty() {
            return self.check(wants.message, bytes, depth);
        }
        let depth = deeper(depth)?;
        let message = &self.messages[wants.message];
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_at_end() {
            let (number, kind) = cursor.head()?;
            let Some(index) = message.index(number) else {
                cursor.value(number, kind, depth)?;
                continue;
            };
            let want = &wants.fields[index];
            match (want.pass, kind) {
                (Pass::Varint, VARINT) => _ = cursor.varint()?,
                (Pass::Eight, EIGHT) => _ = cursor.eight()?,
                (Pass::Four, FOUR) => _ = cursor.four()?,
                (Pass::Bytes, BYTES) => _ = cursor.bytes()?,
                (Pass::Text, BYTES) => _ = check::text(cursor.bytes()?)?,
                (Pass::IntInto(slot), VARINT) => {
                    found.tokens[slot] = Token::Of(Datum::Int(cursor.varint()?.cast_signed()));
                }
                (Pass::DoubleInto(slot), EIGHT) => {
                    found.tokens[slot] = Token::Of(Datum::float(f64::from_bits(cursor.eight()?)));
                }
                (Pass::TextInto(slot), BYTES) => {
                    found.tokens[slot] = Token::Of(Datum::Text(check::text(cursor.bytes()?)?));
                }
                _ => {
                    let wire = cursor.value(number, kind, depth)?;
                    self.meet(&message.fields[index], want, wire, depth, found)?;
                }
            }
        }
        for (slot, absent) in &wants.absent {
            if let token @ Token::Missing = &mut found.tokens[*slot] {
                *token = match absent {
                    Absent::Is(value) => Token::Of(kept(value.datum(), found.arena)),
                    Absent::Empty(json) => Token::Nested(json),
                };
            }
        }
        Ok(())
    }

    /// Looks at one value of a field; `depth` is that of its message.
    fn meet<'a>(
        &self,
        field: &Field,
        want: &Want,
        wire: Wire<'a>,
        depth: usize,
        found: &mut Found<'_, 'a>,
    ) -> Result<(), Fault> {
        if want.is_nothing() {
            self.check_field(field, wire, depth)?;
        } else if self.take(field, want, wire, depth, found)? {
            found.clear(&want.clears);
        }
        Ok(())
    }

    /// Takes one value of a field that is wanted; `depth` is that of its message. Tells whether it is of the field's type.
    #[inline]
    fn take<'a>(
        &self,
        field: &Field,
        want: &Want,
        wire: Wire<'a>,
        depth: usize,
        found: &mut Found<'_, 'a>,
    ) -> Result<bool, Fault> {
        if let Some(Slot::Scalar(slot)) = want.slot {
            let datum = match (field.ty, wire) {
                (Type::Text, Wire::Bytes(bytes)) => Some(Datum::Text(check::text(bytes)?)),
                (ty, wire) => self.scalar(ty, wire, found.arena),
            };
            if let Some(datum) = datum {
                found.tokens[slot] = Token::Of(datum);
            }
            return Ok(datum.is_some());
        }
        let is_taken = match (&want.parts, wire) {
            (Parts::Message(wants), wire) if fits(field, wire) => {
                self.read(wants, wire.piece().unwrap_or_default(), depth, found)?;
                true
            }
            (Parts::Keys(keys), wire) => {
                let is_entry = self.check_field(field, wire, depth)?;
                if is_entry {
                    self.take_entry(field, keys, wire, deeper(depth)?, found)?;
                }
                is_entry
            }
            (_, wire) => self.check_field(field, wire, depth)?,
        };
        if let Some(Slot::Whole(whole)) = want.slot.filter(|_| is_taken) {
            found.push(whole, wire);
        }
        Ok(is_taken)
    }

    /// Takes one entry of a map, of which some keys are wanted; `depth` is that of the entry.
    fn take_entry<'a>(
        &self,
        map: &Field,
        keys: &[(Box<str>, Want)],
        wire: Wire<'a>,
        depth: usize,
        found: &mut Found<'_, 'a>,
    ) -> Result<(), Fault> {
        let (Some(entry), Some(bytes)) = (map.ty.message(), wire.piece()) else { return Ok(()) };
        let (shape, gathered) = (&self.messages[entry], self.gather(entry, std::iter::once(bytes)));
        let (Some(key), Some(value)) = (shape.index(1), shape.index(2)) else { return Ok(()) };
        let name = self.key(shape.fields[key].ty, gathered.of(key).last().map(|(_, wire)| *wire));
        let Some((_, want)) = keys.iter().find(|(wanted, _)| **wanted == *name) else { return Ok(()) };
        // An entry replaces the one before, it is not merged with it.
        let mut before = Vec::new();
        want.slots(&mut before);
        found.clear(&before);
        let field = &shape.fields[value];
        match (gathered.of(value), field.ty.message(), want.slot) {
            ([], Some(_), _) => _ = self.take(field, want, Wire::Bytes(b""), depth, found)?,
            ([], None, Some(Slot::Scalar(slot))) => {
                let zero = self.zero(field.ty).unwrap_or(Datum::Null);
                found.tokens[slot] = Token::Of(kept(zero, found.arena));
            }
            (values, _, _) => {
                for (_, wire) in values {
                    self.take(field, want, *wire, depth, found)?;
                }
            }
        }
        Ok(())
    }

    /// Puts a whole together out of its pieces.
    fn whole<'a>(
        &self,
        (message, field): (usize, usize),
        last: &'a Piece<'a>,
        arena: &'a Bump,
    ) -> Result<Token<'a>, Fault> {
        let field = &self.messages[message].fields[field];
        let mut values: Vec<Wire<'a>> =
            std::iter::successors(Some(last), |piece| piece.before).map(|piece| piece.wire).collect();
        values.reverse();
        let mut out = Vec::new();
        let mut pieces = values.iter().filter_map(|wire| wire.piece());
        match (field.label, field.ty.message()) {
            (Label::Repeated, _) => self.write_list(field.ty, values.iter().copied(), arena, &mut out),
            (Label::Map, _) => self.write_map(field.ty, pieces, arena, &mut out),
            (_, Some(message)) => match self.messages[message].known {
                Known::Plain | Known::Struct | Known::List | Known::Value => {
                    self.write_message(message, &mut pieces, arena, &mut out);
                }
                Known::Timestamp => {
                    let ms = known::timestamp_ms(&self.gather(message, pieces));
                    return Ok(ms.map_or(Token::Wrong, |ms| Token::Of(Datum::Timestamp(ms))));
                }
                Known::Duration => {
                    let digits = known::duration(&self.gather(message, pieces));
                    return Ok(digits.map_or(Token::Wrong, |digits| Token::Number(arena.alloc_str(&digits))));
                }
                Known::Wrapper => {
                    let (inner, gathered) = (&self.messages[message].fields[0], self.gather(message, pieces));
                    let value =
                        gathered.of(0).last().and_then(|(_, wire)| self.scalar(inner.ty, *wire, arena));
                    let zero = || kept(self.zero(inner.ty).unwrap_or(Datum::Null), arena);
                    return Ok(Token::Of(value.unwrap_or_else(zero)));
                }
            },
            // Scalars are read when they come.
            (_, None) => return Ok(Token::Missing),
        }
        let text = text_in(&out, arena)?;
        Ok(if text == "null" { Token::Null } else { Token::Nested(text) })
    }
}

fn text_in<'a>(json: &[u8], arena: &'a Bump) -> Result<&'a str, Fault> {
    Ok(arena.alloc_str(check::text(json)?))
}

/// Copies a datum of the schema beside the data of the record.
fn kept<'a>(datum: Datum<'_>, arena: &'a Bump) -> Datum<'a> {
    match datum {
        Datum::Null | Datum::Json(_) => Datum::Null,
        Datum::Bool(b) => Datum::Bool(b),
        Datum::Int(i) => Datum::Int(i),
        Datum::Float(f) => Datum::Float(f),
        Datum::Timestamp(t) => Datum::Timestamp(t),
        Datum::Wide(w) => Datum::Wide(arena.alloc(*w)),
        Datum::Text(t) => Datum::Text(arena.alloc_str(t)),
        Datum::Bytes(b) => Datum::Bytes(arena.alloc_slice_copy(b)),
    }
}
