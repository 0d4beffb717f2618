//! Socket.IO: both generations, on the shared hub.
//!
//! request (`request`) → session (`registry`, `door`) → packets (`engine`) → namespaces (`packet`, `layer`) → the general API (`general`)
//!
//! **In** requests below the configured path. **Out** sessions: one task each (`connection`), on a WebSocket, on polls, or first on polls and
//! then on a WebSocket (`probe`).
//!
//! **Invariant:** a session is bounded from its first byte: sessions that poll are counted like connections, a body is read only in its place
//! and up to `maxPayload`. **Not here:** origins and CORS (`gateway::origin`).
//!
//! Source: the Engine.IO protocol documents, revisions 3 and 4; the Socket.IO protocol documents, revisions 3 to 5.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
    routing::any,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::time::Instant;

use self::{
    connection::{Counters, Parts},
    door::{Breach, Door, Taken},
    engine::{Revision, payload},
    flavor::Flavor,
    general::Generals,
    heart::Heart,
    layer::Layers,
    namespace::Namespaces,
    registry::Registry,
    request::{Asked, Transport, Wrong},
    upper::{Opened, Parcel, Uppers},
};
use super::{
    Gateway,
    allowance::Allowance,
    http::Refusal,
    websocket::{self, frame::Decoder, pipe::Pipe},
};
use crate::{config::SocketioConfig, hub::Bell, stats::Counter};

mod assembly;
mod connection;
mod door;
mod echo;
pub mod engine;
mod flavor;
mod general;
mod heart;
mod layer;
pub(super) mod namespace;
mod outbox;
pub mod packet;
mod probe;
mod registry;
mod request;
pub(super) mod upper;

pub(super) use registry::new_sid;

/// Returns the routes of this dialect: the configured path.
pub fn routes(gateway: &Gateway) -> Router {
    routes_of(gateway, general(gateway), Flavor::Reference)
}

/// Returns the routes of an original that speaks Socket.IO: its own namespaces, in the ways of the servers in Python.
pub(super) fn original_routes(gateway: &Gateway, namespaces: Arc<dyn Namespaces>) -> Router {
    routes_of(gateway, namespaces, Flavor::Python)
}

/// Returns the namespaces of the general API.
pub(super) fn general(gateway: &Gateway) -> Arc<dyn Namespaces> {
    let config = &gateway.listener.socketio;
    Arc::new(Arc::new(Generals {
        gateway: gateway.clone(),
        namespaces: config.namespaces.clone(),
        recovery: config.recovery,
    }))
}

fn routes_of(gateway: &Gateway, namespaces: Arc<dyn Namespaces>, flavor: Flavor) -> Router {
    let config = &gateway.listener.socketio;
    let layers = Layers {
        namespaces,
        connect_timeout: config.connect_timeout,
        attachments_max_bytes: config.max_payload_bytes,
        flavor,
    };
    Server::new(gateway, config.clone(), Arc::new(Arc::new(layers)), flavor).routes()
}

/// Returns the routes of an echo for test suites: Socket.IO on the configured path, Engine.IO alone on `/engine.io/`.
///
/// A suite counts a handshake without a version among the mistakes, so here it is one.
pub fn echo_routes(gateway: &Gateway, config: &SocketioConfig) -> Router {
    let layers = Layers {
        namespaces: Arc::new(echo::Echoes),
        connect_timeout: config.connect_timeout,
        attachments_max_bytes: config.max_payload_bytes,
        flavor: Flavor::Suite,
    };
    let below = SocketioConfig { path: "/engine.io/".to_owned(), ..config.clone() };
    Server::new(gateway, config.clone(), Arc::new(Arc::new(layers)), Flavor::Suite)
        .routes()
        .merge(Server::new(gateway, below, Arc::new(echo::EngineEchoes), Flavor::Suite).routes())
}

/// Makes pipes of upgraded connections.
#[derive(Debug, Clone)]
pub(crate) struct Pipes {
    message_max_bytes: usize,
    bytes: Arc<Counter>,
}

impl Pipes {
    fn pipe(&self, upgraded: Upgraded) -> Pipe {
        Pipe::new(upgraded, Decoder::new(self.message_max_bytes).with_binary(), self.bytes.clone())
    }
}

/// One path of one listener; cheap to clone.
#[derive(Debug, Clone)]
struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gateway: Gateway,
    listener: Arc<str>,
    config: SocketioConfig,
    uppers: Arc<dyn Uppers>,
    registry: Registry,
    counters: Arc<Counters>,
    pipes: Pipes,
    flavor: Flavor,
}

