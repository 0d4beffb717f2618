//! Resolve: a writer's schema and a reader's become one that reads the former's bytes as values of the latter.
//!
//! **In** two schemas. **Out** a third, whose nodes lie as the writer's do and have the reader's names; or why there is none.
//! **Invariant:** what is read never depends on the writer's order or names, only on the reader's. What cannot be read in every case is refused here;
//! what depends on the value (a branch, a symbol) is refused where it occurs.
//! **Not here:** reading (`project`, `json`), JSON of defaults (`encode`).
//!
//! Two readings of the specification are ours. A record's name counts only inside of a union, where it tells branches apart. A writer's
//! logical type counts, where both have one: whoever wrote milliseconds meant them.
//!
//! Source: Apache Avro 1.12, "Schema Resolution".

use std::collections::HashMap;

use super::{Field, Named, Node, Resolved, Schema, Symbols};

pub(super) mod encode;

/// Brings two schemas together.
///
/// - **Errors:** what of the writer cannot be read as the reader's, with its path.
pub(super) fn resolved(writer: &Schema, reader: &Schema) -> Result<Schema, String> {
    let mut resolver =
        Resolver { writer, reader, nodes: Vec::new(), known: HashMap::new(), path: Vec::new(), why: None };
    let root = resolver.both(writer.root, reader.root);
    if matches!(resolver.nodes[root], Node::Mismatch) {
        return Err(resolver.why.unwrap_or_else(|| "it is of another type".to_owned()));
    }
    let text = format!("{}\n{}", writer.text, reader.text).into();
    Ok(Schema { nodes: resolver.nodes, root, named: HashMap::new(), text, tags_bytes: reader.tags_bytes })
}

/// A new node was made of these: of both schemas, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Both(usize, usize),
    Writer(usize),
    Reader(usize),
}

struct Resolver<'s> {
    writer: &'s Schema,
    reader: &'s Schema,
    nodes: Vec<Node>,
    /// Types may hold themselves.
    known: HashMap<Of, usize>,
    path: Vec<String>,
    /// The first mismatch, for people.
    why: Option<String>,
}

impl<'s> Resolver<'s> {
    /// Gives a node its place before it is made; `None` when it has one.
    fn begin(&mut self, of: Of) -> Result<usize, usize> {
        if let Some(known) = self.known.get(&of) {
            return Err(*known);
        }
        self.nodes.push(Node::Null);
        self.known.insert(of, self.nodes.len() - 1);
        Ok(self.nodes.len() - 1)
    }

    fn both(&mut self, writer: usize, reader: usize) -> usize {
        let at = match self.begin(Of::Both(writer, reader)) {
            Ok(at) => at,
            Err(known) => return known,
        };
        self.nodes[at] = self.made(writer, reader);
        at
    }

    fn made(&mut self, w: usize, r: usize) -> Node {
        let (writer, reader) = (self.writer, self.reader);
        match (&writer.nodes[w], &reader.nodes[r]) {
            (Node::Union(branches), _) => {
                Node::Union(branches.iter().map(|branch| self.both(*branch, r)).collect())
            }
            (_, Node::Union(branches)) => match self.branch(w, branches) {
                Some(branch) => self.made(w, branch),
                None => self.mismatch("no branch of the reader's union takes it"),
            },
            (Node::Record(theirs), Node::Record(ours)) => self.record(theirs, ours),
            (Node::Enum(theirs), Node::Enum(ours)) => symbols(theirs, ours),
            (Node::Array(theirs), Node::Array(ours)) => self.each(*theirs, *ours, Node::Array),
            (Node::Map(theirs), Node::Map(ours)) => self.each(*theirs, *ours, Node::Map),
            (Node::Fixed(_), Node::Fixed(_)) if scalar(&writer.nodes[w], &reader.nodes[r]).is_none() => {
                self.mismatch("the sizes of fixed differ")
            }
            (theirs, ours) => match scalar(theirs, ours) {
                Some(node) => node,
                None => {
                    let why = format!("{} cannot be read as {}", kind(theirs), kind(ours));
                    self.mismatch(&why)
                }
            },
        }
    }

    /// What is in an array or a map: one whose items cannot be read is refused, also when it is empty.
    fn each(&mut self, theirs: usize, ours: usize, of: fn(usize) -> Node) -> Node {
        let items = self.both(theirs, ours);
        if matches!(self.nodes[items], Node::Mismatch) { Node::Mismatch } else { of(items) }
    }

