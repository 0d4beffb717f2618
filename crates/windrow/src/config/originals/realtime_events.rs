//! `realtime-events` of a listener: names in its path, their channels, heartbeats, and who may come.
//!
//! **Invariant:** a secret is never printed. **Not here:** how it is spoken (`dialect::originals::realtime_events`).

use std::{fmt, time::Duration};

use windrow_core::value::ColumnType;

use super::{
    super::{Dialect, reader::Reader},
    Need, Read, Want, table_of,
};

/// Most channels: a client may ask for all of them.
const CHANNELS_MAX: usize = 32;
/// Longest name in a path.
const NAME_MAX_BYTES: usize = 64;
/// Shortest secret: a key of HS256 has at least the size of its digest (RFC 7518, section 3.2).
const SECRET_MIN_BYTES: usize = 32;
/// Longer pauses outlive what proxies and phones keep open.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);

/// `realtime-events` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RealtimeEvents {
    /// Names in the path, each with the channel whose rows are its events.
    pub channels: Vec<EventChannel>,
    /// Column of numbers that says whose a row is.
    pub organization: String,
    /// Time between two pings.
    pub ping_interval: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub heartbeat: Duration,
    /// Secret of tokens; `None` = clients say a `user_id` instead.
    pub secret: Option<Secret>,
    /// Claim of a token that holds the organization, or several.
    pub claim: String,
}

/// One name of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventChannel {
    /// The name.
    pub name: String,
    /// Name of the channel.
    pub channel: String,
    /// Line and column in the file.
    pub place: (usize, usize),
}

/// A secret, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

pub(super) fn read(listener: &Reader<'_>, dialects: &[Dialect], read: &mut Read) {
    let example = "{ channels = { payment = \"payments\" } }";
    let (table, is_spoken, has_table) = table_of(listener, dialects, Dialect::RealtimeEvents, example);
    let pairs = table.pairs("channels");
    read.channels.extend(pairs.iter().map(|(_, channel, offset)| ("channels", channel.clone(), *offset)));
    let events = RealtimeEvents {
        channels: channels(&table, pairs),
        organization: table.text("organization").unwrap_or_else(|| "organization_id".to_owned()),
        ping_interval: table.duration("ping_interval", PAUSES).unwrap_or(Duration::from_secs(20)),
        heartbeat: table.duration("heartbeat", PAUSES).unwrap_or(Duration::from_secs(2)),
        secret: secret(&table),
        claim: table.text("claim").unwrap_or_else(|| "organization_id".to_owned()),
    };
    if has_table && events.channels.is_empty() {
        listener.wrong("realtime-events", "`realtime-events` must have `channels`", None);
    }
    table.finish();
    read.originals.realtime_events = is_spoken.then_some(events);
}

fn channels(table: &Reader<'_>, pairs: Vec<(String, String, usize)>) -> Vec<EventChannel> {
    if pairs.len() > CHANNELS_MAX {
        let message = format!("`channels` must be at most {CHANNELS_MAX}, not {}", pairs.len());
        table.wrong("channels", message, None);
    }
    let known = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let mut channels = Vec::new();
    for (name, channel, offset) in pairs {
        if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.chars().all(known) {
            let message = format!(
                "`channels` are names in a path: 1 to {NAME_MAX_BYTES} letters, digits and -._~, not `{name}`"
            );
            table.source.wrong(offset, message, None);
        }
        channels.push(EventChannel { name, channel, place: table.source.place(offset) });
    }
    channels
}

/// An empty text is none, so that it can come from a variable.
fn secret(table: &Reader<'_>) -> Option<Secret> {
    let secret = table.text("secret").filter(|secret| !secret.is_empty())?;
    if secret.len() < SECRET_MIN_BYTES {
        let message = format!("`secret` must be at least {SECRET_MIN_BYTES} bytes long, as HS256 wants it");
        table.wrong("secret", message, Some("make one: openssl rand -base64 48".to_owned()));
    }
    Some(Secret(secret))
}

/// Lists the columns that its channels must have.
pub(super) fn wants(events: &RealtimeEvents) -> impl Iterator<Item = Want<'_>> {
    let numbers = (&[ColumnType::Bigint, ColumnType::Number, ColumnType::Double][..], "a column of numbers");
    events.channels.iter().map(move |channel| Want {
        whose: format!("channel `{}`: ", channel.name),
        original: "realtime-events",
        channel: &channel.channel,
        place: channel.place,
        needs: vec![Need { key: "organization", column: &events.organization, types: Some(numbers) }],
    })
}
