//! Loading: TOML text becomes a [`Config`], or every mistake at once.
//!
//! **In** a file and variables. **Out** a valid [`Config`].
//! **Before** this file: the command line (named the file). **After** it: the planner (SQL), the pipeline (everything else).
//!
//! text → `toml` → one `reader` per table → checks over the whole file → [`Config`]

use std::{collections::BTreeMap, path::Path};

use toml::de::DeTable;

use super::{
    Config, ConfigError, ListenerConfig, StreamConfig, Variables, ViewConfig, console,
    error::Source,
    limits, listeners,
    log::{self, Kind},
    names::{check_app, check_name},
    originals,
    reader::{Reader, join},
    registry, streams, views,
};
use windrow_core::suggest::closest;

/// Largest file: a thousand views with a screen of SQL each.
const FILE_MAX_BYTES: u64 = 4 << 20;

const DEFAULT_APP: &str = "windrow";

/// Channels that every process has.
const LOCAL_CHANNELS: [&str; 2] = ["_clients", "_stats"];

/// Reads a configuration file.
///
/// - **Errors:** all mistakes, in the order of the file.
/// - **Limits:** 4 MiB.
pub fn load(path: &Path, variables: &Variables) -> Result<Config, Vec<ConfigError>> {
    let name = path.display().to_string();
    let whole = |message: String| vec![ConfigError::whole(&name, message)];
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let hint =
                "name another with --config, let `windrow init TOPIC` write one, or try `windrow demo`";
            vec![ConfigError::whole(&name, "this file does not exist").with_hint(hint)]
        }
        _ => whole(format!("cannot be read: {e}")),
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_MAX_BYTES {
        return Err(whole(format!("a configuration must be at most {FILE_MAX_BYTES} bytes, not {bytes}")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, &name, variables)
}

/// Reads a configuration from text; `name` stands for the file in messages.
///
/// - **Errors:** all mistakes, in the order of the text.
pub fn parse(text: &str, name: &str, variables: &Variables) -> Result<Config, Vec<ConfigError>> {
    let source = Source::new(name, text, variables);
    let (root, mistakes) = DeTable::parse_recoverable(text);
    let readable = note_mistakes(&source, &mistakes);
    let config = if readable { Some(resolve(&source, root.get_ref())) } else { None };
    let errors = source.into_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors),
    }
}

/// Notes what the TOML parser found; tells whether the rest can be trusted.
fn note_mistakes(source: &Source<'_>, mistakes: &[toml::de::Error]) -> bool {
    let mut readable = true;
    let mut table_twice = None;
    for mistake in mistakes {
        let span = mistake.span().unwrap_or(0..0);
        if !mistake.message().starts_with("duplicate key") {
            readable = false;
            source.wrong(span.start, mistake.message(), None);
            continue;
        }
        let (text, start) = (source.text, span.start);
        // Below a table that stands there twice every key does so too; one message is enough.
        let repeated = |from: usize| !text.get(from..start).unwrap_or_default().contains("\n[");
        if table_twice.is_some_and(repeated) {
            continue;
        }
        let line_start = text.get(..start).unwrap_or_default().rfind('\n').map_or(0, |i| i + 1);
        if text[line_start..].starts_with('[') {
            table_twice = Some(start);
        }
        let what = text.get(span).unwrap_or("this key");
        source.wrong(start, format!("`{what}` stands here a second time"), None);
    }
    readable
}

/// Reads every table; with mistakes noted in `source`, what it returns is not to be used.
fn resolve<'a>(source: &'a Source<'a>, root: &'a DeTable<'a>) -> Config {
    let top = Reader::new(source, "", Some(root), 0);
    let (kind, log) = log::read(top.table("log"));
    let app = app(&top, kind);
    let registry = top.has("registry").then(|| registry::read(top.table("registry")));
    let mut names = Names { source, taken: BTreeMap::new() };
    let mut streams = BTreeMap::new();
    for (name, offset, reader) in top.tables("streams") {
        names.take(offset, "stream", &name);
        let offsets = (reader.offset("format"), reader.offset("key_format"));
        let stream = streams::read(&name, &app, reader);
        if registry.is_none() {
            needs_registry(source, offsets, &stream);
        }
        streams.insert(name.clone(), stream);
    }
    let mut views = Vec::new();
    for (name, offset, reader) in top.tables("views") {
        names.take(offset, "view", &name);
        let (topic_offset, format_offset) = (reader.offset("topic"), reader.offset("topic_format"));
        let view = views::read(&name, reader);
        if registry.is_none() {
            topic_needs_registry(source, format_offset, &view);
        }
        check_output(source, topic_offset, &view, &streams);
        views.push(view);
    }
    let listeners = listeners(source, &top, &streams, &views);
    let (console, told) = console::read(top.table("console"));
    check_listed(source, "views", &told, || views.iter().map(|view| &*view.spec.name));
    let limits = limits::read(top.table("limits"));
    for key in ["auth", "channels"] {
        top.later(key);
    }
    if streams.is_empty() && !top.has("streams") {
        let hint = "write a table such as [streams.clicks]".to_owned();
        source.wrong(0, "there is no stream", Some(hint));
    }
    top.finish();
    Config { app, log, registry, streams, views, listeners, console, limits }
}

