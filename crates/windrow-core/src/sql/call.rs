//! Calls: scalar functions by name, and the few that `sqlparser` has syntax of its own for.

use sqlparser::ast::{self, DuplicateTreatment, Expr as Ast};

use super::{
    PlanError, aggregate,
    lower::{Lower, Typed},
    over,
    parse::did_you_mean,
    place::place,
    types::{self, Family},
    window,
};
use crate::{
    expr::{Function, Node, Op, Operator, TimeFormat},
    value::ColumnType,
};

/// What a function gives.
#[derive(Debug, Clone, Copy)]
enum Gives {
    This(ColumnType),
    /// The number type of its arguments.
    Number,
    /// The one type that all its arguments have.
    Common,
}

/// Name, function, least and most arguments, what they must be, what it gives.
type Signature = (&'static str, Function, usize, usize, Option<Family>, Gives);

const MANY: usize = 1_000;
const TEXT: Option<Family> = Some(Family::Text);
const NUMBER: Option<Family> = Some(Family::Number);
const GIVES_TEXT: Gives = Gives::This(ColumnType::Text);
const GIVES_BOOLEAN: Gives = Gives::This(ColumnType::Boolean);

#[rustfmt::skip]
const FUNCTIONS: [Signature; 23] = [
    ("abs", Function::Abs, 1, 1, NUMBER, Gives::Number),
    ("ceiling", Function::Ceil, 1, 1, NUMBER, Gives::Number),
    ("coalesce", Function::Coalesce, 1, MANY, None, Gives::Common),
    ("concat", Function::ConcatAll, 1, MANY, None, GIVES_TEXT),
    ("contains", Function::Contains, 2, 2, TEXT, GIVES_BOOLEAN),
    ("div", Function::Div, 2, 2, NUMBER, Gives::Number),
    ("ends_with", Function::EndsWith, 2, 2, TEXT, GIVES_BOOLEAN),
    ("greatest", Function::Greatest, 1, MANY, None, Gives::Common),
    ("json_array", Function::JsonArray, 0, MANY, None, Gives::This(ColumnType::Json)),
    ("least", Function::Least, 1, MANY, None, Gives::Common),
    ("length", Function::Length, 1, 1, TEXT, Gives::This(ColumnType::Bigint)),
    ("lower", Function::Lower, 1, 1, TEXT, GIVES_TEXT),
    ("ltrim", Function::Trim { start: true, end: false }, 1, 2, TEXT, GIVES_TEXT),
    ("nullif", Function::NullIf, 2, 2, None, Gives::Common),
    ("replace", Function::Replace, 3, 3, TEXT, GIVES_TEXT),
    ("round", Function::Round, 1, 2, NUMBER, Gives::Number),
    ("rtrim", Function::Trim { start: false, end: true }, 1, 2, TEXT, GIVES_TEXT),
    ("starts_with", Function::StartsWith, 2, 2, TEXT, GIVES_BOOLEAN),
    ("upper", Function::Upper, 1, 1, TEXT, GIVES_TEXT),
    ("char_length", Function::Length, 1, 1, TEXT, Gives::This(ColumnType::Bigint)),
    ("btrim", Function::Trim { start: true, end: true }, 1, 2, TEXT, GIVES_TEXT),
    ("floor", Function::Floor, 1, 1, NUMBER, Gives::Number),
    ("ceil", Function::Ceil, 1, 1, NUMBER, Gives::Number),
];

/// Names that are functions, too, but have rules of their own.
const SPECIAL: [&str; 9] = [
    "mod",
    "regexp_like",
    "json_object",
    "date_trunc",
    "format_time",
    "trim",
    "substr",
    "substring",
    "tumble",
];

/// The names of all functions but the aggregates.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|signature| signature.0).chain(SPECIAL)
}

/// An argument of a call.
#[derive(Debug)]
pub(super) enum Argument<'e> {
    Expr(&'e Ast),
    Star,
    /// `'name': value` of `json_object`.
    Named(&'e Ast, &'e Ast),
}

