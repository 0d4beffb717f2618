//! Metrics: every number of the process in Prometheus' text format.
//!
//! **In** the stats' snapshot. **Out** one family per kind of subject and name: `windrow_stream_records_total{stream="clicks"}`.
//! **Invariant:** a family's lines stand together under one `# TYPE` line; label values are escaped.
//! Written by hand: names come from the registry at run time, which libraries for this want to know at compile time.
//!
//! Source: Prometheus exposition formats, text format 0.0.4.

use std::{collections::BTreeMap, fmt::Write};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::Api;
use crate::stats::{Metric, Snapshot};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn show(State(api): State<Api>) -> Response {
    let ready = i64::from(api.gateway.stats.troubles().is_empty());
    let mut text = render(&api.gateway.stats.snapshot());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# TYPE windrow_ready gauge\nwindrow_ready {ready}");
    let _ = writeln!(text, "# TYPE windrow_build_info gauge");
    let _ = writeln!(text, "windrow_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

fn render(snapshot: &Snapshot) -> String {
    let mut families: BTreeMap<(String, &'static str), Vec<String>> = BTreeMap::new();
    for ((kind, name, partition), numbers) in snapshot {
        for ((metric, reason), value) in numbers {
            let (family, ty, value) = match value {
                Metric::Counter(c) => {
                    (format!("windrow_{kind}_{metric}_total"), "counter", c.get().to_string())
                }
                Metric::Gauge(g) => (format!("windrow_{kind}_{metric}"), "gauge", g.get().to_string()),
            };
            // The number of a partition has that label already.
            let label = if *kind == "partition" { "stream" } else { kind };
            let mut labels = format!("{label}=\"{}\"", escape(name));
            if let Some(partition) = partition {
                let _ = write!(labels, ",partition=\"{partition}\"");
            }
            if !reason.is_empty() {
                let _ = write!(labels, ",reason=\"{}\"", escape(reason));
            }
            let line = format!("{family}{{{labels}}} {value}");
            families.entry((family, ty)).or_default().push(line);
        }
    }
    let mut text = String::new();
    for ((family, ty), lines) in families {
        let _ = writeln!(text, "# TYPE {family} {ty}\n{}", lines.join("\n"));
    }
    text
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::stats::Stats;

    #[test]
    fn families_stand_together_with_their_type() {
        let stats = Stats::default();
        stats.counter(("stream", "clicks".into(), Some(0)), "bad", "not_json").add(2);
        stats.counter(("stream", "clicks".into(), Some(0)), "records", "").add(40);
        stats.counter(("stream", "clicks".into(), Some(1)), "records", "").add(2);
        stats.gauge(("partition", "clicks".into(), Some(0)), "lag").set(7);
        stats.gauge(("listener", "ma\"in".into(), None), "connections").set(3);
        expect![[r##"
            # TYPE windrow_listener_connections gauge
            windrow_listener_connections{listener="ma\"in"} 3
            # TYPE windrow_partition_lag gauge
            windrow_partition_lag{stream="clicks",partition="0"} 7
            # TYPE windrow_stream_bad_total counter
            windrow_stream_bad_total{stream="clicks",partition="0",reason="not_json"} 2
            # TYPE windrow_stream_records_total counter
            windrow_stream_records_total{stream="clicks",partition="0"} 40
            windrow_stream_records_total{stream="clicks",partition="1"} 2
        "##]]
        .assert_eq(&render(&stats.snapshot()));
    }
}
