//! Clauses: what a view's query may consist of, and what is refused by name instead of being ignored.

use sqlparser::{
    ast::{self, SetExpr, TableFactor},
    tokenizer::Location,
};

use super::{PlanError, place::place};
use crate::spec::StreamSpec;

/// Returns the one SELECT of a query.
///
/// - **Errors:** a clause around it that no view has.
pub(super) fn select(query: &ast::Query) -> Result<&ast::Select, PlanError> {
    let refuse = |at: Option<Location>, what: &str, hint: Option<&str>| {
        let at = at.unwrap_or_else(|| match &*query.body {
            SetExpr::Select(select) => start(select),
            _ => Location::new(1, 1),
        });
        Err(PlanError::at(at, format!("{what} is not part of this language")).hint(hint.map(str::to_owned)))
    };
    if query.with.is_some() {
        return refuse(None, "WITH", Some("a second view can't read the first yet"));
    }
    if let Some(order) = &query.order_by {
        let at = match &order.kind {
            ast::OrderByKind::Expressions(by) => by.first().and_then(|by| place(&by.expr)),
            ast::OrderByKind::All(_) => None,
        };
        return refuse(at, "ORDER BY", Some("rows change all the time; clients sort what they show"));
    }
    if query.limit_clause.is_some() || query.fetch.is_some() {
        let at = match &query.limit_clause {
            Some(ast::LimitClause::LimitOffset { limit: Some(limit), .. }) => place(limit),
            _ => None,
        };
        return refuse(at, "LIMIT", Some("snapshots over HTTP take ?limit="));
    }
    let rest = query.locks.is_empty() && query.for_clause.is_none() && query.settings.is_none();
    if !rest || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
        return refuse(None, "what follows the SELECT", None);
    }
    match &*query.body {
        SetExpr::Select(select) => check(select).map(|()| &**select),
        SetExpr::SetOperation { op, .. } => {
            refuse(None, &op.to_string(), Some("make one view for each SELECT"))
        }
        _ => refuse(None, "this statement", Some("a view is one SELECT … FROM a stream")),
    }
}

fn check(select: &ast::Select) -> Result<(), PlanError> {
    let refuse = |what: &str, hint: Option<&str>| {
        let error = PlanError::at(start(select), format!("{what} is not part of this language"));
        Err(error.hint(hint.map(str::to_owned)))
    };
    if select.distinct.is_some() {
        return refuse("SELECT DISTINCT", Some("GROUP BY the columns instead"));
    }
    if !select.named_window.is_empty() || select.qualify.is_some() {
        return refuse("WINDOW and QUALIFY", Some("windows are in GROUP BY: tumble(interval '1 minute')"));
    }
    let plain = select.top.is_none()
        && select.into.is_none()
        && select.exclude.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.value_table_mode.is_none()
        && select.select_modifiers.is_none();
    if plain { Ok(()) } else { refuse("a clause of this SELECT", None) }
}

/// The name after FROM, its alias, and their place.
///
/// - **Errors:** joins, subqueries, no FROM.
pub(super) fn from(select: &ast::Select) -> Result<(&str, Location), PlanError> {
    let at = start(select);
    let [table] = select.from.as_slice() else {
        return Err(match select.from.is_empty() {
            true => PlanError::at(at, "FROM is missing").hint(Some("SELECT … FROM a stream".to_owned())),
            false => PlanError::at(at, "a view reads one stream; joins are not built yet"),
        });
    };
    if !table.joins.is_empty() {
        return Err(PlanError::at(at, "a view reads one stream; joins are not built yet"));
    }
    match &table.relation {
        TableFactor::Table { name, args: None, sample: None, version: None, .. } => match name.0.as_slice() {
            [part] => match part.as_ident() {
                Some(ident) => Ok((&ident.value, ident.span.start)),
                None => Err(PlanError::at(at, "FROM takes the name of a stream")),
            },
            _ => Err(PlanError::at(at, format!("FROM takes the name of a stream, not `{name}`"))),
        },
        TableFactor::Derived { .. } => Err(PlanError::at(at, "subqueries are not part of this language")),
        _ => Err(PlanError::at(at, "FROM takes the name of a stream")),
    }
}

/// What columns may be qualified with.
pub(super) fn qualifiers(select: &ast::Select, stream: &StreamSpec) -> Vec<String> {
    let alias = select.from.first().and_then(|t| match &t.relation {
        TableFactor::Table { alias, .. } => alias.as_ref().map(|a| a.name.value.clone()),
        _ => None,
    });
    // As in SQL, an alias hides the name.
    vec![alias.unwrap_or_else(|| stream.name.to_string())]
}

/// The place of the word SELECT.
pub(super) fn start(select: &ast::Select) -> Location {
    select.select_token.0.span.start
}
