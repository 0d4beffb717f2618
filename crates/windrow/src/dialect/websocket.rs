//! WebSocket: protocol v1 on `/ws`.

use axum::Router;

use super::Gateway;

/// Returns the routes of this dialect: `/ws`.
pub fn routes(_gateway: Gateway) -> Router {
    Router::new()
}
