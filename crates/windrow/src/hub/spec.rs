//! Channel specs: what the hub is asked to serve, made once from plans.
//!
//! **In** stream plans. **Out** one [`ChannelSpec`] per stream, view and local channel.
//! **Invariant:** names are unique; `key_names` name members that every row of the channel has.
//! **Not here:** who may see a channel (`dialect`), how records become rows (`rows`).

use std::sync::Arc;

use windrow_core::{
    plan::{Shape, StreamPlan},
    position::stable_hash,
    spec::{Format, KEY_PREFIX, StreamSpec},
    value::ColumnType,
};

/// What a channel is called in `GET /api/channels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// A topic decoded into rows.
    Stream,
    /// A SQL query's rows.
    View,
}

impl ChannelKind {
    /// Returns the name in answers.
    pub fn name(self) -> &'static str {
        match self {
            ChannelKind::Stream => "stream",
            ChannelKind::View => "view",
        }
    }
}

/// Where a channel's rows come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The compacted channel topic that the engine writes; read always.
    View {
        /// `<app>.<view>`.
        topic: Arc<str>,
    },
    /// The user's own topic; read from the first subscriber on.
    Stream {
        /// How its records are read.
        spec: Arc<StreamSpec>,
    },
    /// `SELECT … WHERE …` over the user's topic, evaluated here; read from the first subscriber on.
    Select {
        /// The stream's plan.
        plan: Arc<StreamPlan>,
        /// Which of its views.
        view: usize,
    },
    /// Fed in this process through [`super::Hub::local`].
    Local,
}

/// One channel to serve.
#[derive(Debug, Clone)]
pub struct ChannelSpec {
    /// Name that clients subscribe to.
    pub name: Arc<str>,
    /// Stream or view.
    pub kind: ChannelKind,
    /// Where rows come from.
    pub source: Source,
    /// What decides the meaning of the rows: positions of another fingerprint are not taken up.
    pub fingerprint: u64,
    /// Columns that filters may name, in order; `None` = any type.
    pub columns: Vec<(Arc<str>, Option<ColumnType>)>,
    /// Columns that name a row.
    pub key_names: Vec<Arc<str>>,
    /// Whether rows carry `window_start` and `window_end`.
    pub windowed: bool,
    /// What happens to a client of a stream that falls too far behind: rows are dropped and counted, or it is disconnected.
    pub may_drop: bool,
}

/// What clients are told about a channel.
#[derive(Debug, Clone)]
pub struct ChannelInfo {
    /// Name.
    pub name: Arc<str>,
    /// Stream or view.
    pub kind: ChannelKind,
    /// Columns with their types; `None` = any.
    pub columns: Vec<(Arc<str>, Option<ColumnType>)>,
    /// Columns that name a row.
    pub key: Vec<Arc<str>>,
    /// Whether positions fit their bound, so that clients may resume.
    pub resumable: bool,
}

/// The columns that every stream row has, before the members of its value.
pub const STREAM_COLUMNS: [(&str, ColumnType); 5] = [
    ("_topic", ColumnType::Text),
    ("_partition", ColumnType::Bigint),
    ("_offset", ColumnType::Bigint),
    ("_timestamp", ColumnType::Timestamp),
    ("_key", ColumnType::Text),
];

/// The names that identify a record, and so a row of a plain stream.
pub const STREAM_KEY: [&str; 3] = ["_topic", "_partition", "_offset"];

impl ChannelSpec {
    /// Makes the channels of all streams and views, and the local ones `_stats` and `_clients`.
    pub fn all(app: &str, plans: &[Arc<StreamPlan>]) -> Vec<ChannelSpec> {
        let mut all = Vec::new();
        for plan in plans {
            all.push(Self::stream(plan));
            all.extend((0..plan.views.len()).map(|view| Self::view(app, plan, view)));
        }
        all.push(Self::local("_clients", &["listener"], &[("connected", ColumnType::Bigint)]));
        all.push(Self::local(
            "_stats",
            &["node", "kind", "name", "partition"],
            &[("at_ms", ColumnType::Timestamp)],
        ));
        all
    }