    fn mismatch(&mut self, why: &str) -> Node {
        let place = if self.path.is_empty() { "the value".to_owned() } else { self.path.join(".") };
        self.why.get_or_insert_with(|| format!("{place}: {why}"));
        Node::Mismatch
    }

    /// The branch of a reader's union for what the writer has: the same type first, then one that it can become.
    fn branch(&self, w: usize, branches: &[usize]) -> Option<usize> {
        let (theirs, name) = (&self.writer.nodes[w], self.writer.named.get(&w));
        let same = branches.iter().find(|r| {
            let ours = &self.reader.nodes[**r];
            kind(theirs) == kind(ours) && is_called(name, self.reader.named.get(r))
        });
        let becomes = || branches.iter().find(|r| scalar(theirs, &self.reader.nodes[**r]).is_some());
        same.or_else(becomes).copied()
    }

    fn record(&mut self, theirs: &'s [Field], ours: &'s [Field]) -> Node {
        let has = |name: &str| theirs.iter().any(|field| *field.name == *name);
        let mut order = vec![None; ours.len()];
        let (mut fields, mut is_bad) = (Vec::new(), false);
        for field in theirs {
            let by_name = ours.iter().position(|our| our.name == field.name);
            let by_alias = || {
                let was = |our: &Field| our.aliases.iter().any(|alias| **alias == *field.name);
                ours.iter().position(|our| was(our) && !has(&our.name))
            };
            let found = by_name.or_else(by_alias).filter(|at| order[*at].is_none());
            let node = match found {
                Some(at) => {
                    order[at] = Some(fields.len());
                    self.path.push(ours[at].name.to_string());
                    let node = self.both(field.node, ours[at].node);
                    self.path.pop();
                    is_bad |= matches!(self.nodes[node], Node::Mismatch);
                    node
                }
                None => self.copy(Of::Writer(field.node)),
            };
            let name = found.map_or(&field.name, |at| &ours[at].name).clone();
            fields.push(Field { name, node, aliases: [].into(), default: None });
        }
        for (at, our) in ours.iter().enumerate().filter(|(at, _)| order[*at].is_none()).collect::<Vec<_>>() {
            self.path.push(our.name.to_string());
            let node = self.default(our);
            self.path.pop();
            let Some(node) = node else { return Node::Mismatch };
            order[at] = Some(fields.len());
            fields.push(Field { name: our.name.clone(), node, aliases: [].into(), default: None });
        }
        if is_bad {
            return Node::Mismatch;
        }
        let order: Vec<usize> = order.into_iter().flatten().collect();
        let is_straight = order.len() == fields.len() && order.is_sorted();
        Node::Resolved(Resolved { fields, order, is_straight })
    }

    /// What stands for a field that the writer did not write.
    fn default(&mut self, field: &Field) -> Option<usize> {
        let Some(json) = &field.default else {
            self.mismatch("the writer has no such field, and it has no default");
            return None;
        };
        let bytes = match encode::default(self.reader, field.node, json) {
            Ok(bytes) => bytes.into(),
            Err(why) => {
                self.mismatch(&format!("its default is not of its type: {why}"));
                return None;
            }
        };
        let node = self.copy(Of::Reader(field.node));
        self.nodes.push(Node::Default { node, bytes });
        Some(self.nodes.len() - 1)
    }

    /// Takes over a node of one schema as it is.
    fn copy(&mut self, of: Of) -> usize {
        let at = match self.begin(of) {
            Ok(at) => at,
            Err(known) => return known,
        };
        let (schema, node, again): (_, _, fn(usize) -> Of) = match of {
            Of::Writer(node) => (self.writer, node, Of::Writer),
            Of::Reader(node) | Of::Both(_, node) => (self.reader, node, Of::Reader),
        };
        self.nodes[at] = match &schema.nodes[node] {
            Node::Array(items) => Node::Array(self.copy(again(*items))),
            Node::Map(values) => Node::Map(self.copy(again(*values))),
            Node::Union(branches) => {
                Node::Union(branches.iter().map(|branch| self.copy(again(*branch))).collect())
            }
            Node::Record(fields) => {
                let field = |field: &Field| Field {
                    name: field.name.clone(),
                    node: self.copy(again(field.node)),
                    aliases: [].into(),
                    default: None,
                };
                Node::Record(fields.iter().map(field).collect())
            }
            Node::Enum(symbols) => Node::Enum(Symbols { all: symbols.all.clone(), default: None }),
            scalar => same(scalar),
        };
        at
    }
}

