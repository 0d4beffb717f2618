//! Specs: what the user asked for, free of files and TOML. The configuration makes these; the planner reads them.
//!
//! **Invariant:** every duration is in milliseconds, every size in bytes, every name already validated
//! (`[a-z][a-z0-9_]*`). **Not here:** SQL (`sql`), what the planner made of it (`plan`).

use std::sync::{Arc, OnceLock};

use crate::{
    avro, protobuf,
    registry::{Pupil, SchemaKind},
    topics::Topics,
    value::ColumnType,
};

/// How the bytes of a key or value become columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The whole value is one text column, `_value`.
    Text,
    /// The whole value is one column of bytes, `_value`.
    Bytes,
    /// The value is a JSON object; its members are the columns.
    Json,
    /// The value is one record of CSV; its fields are the declared columns, in their order.
    Csv,
    /// The value is one bare datum of this schema; its fields are the columns.
    Avro(Arc<avro::Schema>),
    /// The value is a frame with a schema's id, then one datum of that schema.
    AvroRegistry(Arc<avro::Registered>),
    /// The value is a frame with a schema's id, then a JSON object. It says what it holds by itself.
    JsonRegistry,
    /// The value is one message of this schema, its bare bytes; its fields are the columns.
    Protobuf(Arc<protobuf::Schema>),
    /// The value is a frame with a schema's id and the place of a message in it, then that message.
    ProtobufRegistry(Arc<protobuf::Registered>),
}

/// A column that a schema gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaColumn {
    /// Its path.
    pub name: Arc<str>,
    /// Its type; `None` when it may be of several.
    pub ty: Option<ColumnType>,
}

impl Format {
    /// Returns the name in a configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Bytes => "bytes",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Avro(_) => "avro",
            Format::AvroRegistry(_) => "avro-registry",
            Format::JsonRegistry => "json-registry",
            Format::Protobuf(_) => "protobuf",
            Format::ProtobufRegistry(_) => "protobuf-registry",
        }
    }

    /// Tells whether a schema says what the columns are, before any record comes.
    pub fn has_schema(&self) -> bool {
        self.avro().is_some() || self.protobuf().is_some()
    }

    /// Returns the columns that the schema gives at its top; empty without one, and for values that are no record.
    pub fn columns(&self) -> Vec<SchemaColumn> {
        let of_avro = self.avro().map(|schema| schema.columns());
        of_avro.or_else(|| self.protobuf().map(|schema| schema.columns())).unwrap_or_default()
    }

    /// Tells what the schema has behind a path: outer `None` when there is no such column, inner when it may be of several types.
    pub fn column(&self, path: &str) -> Option<Option<ColumnType>> {
        match self.avro() {
            Some(schema) => schema.column(path),
            None => self.protobuf()?.column(path).map(Some),
        }
    }

    /// Tells whether bytes are written in rows as objects that say what they are.
    pub fn tags_bytes(&self) -> bool {
        self.avro().is_some_and(|schema| schema.tags_bytes())
    }

    /// Returns the schema of Avro that the columns come from.
    fn avro(&self) -> Option<&avro::Schema> {
        match self {
            Format::Avro(schema) => Some(schema),
            Format::AvroRegistry(registered) => registered.reader().map(|schema| &**schema),
            _ => None,
        }
    }

    /// Returns the schema of Protobuf that the columns come from.
    fn protobuf(&self) -> Option<&protobuf::Schema> {
        match self {
            Format::Protobuf(schema) => Some(schema),
            _ => None,
        }
    }

    /// Tells whether a value is no text of any kind: as a whole it is told as JSON.
    pub fn is_binary(&self) -> bool {
        matches!(
            self,
            Format::Avro(_) | Format::AvroRegistry(_) | Format::Protobuf(_) | Format::ProtobufRegistry(_)
        )
    }

    /// Returns who is to be taught the schemas of ids, where that is needed to read values.
    pub fn pupil(&self) -> Option<&dyn Pupil> {
        match self {
            Format::AvroRegistry(registered) => Some(&**registered),
            Format::ProtobufRegistry(registered) => Some(&**registered),
            _ => None,
        }
    }

    /// Tells whether values are frames of a registry.
    pub fn is_framed(&self) -> bool {
        matches!(self, Format::AvroRegistry(_) | Format::JsonRegistry | Format::ProtobufRegistry(_))
    }

    /// Tells whether values are JSON, framed or not.
    pub fn is_json(&self) -> bool {
        matches!(self, Format::Json | Format::JsonRegistry)
    }

    /// Tells whether any name may be a column: nothing says before the records come which there are.
    pub fn is_open(&self) -> bool {
        match self {
            Format::Json | Format::JsonRegistry | Format::ProtobufRegistry(_) => true,
            Format::AvroRegistry(registered) => registered.reader().is_none(),
            _ => false,
        }
    }

    /// Returns the type of a whole key or value; `None` when it may be of several.
    pub fn whole(&self) -> Option<ColumnType> {
        match self {
            Format::Text | Format::Csv => Some(ColumnType::Text),
            Format::Bytes => Some(ColumnType::Bytes),
            Format::Json | Format::JsonRegistry | Format::Protobuf(_) | Format::ProtobufRegistry(_) => {
                Some(ColumnType::Json)
            }
            Format::Avro(schema) => schema.value_type(),
            Format::AvroRegistry(registered) => registered.reader()?.value_type(),
        }
    }
}

