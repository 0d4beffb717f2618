//! Queries: one `SELECT` becomes one view of its stream.
//!
//! **In** a syntax tree and the columns of the stream, shared by all its views. **Out** a [`Draft`]: a view whose column
//! types may still be filled in by later views; or every mistake of the query.
//! **Invariant:** all `GROUP BY` expressions are selected, because they are the key of the row.
//! **Not here:** expressions (`lower`), outputs and their names (`outputs`), the clauses that no view has (`clauses`).

use std::sync::Arc;

use sqlparser::{
    ast::{self, Expr as Ast, GroupByExpr},
    tokenizer::Location,
};

use super::{
    PlanError,
    aggregate::{self, Aggregates},
    clauses,
    columns::Columns,
    lower::{Lower, Window},
    outputs::{Item, Output, POSITION, star_place},
    place::{place, shown},
    rows::{self, Key, RowSlots, slots_text},
    window,
};
use crate::{
    expr::{Expr, Node},
    plan::{AggregateCall, AggregateKind, OutputColumn, Shape, ViewPlan},
    spec::{StreamSpec, ViewSpec},
};

/// A view, but for its place among the views of its stream.
pub(super) type Draft = ViewPlan;

/// Plans one query.
pub(super) fn view(
    select: &ast::Select,
    stream: &StreamSpec,
    spec: &Arc<ViewSpec>,
    columns: &mut Columns,
) -> Result<Draft, Vec<PlanError>> {
    let mut planner = Planner {
        qualifiers: clauses::qualifiers(select, stream),
        stream,
        spec,
        columns,
        errors: Vec::new(),
        aggregates: Aggregates::default(),
        shape: Shape::Stateless,
        keys_failed: false,
    };
    let draft = planner.plan(select);
    planner.errors.sort_by_key(|e| (e.line, e.column));
    draft.ok_or(planner.errors)
}

pub(super) struct Planner<'p> {
    pub(super) qualifiers: Vec<String>,
    pub(super) stream: &'p StreamSpec,
    pub(super) spec: &'p Arc<ViewSpec>,
    pub(super) columns: &'p mut Columns,
    pub(super) errors: Vec<PlanError>,
    pub(super) aggregates: Aggregates,
    pub(super) shape: Shape,
    /// Whether a member of GROUP BY has an error of its own: what is grouped by is not known then.
    pub(super) keys_failed: bool,
}

