//! Schema: messages, fields and enums, with every index in range.
//!
//! **In** what the product read out of descriptors. **Out** a [`Schema`], or the first thing that cannot be read.
//! **Invariant:** an index in a field is that of a message or an enum; numbers and names are unique in their message; a map's entry has
//! a key and a value.
//! **Not here:** names that SQL sees (`columns`).

use std::sync::Arc;

use crate::value::Value;

/// Fields that one message may have: what two bytes count.
const FIELDS_MAX: usize = u16::MAX as usize;

/// Field numbers below this are looked up by index; larger ones by halving.
const DIRECT_NUMBERS: u32 = 256;

/// In the table of numbers: no field.
const NONE: u16 = u16::MAX;

/// A message and all that it holds, ready to read values with.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    pub(super) messages: Arc<[Shape]>,
    pub(super) enums: Arc<[Names]>,
    pub(super) root: usize,
}

/// One message, as it is declared.
#[derive(Debug)]
pub struct Message {
    /// Its full name: `shop.Order`.
    pub name: Arc<str>,
    /// Its fields, in their order in the file.
    pub fields: Vec<Field>,
}

/// One enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enum {
    /// Numbers and names in their order in the file; of several names for one number the first counts.
    pub values: Vec<(i32, Box<str>)>,
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Its number.
    pub number: u32,
    /// What it holds.
    pub ty: Type,
    /// How often, and what its absence says.
    pub label: Label,
    /// Which `oneof` of its message it is part of.
    pub oneof: Option<usize>,
    /// What an absent field is said to hold (`default = …` of proto2).
    pub default: Option<Value>,
}

impl Eq for Field {}

/// How often a field is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Once; absent and zero are the same.
    Implicit,
    /// Once or not at all.
    Explicit,
    /// Any number of times.
    Repeated,
    /// Any number of times, each an entry with a key (1) and a value (2).
    Map,
}

/// Type of one field's values; indexes are into the schema's messages and enums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the names of the language")]
pub enum Type {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Text,
    Bytes,
    Enum(usize),
    Message(usize),
    /// A message between two tags instead of behind its length.
    Group(usize),
}

impl Type {
    /// Returns the index of the message it is.
    pub(super) fn message(self) -> Option<usize> {
        match self {
            Type::Message(message) | Type::Group(message) => Some(message),
            _ => None,
        }
    }
}

/// Why messages are no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// An index, a number or an entry that does not exist: descriptors that no compiler made.
    #[error("the message {0} does not hold together")]
    Broken(Arc<str>),
    /// A message wider than any in the field.
    #[error("the message {0} has more than {FIELDS_MAX} fields")]
    TooWide(Arc<str>),
}

/// The names of an enum's numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// What an absent value is.
    pub(super) first: (i32, Box<str>),
    sorted: Box<[(i32, Box<str>)]>,
}

impl Names {
    fn new(mut of: Enum) -> Self {
        let first = of.values.first().cloned().unwrap_or((0, "0".into()));
        of.values.sort_by_key(|(number, _)| *number);
        of.values.dedup_by_key(|(number, _)| *number);
        Self { first, sorted: of.values.into() }
    }

    pub(super) fn name(&self, number: i32) -> Option<&str> {
        // Most enums count from zero without a gap.
        let guess = usize::try_from(number).ok().and_then(|at| self.sorted.get(at));
        if let Some((_, name)) = guess.filter(|(n, _)| *n == number) {
            return Some(name);
        }
        let at = self.sorted.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        Some(&self.sorted[at].1)
    }
}

/// A message with what reading it needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name: Arc<str>,
    pub(super) fields: Vec<Field>,
    pub(super) known: Known,
    pub(super) oneofs: usize,
    /// Field by number, up to the largest one that is looked up so.
    direct: Box<[u16]>,
    /// The others, sorted.
    far: Box<[(u32, u16)]>,
}

