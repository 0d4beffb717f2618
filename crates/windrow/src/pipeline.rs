//! The pipeline: the whole way of one datum, wired in data order.
//!
//! ```text
//! topic ──► worker ───────────────► one transaction ──► topics        log, workers (worker, windrow_core::engine)
//!                                                         │
//! browser ◄── session ◄── hub ◄── reader ◄────────────────┘           hub, gateway (session, dialect)
//! ```
//!
//! **Invariant:** it starts sink-first and stops source-first: nobody produces what nobody takes. Engine and gateway meet
//! only in the log, so each role runs alone as well. **Not here:** anything but wiring.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use windrow_core::plan::StreamPlan;

use crate::{
    config::{Config, LogKind},
    gateway::Gateways,
    hub::{ChannelSpec, Hub},
    log::{Log, LogError, deferred::Deferred, embedded::EmbeddedLog, kafka::KafkaLog},
    registry::{Registry, Taught, enrolled},
    stats::{self, Stats},
    workers::{Start, Workers},
};

/// Which half of the pipeline this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Workers alone.
    Engine,
    /// Reader, hub and sessions alone.
    Gateway,
    /// Both.
    All,
}

/// How this process runs, beside the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which half.
    pub role: Role,
    /// Whether bounded inputs are complete from the start; when not, [`Pipeline::input_complete`] tells it later.
    pub input_complete: bool,
    /// Views whose state is forgotten before anything is folded.
    pub reset: Vec<String>,
}

/// A running process.
pub struct Pipeline {
    log: Arc<dyn Log>,
    stats: Arc<Stats>,
    gateway: Option<(Hub, Gateways)>,
    workers: Option<Workers>,
    input_complete: watch::Sender<bool>,
    stop: CancellationToken,
    drain_timeout: Duration,
}

impl Pipeline {
    /// Starts everything, sink first. Returns when the listeners are bound; the log may still be away.
    ///
    /// - **Errors:** a plan that cannot run, an address in use, a directory that is locked or not writable.
    pub async fn start(
        config: &Config,
        plans: &[Arc<StreamPlan>],
        options: &Options,
    ) -> anyhow::Result<Self> {
        let stats = Arc::new(Stats::default());
        let stop = CancellationToken::new();
        let node = node_name(config);
        let log = open_log(config, &stats)?;
        let (log, engine_log) = match &config.registry {
            Some(registry) => {
                let registry = Registry::new(registry, stats.clone())?;
                let log = Taught::wrap(log, &registry, plans);
                let for_engine = options.role != Role::Gateway;
                let engine_log = for_engine.then(|| enrolled::wrap(log.clone(), &registry, plans, &stats));
                (log.clone(), engine_log.unwrap_or(log))
            }
            None => (log.clone(), log),
        };
        let (input_complete, complete) = watch::channel(options.input_complete);

        let gateway = match options.role {
            Role::Gateway | Role::All => {
                let channels = ChannelSpec::all(&config.app, plans);
                let hub = Hub::start(log.clone(), channels, &config.limits, stats.clone());
                let gateways = Gateways::bind(config, plans, &hub, &log, &stats).await?;
                if let Some(channel) = hub.local("_stats") {
                    tokio::spawn(stats::rows::feed(stats.clone(), channel, node.clone(), stop.clone()));
                }
                Some((hub, gateways))
            }
            Role::Engine => None,
        };
        let workers = match options.role {
            Role::Engine | Role::All => Some(Workers::start(&Start {
                config,
                plans,
                log: engine_log,
                stats: stats.clone(),
                instance: node,
                input_complete: complete,
                empty_is_end: !options.input_complete,
                reset: &options.reset,
            })),
            Role::Gateway => None,
        };
        Ok(Self {
            log,
            stats,
            gateway,
            workers,
            input_complete,
            stop,
            drain_timeout: config.limits.drain_timeout,
        })
    }

    /// Returns the log, for those who write into it from this process.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Returns the numbers of this process.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Returns the channels of this process, where it serves any.
    pub fn hub(&self) -> Option<&Hub> {
        self.gateway.as_ref().map(|(hub, _)| hub)
    }

    /// Returns each listener's name and bound address.
    pub fn addresses(&self) -> Vec<(String, std::net::SocketAddr)> {
        self.gateway.as_ref().map(|(_, gateways)| gateways.addresses()).unwrap_or_default()
    }

    /// Says that bounded inputs are written completely: their windows close at the end.
    pub fn input_complete(&self) {
        self.input_complete.send_replace(true);
    }

    /// Waits until every bounded input is folded and committed to its end.
    pub async fn ended(&mut self) -> Result<(), LogError> {
        match &mut self.workers {
            // Failing first: a worker that is gone will never report an end.
            Some(workers) => workers.ended_or_failed().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for a failure that stops the process.
    pub async fn failed(&mut self) -> Result<(), LogError> {
        match &mut self.workers {
            Some(workers) => workers.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Stops source-first: transactions finish, the group is left, clients are told when to come back.
    pub async fn drain(self) -> anyhow::Result<()> {
        let timeout = self.drain_timeout;
        let drained = async {
            let folded = match self.workers {
                Some(workers) => workers.drain().await,
                None => Ok(()),
            };
            if let Some((hub, gateways)) = self.gateway {
                hub.drain();
                gateways.drain().await;
                hub.drained().await;
            }
            self.stop.cancel();
            folded
        };
        match tokio::time::timeout(timeout, drained).await {
            Ok(folded) => Ok(folded?),
            Err(_) => anyhow::bail!(
                "the drain took longer than limits.drain_timeout ({timeout:?}); what was open is aborted"
            ),
        }
    }
}

/// Opens the log: the embedded one now, Kafka as soon as it answers.
fn open_log(config: &Config, stats: &Arc<Stats>) -> anyhow::Result<Arc<dyn Log>> {
    match &config.log.kind {
        LogKind::Embedded { directory, sync } => {
            let log = EmbeddedLog::open(directory, *sync)?;
            tokio::spawn(tell_health(log.health(), stats.clone()));
            Ok(log)
        }
        LogKind::Kafka { bootstrap_servers, properties } => {
            let (servers, properties) = (bootstrap_servers.clone(), properties.clone());
            Ok(Deferred::connect(stats.clone(), "log", move || {
                let (servers, properties) = (servers.clone(), properties.clone());
                async move { KafkaLog::connect(&servers, &properties).await.map(|log| log as Arc<dyn Log>) }
            }))
        }
    }
}

/// A log that takes no records makes the process not ready, with the reason, until it takes them again.
async fn tell_health(mut health: watch::Receiver<Option<String>>, stats: Arc<Stats>) {
    loop {
        let why = health.borrow_and_update().clone();
        match why {
            Some(why) => stats.trouble("log", why),
            None => stats.fine("log"),
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Names this process: the configured instance, or a name that no other process has.
fn node_name(config: &Config) -> String {
    config.log.instance_id.clone().unwrap_or_else(|| {
        let nanos = jiff::Timestamp::now().as_nanosecond();
        format!("{}-{:x}", std::process::id(), nanos & 0xff_ffff_ffff)
    })
}
