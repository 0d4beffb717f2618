//! Resolve: a writer's schema and a reader's become one that reads the former's bytes as values of the latter.
//!
//! **In** two schemas. **Out** a third, whose nodes lie as the writer's do and have the reader's names; or why there is none.
//! **Invariant:** what is read never depends on the writer's order or names, only on the reader's. What cannot be read in every case is refused here;
//! what depends on the value (a branch, a symbol) is refused where it occurs. Types may hold each other in chains longer than any stack,
//! so nodes wait in a list until they are made.
//! **Not here:** reading (`project`, `json`), JSON of defaults (`encode`).
//!
//! Two readings of the specification are ours. A record's name counts only inside of a union, where it tells branches apart. A writer's
//! logical type counts, where both have one: whoever wrote milliseconds meant them.
//!
//! Source: Apache Avro 1.12, "Schema Resolution".

use std::collections::{HashMap, VecDeque};

use super::{Field, Named, Node, Resolved, Schema, Symbols};

pub(super) mod encode;

/// Brings two schemas together.
///
/// - **Errors:** what of the writer cannot be read as the reader's, with its path.
pub(super) fn resolved(writer: &Schema, reader: &Schema) -> Result<Schema, String> {
    let mut resolver = Resolver {
        writer,
        reader,
        nodes: Vec::new(),
        holders: Vec::new(),
        known: HashMap::new(),
        waiting: VecDeque::new(),
        at: 0,
        why: None,
    };
    let root = resolver.place(Of::Both(writer.root, reader.root), None);
    resolver.make_all();
    resolver.spread();
    if resolver.is_mismatch(root) {
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
    /// By node: what holds it, and as which of the reader's fields. The root holds itself.
    holders: Vec<(usize, Option<&'s str>)>,
    /// Types may hold themselves.
    known: HashMap<Of, usize>,
    /// Nodes that have a place and are not made yet.
    waiting: VecDeque<(usize, Of)>,
    /// The node that is being made.
    at: usize,
    /// The first mismatch, for people.
    why: Option<String>,
}

impl<'s> Resolver<'s> {
    /// Returns the place of a node, which is made later.
    fn place(&mut self, of: Of, name: Option<&'s str>) -> usize {
        if let Some(known) = self.known.get(&of) {
            return *known;
        }
        let at = self.push(Node::Null, name);
        self.known.insert(of, at);
        self.waiting.push_back((at, of));
        at
    }

    fn push(&mut self, node: Node, name: Option<&'s str>) -> usize {
        self.nodes.push(node);
        self.holders.push((self.at, name));
        self.nodes.len() - 1
    }

    fn make_all(&mut self) {
        while let Some((at, of)) = self.waiting.pop_front() {
            self.at = at;
            self.nodes[at] = match of {
                Of::Both(writer, reader) => self.made(writer, reader),
                Of::Writer(node) => self.copy(&self.writer.nodes[node], Of::Writer),
                Of::Reader(node) => self.copy(&self.reader.nodes[node], Of::Reader),
            };
        }
    }

    /// Refuses what holds something that cannot be read in every case, an empty array or map of it, too.
    fn spread(&mut self) {
        let mut is_more = true;
        while is_more {
            is_more = false;
            // Backwards, since most nodes stand before what they hold.
            for at in (0..self.nodes.len()).rev() {
                let is_bad = match &self.nodes[at] {
                    Node::Resolved(record) => record.fields.iter().any(|field| self.is_mismatch(field.node)),
                    Node::Array(inside) | Node::Map(inside) => self.is_mismatch(*inside),
                    _ => false,
                };
                if is_bad {
                    self.nodes[at] = Node::Mismatch;
                    is_more = true;
                }
            }
        }
    }

    fn is_mismatch(&self, node: usize) -> bool {
        matches!(self.nodes[node], Node::Mismatch)
    }

    fn made(&mut self, w: usize, r: usize) -> Node {
        let (writer, reader) = (self.writer, self.reader);
        match (&writer.nodes[w], &reader.nodes[r]) {
            (Node::Union(branches), _) => {
                Node::Union(branches.iter().map(|branch| self.place(Of::Both(*branch, r), None)).collect())
            }
            (_, Node::Union(branches)) => match self.branch(w, branches) {
                Some(branch) => self.made(w, branch),
                None => self.mismatch(None, "no branch of the reader's union takes it"),
            },
            (Node::Record(theirs), Node::Record(ours)) => self.record(theirs, ours),
            (Node::Enum(theirs), Node::Enum(ours)) => symbols(theirs, ours),
            (Node::Array(theirs), Node::Array(ours)) => {
                Node::Array(self.place(Of::Both(*theirs, *ours), None))
            }
            (Node::Map(theirs), Node::Map(ours)) => Node::Map(self.place(Of::Both(*theirs, *ours), None)),
            (Node::Fixed(_), Node::Fixed(_)) if scalar(&writer.nodes[w], &reader.nodes[r]).is_none() => {
                self.mismatch(None, "the sizes of fixed differ")
            }
            (theirs, ours) => match scalar(theirs, ours) {
                Some(node) => node,
                None => {
                    let why = format!("{} cannot be read as {}", kind(theirs), kind(ours));
                    self.mismatch(None, &why)
                }
            },
        }
    }

    /// A mismatch in the node that is being made, or in that field of it.
    fn mismatch(&mut self, field: Option<&str>, why: &str) -> Node {
        if self.why.is_none() {
            let mut path: Vec<&str> = field.into_iter().collect();
            let mut at = self.at;
            while at != self.holders[at].0 {
                path.extend(self.holders[at].1);
                at = self.holders[at].0;
            }
            path.reverse();
            let place = if path.is_empty() { "the value".to_owned() } else { path.join(".") };
            self.why = Some(format!("{place}: {why}"));
        }
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
        let mut fields = Vec::new();
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
                    self.place(Of::Both(field.node, ours[at].node), Some(&ours[at].name))
                }
                None => self.place(Of::Writer(field.node), None),
            };
            let name = found.map_or(&field.name, |at| &ours[at].name).clone();
            fields.push(Field { name, node, aliases: [].into(), default: None });
        }
        for (at, our) in ours.iter().enumerate().filter(|(at, _)| order[*at].is_none()).collect::<Vec<_>>() {
            let node = match self.default(our) {
                Ok(node) => node,
                Err(why) => return self.mismatch(Some(&our.name), &why),
            };
            order[at] = Some(fields.len());
            fields.push(Field { name: our.name.clone(), node, aliases: [].into(), default: None });
        }
        let order: Vec<usize> = order.into_iter().flatten().collect();
        let is_straight = order.len() == fields.len() && order.is_sorted();
        Node::Resolved(Resolved { fields, order, is_straight })
    }

    /// What stands for a field that the writer did not write.
    fn default(&mut self, field: &'s Field) -> Result<usize, String> {
        let json = field.default.as_ref().ok_or("the writer has no such field, and it has no default")?;
        let bytes = encode::default(self.reader, field.node, json)
            .map_err(|why| format!("its default is not of its type: {why}"))?;
        let node = self.place(Of::Reader(field.node), None);
        Ok(self.push(Node::Default { node, bytes: bytes.into() }, None))
    }

    /// Takes over a node of one schema as it is.
    fn copy(&mut self, node: &Node, of: fn(usize) -> Of) -> Node {
        let mut copy = |node: usize| self.place(of(node), None);
        match node {
            Node::Array(items) => Node::Array(copy(*items)),
            Node::Map(values) => Node::Map(copy(*values)),
            Node::Union(branches) => Node::Union(branches.iter().map(|branch| copy(*branch)).collect()),
            Node::Record(fields) => {
                let field = |field: &Field| Field {
                    name: field.name.clone(),
                    node: copy(field.node),
                    aliases: [].into(),
                    default: None,
                };
                Node::Record(fields.iter().map(field).collect())
            }
            Node::Enum(symbols) => Node::Enum(Symbols { all: symbols.all.clone(), default: None }),
            scalar => same(scalar),
        }
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
