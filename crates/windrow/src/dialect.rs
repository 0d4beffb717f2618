//! Dialects: how clients speak with the hub. Each offers axum routes over one [`Gateway`].
//!
//! **Before** this file: the listener (accepted the connection, checked the origin). **After** it: `session`, `hub`.

use std::sync::Arc;

use crate::{
    config::{Limits, ListenerConfig},
    hub::{ChannelKind, Hub},
    stats::Stats,
};

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
            None => {
                self.hub.channels().iter().any(|c| c.kind == ChannelKind::View && c.name.as_ref() == channel)
            }
        }
    }
}
