//! Originals: the names and shapes of the systems whose clients come to Windrow as they are.
//!
//! | dialect | file |
//! |---|---|
//! | `realtime-events` | `realtime_events` |
//! | `video-counter` | `video_counter` |
//! | `visit-aggregator` | `visit_aggregator` |
//! | `sensor-mirror` | `sensor_mirror` |
//!
//! **In** their clients' messages. **Out** their events, made of the rows of channels.
//! **Invariant:** an original maps client message → filter, and row → event. It owns no table of rows, no timer and no reader: what its clients
//! are shown is a channel, watched through a filter (`feed`). **Not here:** how events are carried (`socketio`, `websocket`).

use std::sync::Arc;

use axum::{http::StatusCode, response::IntoResponse};

mod ack;
mod feed;
pub mod realtime_events;
pub mod sensor_mirror;
pub mod video_counter;
pub mod visit_aggregator;

use super::Gateway;
use crate::stats::Counter;

/// What the originals of Socket.IO told whoever they did not let in.
const NOT_LET_IN: &str = "Unable to connect";

/// Says that nothing is served at this path, to clients that read no JSON.
pub async fn not_found() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "Not Found")
}

/// Counts what is left out, by its reason.
fn left_out(gateway: &Gateway, reason: &'static str) -> Arc<Counter> {
    gateway.stats.counter(("listener", gateway.listener.name.as_str().into(), None), "left_out", reason)
}
