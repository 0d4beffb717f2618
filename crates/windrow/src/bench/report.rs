//! Report: figures beside their floor, as an aligned table or as JSON.
//!
//! **Invariant:** the first figure of a group is its floor; every other one tells its ratio to it, in work per CPU-second.

use std::{fmt, fmt::Write as _};

use serde_json::{Value, json};

use super::meter::Cost;

/// All that one run measured.
#[derive(Debug)]
pub(super) struct Report {
    /// What was measured, on which input.
    pub(super) title: String,
    /// What is counted: `records`, `deliveries`.
    pub(super) unit: &'static str,
    pub(super) groups: Vec<Group>,
}

/// Figures of the same work on the same data.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// The floor first.
    pub(super) figures: Vec<Figure>,
}

/// One way to do the work.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    /// How much was done.
    pub(super) count: u64,
    pub(super) cost: Cost,
    /// What else is worth telling: `("p99", "12.3 ms")`.
    pub(super) notes: Vec<(&'static str, String)>,
}

impl Figure {
    pub(super) fn new(name: impl Into<String>, count: u64, cost: Cost) -> Self {
        Self { name: name.into(), count, cost, notes: Vec::new() }
    }

    pub(super) fn note(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.notes.push((name, value.to_string()));
        self
    }

    fn per_second(&self) -> f64 {
        self.count as f64 / self.cost.wall.as_secs_f64().max(1e-9)
    }

    fn per_cpu_second(&self) -> f64 {
        self.count as f64 / self.cost.cpu.as_secs_f64().max(1e-9)
    }
}

impl Report {
    /// Renders JSON for scripts.
    pub(super) fn json(&self) -> Value {
        let groups: Vec<Value> = self.groups.iter().map(Group::json).collect();
        json!({ "title": self.title, "unit": self.unit, "groups": groups })
    }
}

impl Group {
    fn ratio(&self, figure: &Figure) -> f64 {
        self.figures.first().map_or(1.0, |floor| figure.per_cpu_second() / floor.per_cpu_second())
    }

    fn json(&self) -> Value {
        let figure = |f: &Figure| {
            let notes: serde_json::Map<String, Value> =
                f.notes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({
                "name": f.name,
                "count": f.count,
                "seconds": f.cost.wall.as_secs_f64(),
                "cpu_seconds": f.cost.cpu.as_secs_f64(),
                "per_second": f.per_second(),
                "per_cpu_second": f.per_cpu_second(),
                "peak_rss_bytes": f.cost.peak_rss_bytes,
                "ratio_to_floor": self.ratio(f),
                "notes": notes,
            })
        };
        json!({ "name": self.name, "figures": self.figures.iter().map(figure).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for group in &self.groups {
            writeln!(f)?;
            let unit = self.unit;
            let head = [&group.name, unit, "s", "CPU-s", "per s", "per CPU-s", "of floor", "peak RSS", ""];
            let mut rows = vec![head.map(str::to_owned)];
            rows.extend(group.figures.iter().map(|figure| row(group, figure)));
            let widths: [usize; 9] =
                std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
            for row in rows {
                let mut line = format!("{:<1$}", row[0], widths[0]);
                for (cell, width) in row.iter().zip(widths).skip(1).take(7) {
                    write!(line, "  {cell:>width$}")?;
                }
                writeln!(f, "{}", format!("{line}  {}", row[8]).trim_end())?;
            }
        }
        Ok(())
    }
}

fn row(group: &Group, figure: &Figure) -> [String; 9] {
    let notes: Vec<String> = figure.notes.iter().map(|(name, value)| format!("{name} {value}")).collect();
    [
        figure.name.clone(),
        figure.count.to_string(),
        format!("{:.2}", figure.cost.wall.as_secs_f64()),
        format!("{:.2}", figure.cost.cpu.as_secs_f64()),
        short(figure.per_second()),
        short(figure.per_cpu_second()),
        format!("{:.2}", group.ratio(figure)),
        format!("{} MiB", figure.cost.peak_rss_bytes >> 20),
        notes.join(", "),
    ]
}

/// Writes a rate with three digits: `2.41 M`, `36.0 k`, `950`.
fn short(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e3 => format!("{:.1} k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;

    #[test]
    fn every_figure_stands_beside_its_floor() {
        let cost = |ms| Cost {
            wall: Duration::from_millis(ms),
            cpu: Duration::from_millis(ms / 2),
            peak_rss_bytes: 64 << 20,
        };
        let figures = vec![
            Figure::new("scan", 1_000_000, cost(200)),
            Figure::new("engine", 1_000_000, cost(500)).note("p99", "3 ms"),
        ];
        let report = Report {
            title: "engine: 1,000,000 records".into(),
            unit: "records",
            groups: vec![Group { name: "in memory".into(), figures }],
        };
        expect![[r#"
            engine: 1,000,000 records

            in memory  records     s  CPU-s   per s  per CPU-s  of floor  peak RSS
            scan       1000000  0.20   0.10  5.00 M    10.00 M      1.00    64 MiB
            engine     1000000  0.50   0.25  2.00 M     4.00 M      0.40    64 MiB  p99 3 ms
        "#]]
        .assert_eq(&report.to_string());
        assert_eq!(report.json()["groups"][0]["figures"][1]["ratio_to_floor"], 0.4);
    }
}