/// Messages that the language gives a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// None.
    Plain,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Int64Value` and its like: a scalar that may be absent.
    Wrapper,
    /// `google.protobuf.Struct`: an object of JSON.
    Struct,
    /// `google.protobuf.Value`: any JSON.
    Value,
    /// `google.protobuf.ListValue`: a list of JSON.
    List,
}

impl Schema {
    /// Makes the schema of values of `messages[root]`.
    ///
    /// - **Errors:** descriptors that do not hold together, or a message with more than 65,535 fields.
    pub fn new(messages: Vec<Message>, enums: Vec<Enum>, root: usize) -> Result<Self, Unfit> {
        if root >= messages.len() {
            return Err(Unfit::Broken("".into()));
        }
        for message in &messages {
            check(message, &messages, &enums)?;
        }
        let messages = messages.into_iter().map(Shape::new).collect();
        let enums = enums.into_iter().map(Names::new).collect();
        Ok(Self { messages, enums, root })
    }

    /// Returns the full name of the message that values are.
    pub fn name(&self) -> &Arc<str> {
        &self.messages[self.root].name
    }

    pub(super) fn known(&self, ty: Type) -> Known {
        ty.message().map_or(Known::Plain, |message| self.messages[message].known)
    }
}

fn check(message: &Message, messages: &[Message], enums: &[Enum]) -> Result<(), Unfit> {
    let broken = || Unfit::Broken(message.name.clone());
    // One less: the last number says that there is none.
    if message.fields.len() >= FIELDS_MAX {
        return Err(Unfit::TooWide(message.name.clone()));
    }
    let mut numbers: Vec<u32> = message.fields.iter().map(|field| field.number).collect();
    numbers.sort_unstable();
    if numbers.contains(&0) || numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(broken());
    }
    for field in &message.fields {
        let is_there = match field.ty {
            Type::Enum(index) => index < enums.len(),
            Type::Message(index) | Type::Group(index) => index < messages.len(),
            _ => true,
        };
        let is_entry = |index: usize| {
            let has = |number| messages[index].fields.iter().any(|f| f.number == number && is_single(f));
            has(1) && has(2)
        };
        let fits = match (field.label, field.ty) {
            (Label::Map, Type::Message(index)) => is_there && is_entry(index),
            (Label::Map, _) => false,
            _ => is_there,
        };
        if !fits || field.oneof.is_some_and(|oneof| oneof >= message.fields.len()) {
            return Err(broken());
        }
    }
    Ok(())
}

fn is_single(field: &Field) -> bool {
    matches!(field.label, Label::Implicit | Label::Explicit)
}

impl Shape {
    fn new(message: Message) -> Self {
        let mut far = Vec::new();
        let widest = message.fields.iter().map(|f| f.number).filter(|n| *n < DIRECT_NUMBERS).max();
        let mut direct = vec![NONE; widest.map_or(0, |n| n as usize + 1)];
        for (index, field) in (0_u16..).zip(&message.fields) {
            match direct.get_mut(field.number as usize) {
                Some(place) => *place = index,
                None => far.push((field.number, index)),
            }
        }
        far.sort_unstable();
        let oneofs = message.fields.iter().filter_map(|f| f.oneof).max().map_or(0, |last| last + 1);
        let known = known(&message);
        Self {
            name: message.name,
            fields: message.fields,
            known,
            oneofs,
            direct: direct.into(),
            far: far.into(),
        }
    }

    /// Returns the index of the field with that number.
    #[inline]
    pub(super) fn index(&self, number: u32) -> Option<usize> {
        match self.direct.get(number as usize) {
            Some(&NONE) => None,
            Some(index) => Some(usize::from(*index)),
            None if self.far.is_empty() => None,
            None => {
                let at = self.far.binary_search_by_key(&number, |(number, _)| *number).ok()?;
                Some(usize::from(self.far[at].1))
            }
        }
    }

    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.index(number).map(|index| &self.fields[index])
    }
}

/// A message of a well-known name counts as such where its fields are those that the name promises.
fn known(message: &Message) -> Known {
    let Some(name) = message.name.strip_prefix("google.protobuf.") else { return Known::Plain };
    let fields: Vec<_> = message.fields.iter().map(|f| (f.number, f.ty, f.label)).collect();
    match (name, fields.as_slice()) {
        ("Timestamp", [(1, Type::Int64, _), (2, Type::Int32, _)]) => Known::Timestamp,
        ("Duration", [(1, Type::Int64, _), (2, Type::Int32, _)]) => Known::Duration,
        ("Struct", [(1, Type::Message(_), Label::Map)]) => Known::Struct,
        ("ListValue", [(1, Type::Message(_), Label::Repeated)]) => Known::List,
        (
            "Value",
            [
                (1, Type::Enum(_), _),
                (2, Type::Double, _),
                (3, Type::Text, _),
                (4, Type::Bool, _),
                (5, Type::Message(_), _),
                (6, Type::Message(_), _),
            ],
        ) => Known::Value,
        (name, [(1, ty, Label::Implicit)]) if name.ends_with("Value") && ty.message().is_none() => {
            Known::Wrapper
        }
        _ => Known::Plain,
    }
}