/// Takes a call apart.
///
/// - **Errors:** a sentence, for what no function here has: windows, orders, subqueries.
pub(super) fn call_arguments(
    function: &ast::Function,
) -> Result<(Vec<Argument<'_>>, Option<DuplicateTreatment>), String> {
    if function.over.is_some() {
        return Err(over::who());
    }
    plain_arguments(function)
}

/// The same, whether the call has OVER or not.
pub(super) fn plain_arguments(
    function: &ast::Function,
) -> Result<(Vec<Argument<'_>>, Option<DuplicateTreatment>), String> {
    if !function.within_group.is_empty() || function.null_treatment.is_some() {
        return Err("WITHIN GROUP and NULLS are not part of this language".to_owned());
    }
    let list = match &function.args {
        ast::FunctionArguments::List(list) => list,
        ast::FunctionArguments::None => return Ok((Vec::new(), None)),
        ast::FunctionArguments::Subquery(_) => {
            return Err("subqueries are not part of this language".to_owned());
        }
    };
    if let Some(clause) = list.clauses.first() {
        return Err(format!("`{clause}` inside a call is not part of this language"));
    }
    Ok((list.args.iter().map(argument).collect::<Result<_, _>>()?, list.duplicate_treatment))
}

fn argument(argument: &ast::FunctionArg) -> Result<Argument<'_>, String> {
    use ast::{FunctionArg, FunctionArgExpr, FunctionArgOperator};
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Ok(Argument::Expr(e)),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Ok(Argument::Star),
        FunctionArg::ExprNamed {
            name,
            arg: FunctionArgExpr::Expr(value),
            operator: FunctionArgOperator::Colon | FunctionArgOperator::Value,
        } => Ok(Argument::Named(name, value)),
        _ => Err("named arguments are not part of this language".to_owned()),
    }
}

/// Returns the plain arguments of a call; `None` when it has others.
pub(super) fn arguments(function: &ast::Function) -> Option<Vec<&Ast>> {
    let (arguments, _) = call_arguments(function).ok()?;
    let plain = |a| match a {
        Argument::Expr(e) => Some(e),
        _ => None,
    };
    arguments.into_iter().map(plain).collect()
}

