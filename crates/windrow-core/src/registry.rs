//! Registry: the frame in front of a value whose schema is kept elsewhere, and what was learned of those schemas.
//!
//! **In** the bytes of a framed value; answers of a registry. **Out** an id and the rest; schemas by id, for every decoder of a stream.
//! **Before** this file: `batch`. **After** it: `decode`.
//!
//! Nobody here asks a registry. Whoever feeds the engine looks at the ids first ([`Frame::id`]), fetches what a format [`Pupil::lacks`],
//! teaches it, and only then hands the records over; so decoding never waits, and a record is never judged by what is not known yet.
//!
//! **Invariant:** an id stands for one schema for ever, so what was learned is never wrong later, only forgotten.
//! **Not here:** HTTP, patience, ids that the registry does not know (the product).
//!
//! Source: Confluent Schema Registry, "Wire format".

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use crate::decode::BadReason;

/// Schemas of one stream's keys or values. A subject with a change each day for ten years has fewer.
pub const LESSONS_MAX: usize = 4_096;

/// The first byte of every frame.
const MAGIC: u8 = 0;

/// What stands in front of a framed value: a zero, then the schema's id, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame;

impl Frame {
    /// Bytes before the rest.
    pub const BYTES: usize = 5;

    /// Splits a value into its schema's id and the rest.
    ///
    /// - **Errors:** [`BadReason::NotFramed`].
    #[inline]
    pub fn split(value: &[u8]) -> Result<(u32, &[u8]), BadReason> {
        match value {
            [MAGIC, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
            _ => Err(BadReason::NotFramed),
        }
    }

    /// Returns the id alone.
    #[inline]
    pub fn id(value: &[u8]) -> Option<u32> {
        Self::split(value).ok().map(|(id, _)| id)
    }

    /// Appends the frame of `id`.
    pub fn write(id: u32, out: &mut Vec<u8>) {
        out.push(MAGIC);
        out.extend_from_slice(&id.to_be_bytes());
    }
}

/// The language of a registered schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// Apache Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

/// A schema that another one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What it is called there: a full name, or a file.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a registry has under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its language.
    pub kind: SchemaKind,
    /// Its text.
    pub text: String,
    /// All that it needs, each after what itself needs.
    pub references: Vec<Reference>,
}

/// A format that learns schemas by id.
pub trait Pupil: Send + Sync {
    /// Tells whether nothing was learned of that id yet.
    fn lacks(&self, id: u32) -> bool;
    /// Learns what the registry has under an id. A schema that cannot be used makes the records with that id bad.
    ///
    /// - **Errors:** what is wrong with the schema, for a log.
    fn teach(&self, id: u32, answer: &Answer) -> Result<(), String>;
}

/// What was learned of one id: a schema, or why records with it are bad.
pub type Lesson<T> = Result<Arc<T>, BadReason>;

/// A table of what was learned, shared by all decoders of a stream.
///
/// - **Limits:** [`LESSONS_MAX`]; beyond them the lowest id is forgotten: registries count up, so it is the oldest.
pub struct Lessons<T> {
    known: RwLock<BTreeMap<u32, Lesson<T>>>,
}

impl<T> Lessons<T> {
    /// Returns what was learned of an id.
    pub fn get(&self, id: u32) -> Option<Lesson<T>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Tells whether nothing was learned of an id.
    pub fn lacks(&self, id: u32) -> bool {
        !self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Learns one id.
    pub fn learn(&self, id: u32, lesson: Lesson<T>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, lesson);
        if known.len() > LESSONS_MAX {
            known.pop_first();
        }
    }
}

impl<T> Default for Lessons<T> {
    fn default() -> Self {
        Self { known: RwLock::default() }
    }
}

impl<T> fmt::Debug for Lessons<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(known.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_zero_and_an_id() {
        let mut framed = Vec::new();
        Frame::write(258, &mut framed);
        framed.push(7);
        assert_eq!(framed, [0, 0, 0, 1, 2, 7]);
        assert_eq!(Frame::split(&framed), Ok((258, &[7][..])));
        assert_eq!(Frame::split(&framed[..5]), Ok((258, &[][..])));
        for not in [&[][..], &[0], &[0, 0, 0, 1], &[1, 0, 0, 1, 2, 7], b"{\"a\":1}"] {
            assert_eq!(Frame::split(not), Err(BadReason::NotFramed));
        }
    }

    #[test]
    fn the_oldest_ids_are_forgotten_first() {
        let lessons = Lessons::default();
        for id in 0..=LESSONS_MAX as u32 {
            lessons.learn(id, Ok(Arc::new(id)));
        }
        assert!(lessons.lacks(0) && !lessons.lacks(1) && !lessons.lacks(LESSONS_MAX as u32));
    }
}
