//! A configuration with its plans: mistakes in SQL are told with their place in the file, beside all others.
//!
//! **In** a file, or a configuration and its text. **Out** plans, one per stream in the order of their names.
//! **Not here:** planning (`windrow_core::sql`).

use std::{path::Path, sync::Arc};

use windrow_core::{
    plan::StreamPlan,
    sql::{self, PlanError},
};

use super::{Config, ConfigError, Variables, ViewConfig, load, originals};

/// A configuration that can run.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What the user said.
    pub config: Config,
    /// One plan per stream, those without views too.
    pub plans: Vec<Arc<StreamPlan>>,
}

/// Reads and plans a configuration file.
///
/// - **Errors:** all mistakes: those of the file, or, when there are none, those of its queries.
pub fn load_planned(path: &Path, variables: &Variables) -> Result<Planned, Vec<ConfigError>> {
    let config = load(path, variables)?;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let plans = plan(&config, &path.display().to_string(), &text)?;
    Ok(Planned { config, plans })
}

/// Plans a configuration; `name` and `text` are the file it came from, for places.
pub fn plan(config: &Config, name: &str, text: &str) -> Result<Vec<Arc<StreamPlan>>, Vec<ConfigError>> {
    let streams: Vec<_> = config.streams.values().map(|s| s.spec.clone()).collect();
    let views: Vec<_> = config.views.iter().map(|v| v.spec.clone()).collect();
    match sql::plan(&streams, &views) {
        Ok(plans) => {
            let plans: Vec<_> = plans.into_iter().map(Arc::new).collect();
            let errors = originals::check(config, name, &plans);
            if errors.is_empty() { Ok(plans) } else { Err(errors) }
        }
        Err(errors) => {
            let mut errors: Vec<_> = errors.into_iter().map(|e| placed(config, name, text, e)).collect();
            errors.sort_by_key(|e| (e.line, e.column));
            Err(errors)
        }
    }
}

fn placed(config: &Config, name: &str, text: &str, error: PlanError) -> ConfigError {
    let view = error.view.as_deref().and_then(|v| config.views.iter().find(|c| *c.spec.name == *v));
    let (line, column) = view.map_or((0, 0), |view| place(view, text, &error));
    let message = match &error.view {
        Some(view) => format!("view `{view}`: {}", error.message),
        None => error.message,
    };
    ConfigError { file: name.into(), line, column, message, hint: error.hint }
}

/// The query's line is found in the file as it stands there; when a variable or an escape changed it, its start is told.
fn place(view: &ViewConfig, text: &str, error: &PlanError) -> (usize, usize) {
    if view.sql_line == 0 {
        return (0, 0);
    }
    let line = view.sql_line + error.line.saturating_sub(1);
    let of_query = view.spec.sql.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
    let of_file = text.lines().nth(line - 1).unwrap_or_default();
    match of_file.find(of_query) {
        Some(at) => (line, of_file[..at].chars().count() + error.column),
        None => (line, 1),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::parse;

    #[test]
    fn mistakes_in_queries_have_their_place_in_the_file() {
        let text = "
            [streams.clicks]
            [views.a]
            sql = 'SELECT count(*) AS n, video FROM clickz GROUP BY video'
            [views.b]
            sql = '''
            SELECT video, cuont(*) AS n
            FROM clicks GROUP BY video'''
            ";
        let config = parse(text, "w.toml", &Variables::default()).unwrap();
        let errors = plan(&config, "w.toml", text).unwrap_err();
        let rendered: String = errors.iter().map(|e| format!("{e}\n")).collect();
        expect![[r#"
            w.toml:4:53: view `a`: there is no stream `clickz`
              hint: did you mean `clicks`?
            w.toml:7:27: view `b`: there is no function `cuont`
              hint: did you mean `count`?
        "#]]
        .assert_eq(&rendered);
    }

    #[test]
    fn columns_that_an_original_needs_are_looked_for_before_the_start() {
        let text = "
            [streams.clicks]
            columns = { video = 'text', n = 'bigint' }
            [views.likes]
            sql = 'SELECT video AS id, count(*) AS cuont FROM clicks GROUP BY video'
            [listeners.main]
            dialects = ['video-counter']
            video-counter = { events = { a = 'likes', b = 'clicks' }, finals = true }
            [listeners.other]
            bind = '127.0.0.1:1'
            dialects = ['video-counter']
            video-counter = { events = { a = 'clicks' }, room = 'n', count = 'n' }
            [listeners.visits]
            bind = '127.0.0.1:2'
            dialects = ['visit-aggregator']
            visit-aggregator = { channel = 'likes', account = 'acount' }
            [listeners.events]
            bind = '127.0.0.1:3'
            dialects = ['realtime-events']
            realtime-events = { channels = { a = 'clicks', b = 'clicks' }, organization = 'video' }
            ";
        let config = parse(text, "w.toml", &Variables::default()).unwrap();
        let errors = plan(&config, "w.toml", text).unwrap_err();
        let rendered: String = errors.iter().map(|e| format!("{e}\n")).collect();
        expect![[r#"
            w.toml:20:50: channel `a`: `organization` of realtime-events must be a column of numbers, not `video` of `clicks`
            w.toml:20:64: channel `b`: `organization` of realtime-events must be a column of numbers, not `video` of `clicks`
            w.toml:8:46: event `a`: `count` of video-counter needs column `count`, which `likes` lacks
              hint: did you mean `cuont`?
            w.toml:8:59: event `b`: `room` of video-counter needs column `id`, which `clicks` lacks
              hint: its columns are `_topic`, `_partition`, `_offset`, `_timestamp`, `_key`, `video` and `n`
            w.toml:8:59: event `b`: `count` of video-counter needs column `count`, which `clicks` lacks
              hint: its columns are `_topic`, `_partition`, `_offset`, `_timestamp`, `_key`, `video` and `n`
            w.toml:8:59: event `b`: `finals` of video-counter needs column `final`, which `clicks` lacks
              hint: its columns are `_topic`, `_partition`, `_offset`, `_timestamp`, `_key`, `video` and `n`
            w.toml:12:46: event `a`: `room` of video-counter must be a column of text, not `n` of `clicks`
            w.toml:16:44: `account` of visit-aggregator needs column `acount`, which `likes` lacks
              hint: did you mean `cuont`?
            w.toml:16:44: `store` of visit-aggregator needs column `store_id`, which `likes` lacks
              hint: its columns are `id`, `cuont`, `final` and `seq`
            w.toml:16:44: `count` of visit-aggregator needs column `count`, which `likes` lacks
              hint: did you mean `cuont`?
            w.toml:16:44: `channel` of visit-aggregator needs column `window_start`, which `likes` lacks
              hint: its columns are `id`, `cuont`, `final` and `seq`
            w.toml:16:44: `channel` of visit-aggregator needs column `window_end`, which `likes` lacks
              hint: its columns are `id`, `cuont`, `final` and `seq`
        "#]]
        .assert_eq(&rendered);
    }
}
