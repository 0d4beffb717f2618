//! Setup: the one stream and the three views that `engine` and `pipeline` run.
//!
//! **In** the table of a log. **Out** a configuration, as a user would write it, and its plan.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use windrow_core::{plan::StreamPlan, sql};

use crate::config::{self, Config, Variables};

/// Window sizes in minutes, one view each.
pub(super) const MINUTES: [u32; 3] = [1, 5, 10];

/// Writes the configuration of app `app` whose topic is `topic`; `log` is the text of `[log]`.
pub(super) fn configuration(app: &str, topic: &str, log: &str) -> String {
    grouped(app, topic, log, "user", true)
}

/// The same, grouped by `column`. Unless the stream says that the message key is that column, the views need two stages.
pub(super) fn grouped(app: &str, topic: &str, log: &str, column: &str, says_key: bool) -> String {
    let keyed_by = if says_key { format!("keyed_by = [\"{column}\"]\n") } else { String::new() };
    let views: String = MINUTES
        .iter()
        .map(|m| {
            let query = format!(
                r#"SELECT "{column}", count(*) AS count FROM clicks GROUP BY "{column}", tumble(interval '{m} minutes')"#
            );
            format!("[views.clicks_{m}m]\nsql = '''{query}'''\n\n")
        })
        .collect();
    format!(
        r#"app = "{app}"

[log]
{log}

[streams.clicks]
topic = "{topic}"
format = "json"
time = {{ column = "ts", unit = "ms" }}
lateness = "2s"
{keyed_by}
{views}"#
    )
}

/// Reads and plans a configuration with one stream.
pub(super) fn plan(text: &str) -> Result<Arc<StreamPlan>> {
    let Config { streams, views, .. } = config::parse(text, "bench", &Variables::from_process())
        .map_err(|mistakes| anyhow!(mistakes.iter().map(|m| format!("{m}\n")).collect::<String>()))?;
    let streams: Vec<_> = streams.values().map(|stream| stream.spec.clone()).collect();
    let views: Vec<_> = views.iter().map(|view| view.spec.clone()).collect();
    let plans = sql::plan(&streams, &views)
        .map_err(|mistakes| anyhow!(mistakes.iter().map(|m| format!("{m}\n")).collect::<String>()))?;
    plans.into_iter().next().map(Arc::new).context("the configuration has no stream")
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benches_configuration_has_three_views() {
        let plan = plan(&configuration("bench", "clicks", "kind = \"embedded\"")).unwrap();
        assert_eq!(plan.views.len(), MINUTES.len());
        assert!(plan.views.iter().all(|view| view.is_windowed()));
    }
}
