//! Reading: answers that were true when they left the broker.
//!
//! **Invariant:** what was asked for before a partition was assigned anew, or taken away, is never handed over afterwards.

use std::{collections::BTreeMap, future::pending, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout_at};
use windrow::log::{Fetched, From, Gap, LogError, Reader, ReaderOptions, Result, Tp};

use super::SimLog;
use crate::broker::Broker;

/// Batches of one partition in one answer: few, so that a partition is behind now and then.
const BATCHES_MAX: usize = 6;

pub(super) struct SimReader {
    log: SimLog,
    wait_max: Duration,
    positions: BTreeMap<Tp, From>,
    /// An answer on its way.
    coming: Option<(Instant, Vec<Fetched>)>,
    /// When the log answers even if nothing is there.
    silent_until: Option<Instant>,
}

impl SimReader {
    pub(super) fn new(log: SimLog, options: ReaderOptions) -> Self {
        Self { log, wait_max: options.wait_max, positions: BTreeMap::new(), coming: None, silent_until: None }
    }

    fn forget(&mut self, tp: &Tp) {
        self.log.holes.lock().retain(|(of, _)| of != tp);
        if let Some((_, items)) = &mut self.coming {
            items.retain(|item| item.tp != *tp);
        }
    }

    fn fetch(&mut self, broker: &mut Broker, tells_silence: bool) -> Result<Vec<Fetched>> {
        let mut items = Vec::new();
        for (tp, from) in &mut self.positions {
            let partition = broker.partition(tp)?;
            let ends = partition.ends();
            let from_offset = match *from {
                From::Offset(offset) => offset,
                From::Earliest => ends.earliest,
                From::Latest => ends.high_watermark,
            };
            let mut item = Fetched {
                tp: tp.clone(),
                batches: Vec::new(),
                from: from_offset,
                next: from_offset,
                high_watermark: ends.high_watermark,
                last_stable: ends.last_stable,
                gap: None,
            };
            let held = from_offset.clamp(ends.earliest, ends.high_watermark);
            if held != from_offset {
                (item.next, item.gap) = (held, Some(Gap { from: from_offset, to: held }));
            } else {
                (item.batches, item.next) = partition.read(from_offset, BATCHES_MAX);
            }
            *from = From::Offset(item.next);
            if item.next != item.from || tells_silence {
                items.push(item);
            }
        }
        Ok(items)
    }
}

#[async_trait]
impl Reader for SimReader {
    fn assign(&mut self, tp: Tp, from: From) {
        self.forget(&tp);
        self.positions.insert(tp, from);
    }

    fn unassign(&mut self, tp: &Tp) {
        self.forget(tp);
        self.positions.remove(tp);
    }

    async fn next(&mut self) -> Result<Vec<Fetched>> {
        loop {
            if self.positions.is_empty() {
                return pending().await;
            }
            self.log.gate().await;
            if let Some((at, _)) = self.coming {
                sleep_until(at).await;
                self.log.gate().await;
                let Some((_, items)) = self.coming.take() else { continue };
                let mut holes = self.log.holes.lock();
                holes.extend(
                    items.iter().filter_map(|item| Some((item.tp.clone(), (item.gap?.from, item.gap?.to)))),
                );
                if !items.is_empty() {
                    return Ok(items);
                }
                continue;
            }
            let net = self.log.net.clone();
            let now = Instant::now();
            let silent_until = *self.silent_until.get_or_insert(now + self.wait_max);
            let knobs = net.with(|broker| broker.knobs.clone());
            if net.chance(|rng| rng.per_mille(knobs.failures / 4)) {
                return Err(LogError::Retry("the fetch failed".into()));
            }
            let items = net.with(|broker| self.fetch(broker, now >= silent_until))?;
            if items.is_empty() {
                let _ = timeout_at(silent_until, net.changed.notified()).await;
                continue;
            }
            self.silent_until = None;
            let delay_ms = net.chance(|rng| match rng.per_mille(knobs.slow_calls) {
                true => rng.within(0..knobs.call_max_ms),
                false => rng.within(-2..2),
            });
            self.coming = Some((now + Duration::from_millis(delay_ms.max(0).unsigned_abs()), items));
        }
    }
}