/// Nor can a schema be registered without it.
fn topic_needs_registry(source: &Source<'_>, offset: usize, view: &ViewConfig) {
    let format = view.spec.topic.as_ref().map(|topic| topic.format);
    if let Some(format) = format.filter(|format| format.is_registered()) {
        let hint = "write a table [registry] with url = \"http://localhost:8081\"".to_owned();
        source.wrong(offset, format!("`topic_format` = \"{}\" needs [registry]", format.name()), Some(hint));
    }
}

/// What says by an id what it holds cannot be read without whoever knows the id.
fn needs_registry(source: &Source<'_>, (value, key): (usize, usize), stream: &StreamConfig) {
    let spec = &stream.spec;
    for (name, format, offset) in [("format", &spec.format, value), ("key_format", &spec.key_format, key)] {
        if format.pupil().is_some() {
            let hint = "write a table [registry] with url = \"http://localhost:8081\"".to_owned();
            let message = format!("`{name}` = \"{}\" needs [registry]", format.name());
            source.wrong(offset, message, Some(hint));
        }
    }
}

/// The embedded log has one user, so any name will do; on Kafka a name that was not chosen would meet others of its kind.
fn app(top: &Reader<'_>, kind: Kind) -> String {
    let app = top.text("app");
    match &app {
        Some(app) => check_app(top.source, top.offset("app"), app),
        None if kind == Kind::Kafka && !top.has("app") => {
            let hint =
                "write app = \"clicks\" in the first line: consumer group and prefix of internal topics"
                    .to_owned();
            top.source.wrong(0, "`app` is needed with kind = \"kafka\"", Some(hint));
        }
        None => {}
    }
    app.unwrap_or_else(|| DEFAULT_APP.to_owned())
}

/// One namespace for streams and views.
struct Names<'a> {
    source: &'a Source<'a>,
    taken: BTreeMap<String, (&'static str, usize)>,
}

impl Names<'_> {
    fn take(&mut self, offset: usize, kind: &'static str, name: &str) {
        check_name(self.source, offset, kind, name);
        if let Some((other, at)) = self.taken.insert(name.to_owned(), (kind, offset)) {
            let line = self.source.place(at).0;
            let message = format!("{kind} `{name}` has the name of the {other} in line {line}");
            self.source.wrong(offset, message, Some("streams and views share one namespace".to_owned()));
        }
    }
}

/// A view that writes to the topic it reads would feed itself.
fn check_output(
    source: &Source<'_>,
    offset: usize,
    view: &ViewConfig,
    streams: &BTreeMap<String, StreamConfig>,
) {
    let Some(topic) = &view.spec.topic else { return };
    if let Some((name, _)) = streams.iter().find(|(_, s)| s.spec.topics.contains(&topic.topic)) {
        let message = format!("`topic` of view `{}` is the topic that stream `{name}` reads", view.spec.name);
        source.wrong(offset, message, Some("write to another topic".to_owned()));
    }
}

fn listeners(
    source: &Source<'_>,
    top: &Reader<'_>,
    streams: &BTreeMap<String, StreamConfig>,
    views: &[ViewConfig],
) -> BTreeMap<String, ListenerConfig> {
    let mut all: BTreeMap<String, ListenerConfig> = BTreeMap::new();
    let names = || streams.keys().map(String::as_str);
    let channels = || names().chain(views.iter().map(|v| &*v.spec.name)).chain(LOCAL_CHANNELS);
    for (name, offset, reader) in top.tables("listeners") {
        check_name(source, offset, "listener", &name);
        let read = listeners::read(&name, reader);
        let bind = read.config.bind;
        if let Some(other) = all.values().find(|l| l.bind == bind && bind.port() != 0) {
            let message = format!("listeners `{}` and `{name}` both claim {bind}", other.name);
            let hint = "put their dialects into one listener, or give one another port".to_owned();
            source.wrong(read.bind_offset, message, Some(hint));
        }
        check_listed(source, "channels", &read.channels, channels);
        check_listed(source, "publish", &read.publish, names);
        for (key, name, offset) in read.of_originals {
            check_listed(source, key, &[(name, offset)], channels);
        }
        if let Some((stream, offset)) = read.likes {
            check_listed(source, "likes", &[(stream.clone(), offset)], names);
            if let Some(message) = streams.get(&stream).and_then(originals::video_counter::check_likes) {
                source.wrong(offset, message, None);
            }
        }
        all.insert(name, read.config);
    }
    if all.is_empty() {
        let main = listeners::default();
        all.insert(main.name.clone(), main);
    }
    all
}

fn check_listed<'n, I: Iterator<Item = &'n str>>(
    source: &Source<'_>,
    key: &str,
    listed: &[(String, usize)],
    known: impl Fn() -> I,
) {
    for (name, offset) in listed {
        if known().any(|k| k == name) {
            continue;
        }
        let hint = match closest(name, known()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => format!("known are {}", join(known())),
        };
        let what = if matches!(key, "publish" | "likes") { "stream" } else { "stream or view" };
        source.wrong(*offset, format!("`{key}` names `{name}`, which is no {what}"), Some(hint));
    }
}