/// What stands before the path of a column of the key: `_key.id`.
pub const KEY_PREFIX: &str = "_key.";

/// Unit of an event-time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the epoch, integer or fractional.
    Seconds,
    /// Milliseconds since the epoch.
    Millis,
    /// Microseconds since the epoch.
    Micros,
    /// Nanoseconds since the epoch.
    Nanos,
    /// RFC 3339 text.
    Rfc3339,
}

/// Where a record's event time comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSpec {
    /// The record's own timestamp.
    Record,
    /// A column of the value.
    Column {
        /// Name of the column.
        column: Arc<str>,
        /// What it counts.
        unit: TimeUnit,
    },
}

/// What happens to a record that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBad {
    /// Count, log, go on.
    Skip,
    /// Count, log, write to `<app>.<stream>.bad`, go on.
    DeadLetter,
    /// Stop the stream.
    Stop,
}

/// One stream: topics decoded into rows.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    /// Name of the stream and of its channel.
    pub name: Arc<str>,
    /// Topics it reads.
    pub topics: Topics,
    /// Format of the value.
    pub format: Format,
    /// Format of the key.
    pub key_format: Format,
    /// Declared columns; empty when the planner infers them.
    pub columns: Vec<(Arc<str>, ColumnType)>,
    /// Event time.
    pub time: TimeSpec,
    /// How far records may be out of order without being late.
    pub lateness_ms: i64,
    /// How far past the wall clock an event time may be before the record is bad.
    pub max_ahead_ms: i64,
    /// Silence after which time flows on by itself; `None` = never.
    pub idle_ms: Option<i64>,
    /// What to do with bad records.
    pub on_bad: OnBad,
    /// Columns without a value of which a record is bad.
    pub required: Vec<Arc<str>>,
    /// Columns that the message key is made of; empty when unknown.
    pub keyed_by: Vec<Arc<str>>,
    /// Columns that make the stream a table; empty for a plain stream.
    pub latest_by: Vec<Arc<str>>,
    /// Rows a plain stream keeps for snapshots.
    pub keep: usize,
    /// Which records are rows of the stream's own channel; `None` = all. Views have conditions of their own.
    pub row_filter: Option<Arc<str>>,
    /// Whether the input is bounded (`until = "end"`): all windows close at its end.
    pub until_end: bool,
}

impl StreamSpec {
    /// Tells whether `_key.…` names columns of the key.
    pub fn key_has_columns(&self) -> bool {
        self.key_format.is_json() || self.key_format.is_binary()
    }

    /// Tells what is behind the name of a column that the schemas give: outer `None` when they give none, inner when it may be of
    /// several types.
    pub fn schema_column(&self, name: &str) -> Option<Option<ColumnType>> {
        match name.strip_prefix(KEY_PREFIX) {
            Some(path) if self.key_format.has_schema() => self.key_format.column(path),
            Some(_) if self.key_has_columns() => Some(None),
            _ => self.format.column(name),
        }
    }
}

/// Which states of a row are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Every change, conflated per commit, and the final.
    Changes,
    /// Finals alone.
    Final,
}

