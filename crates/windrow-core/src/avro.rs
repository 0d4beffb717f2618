//! Avro: a schema read once, and values of it read in place.
//!
//! **In** a schema's JSON; the bytes of one bare value (no container, no header). **Out** tokens of the wanted columns, or the
//! whole value as JSON.
//! **Before** this file: `batch`. **After** it: `decode`.
//! **Invariant:** a value is walked to its last byte whatever is wanted of it, so the verdict on it never depends on a view; nothing
//! that its bytes say (lengths, counts, branches) is believed before it is checked against what is there.
//! **Not here:** schema files and asking registries (the product), event time (`decode`).
//!
//! | file | part |
//! |---|---|
//! | `parse` | a schema's JSON → nodes, mistakes with their place |
//! | `columns` | names and types that SQL sees |
//! | `cursor` | the binary encoding's atoms |
//! | `project` | wanted names → tokens |
//! | `steps` | the same for records whose fields are plain: one flat program |
//! | `json` | a value → JSON |
//! | `resolve` | a writer's schema and a reader's → one that reads the former's values as the latter's |
//! | `registered` | schemas of writers, by id |
//!
//! Source: Apache Avro 1.12, "Specification": schemas, binary encoding, logical types.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::decode::BadReason;

mod columns;
mod cursor;
mod json;
mod parse;
mod project;
mod registered;
mod resolve;
mod steps;

pub use parse::SchemaError;
pub(crate) use project::Projection;
pub use registered::Registered;
pub(crate) use resolve::encode::{bytes, long};

/// Longest text of a schema: the widest tables in the field stay far below.
pub const SCHEMA_MAX_BYTES: usize = 1 << 20;

/// A schema, ready to read values with.
pub struct Schema {
    nodes: Vec<Node>,
    root: usize,
    /// Names of those nodes that have one.
    named: HashMap<usize, Named>,
    text: Box<str>,
    tags_bytes: bool,
}

/// One type, its logical type folded in; indexes are into [`Schema::nodes`].
#[derive(Debug)]
enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    /// Days since the epoch.
    Date,
    /// So many units a millisecond, times or divided.
    Timestamp {
        per_ms: i64,
    },
    /// Two's complement, big-endian; `size` when fixed.
    Decimal {
        size: Option<usize>,
        scale: usize,
    },
    /// Sixteen bytes.
    Uuid,
    Fixed(usize),
    Enum(Symbols),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<Field>),
    /// An int or long as a floating number, of 32 bits or 64.
    Widened {
        is_long: bool,
        to_float: bool,
    },
    /// A writer's symbols as the reader's.
    Mapped(Vec<Option<Box<str>>>),
    /// A record as its reader's: what the reader does not know is walked over.
    Resolved(Resolved),
    /// What the writer did not write: a value of the node, with its bytes.
    Default {
        node: usize,
        bytes: Box<[u8]>,
    },
    /// What the reader cannot read.
    Mismatch,
}

#[derive(Debug)]
struct Field {
    name: Arc<str>,
    node: usize,
    aliases: Box<[Box<str>]>,
    /// JSON.
    default: Option<Box<str>>,
}

#[derive(Debug)]
struct Symbols {
    all: Vec<Box<str>>,
    /// What a reader takes for a symbol that it does not know.
    default: Option<Box<str>>,
}

/// A record as another schema has it.
#[derive(Debug)]
struct Resolved {
    /// As they lie in the bytes, then those that the writer did not write.
    fields: Vec<Field>,
    /// The reader's fields in the reader's order.
    order: Vec<usize>,
    /// Whether that is also their order in the bytes.
    is_straight: bool,
}

/// What a named type is called, now and formerly.
#[derive(Debug, Default)]
struct Named {
    /// With its namespace.
    full: String,
    aliases: Vec<String>,
}

/// Why bytes are no value of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Truncated, followed by something else, or naming what the schema does not have.
    Malformed,
    /// A string that is not UTF-8.
    NotUtf8,
    /// Nested deeper than [`DEPTH_MAX`](crate::scan::DEPTH_MAX).
    TooDeep,
    /// A value of the writer that the reader's schema has no place for.
    Mismatch,
}

impl From<Fault> for BadReason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => BadReason::NotAvro,
            Fault::NotUtf8 => BadReason::NotUtf8,
            Fault::TooDeep => BadReason::TooDeep,
            Fault::Mismatch => BadReason::SchemaMismatch,
        }
    }
}

impl Schema {
    /// Reads a schema.
    ///
    /// - **Errors:** the first mistake, with its place in the text.
    /// - **Limits:** [`SCHEMA_MAX_BYTES`]; decimals of up to 38 digits.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        parse::schema(&[text])
    }

    /// Reads the last of several schemas; it may name types that those before it define.
    ///
    /// - **Errors:** the first mistake, with its place in the text that has it.
    pub fn parse_all(texts: &[&str]) -> Result<Self, SchemaError> {
        parse::schema(texts)
    }

    /// Makes it one whose bytes stand in JSON as `{"$bytes":"…"}`, so that they are told from text wherever they are.
    pub fn tagging_bytes(self) -> Self {
        Self { tags_bytes: true, ..self }
    }

    /// Tells whether bytes stand in JSON as objects, and not as text.
    pub fn tags_bytes(&self) -> bool {
        self.tags_bytes
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.tags_bytes) == (&other.text, other.tags_bytes)
    }
}

impl Eq for Schema {}

#[cfg(test)]
mod tests;
