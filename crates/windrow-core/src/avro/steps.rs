//! Steps: a record's fields as one flat program, for as many of them as are plain.
//!
//! **In** what is wanted of each field. **Out** steps: most walk over what nobody wants, and neighbours of a fixed size are one step.
//! **Invariant:** steps judge a value exactly as `Schema::skip` and `Schema::read` do: only the way there is shorter.
//! **Not here:** what is nested: that is read as a tree (`project`).

use bumpalo::Bump;

use super::{
    Fault, Node, Schema,
    cursor::Cursor,
    project::{Parts, Want},
};
use crate::scan::Token;

/// What comes next of a record.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Nobody wants it.
    Skip(Plain),
    /// A union of null and this; null is the branch of that number.
    SkipOptional {
        null: usize,
        plain: Plain,
    },
    /// A scalar, or a union of null and one, goes to a slot.
    Scalar {
        node: usize,
        slot: usize,
    },
    OptionalScalar {
        null: usize,
        node: usize,
        slot: usize,
    },
    /// Everything else.
    Tree(Want),
}

/// What can be walked over without a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Int,
    Long,
    Boolean,
    /// So many bytes, of one field or of several neighbours.
    Bytes(usize),
    Blob,
    Text,
}

/// Makes the program of a record's fields, each with what is wanted of it.
pub(super) fn compile(schema: &Schema, fields: &[Want]) -> Box<[Step]> {
    let mut steps: Vec<Step> = Vec::with_capacity(fields.len());
    for want in fields {
        let step = step(schema, want);
        match (steps.last_mut(), step) {
            (_, None) => {}
            (Some(Step::Skip(Plain::Bytes(before))), Some(Step::Skip(Plain::Bytes(more)))) => {
                *before = before.saturating_add(more);
            }
            (_, Some(step)) => steps.push(step),
        }
    }
    steps.into()
}

/// The step of one field; `None` when it takes no bytes and nobody wants it.
fn step(schema: &Schema, want: &Want) -> Option<Step> {
    let node = &schema.nodes[want.node];
    let tree = || Some(Step::Tree(want.clone()));
    match (&want.parts, want.slot) {
        (Parts::None, None) => match (node, plain(node)) {
            (Node::Null | Node::Default { .. }, _) => None,
            (_, Some(plain)) => Some(Step::Skip(plain)),
            (Node::Union(branches), _) => match optional(schema, branches) {
                Some((null, other)) => match plain(&schema.nodes[other]) {
                    Some(plain) => Some(Step::SkipOptional { null, plain }),
                    None => tree(),
                },
                None => tree(),
            },
            _ => tree(),
        },
        (Parts::None, Some(slot)) => match node {
            Node::Union(branches) => match optional(schema, branches) {
                Some((null, node)) if is_scalar(&schema.nodes[node]) => {
                    Some(Step::OptionalScalar { null, node, slot })
                }
                _ => tree(),
            },
            node if is_scalar(node) => Some(Step::Scalar { node: want.node, slot }),
            _ => tree(),
        },
        _ => tree(),
    }
}

/// The two branches of a union with null: the number of null, and the other's node.
fn optional(schema: &Schema, branches: &[usize]) -> Option<(usize, usize)> {
    let is_null = |node: &usize| matches!(schema.nodes[*node], Node::Null);
    match branches {
        [null, other] if is_null(null) => Some((0, *other)),
        [other, null] if is_null(null) => Some((1, *other)),
        _ => None,
    }
}

fn plain(node: &Node) -> Option<Plain> {
    Some(match node {
        Node::Int | Node::Date | Node::Widened { is_long: false, .. } => Plain::Int,
        Node::Long | Node::Timestamp { .. } | Node::Widened { .. } => Plain::Long,
        Node::Boolean => Plain::Boolean,
        Node::Float => Plain::Bytes(4),
        Node::Double => Plain::Bytes(8),
        Node::Uuid => Plain::Bytes(16),
        Node::Fixed(size) => Plain::Bytes(*size),
        Node::Bytes => Plain::Blob,
        Node::Text => Plain::Text,
        _ => return None,
    })
}

/// What [`Schema::scalar`] reads.
fn is_scalar(node: &Node) -> bool {
    plain(node).is_some() && !matches!(node, Node::Uuid)
}

impl Schema {
    /// Runs the program over the fields of a record.
    #[inline]
    pub(super) fn run<'a>(
        &self,
        steps: &[Step],
        cursor: &mut Cursor<'a>,
        tokens: &mut [Token<'a>],
        depth: usize,
        arena: &'a Bump,
    ) -> Result<(), Fault> {
        for step in steps {
            match step {
                Step::Skip(plain) => plain.skip(cursor)?,
                Step::SkipOptional { null, plain } => {
                    if cursor.index(2)? != *null {
                        plain.skip(cursor)?;
                    }
                }
                Step::Scalar { node, slot } => tokens[*slot] = Token::Of(self.scalar(*node, cursor)?),
                Step::OptionalScalar { null, node, slot } => {
                    tokens[*slot] = match cursor.index(2)? == *null {
                        true => Token::Null,
                        false => Token::Of(self.scalar(*node, cursor)?),
                    };
                }
                Step::Tree(want) => self.read(want, cursor, tokens, depth, arena)?,
            }
        }
        Ok(())
    }
}

impl Plain {
    #[inline]
    fn skip(self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        match self {
            Plain::Int => cursor.int().map(drop),
            Plain::Long => cursor.long().map(drop),
            Plain::Boolean => cursor.boolean().map(drop),
            Plain::Bytes(size) => cursor.take(size).map(drop),
            Plain::Blob => cursor.bytes().map(drop),
            Plain::Text => cursor.skip_text(),
        }
    }
}