/// What happens to a record that is too late for its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatePolicy {
    /// Count and log.
    Drop,
    /// Count, log and write to `<app>.<view>.late`.
    Topic,
    /// Open the window again and emit a further final.
    Update,
}

/// What happens when a view's state reaches its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Records of unknown keys are counted and left out.
    RefuseNewKeys,
    /// The oldest window is closed early.
    CloseOldest,
    /// The view stops.
    Stop,
}

/// How the values of a view's second output are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicFormat {
    /// A JSON object of the selected columns.
    Json,
    /// The one selected column as it is: text and bytes plain, JSON as it stands; NULL is a null value.
    Text,
    /// That object behind the frame of the id of its [`crate::written::RowSchema`].
    JsonRegistry,
    /// A bare value of such a schema, in Avro.
    Avro,
    /// The same behind the frame of its schema's id.
    AvroRegistry,
    /// A bare message of it, in Protobuf.
    Protobuf,
    /// The same behind the frame of its schema's id.
    ProtobufRegistry,
}

impl TopicFormat {
    /// Every one with its name, in the documented order.
    pub const NAMES: [(&'static str, TopicFormat); 7] = [
        ("json", TopicFormat::Json),
        ("json-registry", TopicFormat::JsonRegistry),
        ("text", TopicFormat::Text),
        ("avro", TopicFormat::Avro),
        ("avro-registry", TopicFormat::AvroRegistry),
        ("protobuf", TopicFormat::Protobuf),
        ("protobuf-registry", TopicFormat::ProtobufRegistry),
    ];

    /// Returns the name used in configurations.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("json", |(name, _)| name)
    }

    /// Returns the language of the schema that values are of.
    pub fn schema(self) -> Option<SchemaKind> {
        match self {
            TopicFormat::Json | TopicFormat::Text => None,
            TopicFormat::JsonRegistry => Some(SchemaKind::Json),
            TopicFormat::Avro | TopicFormat::AvroRegistry => Some(SchemaKind::Avro),
            TopicFormat::Protobuf | TopicFormat::ProtobufRegistry => Some(SchemaKind::Protobuf),
        }
    }

    /// Tells whether a registry must have the schema.
    pub fn is_registered(self) -> bool {
        use TopicFormat::{AvroRegistry, JsonRegistry, ProtobufRegistry};
        matches!(self, JsonRegistry | AvroRegistry | ProtobufRegistry)
    }
}

/// The id that a registry gave the schema of a topic's values: none until it was asked.
#[derive(Debug, Clone, Default)]
pub struct SchemaId(Arc<OnceLock<u32>>);

impl SchemaId {
    /// Returns the id, once there is one.
    pub fn get(&self) -> Option<u32> {
        self.0.get().copied()
    }

    /// Sets the id; the first one stays, since a schema has one for ever.
    pub fn set(&self, id: u32) {
        let _ = self.0.set(id);
    }
}

/// A view's second output, in the user's shape.
#[derive(Debug, Clone)]
pub struct UserTopic {
    /// Topic name.
    pub topic: Arc<str>,
    /// Which states go there.
    pub emit: Emit,
    /// How they are written.
    pub format: TopicFormat,
    /// Of the values' schema, where a registry has it; set before the engine begins.
    pub schema_id: SchemaId,
    /// Columns of the message key: `None` = all group columns as a JSON array, empty = null key.
    pub key: Option<Vec<Arc<str>>>,
    /// Partitions when Windrow creates the topic; `None` = as many as the source has.
    pub partitions: Option<i32>,
    /// Retention when Windrow creates the topic; `None` = unlimited.
    pub retention_ms: Option<u64>,
}

/// One view: SQL and what stands beside it.
#[derive(Debug, Clone)]
pub struct ViewSpec {
    /// Name of the view and of its channel.
    pub name: Arc<str>,
    /// The query.
    pub sql: String,
    /// What the channel gets.
    pub emit: Emit,
    /// How long after its end a window still takes records.
    pub grace_ms: i64,
    /// What happens to later ones.
    pub late: LatePolicy,
    /// How long closed windows stay in the channel, by event time; `None` = for ever.
    pub retain_ms: Option<i64>,
    /// Second output.
    pub topic: Option<UserTopic>,
    /// Bound of the state, per task.
    pub state_max_bytes: usize,
    /// What happens at the bound.
    pub on_full: OnFull,
}
