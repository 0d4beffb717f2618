//! Check: is this a message of the schema, in all that it holds?
//!
//! **In** bytes. **Out** nothing, or the first fault.
//! **Invariant:** `project` comes to the same verdict, and what passed here can be written as JSON without further looking.
//! **Not here:** values.
//!
//! A field whose bytes are of another kind than its type's is one of a newer or older schema, and is as unknown as a number that no
//! field has: readers of the language do so.

use super::{
    Fault, Label, Schema, Type, deeper,
    schema::Field,
    wire::{Cursor, Wire},
};
use crate::utf8;

impl Schema {
    /// Walks over one message; `depth` is that of what holds it.
    pub(super) fn check(&self, message: usize, bytes: &[u8], depth: usize) -> Result<(), Fault> {
        let depth = deeper(depth)?;
        let message = &self.messages[message];
        let mut cursor = Cursor::new(bytes);
        while let Some((number, wire)) = cursor.field(depth)? {
            if let Some(index) = message.index(number) {
                self.check_field(&message.fields[index], wire, depth)?;
            }
        }
        Ok(())
    }

    /// Checks one value of a field; `depth` is that of its message. Tells whether it is of the field's type.
    #[inline]
    pub(super) fn check_field(&self, field: &Field, wire: Wire<'_>, depth: usize) -> Result<bool, Fault> {
        let is_list = field.label == Label::Repeated;
        let depth = if is_list { deeper(depth)? } else { depth };
        match (field.ty, wire) {
            (Type::Text, Wire::Bytes(bytes)) => text(bytes).map(|_| true),
            (Type::Bytes, Wire::Bytes(_)) => Ok(true),
            // A map is one level, that of its entries.
            (Type::Message(message), Wire::Bytes(bytes)) | (Type::Group(message), Wire::Group(bytes)) => {
                self.check(message, bytes, depth).map(|()| true)
            }
            (Type::Message(_) | Type::Group(_) | Type::Text | Type::Bytes, _) => Ok(false),
            (ty, Wire::Bytes(packed)) if is_list => check_packed(ty, packed).map(|()| true),
            (ty, wire) => Ok(is_kind(ty, wire)),
        }
    }
}

/// Tells whether a number's bytes are of the kind that its type has.
#[inline]
pub(super) fn is_kind(ty: Type, wire: Wire<'_>) -> bool {
    match wire {
        Wire::Eight(_) => matches!(ty, Type::Double | Type::Fixed64 | Type::Sfixed64),
        Wire::Four(_) => matches!(ty, Type::Float | Type::Fixed32 | Type::Sfixed32),
        Wire::Varint(_) => matches!(
            ty,
            Type::Int32
                | Type::Int64
                | Type::Uint32
                | Type::Uint64
                | Type::Sint32
                | Type::Sint64
                | Type::Bool
                | Type::Enum(_)
        ),
        Wire::Bytes(_) | Wire::Group(_) => false,
    }
}

fn check_packed(ty: Type, bytes: &[u8]) -> Result<(), Fault> {
    let size = match ty {
        Type::Double | Type::Fixed64 | Type::Sfixed64 => 8,
        Type::Float | Type::Fixed32 | Type::Sfixed32 => 4,
        _ => {
            let mut cursor = Cursor::new(bytes);
            while !cursor.is_at_end() {
                cursor.varint()?;
            }
            return Ok(());
        }
    };
    if bytes.len().is_multiple_of(size) { Ok(()) } else { Err(Fault::Malformed) }
}

#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    utf8::text(bytes).map_err(|_| Fault::NotUtf8)
}
