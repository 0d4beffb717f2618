//! One worker's thread: joins, folds, and after a panic does so again.
//!
//! **In** what the workers share. **Out** the worker's result, once. **Invariant:** a panic costs the worker its memory, which it
//! restores from the journals like any other member that went down; not the process. More than [`PANICS_MAX`] within
//! [`PANICS_WITHIN`] are no chance: they end it, with a reason.
//! **Not here:** panics while one partition is folded, which blame its views (`worker::poison`).

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    log::{LogError, Result},
    worker::{Shared, Worker},
};

/// Pause between two attempts to join.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// Panics of one worker that are answered by starting it again.
const PANICS_MAX: usize = 3;
const PANICS_WITHIN: Duration = Duration::from_secs(60);
/// Times that a worker joins again after another has joined under its name, or the group forgot it. Two processes with one name take
/// it from each other until one of them has had enough; a worker that kept its membership for [`SETTLED`] begins to count anew.
const REJOINS_MAX: u32 = 20;
const SETTLED: Duration = Duration::from_secs(60);

/// State has one owner thread: the fold never runs on a thread that serves sockets.
pub(super) fn spawn(
    shared: Shared,
    name: String,
    static_id: Option<String>,
    stop: CancellationToken,
    results: mpsc::UnboundedSender<Result<()>>,
) -> Result<()> {
    let runtime = Handle::current();
    let work = move || {
        let _ = results.send(runtime.block_on(survive(shared, name, static_id, stop)));
    };
    std::thread::Builder::new()
        .name("worker".into())
        .spawn(work)
        .map_err(|error| LogError::Fatal(format!("a worker's thread could not start: {error}")))?;
    Ok(())
}

/// Folds until told to stop, whatever panics on the way.
async fn survive(
    shared: Shared,
    name: String,
    static_id: Option<String>,
    stop: CancellationToken,
) -> Result<()> {
    let mut panics: VecDeque<Instant> = VecDeque::new();
    loop {
        let folding = fold(shared.clone(), name.clone(), static_id.clone(), stop.clone());
        if let Ok(result) = AssertUnwindSafe(folding).catch_unwind().await {
            return result;
        }
        panics.push_back(Instant::now());
        panics.retain(|at| at.elapsed() < PANICS_WITHIN);
        if panics.len() > PANICS_MAX {
            return Err(LogError::Fatal(format!(
                "worker {name} panicked {} times within {} s; the log says where",
                panics.len(),
                PANICS_WITHIN.as_secs()
            )));
        }
        tracing::error!(worker = %name, "the worker panicked; its partitions are restored");
        shared.stats.trouble(&room(&name), "panicked; its partitions are being restored");
    }
}

fn room(name: &str) -> String {
    format!("worker {name}")
}

async fn fold(
    shared: Shared,
    name: String,
    static_id: Option<String>,
    stop: CancellationToken,
) -> Result<()> {
    let room = room(&name);
    let mut rejoins = 0;
    loop {
        let joined = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            joined = Worker::join(shared.clone(), name.clone(), static_id.clone()) => joined,
        };
        match joined {
            Ok(worker) => {
                shared.stats.fine(&room);
                let joined = Instant::now();
                let why = match worker.run(stop.clone()).await {
                    Err(LogError::Fenced(why)) => why,
                    done => return done,
                };
                rejoins = if joined.elapsed() < SETTLED { rejoins + 1 } else { 1 };
                if rejoins > REJOINS_MAX {
                    return Err(LogError::Fatal(format!(
                        "{why}; this has happened {rejoins} times in a row: if two processes have one log.instance_id, give each its own"
                    )));
                }
                tracing::warn!(worker = %name, %why, "joining again");
                shared.stats.trouble(&room, why);
            }
            Err(LogError::Retry(why)) => {
                tracing::warn!(worker = %name, %why, "cannot join yet; trying again");
                shared.stats.trouble(&room, why);
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(JOIN_PAUSE) => {}
        }
    }
}
