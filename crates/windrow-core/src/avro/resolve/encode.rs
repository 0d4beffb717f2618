//! Encode: the JSON of a field's default becomes the bytes that a writer would have written.
//!
//! **In** a schema, a node of it, JSON. **Out** bytes, or what does not fit.
//! **Invariant:** what is written here is read back by `project` as any other value is; nothing else knows of defaults.
//! **Not here:** rows, which have other JSON than the specification gives defaults.
//!
//! Source: Apache Avro 1.12, "Complex Types": the table of defaults.

use serde_json::{Map, Value};

use super::super::{Field, Node, Schema, project::deeper};
use crate::scan::DEPTH_MAX;

/// Encodes a default.
pub(super) fn default(schema: &Schema, node: usize, json: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    Encoder { schema, out: &mut out }.text(node, json, 0)?;
    Ok(out)
}

struct Encoder<'s, 'o> {
    schema: &'s Schema,
    out: &'o mut Vec<u8>,
}

impl Encoder<'_, '_> {
    fn text(&mut self, node: usize, json: &str, depth: usize) -> Result<(), String> {
        let json: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        self.value(node, &json, depth)
    }

    fn value(&mut self, node: usize, json: &Value, depth: usize) -> Result<(), String> {
        // Defaults of a type that holds itself may have no end.
        let depth = deeper(depth).map_err(|_| format!("it nests deeper than {DEPTH_MAX} levels"))?;
        let schema = self.schema;
        match (&schema.nodes[node], json) {
            (Node::Array(items), Value::Array(values)) => {
                self.count(values.len());
                values.iter().try_for_each(|value| self.value(*items, value, depth))?;
                self.out.push(0);
            }
            (Node::Map(values), Value::Object(members)) => {
                self.count(members.len());
                for (name, value) in members {
                    bytes(name.as_bytes(), self.out);
                    self.value(*values, value, depth)?;
                }
                self.out.push(0);
            }
            (Node::Record(fields), Value::Object(members)) => self.record(fields, members, depth)?,
            (Node::Union(branches), value) => self.union(branches, value, depth)?,
            (scalar, value) => encode(scalar, value, self.out)?,
        }
        Ok(())
    }

    /// The end of an array or a map is a block of none.
    fn count(&mut self, items: usize) {
        if items > 0 {
            long(items as i64, self.out);
        }
    }

    /// A member that is missing has its own default.
    fn record(&mut self, fields: &[Field], members: &Map<String, Value>, depth: usize) -> Result<(), String> {
        for field in fields {
            match (members.get(&*field.name), &field.default) {
                (Some(value), _) => self.value(field.node, value, depth)?,
                (None, Some(json)) => self.text(field.node, json, depth)?,
                (None, None) => return Err(format!("`{}` is missing", field.name)),
            }
        }
        Ok(())
    }

    /// The first branch is meant, by the letter; in the field it may be any.
    fn union(&mut self, branches: &[usize], json: &Value, depth: usize) -> Result<(), String> {
        let start = self.out.len();
        for (at, branch) in branches.iter().enumerate() {
            long(at as i64, self.out);
            if self.value(*branch, json, depth).is_ok() {
                return Ok(());
            }
            self.out.truncate(start);
        }
        Err(format!("{json} is of no branch"))
    }
}

fn encode(scalar: &Node, json: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match (scalar, json) {
        (Node::Null, Value::Null) => {}
        (Node::Boolean, Value::Bool(value)) => out.push((*value).into()),
        (Node::Int | Node::Date, Value::Number(_)) => {
            let whole = json.as_i64().filter(|whole| i32::try_from(*whole).is_ok());
            long(whole.ok_or_else(|| format!("{json} is no int"))?, out);
        }
        (Node::Long | Node::Timestamp { .. }, Value::Number(_)) => {
            long(json.as_i64().ok_or_else(|| format!("{json} is no long"))?, out);
        }
        (Node::Float, Value::Number(_)) => {
            out.extend((json.as_f64().unwrap_or(f64::NAN) as f32).to_le_bytes());
        }
        (Node::Double, Value::Number(_)) => out.extend(json.as_f64().unwrap_or(f64::NAN).to_le_bytes()),
        (Node::Text, Value::String(text)) => bytes(text.as_bytes(), out),
        (Node::Bytes | Node::Decimal { size: None, .. }, Value::String(text)) => {
            bytes(&latin(text)?, out);
        }
        (Node::Fixed(_) | Node::Uuid | Node::Decimal { .. }, Value::String(text)) => {
            let (raw, size) = (latin(text)?, fixed(scalar));
            if raw.len() != size {
                return Err(format!("{} bytes are no fixed of {size}", raw.len()));
            }
            out.extend(raw);
        }
        (Node::Enum(symbols), Value::String(text)) => {
            let at = symbols.all.iter().position(|symbol| **symbol == **text);
            long(at.ok_or_else(|| format!("there is no symbol {text}"))? as i64, out);
        }
        _ => return Err(format!("{json} is of another type")),
    }
    Ok(())
}

fn fixed(node: &Node) -> usize {
    match node {
        Node::Fixed(size) | Node::Decimal { size: Some(size), .. } => *size,
        _ => 16,
    }
}

/// Bytes stand in JSON as the characters up to U+00FF.
fn latin(text: &str) -> Result<Vec<u8>, String> {
    let byte = |c: char| u8::try_from(u32::from(c)).map_err(|_| format!("`{c}` is no byte"));
    text.chars().map(byte).collect()
}

pub(crate) fn bytes(raw: &[u8], out: &mut Vec<u8>) {
    long(raw.len() as i64, out);
    out.extend_from_slice(raw);
}

pub(crate) fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
