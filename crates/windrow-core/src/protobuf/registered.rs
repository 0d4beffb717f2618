//! Registered: files of writers, by their ids in a registry, and which of a file's messages a value is.
//!
//! **In** answers of a registry; the bytes behind a frame. **Out** one [`File`] an id, one projection a message.
//! **Invariant:** a message is read by its own writer's file; what is wanted of it goes by the names of fields.
//! **Not here:** frames (`crate::registry`), texts of schemas (whoever makes this says how they are compiled).
//!
//! Source: Confluent Schema Registry, "Wire format": behind the id stand the indexes that lead to the message, as zig-zag varints behind
//! their count; a lone zero stands for the file's first message.

use std::{cell::RefCell, sync::Arc};

use bumpalo::Bump;

use super::{File, Projection, Schema, wire::Cursor};
use crate::{
    decode::BadReason,
    registry::{Answer, Lesson, Lessons, Pupil, SchemaKind},
    scan::{DEPTH_MAX, Token},
};

/// Messages of one file of which projections are kept: a topic that holds events of more kinds than that compiles anew.
const READY_MAX: usize = 64;

/// Makes a file of what a registry has; the error is for a log.
pub type Compile = fn(&Answer) -> Result<File, String>;

/// The files of one stream's keys or values.
#[derive(Debug)]
pub struct Registered {
    compile: Compile,
    lessons: Arc<Lessons<File>>,
}

impl Registered {
    /// Begins with nothing learned.
    pub fn new(compile: Compile) -> Self {
        Self { compile, lessons: Arc::default() }
    }

    /// Returns what was learned.
    pub(crate) fn lessons(&self) -> &Arc<Lessons<File>> {
        &self.lessons
    }

    /// Finds the message of a value behind its frame; also returns the rest, which is that message.
    ///
    /// - **Errors:** [`BadReason::UnknownSchema`], or why its schema is of no use.
    pub(crate) fn schema<'a>(&self, id: u32, value: &'a [u8]) -> Result<(Schema, &'a [u8]), BadReason> {
        let file = self.lessons.get(id).unwrap_or(Err(BadReason::UnknownSchema))?;
        let (path, message) = indexes(value)?;
        Ok((file.message(&path).ok_or(BadReason::NotFramed)?, message))
    }

    fn read(&self, answer: &Answer) -> Result<File, String> {
        match answer.kind {
            SchemaKind::Protobuf => (self.compile)(answer),
            other => Err(format!("it is a schema of {other:?}, not of Protobuf")),
        }
    }
}

impl Pupil for Registered {
    fn lacks(&self, id: u32) -> bool {
        self.lessons.lacks(id)
    }

    fn teach(&self, id: u32, answer: &Answer) -> Result<(), String> {
        let read = self.read(answer);
        let lesson: Lesson<File> = match &read {
            Ok(file) => Ok(Arc::new(file.clone())),
            Err(_) => Err(BadReason::BadSchema),
        };
        self.lessons.learn(id, lesson);
        read.map(|_| ())
    }
}

/// What was learned is no part of what was asked for.
impl PartialEq for Registered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Registered {}

/// The projections of one file, by message.
pub(crate) struct Family {
    file: Arc<File>,
    wanted: Vec<Box<str>>,
    ready: RefCell<Vec<(Vec<usize>, Projection)>>,
}

impl Family {
    pub(crate) fn new(file: Arc<File>, wanted: &[&str]) -> Self {
        let wanted = wanted.iter().map(|name| (*name).into()).collect();
        Self { file, wanted, ready: RefCell::default() }
    }

