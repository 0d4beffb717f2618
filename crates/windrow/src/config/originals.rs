//! The originals' small tables of a listener, one file each.
//!
//! **In** the tables, and later the plans. **Out** what is served under which name.
//! **Invariant:** every name in them is that of a channel or of a column that the channel has; both are checked before the start.
//! **Not here:** how they are spoken (`dialect::originals`).

use std::sync::Arc;

use windrow_core::{plan::StreamPlan, suggest::closest, value::ColumnType};

use super::{Config, ConfigError, Dialect, ListenerConfig, reader::Reader, reader::join};
use crate::hub::ChannelSpec;

mod realtime_events;
mod sensor_mirror;
pub(super) mod video_counter;
mod visit_aggregator;

pub use self::{
    realtime_events::{EventChannel, RealtimeEvents, Secret},
    sensor_mirror::{Mirrored, SensorMirror},
    video_counter::{CounterEvent, VideoCounter},
    visit_aggregator::VisitAggregator,
};

/// What a listener says for the originals that are spoken there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Originals {
    /// `video-counter`.
    pub video_counter: Option<VideoCounter>,
    /// `visit-aggregator`.
    pub visit_aggregator: Option<VisitAggregator>,
    /// `realtime-events`.
    pub realtime_events: Option<RealtimeEvents>,
    /// `sensor-mirror`.
    pub sensor_mirror: Option<SensorMirror>,
}

impl Originals {
    /// Tells whether one of them answers at the path of Socket.IO.
    pub fn speak_socketio(&self) -> bool {
        self.video_counter.as_ref().is_some_and(|counter| !counter.events.is_empty())
            || self.sensor_mirror.as_ref().is_some_and(|mirror| mirror.live.is_some())
    }
}

/// The tables of a listener, with the offsets of the names that need the whole file to be checked.
#[derive(Default)]
pub(super) struct Read {
    pub(super) originals: Originals,
    /// Key, name of a channel, offset.
    pub(super) channels: Vec<(&'static str, String, usize)>,
    /// A stream that likes are written to.
    pub(super) likes: Option<(String, usize)>,
}

pub(super) fn read(listener: &Reader<'_>, dialects: &[Dialect]) -> Read {
    let mut read = Read::default();
    video_counter::read(listener, dialects, &mut read);
    visit_aggregator::read(listener, dialects, &mut read);
    realtime_events::read(listener, dialects, &mut read);
    sensor_mirror::read(listener, dialects, &mut read);
    read
}

/// Takes an original's table: with its dialect it must be there, without it may not. Tells whether it is spoken and whether the table is
/// there.
fn table_of<'a>(
    listener: &Reader<'a>,
    dialects: &[Dialect],
    dialect: Dialect,
    example: &str,
) -> (Reader<'a>, bool, bool) {
    let name = dialect.name();
    let (is_spoken, has_table) = (dialects.contains(&dialect), listener.has(name));
    if has_table && !is_spoken {
        let hint = format!("add \"{name}\" to `dialects`, or remove the table");
        listener.wrong(name, format!("`{name}` needs the dialect \"{name}\""), Some(hint));
    }
    if is_spoken && !has_table {
        let message = format!("{} speaks \"{name}\" and needs its table", listener.title);
        listener.wrong("dialects", message, Some(format!("such as {name} = {example}")));
    }
    (listener.table(name), is_spoken, has_table)
}

/// What an original wants of one channel.
struct Want<'a> {
    /// Begins the sentence about it: `` event `a`:  ``, or nothing.
    whose: String,
    original: &'static str,
    channel: &'a str,
    /// Line and column in the file.
    place: (usize, usize),
    needs: Vec<Need<'a>>,
}

/// A column that is needed.
struct Need<'a> {
    key: &'static str,
    column: &'a str,
    /// What it may be, and how that is called.
    types: Option<(&'static [ColumnType], &'static str)>,
}

/// Holds the columns that the tables name against those that the channels have.
pub(super) fn check(config: &Config, file: &str, plans: &[Arc<StreamPlan>]) -> Vec<ConfigError> {
    let channels = ChannelSpec::all(&config.app, plans);
    let mut errors = Vec::new();
    for want in config.listeners.values().flat_map(wants) {
        // A name that is no channel's was told before.
        let Some(channel) = channels.iter().find(|channel| *channel.name == *want.channel) else { continue };
        errors.extend(want.needs.iter().filter_map(|need| {
            let (message, hint) = trouble(&want, need, channel)?;
            let (line, column) = want.place;
            Some(ConfigError { file: file.into(), line, column, message, hint })
        }));
    }
    errors
}

fn wants(listener: &ListenerConfig) -> Vec<Want<'_>> {
    let originals = &listener.originals;
    let counter = originals.video_counter.iter().flat_map(video_counter::wants);
    let visits = originals.visit_aggregator.iter().flat_map(visit_aggregator::wants);
    let events = originals.realtime_events.iter().flat_map(realtime_events::wants);
    let mirror = originals.sensor_mirror.iter().flat_map(sensor_mirror::wants);
    counter.chain(visits).chain(events).chain(mirror).collect()
}

fn trouble(want: &Want<'_>, need: &Need<'_>, channel: &ChannelSpec) -> Option<(String, Option<String>)> {
    let names = || channel.columns.iter().map(|(name, _)| name.as_ref());
    let (name, of) = (need.column, format!("{}`{}` of {}", want.whose, need.key, want.original));
    let Some((_, ty)) = channel.columns.iter().find(|(column, _)| column.as_ref() == name) else {
        let hint = match closest(name, names()) {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("its columns are {}", join(names())),
        };
        return Some((format!("{of} needs column `{name}`, which `{}` lacks", channel.name), Some(hint)));
    };
    let (types, what) = need.types?;
    let fits = ty.is_none_or(|ty| types.contains(&ty));
    (!fits).then(|| (format!("{of} must be {what}, not `{name}` of `{}`", channel.name), None))
}