/// Tells whether a writer's type is one of the reader's by name, where they have names.
fn is_called(theirs: Option<&Named>, ours: Option<&Named>) -> bool {
    let last = |name: &'_ str| name.rsplit('.').next().unwrap_or_default().to_owned();
    match (theirs, ours) {
        (Some(theirs), Some(ours)) => {
            last(&theirs.full) == last(&ours.full) || ours.aliases.contains(&theirs.full)
        }
        _ => true,
    }
}

fn symbols(theirs: &Symbols, ours: &Symbols) -> Node {
    let of_ours =
        |symbol: &str| ours.all.iter().find(|our| ***our == *symbol).or(ours.default.as_ref()).cloned();
    Node::Mapped(theirs.all.iter().map(|symbol| of_ours(symbol)).collect())
}

/// Reads one scalar as another, where the specification lets it.
fn scalar(theirs: &Node, ours: &Node) -> Option<Node> {
    use Node::{Boolean, Bytes, Date, Decimal, Double, Fixed, Float, Int, Long, Null, Text, Timestamp, Uuid};
    Some(match (theirs, ours) {
        (Null, Null) => Null,
        (Boolean, Boolean) => Boolean,
        (Int | Date, Int | Long) => Int,
        (Int | Date, Date) | (Date, Timestamp { .. }) => Date,
        (Long | Timestamp { .. }, Long) => Long,
        (Timestamp { per_ms }, Timestamp { .. }) | (Int | Long, Timestamp { per_ms }) => {
            Timestamp { per_ms: *per_ms }
        }
        (Int | Date, Float | Double) => Node::Widened { is_long: false, to_float: matches!(ours, Float) },
        (Long | Timestamp { .. }, Float | Double) => {
            Node::Widened { is_long: true, to_float: matches!(ours, Float) }
        }
        (Float, Float | Double) => Float,
        (Double, Double) => Double,
        (Text | Bytes | Decimal { size: None, .. }, Bytes) => Bytes,
        (Text | Bytes, Text) => Text,
        (Decimal { size, scale }, Decimal { size: of, .. }) if size == of => {
            Decimal { size: *size, scale: *scale }
        }
        (Bytes, Decimal { size: None, scale }) => Decimal { size: None, scale: *scale },
        (Fixed(size), Decimal { size: Some(of), scale }) if size == of => {
            Decimal { size: Some(*of), scale: *scale }
        }
        (Decimal { size: Some(size), .. }, Fixed(of)) | (Fixed(size), Fixed(of)) if size == of => Fixed(*of),
        (Uuid | Fixed(16), Uuid) => Uuid,
        (Uuid, Fixed(16)) => Fixed(16),
        _ => return None,
    })
}

/// The same scalar again.
fn same(node: &Node) -> Node {
    match node {
        Node::Boolean => Node::Boolean,
        Node::Int => Node::Int,
        Node::Long => Node::Long,
        Node::Float => Node::Float,
        Node::Double => Node::Double,
        Node::Bytes => Node::Bytes,
        Node::Text => Node::Text,
        Node::Date => Node::Date,
        Node::Timestamp { per_ms } => Node::Timestamp { per_ms: *per_ms },
        Node::Decimal { size, scale } => Node::Decimal { size: *size, scale: *scale },
        Node::Uuid => Node::Uuid,
        Node::Fixed(size) => Node::Fixed(*size),
        _ => Node::Null,
    }
}

/// What a type is called in the specification.
fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null | Node::Default { .. } | Node::Mismatch => "null",
        Node::Boolean => "boolean",
        Node::Int | Node::Date => "int",
        Node::Long | Node::Timestamp { .. } | Node::Widened { .. } => "long",
        Node::Float => "float",
        Node::Double => "double",
        Node::Bytes | Node::Decimal { size: None, .. } => "bytes",
        Node::Text => "string",
        Node::Decimal { .. } | Node::Uuid | Node::Fixed(_) => "fixed",
        Node::Enum(_) | Node::Mapped(_) => "enum",
        Node::Array(_) => "array",
        Node::Map(_) => "map",
        Node::Union(_) => "union",
        Node::Record(_) | Node::Resolved(_) => "record",
    }
}
