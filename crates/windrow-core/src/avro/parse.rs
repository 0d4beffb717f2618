//! Parse: a schema's JSON becomes nodes.
//!
//! **In** JSON text. **Out** a [`Schema`], or the first mistake with line, column and a way out.
//! **Invariant:** every index in the nodes is in range; a union holds no union; names are those of the specification.
//! **Not here:** `doc`, `order`; what becomes of `default` and `aliases` (`resolve`).

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

use super::{Field, Named, Node, SCHEMA_MAX_BYTES, Schema, Symbols};
use crate::{scan::DEPTH_MAX, suggest};
use object::{Members, Object};

mod object;

/// Digits that 128 bits hold whatever they are.
const PRECISION_MAX: usize = 38;

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

const COMPLEX: [&str; 5] = ["record", "enum", "fixed", "array", "map"];

/// A mistake in a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct SchemaError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

/// Reads the last of several schemas, with what those before it define.
pub(super) fn schema(texts: &[&str]) -> Result<Schema, SchemaError> {
    let mut parser =
        Parser { text: "", nodes: Vec::new(), names: HashMap::new(), named: HashMap::new(), depth: 0 };
    let (mut root, mut bytes) = (0, 0);
    for text in texts {
        parser.text = text;
        bytes += text.len();
        if bytes > SCHEMA_MAX_BYTES {
            let message = format!("a schema must be at most {SCHEMA_MAX_BYTES} bytes, not {bytes}");
            return Err(parser.error(text, message));
        }
        let whole: &RawValue = serde_json::from_str(text).map_err(|e| not_json(&e))?;
        root = parser.node(whole, "")?;
    }
    if parser.nodes.is_empty() {
        return Err(parser.error("", "a schema must have a text".to_owned()));
    }
    let (nodes, named) = (parser.nodes, parser.named);
    Ok(Schema { nodes, root, named, text: texts.join("\n").into(), tags_bytes: false })
}

fn not_json(error: &serde_json::Error) -> SchemaError {
    let message = error.to_string();
    // The place stands in front already.
    let message = message.split(" at line ").next().unwrap_or_default();
    SchemaError {
        line: error.line().max(1),
        column: error.column().max(1),
        message: format!("not JSON: {message}"),
        hint: None,
    }
}

