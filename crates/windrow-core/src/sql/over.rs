//! Aggregates over finals: `avg(count(*)) OVER (ORDER BY window_start)`.
//!
//! **In** a call with `OVER`. **Out** a slot of its own, and what fills it: a call over the row of a window.
//! **Before** this file: `aggregate` (finds calls). **After** it: `query` (places slots), `engine::over` (runs it).
//!
//! **Invariant:** what it reads are groups, aggregates and the window's time, as any output does; its rows are the finals of one
//! key in the order of windows, and no other order, frame or partition is accepted.

use sqlparser::{
    ast::{self, Expr as Ast, OrderBySort, WindowType},
    tokenizer::Location,
};

use super::{
    PlanError,
    aggregate::{AGGREGATES_MAX, NAMES, kind, result_type},
    call::{Argument, plain_arguments},
    lower::{Lower, OVER, Typed, Window},
    place::{place, shown},
    query::Planner,
    rows::{Key, slots_text},
};
use crate::{expr::Node, plan::AggregateKind, spec::LatePolicy};

const EXAMPLE: &str = "write avg(count(*)) OVER (ORDER BY window_start)";

/// `PARTITION BY` of one call: each member's canonical text, and how it was written.
#[derive(Debug)]
pub(super) struct Partition {
    members: Vec<(String, String)>,
    at: Location,
}

/// One such call, until keys and aggregates have their slots.
#[derive(Debug)]
pub(super) struct OverCall {
    text: String,
    kind: AggregateKind,
    argument: Option<Node>,
    at: Location,
    /// Columns that the argument names, with their places.
    uses: Vec<(usize, Location)>,
}

impl Lower<'_> {
    /// Lowers the call of an aggregate named `name` that has OVER.
    pub(super) fn over(
        &mut self,
        name: &str,
        function: &ast::Function,
        over: &WindowType,
    ) -> Result<Typed, PlanError> {
        let at = self.here;
        let refuse = |message: String, hint: &str| PlanError::at(at, message).hint(Some(hint.to_owned()));
        if let Some(reason) = self.no_over {
            return Err(PlanError::at(at, format!("{name}() OVER cannot be used here: {reason}")));
        }
        if self.window != Window::Known {
            let hint = "add tumble(interval '1 minute') to GROUP BY";
            return Err(refuse("OVER goes over windows, and this view has none".to_owned(), hint));
        }
        let partition = self.window_spec(over)?;
        let (arguments, treatment) = plain_arguments(function).map_err(|message| self.error(message))?;
        if treatment.is_some() || function.filter.is_some() {
            let hint =
                "they belong to the aggregate inside: sum(count(DISTINCT x)) OVER (ORDER BY window_start)";
            return Err(refuse("an aggregate with OVER takes no DISTINCT, ALL or FILTER".to_owned(), hint));
        }
        let uses = self.uses.len();
        self.no_over = Some("it does not nest");
        let argument = match arguments.as_slice() {
            [Argument::Star] if name == "count" => None,
            [Argument::Expr(argument)] => Some(self.argument(name, argument)?),
            _ => return Err(refuse(format!("{name} takes one argument"), EXAMPLE)),
        };
        self.no_over = None;
        self.here = at;
        let uses = self.uses.split_off(uses);
        let kind = kind(name, false);
        let ty = result_type(kind, argument.as_ref().and_then(|argument| argument.ty));
        let argument = argument.map(|argument| argument.node);
        let text = argument.as_ref().map_or_else(|| "*".to_owned(), slots_text);
        let call = OverCall { text: format!("{kind:?}({text})"), kind, argument, at, uses };
        let Some(aggregates) = &mut self.aggregates else {
            return Err(PlanError::at(at, format!("{name}() cannot be used here: {}", self.no_aggregates)));
        };
        let slot = aggregates.over_slot(call, partition);
        if slot >= AGGREGATES_MAX {
            return Err(PlanError::at(
                at,
                format!("a view has at most {AGGREGATES_MAX} aggregates with OVER"),
            ));
        }
        Ok(Typed::new(Node::Slot(OVER + slot), ty))
    }

    /// Checks what stands in OVER's brackets; returns what it is partitioned by.
    fn window_spec(&mut self, over: &WindowType) -> Result<Option<Partition>, PlanError> {
        let refuse = |at, message: &str| Err(PlanError::at(at, message).hint(Some(EXAMPLE.to_owned())));
        let at = self.here;
        let spec = match over {
            WindowType::WindowSpec(spec) if spec.window_name.is_none() => spec,
            _ => return refuse(at, "OVER takes its window in brackets, not by a name"),
        };
        let order = match spec.order_by.as_slice() {
            [] => return refuse(at, "OVER needs the order of windows"),
            [order] => order,
            _ => return refuse(at, "OVER is ordered by window_start alone: a key has one row per window"),
        };
        let plain = matches!(order.options.sort, None | Some(OrderBySort::Asc))
            && order.options.nulls_first.is_none();
        if !matches!(&order.expr, Ast::Identifier(ident) if ident.value == "window_start")
            || !plain
            || order.with_fill.is_some()
        {
            let at = place(&order.expr).unwrap_or(at);
            return refuse(at, "OVER is ordered by window_start, ascending: finals come in that order");
        }
        if spec.window_frame.is_some() {
            return refuse(at, "OVER has no frame: it goes from the first final of the key to this row");
        }
        if spec.partition_by.is_empty() {
            return Ok(None);
        }
        self.no_over = Some("it does not nest");
        let mut members = Vec::new();
        for member in &spec.partition_by {
            members.push((slots_text(&self.lower(member)?.node), shown(member)));
        }
        self.no_over = None;
        self.here = at;
        Ok(Some(Partition { members, at }))
    }
}

