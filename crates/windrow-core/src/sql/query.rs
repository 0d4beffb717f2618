//! Queries: one `SELECT` becomes one view of its stream.
//!
//! **In** a syntax tree and the columns of the stream, shared by all its views. **Out** a [`Draft`]: a view whose column
//! types may still be filled in by later views; or every mistake of the query.
//! **Invariant:** all `GROUP BY` expressions are selected, because they are the key of the row.
//! **Not here:** expressions (`lower`), the clauses that no view has (`clauses`).

use std::{collections::HashSet, sync::Arc};

use sqlparser::{
    ast::{self, Expr as Ast, GroupByExpr, SelectItem},
    tokenizer::Location,
};

use super::{
    PlanError,
    aggregate::{self, Aggregates},
    clauses,
    columns::Columns,
    lower::{AGGREGATE, Lower, Typed, WINDOW_END, WINDOW_START, Window, place, shown},
    window,
};
use crate::{
    expr::{Expr, Node},
    plan::{AggregateCall, OutputColumn, Shape, ViewPlan},
    spec::{StreamSpec, ViewSpec},
    value::ColumnType,
};

/// Names that every row may carry beside what is selected.
const RESERVED: [&str; 4] = ["window_start", "window_end", "final", "seq"];
/// Longest name of an output.
const NAME_MAX_BYTES: usize = 255;
/// Most outputs of a view.
const OUTPUTS_MAX: usize = 500;

/// A view, but for its place among the views of its stream.
pub(super) type Draft = ViewPlan;

/// One member of GROUP BY that is not a window.
struct Key<'e> {
    ast: &'e Ast,
    typed: Typed,
    text: String,
    output: Option<Arc<str>>,
}

/// One expression of SELECT.
struct Item<'e> {
    ast: &'e Ast,
    name: Arc<str>,
    at: Location,
}

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

