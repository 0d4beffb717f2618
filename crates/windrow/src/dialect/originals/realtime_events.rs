//! Realtime events: word that something of an organization changed, on a plain WebSocket.
//!
//! ```text
//! GET /getEvents/payment?organization_id=1&user_id=1
//! ← {"type":"ping"}                          at once, then every 20 s
//! ← {"type":"event","channel":"payment"}     for each record of that organization, to every client that asked for it
//! ```
//!
//! **In** the query of a handshake (`asked`), rows of the configured channels. **Out** pings and events (`listener`). What a client says is not
//! looked at.
//! **Invariant:** whatever is asked for wrongly is refused in one way: 403, nothing said. A client that takes nothing for `heartbeat` is over, and
//! nobody else feels it. **Not here:** the socket (`websocket`), rows (`feed`), tokens (`token`).

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    http::{
        HeaderMap, HeaderValue, Method, Response, StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, UPGRADE},
    },
    response::IntoResponse,
    routing::get,
};
use windrow_core::value::write_text;

use self::{asked::Asked, listener::Listener, token::Tokens};
use super::left_out;
use crate::{
    config::RealtimeEvents,
    dialect::{
        Gateway,
        websocket::{
            self,
            connection::{self, Terms},
        },
    },
    hub::{Seat, StartFrom},
    stats::Counter,
};

mod asked;
mod listener;
mod token;

/// A page that opens a socket for each channel, to look at; `CHANNELS` stands for their names.
const PAGE: &str = include_str!("realtime_events/page.html");
/// The page has its one script and style inside.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

/// What the clients of a listener share.
#[derive(Debug)]
struct Events {
    gateway: Gateway,
    config: RealtimeEvents,
    tokens: Option<Tokens>,
    refused: Arc<Counter>,
    incomplete: Arc<Counter>,
}

/// Returns the routes of this dialect: `/getEvents/{channel}`, `/`.
pub fn routes(gateway: &Gateway) -> Router {
    let Some(config) = &gateway.listener.originals.realtime_events else { return Router::new() };
    let events = Events {
        tokens: config.secret.as_ref().map(|secret| Tokens::new(secret, &config.claim)),
        refused: left_out(gateway, "refused"),
        incomplete: left_out(gateway, "incomplete"),
        config: config.clone(),
        gateway: gateway.clone(),
    };
    events.warm_up();
    let page = PAGE.replace("CHANNELS", &events.names());
    Router::new()
        .route("/getEvents/{channel}", get(open))
        .route("/", get(move |request| show(page, request)))
        .with_state(Arc::new(events))
}

/// Says no as the original does: to a handshake with 403 and nothing, to a plain request that there is no such page.
pub async fn refuse(request: Request) -> Response<Body> {
    if request.headers().contains_key(UPGRADE) {
        forbidden()
    } else if request.method() == Method::GET {
        let kind = [(CONTENT_TYPE, "application/json")];
        (StatusCode::NOT_FOUND, kind, r#"{"detail":"Not Found"}"#).into_response()
    } else {
        let kind = [(CONTENT_TYPE, "application/json")];
        (StatusCode::METHOD_NOT_ALLOWED, kind, r#"{"detail":"Method Not Allowed"}"#).into_response()
    }
}

fn forbidden() -> Response<Body> {
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "text/plain")], "").into_response()
}

async fn show(page: String, request: Request) -> Response<Body> {
    if request.headers().contains_key(UPGRADE) {
        return forbidden();
    }
    let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

async fn open(
    State(events): State<Arc<Events>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Response<Body> {
    if !headers.contains_key(UPGRADE) {
        return refuse(request).await;
    }
    let asked = path.map_err(|_| "the path is no UTF-8").and_then(|Path(channel)| {
        Asked::read(&events, &channel, query.as_deref().unwrap_or_default(), &headers)
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => {
            events.refused.add(1);
            tracing::debug!(listener = events.gateway.listener.name, why, "a handshake is refused");
            return forbidden();
        }
    };
    let terms = Terms {
        takes_binary: true,
        stall_max: events.config.heartbeat,
        keepalive: Some(events.config.ping_interval),
        ..Terms::of(&events.gateway)
    };
    let upgraded = websocket::upgrade_to(request, move |upgraded| {
        let gateway = events.gateway.clone();
        connection::run(upgraded, gateway, terms, |bell| Listener::new(events, asked, bell))
    });
    upgraded.unwrap_or_else(|_| forbidden())
}

impl Events {
    /// Has the channels read from now on, not from the first client on: it would miss what comes while they are opened.
    fn warm_up(&self) {
        for channel in &self.config.channels {
            let request = self.gateway.hub.request(
                &channel.channel,
                None,
                StartFrom::Now,
                windrow_core::hub::Tick::Now,
            );
            // Nobody listens: what is rung here wakes nobody, and what is in the way is told to clients.
            _ = request.and_then(|request| request.attempt(Seat { bell: Arc::default(), number: 0 }, false));
        }
    }

    /// Writes the names as an array, fit to stand in a script.
    fn names(&self) -> String {
        let mut out = b"[".to_vec();
        for (number, channel) in self.config.channels.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            // Letters, digits and -._~ alone.
            write_text(&channel.name, &mut out);
        }
        out.push(b']');
        String::from_utf8_lossy(&out).into_owned()
    }
}
