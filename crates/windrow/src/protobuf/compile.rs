//! Compile: texts with imports, or a descriptor set, become descriptors.
//!
//! **In** a file's path, or texts by the names they are imported under. **Out** a [`Compiled`] file, or one [`Mistake`].
//! **Invariant:** imports are looked for below one folder, by the path they say; what comes with every compiler
//! (`google/protobuf/…`) needs no file.
//! **Not here:** messages (`convert`).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use miette::Diagnostic;
use prost_reflect::{
    DescriptorPool, MessageDescriptor,
    prost::Message as _,
    prost_types::{FileDescriptorProto, FileDescriptorSet},
};
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};
use windrow_core::{protobuf, protobuf::Schema, suggest::closest};

use super::{builtin, convert};

/// Longest file: the widest schemas in the field stay far below.
const FILE_MAX_BYTES: usize = 1 << 20;

/// All files of one schema together, and longest descriptor set.
const FILES_MAX_BYTES: usize = 16 << 20;

/// Braces in braces: more than anybody writes, few enough for a parser that goes down with them.
const NESTING_MAX: usize = 64;

/// Most messages that a hint lists.
const SHOWN_MAX: usize = 8;

/// What is wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file that holds it, as it was imported; `None` when it is about no place of a file.
    pub(crate) place: Option<(String, usize, usize)>,
    /// What is wrong.
    pub(crate) message: String,
    /// A way out.
    pub(crate) hint: Option<String>,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self { place: None, message: message.into(), hint: hint.map(str::to_owned) }
    }
}

/// A file and all that it imports.
#[derive(Debug)]
pub(crate) struct Compiled {
    pool: DescriptorPool,
    /// Files whose messages need no name when there is one alone.
    files: Vec<String>,
}