impl Lower<'_> {
    /// Lowers a call, or says that there is no such expression.
    pub(super) fn call(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        match expr {
            Ast::Function(function) => self.function(function),
            Ast::Floor { expr, field } => self.rounded(Function::Floor, expr, field),
            Ast::Ceil { expr, field } => self.rounded(Function::Ceil, expr, field),
            Ast::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let mut operands = vec![
                    self.wanted(expr, Family::Text, "substring")?,
                    self.wanted(from, Family::Number, "substring")?,
                ];
                if let Some(length) = substring_for {
                    operands.push(self.wanted(length, Family::Number, "substring")?);
                }
                Ok(Typed::new(Node::op(Op::Call(Function::Substr), operands), ColumnType::Text))
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let (start, end) = match trim_where {
                    Some(ast::TrimWhereField::Leading) => (true, false),
                    Some(ast::TrimWhereField::Trailing) => (false, true),
                    Some(ast::TrimWhereField::Both) | None => (true, true),
                };
                let mut operands = vec![self.wanted(expr, Family::Text, "trim")?];
                let set = trim_what.as_deref().or(trim_characters.as_ref().and_then(|c| c.first()));
                if let Some(set) = set {
                    operands.push(self.wanted(set, Family::Text, "trim")?);
                }
                Ok(Typed::new(Node::op(Op::Call(Function::Trim { start, end }), operands), ColumnType::Text))
            }
            Ast::Subquery(_) | Ast::Exists { .. } | Ast::InSubquery { .. } => {
                Err(self.error("subqueries are not part of this language".to_owned()))
            }
            Ast::CompoundFieldAccess { .. } => {
                let hint = "members are written payload->'name' and elements payload->0".to_owned();
                Err(self.error("brackets don't reach into a value".to_owned()).hint(Some(hint)))
            }
            _ => Err(self.error("this expression is not part of the language".to_owned())),
        }
    }

    fn rounded(
        &mut self,
        function: Function,
        expr: &Ast,
        field: &ast::CeilFloorKind,
    ) -> Result<Typed, PlanError> {
        if !matches!(field, ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime)) {
            return Err(
                self.error("floor and ceil take one argument; for times there is date_trunc".to_owned())
            );
        }
        let value = self.lower(expr)?;
        self.want(&value, expr, Family::Number, "floor and ceil")?;
        let ty = types::arithmetic(value.ty, value.ty, false);
        Ok(Typed::new(Node::op(Op::Call(function), vec![value.node]), ty))
    }

    fn function(&mut self, function: &ast::Function) -> Result<Typed, PlanError> {
        let name = function.name.to_string().to_lowercase();
        if aggregate::NAMES.contains(&&*name) {
            return self.aggregate(&name, function);
        }
        let known = FUNCTIONS.iter().find(|s| s.0 == name);
        if known.is_none() && !SPECIAL.contains(&&*name) {
            let unknown = self.unknown(&name);
            return Err(if function.over.is_some() { unknown.hint(Some(over::who())) } else { unknown });
        }
        let (arguments, distinct) = call_arguments(function).map_err(|message| self.error(message))?;
        if distinct.is_some() || function.filter.is_some() {
            return Err(
                self.error(format!("{name} is not an aggregate: it takes no DISTINCT, ALL or FILTER"))
            );
        }
        if name == "json_object" {
            return self.json_object(&arguments);
        }
        let plain = |a: &Argument<'_>| match a {
            Argument::Expr(_) => Ok(()),
            _ => Err(self.error(format!("{name} takes plain arguments"))),
        };
        arguments.iter().try_for_each(plain)?;
        let plain: Vec<&Ast> = arguments
            .iter()
            .filter_map(|a| if let Argument::Expr(e) = a { Some(*e) } else { None })
            .collect();
        match known {
            Some(signature) => self.known(signature, &plain),
            None => self.special(&name, &plain),
        }
    }

    fn known(&mut self, signature: &Signature, arguments: &[&Ast]) -> Result<Typed, PlanError> {
        let (name, function, least, most, takes, gives) = *signature;
        if arguments.len() < least || arguments.len() > most {
            return Err(self.error(format!("{name} takes {}, not {}", count(least, most), arguments.len())));
        }
        let at = self.here;
        let mut typed = Vec::with_capacity(arguments.len());
        let mut ty = None;
        for argument in arguments {
            let lowered = self.lower(argument)?;
            if let Some(family) = takes {
                self.want(&lowered, argument, family, name)?;
            }
            if matches!(gives, Gives::Common) {
                ty = self.common(ty, &lowered, argument, &format!("the arguments of {name}"))?;
            }
            typed.push(lowered);
        }
        if let (Gives::Common, Some(ty)) = (gives, ty) {
            // What came before the argument that has a type learns from it, too.
            for (lowered, argument) in typed.iter().zip(arguments) {
                self.want(lowered, argument, Family::of(ty), name)?;
            }
        }
        self.here = at;
        let ty = match gives {
            Gives::This(ty) => Some(ty),
            Gives::Common => ty,
            Gives::Number => Some(types::arithmetic(typed[0].ty, typed[0].ty, false)),
        };
        Ok(Typed::new(Node::op(Op::Call(function), typed.into_iter().map(|t| t.node).collect()), ty))
    }

    fn special(&mut self, name: &str, arguments: &[&Ast]) -> Result<Typed, PlanError> {
        match (name, arguments) {
            ("mod", [left, right]) => {
                let operands =
                    vec![self.wanted(left, Family::Number, name)?, self.wanted(right, Family::Number, name)?];
                Ok(Typed::new(Node::op(Op::Arithmetic(Operator::Rem), operands), ColumnType::Number))
            }
            ("regexp_like", [text, pattern]) => self.regex(text, pattern, false, false),
            ("regexp_like", [text, pattern, flags]) => {
                match self.constant_text(flags, "the flags")?.as_deref() {
                    Some("i") => self.regex(text, pattern, true, false),
                    Some("" | "c") => self.regex(text, pattern, false, false),
                    _ => Err(self.error(
                        "the flags of regexp_like are 'i' (case does not matter) and 'c' (it does)"
                            .to_owned(),
                    )),
                }
            }
            ("date_trunc", [unit, time]) => self.date_trunc(unit, time),
            ("format_time", [time, format]) => self.format_time(time, format, None),
            ("format_time", [time, format, zone]) => self.format_time(time, format, Some(zone)),
            ("tumble", _) => {
                let hint = "SELECT names it window_start, window_end".to_owned();
                Err(self.error("tumble is for GROUP BY".to_owned()).hint(Some(hint)))
            }
            _ => Err(self.error(format!("{name} does not take {} arguments", arguments.len()))),
        }
    }

    fn date_trunc(&mut self, unit: &Ast, time: &Ast) -> Result<Typed, PlanError> {
        let unit = self.constant_text(unit, "the unit")?.unwrap_or_default().to_lowercase();
        let unit_ms = match window::unit_ms(&unit) {
            Some(ms) => ms.map_err(|(message, hint)| self.error(message).hint(hint))?,
            None => return Err(self.error(format!("there is no unit `{unit}`"))),
        };
        // The epoch was a Thursday; weeks start on Monday.
        let offset_ms = if unit_ms == 604_800_000 { 3 * 86_400_000 } else { 0 };
        let time = self.wanted(time, Family::Time, "date_trunc")?;
        let function = Function::DateTrunc { unit_ms, offset_ms };
        Ok(Typed::new(Node::op(Op::Call(function), vec![time]), ColumnType::Timestamp))
    }

    fn format_time(&mut self, time: &Ast, format: &Ast, zone: Option<&Ast>) -> Result<Typed, PlanError> {
        let time = self.wanted(time, Family::Time, "format_time")?;
        let at = self.here;
        let text = self.constant_text(format, "the format")?.unwrap_or_default();
        let zone = match zone {
            Some(zone) => self.constant_text(zone, "the time zone")?.unwrap_or_default(),
            None => "UTC".to_owned(),
        };
        let format = TimeFormat::new(&text, &zone)
            .map_err(|(message, hint)| PlanError::at(place(format).unwrap_or(at), message).hint(hint))?;
        Ok(Typed::new(Node::op(Op::Format(Box::new(format)), vec![time]), ColumnType::Text))
    }

    fn json_object(&mut self, arguments: &[Argument<'_>]) -> Result<Typed, PlanError> {
        let mut operands = Vec::new();
        for argument in arguments {
            match argument {
                Argument::Expr(e) => operands.push(self.lower(e)?.node),
                Argument::Named(name, value) => {
                    operands.push(self.lower(name)?.node);
                    operands.push(self.lower(value)?.node);
                }
                Argument::Star => return Err(self.error("json_object takes names and values".to_owned())),
            }
        }
        if operands.len() % 2 == 1 || operands.len() > MANY {
            let message =
                format!("json_object takes names and values in turn, not {} arguments", operands.len());
            return Err(self.error(message));
        }
        Ok(Typed::new(Node::op(Op::Call(Function::JsonObject), operands), ColumnType::Json))
    }

    fn unknown(&self, name: &str) -> PlanError {
        let message = format!("there is no function `{name}`");
        if aggregate::NOT_YET.contains(&name) || matches!(name, "hop" | "session") {
            let hint = format!("built so far: {}, tumble", aggregate::NAMES.join(", "));
            return self.error(format!("`{name}` is not built yet")).hint(Some(hint));
        }
        if matches!(name, "now" | "current_timestamp" | "current_date" | "localtimestamp") {
            let hint = "a view depends on its records alone; their time is _timestamp".to_owned();
            return self.error(message).hint(Some(hint));
        }
        let names: Vec<&str> = names().chain(aggregate::NAMES).collect();
        self.error(message).hint(did_you_mean(name, &names))
    }
}

fn count(least: usize, most: usize) -> String {
    match (least, most) {
        (1, 1) => "1 argument".to_owned(),
        (a, b) if a == b => format!("{a} arguments"),
        (a, MANY) => format!("{a} arguments or more"),
        (a, b) => format!("{a} to {b} arguments"),
    }
}
