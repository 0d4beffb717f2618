//! Writers: one compiled projection for each schema that a stream's records were written with.
//!
//! **In** a framed value. **Out** the projection of its id, and the rest of the value.
//! **Invariant:** a projection is compiled once an id, not once a record; the one that was used last is found first.
//! **Not here:** where schemas come from (`crate::registry`), what a projection reads (`avro`).

use std::{cell::RefCell, fmt, sync::Arc};

use super::BadReason;
use crate::registry::{Frame, Lessons};

/// Projections of one decoder. Records of one time have one or two writers; a topic that is read again from its start meets all
/// of its writers, one after the other.
const READY_MAX: usize = 64;

/// See the module. `T` is a schema, `P` its projection.
pub(super) struct Writers<T, P> {
    lessons: Arc<Lessons<T>>,
    wanted: Vec<Box<str>>,
    compile: fn(Arc<T>, &[&str]) -> P,
    ready: RefCell<Vec<(u32, P)>>,
}

impl<T, P> Writers<T, P> {
    pub(super) fn new(lessons: &Arc<Lessons<T>>, wanted: &[&str], compile: fn(Arc<T>, &[&str]) -> P) -> Self {
        let wanted = wanted.iter().map(|name| (*name).into()).collect();
        Self { lessons: lessons.clone(), wanted, compile, ready: RefCell::default() }
    }

    /// Hands the projection of a framed value and the rest of it to `read`.
    ///
    /// - **Errors:** it has no frame, or its schema is not known or of no use.
    #[inline]
    pub(super) fn read<'a, R>(
        &self,
        value: &'a [u8],
        read: impl FnOnce(&P, &'a [u8]) -> R,
    ) -> Result<R, BadReason> {
        let (id, rest) = Frame::split(value)?;
        let mut ready = self.ready.borrow_mut();
        if ready.first().is_none_or(|(first, _)| *first != id) {
            self.bring_forward(id, &mut ready)?;
        }
        match ready.first() {
            Some((_, projection)) => Ok(read(projection, rest)),
            None => Err(BadReason::UnknownSchema),
        }
    }

    #[cold]
    fn bring_forward(&self, id: u32, ready: &mut Vec<(u32, P)>) -> Result<(), BadReason> {
        let at = match ready.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                let schema = self.lessons.get(id).unwrap_or(Err(BadReason::UnknownSchema))?;
                let wanted: Vec<&str> = self.wanted.iter().map(|name| &**name).collect();
                ready.truncate(READY_MAX - 1);
                ready.push((id, (self.compile)(schema, &wanted)));
                ready.len() - 1
            }
        };
        ready.swap(0, at);
        Ok(())
    }
}

/// A copy compiles for itself.
impl<T, P> Clone for Writers<T, P> {
    fn clone(&self) -> Self {
        Self {
            lessons: self.lessons.clone(),
            wanted: self.wanted.clone(),
            compile: self.compile,
            ready: RefCell::default(),
        }
    }
}

impl<T, P> fmt::Debug for Writers<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writers").field("lessons", &self.lessons).field("wanted", &self.wanted).finish()
    }
}
