//! Origins: which web pages may talk to a listener.
//!
//! **In** every request's `Host` and `Origin`. **Out** the request, or 403 and a count.
//! The same origin may, and those of `origins`; other pages may not, on any method, so neither a WebSocket nor a POST can be
//! made from a page that the user happened to open. On a loopback bind the `Host` must be a loopback name too (or that of a
//! listed origin, for a proxy in front): a page that points its own name to 127.0.0.1 would else be the same origin. `"*"` lists them all.
//! **Not here:** who the user is.
//!
//! Source: RFC 6454 (origin), the Fetch standard (CORS).

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use crate::{config::ListenerConfig, dialect::http::Refusal};

/// In `origins`: every page may, whatever name it came under.
const ANY: &str = "*";
/// Headers that pages may send.
const HEADERS: &str = "content-type, idempotency-key, last-event-id";

/// Puts the check before every route of a listener.
pub(super) fn guard(router: Router, listener: &Arc<ListenerConfig>) -> Router {
    router.layer(middleware::from_fn_with_state(listener.clone(), check))
}

async fn check(State(listener): State<Arc<ListenerConfig>>, request: Request, next: Next) -> Response {
    let origin = match allowed(&listener, request.headers()) {
        Ok(Origin::Same) => return next.run(request).await,
        Ok(Origin::Listed(origin)) => origin,
        Err(refusal) => return refusal.into_response(),
    };
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    // Where every page may, it may also send what it likes.
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.filter(|_| listener.origins.iter().any(|origin| origin == ANY)).cloned();
    let mut answer = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    // The origin is named, never `*`: a page that may use the listener may do it with its cookies, as Socket.IO's clients like to.
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    if preflight {
        let allow = asked.unwrap_or(HeaderValue::from_static(HEADERS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    answer
}

/// How a request may pass.
#[derive(Debug)]
enum Origin {
    /// No page, or a page of this listener.
    Same,
    /// A page of a listed origin: it is told so.
    Listed(HeaderValue),
}

fn allowed(listener: &ListenerConfig, headers: &HeaderMap) -> Result<Origin, Refusal> {
    if listener.origins.iter().any(|origin| origin == ANY) {
        return Ok(headers.get(header::ORIGIN).map_or(Origin::Same, |origin| Origin::Listed(origin.clone())));
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if listener.bind.ip().is_loopback() && !is_loopback(host) && !is_listed_host(listener, host) {
        let message = format!("this listener serves its own machine; host {host:?} is not a name of it");
        let hint = "add the origin that you serve to `origins` of the listener";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden_host", message).with_hint(hint));
    }
    let Some(value) = headers.get(header::ORIGIN) else { return Ok(Origin::Same) };
    let origin = value.to_str().unwrap_or_default().to_ascii_lowercase();
    if listener.origins.contains(&origin) {
        return Ok(Origin::Listed(value.clone()));
    }
    match origin.split_once("://") {
        Some((_, of)) if !host.is_empty() && of.eq_ignore_ascii_case(host) => Ok(Origin::Same),
        _ => {
            let message = format!("pages of origin {origin:?} may not use this listener");
            let hint = "add it to `origins` of the listener";
            Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden_origin", message).with_hint(hint))
        }
    }
}

/// An empty host is no page's: browsers always send one.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn is_listed_host(listener: &ListenerConfig, host: &str) -> bool {
    let hosts = listener.origins.iter().filter_map(|o| o.split_once("://"));
    hosts.into_iter().any(|(_, of)| of.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_every_page_may_each_is_told_its_own_origin() {
        let listener = ListenerConfig {
            bind: "127.0.0.1:8080".parse().unwrap(),
            origins: vec!["*".into()],
            ..crate::config::parse("[streams.a]", "w.toml", &Default::default()).unwrap().listeners["main"]
                .clone()
        };
        for (host, origin) in [("evil.example.com", "https://evil.example.com"), ("localhost:8080", "null")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert!(matches!(allowed(&listener, &headers), Ok(Origin::Same)));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            let Ok(Origin::Listed(told)) = allowed(&listener, &headers) else { panic!("{origin} may not") };
            assert_eq!(told, origin);
        }
    }

    #[test]
    fn own_pages_and_listed_ones_pass_and_others_do_not() {
        let listener = |bind: &str| ListenerConfig {
            name: "main".into(),
            bind: bind.parse().unwrap(),
            dialects: vec![],
            channels: None,
            publish: None,
            origins: vec!["https://app.example.org".into()],
            socketio: crate::config::SocketioConfig::default(),
            originals: crate::config::Originals::default(),
        };
        let (local, open) = (listener("127.0.0.1:8080"), listener("0.0.0.0:8080"));
        for (listener, host, origin, want) in [
            (&local, "localhost:8080", None, "same"),
            (&local, "127.0.0.1:8080", Some("http://127.0.0.1:8080"), "same"),
            (&local, "[::1]:8080", Some("http://[::1]:8080"), "same"),
            (&local, "localhost:8080", Some("http://LOCALHOST:8080"), "same"),
            (&local, "localhost:8080", Some("http://localhost:3000"), "forbidden_origin"),
            (&local, "localhost:8080", Some("null"), "forbidden_origin"),
            (&local, "localhost:8080", Some("https://app.example.org"), "listed"),
            (&local, "evil.example.com:8080", Some("http://evil.example.com:8080"), "forbidden_host"),
            (&local, "127.0.0.1.example.com", None, "forbidden_host"),
            (&local, "app.example.org", Some("https://app.example.org"), "listed"),
            (&local, "", None, "same"),
            (&open, "windrow.example.org", None, "same"),
            (&open, "windrow.example.org", Some("https://windrow.example.org"), "same"),
            (&open, "windrow.example.org", Some("https://example.org"), "forbidden_origin"),
            (&open, "", Some("http://"), "forbidden_origin"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let got = match allowed(listener, &headers) {
                Ok(Origin::Same) => "same",
                Ok(Origin::Listed(_)) => "listed",
                Err(refusal) => refusal.code(),
            };
            assert_eq!(got, want, "{host} {origin:?}");
        }
    }
}
