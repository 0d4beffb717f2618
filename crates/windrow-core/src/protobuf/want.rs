//! Want: paths, compiled once into what is wanted of each field.
//!
//! **In** a schema and paths. **Out** one [`Want`] per field of each message that a path leads into.
//! **Invariant:** every slot and every whole has one place; a oneof's member knows all slots of the others.
//! **Not here:** bytes (`project`).

use super::{Label, Schema, Type, columns::split, schema::Field};
use crate::{
    paths::{behind, heads},
    value::Value,
};

/// What is wanted of one message.
#[derive(Debug, Clone)]
pub(super) struct Wants {
    pub(super) message: usize,
    /// By field; empty when nothing is wanted.
    pub(super) fields: Vec<Want>,
    /// What slots hold when the message is there and the field is not.
    pub(super) absent: Vec<(usize, Absent)>,
}

/// What is wanted of one field.
#[derive(Debug, Clone, Default)]
pub(super) struct Want {
    pub(super) slot: Option<Slot>,
    pub(super) parts: Parts,
    /// What other members of its oneof would have filled.
    pub(super) clears: Vec<Slot>,
    /// The short way, where there is one.
    pub(super) pass: Pass,
}

/// Short ways: over a scalar that nobody wants, by the kind of its bytes, and for the most common ones into their slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pass {
    /// There is none.
    #[default]
    Not,
    Varint,
    Four,
    Eight,
    Bytes,
    Text,
    IntInto(usize),
    DoubleInto(usize),
    TextInto(usize),
}

/// Where the whole of a field goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    /// The last value, read when it comes.
    Scalar(usize),
    /// All values, read at the end: the index is into the projection's wholes.
    Whole(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) enum Parts {
    #[default]
    None,
    Message(Wants),
    /// Of a map's values under these keys.
    Keys(Vec<(Box<str>, Want)>),
}

#[derive(Debug, Clone)]
pub(super) enum Absent {
    Is(Value),
    /// A list or a map without anything in it.
    Empty(&'static str),
}

/// What is put together at the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) slot: usize,
    /// The message, and its field.
    pub(super) of: (usize, usize),
}

/// Makes wants of paths.
pub(super) struct Compiler<'s> {
    pub(super) schema: &'s Schema,
    pub(super) wholes: Vec<Whole>,
}

impl Want {
    pub(super) fn is_nothing(&self) -> bool {
        self.slot.is_none() && matches!(self.parts, Parts::None) && self.clears.is_empty()
    }

    pub(super) fn slots(&self, out: &mut Vec<Slot>) {
        out.extend(self.slot);
        match &self.parts {
            Parts::None => {}
            Parts::Message(wants) => wants.fields.iter().for_each(|want| want.slots(out)),
            Parts::Keys(keys) => keys.iter().for_each(|(_, want)| want.slots(out)),
        }
    }
}

impl Compiler<'_> {
    /// Compiles what paths want of a message.
    pub(super) fn message(&mut self, message: usize, paths: &[(&str, usize)]) -> Wants {
        let mut wants = Wants { message, fields: Vec::new(), absent: Vec::new() };
        if paths.is_empty() {
            return wants;
        }
        let fields = &self.schema.messages[message].fields;
        for (index, field) in fields.iter().enumerate() {
            let (slot, rests) = behind(&field.name, paths, split);
            wants.fields.push(self.field((message, index), field, slot, &rests));
            wants.absent.extend(slot.and_then(|slot| Some((slot, self.absent(field)?))));
        }
        for (index, field) in fields.iter().enumerate().filter(|(_, field)| field.oneof.is_some()) {
            let mut clears = Vec::new();
            let others = fields.iter().zip(&wants.fields).enumerate();
            for (_, (_, want)) in others.filter(|(at, (other, _))| *at != index && other.oneof == field.oneof)
            {
                want.slots(&mut clears);
            }
            wants.fields[index].clears = clears;
        }
        for (want, field) in wants.fields.iter_mut().zip(fields) {
            want.pass = pass(field, want);
        }
        wants
    }

    fn field(
        &mut self,
        of: (usize, usize),
        field: &Field,
        slot: Option<usize>,
        rests: &[(&str, usize)],
    ) -> Want {
        let parts = match field.label {
            _ if rests.is_empty() => Parts::None,
            Label::Repeated => Parts::None,
            Label::Map => self.keys(field, rests),
            Label::Implicit | Label::Explicit => match self.schema.parts(field) {
                Some(message) => Parts::Message(self.message(message, rests)),
                None => Parts::None,
            },
        };
        let is_scalar = !matches!(field.label, Label::Repeated | Label::Map) && field.ty.message().is_none();
        let slot = slot.map(|slot| if is_scalar { Slot::Scalar(slot) } else { self.whole(slot, of) });
        Want { slot, parts, ..Want::default() }
    }

    fn whole(&mut self, slot: usize, of: (usize, usize)) -> Slot {
        self.wholes.push(Whole { slot, of });
        Slot::Whole(self.wholes.len() - 1)
    }

    fn keys(&mut self, map: &Field, paths: &[(&str, usize)]) -> Parts {
        let schema = self.schema;
        let Some(entry) = map.ty.message() else { return Parts::None };
        let shape = &schema.messages[entry];
        let Some(value) = shape.index(2) else { return Parts::None };
        let at_key = |path| schema.split_key(&shape.fields[value], path);
        let mut want = |key: &str| {
            let (slot, rests) = behind(key, paths, at_key);
            (key.into(), self.field((entry, value), &shape.fields[value], slot, &rests))
        };
        Parts::Keys(heads(paths, at_key).into_iter().map(&mut want).collect())
    }

    fn absent(&self, field: &Field) -> Option<Absent> {
        match field.label {
            Label::Repeated => Some(Absent::Empty("[]")),
            Label::Map => Some(Absent::Empty("{}")),
            Label::Implicit | Label::Explicit => {
                let value = self.schema.absent(field).to_value();
                (!value.datum().is_null()).then_some(Absent::Is(value))
            }
        }
    }
}

fn pass(field: &Field, want: &Want) -> Pass {
    if matches!(field.label, Label::Repeated | Label::Map) || !want.clears.is_empty() {
        return Pass::Not;
    }
    match (field.ty, want.slot) {
        (Type::Int64, Some(Slot::Scalar(slot))) => return Pass::IntInto(slot),
        (Type::Double, Some(Slot::Scalar(slot))) => return Pass::DoubleInto(slot),
        (Type::Text, Some(Slot::Scalar(slot))) => return Pass::TextInto(slot),
        _ if want.is_nothing() => {}
        _ => return Pass::Not,
    }
    match field.ty {
        Type::Message(_) | Type::Group(_) => Pass::Not,
        Type::Double | Type::Fixed64 | Type::Sfixed64 => Pass::Eight,
        Type::Float | Type::Fixed32 | Type::Sfixed32 => Pass::Four,
        Type::Bytes => Pass::Bytes,
        Type::Text => Pass::Text,
        _ => Pass::Varint,
    }
}
