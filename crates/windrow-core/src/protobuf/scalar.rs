//! Scalar: one value of a field becomes one datum.
//!
//! **In** a type, and bytes of its kind. **Out** a datum, borrowed from the bytes or the arena.
//! **Invariant:** integers are exact, also those past 63 bits; of an enum it is the name, or the digits of a number without one.
//! **Not here:** lists and messages (`json`), known messages (`json`).

use bumpalo::Bump;

use super::{
    Schema, Type,
    wire::{Cursor, Wire},
};
use crate::{utf8, value::Datum};

impl Schema {
    /// Reads a scalar; `None` when the bytes are of another kind, or the type is a message.
    #[inline]
    pub(super) fn scalar<'a>(&self, ty: Type, wire: Wire<'a>, arena: &'a Bump) -> Option<Datum<'a>> {
        Some(match (ty, wire) {
            (Type::Double, Wire::Eight(bits)) => Datum::float(f64::from_bits(bits)),
            (Type::Float, Wire::Four(bits)) => Datum::float(f64::from(f32::from_bits(bits))),
            // Of 32-bit types the lower half counts, whatever the writer's type was.
            (Type::Int32, Wire::Varint(bits)) => Datum::Int(i64::from(bits as i32)),
            (Type::Int64, Wire::Varint(bits)) => Datum::Int(bits.cast_signed()),
            (Type::Uint32, Wire::Varint(bits)) => Datum::Int(i64::from(bits as u32)),
            (Type::Uint64, Wire::Varint(bits)) => wide(bits, arena),
            (Type::Sint32, Wire::Varint(bits)) => Datum::Int(zigzag(u64::from(bits as u32))),
            (Type::Sint64, Wire::Varint(bits)) => Datum::Int(zigzag(bits)),
            (Type::Fixed32, Wire::Four(bits)) => Datum::Int(i64::from(bits)),
            (Type::Fixed64, Wire::Eight(bits)) => wide(bits, arena),
            (Type::Sfixed32, Wire::Four(bits)) => Datum::Int(i64::from(bits.cast_signed())),
            (Type::Sfixed64, Wire::Eight(bits)) => Datum::Int(bits.cast_signed()),
            (Type::Bool, Wire::Varint(bits)) => Datum::Bool(bits != 0),
            (Type::Text, Wire::Bytes(bytes)) => Datum::Text(utf8::text(bytes).ok()?),
            (Type::Bytes, Wire::Bytes(bytes)) => Datum::Bytes(bytes),
            (Type::Enum(index), Wire::Varint(bits)) => {
                let number = bits as i32;
                match self.enums[index].name(number) {
                    Some(name) => Datum::Text(arena.alloc_str(name)),
                    None => Datum::Text(arena.alloc_str(itoa::Buffer::new().format(number))),
                }
            }
            _ => return None,
        })
    }

    /// Returns what an absent scalar holds: zero, or the enum's first value.
    pub(super) fn zero(&self, ty: Type) -> Option<Datum<'_>> {
        Some(match ty {
            Type::Double | Type::Float => Datum::Float(0.0),
            Type::Bool => Datum::Bool(false),
            Type::Text => Datum::Text(""),
            Type::Bytes => Datum::Bytes(b""),
            Type::Enum(index) => Datum::Text(&self.enums[index].first.1),
            Type::Message(_) | Type::Group(_) => return None,
            _ => Datum::Int(0),
        })
    }

    /// Tells whether bytes stand for what an absent scalar holds.
    pub(super) fn is_zero(&self, ty: Type, wire: Wire<'_>) -> bool {
        match wire {
            Wire::Varint(bits) => match ty {
                Type::Int32 | Type::Uint32 | Type::Sint32 => bits as u32 == 0,
                Type::Enum(index) => self.enums[index].first.0 == bits as i32,
                _ => bits == 0,
            },
            // A double below zero by its sign alone is told apart, as everywhere in the language.
            Wire::Four(bits) => bits == 0,
            Wire::Eight(bits) => bits == 0,
            Wire::Bytes(bytes) => bytes.is_empty(),
            Wire::Group(_) => false,
        }
    }
}

/// Calls `each` with every number of a packed list.
pub(super) fn unpack<'a>(ty: Type, bytes: &'a [u8], mut each: impl FnMut(Wire<'a>)) {
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_at_end() {
        let next = match ty {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => cursor.eight().map(Wire::Eight),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => cursor.four().map(Wire::Four),
            _ => cursor.varint().map(Wire::Varint),
        };
        // `check` has seen these bytes.
        let Ok(next) = next else { return };
        each(next);
    }
}

fn wide<'a>(bits: u64, arena: &'a Bump) -> Datum<'a> {
    match i64::try_from(bits) {
        Ok(int) => Datum::Int(int),
        Err(_) => Datum::Wide(arena.alloc(i128::from(bits))),
    }
}

#[inline]
fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
