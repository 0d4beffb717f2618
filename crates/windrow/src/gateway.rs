//! The gateway's listeners: addresses become connections, connections become requests of one dialect.
//!
//! accept (`accept`) → limits (`seats`) → host and origin (`origin`) → routes (`dialect`)
//!
//! **In** the configuration, the hub and the log. **Out** served connections.
//! **Invariant:** every address is bound before anything is served, so that a port in use stops the start, not the service;
//! a connection over a limit is refused and counted, never queued.
//! **Not here:** what is said on a connection (`dialect`), who gets which row (`hub`).

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use windrow_core::plan::StreamPlan;

use crate::{
    config::{Config, Dialect, ListenerConfig, LogKind},
    dialect::{self, Gateway},
    hub::Hub,
    log::Log,
    publish::{Publisher, Setup},
    stats::Stats,
};

mod accept;
mod files;
mod origin;
mod seats;

pub use self::accept::Connection;
pub(crate) use self::{
    files::allow_open_files,
    seats::{Seat, SeatNames, Seats},
};

/// All listeners of this process, serving.
pub struct Gateways {
    addresses: Vec<(String, SocketAddr)>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// A listener whose address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener `{listener}` cannot bind {address}: {reason}")]
pub struct BindError {
    /// Name in the configuration.
    pub listener: String,
    /// Address in the configuration.
    pub address: SocketAddr,
    /// What the system said, and a way out.
    pub reason: String,
}

impl Gateways {
    /// Binds every listener, then serves them all.
    ///
    /// - **Errors:** an address in use or not ours; then none is served.
    pub async fn bind(
        config: &Config,
        _plans: &[Arc<StreamPlan>],
        hub: &Hub,
        log: &Arc<dyn Log>,
        stats: &Arc<Stats>,
    ) -> Result<Self, BindError> {
        files::prepare(config.limits.connections_max.saturating_mul(config.listeners.len()));
        let mut bound = Vec::with_capacity(config.listeners.len());
        for listener in config.listeners.values() {
            bound.push((listener, bind(listener).await?));
        }
        let may_create = matches!(config.log.kind, LogKind::Embedded { .. });
        let limits = Arc::new(config.limits.clone());
        let publisher = Publisher::start(Setup {
            log: log.clone(),
            app: config.app.as_str().into(),
            exactly_once: config.log.exactly_once,
            streams: config.streams.clone(),
            may_create,
            limits: limits.clone(),
            stats: stats.clone(),
        });
        let (stop, mut tasks, mut addresses) = (CancellationToken::new(), JoinSet::new(), Vec::new());
        for (listener, socket) in bound {
            let address = socket.local_addr().unwrap_or(listener.bind);
            addresses.push((listener.name.clone(), address));
            tracing::info!(listener = listener.name, %address, "listening");
            // From here on the real port counts, also for origins and rules.
            let config = Arc::new(ListenerConfig { bind: address, ..listener.clone() });
            let gateway = Gateway::new(hub.clone(), config, limits.clone(), stats.clone());
            let router = routes(&gateway, &publisher);
            tasks.spawn(accept::serve(socket, router, gateway, stop.clone()));
        }
        Ok(Self { addresses, tasks, stop })
    }

    /// Returns each listener's name and the address it is bound to.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.addresses.clone()
    }

    /// Stops accepting, lets every request in flight finish, and waits for that.
    pub async fn drain(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Binds one listener for a router of its own, with the checks and limits of every other; what is returned serves it until told to
/// stop.
pub async fn bind_alone(
    gateway: Gateway,
    router: Router,
    stop: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + use<>), BindError> {
    files::prepare(gateway.limits.connections_max);
    let socket = bind(&gateway.listener).await?;
    let address = socket.local_addr().unwrap_or(gateway.listener.bind);
    let router = origin::guard(router.fallback(dialect::http::not_found), &gateway.listener);
    Ok((address, accept::serve(socket, router, gateway, stop)))
}

async fn bind(listener: &ListenerConfig) -> Result<TcpListener, BindError> {
    TcpListener::bind(listener.bind).await.map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "the address is in use; stop the other process or give this listener another port".to_owned()
            }
            io::ErrorKind::PermissionDenied => "not permitted; ports below 1024 need a privilege".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
            _ => error.to_string(),
        };
        BindError { listener: listener.name.clone(), address: listener.bind, reason }
    })
}

/// The routes of one listener: each dialect claims its path, everything else is told to be unknown.
fn routes(gateway: &Gateway, publisher: &Publisher) -> Router {
    let mut router = Router::new();
    for dialect in &gateway.listener.dialects {
        router = router.merge(match dialect {
            Dialect::Websocket => dialect::websocket::routes(gateway.clone()),
            Dialect::Sse => dialect::sse::routes(gateway.clone()),
            // An original has namespace `/` and serves the general API beside it.
            Dialect::Socketio if gateway.listener.originals.speak_socketio() => Router::new(),
            Dialect::Socketio => dialect::socketio::routes(gateway),
            Dialect::Http => dialect::http::routes(gateway.clone(), publisher.clone()),
            Dialect::Dashboard => dialect::dashboard::routes(),
            Dialect::VideoCounter => dialect::originals::video_counter::routes(gateway, publisher),
            Dialect::VisitAggregator => dialect::originals::visit_aggregator::routes(gateway),
            Dialect::RealtimeEvents => dialect::originals::realtime_events::routes(gateway),
            Dialect::SensorMirror => dialect::originals::sensor_mirror::routes(gateway),
        });
    }
    let router = match gateway.listener.dialects.as_slice() {
        [Dialect::VideoCounter] | [Dialect::VisitAggregator] | [Dialect::SensorMirror] => {
            router.fallback(dialect::originals::not_found)
        }
        [Dialect::RealtimeEvents] => router.fallback(dialect::originals::realtime_events::refuse),
        _ => router.fallback(dialect::http::not_found),
    };
    origin::guard(router, &gateway.listener)
}
