//! `windrow debug`: servers that test suites of protocols are run against.
//!
//! **In** flags. **Out** a listener with the very dialect that `serve` has, and an echo behind it. **Not here:** the echo
//! (`dialect::socketio`).

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::{
    config::{Dialect, Limits, ListenerConfig, Originals, SocketioConfig, Sync, units},
    dialect::{Gateway, socketio},
    gateway,
    hub::Hub,
    log::embedded::EmbeddedLog,
    stats::Stats,
};

#[derive(Debug, Subcommand)]
pub(super) enum DebugCommand {
    /// Say back what Socket.IO clients say
    ///
    /// On `/` and `/custom`: the event `auth` with what a client brought; `message` comes back as `message-back`; `message-with-ack`
    /// is acked with its arguments; `message-for-ack` comes back as `please-ack`, which wants an ack, and that as `acked`. `leave` puts the
    /// client out of the namespace, `hang-up` ends its session, `{"refuse":"why"}` in its auth keeps it out. Messages of Engine.IO alone
    /// come back on /engine.io/. A handshake must say its version. The address is printed once it listens.
    #[command(
        after_help = "Example:\n  windrow debug socketio-echo --port 3000 --ping-interval 300ms --ping-timeout 200ms"
    )]
    SocketioEcho(EchoArgs),
}

#[derive(Debug, Args)]
pub(super) struct EchoArgs {
    /// Port on 127.0.0.1; 0 is any that is free
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Time between two pings
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = time)]
    ping_interval: Duration,
    /// How long the answer to a ping may take
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time)]
    ping_timeout: Duration,
    /// Most bytes of one message
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    max_payload: usize,
    /// How long a client may be in no namespace
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    connect_timeout: Duration,
    /// Versions of Engine.IO
    #[arg(long, value_name = "VERSIONS", default_value = "3,4", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(3..=4))]
    versions: Vec<u8>,
    /// An origin whose pages may use it; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
}

fn time(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "a duration is like 250ms, 5m or 30d".to_owned())
}

pub(super) async fn run(command: DebugCommand) -> Result<(), Failure> {
    let DebugCommand::SocketioEcho(args) = command;
    let config = SocketioConfig {
        ping_interval: args.ping_interval,
        ping_timeout: args.ping_timeout,
        max_payload_bytes: args.max_payload,
        connect_timeout: args.connect_timeout,
        versions: args.versions,
        ..SocketioConfig::default()
    };
    let listener = ListenerConfig {
        name: "echo".to_owned(),
        bind: (Ipv4Addr::LOCALHOST, args.port).into(),
        dialects: vec![Dialect::Socketio],
        channels: Some(Vec::new()),
        publish: None,
        origins: args.origin,
        socketio: config.clone(),
        originals: Originals::default(),
    };
    // The hub has no channels here, so nothing is ever read from this log.
    let directory = tempfile::tempdir().map_err(Failure::failed)?;
    let log = EmbeddedLog::open(directory.path(), Sync::Never).map_err(Failure::failed)?;
    // An echo is no feed: a suite may say as much as it likes.
    let limits = Limits { messages_per_second_max: 1_000_000, ..Limits::default() };
    let stats = Arc::new(Stats::default());
    let hub = Hub::start(log, Vec::new(), &limits, stats.clone());
    let gateway = Gateway::new(hub, Arc::new(listener), Arc::new(limits), stats);
    let router = socketio::echo_routes(&gateway, &config);
    let stop = CancellationToken::new();
    let (address, served) = gateway::bind_alone(gateway, router, stop).await.map_err(Failure::failed)?;
    println!("http://{address}");
    tokio::select! {
        () = served => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
