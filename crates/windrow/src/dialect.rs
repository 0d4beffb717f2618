//! Dialects: how clients speak with the hub. Each offers axum routes over one [`Gateway`].
//!
//! **Before** this file: the listener (accepted the connection, checked the origin). **After** it: `session`, `hub`.

use std::sync::Arc;

use windrow_core::hub::Tick;

use crate::{
    config::{Limits, ListenerConfig},
    hub::{ChannelKind, Fault, Hub, Request, StartFrom},
    stats::Stats,
};

mod alarm;
mod allowance;
pub mod dashboard;
pub mod http;
pub mod originals;
pub mod socketio;
pub mod sse;
pub mod websocket;

/// What the dialects of one listener share; cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The channels.
    pub hub: Hub,
    /// The listener these routes are served on.
    pub listener: Arc<ListenerConfig>,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// Every counter.
    pub stats: Arc<Stats>,
}

impl Gateway {
    /// Makes the state of one listener.
    pub fn new(hub: Hub, listener: Arc<ListenerConfig>, limits: Arc<Limits>, stats: Arc<Stats>) -> Self {
        Self { hub, listener, limits, stats }
    }

    /// Tells whether this listener serves that channel: the listed ones, by default every view and, on loopback, the
    /// local channels.
    pub fn serves(&self, channel: &str) -> bool {
        match &self.listener.channels {
            Some(names) => names.iter().any(|n| n == channel),
            None if channel.starts_with('_') => self.listener.bind.ip().is_loopback(),
            None => self.hub.kind(channel) == Some(ChannelKind::View),
        }
    }

    /// Compiles a request for a channel that this listener serves; others are as if they were not there.
    pub fn request(
        &self,
        channel: &str,
        filter: Option<&str>,
        from: StartFrom,
        tick: Tick,
    ) -> Result<Request, Fault> {
        if !self.serves(channel) {
            return Err(Fault::new("unknown_channel", format!("there is no channel {channel}")));
        }
        self.hub.request(channel, filter, from, tick)
    }
}
