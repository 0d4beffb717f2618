//! Figures on standard error, each so many records.
//!
//! ```text
//! frames: 200000 records in 0.9 s, 231481 a second, 12 late, 2 bad
//!   seconds {"timestamp":1468244404,"datetime":"2016-07-11 13:40:04","num_of_frames":10000,…}
//! ```
//!
//! **In** the process's numbers and the rows of its channels. **Out** lines.
//! **Invariant:** looking costs the records nothing; there are at most a few lines a second, each with the true count.
//! **Not here:** the log, which tells what happens (`trace`); the numbers for machines (`_stats`, `/metrics`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    config::{Config, ConsoleConfig},
    hub::Hub,
    stats::{Metric, Stats},
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest wait for the newest row of a view.
const ROW_WAIT: Duration = Duration::from_secs(1);
/// Time between two looks for it.
const ROW_PAUSE: Duration = Duration::from_millis(20);

/// What is told, and what was told last.
pub(super) struct Console {
    config: ConsoleConfig,
    /// Views of each stream: those that count what is late.
    views: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    stats: Arc<Stats>,
    hub: Option<Hub>,
    began: Instant,
    told: BTreeMap<Arc<str>, Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    records: u64,
    at: Instant,
}

/// The counters of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    records: u64,
    bad: u64,
    late: u64,
}

impl Console {
    /// - **Shape:** `None` = nothing is to be told.
    pub(super) fn new(
        config: &Config,
        views: BTreeMap<Arc<str>, Vec<Arc<str>>>,
        stats: Arc<Stats>,
        hub: Option<Hub>,
    ) -> Option<Self> {
        let console = (config.console.every > 0).then(|| config.console.clone())?;
        Some(Self { config: console, views, stats, hub, began: Instant::now(), told: BTreeMap::new() })
    }

    /// Tells until it is dropped. Cancel-safe: a line is whole or not there.
    pub(super) async fn run(&mut self) {
        let mut ticker = tokio::time::interval(LOOK_EVERY);
        loop {
            ticker.tick().await;
            self.look(self.config.every).await;
        }
    }

    /// Tells what came since the last line, however little. Where `is_over`, every window was closed, and the last row is waited for.
    pub(super) async fn last(&mut self, is_over: bool) {
        if is_over {
            // Somebody who waits for the figures of a whole input wants those of its end, not those of a moment before.
            let _ = tokio::time::timeout(ROW_WAIT, self.until_closed()).await;
        }
        self.look(1).await;
    }

    /// Waits until this process shows rows of closed windows and none of open ones.
    async fn until_closed(&self) {
        let Some(hub) = &self.hub else { return };
        for view in &self.config.views {
            while !hub.snapshot(view, None, usize::MAX).await.is_ok_and(|snapshot| are_closed(&snapshot.rows))
            {
                tokio::time::sleep(ROW_PAUSE).await;
            }
        }
    }

    async fn look(&mut self, least: u64) {
        let streams: Vec<Arc<str>> = self.views.keys().cloned().collect();
        let mut is_told = false;
        for stream in streams {
            let count = self.count(&stream);
            let before = self.told.get(&stream).copied().unwrap_or(Told { records: 0, at: self.began });
            if count.records - before.records >= least {
                let now = Told { records: count.records, at: Instant::now() };
                eprintln!("{}", line(&stream, count, self.began.elapsed(), &before, &now));
                self.told.insert(stream, now);
                is_told = true;
            }
        }
        if is_told {
            self.rows().await;
        }
    }

    fn count(&self, stream: &Arc<str>) -> Count {
        let views = &self.views[stream];
        let mut count = Count::default();
        for ((kind, name, _), metrics) in self.stats.snapshot() {
            let of_stream = kind == "partition" && name == *stream;
            let of_view = kind == "view" && views.contains(&name);
            for ((metric, _), value) in metrics {
                let Metric::Counter(value) = value else { continue };
                match metric {
                    "records" if of_stream => count.records += value.get(),
                    "bad" if of_stream => count.bad += value.get(),
                    "late" if of_view => count.late += value.get(),
                    _ => {}
                }
            }
        }
        count
    }

    /// Tells the newest closed row of each view that is asked for, where this process serves them.
    async fn rows(&self) {
        let Some(hub) = &self.hub else { return };
        for view in &self.config.views {
            let rows = hub.snapshot(view, Some("final"), usize::MAX);
            if let Ok(Ok(snapshot)) = tokio::time::timeout(ROW_WAIT, rows).await
                && let Some(row) = newest(&snapshot.rows)
            {
                eprintln!("  {view} {row}");
            }
        }
    }
}

fn line(stream: &str, count: Count, since: Duration, before: &Told, now: &Told) -> String {
    let Count { records, bad, late } = count;
    let span = (now.at - before.at).as_secs_f64().max(0.001);
    let rate = (now.records - before.records) as f64 / span;
    let seconds = since.as_secs_f64();
    format!("{stream}: {records} records in {seconds:.1} s, {rate:.0} a second, {late} late, {bad} bad")
}

/// Whether a row's window is closed.
#[derive(Debug, Deserialize)]
struct Closed {
    r#final: bool,
}

/// Tells whether there are rows, and all of closed windows.
fn are_closed(rows: &[u8]) -> bool {
    let rows: Vec<Closed> = serde_json::from_slice(rows).unwrap_or_default();
    !rows.is_empty() && rows.iter().all(|row| row.r#final)
}

/// When a row's window begins.
#[derive(Debug, Deserialize)]
struct Begins {
    window_start: i64,
}

/// Returns the row of the newest window, as it stands.
fn newest(rows: &[u8]) -> Option<&str> {
    let rows: Vec<&RawValue> = serde_json::from_slice(rows).ok()?;
    let start = |row: &&RawValue| serde_json::from_str::<Begins>(row.get()).ok().map(|row| row.window_start);
    rows.into_iter().max_by_key(start).map(RawValue::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_all_records_and_the_rate_of_those_since_the_line_before() {
        let began = Instant::now();
        let told = |records, seconds| Told { records, at: began + Duration::from_secs(seconds) };
        let count = Count { records: 300, bad: 2, late: 1 };
        assert_eq!(
            line("frames", count, Duration::from_secs(4), &told(100, 2), &told(300, 4)),
            "frames: 300 records in 4.0 s, 100 a second, 1 late, 2 bad"
        );
    }

    #[test]
    fn rows_are_closed_when_all_of_some_are() {
        assert!(are_closed(br#"[{"n":1,"final":true},{"n":2,"final":true}]"#));
        for rows in ["[]", r#"[{"final":true},{"final":false}]"#, r#"[{"n":1}]"#, "nothing"] {
            assert!(!are_closed(rows.as_bytes()), "{rows}");
        }
    }

    #[test]
    fn the_newest_window_is_told() {
        let rows = br#"[{"b":1,"window_start":5},{"b":2,"a":{},"window_start":7},{"b":3,"window_start":6}]"#;
        assert_eq!(newest(rows), Some(r#"{"b":2,"a":{},"window_start":7}"#));
        assert_eq!(newest(b"[]"), None);
    }
}
