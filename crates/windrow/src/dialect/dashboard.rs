//! The dashboard: the files of `web/`, compiled in.
//!
//! **In** `GET /` and the names of files. **Out** bytes with an `ETag`, under a policy that runs nothing but these files.
//! **Invariant:** no file of the dashboard needs anything from elsewhere, inline scripts or inline styles.
//! **Not here:** what the dashboard shows; it uses the public protocol like any other client.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::Embed;

use super::http::unknown_path;

/// The policy: own scripts, styles, pictures and connections; no frames, no forms, no base.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Embed)]
#[folder = "../../web"]
struct Files;

/// Returns the routes of this dialect: `/` and one per file.
pub fn routes() -> Router {
    Router::new().route("/", get(|headers: HeaderMap| async move { file("index.html", &headers) })).route(
        "/{file}",
        get(|Path(name): Path<String>, headers: HeaderMap| async move { file(&name, &headers) }),
    )
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Files::get(name) else { return unknown_path().into_response() };
    let hash = file.metadata.sha256_hash();
    let etag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{etag}\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|sent| {
        sent.to_str().is_ok_and(|sent| sent.split(',').any(|one| one.trim().trim_start_matches("W/") == etag))
    });
    let mut answer = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, content_type(name))], file.data.into_owned()).into_response()
    };
    let headers = answer.headers_mut();
    for (header, value) in [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(header, HeaderValue::from_static(value));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    answer
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