struct Parser<'t> {
    text: &'t str,
    nodes: Vec<Node>,
    /// Full names.
    names: HashMap<String, usize>,
    named: HashMap<usize, Named>,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// Reads a type; `space` is the namespace around it.
    fn node(&mut self, raw: &'t RawValue, space: &str) -> Result<usize, SchemaError> {
        self.depth += 1;
        let node = match raw.get().as_bytes().first() {
            _ if self.depth > DEPTH_MAX => {
                Err(self.error(raw.get(), format!("types must nest at most {DEPTH_MAX} levels")))
            }
            Some(b'"') => self.named(raw, space),
            Some(b'[') => self.union(raw, space),
            Some(b'{') => self.object(raw, space),
            _ => {
                let message = format!("a type must be a name, an object or a list, not {}", shown(raw));
                Err(self.error(raw.get(), message))
            }
        };
        self.depth -= 1;
        node
    }

    fn named(&mut self, raw: &'t RawValue, space: &str) -> Result<usize, SchemaError> {
        let name = self.string(raw, "a type")?;
        if let Some(node) = primitive(&name) {
            return Ok(self.push(node));
        }
        if let Some(found) = self.names.get(&full(&name, space)).or_else(|| self.names.get(&*name)) {
            return Ok(*found);
        }
        let error = self.error(raw.get(), format!("there is no type `{name}`"));
        let known = self.names.keys().map(String::as_str).chain(PRIMITIVES);
        let hint = match suggest::closest(&name, known) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if COMPLEX.contains(&&*name) => {
                format!("a type with parts is an object: {{\"type\": \"{name}\", …}}")
            }
            None => "a named type must be defined before it is used; a union is a list".to_owned(),
        };
        Err(error.hint(hint))
    }

    fn union(&mut self, raw: &'t RawValue, space: &str) -> Result<usize, SchemaError> {
        let branches: Vec<&'t RawValue> = serde_json::from_str(raw.get()).map_err(|e| not_json(&e))?;
        let at = self.push(Node::Null);
        let mut found: Vec<usize> = Vec::new();
        let mut kinds: Vec<&'static str> = Vec::new();
        for branch in branches {
            let node = self.node(branch, space)?;
            if matches!(self.nodes[node], Node::Union(_)) {
                return Err(self.error(branch.get(), "a union must not hold a union".to_owned()));
            }
            let kind = kind(&self.nodes[node]);
            let twice = if kind.is_empty() { found.contains(&node) } else { kinds.contains(&kind) };
            if twice {
                return Err(self.error(branch.get(), format!("the union holds {} twice", shown(branch))));
            }
            kinds.push(kind);
            found.push(node);
        }
        if found.is_empty() {
            return Err(self.error(raw.get(), "a union must hold a type".to_owned()));
        }
        self.nodes[at] = Node::Union(found);
        Ok(at)
    }

    fn object(&mut self, raw: &'t RawValue, space: &str) -> Result<usize, SchemaError> {
        let object = Object { raw, members: self.members(raw)? };
        let kind = object.needed(self, "type")?;
        if !kind.get().starts_with('"') {
            // {"type": {…}} is the type inside.
            return self.node(kind, space);
        }
        let name = self.string(kind, "`type`")?;
        match &*name {
            "record" | "error" => self.record(&object, space),
            "enum" => self.symbols(&object, space),
            "fixed" => self.fixed(&object, space),
            "array" => {
                let items = object.needed(self, "items")?;
                let node = self.node(items, space)?;
                Ok(self.push(Node::Array(node)))
            }
            "map" => {
                let values = object.needed(self, "values")?;
                let node = self.node(values, space)?;
                Ok(self.push(Node::Map(node)))
            }
            name => match primitive(name) {
                Some(node) => {
                    let node = self.logical(&object, node)?;
                    Ok(self.push(node))
                }
                None if COMPLEX.iter().any(|c| suggest::closest(name, [*c]).is_some()) => {
                    let close = suggest::closest(name, COMPLEX).unwrap_or_default();
                    let error = self.error(kind.get(), format!("there is no type `{name}`"));
                    Err(error.hint(format!("did you mean \"{close}\"?")))
                }
                None => self.named(kind, space),
            },
        }
    }

    fn record(&mut self, object: &Object<'t>, space: &str) -> Result<usize, SchemaError> {
        let (at, space) = self.define(object, space)?;
        let raw = object.needed(self, "fields")?;
        let list: Vec<&'t RawValue> = serde_json::from_str(raw.get())
            .map_err(|_| self.error(raw.get(), format!("`fields` must be a list, not {}", shown(raw))))?;
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for raw in list {
            let field = Object { raw, members: self.members(raw)? };
            let name = self.name(&field)?;
            if fields.iter().any(|known| *known.name == *name) {
                let at = field.needed(self, "name")?.get();
                return Err(self.error(at, format!("the record has a field `{name}` already")));
            }
            let ty = field.needed(self, "type")?;
            let node = match self.node(ty, &space)? {
                // A field may say its logical type beside its type's name, as some writers have it.
                node if ty.get().starts_with('"') && field.get("logicalType").is_some() => {
                    match primitive(&self.string(ty, "a type")?) {
                        Some(plain) => {
                            let logical = self.logical(&field, plain)?;
                            self.push(logical)
                        }
                        None => node,
                    }
                }
                node => node,
            };
            let aliases = self.aliases(&field)?.into_iter().map(String::into_boxed_str).collect();
            let default = field.get("default").map(|raw| raw.get().into());
            fields.push(Field { name: (&*name).into(), node, aliases, default });
        }
        self.nodes[at] = Node::Record(fields);
        Ok(at)
    }

    fn symbols(&mut self, object: &Object<'t>, space: &str) -> Result<usize, SchemaError> {
        let (at, _) = self.define(object, space)?;
        let raw = object.needed(self, "symbols")?;
        let symbols: Vec<Box<str>> = serde_json::from_str(raw.get()).map_err(|_| {
            self.error(raw.get(), format!("`symbols` must be a list of strings, not {}", shown(raw)))
        })?;
        if let Some(twice) = symbols.iter().enumerate().find(|(i, s)| symbols[..*i].contains(s)) {
            return Err(self.error(raw.get(), format!("`symbols` holds `{}` twice", twice.1)));
        }
        let default = match object.get("default") {
            Some(raw) => Some(self.string(raw, "`default`")?.into()),
            None => None,
        };
        self.nodes[at] = Node::Enum(Symbols { all: symbols, default });
        Ok(at)
    }

    fn fixed(&mut self, object: &Object<'t>, space: &str) -> Result<usize, SchemaError> {
        let (at, _) = self.define(object, space)?;
        let raw = object.needed(self, "size")?;
        let size: usize = raw.get().parse().map_err(|_| {
            self.error(raw.get(), format!("`size` must be a number of bytes, not {}", shown(raw)))
        })?;
        self.nodes[at] = self.logical(object, Node::Fixed(size))?;
        Ok(at)
    }

    /// Folds a logical type into its node; one that is not of the specification is left out.
    fn logical(&mut self, object: &Object<'t>, plain: Node) -> Result<Node, SchemaError> {
        let Some(raw) = object.get("logicalType") else { return Ok(plain) };
        let name = self.string(raw, "`logicalType`")?;
        let stamp = |per_ms| Node::Timestamp { per_ms };
        Ok(match (&*name, &plain) {
            ("date", Node::Int) => Node::Date,
            ("time-millis", Node::Int) | ("time-micros", Node::Long) | ("uuid", Node::Text) => plain,
            ("timestamp-millis" | "local-timestamp-millis", Node::Long) => stamp(1),
            ("timestamp-micros" | "local-timestamp-micros", Node::Long) => stamp(1_000),
            ("timestamp-nanos" | "local-timestamp-nanos", Node::Long) => stamp(1_000_000),
            ("uuid", Node::Fixed(16)) => Node::Uuid,
            ("duration", Node::Fixed(12)) => plain,
            ("decimal", Node::Bytes) => Node::Decimal { size: None, scale: self.scale(object)? },
            ("decimal", Node::Fixed(size)) => Node::Decimal { size: Some(*size), scale: self.scale(object)? },
            (known, _) if LOGICAL.iter().any(|(name, _)| *name == known) => {
                let base = LOGICAL.iter().find(|(name, _)| *name == known).map_or("", |(_, base)| base);
                let error = self.error(raw.get(), format!("`{known}` is no logical type of this type"));
                return Err(error.hint(format!("it stands on {base}")));
            }
            _ => plain,
        })
    }

    fn scale(&mut self, object: &Object<'t>) -> Result<usize, SchemaError> {
        let number = |raw: &'t RawValue| raw.get().parse::<usize>().ok();
        let raw = object.needed(self, "precision")?;
        let precision = number(raw).filter(|p| (1..=PRECISION_MAX).contains(p)).ok_or_else(|| {
            self.error(
                raw.get(),
                format!("`precision` must be from 1 to {PRECISION_MAX}, not {}", shown(raw)),
            )
        })?;
        let Some(raw) = object.get("scale") else { return Ok(0) };
        number(raw).filter(|scale| *scale <= precision).ok_or_else(|| {
            self.error(
                raw.get(),
                format!("`scale` must be from 0 to the precision {precision}, not {}", shown(raw)),
            )
        })
    }

    /// Gives a named type its node and its namespace, before its parts are read: they may name it.
    fn define(&mut self, object: &Object<'t>, space: &str) -> Result<(usize, String), SchemaError> {
        let raw = object.needed(self, "name")?;
        let name = self.string(raw, "`name`")?;
        let space = match (name.rsplit_once('.'), object.get("namespace")) {
            (Some((space, _)), _) => space.to_owned(),
            (None, Some(raw)) => self.string(raw, "`namespace`")?.into_owned(),
            (None, None) => space.to_owned(),
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        self.check_name(raw, last)?;
        if primitive(last).is_some() {
            return Err(self.error(raw.get(), format!("`{last}` is a type of its own")));
        }
        // Not a plain type: until its parts are read, a union tells it by its node.
        let at = self.push(Node::Record(Vec::new()));
        let full = full(last, &space);
        if self.names.contains_key(&full) {
            return Err(self.error(raw.get(), format!("the type `{full}` is defined a second time")));
        }
        let of_space = |alias: String| self::full(&alias, &space);
        let aliases = self.aliases(object)?.into_iter().map(of_space).collect();
        self.named.insert(at, Named { full: full.clone(), aliases });
        self.names.insert(full, at);
        Ok((at, space))
    }

    /// Reads the former names of a type or a field.
    fn aliases(&self, object: &Object<'t>) -> Result<Vec<String>, SchemaError> {
        let Some(raw) = object.get("aliases") else { return Ok(Vec::new()) };
        serde_json::from_str(raw.get()).map_err(|_| {
            self.error(raw.get(), format!("`aliases` must be a list of strings, not {}", shown(raw)))
        })
    }

    fn name(&self, object: &Object<'t>) -> Result<Cow<'t, str>, SchemaError> {
        let raw = object.needed(self, "name")?;
        let name = self.string(raw, "`name`")?;
        self.check_name(raw, &name)?;
        Ok(name)
    }

    fn check_name(&self, raw: &'t RawValue, name: &str) -> Result<(), SchemaError> {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Ok(());
        }
        let error = self.error(raw.get(), format!("`{name}` is no name of Avro"));
        Err(error.hint("a name has letters, digits and `_`, and begins with no digit".to_owned()))
    }

    fn members(&self, raw: &'t RawValue) -> Result<Vec<(Cow<'t, str>, &'t RawValue)>, SchemaError> {
        match serde_json::from_str::<Members<'t>>(raw.get()) {
            Ok(members) => Ok(members.0),
            Err(_) => Err(self.error(raw.get(), format!("this must be an object, not {}", shown(raw)))),
        }
    }

    fn string(&self, raw: &'t RawValue, what: &str) -> Result<Cow<'t, str>, SchemaError> {
        let read = serde_json::from_str::<String>(raw.get());
        read.map(Cow::Owned)
            .map_err(|_| self.error(raw.get(), format!("{what} must be a string, not {}", shown(raw))))
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Makes the error at a piece of the text.
    fn error(&self, piece: &str, message: String) -> SchemaError {
        let at = (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        SchemaError { line, column, message, hint: None }
    }
}

/// Logical types of the specification, and what they stand on.
const LOGICAL: [(&str, &str); 12] = [
    ("date", "int"),
    ("time-millis", "int"),
    ("time-micros", "long"),
    ("timestamp-millis", "long"),
    ("timestamp-micros", "long"),
    ("timestamp-nanos", "long"),
    ("local-timestamp-millis", "long"),
    ("local-timestamp-micros", "long"),
    ("local-timestamp-nanos", "long"),
    ("uuid", "string, and of fixed with 16 bytes"),
    ("duration", "fixed with 12 bytes"),
    ("decimal", "bytes and fixed"),
];

impl SchemaError {
    fn hint(mut self, hint: String) -> Self {
        self.hint = Some(hint);
        self
    }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int,
        "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "string" => Node::Text,
        _ => return None,
    })
}

/// What may stand in a union only once; empty for named types, which differ by their names.
fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null => "null",
        Node::Boolean => "boolean",
        Node::Int | Node::Date => "int",
        Node::Long | Node::Timestamp { .. } => "long",
        Node::Float => "float",
        Node::Double => "double",
        Node::Bytes | Node::Decimal { size: None, .. } => "bytes",
        Node::Text => "string",
        Node::Array(_) => "array",
        Node::Map(_) => "map",
        Node::Union(_) => "union",
        _ => "",
    }
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

/// A piece of the schema for a message.
fn shown(raw: &RawValue) -> String {
    /// Longer pieces would hide the message.
    const SHOWN_MAX: usize = 40;
    let text = raw.get();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).replace('\n', " "),
        None => text.replace('\n', " "),
    }
}
