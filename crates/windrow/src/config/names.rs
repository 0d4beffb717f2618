//! Names: of the app, of streams and views, of listeners, of topics.
//!
//! **Invariant:** `<app>.<view>.partials` is a legal topic name for every app and view that passed here.

use super::error::Source;

/// Longest name: app, view and the longest suffix together stay below Kafka's 249 bytes for a topic.
const NAME_MAX: usize = 100;

/// Longest topic name Kafka takes.
const TOPIC_MAX: usize = 249;

/// Event names that the clients of Socket.IO 2 and 4 keep for themselves; a channel's name is an event there.
const RESERVED: [&str; 14] = [
    "connect",
    "connect_error",
    "connect_timeout",
    "connecting",
    "disconnect",
    "disconnecting",
    "error",
    "ping",
    "pong",
    "reconnect",
    "reconnect_attempt",
    "reconnect_error",
    "reconnect_failed",
    "reconnecting",
];

/// A view's channel is `<app>.<view>`, and this is a topic of Windrow's own.
const WATERMARKS: &str = "watermarks";

/// Tells whether the clients of Socket.IO keep an event's name for themselves.
pub(super) fn is_reserved(event: &str) -> bool {
    RESERVED.contains(&event)
}

/// Checks the name of a stream, view or listener.
pub(super) fn check_name(source: &Source<'_>, offset: usize, kind: &str, name: &str) {
    let first = name.chars().next();
    let legal = first.is_some_and(|c| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !legal {
        let hint = suggestion(name).map(|s| format!("write `{s}`"));
        let rule = "must begin with a letter and hold only a–z, 0–9 and _";
        source.wrong(offset, format!("the name of a {kind} {rule}, not \"{name}\""), hint);
    } else if name.len() > NAME_MAX {
        let message = format!("the name of a {kind} must be at most {NAME_MAX} long, not {}", name.len());
        source.wrong(offset, message, None);
    } else if kind != "listener" && is_reserved(name) {
        let message = format!("`{name}` cannot name a {kind}: Socket.IO clients keep it for themselves");
        source.wrong(offset, message, None);
    } else if kind == "view" && name == WATERMARKS {
        let message = format!("`{name}` cannot name a {kind}: its topic <app>.{name} is Windrow's own");
        source.wrong(offset, message, None);
    }
}

/// Checks the app's name: it may also hold dashes, as consumer groups do.
pub(super) fn check_app(source: &Source<'_>, offset: usize, name: &str) {
    let legal = name.chars().next().is_some_and(|c| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
        && name.len() <= NAME_MAX;
    if !legal {
        let rule = format!("must begin with a letter and hold at most {NAME_MAX} of a–z, 0–9, _ and -");
        source.wrong(offset, format!("`app` {rule}"), suggestion(name).map(|s| format!("write \"{s}\"")));
    }
}

/// Tells whether Kafka takes that as the name of a topic.
pub(crate) fn is_topic(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= TOPIC_MAX
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Checks the name of a topic by Kafka's rule.
pub(super) fn check_topic(source: &Source<'_>, offset: usize, key: &str, name: &str) {
    if !is_topic(name) {
        let message = format!("`{key}` must be 1 to {TOPIC_MAX} of a–z, A–Z, 0–9, dot, _ and -");
        source.wrong(offset, message, None);
    }
}

fn suggestion(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase().replace(['-', '.', ' ', '/'], "_");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
