//! Text that nests or grows is refused; text of any kind never panics.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{FILTER_MAX_BYTES, PlanError, WORDS_MAX, filter, plan};
use crate::value::ColumnType;

fn columns() -> Vec<(Arc<str>, Option<ColumnType>)> {
    vec![
        ("a".into(), Some(ColumnType::Bigint)),
        ("b".into(), Some(ColumnType::Boolean)),
        ("t".into(), Some(ColumnType::Text)),
    ]
}

fn refusal(text: &str) -> PlanError {
    filter(text, &columns()).expect_err(text)
}

#[test]
fn nesting_is_refused_and_does_not_overflow_the_stack() {
    for text in [
        format!("{}b{}", "(".repeat(900), ")".repeat(900)),
        format!("{}b", "NOT ".repeat(1_800)),
        format!("{}a > 0", "- ".repeat(1_800)),
        format!("a{} > 0", "+a".repeat(990)),
        format!("a{} > 0", "+1".repeat(1_900)),
        format!("b{}", " IS NULL".repeat(900)),
        format!("a{} > 0", "::int".repeat(600)),
        format!("t{} = 'x'", "||t".repeat(900)),
        format!("t{} = 'x'", "->'x'".repeat(1_000)),
        format!("t = {}t{}", "lower(".repeat(600), ")".repeat(600)),
        format!("{}b{}", "CASE WHEN b THEN ".repeat(300), " END".repeat(300)),
        format!("a{} = 0", "[1]".repeat(600)),
        format!("a{} = 0", ".a".repeat(900)),
        format!("{}a", "b = ".repeat(900)),
        format!("lower({}b) = 'x'", "b OR ".repeat(900)),
    ] {
        let error = refusal(&text);
        assert!(error.message.len() < 300, "{error}");
    }
}

#[test]
fn long_lists_and_chains_are_no_nesting() {
    let many = (0..1_500).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let list = filter(&format!("a IN ({many})"), &columns()).unwrap();
    assert_eq!(list.equality.map(|(_, values)| values.len()), Some(1_500));
    let chain = (0..600).map(|i| format!("a={i}")).collect::<Vec<_>>().join(" or ");
    let chain = filter(&chain, &columns()).unwrap();
    assert_eq!(chain.equality.map(|(_, values)| values.len()), Some(600));
}

#[test]
fn size_is_refused_before_parsing() {
    let long = format!("t = '{}'", "x".repeat(FILTER_MAX_BYTES));
    assert!(refusal(&long).message.contains("at most 8192 bytes"));
    let wordy = "b or ".repeat(WORDS_MAX / 2 + 1);
    assert!(refusal(&wordy).message.contains("words and operators"));
    assert!(refusal("t ~ '(a{1000}){1000}'").message.contains("KiB"));
}

#[test]
fn produced_text_is_bounded() {
    let x = "x".repeat(1_000);
    let grown = format!("length(replace(replace('{x}', 'x', '{x}'), 'x', '{x}')) > 0");
    // A million times a thousand: the result is NULL, not a gigabyte.
    assert_eq!(&*filter(&grown, &columns()).unwrap().canonical, "NULL");
}

/// Words that make up most of the language, for texts that get past the tokenizer.
const WORDS: [&str; 44] = [
    "SELECT",
    "FROM",
    "clicks",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "a",
    "b",
    "t",
    "\"a\"",
    "'x'",
    "1",
    "2.5",
    "(",
    ")",
    ",",
    "*",
    "+",
    "-",
    "/",
    "%",
    "=",
    "<>",
    "<",
    "||",
    "->",
    "->>",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "IS NULL",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "count",
    "tumble",
    "interval '1 minute'",
    "AS",
    "lower",
    "CAST",
];

proptest! {
    #[test]
    fn any_text_is_planned_or_refused(text in "\\PC{0,80}") {
        let _ = filter(&text, &columns());
        let _ = plan(&super::streams(), &[super::view("v", &format!("SELECT {text}"))]);
    }

    #[test]
    fn any_words_are_planned_or_refused(words in prop::collection::vec(prop::sample::select(&WORDS), 0..30)) {
        let text = words.join(" ");
        let _ = filter(&text, &columns());
        let _ = plan(&super::streams(), &[super::view("v", &text)]);
        let _ = plan(&super::streams(), &[super::view("v", &format!("SELECT a, {text} FROM clicks GROUP BY a"))]);
    }
}
