//! Server-sent events on `/sse`.

use axum::Router;

use super::Gateway;

/// Returns the routes of this dialect: `/sse/{channel}` and `/sse?channel=…`.
pub fn routes(_gateway: Gateway) -> Router {
    Router::new()
}
