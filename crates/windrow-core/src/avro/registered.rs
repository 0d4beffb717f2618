//! Registered: schemas of writers, by their ids in a registry, each ready to be read as the stream's own schema says.
//!
//! **In** answers of a registry. **Out** one [`Schema`] an id.
//! **Invariant:** with a reader's schema the columns are its columns, whatever the writer's; without one they are the writer's.
//! **Not here:** how two schemas are brought together (`resolve`), frames (`crate::registry`).

use std::sync::Arc;

use super::{Schema, resolve};
use crate::{
    decode::BadReason,
    registry::{Answer, Lessons, Pupil, SchemaKind},
};

/// The schemas of one stream's keys or values.
#[derive(Debug, Default)]
pub struct Registered {
    reader: Option<Arc<Schema>>,
    tags_bytes: bool,
    lessons: Arc<Lessons<Schema>>,
}

impl Registered {
    /// Begins with nothing learned; values will be read as `reader` says, if it does.
    pub fn new(reader: Option<Arc<Schema>>) -> Self {
        Self { reader, ..Self::default() }
    }

    /// Begins with nothing learned; bytes stand in JSON as [`Schema::tagging_bytes`] says.
    pub fn tagging_bytes(self) -> Self {
        let tagging = |reader| Arc::into_inner(reader).map(|reader: Schema| Arc::new(reader.tagging_bytes()));
        Self { reader: self.reader.and_then(tagging), tags_bytes: true, lessons: Arc::default() }
    }

    /// Returns the schema that the columns come from.
    pub fn reader(&self) -> Option<&Arc<Schema>> {
        self.reader.as_ref()
    }

    /// Returns what was learned.
    pub fn lessons(&self) -> &Arc<Lessons<Schema>> {
        &self.lessons
    }

    /// Returns what was learned of one id.
    ///
    /// - **Errors:** [`BadReason::UnknownSchema`], or why its schema is of no use.
    pub(crate) fn schema(&self, id: u32) -> Result<Arc<Schema>, BadReason> {
        self.lessons.get(id).unwrap_or(Err(BadReason::UnknownSchema))
    }

    fn read(&self, answer: &Answer) -> Result<Schema, (BadReason, String)> {
        if answer.kind != SchemaKind::Avro {
            let why = format!("it is a schema of {:?}, not of Avro", answer.kind);
            return Err((BadReason::BadSchema, why));
        }
        let texts = answer.references.iter().map(|reference| &*reference.text);
        let texts: Vec<&str> = texts.chain(std::iter::once(&*answer.text)).collect();
        let writer = Schema::parse_all(&texts).map_err(|e| (BadReason::BadSchema, e.to_string()))?;
        let Some(reader) = &self.reader else {
            return Ok(if self.tags_bytes { writer.tagging_bytes() } else { writer });
        };
        resolve::resolved(&writer, reader).map_err(|why| (BadReason::SchemaMismatch, why))
    }
}

impl Pupil for Registered {
    fn lacks(&self, id: u32) -> bool {
        self.lessons.lacks(id)
    }

    fn teach(&self, id: u32, answer: &Answer) -> Result<(), String> {
        let (lesson, told) = match self.read(answer) {
            Ok(schema) => (Ok(Arc::new(schema)), Ok(())),
            Err((reason, why)) => (Err(reason), Err(why)),
        };
        self.lessons.learn(id, lesson);
        told
    }
}

/// What was learned is no part of what was asked for.
impl PartialEq for Registered {
    fn eq(&self, other: &Self) -> bool {
        (&self.reader, self.tags_bytes) == (&other.reader, other.tags_bytes)
    }
}

impl Eq for Registered {}
