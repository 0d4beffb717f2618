//! A configuration with its plans: mistakes in SQL are told with their place in the file, beside all others.
//!
//! **In** a file, or a configuration and its text. **Out** plans, one per stream in the order of their names.
//! **Not here:** planning (`windrow_core::sql`).

use std::{path::Path, sync::Arc};

use windrow_core::{
    plan::StreamPlan,
    sql::{self, PlanError},
};

use super::{Config, ConfigError, Variables, ViewConfig, load};

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
        Ok(plans) => Ok(plans.into_iter().map(Arc::new).collect()),
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
}
