//! One simulated process: a real worker on the simulated log, which can be frozen, killed, and told to stop.
//!
//! **Invariant:** a killed process leaves nothing behind but what the broker has heard of it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use windrow::{
    log::{LogError, Result},
    worker::{Shared, Worker},
};

use crate::log::{Life, Net, Pulse, SimLog};

pub(crate) struct Process {
    pub(crate) name: Arc<str>,
    pulse: Arc<Pulse>,
    stop: CancellationToken,
    worker: JoinHandle<Result<()>>,
}

impl Process {
    /// Starts a worker of that name; `share` makes what it shares from its log.
    pub(crate) async fn start(
        net: &Arc<Net>,
        name: Arc<str>,
        is_static: bool,
        share: impl AsyncFnOnce(SimLog) -> Shared,
    ) -> Self {
        let pulse = Pulse::new();
        let log = SimLog::new(net.clone(), name.clone(), pulse.clone());
        let stop = CancellationToken::new();
        let shared = share(log).await;
        // A worker stays on its thread, as in a real process.
        let worker = tokio::task::spawn_local(fold(shared, name.to_string(), is_static, stop.clone()));
        Self { name, pulse, stop, worker }
    }

    pub(crate) fn freeze(&self) {
        self.pulse.set(Life::Frozen);
    }

    pub(crate) fn thaw(&self) {
        self.pulse.set(Life::Running);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.pulse.get() == Life::Frozen
    }

    pub(crate) fn kill(self) {
        // First, so that whatever is dropped says no farewell.
        self.pulse.set(Life::Dead);
        self.worker.abort();
    }

    /// Asks it to finish its transaction and to leave.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.worker.is_finished()
    }

    /// Tells how a process that is over ended.
    pub(crate) async fn verdict(self) -> std::result::Result<(), String> {
        match self.worker.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("worker {} gave up: {error}", self.name)),
            Err(panic) => Err(format!("worker {} panicked: {panic}", self.name)),
        }
    }
}

/// As `workers` does in a real process.
async fn fold(shared: Shared, name: String, is_static: bool, stop: CancellationToken) -> Result<()> {
    loop {
        let joined = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            joined = Worker::join(shared.clone(), name.clone(), is_static.then(|| name.clone())) => joined,
        };
        match joined {
            Ok(worker) => return worker.run(stop).await,
            Err(LogError::Retry(_)) => sleep(Duration::from_secs(1)).await,
            Err(error) => return Err(error),
        }
    }
}

/// Ends of bounded inputs, which no simulated stream has.
pub(crate) fn no_ends() -> mpsc::UnboundedSender<windrow::log::Tp> {
    mpsc::unbounded_channel().0
}