    /// Reads what is behind a frame: the indexes of a message, then the message.
    ///
    /// - **Errors:** [`BadReason::NotFramed`] for indexes that lead nowhere, else why the message is bad.
    pub(crate) fn read<'a, T>(
        &self,
        value: &'a [u8],
        arena: &'a Bump,
        read: impl FnOnce(&[Token<'a>]) -> T,
    ) -> Result<T, BadReason> {
        let mut ready = self.ready.borrow_mut();
        // Most files have one message, and most values begin so.
        if let ([0, message @ ..], Some((path, projection))) = (value, ready.first())
            && path.as_slice() == [0]
        {
            return projection.read(message, arena, read);
        }
        let (path, message) = indexes(value)?;
        let at = match ready.iter().position(|(known, _)| *known == path) {
            Some(at) => at,
            None => {
                let schema = self.file.message(&path).ok_or(BadReason::NotFramed)?;
                let wanted: Vec<&str> = self.wanted.iter().map(|name| &**name).collect();
                ready.truncate(READY_MAX - 1);
                ready.push((path, Projection::new(Arc::new(schema), &wanted)));
                ready.len() - 1
            }
        };
        ready[at].1.read(message, arena, read)
    }
}

/// Splits the indexes of a message off.
fn indexes(value: &[u8]) -> Result<(Vec<usize>, &[u8]), BadReason> {
    let mut cursor = Cursor::new(value);
    let mut next = || {
        let bits = cursor.varint().map_err(|_| BadReason::NotFramed)?;
        // Zig-zag: what is negative is odd.
        let is_negative = bits & 1 == 1;
        usize::try_from(bits >> 1).ok().filter(|_| !is_negative).ok_or(BadReason::NotFramed)
    };
    let count = next()?;
    let path = match count {
        0 => vec![0],
        1..=DEPTH_MAX => (0..count).map(|_| next()).collect::<Result<_, _>>()?,
        _ => return Err(BadReason::NotFramed),
    };
    Ok((path, cursor.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protobuf::{Field, Label, Message, Place, Type},
        value::Datum,
    };

    /// Two messages, one inside of the first; `text` says whether it can be read.
    fn compile(answer: &Answer) -> Result<File, String> {
        let message = |name: &str, number| Message {
            name: name.into(),
            fields: vec![Field {
                name: "n".into(),
                number,
                ty: Type::Int64,
                label: Label::Implicit,
                oneof: None,
                default: None,
            }],
        };
        let place = |message, index, inside| Place { message, index, inside };
        let top = vec![place(0, 0, vec![place(1, 1, Vec::new())]), place(1, 1, Vec::new())];
        match &*answer.text {
            "good" => Ok(File::new(vec![message("A", 1), message("A.B", 2)], Vec::new(), top).unwrap()),
            text => Err(text.to_owned()),
        }
    }

    fn answer(kind: SchemaKind, text: &str) -> Answer {
        Answer { kind, text: text.to_owned(), references: Vec::new() }
    }

    #[test]
    fn a_message_is_found_by_its_place_and_read_by_the_names_of_its_fields() {
        let registered = Registered::new(compile);
        assert!(registered.lacks(7));
        assert_eq!(registered.teach(7, &answer(SchemaKind::Protobuf, "good")), Ok(()));
        assert!(!registered.lacks(7));
        let family = Family::new(registered.lessons().get(7).unwrap().unwrap(), &["n"]);
        let arena = Bump::new();
        for (value, expected) in [
            (&b"\x00\x08\x05"[..], Ok("5")),
            (b"\x02\x00\x08\x06", Ok("6")),
            (b"\x02\x02\x10\x07", Ok("7")),
            (b"\x04\x00\x00\x10\x08", Ok("8")),
            // The same for those who count the entry before it.
            (b"\x04\x00\x02\x10\x08", Ok("8")),
            (b"\x00\x08\x09", Ok("9")),
            (b"\x00", Ok("0")),
            (b"\x00\x08", Err(BadReason::NotProtobuf)),
            // No indexes, fewer than are told, negative ones, far too many, and a place that is not there.
            (b"", Err(BadReason::NotFramed)),
            (b"\x04\x00", Err(BadReason::NotFramed)),
            (b"\x01", Err(BadReason::NotFramed)),
            (b"\x02\x01", Err(BadReason::NotFramed)),
            (b"\xfe\xff\xff\xff\x0f\x00", Err(BadReason::NotFramed)),
            (b"\x02\x04", Err(BadReason::NotFramed)),
            (b"\x04\x02\x00", Err(BadReason::NotFramed)),
        ] {
            let told = family.read(value, &arena, |tokens| match tokens {
                [Token::Of(Datum::Int(n))] => n.to_string(),
                other => format!("{other:?}"),
            });
            assert_eq!(told.as_deref().map_err(|bad| *bad), expected, "{value:x?}");
            let whole = registered.schema(7, value).and_then(|(schema, message)| {
                let mut out = Vec::new();
                schema.write_members(message, |_| false, &mut out).map(|()| String::from_utf8(out).unwrap())
            });
            assert_eq!(whole, expected.map(|n| format!(",\"n\":{n}")), "{value:x?}");
        }
    }

    #[test]
    fn a_schema_of_no_use_makes_its_records_bad() {
        let registered = Registered::new(compile);
        assert_eq!(registered.schema(1, b"\x00").map(|_| ()), Err(BadReason::UnknownSchema));
        assert_eq!(registered.teach(1, &answer(SchemaKind::Protobuf, "a hole")), Err("a hole".to_owned()));
        let told = registered.teach(2, &answer(SchemaKind::Avro, "good"));
        assert_eq!(told, Err("it is a schema of Avro, not of Protobuf".to_owned()));
        for id in [1, 2] {
            assert!(!registered.lacks(id));
            assert_eq!(registered.schema(id, b"\x00").map(|_| ()), Err(BadReason::BadSchema));
        }
    }
}
