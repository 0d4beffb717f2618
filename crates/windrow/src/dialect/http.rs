//! HTTP: channels, snapshots, publishing, probes and metrics.
//!
//! | call | file |
//! |---|---|
//! | `GET /api/channels`, `GET /api/channels/{channel}`, `GET /api/stats` | `channels` |
//! | `POST /api/streams/{stream}` | `streams` |
//! | `GET /healthz`, `/readyz` | `probes` |
//! | `GET /metrics` | `metrics` |
//!
//! **Invariant:** every refusal is `{"error":{"code","message","hint"?}}` with the fitting status.
//! **Not here:** origins and connection limits (`gateway`), writing records (`publish`).

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};

pub use self::{refusal::Refusal, streams::refusal_of};
use super::Gateway;
use crate::publish::Publisher;

mod channels;
mod metrics;
mod probes;
mod refusal;
mod streams;

/// What the handlers share.
#[derive(Clone)]
struct Api {
    gateway: Gateway,
    publisher: Publisher,
}

/// Returns the routes of this dialect.
pub fn routes(gateway: Gateway, publisher: Publisher) -> Router {
    Router::new()
        .route("/api/channels", get(channels::list))
        .route("/api/channels/{channel}", get(channels::rows))
        .route("/api/stats", get(channels::stats))
        .route("/api/streams/{stream}", post(streams::publish))
        .route("/healthz", get(probes::alive))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(metrics::show))
        .method_not_allowed_fallback(wrong_method)
        .with_state(Api { gateway, publisher })
}

/// Says that nothing is served at this path.
pub async fn not_found() -> Refusal {
    unknown_path()
}

/// Refuses a path that nothing is served at.
pub fn unknown_path() -> Refusal {
    let message = "nothing is served at this path";
    Refusal::new(StatusCode::NOT_FOUND, "unknown_path", message)
        .with_hint("GET /api/channels lists the channels")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path does not take this method")
}
