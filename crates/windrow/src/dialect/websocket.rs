//! WebSocket: protocol v1 on `/ws`, JSON text frames.
//!
//! **In** an HTTP request that asks for the upgrade. **Out** a session on the raw connection.
//! **Before** this file: the listener (accepted, checked the origin). **After** it: `session`.
//!
//! **Invariant:** one small task per client: no buffer while it is idle, shared bytes while it is written to.
//! **Not here:** the bytes of frames (`frame`), the socket (`pipe`), the connection's life (`connection`), close codes (`close`).
//!
//! Source: RFC 6455, section 4.2.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, Response, StatusCode,
        header::{
            CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
        },
    },
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::upgrade::{OnUpgrade, Upgraded};
use sha1::{Digest, Sha1};

use self::connection::Terms;
use super::Gateway;
use crate::{
    hub::Fault,
    session::{Session, Voice},
};

pub mod close;
pub(super) mod connection;
pub mod frame;
pub(super) mod pipe;
pub(super) mod speaker;

/// Returns the routes of this dialect: `/ws`.
pub fn routes(gateway: Gateway) -> Router {
    Router::new().route("/ws", get(upgrade)).with_state(gateway)
}

async fn upgrade(State(gateway): State<Gateway>, request: Request) -> Response<Body> {
    let upgraded = upgrade_to(request, move |upgraded| {
        let (of, terms) = (gateway.clone(), Terms::of(&gateway));
        connection::run(upgraded, gateway, terms, |bell| Session::new(of, bell, Voice::Plain))
    });
    upgraded.unwrap_or_else(|fault| refuse(&fault))
}

/// Agrees to the upgrade, and lets `serve` have the connection after it.
///
/// - **Errors:** a request that is no handshake of RFC 6455.
pub(super) fn upgrade_to<F>(
    mut request: Request,
    serve: impl FnOnce(Upgraded) -> F + Send + 'static,
) -> Result<Response<Body>, Fault>
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept = check(request.headers())?;
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Fault::new("bad_request", "this connection cannot be upgraded"));
    };
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(upgraded) => serve(upgraded).await,
            Err(e) => tracing::debug!("websocket upgrade failed: {e}"),
        }
    });
    Ok(switch(&accept))
}

/// Agrees to the upgrade, with the proof that [`check`] returned.
pub(super) fn switch(accept: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, axum::http::HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, axum::http::HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Checks the handshake and returns what proves that it was understood.
pub(super) fn check(headers: &HeaderMap) -> Result<String, Fault> {
    let has = |name, token: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err(Fault::new("upgrade_required", "this path speaks WebSocket"));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(Fault::new("upgrade_required", "this server speaks version 13 of WebSocket"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map_or(b"".as_slice(), |key| key.as_bytes());
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Fault::new("bad_request", "sec-websocket-key must be 16 bytes in base64"));
    }
    // RFC 6455, section 1.3.
    let digest =
        Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    Ok(STANDARD.encode(digest))
}

fn refuse(fault: &Fault) -> Response<Body> {
    let mut body = b"{\"error\":".to_vec();
    fault.write_json(&mut body);
    body.push(b'}');
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    if fault.code == "upgrade_required" {
        headers.insert(UPGRADE, axum::http::HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, axum::http::HeaderValue::from_static("13"));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    } else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_handshake_of_the_rfc_is_answered_with_its_proof() {
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(check(&headers(&good)), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()));
        for missing in 0..good.len() {
            let rest: Vec<_> =
                good.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, pair)| *pair).collect();
            assert!(check(&headers(&rest)).is_err(), "{:?}", good[missing]);
        }
    }
}
