//! Lowering: a syntax tree becomes a typed expression over slots.
//!
//! **In** an expression and the columns it may name. **Out** a [`Typed`] node, or one error at the place of the mistake.
//! **Invariant:** recursion is at most [`DEPTH_MAX`] deep; chains of AND and OR don't nest, however long they are.
//! **Not here:** calls (`call`), which clauses there are (`query`).

use sqlparser::{
    ast::{self, BinaryOperator as Binary, Expr as Ast, UnaryOperator as Unary},
    tokenizer::Location,
};

use super::{
    PlanError,
    aggregate::Aggregates,
    columns::Columns,
    literal,
    types::{self, Family, describe},
};
use crate::{
    expr::{Comparison, DEPTH_MAX, Node, Op, Operator, Pattern, Step, ValueSet, parse_timestamp_ms},
    value::{ColumnType, Value},
};

/// Slots from here on are not columns: `window_start`, `window_end`, then the aggregates of the query.
pub(super) const WINDOW_START: usize = 1 << 20;
pub(super) const WINDOW_END: usize = WINDOW_START + 1;
pub(super) const AGGREGATE: usize = WINDOW_START + 2;

/// What an expression became.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) node: Node,
    /// `None` = any.
    pub(super) ty: Option<ColumnType>,
}

impl Typed {
    pub(super) fn new(node: Node, ty: impl Into<Option<ColumnType>>) -> Self {
        Self { node, ty: ty.into() }
    }

    fn condition(op: Op, operands: Vec<Node>) -> Self {
        Self::new(Node::op(op, operands), ColumnType::Boolean)
    }
}

/// One clause being lowered.
pub(super) struct Lower<'p> {
    pub(super) columns: &'p mut Columns,
    /// Name of the view, for places in messages.
    pub(super) view: Option<&'p str>,
    /// What a column may be qualified with: the stream's name and alias.
    pub(super) qualifiers: Vec<String>,
    /// Where aggregates go; `None` = they are not allowed, for the reason in `no_aggregates`.
    pub(super) aggregates: Option<&'p mut Aggregates>,
    pub(super) no_aggregates: &'static str,
    /// Whether `window_start` and `window_end` can be named.
    pub(super) window: Window,
    /// Columns used, with their places.
    pub(super) uses: Vec<(usize, Location)>,
    pub(super) depth: usize,
    /// The last place known.
    pub(super) here: Location,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// The view has none: the names are plain columns.
    None,
    /// The view has one, but this clause comes before it.
    Later,
    /// They are columns of the row.
    Known,
}

impl<'p> Lower<'p> {
    pub(super) fn new(columns: &'p mut Columns, view: Option<&'p str>) -> Self {
        Self {
            columns,
            view,
            qualifiers: Vec::new(),
            aggregates: None,
            no_aggregates: "aggregates are for the views' SELECT and HAVING",
            window: Window::None,
            uses: Vec::new(),
            depth: 0,
            here: Location::new(1, 1),
        }
    }

