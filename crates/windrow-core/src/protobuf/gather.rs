//! Gather: the pieces of one message become its fields.
//!
//! **In** the pieces that one message came in, in their order. **Out** the values of each field, in the order of the schema's fields.
//! **Invariant:** of a `oneof` only the member that came last is there, with what came since another one did; a message's pieces in a row
//! mean what they would mean merged.
//! **Not here:** bytes that are no message: `check` has seen these before.

use super::{
    Label, Schema, Type,
    check::is_kind,
    schema::Field,
    wire::{Cursor, Wire},
};

/// The fields of one message.
pub(super) struct Gathered<'a> {
    /// Index of the field and a value of it; sorted by field, then as they came.
    found: Vec<(usize, Wire<'a>)>,
}

impl<'a> Gathered<'a> {
    /// Returns the values of one field, the last one last.
    pub(super) fn of(&self, field: usize) -> &[(usize, Wire<'a>)] {
        let start = self.found.partition_point(|(index, _)| *index < field);
        let len = self.found[start..].partition_point(|(index, _)| *index == field);
        &self.found[start..start + len]
    }

    /// Returns each field that is there with its values.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, &[(usize, Wire<'a>)])> {
        self.found.chunk_by(|a, b| a.0 == b.0).map(|group| (group[0].0, group))
    }
}

impl Schema {
    pub(super) fn gather<'a>(&self, message: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Gathered<'a> {
        let message = &self.messages[message];
        let mut found = Vec::new();
        // Of each oneof the member that came last, and how many values were found before it.
        let mut cases: Vec<Option<(usize, usize)>> = vec![None; message.oneofs];
        for piece in pieces {
            let mut cursor = Cursor::new(piece);
            // Checked bytes have no faults, and their depth was counted.
            while let Ok(Some((number, wire))) = cursor.field(0) {
                let Some(index) = message.index(number) else { continue };
                let field = &message.fields[index];
                if !fits(field, wire) {
                    continue;
                }
                if let Some(case) = field.oneof.and_then(|oneof| cases.get_mut(oneof))
                    && case.is_none_or(|(member, _)| member != index)
                {
                    *case = Some((index, found.len()));
                }
                found.push((index, wire));
            }
        }
        if message.oneofs > 0 {
            let mut place = 0..;
            found.retain(|(index, _)| {
                let place = place.next().unwrap_or_default();
                let case = message.fields[*index].oneof.and_then(|oneof| cases[oneof]);
                case.is_none_or(|(member, since)| member == *index && place >= since)
            });
        }
        found.sort_by_key(|(index, _)| *index);
        Gathered { found }
    }
}

/// Tells whether a value's bytes are of the kind that its field's type has.
pub(super) fn fits(field: &Field, wire: Wire<'_>) -> bool {
    match (field.ty, wire) {
        (Type::Text | Type::Bytes | Type::Message(_), Wire::Bytes(_)) | (Type::Group(_), Wire::Group(_)) => {
            true
        }
        (Type::Text | Type::Bytes | Type::Message(_) | Type::Group(_), _) => false,
        (_, Wire::Bytes(_)) => field.label == Label::Repeated,
        (ty, wire) => is_kind(ty, wire),
    }
}

/// Returns the bytes of messages.
pub(super) fn pieces<'a>(values: &[(usize, Wire<'a>)]) -> impl Iterator<Item = &'a [u8]> {
    values.iter().filter_map(|(_, wire)| wire.piece())
}

impl<'a> Wire<'a> {
    pub(super) fn piece(self) -> Option<&'a [u8]> {
        match self {
            Wire::Bytes(bytes) | Wire::Group(bytes) => Some(bytes),
            _ => None,
        }
    }
}