impl Planner<'_> {
    /// Finishes the calls: groups in them become slots, and what they are partitioned by must be the groups.
    ///
    /// - **Shape:** one per slot that was given out; what has an error has no argument, and there is no plan then.
    pub(super) fn over_calls(&mut self, keys: &[Key<'_>]) -> Vec<(AggregateKind, Option<Node>)> {
        let OverCalls { found, partitions } = self.aggregates.take_over();
        partitions.iter().for_each(|partition| self.check_partition(partition, keys));
        let mut calls = Vec::new();
        for call in found {
            if self.spec.late == LatePolicy::Update {
                let message = "OVER needs finals that stay: late = \"update\" changes them afterwards";
                let hint = "set late = \"topic\" or \"drop\", with a grace that late records fit into";
                self.errors.push(PlanError::at(call.at, message).hint(Some(hint.to_owned())));
            }
            let argument = call.argument.and_then(|node| self.regroup(node, keys, &call.uses));
            calls.push((call.kind, argument));
        }
        calls
    }

    fn check_partition(&mut self, partition: &Partition, keys: &[Key<'_>]) {
        let Partition { members, at } = partition;
        let foreign = members.iter().any(|(text, _)| !keys.iter().any(|key| key.text == *text));
        let missing = keys.iter().any(|key| !members.iter().any(|(text, _)| key.text == *text));
        if !(foreign || missing) || self.keys_failed {
            return;
        }
        let named = members.iter().map(|(_, shown)| shown.as_str()).collect::<Vec<_>>().join(", ");
        let groups = keys.iter().map(|key| shown(key.ast)).collect::<Vec<_>>().join(", ");
        let groups = if keys.is_empty() { "there are none".to_owned() } else { format!("they are {groups}") };
        let message = format!("PARTITION BY {named} are not the groups of the view; {groups}");
        let hint = "leave PARTITION BY out: OVER goes over the finals of the row's own groups".to_owned();
        self.errors.push(PlanError::at(*at, message).hint(Some(hint)));
    }
}

/// The calls of one query, each different one once.
#[derive(Debug, Default)]
pub(super) struct OverCalls {
    found: Vec<OverCall>,
    /// What they are partitioned by decides nothing, but each is checked.
    partitions: Vec<Partition>,
}

impl OverCalls {
    pub(super) fn slot(&mut self, call: OverCall, partition: Option<Partition>) -> usize {
        self.partitions.extend(partition);
        self.found.iter().position(|known| known.text == call.text).unwrap_or_else(|| {
            self.found.push(call);
            self.found.len() - 1
        })
    }
}

/// Says what may have OVER.
pub(super) fn who() -> String {
    format!("OVER is for {}", NAMES.join(", "))
}
