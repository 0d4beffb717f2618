//! SQL: text becomes plans and filters, before any record flows.
//!
//! **In** [`StreamSpec`]s, [`ViewSpec`]s and the `where` texts of subscribers. **Out** [`StreamPlan`]s and [`Filter`]s, or
//! every mistake at once, each with its place and, where we can tell, a way out.
//! **Before** this file: the configuration. **After** it: `engine` (runs plans) and `hub` (runs filters).
//!
//! In data order: `parse` → `clauses` → `query` (`outputs`, `window`, `rows`) → `lower` (`columns`, `operators`, `call`, `aggregate`, `over`, `agree`).
//!
//! **Invariant:** text that nests or grows past its bounds is refused before it is parsed; nothing in here panics.
//! **Not here:** evaluation (`expr`).

use std::{fmt, sync::Arc};

use sqlparser::tokenizer::Location;

use crate::{
    expr::Expr,
    plan::{SourceColumn, StreamPlan},
    spec::{StreamSpec, ViewSpec},
    suggest,
    value::{ColumnType, Value},
};

mod aggregate;
mod agree;
mod call;
mod clauses;
mod columns;
mod dialect;
mod fingerprint;
mod literal;
mod lower;
mod operators;
mod outputs;
mod over;
mod parse;
mod patterns;
mod place;
mod query;
mod rows;
mod types;
mod window;

pub use parse::{FILTER_MAX_BYTES, QUERY_MAX_BYTES, WORDS_MAX};

use columns::Columns;

/// One mistake in a query or a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// Name of the view; `None` for a subscriber's filter.
    pub view: Option<Arc<str>>,
    /// Line in the text, from 1.
    pub line: usize,
    /// Column in the line, in characters, from 1.
    pub column: usize,
    /// What is wrong: the rule and the value.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl PlanError {
    fn at(place: Location, message: impl Into<String>) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        Self {
            view: None,
            line: number(place.line),
            column: number(place.column),
            message: message.into(),
            hint: None,
        }
    }

    fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

impl std::error::Error for PlanError {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(view) = &self.view {
            write!(f, "view {view}, ")?;
        }
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// A subscriber's `where`, compiled over the columns of a channel's rows.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The condition, over a row with one slot per column that [`filter`] was given.
    pub expr: Expr,
    /// Which of the given columns it reads, ascending.
    pub columns: Vec<usize>,
    /// A condition that every match fulfils, to look subscribers up by: the column equals one of the values.
    pub equality: Option<(usize, Vec<Value>)>,
    /// One text for all spellings that compile to the same expression.
    pub canonical: Box<str>,
    /// Stable hash of `canonical`: the same in every process and version.
    pub hash: u64,
}

/// Plans all views, one [`StreamPlan`] per stream in the given order (also for streams without views).
///
/// - **Errors:** every mistake of every view.
pub fn plan(streams: &[Arc<StreamSpec>], views: &[Arc<ViewSpec>]) -> Result<Vec<StreamPlan>, Vec<PlanError>> {
    let mut tables: Vec<(Columns, Vec<query::Draft>)> =
        streams.iter().map(|s| (Columns::of_stream(s), Vec::new())).collect();
    let mut errors = Vec::new();
    for view in views {
        match plan_view(streams, views, view, &mut tables) {
            Ok((stream, draft)) => tables[stream].1.push(draft),
            Err(found) => {
                let named = |error| PlanError { view: Some(view.name.clone()), ..error };
                errors.extend(found.into_iter().map(named));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let finished = streams.iter().zip(tables).map(|(spec, (columns, drafts))| finish(spec, columns, drafts));
    Ok(finished.collect())
}

fn plan_view(
    streams: &[Arc<StreamSpec>],
    views: &[Arc<ViewSpec>],
    view: &Arc<ViewSpec>,
    tables: &mut [(Columns, Vec<query::Draft>)],
) -> Result<(usize, query::Draft), Vec<PlanError>> {
    let query = parse::query(&view.sql).map_err(|error| vec![error])?;
    let select = clauses::select(&query).map_err(|error| vec![error])?;
    let (from, at) = clauses::from(select).map_err(|error| vec![error])?;
    let Some(stream) = streams.iter().position(|s| *s.name == *from) else {
        return Err(vec![no_stream(from, at, streams, views)]);
    };
    let draft = query::view(select, &streams[stream], view, &mut tables[stream].0)?;
    Ok((stream, draft))
}

fn no_stream(name: &str, at: Location, streams: &[Arc<StreamSpec>], views: &[Arc<ViewSpec>]) -> PlanError {
    if views.iter().any(|v| *v.name == *name) {
        return PlanError::at(at, format!("`{name}` is a view; views over views are not built yet"));
    }
    let names = || streams.iter().map(|s| &*s.name);
    let hint = match suggest::closest(name, names()) {
        Some(close) => format!("did you mean `{close}`?"),
        None if streams.is_empty() => "no stream is configured".to_owned(),
        None => format!("the streams are {}", names().collect::<Vec<_>>().join(", ")),
    };
    PlanError::at(at, format!("there is no stream `{name}`")).hint(Some(hint))
}

fn finish(spec: &Arc<StreamSpec>, mut columns: Columns, mut drafts: Vec<query::Draft>) -> StreamPlan {
    for (index, draft) in drafts.iter_mut().enumerate() {
        draft.index = index;
        rows::finish(draft, &columns);
    }
    let time_slot = match &spec.time {
        crate::spec::TimeSpec::Column { column, .. } => columns.slot(column),
        crate::spec::TimeSpec::Record => None,
    };
    let columns = columns.into_source();
    for draft in &mut drafts {
        draft.fingerprint = fingerprint::hash(&fingerprint::text(spec, &columns, draft));
    }
    StreamPlan { spec: spec.clone(), columns, time_slot, views: drafts.into_iter().map(Arc::new).collect() }
}

/// Compiles a subscriber's condition over the columns of a channel's rows.
///
/// - **Limits:** `text` at most [`FILTER_MAX_BYTES`], [`WORDS_MAX`] words, 64 deep.
pub fn filter(text: &str, columns: &[(Arc<str>, Option<ColumnType>)]) -> Result<Filter, PlanError> {
    compile(text, &mut Columns::of_rows(columns))
}

/// Compiles a subscriber's condition over the records of a stream; also returns the columns that the row must have.
///
/// - **Limits:** as [`filter`].
pub fn stream_filter(text: &str, stream: &StreamSpec) -> Result<(Filter, Vec<SourceColumn>), PlanError> {
    let mut columns = Columns::of_stream(stream);
    let filter = compile(text, &mut columns)?;
    Ok((filter, columns.into_source()))
}

fn compile(text: &str, columns: &mut Columns) -> Result<Filter, PlanError> {
    let tree = parse::condition(text)?;
    let mut lower = lower::Lower::new(columns, None);
    let node = lower.condition(&tree, "a filter")?;
    let canonical = node.text(&|slot| fingerprint::quoted(&columns.name(slot)));
    let equality = node.equalities().into_iter().min_by_key(|(_, values)| values.len());
    let expr = Expr::new(node);
    let hash = fingerprint::hash(&canonical);
    Ok(Filter { columns: expr.slots(), expr, equality, canonical: canonical.into(), hash })
}

#[cfg(test)]
pub(crate) mod tests;
