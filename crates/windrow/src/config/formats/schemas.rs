//! Schema files: what `schema` and `message` name becomes a schema.
//!
//! **In** the keys of one format. **Out** a format with its schema; `None` when there is a mistake, which is noted then.
//! **Invariant:** a mistake in a schema file is told with that file's place; relative names begin at the configuration's folder.
//! **Not here:** what a schema means (`windrow_core::avro`, `windrow_core::protobuf`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use windrow_core::{
    avro::{SCHEMA_MAX_BYTES, Schema},
    spec::Format,
};

use super::Keys;
use crate::{
    config::{ConfigError, reader::Reader},
    protobuf::{Compiled, Mistake},
};

/// Reads the schema of bare Avro.
pub(super) fn bare_avro(stream: &Reader<'_>, keys: &Keys) -> Option<Format> {
    is_told(stream, keys, "avro", "name.avsc");
    let name = stream.text(keys.schema)?;
    avro(stream, keys.schema, &name).map(Format::Avro)
}

/// Reads a file of Avro.
pub(super) fn avro(stream: &Reader<'_>, key: &str, name: &str) -> Option<Arc<Schema>> {
    let (path, told) = (path(stream, name), stream.shown(key));
    let text = match std::fs::metadata(&path) {
        Ok(found) if found.len() > SCHEMA_MAX_BYTES as u64 => {
            let (most, is) = (SCHEMA_MAX_BYTES, found.len());
            stream.wrong(key, format!("a schema must be at most {most} bytes, not {is}: {told}"), None);
            return None;
        }
        _ => std::fs::read_to_string(&path),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let hint = "names of files begin at the folder of the configuration".to_owned();
            stream.wrong(key, format!("the schema {told} cannot be read: {error}"), Some(hint));
            return None;
        }
    };
    match Schema::parse(&text) {
        Ok(schema) => Some(Arc::new(schema)),
        Err(error) => {
            let file = path.display().to_string().into();
            let (line, column, message, hint) = (error.line, error.column, error.message, error.hint);
            stream.source.elsewhere(stream.offset(key), ConfigError { file, line, column, message, hint });
            None
        }
    }
}

/// Reads the schema of bare Protobuf, and which of its messages values are.
pub(super) fn protobuf(stream: &Reader<'_>, keys: &Keys) -> Option<Format> {
    let message = stream.text(keys.message);
    is_told(stream, keys, "protobuf", "name.proto");
    let path = path(stream, &stream.text(keys.schema)?);
    let compiled = Compiled::open(&path).map_err(|mistake| tell(stream, keys.schema, &path, mistake)).ok()?;
    let key = if message.is_some() { keys.message } else { keys.schema };
    let schema = compiled.schema(message.as_deref()).map_err(|mut mistake| {
        if let (None, Some(first)) = (&message, compiled.first()) {
            mistake.hint = Some(format!("write {} = \"{first}\"", keys.message));
        }
        tell(stream, key, &path, mistake);
    });
    Some(Format::Protobuf(Arc::new(schema.ok()?)))
}

/// Notes a mistake at its place in a file, or else at the key.
fn tell(stream: &Reader<'_>, key: &str, path: &Path, mistake: Mistake) {
    let Mistake { place, message, hint } = mistake;
    match place {
        Some((name, line, column)) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let file = folder.join(name).display().to_string().into();
            stream.source.elsewhere(stream.offset(key), ConfigError { file, line, column, message, hint });
        }
        None => stream.wrong(key, message, hint),
    }
}

fn is_told(stream: &Reader<'_>, keys: &Keys, format: &str, example: &str) {
    if !stream.has(keys.schema) {
        let (format_key, schema_key) = (keys.format, keys.schema);
        let hint = format!("write {schema_key} = \"{example}\"");
        stream.wrong(format_key, format!("`{format_key}` = \"{format}\" needs `{schema_key}`"), Some(hint));
    }
}

fn path(stream: &Reader<'_>, name: &str) -> PathBuf {
    Path::new(&*stream.source.name).parent().unwrap_or(Path::new("")).join(name)
}