    /// Makes the channel of a stream.
    pub fn stream(plan: &StreamPlan) -> Self {
        let spec = &plan.spec;
        let mut columns: Vec<(Arc<str>, Option<ColumnType>)> =
            STREAM_COLUMNS.iter().map(|(n, t)| ((*n).into(), Some(*t))).collect();
        let of_schema = spec.format.columns();
        let has_members = spec.format.is_open() || spec.format == Format::Csv || !of_schema.is_empty();
        if !has_members {
            columns.push(("_value".into(), spec.format.whole()));
        }
        if spec.key_format.has_schema() {
            columns.retain(|(name, _)| **name != *"_key");
            columns.push(("_key".into(), spec.key_format.whole()));
            let inside = spec.key_format.columns().into_iter();
            columns.extend(inside.map(|c| (format!("{KEY_PREFIX}{}", c.name).into(), c.ty)));
        }
        let declared = spec.columns.iter().map(|(n, t)| (n.clone(), Some(*t)));
        let of_schema = of_schema.into_iter().map(|c| (c.name, c.ty));
        let planned = plan.columns.iter().map(|c| (c.name.clone(), c.ty));
        let latest = spec.latest_by.iter().map(|n| (n.clone(), None));
        // A key of JSON is text in rows, and `_value` is not in rows of members: their columns are for queries alone.
        let in_rows = |name: &str| match name {
            "_headers" => false,
            "_value" => !has_members || spec.format.is_open(),
            name => !name.starts_with(KEY_PREFIX) || !spec.key_format.is_json(),
        };
        for column in declared.chain(of_schema).chain(planned).chain(latest) {
            if in_rows(&column.0) && columns.iter().all(|(n, _)| *n != column.0) {
                columns.push(column);
            }
        }
        // In rows bytes are text, in base64; tagged ones are objects.
        let tagged = spec.format.tags_bytes();
        let of_bytes = if tagged { ColumnType::Json } else { ColumnType::Text };
        for (_, ty) in columns.iter_mut().filter(|(_, ty)| *ty == Some(ColumnType::Bytes)) {
            *ty = Some(of_bytes);
        }
        let key_names = match spec.latest_by.as_slice() {
            [] => STREAM_KEY.iter().map(|n| (*n).into()).collect(),
            names => names.to_vec(),
        };
        Self {
            name: spec.name.clone(),
            kind: ChannelKind::Stream,
            source: Source::Stream { spec: spec.clone() },
            fingerprint: stable_hash(
                spec.latest_by.iter().chain(&spec.row_filter).map(|part| part.as_bytes()),
            ),
            columns,
            key_names,
            windowed: false,
            may_drop: false,
        }
    }

    /// Makes the channel of a view: its own topic, or for a view without state the stream's.
    pub fn view(app: &str, plan: &Arc<StreamPlan>, view: usize) -> Self {
        let of = &plan.views[view];
        let mut columns: Vec<_> = of.outputs.iter().map(|o| (o.name.clone(), o.ty)).collect();
        let mut add = |name: &str, ty| {
            if columns.iter().all(|(n, _)| n.as_ref() != name) {
                columns.push((name.into(), Some(ty)));
            }
        };
        let source = if of.shape == Shape::Stateless {
            STREAM_COLUMNS.iter().take(3).for_each(|(n, t)| add(n, *t));
            Source::Select { plan: plan.clone(), view }
        } else {
            if of.is_windowed() {
                add("window_start", ColumnType::Timestamp);
                add("window_end", ColumnType::Timestamp);
            }
            add("final", ColumnType::Boolean);
            add("seq", ColumnType::Bigint);
            Source::View { topic: format!("{app}.{}", of.spec.name).into() }
        };
        Self {
            name: of.spec.name.clone(),
            kind: ChannelKind::View,
            source,
            fingerprint: of.fingerprint,
            columns,
            key_names: of.key_names.clone(),
            windowed: of.is_windowed(),
            may_drop: false,
        }
    }

    /// Makes a channel that this process feeds by itself; `columns` are those beside the key.
    pub fn local(name: &str, key_names: &[&str], columns: &[(&str, ColumnType)]) -> Self {
        let key_names: Vec<Arc<str>> = key_names.iter().map(|n| (*n).into()).collect();
        let keys = key_names.iter().map(|n| (n.clone(), None));
        Self {
            name: name.into(),
            kind: ChannelKind::View,
            source: Source::Local,
            fingerprint: 0,
            columns: keys.chain(columns.iter().map(|(n, t)| ((*n).into(), Some(*t)))).collect(),
            key_names,
            windowed: false,
            may_drop: false,
        }
    }
}
