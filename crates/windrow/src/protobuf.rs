//! Protobuf schemas: `.proto` files and descriptor sets become the core's messages.
//!
//! **In** a file, or texts in memory. **Out** a [`Compiled`] file, out of which [`Compiled::schema`] takes one message with all that it
//! holds.
//! **Invariant:** a mistake has its place in the file that holds it; files that are read are bounded one by one and together.
//! **Not here:** keys of the configuration (`config::formats`), values (`windrow_core::protobuf`).
//!
//! | file | part |
//! |---|---|
//! | `compile` | texts and their imports → descriptors |
//! | `builtin` | files that nobody registers |
//! | `convert` | descriptors → the core's messages |

mod builtin;
mod compile;
mod convert;

use std::collections::HashMap;

use windrow_core::{protobuf::File, registry::Answer};

pub(crate) use compile::{Compiled, Mistake};

/// What a registered text is called where it imports others: nothing that those could be called.
const REGISTERED: &str = "(registered).proto";

/// Compiles what a registry has under an id; an error is for the log.
pub(crate) fn registered(answer: &Answer) -> Result<File, String> {
    let mut texts: HashMap<String, String> =
        answer.references.iter().map(|reference| (reference.name.clone(), reference.text.clone())).collect();
    texts.insert(REGISTERED.to_owned(), answer.text.clone());
    Compiled::in_memory(REGISTERED, texts)
        .and_then(|compiled| compiled.file())
        .map_err(|mistake| mistake.to_string())
}

#[cfg(test)]
mod tests;
