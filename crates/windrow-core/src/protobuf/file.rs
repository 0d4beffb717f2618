//! File: all messages of one file, each by its place.
//!
//! **In** messages and enums, and the tree of places. **Out** the schema of the message at a place.
//! **Invariant:** all schemas of a file share its messages.
//! **Not here:** where places are written (`registered`).

use std::sync::Arc;

use super::{
    Enum, Message, Schema, Unfit,
    schema::{Names, Shape},
};

/// A file's messages.
#[derive(Debug, Clone)]
pub struct File {
    messages: Arc<[Shape]>,
    enums: Arc<[Names]>,
    top: Arc<[Place]>,
}

/// One message of a file, and those declared inside of it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its index.
    pub message: usize,
    /// Which of all that is inside of the one around it it is, entries of maps counted.
    pub index: usize,
    /// What is inside, in the order of the file; entries of maps are not declared.
    pub inside: Vec<Place>,
}

impl File {
    /// Makes a file of its messages.
    ///
    /// - **Errors:** as [`Schema::new`]; a place without a message.
    pub fn new(messages: Vec<Message>, enums: Vec<Enum>, top: Vec<Place>) -> Result<Self, Unfit> {
        let most = messages.len();
        if !top.iter().all(|place| place.is_below(most)) {
            return Err(Unfit::Broken("".into()));
        }
        let Schema { messages, enums, .. } = Schema::new(messages, enums, 0)?;
        Ok(Self { messages, enums, top: top.into() })
    }

    /// Returns the message at a place: of the file's messages, then of those inside of each.
    ///
    /// Some writers (Java) count what is declared inside, others (Python, Go, .NET) the entries of maps as well; what leads nowhere by the
    /// first is meant by the second.
    pub fn message(&self, path: &[usize]) -> Option<Schema> {
        let (first, rest) = path.split_first()?;
        let top = self.top.get(*first)?;
        let declared = rest.iter().try_fold(top, |place, index| place.inside.get(*index));
        let counted = || {
            rest.iter()
                .try_fold(top, |place, index| place.inside.iter().find(|inside| inside.index == *index))
        };
        let place = declared.or_else(counted)?;
        Some(Schema { messages: self.messages.clone(), enums: self.enums.clone(), root: place.message })
    }
}

impl Place {
    fn is_below(&self, most: usize) -> bool {
        self.message < most && self.inside.iter().all(|place| place.is_below(most))
    }
}