impl Compiled {
    /// Reads a `.proto` file, or a descriptor set by its ending.
    pub(crate) fn open(path: &Path) -> Result<Self, Mistake> {
        let is_set = path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| ["desc", "pb", "binpb", "bin", "protoset"].contains(&e));
        if is_set {
            let bytes = bounded(path, FILES_MAX_BYTES).map_err(|e| unread(path, &e))?;
            return Self::decode(&bytes);
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Mistake::new("it is no name of a file", None));
        };
        // Told apart from an import that is not there.
        bounded(path, FILE_MAX_BYTES).map_err(|e| unread(path, &e))?;
        Self::compile(name, Texts::Below(folder))
    }

    /// Compiles texts by the names they import each other under.
    pub(crate) fn in_memory(name: &str, texts: HashMap<String, String>) -> Result<Self, Mistake> {
        Self::compile(name, Texts::Known(texts))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Mistake> {
        let hint = "make one with: protoc --include_imports --descriptor_set_out=name.desc name.proto";
        let set = FileDescriptorSet::decode(bytes).unwrap_or_default();
        if let Some(why) = set.file.iter().find_map(foreign) {
            return Err(Mistake::new(why, None));
        }
        let pool = DescriptorPool::decode(bytes)
            .map_err(|error| Mistake::new(format!("not a descriptor set: {error}"), Some(hint)))?;
        let imported: Vec<String> = pool
            .files()
            .flat_map(|f| f.dependencies().map(|d| d.name().to_owned()).collect::<Vec<_>>())
            .collect();
        let files =
            pool.files().map(|f| f.name().to_owned()).filter(|name| !imported.contains(name)).collect();
        Ok(Self { pool, files })
    }

    fn compile(name: &str, texts: Texts) -> Result<Self, Mistake> {
        let read = Rc::new(RefCell::new(HashMap::new()));
        let mut resolvers = ChainFileResolver::new();
        resolvers.add(Imports { texts, read: read.clone(), left: Cell::new(FILES_MAX_BYTES) });
        resolvers.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolvers);
        compiler.open_file(name).map_err(|error| mistake(&error, name, &read.borrow()))?;
        Ok(Self { pool: compiler.descriptor_pool(), files: vec![name.to_owned()] })
    }

    /// Takes the message of that name out, or the only one.
    ///
    /// - **Errors:** no such message, or several and no name.
    pub(crate) fn schema(&self, message: Option<&str>) -> Result<Schema, Mistake> {
        let message = match message {
            Some(name) => self.pool.get_message_by_name(name).ok_or_else(|| self.unknown(name))?,
            None => self.only()?,
        };
        convert::schema(&message).map_err(|unfit| Mistake::new(unfit.to_string(), None))
    }

    fn top(&self) -> Vec<MessageDescriptor> {
        let files = self.files.iter().filter_map(|name| self.pool.get_file_by_name(name));
        files.flat_map(|file| file.messages().collect::<Vec<_>>()).collect()
    }

    /// Takes all messages of the file.
    pub(crate) fn file(&self) -> Result<protobuf::File, Mistake> {
        let file = self.files.first().and_then(|name| self.pool.get_file_by_name(name));
        let file = file.filter(|file| file.messages().len() > 0);
        let file = file.ok_or_else(|| Mistake::new("the schema has no message", None))?;
        convert::file(&file).map_err(|unfit| Mistake::new(unfit.to_string(), None))
    }

    #[cfg(test)]
    pub(crate) fn descriptor(&self) -> Vec<u8> {
        self.pool.get_file_by_name(&self.files[0]).unwrap().encode_to_vec()
    }

    /// Returns the name of the first message, for hints.
    pub(crate) fn first(&self) -> Option<String> {
        self.top().first().map(|message| message.full_name().to_owned())
    }

    fn only(&self) -> Result<MessageDescriptor, Mistake> {
        match self.top().as_slice() {
            [] => Err(Mistake::new("the schema has no message", None)),
            [only] => Ok(only.clone()),
            top => {
                let shown: Vec<_> = top.iter().take(SHOWN_MAX).map(|m| m.full_name()).collect();
                let (several, rest) = (top.len(), if top.len() > SHOWN_MAX { ", …" } else { "" });
                let message = format!("the schema has {several} messages: {}{rest}", shown.join(", "));
                Err(Mistake::new(message, Some("name the one that is meant")))
            }
        }
    }

    fn unknown(&self, name: &str) -> Mistake {
        let all: Vec<MessageDescriptor> = self.pool.all_messages().filter(|m| !m.is_map_entry()).collect();
        let own = || all.iter().map(|m| m.full_name()).filter(|name| !name.starts_with("google.protobuf."));
        let ending = format!(".{name}");
        let close = own().find(|full| full.ends_with(&ending)).or_else(|| closest(name, own()));
        let hint = match close {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("its messages are {}", own().take(SHOWN_MAX).collect::<Vec<_>>().join(", ")),
        };
        Mistake::new(format!("the schema has no message `{name}`"), Some(&hint))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line, column)) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Where imports come from.
enum Texts {
    Below(PathBuf),
    Known(HashMap<String, String>),
}

/// Finds imports, and keeps their texts for the places of mistakes.
struct Imports {
    texts: Texts,
    read: Rc<RefCell<HashMap<String, String>>>,
    /// Bytes that may still be read.
    left: Cell<usize>,
}

impl Imports {
    fn text(&self, name: &str) -> io::Result<String> {
        let found = match &self.texts {
            Texts::Known(texts) => texts.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
            Texts::Below(folder) => bounded(&folder.join(name), FILE_MAX_BYTES)
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))),
        };
        match (found, builtin::text(name)) {
            (Err(error), Some(text)) if error.kind() == io::ErrorKind::NotFound => Ok(text.to_owned()),
            (found, _) => found,
        }
    }
}

