//! Rows of `_stats`: every second, one per node, stream, view, partition and listener.
//!
//! **In** the registry. **Out** rows of the local channel `_stats`, which the dashboard and `windrow tail _stats` read.
//! **Invariant:** a counter appears as its total and, with `_per_s`, as its rate since the row before; a subject that left
//! loses its row. **Not here:** Prometheus (`dialect::http`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Metric, Snapshot, Stats};
use crate::hub::LocalChannel;

const EVERY: Duration = Duration::from_secs(1);

/// `(kind, name, partition)`: partition -1 stands for all of them.
type RowKey = (String, String, i64);

/// Numbers of one row: counters can be told from gauges, because only they have a rate.
#[derive(Debug, Default, Clone)]
struct Numbers {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, i64>,
}

/// Feeds the channel until told to stop.
pub async fn feed(stats: Arc<Stats>, channel: LocalChannel, node: String, stop: CancellationToken) {
    let began = Instant::now();
    let mut ticker = tokio::time::interval(EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before: BTreeMap<RowKey, Numbers> = BTreeMap::new();
    let mut seen_at = began;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticker.tick() => {}
        }
        let seconds = seen_at.elapsed().as_secs_f64();
        seen_at = Instant::now();
        let now = collect(&stats.snapshot());
        let troubles = stats.troubles();
        let at_ms = jiff::Timestamp::now().as_millisecond();
        for (key, numbers) in &now {
            let mut row = row(&node, key, numbers, before.get(key), seconds);
            row.insert("at_ms".into(), json!(at_ms));
            if key.0 == "view"
                && let Some(why) = troubles.get(&format!("view {}", key.1))
            {
                row.insert("stopped_why".into(), json!(why));
            }
            if key.0 == "node" {
                row.insert("uptime_s".into(), json!(began.elapsed().as_secs()));
                row.insert("troubles".into(), json!(troubles));
            }
            channel.upsert(key_json(&node, key).as_bytes(), Value::Object(row).to_string().as_bytes());
        }
        let left: BTreeSet<_> = before.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        for key in left {
            channel.remove(key_json(&node, &key).as_bytes());
        }
        before = now;
    }
}

fn key_json(node: &str, key: &RowKey) -> String {
    json!([node, key.0, key.1, key.2]).to_string()
}

fn row(
    node: &str,
    key: &RowKey,
    now: &Numbers,
    before: Option<&Numbers>,
    seconds: f64,
) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("node".into(), json!(node));
    row.insert("kind".into(), json!(key.0));
    row.insert("name".into(), json!(key.1));
    row.insert("partition".into(), json!(key.2));
    for (name, total) in &now.counters {
        row.insert(name.clone(), json!(total));
        let was = before.and_then(|b| b.counters.get(name)).copied();
        // The first row has nothing to compare with: its rate is 0, not the total.
        let grown = was.map_or(0, |was| total.saturating_sub(was));
        let rate = if seconds > 0.0 { grown as f64 / seconds } else { 0.0 };
        row.insert(format!("{name}_per_s"), json!((rate * 10.0).round() / 10.0));
    }
    for (name, value) in &now.gauges {
        row.insert(name.clone(), json!(value));
    }
    row
}

/// Sums the registry into rows: partitions add up to their stream or view, everything to the node.
fn collect(snapshot: &Snapshot) -> BTreeMap<RowKey, Numbers> {
    let mut rows: BTreeMap<RowKey, Numbers> = BTreeMap::new();
    rows.entry(("node".into(), "node".into(), -1)).or_default();
    for ((kind, name, partition), metrics) in snapshot {
        let whole = if *kind == "partition" { "stream" } else { kind };
        let mut keys = vec![("node".to_owned(), "node".to_owned(), -1)];
        if *kind != "node" {
            keys.push((whole.to_owned(), name.to_string(), -1));
        }
        if *kind == "partition" {
            keys.push(("partition".to_owned(), name.to_string(), partition.map_or(-1, i64::from)));
        }
        for key in keys {
            let row = rows.entry(key).or_default();
            for ((metric, reason), value) in metrics {
                add(row, metric, reason, value);
            }
        }
    }
    rows
}

fn add(row: &mut Numbers, metric: &str, reason: &str, value: &Metric) {
    match value {
        Metric::Counter(counter) => {
            *row.counters.entry(metric.to_owned()).or_default() += counter.get();
            if !reason.is_empty() {
                *row.counters.entry(format!("{metric}_{reason}")).or_default() += counter.get();
            }
        }
        Metric::Gauge(gauge) => {
            let value = gauge.get();
            let slot = row.gauges.entry(metric.to_owned());
            // Time does not add up: the slowest watermark is the one that holds windows open.
            if metric == "watermark" || metric == "quiet_ms" {
                slot.and_modify(|w| *w = (*w).min(value)).or_insert(value);
            } else if metric != "position" {
                *slot.or_default() += value;
            } else {
                slot.or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_add_up_and_the_slowest_watermark_wins() {
        let stats = Stats::default();
        for (partition, records, watermark) in [(0, 5, 900), (1, 7, 300)] {
            stats.counter(("partition", "clicks".into(), Some(partition)), "records", "").add(records);
            stats.gauge(("view", "likes".into(), Some(partition)), "watermark").set(watermark);
        }
        let rows = collect(&stats.snapshot());
        assert_eq!(rows[&("stream".into(), "clicks".into(), -1)].counters["records"], 12);
        assert_eq!(rows[&("partition".into(), "clicks".into(), 1)].counters["records"], 7);
        assert_eq!(rows[&("view".into(), "likes".into(), -1)].gauges["watermark"], 300);
        assert_eq!(rows[&("node".into(), "node".into(), -1)].counters["records"], 12);
    }

    #[test]
    fn a_rate_is_what_came_since_the_row_before() {
        let numbers = |n| Numbers { counters: [("records".to_owned(), n)].into(), gauges: BTreeMap::new() };
        let key = ("stream".to_owned(), "clicks".to_owned(), -1);
        assert_eq!(row("n", &key, &numbers(500), None, 1.0)["records_per_s"], json!(0.0));
        assert_eq!(row("n", &key, &numbers(500), Some(&numbers(300)), 2.0)["records_per_s"], json!(100.0));
    }
}
