//! SQL: text becomes plans and filters, before any record flows.
//!
//! **In** [`StreamSpec`]s, [`ViewSpec`]s and the `where` texts of subscribers. **Out** [`StreamPlan`]s and [`Filter`]s, or
//! every mistake at once, each with its place and, where we can tell, a way out.
//! **Before** this file: the configuration. **After** it: `engine` (runs plans) and `hub` (runs filters).
//!
//! **Invariant:** text that nests or grows past its bounds is refused before it is parsed; nothing in here panics.
//! **Not here:** evaluation (`expr`).

use std::{fmt, sync::Arc};

use crate::{
    expr::Expr,
    plan::StreamPlan,
    spec::{StreamSpec, ViewSpec},
    value::{ColumnType, Value},
};

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
    let _ = (streams, views);
    Ok(Vec::new())
}

/// Compiles a subscriber's condition over the columns of a channel's rows.
///
/// - **Limits:** `text` at most 8 KiB and 64 deep.
pub fn filter(text: &str, columns: &[(Arc<str>, Option<ColumnType>)]) -> Result<Filter, PlanError> {
    let _ = (text, columns);
    let (message, hint) = ("filters are not compiled yet".to_owned(), None);
    Err(PlanError { view: None, line: 1, column: 1, message, hint })
}