struct Planner<'p> {
    qualifiers: Vec<String>,
    stream: &'p StreamSpec,
    spec: &'p Arc<ViewSpec>,
    columns: &'p mut Columns,
    errors: Vec<PlanError>,
    aggregates: Aggregates,
    shape: Shape,
    /// Whether a member of GROUP BY has an error of its own: what is grouped by is not known then.
    keys_failed: bool,
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
            self.clause(window, Some(no_aggregates), |lower| lower.condition(condition, "WHERE"))
                .map(|(node, _)| node)
        });
        let outputs = self.outputs(&items, &mut keys, group.is_some(), star_place(select));
        let grouped = group.is_some() || !self.aggregates.is_empty();
        if grouped && self.shape == Shape::Stateless {
            self.shape = Shape::Running;
        }
        let having = select.having.as_ref().and_then(|condition| self.having(condition, &keys, grouped));
        self.check_keys(&keys);
        self.check_names(&items);
        self.check_topic_key(&items);
        self.errors.is_empty().then(|| self.draft(filter, keys, outputs, having))
    }

    fn draft(
        &mut self,
        filter: Option<Node>,
        keys: Vec<Key<'_>>,
        outputs: Vec<Output>,
        having: Option<Node>,
    ) -> Draft {
        let key_count = keys.len();
        let aggregates = std::mem::take(&mut self.aggregates).into_calls();
        let rows = RowSlots { keys: key_count, aggregates: aggregates.len() };
        let grouped = self.shape != Shape::Stateless;
        let place = |node: Node| if grouped { rows.place(node) } else { node };
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
            Shape::Stateless => key_names.extend(["_topic", "_partition", "_offset"].map(Arc::from)),
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
            having: having.map(|node| Expr::new(place(node))),
            outputs: outputs
                .into_iter()
                .map(|o| OutputColumn { name: o.name, ty: o.ty, expr: Expr::new(place(o.node)) })
                .collect(),
            key_names,
            fingerprint: 0,
        }
    }

    fn is_windowed(&self) -> bool {
        matches!(self.shape, Shape::Tumbling { .. })
    }

    /// Lowers something in a clause, noting its error; gives the columns it used, too.
    fn clause<T>(
        &mut self,
        window: Window,
        no_aggregates: Option<&'static str>,
        rule: impl FnOnce(&mut Lower<'_>) -> Result<T, PlanError>,
    ) -> Option<(T, Vec<(usize, Location)>)> {
        let mut lower = Lower::new(self.columns, Some(&self.spec.name));
        lower.qualifiers.clone_from(&self.qualifiers);
        lower.window = window;
        match no_aggregates {
            Some(reason) => lower.no_aggregates = reason,
            None => lower.aggregates = Some(&mut self.aggregates),
        }
        match rule(&mut lower) {
            Ok(value) => Some((value, lower.uses)),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// Returns the columns that `*` stands for.
    fn expand(&mut self, select: &ast::Select) -> Vec<Ast> {
        let Some(at) = star_place(select) else { return Vec::new() };
        match self.columns.declared(self.stream) {
            Some(names) => {
                names.iter().map(|name| Ast::Identifier(ast::Ident::with_quote('"', &**name))).collect()
            }
            None => {
                let message = format!("* needs to know the columns of stream {}", self.stream.name);
                let hint = format!(
                    "declare columns in [streams.{}], or select _value for the whole record",
                    self.stream.name
                );
                self.errors.push(PlanError::at(at, message).hint(Some(hint)));
                Vec::new()
            }
        }
    }

    fn items<'e>(&mut self, select: &'e ast::Select, expanded: &'e [Ast]) -> Vec<Item<'e>> {
        let mut items = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(Item { ast: expr, name: alias.value.as_str().into(), at: alias.span.start });
                }
                SelectItem::UnnamedExpr(expr) => {
                    let at = place(expr).unwrap_or(Location::new(1, 1));
                    match natural_name(expr, &self.qualifiers) {
                        Some(name) => items.push(Item { ast: expr, name: name.into(), at }),
                        None => {
                            let error = PlanError::at(at, "this expression needs a name");
                            self.errors.push(error.hint(Some("write … AS name".to_owned())));
                        }
                    }
                }
                SelectItem::Wildcard(options) => {
                    let at = options.wildcard_token.0.span.start;
                    items.extend(expanded.iter().filter_map(|expr| match expr {
                        Ast::Identifier(ident) => {
                            Some(Item { ast: expr, name: ident.value.as_str().into(), at })
                        }
                        _ => None,
                    }));
                }
                SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
                    let message = format!("`{item}` is not part of this language");
                    self.errors.push(PlanError::at(clauses::start(select), message));
                }
            }
        }
        if items.len() > OUTPUTS_MAX {
            let message = format!("a view has at most {OUTPUTS_MAX} outputs, this one {}", items.len());
            self.errors.push(PlanError::at(clauses::start(select), message));
            items.clear();
        }
        items
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
                Ast::Identifier(ident) => {
                    items.iter().find(|i| *i.name == *ident.value).map_or(*member, |item| item.ast)
                }
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
                self.clause(window, Some("GROUP BY comes before aggregates"), |lower| lower.lower(ast));
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

    fn outputs(
        &mut self,
        items: &[Item<'_>],
        keys: &mut [Key<'_>],
        has_group: bool,
        star: Option<Location>,
    ) -> Vec<Output> {
        let window = if self.is_windowed() { Window::Known } else { Window::None };
        let mut lowered = Vec::new();
        for item in items {
            if let Some((typed, uses)) = self.clause(window, None, |lower| lower.lower(item.ast)) {
                lowered.push((item, typed, uses));
            }
        }
        let grouped = has_group || !self.aggregates.is_empty();
        if let (true, Some(at)) = (grouped, star) {
            let error = PlanError::at(at, "* stands for all columns, and a row of a group has its keys only");
            self.errors.push(error.hint(Some("name the columns that are grouped by".to_owned())));
            return Vec::new();
        }
        let mut outputs = Vec::new();
        for (item, typed, uses) in lowered {
            let is_own = matches!(
                (&typed.node, &*item.name),
                (Node::Slot(WINDOW_START), "window_start") | (Node::Slot(WINDOW_END), "window_end")
            );
            if is_own {
                continue;
            }
            let text = slots_text(&typed.node);
            if let Some(key) = keys.iter_mut().find(|k| k.text == text) {
                key.output.get_or_insert_with(|| item.name.clone());
            }
            let node = if grouped { self.regroup(typed.node, keys, &uses) } else { Some(typed.node) };
            outputs.extend(node.map(|node| Output { name: item.name.clone(), ty: typed.ty, node }));
        }
        outputs
    }

    fn having(&mut self, condition: &Ast, keys: &[Key<'_>], grouped: bool) -> Option<Node> {
        if !grouped {
            let at = place(condition).unwrap_or(Location::new(1, 1));
            let error = PlanError::at(at, "HAVING needs GROUP BY or an aggregate");
            self.errors.push(error.hint(Some("a condition on columns belongs in WHERE".to_owned())));
            return None;
        }
        let window = if self.is_windowed() { Window::Known } else { Window::None };
        let (node, uses) = self.clause(window, None, |lower| lower.condition(condition, "HAVING"))?;
        self.regroup(node, keys, &uses)
    }

    /// Replaces what is a key by the key's slot.
    fn regroup(&mut self, node: Node, keys: &[Key<'_>], uses: &[(usize, Location)]) -> Option<Node> {
        match regroup(node, keys) {
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

    fn check_keys(&mut self, keys: &[Key<'_>]) {
        for key in keys.iter().filter(|k| k.output.is_none()) {
            let at = place(key.ast).unwrap_or(Location::new(1, 1));
            let message =
                format!("GROUP BY {} is not selected, and it is part of the row's key", shown(key.ast));
            let hint = format!("add {} to SELECT", key.ast);
            self.errors.push(PlanError::at(at, message).hint(Some(hint)));
        }
    }

    fn check_names(&mut self, items: &[Item<'_>]) {
        let mut seen = HashSet::new();
        for item in items {
            let own = matches!(item.ast, Ast::Identifier(ident) if *ident.value == *item.name);
            let message = if item.name.is_empty() || item.name.len() > NAME_MAX_BYTES {
                format!("an output's name has 1 to {NAME_MAX_BYTES} bytes, this {}", item.name.len())
            } else if RESERVED.contains(&&*item.name)
                && !(own && self.is_windowed() && item.name.starts_with("window"))
            {
                format!("`{}` is a name that rows carry by themselves", item.name)
            } else if !seen.insert(item.name.clone()) {
                format!("two outputs are named `{}`", item.name)
            } else {
                continue;
            };
            self.errors
                .push(PlanError::at(item.at, message).hint(Some("write … AS another_name".to_owned())));
        }
    }

    fn check_topic_key(&mut self, items: &[Item<'_>]) {
        let names = self.spec.topic.iter().flat_map(|t| t.key.iter().flatten());
        for name in names {
            let own = self.is_windowed() && name.starts_with("window_");
            if !own && !items.iter().any(|i| i.name == *name) {
                let message = format!("topic_key names `{name}`, which is no output of the view");
                self.errors.push(PlanError::at(Location::new(1, 1), message));
            }
        }
    }
}

/// One output on its way.
struct Output {
    name: Arc<str>,
    ty: Option<ColumnType>,
    node: Node,
}

/// Where the parts of an output row are.
struct RowSlots {
    keys: usize,
    aggregates: usize,
}

/// Keys while grouping; final slots are known once all aggregates are.
const KEY: usize = 1 << 30;

impl RowSlots {
    fn place(&self, node: Node) -> Node {
        match node {
            Node::Slot(WINDOW_START) => Node::Slot(self.keys + self.aggregates),
            Node::Slot(WINDOW_END) => Node::Slot(self.keys + self.aggregates + 1),
            Node::Slot(slot) if slot >= KEY => Node::Slot(slot - KEY),
            Node::Slot(slot) => Node::Slot(slot.saturating_sub(AGGREGATE) + self.keys),
            Node::Op(op, operands) => {
                Node::Op(op, operands.into_iter().map(|operand| self.place(operand)).collect())
            }
            constant => constant,
        }
    }
}

/// Replaces keys by their slots, from the outside in; `Err` = a column that is no key.
fn regroup(node: Node, keys: &[Key<'_>]) -> Result<Node, usize> {
    if let Node::Const(_) = node {
        return Ok(node);
    }
    let text = slots_text(&node);
    if let Some(key) = keys.iter().position(|k| k.text == text) {
        return Ok(Node::Slot(KEY + key));
    }
    match node {
        Node::Slot(slot) if slot < WINDOW_START => Err(slot),
        Node::Op(op, operands) => {
            let operands =
                operands.into_iter().map(|operand| regroup(operand, keys)).collect::<Result<_, _>>()?;
            Ok(Node::Op(op, operands))
        }
        other => Ok(other),
    }
}

fn slots_text(node: &Node) -> String {
    node.text(&|slot| format!("#{slot}"))
}

fn star_place(select: &ast::Select) -> Option<Location> {
    select.projection.iter().find_map(|item| match item {
        SelectItem::Wildcard(options) => Some(options.wildcard_token.0.span.start),
        _ => None,
    })
}

/// The name of an expression without AS: a column's own, or its function's.
fn natural_name(expr: &Ast, qualifiers: &[String]) -> Option<String> {
    match expr {
        Ast::Identifier(ident) => Some(ident.value.clone()),
        Ast::CompoundIdentifier(parts) => {
            let qualified = parts.len() > 1 && parts.first().is_some_and(|p| qualifiers.contains(&p.value));
            let parts: Vec<&str> =
                parts.iter().skip(usize::from(qualified)).map(|p| p.value.as_str()).collect();
            Some(parts.join("."))
        }
        Ast::Function(function) => Some(function.name.to_string().to_lowercase()),
        Ast::Nested(inner) | Ast::Cast { expr: inner, .. } => natural_name(inner, qualifiers),
        _ => None,
    }
}

/// Fills in the types that are known only after all views of the stream are planned.
pub(super) fn finish(draft: &mut Draft, columns: &Columns) {
    let of_slot = |expr: &Expr| expr.as_slot().and_then(|slot| columns.ty(slot));
    for key in &mut draft.keys {
        key.ty = key.ty.or_else(|| of_slot(&key.expr));
    }
    let aggregate = |call: &AggregateCall| aggregate::final_type(call, columns);
    for output in &mut draft.outputs {
        let late = match output.expr.as_slot() {
            None => None,
            Some(slot) if draft.shape == Shape::Stateless => columns.ty(slot),
            Some(slot) => match draft.keys.get(slot) {
                Some(key) => key.ty,
                None => draft.aggregates.get(slot - draft.keys.len()).and_then(aggregate),
            },
        };
        output.ty = output.ty.or(late);
    }
}
