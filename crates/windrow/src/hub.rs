//! The hub: every channel's rows, and who watches which of them.

use std::sync::Arc;

use bytes::Bytes;

pub use self::{
    fault::Fault,
    spec::{ChannelInfo, ChannelKind, ChannelSpec, Source},
};
use crate::{config::Limits, log::Log, stats::Stats};

pub mod fault;
pub mod spec;

/// All channels of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    infos: Arc<Vec<ChannelInfo>>,
}

/// The answer of one snapshot call.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// A JSON array of rows.
    pub rows: Bytes,
    /// Whether rows were left out because of the limit.
    pub more: bool,
    /// Position of the snapshot; `None` when the channel is not resumable.
    pub at: Option<String>,
}

/// A channel that this process feeds by itself.
#[derive(Debug, Clone)]
pub struct LocalChannel {}

impl LocalChannel {
    /// Sets a row: `key_json` is the JSON array of the key values, `row_json` the whole row as a JSON object.
    pub fn upsert(&self, _key_json: &[u8], _row_json: &[u8]) {}
    /// Removes a row.
    pub fn remove(&self, _key_json: &[u8]) {}
}

impl Hub {
    /// Starts reading and serving `channels`.
    pub fn start(
        _log: Arc<dyn Log>,
        channels: Vec<ChannelSpec>,
        _limits: &Limits,
        _stats: Arc<Stats>,
    ) -> Self {
        let infos = channels
            .into_iter()
            .map(|c| ChannelInfo {
                name: c.name,
                kind: c.kind,
                columns: c.columns,
                key: c.key_names,
                resumable: true,
            })
            .collect();
        Self { infos: Arc::new(infos) }
    }

    /// Returns what clients are told about all channels, in configuration order.
    pub fn channels(&self) -> &[ChannelInfo] {
        &self.infos
    }

    /// Reads up to `limit` rows of a channel that match `filter`. Waits until the channel is served.
    pub async fn snapshot(
        &self,
        channel: &str,
        _filter: Option<&str>,
        _limit: usize,
    ) -> Result<Snapshot, Fault> {
        Err(Fault::new("not_ready", format!("channel {channel} is not served yet")))
    }

    /// Returns the feed of a local channel.
    pub fn local(&self, _name: &str) -> Option<LocalChannel> {
        None
    }

    /// Tells every session to say goodbye; new ones are refused from now on.
    pub fn drain(&self) {}

    /// Waits until every session has ended.
    pub async fn drained(&self) {}
}
