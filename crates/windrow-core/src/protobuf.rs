//! Protobuf: a message's fields, made once, and values of it read in place.
//!
//! **In** messages as the product compiled them out of a schema's files; the bytes of one message. **Out** tokens of the wanted
//! columns, or the whole message as JSON.
//! **Before** this file: `batch`. **After** it: `decode`.
//! **Invariant:** a message is walked to its last byte whatever is wanted of it, also inside of the messages it holds, so the verdict on
//! it never depends on a view; no length, number or nesting that its bytes say is believed before it is checked.
//! **Not here:** `.proto` files, descriptor sets and asking registries (the product), event time (`decode`).
//!
//! | file | part |
//! |---|---|
//! | `schema` | messages and fields → a schema whose indexes are in range |
//! | `columns` | names and types that SQL sees |
//! | `wire` | the encoding's atoms: tags, numbers, pieces, groups |
//! | `check` | is this a message of the schema? |
//! | `scalar` | one field's bytes → one datum |
//! | `file`, `registered` | all messages of a file, and which one a framed value is |
//! | `want` | paths → what is wanted of each field |
//! | `project` | wanted names → tokens |
//! | `gather` | pieces of one message → its fields, the last value of each |
//! | `json` | messages, lists and maps → JSON |
//! | `known` | times and spans |
//!
//! Source: Protocol Buffers Documentation, "Encoding", "Field Presence", "ProtoJSON Format".

use crate::{decode::BadReason, scan::DEPTH_MAX};

mod check;
mod columns;
mod file;
mod gather;
mod json;
mod known;
mod project;
mod registered;
mod scalar;
mod schema;
mod want;
mod wire;

pub use file::{File, Place};
pub(crate) use project::Projection;
pub(crate) use registered::Family;
pub use registered::{Compile, Registered};
pub use schema::{Enum, Field, Label, Message, Schema, Type, Unfit};

/// Why bytes are no message of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Truncated, or of no shape that the encoding has.
    Malformed,
    /// A string that is not UTF-8.
    NotUtf8,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

impl From<Fault> for BadReason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => BadReason::NotProtobuf,
            Fault::NotUtf8 => BadReason::NotUtf8,
            Fault::TooDeep => BadReason::TooDeep,
        }
    }
}

/// One level further down, as deep as JSON may be: a list is a level, and so is each message in it.
fn deeper(depth: usize) -> Result<usize, Fault> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Fault::TooDeep) }
}

#[cfg(test)]
mod tests;
