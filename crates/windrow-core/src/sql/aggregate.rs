//! Aggregate calls: found in SELECT and HAVING, each different one computed once.

use sqlparser::ast::{self, DuplicateTreatment, Expr as Ast};

use super::{
    PlanError,
    call::{Argument, call_arguments},
    columns::Columns,
    lower::{AGGREGATE, Lower, Typed, Window},
    over::{OverCall, OverCalls, Partition},
    types::Family,
};
use crate::{
    expr::{Expr, Node},
    plan::{AggregateCall, AggregateKind},
    value::ColumnType,
};

/// Most different aggregates of one view.
pub(super) const AGGREGATES_MAX: usize = 256;

/// The names of the aggregates.
pub(super) const NAMES: [&str; 5] = ["count", "sum", "min", "max", "avg"];

/// Aggregates of the design that are still to come.
pub(super) const NOT_YET: [&str; 6] = ["approx_percentile", "top_k", "first", "last", "stddev", "array_agg"];

/// The aggregates of one query, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Aggregates {
    found: Vec<(String, AggregateCall)>,
    over: OverCalls,
}

impl Aggregates {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn into_calls(self) -> Vec<AggregateCall> {
        self.found.into_iter().map(|(_, call)| call).collect()
    }

    /// Returns the slot of a call with OVER, among those alone.
    pub(super) fn over_slot(&mut self, call: OverCall, partition: Option<Partition>) -> usize {
        self.over.slot(call, partition)
    }

    pub(super) fn take_over(&mut self) -> OverCalls {
        std::mem::take(&mut self.over)
    }

    /// Returns the column whose least or greatest value the aggregate is.
    pub(super) fn extreme_of(&self, index: usize) -> Option<usize> {
        let (_, call) = self.found.get(index)?;
        match call.kind {
            AggregateKind::Min | AggregateKind::Max => call.argument.as_ref()?.as_slot(),
            _ => None,
        }
    }

    fn slot(&mut self, call: AggregateCall) -> usize {
        let text = call_text(&call, &|slot| format!("#{slot}"));
        let known = self.found.iter().position(|(t, _)| *t == text);
        AGGREGATE
            + known.unwrap_or_else(|| {
                self.found.push((text, call));
                self.found.len() - 1
            })
    }
}

/// Tells whether an expression is a call of an aggregate, which no group can be named after.
pub(super) fn is_call(expr: &Ast) -> bool {
    matches!(expr, Ast::Function(f) if NAMES.contains(&&*f.name.to_string().to_lowercase()))
}

/// Writes a call's canonical text.
pub(super) fn call_text(call: &AggregateCall, name: &dyn Fn(usize) -> String) -> String {
    let argument = call.argument.as_ref().map_or_else(|| "*".to_owned(), |e| e.text(name));
    let filter = call.filter.as_ref().map(|e| format!(" filter {}", e.text(name))).unwrap_or_default();
    let name = match call.kind {
        AggregateKind::Count => "count",
        AggregateKind::CountDistinct => "count_distinct",
        AggregateKind::Sum => "sum",
        AggregateKind::Min => "min",
        AggregateKind::Max => "max",
        AggregateKind::Avg => "avg",
    };
    format!("{name}({argument}){filter}")
}

/// The aggregate behind a name.
pub(super) fn kind(name: &str, distinct: bool) -> AggregateKind {
    match (name, distinct) {
        ("count", false) => AggregateKind::Count,
        ("count", true) => AggregateKind::CountDistinct,
        ("min", _) => AggregateKind::Min,
        ("max", _) => AggregateKind::Max,
        ("sum", _) => AggregateKind::Sum,
        _ => AggregateKind::Avg,
    }
}