impl FileResolver for Imports {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let is_inside =
            !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_inside {
            return Err(Error::file_not_found(name));
        }
        let text = self.text(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::file_not_found(name),
            _ => Error::new(Told(format!("{name} cannot be read: {error}"))),
        })?;
        let Some(left) = self.left.get().checked_sub(text.len()) else {
            let message = format!("the files of a schema must be at most {FILES_MAX_BYTES} bytes together");
            return Err(Error::new(Told(message)));
        };
        self.left.set(left);
        if let Some(descriptor) = encoded(name, &text) {
            return match foreign(&descriptor) {
                Some(why) => Err(Error::new(Told(why))),
                None => Ok(File::from_file_descriptor_proto(descriptor)),
            };
        }
        if nesting(&text) > NESTING_MAX {
            let message = format!("{name} nests deeper than {NESTING_MAX} braces");
            return Err(Error::new(Told(message)));
        }
        self.read.borrow_mut().insert(name.to_owned(), text.clone());
        File::from_source(name, &text)
    }
}

/// A mistake of our own on its way through the compiler.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// Some clients register a file's descriptor in base64 instead of its text, and registries may give it back so.
fn encoded(name: &str, text: &str) -> Option<FileDescriptorProto> {
    // No text of the language is of these letters alone.
    let bytes = BASE64_STANDARD.decode(text.trim()).ok().filter(|bytes| !bytes.is_empty())?;
    let mut descriptor = FileDescriptorProto::decode(bytes.as_slice()).ok()?;
    descriptor.name = Some(name.to_owned());
    Some(descriptor)
}

/// Tells what a descriptor is of that is not read. The compiler refuses such a text, but goes down with its descriptor.
fn foreign(file: &FileDescriptorProto) -> Option<String> {
    match file.syntax.as_deref() {
        None | Some("proto2" | "proto3") => None,
        Some(other) => Some(format!("{} is of `{other}`, and only proto2 and proto3 are read", file.name())),
    }
}

/// Tells how deep the brackets of a text go at most; those in comments and texts count, too.
fn nesting(text: &str) -> usize {
    let mut deepest = 0_usize;
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'<' | b'(' => depth += 1,
            b'}' | b']' | b'>' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn bounded(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let is = std::fs::metadata(path)?.len();
    if is > most as u64 {
        return Err(io::Error::other(format!("it must be at most {most} bytes, not {is}")));
    }
    std::fs::read(path)
}

fn unread(path: &Path, error: &io::Error) -> Mistake {
    let hint = "names of files begin at the folder of the configuration";
    let name = path.file_name().unwrap_or_default().display();
    Mistake::new(format!("the schema {name} cannot be read: {error}"), Some(hint))
}

/// Gives a mistake of the compiler its place.
fn mistake(error: &Error, name: &str, texts: &HashMap<String, String>) -> Mistake {
    let file = error.file().unwrap_or(name).to_owned();
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let place = texts.get(&file).and_then(|text| {
        let before = text.get(..offset?)?;
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Some((file.clone(), before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    });
    let place = place.or_else(|| texts.contains_key(&file).then_some((file, 1, 1)));
    let message = error.to_string().replace('\'', "`");
    let hint =
        error.help().map(|help| help.to_string().replace('\'', "`")).or_else(|| way_out(error, &message));
    Mistake { place, message, hint }
}

fn way_out(error: &Error, message: &str) -> Option<String> {
    /// Names that any field may have as its type.
    const SCALARS: [&str; 15] = [
        "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
        "sfixed32", "sfixed64", "bool", "string", "bytes",
    ];
    if error.is_file_not_found() {
        return Some("imports begin at the folder of the schema".to_owned());
    }
    if message.ends_with("but found `edition`") {
        return Some("editions are not read; write syntax = \"proto3\"".to_owned());
    }
    let unknown = message.strip_prefix("name `")?.strip_suffix("` is not defined")?;
    match closest(unknown, SCALARS) {
        Some(close) => Some(format!("did you mean `{close}`?")),
        None => Some("is an import missing?".to_owned()),
    }
}
