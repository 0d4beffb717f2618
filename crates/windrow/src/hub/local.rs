//! Local channels: rows that this process makes itself, like `_stats` and `_clients`.
//!
//! **In** rows, from anywhere in the process. **Out** commits of the room, one per call.
//! **Invariant:** positions hold as long as the process lives; another process has another epoch.

use std::sync::Arc;

use windrow_core::hub::Channel;

use super::room::Room;

/// A channel that this process feeds by itself; cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalChannel {
    room: Arc<Room>,
}

/// Opens a local room: it has one partition and nothing to read.
pub(super) fn open(room: &Arc<Room>) {
    room.begin(super::process_epoch(&room.spec.name), [(0, 0)]);
    room.go_live();
}

impl LocalChannel {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self { room }
    }

    /// Sets a row: `key_json` is the compact JSON array of the key values, `row_json` the whole row, a JSON object on
    /// one line.
    pub fn upsert(&self, key_json: &[u8], row_json: &[u8]) {
        self.set(&[(key_json, Some(row_json))]);
    }

    /// Removes a row.
    pub fn remove(&self, key_json: &[u8]) {
        self.set(&[(key_json, None)]);
    }

    /// Sets or removes (`None`) several rows at once: watchers see them together.
    pub fn set(&self, rows: &[(&[u8], Option<&[u8]>)]) {
        self.room.counters.changes.add(rows.len() as u64);
        self.room.commit(|channel| {
            rows.iter().try_for_each(|(key, row)| channel.apply((0, next(channel)), key, *row, None))
        });
    }
}

fn next(channel: &Channel) -> i64 {
    channel.offsets().get(&0).copied().unwrap_or(0)
}
