//! The page at `/`: the live values of all topics, as a client of the mirror sees them.
//!
//! **In** `GET /`. **Out** `page.html`, which needs nothing from elsewhere.
//! **Invariant:** its policy runs the page's own script alone: both know a word that no other answer has.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use crate::dialect::socketio::new_sid;

const PAGE: &str = include_str!("page.html");

/// Returns the route; `path` is where Socket.IO is.
pub(super) fn routes(path: &str) -> Router {
    // Of letters, digits and a few marks: it needs no escapes.
    let page = PAGE.replace("SOCKETIO", path);
    Router::new().route("/", get(move || async move { answer(&page) }))
}

fn answer(page: &str) -> Response {
    let Some(word) = new_sid() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{word}'; style-src 'nonce-{word}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut answer = Html(page.replace("NONCE", &word)).into_response();
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).ok()),
        (header::CACHE_CONTROL, Some(HeaderValue::from_static("no-store"))),
        (header::X_CONTENT_TYPE_OPTIONS, Some(HeaderValue::from_static("nosniff"))),
        (header::REFERRER_POLICY, Some(HeaderValue::from_static("no-referrer"))),
    ] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    answer
}