/// The type of an aggregate's result, given its argument's.
pub(super) fn result_type(kind: AggregateKind, argument: Option<ColumnType>) -> Option<ColumnType> {
    match kind {
        AggregateKind::Count | AggregateKind::CountDistinct => Some(ColumnType::Bigint),
        AggregateKind::Avg => Some(ColumnType::Double),
        AggregateKind::Min | AggregateKind::Max => argument,
        AggregateKind::Sum => Some(match argument {
            Some(ty @ (ColumnType::Bigint | ColumnType::Double)) => ty,
            _ => ColumnType::Number,
        }),
    }
}

impl Lower<'_> {
    /// Lowers the call of an aggregate named `name`.
    pub(super) fn aggregate(&mut self, name: &str, function: &ast::Function) -> Result<Typed, PlanError> {
        if let Some(over) = &function.over {
            return self.over(name, function, over);
        }
        let at = self.here;
        let Some(aggregates) = self.aggregates.take() else {
            return Err(self.error(format!("{name}() cannot be used here: {}", self.no_aggregates)));
        };
        let outcome = self.aggregate_call(name, function);
        let slot = match outcome {
            Ok((call, ty)) => Ok((aggregates.slot(call), ty)),
            Err(error) => Err(error),
        };
        let too_many = aggregates.len() > AGGREGATES_MAX;
        self.aggregates = Some(aggregates);
        if too_many {
            return Err(PlanError::at(at, format!("a view has at most {AGGREGATES_MAX} aggregates")));
        }
        slot.map(|(slot, ty)| Typed::new(Node::Slot(slot), ty))
    }

    fn aggregate_call(
        &mut self,
        name: &str,
        function: &ast::Function,
    ) -> Result<(AggregateCall, Option<ColumnType>), PlanError> {
        let (arguments, distinct) = call_arguments(function).map_err(|message| self.error(message))?;
        let distinct = distinct == Some(DuplicateTreatment::Distinct);
        let (outer_window, uses) = (self.window, self.uses.len());
        let before = (self.no_aggregates, self.no_over);
        let outputs = std::mem::take(&mut self.outputs);
        self.no_aggregates = "aggregates do not nest";
        self.no_over = Some("aggregates do not nest; a call with OVER is an output, or part of one");
        if self.window == Window::Known {
            self.window = Window::Later;
        }
        let argument = match arguments.as_slice() {
            [Argument::Star] if name == "count" && !distinct => None,
            [Argument::Expr(argument)] => Some(self.argument(name, argument)?),
            _ if name == "count" => return Err(self.error("count takes one argument or *".to_owned())),
            _ => return Err(self.error(format!("{name} takes one argument"))),
        };
        let filter = match &function.filter {
            Some(filter) => Some(Expr::new(self.condition(filter, "FILTER")?)),
            None => None,
        };
        // What an aggregate reads need not be grouped by.
        self.uses.truncate(uses);
        (self.window, self.outputs) = (outer_window, outputs);
        (self.no_aggregates, self.no_over) = before;
        if distinct && matches!(name, "sum" | "avg") {
            return Err(self.error(format!("{name}(DISTINCT …) is not built yet")));
        }
        let kind = kind(name, distinct);
        let ty = result_type(kind, argument.as_ref().and_then(|a| a.ty));
        let argument = argument.map(|a| Expr::new(a.node));
        Ok((AggregateCall { kind, argument, filter }, ty))
    }

    pub(super) fn argument(&mut self, name: &str, argument: &Ast) -> Result<Typed, PlanError> {
        let typed = self.lower(argument)?;
        if matches!(name, "sum" | "avg") {
            self.want(&typed, argument, Family::Number, name)?;
        }
        if let (Node::Slot(slot), None) = (&typed.node, typed.ty) {
            let ty = self.columns.ty(*slot);
            return Ok(Typed::new(typed.node, ty));
        }
        Ok(typed)
    }
}

/// The type of an aggregate after all views are planned: `min(x)` of a column whose type a later view decided.
pub(super) fn final_type(call: &AggregateCall, columns: &Columns) -> Option<ColumnType> {
    let argument = call.argument.as_ref().and_then(Expr::as_slot).and_then(|slot| columns.ty(slot));
    result_type(call.kind, argument)
}
