//! Outputs: what SELECT names, and what it may be named.
//!
//! **Invariant:** no two outputs have one name, none has a name that rows carry by themselves, and every key is among
//! them.

use std::{collections::HashSet, sync::Arc};

use sqlparser::{
    ast::{self, Expr as Ast, SelectItem},
    tokenizer::Location,
};

use super::{
    PlanError, clauses,
    lower::Window,
    place::{place, shown},
    query::Planner,
    rows::{Key, slots_text},
};
use crate::{
    expr::Node,
    plan::{Shape, ViewPlan},
    spec::TopicFormat,
    value::ColumnType,
    written::{RowSchema, Unwritable},
};

/// Names that every row may carry beside what is selected.
const RESERVED: [&str; 4] = ["window_start", "window_end", "final", "seq"];
/// Names that are the key of a row of a view without state.
pub(super) const POSITION: [&str; 3] = ["_topic", "_partition", "_offset"];
/// Longest name of an output.
const NAME_MAX_BYTES: usize = 255;
/// Most outputs of a view.
const OUTPUTS_MAX: usize = 500;

/// One expression of SELECT.
pub(super) struct Item<'e> {
    pub(super) ast: &'e Ast,
    pub(super) name: Arc<str>,
    pub(super) at: Location,
}

/// One output on its way.
pub(super) struct Output {
    pub(super) name: Arc<str>,
    pub(super) ty: Option<ColumnType>,
    pub(super) node: Node,
}

impl Planner<'_> {
    /// Returns the columns that `*` stands for.
    pub(super) fn expand(&mut self, select: &ast::Select) -> Vec<Ast> {
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

    pub(super) fn items<'e>(&mut self, select: &'e ast::Select, expanded: &'e [Ast]) -> Vec<Item<'e>> {
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

    pub(super) fn outputs(
        &mut self,
        items: &[Item<'_>],
        keys: &mut [Key<'_>],
        has_group: bool,
        star: Option<Location>,
    ) -> Vec<Output> {
        let window = if self.is_windowed() { Window::Known } else { Window::None };
        let mut lowered = Vec::new();
        for item in items {
            if let Some((typed, uses)) = self.clause(window, None, &[], |lower| lower.lower(item.ast)) {
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
            let text = slots_text(&typed.node);
            if let Some(key) = keys.iter_mut().find(|k| k.text == text) {
                key.output.get_or_insert_with(|| item.name.clone());
            }
            let node = if grouped { self.regroup(typed.node, keys, &uses) } else { Some(typed.node) };
            outputs.extend(node.map(|node| Output { name: item.name.clone(), ty: typed.ty, node }));
        }
        outputs
    }

    pub(super) fn check_keys(&mut self, keys: &[Key<'_>]) {
        for key in keys.iter().filter(|k| k.output.is_none()) {
            let at = place(key.ast).unwrap_or(Location::new(1, 1));
            let message =
                format!("GROUP BY {} is not selected, and it is part of the row's key", shown(key.ast));
            let hint = format!("add {} to SELECT", shown(key.ast));
            self.errors.push(PlanError::at(at, message).hint(Some(hint)));
        }
    }

    pub(super) fn check_names(&mut self, items: &[Item<'_>]) {
        let mut seen = HashSet::new();
        for item in items {
            let own = matches!(item.ast, Ast::Identifier(ident) if *ident.value == *item.name);
            let message = if item.name.is_empty() || item.name.len() > NAME_MAX_BYTES {
                format!("an output's name has 1 to {NAME_MAX_BYTES} bytes, this {}", item.name.len())
            } else if self.is_reserved(&item.name, own) {
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

    /// Whether rows carry the name by themselves; `own` = it is selected under it.
    fn is_reserved(&self, name: &str, own: bool) -> bool {
        let own_window = own && self.is_windowed() && name.starts_with("window");
        let position = self.shape == Shape::Stateless && POSITION.contains(&name) && !own;
        position || (RESERVED.contains(&name) && !own_window)
    }

    /// Checks what stands beside the query about its second output.
    pub(super) fn check_topic(&mut self, items: &[Item<'_>]) {
        let is_text = self.spec.topic.as_ref().is_some_and(|topic| topic.format == TopicFormat::Text);
        if let (true, [_, second, ..]) = (is_text, items) {
            let message =
                format!("topic_format = \"text\" writes one column, and {} are selected", items.len());
            self.errors.push(PlanError::at(second.at, message));
        }
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

impl Planner<'_> {
    /// Checks that the rows of the second output have a schema, where they need one.
    pub(super) fn check_schema(&mut self, draft: &ViewPlan, items: &[Item<'_>]) -> bool {
        let Err((place, why)) = RowSchema::of(draft) else { return true };
        let at = items.get(place).map_or(Location::new(1, 1), |item| item.at);
        let hint = match &why {
            Unwritable::Name(_) | Unwritable::Taken(_) => "write … AS another_name",
            Unwritable::Type(_) => {
                "write CAST(… AS text), say, or give the column its type in the stream's `columns`"
            }
        };
        self.errors.push(PlanError::at(at, why.to_string()).hint(Some(hint.to_owned())));
        false
    }
}

pub(super) fn star_place(select: &ast::Select) -> Option<Location> {
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
