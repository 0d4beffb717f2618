//! Fields: the names wanted of every document, compiled once.
//!
//! **In** names; one document after the other. **Out** a token per name.
//! **Invariant:** of members with one name the last counts. A dotted name means the member of exactly that name if there is
//! one, else the path: `user.id` is `id` inside `user`.
//! **Not here:** the grammar (`cursor`).

use bumpalo::Bump;

use super::{
    ScanError,
    cursor::{Cursor, Kind, Span},
    token::{Token, text},
};
use crate::utf8;

/// Names that a scan looks for.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    /// The wanted names, then the heads of dotted ones that are not wanted themselves.
    names: Vec<Box<[u8]>>,
    /// Bit n: some name has n bytes (63 or more count as 63). Most members are not wanted, and this says so at once.
    lengths: u64,
    wanted: usize,
    paths: Vec<Path>,
}

/// Where dotted names go on inside of one member.
#[derive(Debug, Clone)]
struct Path {
    /// Slot of the member.
    head: usize,
    /// Slot of each dotted name, in the order of `rest`.
    slots: Vec<usize>,
    /// What follows the first dot.
    rest: Fields,
}

impl Fields {
    /// Compiles the names, which must differ from each other.
    pub(crate) fn new(wanted: &[&str]) -> Self {
        let mut names: Vec<Box<[u8]>> = wanted.iter().map(|n| n.as_bytes().into()).collect();
        let mut heads: Vec<(usize, Vec<usize>, Vec<&str>)> = Vec::new();
        for (slot, (head, rest)) in
            wanted.iter().enumerate().filter_map(|(slot, n)| Some((slot, n.split_once('.')?)))
        {
            let head = names.iter().position(|n| **n == *head.as_bytes()).unwrap_or_else(|| {
                names.push(head.as_bytes().into());
                names.len() - 1
            });
            match heads.iter_mut().find(|(known, ..)| *known == head) {
                Some((_, slots, rests)) => {
                    slots.push(slot);
                    rests.push(rest);
                }
                None => heads.push((head, vec![slot], vec![rest])),
            }
        }
        let paths = heads
            .into_iter()
            .map(|(head, slots, rests)| Path { head, slots, rest: Fields::new(&rests) })
            .collect();
        let lengths = names.iter().fold(0, |bits, n| bits | length_bit(n.len()));
        Self { names, lengths, wanted: wanted.len(), paths }
    }

    /// Scans one document and hands the token of each wanted name, in their order, to `read`.
    #[inline]
    pub(crate) fn scan<'a, T>(
        &self,
        document: &'a [u8],
        arena: &'a Bump,
        read: impl FnOnce(&[Token<'a>]) -> T,
    ) -> Result<T, ScanError> {
        let text = utf8::text(document).map_err(|_| ScanError::NotUtf8)?;
        // Most plans want a handful: those need no arena.
        let mut few = [Token::Missing; 8];
        let tokens = match few.get_mut(..self.names.len()) {
            Some(few) => few,
            None => arena.alloc_slice_fill_copy(self.names.len(), Token::Missing),
        };
        self.object(text, arena, tokens)?;
        Ok(read(&tokens[..self.wanted]))
    }

    fn object<'a>(&self, text: &'a str, arena: &'a Bump, tokens: &mut [Token<'a>]) -> Result<(), ScanError> {
        let mut cursor = Cursor::new(text);
        if cursor.space() != b'{' {
            cursor.value(0)?;
            cursor.end()?;
            return Err(ScanError::NotAnObject);
        }
        cursor.pass();
        if cursor.space() != b'}' {
            loop {
                let name = cursor.key()?;
                let value = cursor.value(1)?;
                if let Some(slot) = self.slot(&cursor, name, arena) {
                    tokens[slot] = cursor.token(value);
                }
                match cursor.space() {
                    b',' => cursor.pass(),
                    b'}' => break,
                    _ => return Err(ScanError::NotJson),
                }
                cursor.space();
            }
        }
        cursor.pass();
        cursor.end()?;
        self.paths.iter().try_for_each(|path| path.follow(arena, tokens))
    }

    #[inline]
    fn slot<'a>(&self, cursor: &Cursor<'a>, name: Span, arena: &'a Bump) -> Option<usize> {
        let is_plain = name.kind == Kind::Plain;
        if is_plain && self.lengths & length_bit(name.end - name.start - 2) == 0 {
            return None;
        }
        let raw = cursor.raw(name);
        let name =
            if is_plain { &raw.as_bytes()[1..raw.len() - 1] } else { text(raw, true, arena).as_bytes() };
        self.names.iter().position(|wanted| **wanted == *name)
    }
}

impl Path {
    fn follow<'a>(&self, arena: &'a Bump, tokens: &mut [Token<'a>]) -> Result<(), ScanError> {
        let Token::Nested(raw) = tokens[self.head] else { return Ok(()) };
        if !raw.starts_with('{') || !self.slots.iter().any(|s| matches!(tokens[*s], Token::Missing)) {
            return Ok(());
        }
        let inner = arena.alloc_slice_fill_copy(self.rest.names.len(), Token::Missing);
        self.rest.object(raw, arena, inner)?;
        for (slot, found) in self.slots.iter().zip(inner) {
            if matches!(tokens[*slot], Token::Missing) {
                tokens[*slot] = *found;
            }
        }
        Ok(())
    }
}

#[inline]
fn length_bit(bytes: usize) -> u64 {
    1 << bytes.min(63)
}
