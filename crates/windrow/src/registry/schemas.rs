//! Schemas: what a registry has under an id, with all that it refers to.
//!
//! **In** an id. **Out** an [`Answer`], its references each after what they need themselves.
//! **Invariant:** each reference is fetched once, and they are bounded in number and depth.
//! **Not here:** HTTP (`http`).

use std::{collections::BTreeSet, fmt::Write};

use serde::Deserialize;
use windrow_core::registry::{Answer, Reference, SchemaKind};

use super::http::Http;

/// References of one schema, those of references included.
const REFERENCES_MAX: usize = 256;
/// References of references.
const DEPTH_MAX: usize = 32;

#[derive(Deserialize)]
struct Body {
    schema: String,
    /// Avro is not named.
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Option<Vec<Referred>>,
}

#[derive(Deserialize)]
struct Referred {
    name: String,
    subject: String,
    version: i64,
}

/// Fetches one schema; `None` when there is none under that id.
///
/// - **Errors:** why there is no answer; it may come later.
pub(super) fn by_id(http: &Http, id: u32) -> Result<Option<Answer>, String> {
    let Some(body) = http.get(&format!("/schemas/ids/{id}"))? else { return Ok(None) };
    let body = read(&body)?;
    let kind = match body.kind.as_deref() {
        None | Some("AVRO") => SchemaKind::Avro,
        Some("JSON") => SchemaKind::Json,
        Some("PROTOBUF") => SchemaKind::Protobuf,
        Some(other) => return Err(format!("schema {id} is of an unknown kind {other}")),
    };
    let mut collected = Collected { http, seen: BTreeSet::new(), references: Vec::new() };
    collected.all(body.references.unwrap_or_default(), 0)?;
    Ok(Some(Answer { kind, text: body.schema, references: collected.references }))
}

fn read(body: &[u8]) -> Result<Body, String> {
    serde_json::from_slice(body).map_err(|error| format!("it does not answer as a registry does: {error}"))
}

struct Collected<'h> {
    http: &'h Http,
    seen: BTreeSet<(String, i64)>,
    references: Vec<Reference>,
}

impl Collected<'_> {
    fn all(&mut self, referred: Vec<Referred>, depth: usize) -> Result<(), String> {
        for Referred { name, subject, version } in referred {
            if !self.seen.insert((subject.clone(), version)) {
                continue;
            }
            if self.seen.len() > REFERENCES_MAX || depth >= DEPTH_MAX {
                return Err(format!(
                    "a schema must have at most {REFERENCES_MAX} references, and {DEPTH_MAX} inside of each other"
                ));
            }
            // Subjects that are deleted softly still have their schemas.
            let path = format!("/subjects/{}/versions/{version}?deleted=true", escaped(&subject));
            let body = self.http.get(&path)?.ok_or_else(|| {
                format!("it refers to version {version} of subject {subject}, which is not there")
            })?;
            let body = read(&body)?;
            self.all(body.references.unwrap_or_default(), depth + 1)?;
            self.references.push(Reference { name, text: body.schema });
        }
        Ok(())
    }
}

/// Subjects hold whatever topics and records are called.
pub(super) fn escaped(subject: &str) -> String {
    subject.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
