//! Convert: descriptors become the core's messages.
//!
//! **In** the descriptor of one message, or of a file. **Out** it and all messages and enums that it holds, fields in the order of the
//! file.
//! **Invariant:** each message is there once, also one that holds itself.
//! **Not here:** extensions: their numbers are unknown to the message they extend, and skipped.

use std::collections::HashMap;

use prost_reflect::{
    EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, Value as Default,
};
use windrow_core::{
    protobuf::{Enum, Field, File, Label, Message, Place, Schema, Type, Unfit},
    value::Value,
};

/// Makes the schema of one message.
pub(super) fn schema(root: &MessageDescriptor) -> Result<Schema, Unfit> {
    let mut known = Known::default();
    known.message(root);
    let (messages, enums) = known.all();
    Schema::new(messages, enums, 0)
}

/// Makes all messages of a file, each at its place.
pub(super) fn file(of: &FileDescriptor) -> Result<File, Unfit> {
    let mut known = Known::default();
    let top = of.messages().enumerate().map(|(index, message)| known.place(index, &message)).collect();
    let (messages, enums) = known.all();
    File::new(messages, enums, top)
}

/// What was found so far, each with its index.
#[derive(Default)]
struct Known {
    messages: Vec<MessageDescriptor>,
    enums: Vec<EnumDescriptor>,
    indexes: HashMap<String, usize>,
}

impl Known {
    fn place(&mut self, index: usize, message: &MessageDescriptor) -> Place {
        let inside: Vec<_> =
            message.child_messages().enumerate().filter(|(_, m)| !m.is_map_entry()).collect();
        Place {
            message: self.message(message),
            index,
            inside: inside.iter().map(|(index, message)| self.place(*index, message)).collect(),
        }
    }

    /// Makes what was found, and all that it holds.
    fn all(mut self) -> (Vec<Message>, Vec<Enum>) {
        let mut messages = Vec::new();
        while let Some(next) = self.messages.get(messages.len()).cloned() {
            // In the order of the file, which is that of the columns.
            let numbers = next.descriptor_proto().field.iter().map(|field| field.number().cast_unsigned());
            let fields = numbers.filter_map(|number| next.get_field(number));
            let fields = fields.map(|field| self.field(&next, &field)).collect();
            messages.push(Message { name: next.full_name().into(), fields });
        }
        let values = |of: &EnumDescriptor| {
            of.enum_descriptor_proto()
                .value
                .iter()
                .map(|value| (value.number(), value.name().into()))
                .collect()
        };
        let enums = self.enums.iter().map(|of| Enum { values: values(of) }).collect();
        (messages, enums)
    }

    fn message(&mut self, message: &MessageDescriptor) -> usize {
        let messages = &mut self.messages;
        *self.indexes.entry(message.full_name().to_owned()).or_insert_with(|| {
            messages.push(message.clone());
            messages.len() - 1
        })
    }

    fn enumeration(&mut self, of: &EnumDescriptor) -> usize {
        let enums = &mut self.enums;
        *self.indexes.entry(of.full_name().to_owned()).or_insert_with(|| {
            enums.push(of.clone());
            enums.len() - 1
        })
    }

    fn field(&mut self, message: &MessageDescriptor, field: &FieldDescriptor) -> Field {
        let label = match field {
            field if field.is_map() => Label::Map,
            field if field.is_list() => Label::Repeated,
            field if field.supports_presence() => Label::Explicit,
            _ => Label::Implicit,
        };
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        Field {
            name: field.name().into(),
            number: field.number(),
            ty: self.ty(field),
            label,
            oneof: oneof.and_then(|oneof| message.oneofs().position(|other| other == oneof)),
            default: default(field),
        }
    }

    fn ty(&mut self, field: &FieldDescriptor) -> Type {
        match field.kind() {
            Kind::Double => Type::Double,
            Kind::Float => Type::Float,
            Kind::Int32 => Type::Int32,
            Kind::Int64 => Type::Int64,
            Kind::Uint32 => Type::Uint32,
            Kind::Uint64 => Type::Uint64,
            Kind::Sint32 => Type::Sint32,
            Kind::Sint64 => Type::Sint64,
            Kind::Fixed32 => Type::Fixed32,
            Kind::Fixed64 => Type::Fixed64,
            Kind::Sfixed32 => Type::Sfixed32,
            Kind::Sfixed64 => Type::Sfixed64,
            Kind::Bool => Type::Bool,
            Kind::String => Type::Text,
            Kind::Bytes => Type::Bytes,
            Kind::Enum(of) => Type::Enum(self.enumeration(&of)),
            Kind::Message(of) if field.is_group() => Type::Group(self.message(&of)),
            Kind::Message(of) => Type::Message(self.message(&of)),
        }
    }
}

/// A default that is written in the file.
fn default(field: &FieldDescriptor) -> Option<Value> {
    field.field_descriptor_proto().default_value.as_ref()?;
    Some(match field.default_value() {
        Default::Bool(b) => Value::Bool(b),
        Default::I32(i) => Value::Int(i.into()),
        Default::I64(i) => Value::Int(i),
        Default::U32(i) => Value::Int(i.into()),
        Default::U64(i) => match i64::try_from(i) {
            Ok(i) => Value::Int(i),
            Err(_) => Value::Wide(Box::new(i.into())),
        },
        Default::F32(f) => float(f64::from(f)),
        Default::F64(f) => float(f),
        Default::String(text) => Value::Text(text.into()),
        Default::Bytes(bytes) => Value::Bytes(bytes.to_vec().into()),
        Default::EnumNumber(number) => match field.kind() {
            Kind::Enum(of) => Value::Text(of.get_value(number)?.name().into()),
            _ => return None,
        },
        Default::Message(_) | Default::List(_) | Default::Map(_) => return None,
    })
}

fn float(f: f64) -> Value {
    if f.is_finite() { Value::Float(f) } else { Value::Null }
}