impl Planner<'_> {
    fn plan(&mut self, select: &ast::Select) -> Option<Draft> {
        let expanded = self.expand(select);
        let items = self.items(select, &expanded);
        let group = self.group(select);
        let mut keys = self.keys(&group, &items);
        let filter = select.selection.as_ref().and_then(|condition| {
            let window = if self.is_windowed() { Window::Later } else { Window::None };
            let no_aggregates = "a condition on aggregates belongs in HAVING";
            self.clause(window, Some(no_aggregates), &[], |lower| lower.condition(condition, "WHERE"))
                .map(|(node, _)| node)
        });
        let outputs = self.outputs(&items, &mut keys, group.is_some(), star_place(select));
        let grouped = group.is_some() || !self.aggregates.is_empty();
        if grouped && self.shape == Shape::Stateless {
            self.shape = Shape::Running;
        }
        let over = self.over_calls(&keys);
        let having =
            select.having.as_ref().and_then(|condition| self.having(condition, &items, &keys, grouped));
        self.check_keys(&keys);
        self.check_names(&items);
        self.check_topic(&items);
        let draft = self.errors.is_empty().then(|| self.draft(filter, keys, outputs, (over, having)));
        draft.filter(|draft| self.check_schema(draft, &items))
    }

    fn draft(
        &mut self,
        filter: Option<Node>,
        keys: Vec<Key<'_>>,
        outputs: Vec<Output>,
        (over, having): (Vec<(AggregateKind, Option<Node>)>, Option<Node>),
    ) -> Draft {
        let key_count = keys.len();
        let aggregates = std::mem::take(&mut self.aggregates).into_calls();
        let rows = RowSlots { keys: key_count, aggregates: aggregates.len() };
        let grouped = self.shape != Shape::Stateless;
        let place = |node: Node| if grouped { rows.place(node) } else { node };
        let over = over.into_iter().map(|(kind, argument)| AggregateCall {
            kind,
            argument: argument.map(|node| Expr::new(place(node))),
            filter: None,
        });
        let over = over.collect();
        let keys: Vec<OutputColumn> = keys
            .into_iter()
            .map(|k| OutputColumn {
                name: k.output.unwrap_or_default(),
                ty: k.typed.ty,
                expr: Expr::new(k.typed.node),
            })
            .collect();
        let mut key_names: Vec<Arc<str>> = keys.iter().map(|k| k.name.clone()).collect();
        match self.shape {
            Shape::Stateless => key_names.extend(POSITION.map(Arc::from)),
            Shape::Tumbling { .. } => key_names.push("window_start".into()),
            Shape::Running => {}
        }
        ViewPlan {
            spec: self.spec.clone(),
            index: 0,
            shape: self.shape,
            filter: filter.map(Expr::new),
            keys,
            aggregates,
            over,
            having: having.map(|node| Expr::new(place(node))),
            outputs: outputs
                .into_iter()
                .map(|o| OutputColumn { name: o.name, ty: o.ty, expr: Expr::new(place(o.node)) })
                .collect(),
            key_names,
            fingerprint: 0,
        }
    }

    pub(super) fn is_windowed(&self) -> bool {
        matches!(self.shape, Shape::Tumbling { .. })
    }

    /// Lowers something in a clause, noting its error; gives the columns it used, too. `named` are the outputs that
    /// the clause may name.
    pub(super) fn clause<T>(
        &mut self,
        window: Window,
        no_aggregates: Option<&'static str>,
        named: &[Item<'_>],
        rule: impl FnOnce(&mut Lower<'_>) -> Result<T, PlanError>,
    ) -> Option<(T, Vec<(usize, Location)>)> {
        let mut lower = Lower::new(self.columns, Some(&self.spec.name));
        lower.qualifiers.clone_from(&self.qualifiers);
        lower.window = window;
        lower.outputs = named.iter().map(|item| (item.name.clone(), item.ast)).collect();
        match no_aggregates {
            Some(reason) => lower.no_aggregates = reason,
            None => {
                lower.aggregates = Some(&mut self.aggregates);
                // HAVING alone has outputs to name.
                lower.no_over = (!named.is_empty()).then_some("HAVING comes before it");
            }
        }
        match rule(&mut lower) {
            Ok(value) => Some((value, lower.uses)),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// Takes the window out of GROUP BY and returns the rest; `None` = there is no GROUP BY.
    fn group<'e>(&mut self, select: &'e ast::Select) -> Option<Vec<&'e Ast>> {
        let members = match &select.group_by {
            GroupByExpr::Expressions(members, modifiers) if modifiers.is_empty() => members,
            _ => {
                let error = PlanError::at(clauses::start(select), "GROUP BY takes expressions only");
                self.errors.push(
                    error.hint(Some("ALL, ROLLUP, CUBE and sets are not part of this language".to_owned())),
                );
                return Some(Vec::new());
            }
        };
        if members.is_empty() {
            return None;
        }
        self.shape = Shape::Running;
        let mut rest = Vec::new();
        for member in members {
            match window::window(member) {
                None => rest.push(member),
                Some(Ok(shape)) if self.shape == Shape::Running => self.shape = shape,
                Some(Ok(_)) => {
                    let at = place(member).unwrap_or(Location::new(1, 1));
                    self.errors.push(
                        PlanError::at(at, "a view has one window").hint(Some("make a second view".into())),
                    );
                }
                Some(Err(error)) => self.errors.push(error),
            }
        }
        Some(rest)
    }

    /// Lowers the members of GROUP BY: an expression, the name of an output, or its number.
    fn keys<'e>(&mut self, group: &Option<Vec<&'e Ast>>, items: &[Item<'e>]) -> Vec<Key<'e>> {
        let mut keys: Vec<Key<'e>> = Vec::new();
        for member in group.iter().flatten() {
            let ast = match member {
                Ast::Identifier(ident) => items
                    .iter()
                    .find(|i| *i.name == *ident.value && !aggregate::is_call(i.ast))
                    .map_or(*member, |item| item.ast),
                Ast::Value(value) => {
                    let number = value.value.to_string().parse::<usize>().ok();
                    match number.and_then(|n| items.get(n.checked_sub(1)?)) {
                        Some(item) => item.ast,
                        None => {
                            let message = format!("GROUP BY {} is not the number of an output", value.value);
                            self.errors.push(PlanError::at(value.span.start, message));
                            self.keys_failed = true;
                            continue;
                        }
                    }
                }
                member => member,
            };
            let window = if self.is_windowed() { Window::Later } else { Window::None };
            let lowered =
                self.clause(window, Some("GROUP BY comes before aggregates"), &[], |lower| lower.lower(ast));
            let Some((typed, _)) = lowered else {
                self.keys_failed = true;
                continue;
            };
            let text = slots_text(&typed.node);
            if typed.node.is_constant() {
                let at = place(ast).unwrap_or(Location::new(1, 1));
                self.errors
                    .push(PlanError::at(at, format!("GROUP BY {} is the same for all records", shown(ast))));
            } else if !keys.iter().any(|k| k.text == text) {
                keys.push(Key { ast: member, typed, text, output: None });
            }
        }
        keys
    }

    fn having(
        &mut self,
        condition: &Ast,
        items: &[Item<'_>],
        keys: &[Key<'_>],
        grouped: bool,
    ) -> Option<Node> {
        if !grouped {
            let at = place(condition).unwrap_or(Location::new(1, 1));
            let error = PlanError::at(at, "HAVING needs GROUP BY or an aggregate");
            self.errors.push(error.hint(Some("a condition on columns belongs in WHERE".to_owned())));
            return None;
        }
        let window = if self.is_windowed() { Window::Known } else { Window::None };
        let (node, uses) = self.clause(window, None, items, |lower| lower.condition(condition, "HAVING"))?;
        self.regroup(node, keys, &uses)
    }

    /// Replaces what is a key by the key's slot.
    pub(super) fn regroup(
        &mut self,
        node: Node,
        keys: &[Key<'_>],
        uses: &[(usize, Location)],
    ) -> Option<Node> {
        match rows::regroup(node, keys) {
            Ok(node) => Some(node),
            Err(_) if self.keys_failed => None,
            Err(slot) => {
                let name = self.columns.name(slot);
                let at = uses.iter().find(|(s, _)| *s == slot).map_or(Location::new(1, 1), |(_, at)| *at);
                let error = PlanError::at(
                    at,
                    format!("column `{name}` is neither grouped by nor inside an aggregate"),
                );
                self.errors.push(error.hint(Some(format!("add {name} to GROUP BY, or write max({name})"))));
                None
            }
        }
    }
}
