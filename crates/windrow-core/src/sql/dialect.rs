//! The dialect: PostgreSQL's operators and precedence, less what only a database needs.
//!
//! Differences that are meant: names keep their case (JSON is case-sensitive), `user` and its like are plain names, and
//! `->` binds tighter than arithmetic, so that `payload->'a' + 1` adds one to the member.

use sqlparser::{
    dialect::{Dialect, Precedence},
    parser::{Parser, ParserError},
    tokenizer::Token,
};

#[derive(Debug)]
pub(super) struct Windrow;

const ARROW_PREC: u8 = 135;
const OTHER_OPERATOR_PREC: u8 = 70;

impl Dialect for Windrow {
    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_' || c == '$'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_colon_operator(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Arrow | Token::LongArrow => Some(Ok(ARROW_PREC)),
            Token::StringConcat => Some(Ok(OTHER_OPERATOR_PREC)),
            // Between name and value in json_object, never an operator.
            Token::Colon => Some(Ok(self.prec_unknown())),
            _ => None,
        }
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        match prec {
            Precedence::Period => 200,
            Precedence::DoubleColon => 140,
            Precedence::AtTz => 110,
            Precedence::Caret => 100,
            Precedence::MulDivModOp => 90,
            Precedence::PlusMinus => 80,
            Precedence::Xor => 75,
            Precedence::Ampersand | Precedence::Pipe | Precedence::Colon | Precedence::PgOther => {
                OTHER_OPERATOR_PREC
            }
            Precedence::Between | Precedence::Like => 60,
            Precedence::Eq => 50,
            Precedence::Is => 40,
            Precedence::UnaryNot => 30,
            Precedence::And => 20,
            Precedence::Or => 10,
        }
    }
}
