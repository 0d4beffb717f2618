//! A log that is still away: every call waits until it is there, so that the gateway can serve `/readyz` meanwhile.
//!
//! **In** a way to connect. **Out** the same [`Log`], later. **Invariant:** no call fails because the log is not there yet;
//! why it is not stands in the stats' troubles.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Ends, Group, GroupOptions, Log, LogError, Reader, ReaderOptions, Result, Roster, TopicInfo, TopicSpec,
    Tp, Writer, WriterOptions,
};
use crate::stats::Stats;

/// First and longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

type Slot = Option<std::result::Result<Arc<dyn Log>, String>>;

/// See the module.
pub struct Deferred {
    slot: watch::Receiver<Slot>,
}

impl Deferred {
    /// Starts to connect, again and again while the trouble may pass, and returns at once.
    ///
    /// - **Shape:** `room` is where the stats have the trouble.
    pub fn connect<F, C>(stats: Arc<Stats>, room: &'static str, connect: C) -> Arc<dyn Log>
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Arc<dyn Log>>> + Send,
    {
        let (sender, slot) = watch::channel(None);
        stats.trouble(room, "connecting");
        tokio::spawn(async move {
            let found = patiently(&stats, room, connect).await;
            let _ = sender.send(Some(found));
            // The slot must outlive the attempt: a closed channel would look like a log that never comes.
            sender.closed().await;
        });
        Arc::new(Self { slot })
    }

    async fn get(&self) -> Result<Arc<dyn Log>> {
        let mut slot = self.slot.clone();
        let found = slot.wait_for(Option::is_some).await;
        match found.as_deref() {
            Ok(Some(Ok(log))) => Ok(log.clone()),
            Ok(Some(Err(why))) => Err(LogError::Fatal(why.clone())),
            Ok(None) | Err(_) => Err(LogError::Fatal("the log was closed".into())),
        }
    }
}

async fn patiently<F, C>(stats: &Stats, room: &str, connect: C) -> std::result::Result<Arc<dyn Log>, String>
where
    C: Fn() -> F,
    F: Future<Output = Result<Arc<dyn Log>>>,
{
    let mut pause = PAUSES.0;
    loop {
        match connect().await {
            Ok(log) => {
                stats.fine(room);
                return Ok(log);
            }
            Err(LogError::Retry(why)) => {
                tracing::warn!(%why, "{room}: not there yet; trying again");
                stats.trouble(room, why);
            }
            Err(fatal) => {
                stats.trouble(room, fatal.to_string());
                return Err(fatal.to_string());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[async_trait]
impl Log for Deferred {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        self.get().await?.create_topic(spec).await
    }
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.get().await?.topic(name).await
    }
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.get().await?.topics().await
    }
    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        self.get().await?.ends(tps).await
    }
    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        self.get().await?.committed(group, tps).await
    }
    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        self.get().await?.delete_records(tp, offset).await
    }
    async fn delete_topic(&self, name: &str) -> Result<bool> {
        self.get().await?.delete_topic(name).await
    }
    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        self.get().await?.add_partitions(name, partitions).await
    }
    async fn record_max_bytes(&self, name: &str) -> Result<usize> {
        self.get().await?.record_max_bytes(name).await
    }
    async fn tombstones_kept(&self, name: &str) -> Result<Option<Duration>> {
        self.get().await?.tombstones_kept(name).await
    }
    async fn forgets(&self, name: &str) -> Result<Option<String>> {
        self.get().await?.forgets(name).await
    }
    async fn roster(&self, group: &str) -> Result<Roster> {
        self.get().await?.roster(group).await
    }
    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        self.get().await?.group(options).await
    }
    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        self.get().await?.reader(options).await
    }
    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        self.get().await?.writer(options).await
    }
}