    /// Lowers one expression.
    pub(super) fn lower(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        self.here = place(expr).unwrap_or(self.here);
        if self.depth == DEPTH_MAX {
            return Err(self.error(format!("the expression nests deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let lowered = self.lower_inner(expr);
        self.depth -= 1;
        lowered
    }

    /// Lowers a condition.
    pub(super) fn condition(&mut self, expr: &Ast, who: &str) -> Result<Node, PlanError> {
        self.wanted(expr, Family::Boolean, who)
    }

    /// Lowers an expression that must be of a family.
    pub(super) fn wanted(&mut self, expr: &Ast, family: Family, who: &str) -> Result<Node, PlanError> {
        let typed = self.lower(expr)?;
        self.want(&typed, expr, family, who)?;
        Ok(typed.node)
    }

    fn lower_inner(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        match expr {
            Ast::Nested(inner) => self.lower(inner),
            Ast::Identifier(_) | Ast::CompoundIdentifier(_) => self.column(expr),
            Ast::Value(value) => literal::value(&value.value).map_err(|message| self.error(message)),
            Ast::TypedString(typed) => literal::typed(typed).map_err(|message| self.error(message)),
            Ast::Interval(interval) => {
                let ms = super::window::interval_ms(interval)
                    .map_err(|(message, hint)| self.error(message).hint(hint))?;
                Ok(Typed::new(Node::Const(Value::Int(ms)), ColumnType::Bigint))
            }
            Ast::UnaryOp { op, expr } => self.unary(*op, expr),
            Ast::BinaryOp { left, op, right } => self.binary(expr, left, op, right),
            Ast::IsNull(e) => Ok(Typed::condition(Op::IsNull, vec![self.lower(e)?.node])),
            Ast::IsNotNull(e) => Ok(not(Typed::condition(Op::IsNull, vec![self.lower(e)?.node]), true)),
            Ast::IsTrue(e) => self.is(e, Some(true), false),
            Ast::IsNotTrue(e) => self.is(e, Some(true), true),
            Ast::IsFalse(e) => self.is(e, Some(false), false),
            Ast::IsNotFalse(e) => self.is(e, Some(false), true),
            Ast::IsUnknown(e) => self.is(e, None, false),
            Ast::IsNotUnknown(e) => self.is(e, None, true),
            Ast::IsDistinctFrom(a, b) => self.distinct(a, b, false),
            Ast::IsNotDistinctFrom(a, b) => self.distinct(a, b, true),
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Ast::Between { expr, negated, low, high } => {
                let (value, low) = self.pair(expr, low)?;
                let (value, high) = self.matched(value, expr, high)?;
                Ok(not(Typed::condition(Op::Between, vec![value.node, low.node, high.node]), *negated))
            }
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), false, *negated)
            }
            Ast::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), true, *negated)
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Ast::Cast { kind: _, expr, data_type, format: None } => self.cast(expr, data_type),
            other => self.call(other),
        }
    }

    fn column(&mut self, expr: &Ast) -> Result<Typed, PlanError> {
        let idents: &[ast::Ident] = match expr {
            Ast::Identifier(ident) => std::slice::from_ref(ident),
            Ast::CompoundIdentifier(idents) => idents,
            _ => &[],
        };
        let parts: Vec<&str> = idents.iter().map(|i| i.value.as_str()).collect();
        let quoted = idents.iter().any(|i| i.quote_style.is_some());
        let mut name = parts.join(".");
        if let [first, rest @ ..] = parts.as_slice() {
            if !rest.is_empty() && self.qualifiers.iter().any(|q| q == first) && !self.columns.is_known(&name)
            {
                name = rest.join(".");
            }
        }
        if let ("window_start" | "window_end", false, Window::Known | Window::Later) =
            (&*name, quoted, self.window)
        {
            if self.window == Window::Later {
                let hint = format!("write \"{name}\" when the stream has a column of that name");
                return Err(self
                    .error(format!("{name} can be used in SELECT and HAVING only"))
                    .hint(Some(hint)));
            }
            let slot = if name == "window_start" { WINDOW_START } else { WINDOW_END };
            return Ok(Typed::new(Node::Slot(slot), ColumnType::Timestamp));
        }
        let slot = self.columns.resolve(&name, quoted, self.here)?;
        self.uses.push((slot, self.here));
        Ok(Typed::new(Node::Slot(slot), self.columns.ty(slot)))
    }

    fn unary(&mut self, op: Unary, expr: &Ast) -> Result<Typed, PlanError> {
        match op {
            Unary::Not => Ok(not(Typed::new(self.condition(expr, "NOT")?, ColumnType::Boolean), true)),
            Unary::Plus | Unary::Minus => {
                let operand = self.lower(expr)?;
                self.want(&operand, expr, Family::Number, "a sign")?;
                let ty = types::arithmetic(operand.ty, operand.ty, false);
                let node = match op {
                    Unary::Plus => operand.node,
                    _ => Node::op(
                        Op::Arithmetic(Operator::Sub),
                        vec![Node::Const(Value::Int(0)), operand.node],
                    ),
                };
                Ok(Typed::new(node, ty))
            }
            other => Err(self.error(format!("there is no operator {other}"))),
        }
    }

    fn binary(&mut self, whole: &Ast, left: &Ast, op: &Binary, right: &Ast) -> Result<Typed, PlanError> {
        let comparison = match op {
            Binary::Eq => Comparison::Eq,
            Binary::NotEq => Comparison::Ne,
            Binary::Lt => Comparison::Lt,
            Binary::LtEq => Comparison::Le,
            Binary::Gt => Comparison::Gt,
            Binary::GtEq => Comparison::Ge,
            Binary::And => return self.chain(whole, Op::All, &Binary::And, "AND"),
            Binary::Or => return self.chain(whole, Op::Any, &Binary::Or, "OR"),
            Binary::Plus => return self.arithmetic(Operator::Add, left, right),
            Binary::Minus => return self.arithmetic(Operator::Sub, left, right),
            Binary::Multiply => return self.arithmetic(Operator::Mul, left, right),
            Binary::Divide => return self.arithmetic(Operator::Div, left, right),
            Binary::Modulo => return self.arithmetic(Operator::Rem, left, right),
            Binary::StringConcat => {
                let operands = vec![self.lower(left)?.node, self.lower(right)?.node];
                return Ok(Typed::new(Node::op(Op::Concat, operands), ColumnType::Text));
            }
            Binary::Arrow => return self.get(left, right, false),
            Binary::LongArrow => return self.get(left, right, true),
            Binary::PGRegexMatch => return self.regex(left, right, false, false),
            Binary::PGRegexIMatch => return self.regex(left, right, true, false),
            Binary::PGRegexNotMatch => return self.regex(left, right, false, true),
            Binary::PGRegexNotIMatch => return self.regex(left, right, true, true),
            Binary::PGLikeMatch => return self.like(left, right, None, false, false),
            Binary::PGNotLikeMatch => return self.like(left, right, None, false, true),
            Binary::PGILikeMatch => return self.like(left, right, None, true, false),
            Binary::PGNotILikeMatch => return self.like(left, right, None, true, true),
            other => return Err(self.error(format!("there is no operator {other}"))),
        };
        let (left, right) = self.pair(left, right)?;
        Ok(Typed::condition(Op::Compare(comparison), vec![left.node, right.node]))
    }

    /// Walks `a AND b AND c` without recursion, however long it is.
    fn chain(&mut self, whole: &Ast, op: Op, joins: &Binary, who: &str) -> Result<Typed, PlanError> {
        let mut parts = Vec::new();
        let mut rest = whole;
        while let Ast::BinaryOp { left, op, right } = rest {
            if op != joins {
                break;
            }
            parts.push(&**right);
            rest = left;
        }
        parts.push(rest);
        let operands =
            parts.into_iter().rev().map(|part| self.condition(part, who)).collect::<Result<_, _>>()?;
        Ok(Typed::condition(op, operands))
    }

    fn arithmetic(&mut self, operator: Operator, left: &Ast, right: &Ast) -> Result<Typed, PlanError> {
        let (a, b) = (self.lower(left)?, self.lower(right)?);
        self.want(&a, left, Family::Number, "arithmetic")?;
        self.want(&b, right, Family::Number, "arithmetic")?;
        let time = |t: &Typed| t.ty == Some(ColumnType::Timestamp);
        let ty = match (operator, time(&a), time(&b)) {
            (Operator::Add | Operator::Sub, true, false) | (Operator::Add, false, true) => {
                ColumnType::Timestamp
            }
            (Operator::Sub, true, true) => ColumnType::Bigint,
            _ => types::arithmetic(a.ty, b.ty, operator == Operator::Div),
        };
        Ok(Typed::new(Node::op(Op::Arithmetic(operator), vec![a.node, b.node]), ty))
    }

    fn is(&mut self, expr: &Ast, truth: Option<bool>, negated: bool) -> Result<Typed, PlanError> {
        let operand = self.condition(expr, "IS")?;
        let op = truth.map_or(Op::IsNull, Op::Is);
        Ok(not(Typed::condition(op, vec![operand]), negated))
    }

    fn distinct(&mut self, left: &Ast, right: &Ast, negated: bool) -> Result<Typed, PlanError> {
        let (left, right) = self.pair(left, right)?;
        Ok(not(Typed::condition(Op::Distinct, vec![left.node, right.node]), negated))
    }

    fn in_list(&mut self, expr: &Ast, list: &[Ast], negated: bool) -> Result<Typed, PlanError> {
        let mut value = self.lower(expr)?;
        let (mut constants, mut others) = (Vec::new(), Vec::new());
        for member in list {
            let matched = self.matched(value, expr, member)?;
            value = matched.0;
            match matched.1.node {
                Node::Const(constant) => constants.push(constant),
                other => others.push(other),
            }
        }
        let mut operands = vec![value.node];
        operands.append(&mut others);
        // One value is an equality, so that `a IN (1)` and `a = 1` are one filter.
        let only = constants.len() == 1 && operands.len() == 1;
        let typed = match constants.pop() {
            Some(constant) if only => {
                operands.push(Node::Const(constant));
                Typed::condition(Op::Compare(Comparison::Eq), operands)
            }
            last => {
                constants.extend(last);
                Typed::condition(Op::In(ValueSet::new(constants)), operands)
            }
        };
        Ok(not(typed, negated))
    }

    fn like(
        &mut self,
        expr: &Ast,
        pattern: &Ast,
        escape: Option<&Ast>,
        insensitive: bool,
        negated: bool,
    ) -> Result<Typed, PlanError> {
        let text = self.wanted(expr, Family::Text, "LIKE")?;
        let Some(pattern) = self.constant_text(pattern, "a LIKE pattern")? else { return Ok(null()) };
        let escape = match escape {
            None => Some('\\'),
            Some(escape) => {
                let escape = self.constant_text(escape, "ESCAPE")?.unwrap_or_default();
                let mut chars = escape.chars();
                match (chars.next(), chars.next()) {
                    (one, None) => one,
                    _ => return Err(self.error("ESCAPE takes one character".to_owned())),
                }
            }
        };
        let pattern = Pattern::like(&pattern, escape, insensitive).map_err(|message| self.error(message))?;
        Ok(not(Typed::condition(Op::Match(Box::new(pattern)), vec![text]), negated))
    }

    pub(super) fn regex(
        &mut self,
        expr: &Ast,
        pattern: &Ast,
        insensitive: bool,
        negated: bool,
    ) -> Result<Typed, PlanError> {
        let text = self.wanted(expr, Family::Text, "a regular expression")?;
        let Some(source) = self.constant_text(pattern, "a regular expression")? else { return Ok(null()) };
        let pattern = Pattern::regex(&source, insensitive).map_err(|message| self.error(message))?;
        Ok(not(Typed::condition(Op::Match(Box::new(pattern)), vec![text]), negated))
    }

    /// Lowers what must be a text constant; `None` = NULL.
    pub(super) fn constant_text(&mut self, expr: &Ast, who: &str) -> Result<Option<String>, PlanError> {
        match self.lower(expr)?.node {
            Node::Const(Value::Text(text)) => Ok(Some(text.into())),
            Node::Const(Value::Null) => Ok(None),
            _ => Err(self.error(format!("{who} must be a text constant"))),
        }
    }

    fn get(&mut self, document: &Ast, step: &Ast, text: bool) -> Result<Typed, PlanError> {
        let document = self.wanted(document, Family::Json, "a JSON path")?;
        let step = match self.lower(step)?.node {
            Node::Const(Value::Text(member)) => Step::Member(member),
            Node::Const(Value::Int(index)) => Step::Element(index),
            _ => {
                return Err(
                    self.error("a JSON path step is a member's name or an element's number".to_owned())
                );
            }
        };
        let ty = text.then_some(ColumnType::Text);
        Ok(Typed::new(Node::op(Op::Get { step, text }, vec![document]), ty))
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        whens: &[ast::CaseWhen],
        default: Option<&Ast>,
    ) -> Result<Typed, PlanError> {
        let mut nodes = Vec::new();
        let mut ty = None;
        let mut subject = operand.map(|o| self.lower(o)).transpose()?;
        let mut branches = Vec::new();
        for when in whens {
            let condition = match (subject.take(), operand) {
                (Some(value), Some(ast)) => {
                    let (value, condition) = self.matched(value, ast, &when.condition)?;
                    subject = Some(value);
                    condition.node
                }
                _ => self.condition(&when.condition, "WHEN")?,
            };
            branches.push(condition);
            branches.push(self.branch(&when.result, &mut ty)?);
        }
        let default = match default {
            Some(default) => self.branch(default, &mut ty)?,
            None => Node::Const(Value::Null),
        };
        nodes.extend(subject.map(|s| s.node));
        nodes.append(&mut branches);
        nodes.push(default);
        Ok(Typed::new(Node::op(Op::Case { operand: operand.is_some() }, nodes), ty))
    }

    fn branch(&mut self, result: &Ast, ty: &mut Option<ColumnType>) -> Result<Node, PlanError> {
        let typed = self.lower(result)?;
        *ty = self.common(*ty, &typed, result, "the branches of CASE")?;
        Ok(typed.node)
    }

    fn cast(&mut self, expr: &Ast, data_type: &ast::DataType) -> Result<Typed, PlanError> {
        let node = self.lower(expr)?.node;
        let ty = types::cast_target(data_type).map_err(|message| self.error(message))?;
        Ok(Typed::new(Node::op(Op::Cast(ty), vec![node]), ty))
    }

    /// Lowers two expressions that are compared with each other.
    fn pair(&mut self, left: &Ast, right: &Ast) -> Result<(Typed, Typed), PlanError> {
        let value = self.lower(left)?;
        self.matched(value, left, right)
    }

    /// Lowers `right`, to be compared with `value`: each may say what the other is.
    pub(super) fn matched(
        &mut self,
        mut value: Typed,
        left: &Ast,
        right: &Ast,
    ) -> Result<(Typed, Typed), PlanError> {
        let mut other = self.lower(right)?;
        self.as_time(&mut value, other.ty)?;
        self.as_time(&mut other, value.ty)?;
        match (value.ty.map(Family::of), other.ty.map(Family::of)) {
            (None, Some(family)) => {
                self.want(&value, left, family, "the comparison")?;
                value.ty = other.ty.filter(|_| matches!(value.node, Node::Slot(_)));
            }
            (Some(family), None) => self.want(&other, right, family, "the comparison")?,
            (Some(family), Some(_)) if other.ty.is_none_or(|ty| family.accepts(ty)) => {}
            (Some(_), Some(_)) => return Err(self.never_compare(&value, left, &other, right)),
            (None, None) => {}
        }
        Ok((value, other))
    }

    /// Reads a text constant as a time when it is compared with one.
    fn as_time(&self, typed: &mut Typed, other: Option<ColumnType>) -> Result<(), PlanError> {
        if other == Some(ColumnType::Timestamp) {
            if let Node::Const(Value::Text(text)) = &typed.node {
                let message = || format!("'{text}' is not a time");
                let hint = || Some("times are written '2026-01-31T12:00:00Z'".to_owned());
                let ms = parse_timestamp_ms(text).ok_or_else(|| self.error(message()).hint(hint()))?;
                *typed = Typed::new(Node::Const(Value::Timestamp(ms)), ColumnType::Timestamp);
            }
        }
        Ok(())
    }

    fn never_compare(&self, left: &Typed, left_ast: &Ast, right: &Typed, right_ast: &Ast) -> PlanError {
        let say =
            |typed: &Typed, ast: &Ast| format!("{} is {}", shown(ast), typed.ty.map_or("any", describe));
        let hint =
            [(left, right), (right, left)].iter().find_map(|(a, b)| match (&a.node, b.ty.map(Family::of)) {
                (Node::Const(Value::Int(i)), Some(Family::Text)) => Some(format!("write '{i}'")),
                (Node::Const(Value::Text(t)), Some(Family::Number)) if t.trim().parse::<f64>().is_ok() => {
                    Some(format!("write {t} without quotes"))
                }
                (Node::Const(Value::Text(_)), Some(Family::Json)) => {
                    Some("`->>` takes text out of JSON".to_owned())
                }
                _ => None,
            });
        let message = format!("{} and {}: they never compare", say(left, left_ast), say(right, right_ast));
        self.error(message).hint(hint)
    }

    /// Checks a type, and learns from it when the expression is a column.
    pub(super) fn want(
        &mut self,
        typed: &Typed,
        ast: &Ast,
        family: Family,
        who: &str,
    ) -> Result<(), PlanError> {
        let at = place(ast).unwrap_or(self.here);
        match (&typed.node, typed.ty) {
            (Node::Slot(slot), _) if *slot < WINDOW_START => self.columns.infer(*slot, family, at, self.view),
            (_, Some(ty)) if !family.accepts(ty) => {
                let message =
                    format!("{who} needs {}, but {} is {}", family.name(), shown(ast), describe(ty));
                Err(PlanError::at(at, message))
            }
            _ => Ok(()),
        }
    }

    /// Returns the type of values that come out of one place.
    ///
    /// - **Errors:** they are of different families.
    pub(super) fn common(
        &mut self,
        before: Option<ColumnType>,
        typed: &Typed,
        ast: &Ast,
        who: &str,
    ) -> Result<Option<ColumnType>, PlanError> {
        match (before, typed.ty) {
            (Some(a), Some(b)) => match types::wider(a, b) {
                Some(ty) => Ok(Some(ty)),
                None => {
                    let message =
                        format!("{who} are {} and {}: they must be of one type", describe(a), describe(b));
                    Err(PlanError::at(place(ast).unwrap_or(self.here), message))
                }
            },
            (Some(a), None) => self.want(typed, ast, Family::of(a), who).map(|()| Some(a)),
            (None, ty) => Ok(ty),
        }
    }

    pub(super) fn error(&self, message: String) -> PlanError {
        PlanError::at(self.here, message)
    }
}

