//! `sensor-mirror` of a listener: the channel that is mirrored, and which of its columns are what.
//!
//! **Not here:** how it is spoken (`dialect::originals::sensor_mirror`).

use super::{
    super::{Dialect, reader::Reader},
    Need, Read, Want, table_of,
};

/// `sensor-mirror` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SensorMirror {
    /// Channel that is mirrored over Socket.IO, with a page at `/`.
    pub live: Option<Mirrored>,
    /// Channel whose newest rows are answered over HTTP.
    pub rest: Option<Mirrored>,
    /// Column that is told as `topic`, and that clients filter by.
    pub topic: String,
    /// Column that is told as `timestamp`.
    pub timestamp: String,
    /// How many of its units a second has.
    pub per_second: u32,
    /// Column that is told as `data`; `None` = all members of the value but the timestamp.
    pub data: Option<String>,
}

/// A channel, and where it stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Name of the channel.
    pub channel: String,
    /// Line and column.
    pub place: (usize, usize),
}

pub(super) fn read(listener: &Reader<'_>, dialects: &[Dialect], read: &mut Read) {
    let (table, is_spoken, has_table) =
        table_of(listener, dialects, Dialect::SensorMirror, "{ live = \"sensors\" }");
    let mut mirrored = |key| {
        let (channel, offset) = (table.text(key)?, table.offset(key));
        read.channels.push((key, channel.clone(), offset));
        Some(Mirrored { channel, place: table.source.place(offset) })
    };
    let mirror = SensorMirror {
        live: mirrored("live"),
        rest: mirrored("rest"),
        topic: table.text("topic").unwrap_or_else(|| "_topic".to_owned()),
        timestamp: table.text("timestamp").unwrap_or_else(|| "timestamp".to_owned()),
        per_second: table.choice("unit", &[("s", 1), ("ms", 1_000)], &[]).unwrap_or(1),
        data: Some(table.text("data").unwrap_or_else(|| "data".to_owned())).filter(|data| data != "*"),
    };
    if has_table && mirror.live.is_none() && mirror.rest.is_none() {
        let message = "`sensor-mirror` must name a channel in `live`, in `rest` or in both";
        listener.wrong("sensor-mirror", message, None);
    }
    table.finish();
    read.originals.sensor_mirror = is_spoken.then_some(mirror);
}

/// Lists the columns that its channels must have.
pub(super) fn wants(mirror: &SensorMirror) -> impl Iterator<Item = Want<'_>> {
    let need = |key, column| Need { key, column, types: None };
    [&mirror.live, &mirror.rest].into_iter().flatten().map(move |mirrored| Want {
        whose: String::new(),
        original: "sensor-mirror",
        channel: &mirrored.channel,
        place: mirrored.place,
        needs: [need("topic", mirror.topic.as_str()), need("timestamp", &mirror.timestamp)]
            .into_iter()
            .chain(mirror.data.as_deref().map(|data| need("data", data)))
            .collect(),
    })
}
