//! JSON: messages, lists and maps as JSON, for nested columns and for rows of streams.
//!
//! **In** checked bytes. **Out** JSON text.
//! **Invariant:** a scalar is written as its column would be: times as milliseconds, 64-bit integers as numbers with all their digits,
//! bytes as base64; but a number without a name stays a number. Inside of a message what is absent is left out, and zero where the two are the
//! same: what is written is bounded by what came.
//! **Not here:** which columns are wanted (`project`).
//!
//! Source: Protocol Buffers Documentation, "ProtoJSON Format"; what differs from it stands in docs/FORMATS.md.

use std::borrow::Cow;

use bumpalo::Bump;
use hashbrown::HashMap;

use super::{
    Label, Schema, Type,
    gather::{Gathered, pieces},
    known,
    scalar::unpack,
    schema::{Field, Known},
    wire::Wire,
};
use crate::{
    decode::BadReason,
    value::{Datum, write_text},
};

type Values<'v, 'a> = &'v [(usize, Wire<'a>)];

impl Schema {
    /// Appends `,"name":value` for each field of the message, but of those that `skip` names.
    ///
    /// - **Errors:** the bytes are no message of this schema; nothing was appended then.
    pub(crate) fn write_members(
        &self,
        value: &[u8],
        skip: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), BadReason> {
        self.check(self.root, value, 0)?;
        let (arena, message) = (Bump::new(), &self.messages[self.root]);
        let found = self.gather(self.root, std::iter::once(value));
        for (index, field) in message.fields.iter().enumerate().filter(|(_, field)| !skip(&field.name)) {
            out.push(b',');
            write_text(&field.name, out);
            out.push(b':');
            match (found.of(index), field.label) {
                ([], Label::Repeated) => out.extend_from_slice(b"[]"),
                ([], Label::Map) => out.extend_from_slice(b"{}"),
                ([], _) => self.absent(field).write_json(out),
                (values, _) => self.write_field(field, values, &arena, out),
            }
        }
        Ok(())
    }

    /// Appends a whole message.
    ///
    /// - **Errors:** as above.
    pub(crate) fn write_value(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadReason> {
        self.check(self.root, value, 0)?;
        self.write_message(self.root, &mut std::iter::once(value), &Bump::new(), out);
        Ok(())
    }

    /// Returns what a field without lists holds when it is absent.
    pub(super) fn absent<'s>(&'s self, field: &'s Field) -> Datum<'s> {
        match (&field.default, field.label) {
            (Some(default), _) => default.datum(),
            (None, Label::Implicit) => self.zero(field.ty).unwrap_or(Datum::Null),
            (None, _) => Datum::Null,
        }
    }

    /// Appends the values of one field, of which there is at least one.
    fn write_field(&self, field: &Field, values: Values<'_, '_>, arena: &Bump, out: &mut Vec<u8>) {
        match (field.label, values) {
            (Label::Repeated, _) => {
                self.write_list(field.ty, values.iter().map(|(_, wire)| *wire), arena, out)
            }
            (Label::Map, _) => self.write_map(field.ty, pieces(values), arena, out),
            (_, [.., (_, last)]) => match field.ty.message() {
                Some(message) => self.write_message(message, &mut pieces(values), arena, out),
                None => self.write_scalar(field.ty, *last, arena, out),
            },
            (_, []) => out.extend_from_slice(b"null"),
        }
    }

    /// Appends a message that came in so many pieces.
    pub(super) fn write_message(
        &self,
        message: usize,
        pieces: &mut dyn Iterator<Item = &[u8]>,
        arena: &Bump,
        out: &mut Vec<u8>,
    ) {
        let (shape, found) = (&self.messages[message], self.gather(message, pieces));
        match shape.known {
            Known::Plain => self.write_object(message, &found, arena, out),
            Known::Timestamp => match known::timestamp_ms(&found) {
                Some(ms) => Datum::Timestamp(ms).write_json(out),
                None => out.extend_from_slice(b"null"),
            },
            Known::Duration => match known::duration(&found) {
                Some(digits) => out.extend_from_slice(digits.as_bytes()),
                None => out.extend_from_slice(b"null"),
            },
            Known::Wrapper => self.write_value_of(&shape.fields[0], found.of(0), arena, out),
            Known::Struct => {
                self.write_map(shape.fields[0].ty, super::gather::pieces(found.of(0)), arena, out)
            }
            Known::List => {
                self.write_list(shape.fields[0].ty, found.of(0).iter().map(|(_, wire)| *wire), arena, out);
            }
            Known::Value => match found.groups().next() {
                // The first of its kinds is null.
                Some((kind, values)) if kind > 0 => self.write_field(&shape.fields[kind], values, arena, out),
                _ => out.extend_from_slice(b"null"),
            },
        }
    }

    fn write_object(&self, message: usize, found: &Gathered<'_>, arena: &Bump, out: &mut Vec<u8>) {
        let mut is_first = true;
        out.push(b'{');
        for (index, values) in found.groups() {
            let field = &self.messages[message].fields[index];
            let is_same_as_absent = field.label == Label::Implicit
                && values.last().is_some_and(|(_, wire)| self.is_zero(field.ty, *wire));
            if is_same_as_absent {
                continue;
            }
            comma(&mut is_first, out);
            write_text(&field.name, out);
            out.push(b':');
            self.write_field(field, values, arena, out);
        }
        out.push(b'}');
    }

    /// Appends a list; numbers may be packed.
    pub(super) fn write_list<'a>(
        &self,
        ty: Type,
        values: impl Iterator<Item = Wire<'a>>,
        arena: &Bump,
        out: &mut Vec<u8>,
    ) {
        let mut is_first = true;
        out.push(b'[');
        for wire in values {
            match (ty, wire) {
                (Type::Message(_) | Type::Group(_) | Type::Text | Type::Bytes, _) => {
                    comma(&mut is_first, out);
                    self.write_item(ty, wire, arena, out);
                }
                (ty, Wire::Bytes(packed)) => unpack(ty, packed, |wire| {
                    comma(&mut is_first, out);
                    self.write_scalar(ty, wire, arena, out);
                }),
                (ty, wire) => {
                    comma(&mut is_first, out);
                    self.write_scalar(ty, wire, arena, out);
                }
            }
        }
        out.push(b']');
    }

