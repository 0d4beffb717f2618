//! Parsing: text becomes a syntax tree, or one error with its place.
//!
//! **Invariant:** what could nest too deep is refused before there is a tree: `sqlparser` bounds what nests by brackets
//! and prefixes, [`WORDS_MAX`] bounds what nests by chains (`a + a + …`), because dropping a tree recurses too.

use sqlparser::{
    ast,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError},
};

use super::{PlanError, dialect::Windrow};
use crate::suggest;

/// Longest query.
pub const QUERY_MAX_BYTES: usize = 64 << 10;
/// Longest filter.
pub const FILTER_MAX_BYTES: usize = 8 << 10;
/// Most words, operators and brackets of one text; commas and literals are free, so that `IN` lists may be long.
/// A chain has at most one level per word: 2,000 levels of drop take less than half of a 2 MiB stack in a debug build.
pub const WORDS_MAX: usize = 2_000;

/// Words that start or join clauses, for "did you mean".
const KEYWORDS: [&str; 27] = [
    "SELECT", "FROM", "WHERE", "GROUP", "BY", "HAVING", "AND", "OR", "NOT", "IN", "AS", "LIKE", "ILIKE",
    "BETWEEN", "IS", "NULL", "DISTINCT", "CASE", "WHEN", "THEN", "ELSE", "END", "FILTER", "INTERVAL", "CAST",
    "TRUE", "FALSE",
];

/// Parses one `SELECT`.
pub(super) fn query(text: &str) -> Result<Box<ast::Query>, PlanError> {
    let tokens = tokens(text, QUERY_MAX_BYTES, "query")?;
    let first = tokens.iter().find(|t| !matches!(t.token, Token::Whitespace(_)));
    let selects =
        |t: &TokenWithSpan| matches!(&t.token, Token::Word(w) if w.value.eq_ignore_ascii_case("select"));
    match first {
        Some(token) if !selects(token) => {
            let error = PlanError::at(token.span.start, "a view is one SELECT … FROM a stream");
            return Err(error.hint(did_you_mean(&word(token), &["SELECT"])));
        }
        _ => {}
    }
    parse(tokens, |parser| {
        let query = parser.parse_query()?;
        while parser.consume_token(&Token::SemiColon) {}
        Ok(query)
    })
}

/// Parses one condition.
pub(super) fn condition(text: &str) -> Result<ast::Expr, PlanError> {
    let tokens = tokens(text, FILTER_MAX_BYTES, "filter")?;
    parse(tokens, |parser| parser.parse_expr())
}

fn tokens(text: &str, max_bytes: usize, what: &str) -> Result<Vec<TokenWithSpan>, PlanError> {
    let start = Location::new(1, 1);
    if text.len() > max_bytes {
        let message = format!("a {what} has at most {max_bytes} bytes, this has {}", text.len());
        return Err(PlanError::at(start, message));
    }
    let tokens = Tokenizer::new(&Windrow, text)
        .tokenize_with_location()
        .map_err(|TokenizerError { message, location }| PlanError::at(location, sentence(&message)))?;
    let counts = |t: &&TokenWithSpan| {
        !matches!(
            t.token,
            Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_)
        )
    };
    let mut words = tokens.iter().filter(counts);
    if words.next().is_none() && !tokens.iter().any(|t| !matches!(t.token, Token::Whitespace(_))) {
        return Err(PlanError::at(start, format!("the {what} is empty")));
    }
    match words.nth(WORDS_MAX - 1) {
        Some(token) => {
            let message = format!("a {what} has at most {WORDS_MAX} words and operators");
            Err(PlanError::at(token.span.start, message))
        }
        None => Ok(tokens),
    }
}

fn parse<T>(
    tokens: Vec<TokenWithSpan>,
    rule: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, PlanError> {
    let mut parser = Parser::new(&Windrow).with_tokens_with_locations(tokens);
    let outcome = rule(&mut parser).and_then(|tree| match parser.peek_token_ref() {
        token if token.token == Token::EOF => Ok(tree),
        token => parser.expected("the end of the text", token.clone()),
    });
    outcome.map_err(|error| syntax_error(&parser, error))
}

/// Turns the parser's sentence into ours, and looks for a mistyped keyword at or before the place.
fn syntax_error(parser: &Parser<'_>, error: ParserError) -> PlanError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return PlanError::at(
                parser.peek_token_ref().span.start,
                "brackets and functions nest deeper than 50 levels",
            );
        }
    };
    let (message, place) = split_place(&text);
    let place = place.unwrap_or(parser.peek_token_ref().span.start);
    let hint = suspects(parser, place).find_map(|word| did_you_mean(&word, &KEYWORDS));
    PlanError::at(place, sentence(message)).hint(hint)
}

/// The word at the place, then the one before it: `SELECT a FORM clicks` fails at `clicks`.
fn suspects(parser: &Parser<'_>, place: Location) -> impl Iterator<Item = String> {
    let index = (0..).map_while(|i| match &parser.token_at(i).token {
        Token::EOF => None,
        _ => Some((i, parser.token_at(i))),
    });
    let mut until: Vec<&TokenWithSpan> = index
        .map(|(_, token)| token)
        .take_while(|t| (t.span.start.line, t.span.start.column) <= (place.line, place.column))
        .filter(|t| !matches!(t.token, Token::Whitespace(_)))
        .collect();
    let last = until.split_off(until.len().saturating_sub(2));
    last.into_iter().rev().map(word).collect::<Vec<_>>().into_iter()
}

fn word(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) => word.value.clone(),
        _ => String::new(),
    }
}

/// Phrases "did you mean" when a candidate is close, whatever its case.
pub(super) fn did_you_mean(word: &str, candidates: &[&str]) -> Option<String> {
    if candidates.iter().any(|c| c.eq_ignore_ascii_case(word)) {
        return None;
    }
    let upper = word.to_uppercase();
    let lower = word.to_lowercase();
    let close = suggest::closest(word, candidates.iter().copied())
        .or_else(|| suggest::closest(&upper, candidates.iter().copied()))
        .or_else(|| suggest::closest(&lower, candidates.iter().copied()))?;
    Some(format!("did you mean `{close}`?"))
}

/// Cuts ` at Line: 1, Column: 5` off.
fn split_place(text: &str) -> (&str, Option<Location>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let location = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
    });
    (message, location)
}

/// `Expected: an expression, found: EOF` → `expected an expression, found the end`.
fn sentence(message: &str) -> String {
    let message = message.replace("Expected: ", "expected ").replace(", found: ", ", found ");
    let message = message.replace("found EOF", "found the end");
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => message,
    }
}