fn null() -> Typed {
    Typed::new(Node::Const(Value::Null), ColumnType::Boolean)
}

pub(super) fn not(condition: Typed, negated: bool) -> Typed {
    if negated { Typed::condition(Op::Not, vec![condition.node]) } else { condition }
}

/// Shows an expression in a message, cut when it is long. Only for what was lowered: printing recurses.
pub(super) fn shown(ast: &Ast) -> String {
    const SHOWN_MAX: usize = 40;
    let text = ast.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

/// Finds where an expression starts, without recursion.
pub(super) fn place(mut expr: &Ast) -> Option<Location> {
    loop {
        let location = match expr {
            Ast::Identifier(ident) => ident.span.start,
            Ast::CompoundIdentifier(idents) => idents.first()?.span.start,
            Ast::Value(value) => value.span.start,
            Ast::TypedString(typed) => typed.value.span.start,
            Ast::Function(function) => function.name.0.first()?.as_ident()?.span.start,
            Ast::Case { case_token, .. } => case_token.0.span.start,
            Ast::Nested(inner)
            | Ast::IsNull(inner)
            | Ast::IsNotNull(inner)
            | Ast::IsTrue(inner)
            | Ast::IsNotTrue(inner)
            | Ast::IsFalse(inner)
            | Ast::IsNotFalse(inner)
            | Ast::IsUnknown(inner)
            | Ast::IsNotUnknown(inner)
            | Ast::IsDistinctFrom(inner, _)
            | Ast::IsNotDistinctFrom(inner, _)
            | Ast::UnaryOp { expr: inner, .. }
            | Ast::BinaryOp { left: inner, .. }
            | Ast::InList { expr: inner, .. }
            | Ast::Between { expr: inner, .. }
            | Ast::Like { expr: inner, .. }
            | Ast::ILike { expr: inner, .. }
            | Ast::Cast { expr: inner, .. }
            | Ast::Substring { expr: inner, .. }
            | Ast::Trim { expr: inner, .. }
            | Ast::Floor { expr: inner, .. }
            | Ast::Ceil { expr: inner, .. } => {
                expr = inner;
                continue;
            }
            Ast::Interval(interval) => {
                expr = &interval.value;
                continue;
            }
            _ => return None,
        };
        return (location.line > 0).then_some(location);
    }
}