impl Server {
    fn new(gateway: &Gateway, config: SocketioConfig, uppers: Arc<dyn Uppers>, flavor: Flavor) -> Self {
        let listener: Arc<str> = gateway.listener.name.as_str().into();
        let counter =
            |name, reason| gateway.stats.counter(("listener", listener.clone(), None), name, reason);
        let counters = Counters {
            frames: counter("frames", ""),
            bytes: counter("bytes_out", ""),
            messages_in: counter("messages_in", ""),
            held_back: counter("held_back", "message_rate"),
            slow: counter("closed", "slow"),
            refused: counter("closed", "protocol"),
            timed_out: counter("closed", "timeout"),
        };
        Self(Arc::new(Inner {
            registry: Registry::new(&listener, &gateway.limits, &gateway.stats),
            pipes: Pipes { message_max_bytes: config.max_payload_bytes, bytes: counters.bytes.clone() },
            gateway: gateway.clone(),
            listener,
            config,
            uppers,
            counters: Arc::new(counters),
            flavor,
        }))
    }

    fn routes(self) -> Router {
        let path = self.0.config.path.clone();
        let bare = path.trim_end_matches('/').to_owned();
        Router::new().route(&path, any(serve)).route(&bare, any(serve)).with_state(self)
    }

    /// Makes what a session is made of, and what it says first.
    fn parts(&self, revision: Revision, query: &str) -> (Parts, Vec<Parcel>) {
        let inner = &*self.0;
        let (config, limits) = (&inner.config, &inner.gateway.limits);
        let bell: Arc<Bell> = Arc::default();
        // It is counted before it is greeted, so that a greeting may tell how many there are.
        let guard = inner.gateway.hub.enter(&inner.listener, &bell);
        let mut greeting = Vec::new();
        let opened = Opened { query, revision, bell: bell.clone() };
        let upper = inner.uppers.open(&opened, &mut greeting);
        let parts = Parts {
            revision,
            guard,
            bell,
            upper,
            heart: Heart::new(revision, config.ping_interval, config.ping_timeout, Instant::now()),
            allowance: Allowance::new(limits.messages_per_second_max, limits.subscriptions_max),
            counters: inner.counters.clone(),
            pipes: inner.pipes.clone(),
        };
        (parts, greeting)
    }

    /// Writes the open packet, its type in front.
    fn open(&self, sid: &str, transport: Transport) -> String {
        let config = &self.0.config;
        let upgrades = match transport {
            Transport::Polling if config.websocket => "[\"websocket\"]",
            _ => "[]",
        };
        let ms = |duration: Duration| duration.as_millis();
        let max_payload = match self.0.flavor.tells_max_payload() {
            true => format!(",\"maxPayload\":{}", config.max_payload_bytes),
            false => String::new(),
        };
        format!(
            "0{{\"sid\":\"{sid}\",\"upgrades\":{upgrades},\"pingInterval\":{},\"pingTimeout\":{}{max_payload}}}",
            ms(config.ping_interval),
            ms(config.ping_timeout),
        )
    }
}

async fn serve(State(server): State<Server>, request: Request) -> Response<Body> {
    let flavor = server.0.flavor;
    if !flavor.has_words() {
        return answer(&server, request).await;
    }
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
    let answer = answer(&server, request).await;
    flavor.worded(answer, &method, &query)
}

async fn answer(server: &Server, request: Request) -> Response<Body> {
    let inner = &server.0;
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    let query = request.uri().query().unwrap_or_default();
    let asked = Asked::read(&inner.config, request.method(), query, is_upgrade, inner.flavor);
    let asked = match asked {
        Ok(asked) => asked,
        Err(wrong) => return wrong.into_response(),
    };
    match (asked.transport, &asked.sid) {
        (Transport::Polling, None) => begin_polling(server, &asked, &request),
        (Transport::Polling, Some(sid)) => match inner.registry.find(sid) {
            None => Wrong::Sid.into_response(),
            Some(door) if request.method() == axum::http::Method::GET => {
                // What was read of the socket is held by it, for as long as the poll waits.
                drop(request);
                poll(server, &asked, &door).await
            }
            Some(door) => post(server, &asked, &door, request).await,
        },
        (Transport::Websocket, _) => upgrade(server, &asked, request),
    }
}