    fn write_item(&self, ty: Type, wire: Wire<'_>, arena: &Bump, out: &mut Vec<u8>) {
        match ty.message() {
            Some(message) => self.write_message(message, &mut wire.piece().into_iter(), arena, out),
            None => self.write_scalar(ty, wire, arena, out),
        }
    }

    /// Appends a map: of several entries with one key the last counts, at the first one's place.
    pub(super) fn write_map<'a>(
        &self,
        entry: Type,
        entries: impl Iterator<Item = &'a [u8]>,
        arena: &Bump,
        out: &mut Vec<u8>,
    ) {
        let Some(entry) = entry.message() else { return out.extend_from_slice(b"{}") };
        let shape = &self.messages[entry];
        let (Some(key), Some(value)) = (shape.index(1), shape.index(2)) else {
            return out.extend_from_slice(b"{}");
        };
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
        let mut found: Vec<Gathered<'a>> = Vec::new();
        for piece in entries {
            let gathered = self.gather(entry, std::iter::once(piece));
            let last = gathered.of(key).last().map(|(_, wire)| *wire);
            let place = *places.entry(self.key(shape.fields[key].ty, last)).or_insert(found.len());
            match found.get_mut(place) {
                Some(known) => *known = gathered,
                None => found.push(gathered),
            }
        }
        let mut names: Vec<_> = places.into_iter().collect();
        names.sort_unstable_by_key(|(_, place)| *place);
        let mut is_first = true;
        out.push(b'{');
        for ((name, _), entry) in names.iter().zip(&found) {
            comma(&mut is_first, out);
            write_text(name, out);
            out.push(b':');
            self.write_value_of(&shape.fields[value], entry.of(value), arena, out);
        }
        out.push(b'}');
    }

    /// Returns a map's key as text.
    pub(super) fn key<'a>(&self, ty: Type, wire: Option<Wire<'a>>) -> Cow<'a, str> {
        if let (Type::Text, Some(Wire::Bytes(bytes))) = (ty, wire) {
            return std::str::from_utf8(bytes).unwrap_or_default().into();
        }
        let arena = Bump::new();
        let key = wire.and_then(|wire| self.scalar(ty, wire, &arena)).or_else(|| self.zero(ty));
        match key {
            Some(Datum::Int(key)) => key.to_string().into(),
            Some(Datum::Wide(key)) => key.to_string().into(),
            Some(Datum::Bool(key)) => key.to_string().into(),
            _ => "".into(),
        }
    }

    /// Appends a map's or a wrapper's value, which is there even when its bytes are not.
    fn write_value_of(&self, field: &Field, values: Values<'_, '_>, arena: &Bump, out: &mut Vec<u8>) {
        match (field.ty.message(), values) {
            (Some(message), []) => self.write_message(message, &mut std::iter::empty(), arena, out),
            (None, []) => self.zero(field.ty).unwrap_or(Datum::Null).write_json(out),
            (_, values) => self.write_field(field, values, arena, out),
        }
    }

    fn write_scalar(&self, ty: Type, wire: Wire<'_>, arena: &Bump, out: &mut Vec<u8>) {
        match (ty, wire) {
            (Type::Enum(index), Wire::Varint(bits)) => match self.enums[index].name(bits as i32) {
                Some(name) => write_text(name, out),
                None => Datum::Int(i64::from(bits as i32)).write_json(out),
            },
            _ => self.scalar(ty, wire, arena).unwrap_or(Datum::Null).write_json(out),
        }
    }
}

fn comma(is_first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::replace(is_first, false) {
        out.push(b',');
    }
}
