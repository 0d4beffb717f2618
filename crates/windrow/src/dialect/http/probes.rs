//! Probes: is the process alive, and is it ready?

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use windrow_core::value::write_text;

use super::{Api, channels::json};

/// `GET /healthz`: 200 while the process answers at all.
pub(super) async fn alive() -> Response {
    json(b"{\"alive\":true}\n".to_vec())
}

/// `GET /readyz`: 200, or 503 with a reason per room.
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let troubles = api.gateway.stats.troubles();
    let mut body =
        if troubles.is_empty() { b"{\"ready\":true".to_vec() } else { b"{\"ready\":false".to_vec() };
    body.extend_from_slice(b",\"reasons\":{");
    for (i, (room, why)) in troubles.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        write_text(room, &mut body);
        body.push(b':');
        write_text(why, &mut body);
    }
    body.extend_from_slice(b"}}\n");
    let status = if troubles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json(body)).into_response()
}