/// Answers the handshake of a client that polls.
fn begin_polling(server: &Server, asked: &Asked, request: &Request) -> Response<Body> {
    let Some(revision) = asked.revision else { return Wrong::Version.into_response() };
    let (Some(peer), Some(sid)) = (request.extensions().get::<ConnectInfo<SocketAddr>>(), new_sid()) else {
        return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no session can be made now")
            .into_response();
    };
    let door = Arc::new(Door::new(asked.is_text_only));
    let Some(place) = server.0.registry.enter(&sid, peer.0.ip(), &door) else {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many sessions")
            .into_response();
    };
    let (parts, greeting) = server.parts(revision, request.uri().query().unwrap_or_default());
    tokio::spawn(connection::run_polling(parts, door, place, greeting));
    let open = server.open(&sid, Transport::Polling);
    let mut response = payload_response(asked, outbox::text(revision, open.as_bytes()));
    if let Some(name) = &server.0.config.cookie
        && let Ok(cookie) = HeaderValue::try_from(format!("{name}={sid}; Path=/; HttpOnly; SameSite=Lax"))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn poll(_: &Server, asked: &Asked, door: &Door) -> Response<Body> {
    let takes_binary = !asked.is_text_only && asked.jsonp.is_none();
    let Ok(answer) = door.poll(takes_binary) else { return Wrong::Request.into_response() };
    match door.answered(answer).await {
        Some(payload) => payload_response(asked, payload),
        // The session ended meanwhile.
        None => Wrong::Sid.into_response(),
    }
}

async fn post(server: &Server, asked: &Asked, door: &Arc<Door>, request: Request) -> Response<Body> {
    let config = &server.0.config;
    let Ok(ticket) = door.post() else { return Wrong::Request.into_response() };
    let max = config.max_payload_bytes;
    let patience = config.ping_interval + config.ping_timeout;
    let body = tokio::time::timeout(patience, axum::body::to_bytes(request.into_body(), max)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_too_large(&error) => {
            ticket.breach(Breach::TooLarge);
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        Ok(Err(_)) | Err(_) => {
            ticket.breach(Breach::Cut);
            return Wrong::Request.into_response();
        }
    };
    let body = match asked.jsonp.map(|_| payload::of_jsonp(&body)) {
        None => body,
        Some(Ok(text)) => Bytes::from(text),
        // Left as it is it will not be a payload either.
        Some(Err(_)) => Bytes::new(),
    };
    match ticket.deliver(body).await {
        Ok(Taken::Whole) => typed("text/html", "ok"),
        Ok(Taken::Malformed) | Err(_) => Wrong::Request.into_response(),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    use std::error::Error as _;
    error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// Agrees to a WebSocket: a session of its own, or one that wants to take over from polling.
fn upgrade(server: &Server, asked: &Asked, mut request: Request) -> Response<Body> {
    let Ok(accept) = websocket::check(request.headers()) else { return Wrong::Request.into_response() };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Wrong::Request.into_response();
    };
    match (&asked.sid, asked.revision) {
        (Some(sid), _) => {
            let Some(door) = server.0.registry.find(sid) else { return Wrong::Sid.into_response() };
            // A client that may not is let in and shown out: to a browser a refusal looks like a server that is away.
            let may = door.may_probe();
            tokio::spawn(async move {
                let socket = on_upgrade.await.ok();
                if may {
                    door.probe(socket);
                }
            });
        }
        (None, Some(revision)) => {
            let Some(sid) = new_sid() else { return Wrong::Request.into_response() };
            let (server, uri) = (server.clone(), request.uri().clone());
            tokio::spawn(async move {
                let Ok(upgraded) = on_upgrade.await else { return };
                let open = Parcel::text(server.open(&sid, Transport::Websocket));
                let (parts, mut greeting) = server.parts(revision, uri.query().unwrap_or_default());
                drop(uri);
                greeting.insert(0, open);
                let pipe = server.0.pipes.pipe(upgraded);
                drop(server);
                connection::run_socket(parts, pipe, greeting).await;
            });
        }
        (None, None) => return Wrong::Version.into_response(),
    }
    websocket::switch(&accept)
}

fn payload_response(asked: &Asked, payload: door::Payload) -> Response<Body> {
    match asked.jsonp {
        Some(number) => {
            let text = String::from_utf8_lossy(&payload.bytes);
            typed("text/javascript; charset=UTF-8", payload::jsonp(number, &text))
        }
        None if payload.is_binary => typed("application/octet-stream", payload.bytes),
        None => typed("text/plain; charset=UTF-8", payload.bytes),
    }
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for connection::Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
