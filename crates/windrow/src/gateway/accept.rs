//! Accepting: sockets become HTTP/1.1 connections with a router behind them.
//!
//! **In** a bound socket and a router. **Out** requests, and upgraded connections for the WebSocket dialect.
//! **Invariant:** a head that does not come in time ends its connection; an accept error pauses the loop, never ends it; no request and
//! no client that does not read holds a drain.
//!
//! Source: mini-redis `server.rs` (accept loop, drain).

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, extract::Request, response::IntoResponse as _};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::seats::{Seat, SeatNames, Seats};
use crate::{
    dialect::{Gateway, http::Refusal},
    hub::Fault,
};

/// Pause after an accept error: out of file descriptors is the usual one, and it passes when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest request head with its buffer; browsers send 1–2 KiB.
const HEAD_MAX_BYTES: usize = 32 << 10;

/// Most headers of one request.
const HEADERS_MAX: usize = 64;

/// Said to a connection over a limit, so that a browser's console shows more than a reset.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 65\r\n\r\n\
    {\"error\":{\"code\":\"overloaded\",\"message\":\"too many connections\"}}\n";

/// What a drain leaves of its time (`limits.drain_timeout`) to a request that is not answered yet; and as much again to who does not
/// read the answer.
const DRAIN_SHARE: u32 = 4;

/// Serves one listener until told to stop, then lets what is in flight finish, or tells it that it does not.
pub(super) async fn serve(listener: TcpListener, router: Router, gateway: Gateway, stop: CancellationToken) {
    let limits = &gateway.limits;
    let name = &gateway.listener.name;
    let max = (limits.connections_max, limits.connections_per_address_max);
    let seats = Seats::new(name, max, SeatNames::CONNECTIONS, &gateway.stats);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX);
    let end = End { stop, patience: limits.drain_timeout / DRAIN_SHARE };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = end.stop.cancelled() => break,
            // Ended connections are taken out as they end, so the set never grows past the open ones.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => match seats.take(peer.ip()) {
                Some(seat) => {
                    let io = TokioIo::new(Connection::new(socket, seat));
                    connections.spawn(converse(http.clone(), io, peer, router.clone(), end.clone()));
                }
                None => _ = socket.try_write(FULL),
            },
            Err(error) => {
                tracing::warn!(listener = name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// When connections end, and how long what is in flight may take then.
#[derive(Clone)]
struct End {
    stop: CancellationToken,
    patience: Duration,
}

impl End {
    /// Waits until a request that is not answered yet must not be waited for any longer.
    async fn overdue(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(self.patience).await;
    }
}

/// Serves one connection. Client errors are the client's business and end here.
async fn converse(http: http1::Builder, io: TokioIo<Connection>, peer: SocketAddr, router: Router, end: End) {
    let of_request = end.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let (mut router, end) = (router.clone(), of_request.clone());
        async move {
            let answer = tokio::select! {
                answer = tower_service(&mut router, request) => answer,
                () = end.overdue() => overdue(),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(end.patience * 2, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!(%peer, "cut off: it did not end in time"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// What was published may have been taken all the same: whoever needs to know sends it again with its `Idempotency-Key`.
fn overdue() -> axum::response::Response {
    Refusal::from(Fault::new("draining", "this server is about to stop, and has no answer yet"))
        .into_response()
}

/// Calls the router; it is always ready and cannot fail.
async fn tower_service(router: &mut Router, request: Request) -> axum::response::Response {
    use hyper_util::service::TowerToHyperService;
    let service = TowerToHyperService::new(router.clone());
    match hyper::service::Service::call(&service, request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

/// A socket with its seat. After an upgrade the session holds this, and with it the seat.
pub struct Connection {
    socket: TcpStream,
    _seat: Seat,
}

impl Connection {
    fn new(socket: TcpStream, seat: Seat) -> Self {
        // Frames are small and whole: waiting for more would only add delay. Without it the connection still works.
        let _ = socket.set_nodelay(true);
        Self { socket, _seat: seat }
    }

    /// Returns the socket itself, for sessions that poll it directly.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
