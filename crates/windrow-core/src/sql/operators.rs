//! Operators: signs, comparisons, AND and OR, `IN`, `CASE`, casts and JSON paths.

use sqlparser::ast::{self, BinaryOperator as Binary, Expr as Ast, UnaryOperator as Unary};

use super::{
    PlanError,
    lower::{Lower, Typed, not},
    types::{self, Family},
};
use crate::{
    expr::{Comparison, Node, Op, Operator, Step, ValueSet},
    value::{ColumnType, Value},
};

impl Lower<'_> {
    pub(super) fn unary(&mut self, op: Unary, expr: &Ast) -> Result<Typed, PlanError> {
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

    pub(super) fn binary(
        &mut self,
        whole: &Ast,
        left: &Ast,
        op: &Binary,
        right: &Ast,
    ) -> Result<Typed, PlanError> {
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

    pub(super) fn is(&mut self, expr: &Ast, truth: Option<bool>, negated: bool) -> Result<Typed, PlanError> {
        let operand = self.condition(expr, "IS")?;
        let op = truth.map_or(Op::IsNull, Op::Is);
        Ok(not(Typed::condition(op, vec![operand]), negated))
    }

    pub(super) fn distinct(&mut self, left: &Ast, right: &Ast, negated: bool) -> Result<Typed, PlanError> {
        let (left, right) = self.pair(left, right)?;
        Ok(not(Typed::condition(Op::Distinct, vec![left.node, right.node]), negated))
    }

    pub(super) fn in_list(&mut self, expr: &Ast, list: &[Ast], negated: bool) -> Result<Typed, PlanError> {
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

    pub(super) fn case(
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

    pub(super) fn cast(&mut self, expr: &Ast, data_type: &ast::DataType) -> Result<Typed, PlanError> {
        let node = self.lower(expr)?.node;
        let ty = types::cast_target(data_type).map_err(|message| self.error(message))?;
        Ok(Typed::new(Node::op(Op::Cast(ty), vec![node]), ty))
    }
}
