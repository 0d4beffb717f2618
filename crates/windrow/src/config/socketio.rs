//! `socketio` and `recovery` of a listener: how Socket.IO is spoken there.

use std::time::Duration;

use super::{Dialect, SocketioConfig, reader::Reader};

const SECOND: Duration = Duration::from_secs(1);
/// Longer pauses outlive what proxies and phones keep open.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Most namespaces of a listener: a client may be in all of them.
const NAMESPACES_MAX: usize = 16;
/// Longest path.
const PATH_MAX_BYTES: usize = 128;

pub(super) fn read(listener: &Reader<'_>, dialects: &[Dialect]) -> SocketioConfig {
    let original = dialects.iter().find(|dialect| dialect.owns_namespace());
    let d = match original {
        Some(Dialect::VideoCounter) => SocketioConfig::of_video_counter(),
        Some(Dialect::SensorMirror) => SocketioConfig::of_sensor_mirror(),
        _ => SocketioConfig::default(),
    };
    if listener.has("socketio") && !dialects.iter().any(|dialect| dialect.speaks_socketio()) {
        let hint = "add \"socketio\" to `dialects`, or remove the table".to_owned();
        listener.wrong("socketio", "`socketio` needs the dialect \"socketio\"", Some(hint));
    }
    if listener.has("recovery") && !dialects.contains(&Dialect::Socketio) {
        let hint = "add \"socketio\" to `dialects`, or remove the key".to_owned();
        listener.wrong("recovery", "`recovery` needs the dialect \"socketio\"", Some(hint));
    }
    let table = listener.table("socketio");
    let time = |key, default| table.duration(key, SECOND / 10..=PAUSE_MAX).unwrap_or(default);
    let (polling, websocket) = transports(&table);
    let read = SocketioConfig {
        path: path(&table, dialects).unwrap_or(d.path),
        versions: versions(&table).unwrap_or(d.versions),
        polling,
        websocket,
        ping_interval: time("ping_interval", d.ping_interval),
        ping_timeout: time("ping_timeout", d.ping_timeout),
        max_payload_bytes: table
            .size("max_payload", 1_024..=1 << 30)
            .map_or(d.max_payload_bytes, |bytes| bytes as usize),
        connect_timeout: time("connect_timeout", d.connect_timeout),
        namespaces: namespaces(&table).unwrap_or(d.namespaces),
        recovery: listener.boolean("recovery").unwrap_or(d.recovery),
        cookie: cookie(&table),
    };
    if let Some(original) = original
        && read.namespaces.iter().any(|namespace| namespace == "/")
    {
        let hint = "serve the general API at \"/windrow\"".to_owned();
        let message = format!("`namespaces` names \"/\", where \"{}\" is", original.name());
        table.wrong("namespaces", message, Some(hint));
    }
    table.finish();
    read
}

/// A slash at both ends, as clients ask for it.
fn path(table: &Reader<'_>, dialects: &[Dialect]) -> Option<String> {
    let read = |text: &str| {
        let inner = text.strip_prefix('/')?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let fits = !inner.is_empty() && inner.len() <= PATH_MAX_BYTES && !inner.contains("//");
        let known = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        (fits && inner.chars().all(known)).then(|| format!("/{inner}/"))
    };
    let path = table.parsed("path", "a path such as \"/socket.io/\", of letters, digits and -._~/", read)?;
    let others = dialects.iter().filter(|dialect| !dialect.speaks_socketio());
    let mut claims = others.flat_map(|dialect| dialect.paths().iter().map(|path| (dialect.name(), *path)));
    // Nobody has all that is below `/`.
    let taken = claims.find(|(_, other)| *other != "/" && path.starts_with(&format!("{other}/")));
    if let Some((name, other)) = taken {
        let message = format!("`path` {path} is claimed twice: \"socketio\" and \"{name}\" ({other})");
        table.wrong("path", message, Some("give one of them another listener or path".to_owned()));
    }
    Some(path)
}

fn versions(table: &Reader<'_>) -> Option<Vec<u8>> {
    let numbers = table.numbers("versions")?;
    let mut versions = Vec::new();
    for (number, offset) in numbers {
        match number {
            3 | 4 if versions.contains(&(number as u8)) => {}
            3 | 4 => versions.push(number as u8),
            _ => table.source.wrong(
                offset,
                format!("`versions` are revisions of Engine.IO, 3 or 4, not {number}"),
                Some("Socket.IO 1 and 2 speak 3; Socket.IO 3 and 4 speak 4".to_owned()),
            ),
        }
    }
    if versions.is_empty() {
        table.wrong("versions", "`versions` must name 3, 4 or both", None);
    }
    Some(versions)
}

fn transports(table: &Reader<'_>) -> (bool, bool) {
    const WORDS: [(&str, bool); 2] = [("polling", true), ("websocket", false)];
    let Some(words) = table.texts("transports") else { return (true, true) };
    let (mut polling, mut websocket) = (false, false);
    for (word, offset) in &words {
        match table.word("transports", *offset, word, &WORDS, &["webtransport"]) {
            Some(true) => polling = true,
            Some(false) => websocket = true,
            None => {}
        }
    }
    if words.is_empty() {
        table.wrong("transports", "`transports` must name `polling`, `websocket` or both", None);
    }
    (polling, websocket)
}

fn namespaces(table: &Reader<'_>) -> Option<Vec<String>> {
    let texts = table.texts("namespaces")?;
    if texts.len() > NAMESPACES_MAX || texts.is_empty() {
        let message = format!("`namespaces` must name 1 to {NAMESPACES_MAX}, not {}", texts.len());
        table.wrong("namespaces", message, None);
    }
    let mut namespaces: Vec<String> = Vec::new();
    for (text, offset) in texts {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !text.starts_with('/') || text.len() > PATH_MAX_BYTES || !text.chars().all(known) {
            let message =
                "`namespaces` must be like \"/\" or \"/windrow\": a slash, letters, digits and -._~/";
            table.source.wrong(offset, message, None);
        } else if namespaces.contains(&text) {
            table.source.wrong(offset, format!("`namespaces` names \"{text}\" twice"), None);
        } else {
            namespaces.push(text);
        }
    }
    Some(namespaces)
}

fn cookie(table: &Reader<'_>) -> Option<String> {
    let is_name = |text: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        (!text.is_empty() && text.len() <= 64 && text.chars().all(known)).then(|| text.to_owned())
    };
    table.parsed("cookie", "a name such as \"io\", of letters, digits and -_.", is_name)
}
