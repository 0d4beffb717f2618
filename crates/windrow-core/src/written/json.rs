//! JSON: an object with a member for every column, and the JSON Schema of it.
//!
//! **Invariant:** the text is written in one order. The object is closed and needs none of its members: registries let such a one gain
//! members, and an open one none, since older rows might have had them with other types.
//!
//! Source: JSON Schema draft-07; Confluent Schema Registry, "JSON Schema Serializer and Deserializer" (compatibility).

use super::{Field, Kind};
use crate::value::{Datum, write_text};

/// Writes the schema. Readers take its title for the name of a type.
pub(super) fn text(name: &str, fields: &[Field]) -> String {
    let members = Members::new(fields.iter().map(|field| &*field.name));
    let mut properties = Vec::new();
    for (name, field) in members.0.iter().zip(fields) {
        properties.extend_from_slice(name);
        properties.extend_from_slice(member(field.kind).as_bytes());
    }
    let properties = String::from_utf8_lossy(&properties);
    format!(
        r#"{{"$schema":"http://json-schema.org/draft-07/schema#","title":"{name}","type":"object","properties":{properties}}},"additionalProperties":false}}"#
    )
}

/// A choice of null and one type is what Confluent's own serializers write for what may be absent.
fn member(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => r#"{"oneOf":[{"type":"null"},{"type":"string"}]}"#,
        Kind::Long | Kind::Timestamp => r#"{"oneOf":[{"type":"null"},{"type":"integer"}]}"#,
        // What reads an integer into 64 bits would cut a longer one short; as a number it is rounded.
        Kind::Double | Kind::Number | Kind::Decimal => r#"{"oneOf":[{"type":"null"},{"type":"number"}]}"#,
        Kind::Boolean => r#"{"oneOf":[{"type":"null"},{"type":"boolean"}]}"#,
        Kind::Bytes => r#"{"oneOf":[{"type":"null"},{"type":"string","contentEncoding":"base64"}]}"#,
        Kind::Any => "{}",
    }
}

/// The names of an object's members, ready to write: `{"a":`, then `,"b":` and so on.
#[derive(Debug, Clone)]
pub(crate) struct Members(Vec<Vec<u8>>);

impl Members {
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let name = |(at, name): (usize, &str)| {
            let mut text = vec![if at == 0 { b'{' } else { b',' }];
            write_text(name, &mut text);
            text.push(b':');
            text
        };
        Self(names.enumerate().map(name).collect())
    }

    /// Appends an object of these values, in order.
    pub(crate) fn write<'a>(&self, row: impl Iterator<Item = Datum<'a>>, out: &mut Vec<u8>) {
        self.write_open(row, out);
        out.push(b'}');
    }

    /// The same without its closing brace: more may follow.
    pub(crate) fn write_open<'a>(&self, row: impl Iterator<Item = Datum<'a>>, out: &mut Vec<u8>) {
        for (name, value) in self.0.iter().zip(row) {
            out.extend_from_slice(name);
            value.write_json(out);
        }
    }
}
