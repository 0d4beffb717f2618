//! `video-counter` of a listener: events, the channels whose rows they carry, likes.
//!
//! **Not here:** how it is spoken (`dialect::originals::video_counter`).

use windrow_core::{spec::Format, value::ColumnType};

use super::{
    super::{Dialect, StreamConfig, names::is_reserved, reader::Reader},
    Need, Read, Want, table_of,
};

/// Most events: each is one subscription of every client.
const EVENTS_MAX: usize = 32;
/// Longest name of an event.
const EVENT_MAX_BYTES: usize = 128;
/// Most videos of the list.
const VIDEOS_MAX: usize = 1_000;

/// Listed when the table names none: the first two are those that the original's own generator picks from. They stay the same, so that a
/// page that is loaded anew finds its numbers again.
const VIDEOS: [(&str, &str); 3] = [
    ("93f98662-8907-4f43-bb4c-280501481046", "Video 1"),
    ("69e7266c-753e-4ed3-b7fc-9035133a293f", "Video 2"),
    ("0b5a3c1e-52f7-4f0c-9d0a-3f6d7a1c8e24", "Video 3"),
];

/// `video-counter` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VideoCounter {
    /// Events, each with the channel whose rows it carries.
    pub events: Vec<CounterEvent>,
    /// Column that names the room; told as `id`.
    pub room: String,
    /// Column that is told as `count`.
    pub count: String,
    /// Further columns that are told.
    pub fields: Vec<String>,
    /// Whether only final rows are told.
    pub finals: bool,
    /// Stream of text that likes over HTTP are written to.
    pub likes: Option<String>,
    /// Identifiers and titles of the list of videos.
    pub videos: Vec<(String, String)>,
}

/// One event of `video-counter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterEvent {
    /// Name of the event.
    pub event: String,
    /// Name of the channel.
    pub channel: String,
    /// Line and column in the file, for mistakes that show only when everything is planned.
    pub place: (usize, usize),
}

pub(super) fn read(listener: &Reader<'_>, dialects: &[Dialect], read: &mut Read) {
    let example = "{ events = { live_aggregations_1 = \"likes_1m\" } }";
    let (table, is_spoken, has_table) = table_of(listener, dialects, Dialect::VideoCounter, example);
    let pairs = table.pairs("events");
    read.channels.extend(pairs.iter().map(|(_, channel, offset)| ("events", channel.clone(), *offset)));
    read.likes = table.text("likes").map(|stream| (stream, table.offset("likes")));
    let counter = VideoCounter {
        events: events(&table, pairs),
        room: table.text("room").unwrap_or_else(|| "id".to_owned()),
        count: table.text("count").unwrap_or_else(|| "count".to_owned()),
        fields: fields(&table),
        finals: table.boolean("finals").unwrap_or(false),
        likes: read.likes.as_ref().map(|(stream, _)| stream.clone()),
        videos: videos(&table),
    };
    if has_table && counter.events.is_empty() && counter.likes.is_none() {
        let message = "`video-counter` must have `events`, `likes` or both";
        listener.wrong("video-counter", message, None);
    }
    table.finish();
    read.originals.video_counter = is_spoken.then_some(counter);
}

fn events(table: &Reader<'_>, pairs: Vec<(String, String, usize)>) -> Vec<CounterEvent> {
    if pairs.len() > EVENTS_MAX {
        table.wrong("events", format!("`events` must be at most {EVENTS_MAX}, not {}", pairs.len()), None);
    }
    let mut events = Vec::new();
    for (event, channel, offset) in pairs {
        // Names of events come from variables, too.
        let event = match table.source.variables.fill(&event) {
            Ok(event) => event,
            Err(why) => {
                table.source.wrong(offset, why, None);
                continue;
            }
        };
        if event.is_empty() || event.len() > EVENT_MAX_BYTES {
            let message = format!("the name of an event must be 1 to {EVENT_MAX_BYTES} bytes long");
            table.source.wrong(offset, message, None);
        } else if is_reserved(&event) {
            let message = format!("`{event}` cannot name an event: Socket.IO clients keep it for themselves");
            table.source.wrong(offset, message, None);
        } else if events.iter().any(|other: &CounterEvent| other.event == event) {
            table.source.wrong(offset, format!("`events` names `{event}` twice"), None);
        }
        events.push(CounterEvent { event, channel, place: table.source.place(offset) });
    }
    events
}

fn fields(table: &Reader<'_>) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for (name, offset) in table.texts("fields").unwrap_or_default() {
        if matches!(name.as_str(), "id" | "count") || fields.contains(&name) {
            table.source.wrong(offset, format!("`fields` names \"{name}\", which is told already"), None);
        }
        fields.push(name);
    }
    fields
}

fn videos(table: &Reader<'_>) -> Vec<(String, String)> {
    if !table.has("videos") {
        return VIDEOS.map(|(id, title)| (id.to_owned(), title.to_owned())).to_vec();
    }
    let videos = table.pairs("videos");
    if videos.len() > VIDEOS_MAX {
        table.wrong("videos", format!("`videos` must be at most {VIDEOS_MAX}, not {}", videos.len()), None);
    }
    videos.into_iter().map(|(id, title, _)| (id, title)).collect()
}

/// A like is the identifier alone, so its stream is one of text.
pub(in crate::config) fn check_likes(stream: &StreamConfig) -> Option<String> {
    let fits = stream.spec.format == Format::Text && stream.spec.topics.one().is_some();
    (!fits).then(|| {
        let name = &stream.spec.name;
        format!("`likes` must name a stream of one topic with format = \"text\", not `{name}`")
    })
}

/// Lists the columns that its channels must have.
pub(super) fn wants(counter: &VideoCounter) -> impl Iterator<Item = Want<'_>> {
    counter.events.iter().map(|event| {
        let text = Some((&[ColumnType::Text][..], "a column of text"));
        let mut needs = vec![Need { key: "room", column: &counter.room, types: text }];
        needs.push(Need { key: "count", column: &counter.count, types: None });
        if counter.finals {
            needs.push(Need { key: "finals", column: "final", types: None });
        }
        needs.extend(counter.fields.iter().map(|field| Need { key: "fields", column: field, types: None }));
        Want {
            whose: format!("event `{}`: ", event.event),
            original: "video-counter",
            channel: &event.channel,
            place: event.place,
            needs,
        }
    })
}
