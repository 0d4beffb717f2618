//! `[listeners.*]`: addresses and what is spoken there.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Dialect, ListenerConfig, Originals, SocketioConfig, originals, reader::Reader, socketio};

/// Dialects in the order of the documentation.
pub(super) const DIALECTS: [(&str, Dialect); 9] = [
    ("websocket", Dialect::Websocket),
    ("sse", Dialect::Sse),
    ("socketio", Dialect::Socketio),
    ("http", Dialect::Http),
    ("dashboard", Dialect::Dashboard),
    ("video-counter", Dialect::VideoCounter),
    ("visit-aggregator", Dialect::VisitAggregator),
    ("realtime-events", Dialect::RealtimeEvents),
    ("sensor-mirror", Dialect::SensorMirror),
];

/// The first so many are spoken where the listener names none; the others are the originals', each with a table of its own.
const GENERAL: usize = 5;

const DEFAULT_BIND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The listener of a file that has none.
pub(super) fn default() -> ListenerConfig {
    ListenerConfig {
        name: "main".to_owned(),
        bind: DEFAULT_BIND,
        dialects: all_dialects(),
        channels: None,
        publish: None,
        origins: Vec::new(),
        socketio: SocketioConfig::default(),
        originals: Originals::default(),
    }
}

/// A listener, with the offsets of the names in it for the checks that need the whole file.
pub(super) struct Read {
    pub(super) config: ListenerConfig,
    pub(super) bind_offset: usize,
    pub(super) channels: Vec<(String, usize)>,
    pub(super) publish: Vec<(String, usize)>,
    /// Of the channels that an original serves: the key that names each.
    pub(super) of_originals: Vec<(&'static str, String, usize)>,
    pub(super) likes: Option<(String, usize)>,
}

pub(super) fn read(name: &str, listener: Reader<'_>) -> Read {
    let bind_offset = listener.offset("bind");
    let bind = bind(&listener);
    let anonymous = listener.boolean("anonymous").unwrap_or(false);
    if let Some(bind) = bind
        && !bind.ip().is_loopback()
        && !anonymous
    {
        let message = format!(
            "{} would serve everybody who can reach {bind}: `bind` is not a loopback address and there is no [auth]",
            listener.title
        );
        let hint = "bind to 127.0.0.1, or set anonymous = true if that is meant".to_owned();
        listener.wrong("bind", message, Some(hint));
    }
    let (channels, publish) = (listener.texts("channels"), listener.texts("publish"));
    let names = |list: &Option<Vec<(String, usize)>>| {
        list.as_ref().map(|l| l.iter().map(|(name, _)| name.clone()).collect())
    };
    let dialects = dialects(&listener);
    let socketio = socketio::read(&listener, &dialects);
    let of_originals = originals::read(&listener, &dialects);
    let config = ListenerConfig {
        name: name.to_owned(),
        bind: bind.unwrap_or(DEFAULT_BIND),
        dialects,
        channels: names(&channels),
        publish: names(&publish),
        origins: origins(&listener),
        socketio,
        originals: of_originals.originals,
    };
    listener.later("tls");
    listener.finish();
    Read {
        config,
        bind_offset,
        channels: channels.unwrap_or_default(),
        publish: publish.unwrap_or_default(),
        of_originals: of_originals.channels,
        likes: of_originals.likes,
    }
}

fn all_dialects() -> Vec<Dialect> {
    DIALECTS.iter().take(GENERAL).map(|(_, dialect)| *dialect).collect()
}

fn bind(listener: &Reader<'_>) -> Option<SocketAddr> {
    let what = "an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    let read = |text: &str| match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    if !listener.has("bind") {
        return Some(DEFAULT_BIND);
    }
    listener.parsed("bind", what, read)
}

fn dialects(listener: &Reader<'_>) -> Vec<Dialect> {
    let Some(words) = listener.texts("dialects") else { return all_dialects() };
    let mut dialects: Vec<Dialect> = Vec::new();
    for (word, offset) in words {
        let Some(dialect) = listener.word("dialects", offset, &word, &DIALECTS, &[]) else { continue };
        let clash = dialects.iter().find_map(|other| Some((other.name(), dialect.clash(*other)?)));
        if let Some((other, path)) = clash {
            let message = format!("{} claims {path} twice: \"{other}\" and \"{word}\"", listener.title);
            let hint = if other == word {
                "name each dialect once"
            } else {
                "give one of them a listener of its own"
            };
            listener.source.wrong(offset, message, Some(hint.to_owned()));
            continue;
        }
        dialects.push(dialect);
    }
    dialects
}

/// Scheme, host and port, as browsers send them.
fn origins(listener: &Reader<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for (text, offset) in listener.texts("origins").unwrap_or_default() {
        match origin(&text) {
            _ if text == "*" => origins.push(text),
            Some(origin) => origins.push(origin),
            None => {
                let message = "`origins` must be like \"https://app.example.org\": scheme, host and port, no path; or \"*\"";
                listener.source.wrong(offset, message, None);
            }
        }
    }
    origins
}

/// Browsers send lower case and leave out the scheme's own port.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('/').unwrap_or(&text);
    let (scheme, host) = text.split_once("://")?;
    let bad = |c: char| c == '/' || c == '?' || c == '#' || c == '@' || c == '*' || c.is_whitespace();
    if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(bad) {
        return None;
    }
    let own_port = if scheme == "http" { ":80" } else { ":443" };
    Some(format!("{scheme}://{}", host.strip_suffix(own_port).unwrap_or(host)))
}
