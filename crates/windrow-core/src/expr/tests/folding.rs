//! Random expressions: what is folded when compiled is what evaluation says.

use std::sync::Arc;

use bumpalo::Bump;
use proptest::prelude::*;

use crate::{
    sql::tests::expression,
    value::{ColumnType, Datum},
};

/// A number, a text or a condition, over the columns i, f, t, b.
fn any_expression() -> impl Strategy<Value = String> {
    let number = prop::sample::select(vec!["i", "f", "7", "0", "-2.5", "9223372036854775807", "NULL"])
        .prop_map(str::to_owned);
    let number = number.prop_recursive(3, 12, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (two, "[-+*/%]").prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("round({a}, 1)")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("coalesce({a}, {b})")),
        ]
    });
    let text = prop::sample::select(vec!["t", "'a%'", "''", "'Äx'"]).prop_map(str::to_owned);
    let text = text.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("upper({a})")),
            inner.prop_map(|a| format!("substr({a}, 2)")),
        ]
    });
    let leaf = prop_oneof![
        (number.clone(), number.clone(), "(=|<>|<|<=|>|>=)").prop_map(|(a, b, op)| format!("{a} {op} {b}")),
        (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a} BETWEEN {b} AND 9")),
        (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a} IN (1, {b}, 5)")),
        (number.clone(), number).prop_map(|(a, b)| format!("{a} IS DISTINCT FROM {b}")),
        (text.clone(), text.clone()).prop_map(|(a, b)| format!("{a} = {b}")),
        text.prop_map(|a| format!("{a} LIKE 'a_%'")),
        Just("b".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.clone().prop_map(|a| format!("(NOT {a})")),
            inner.clone().prop_map(|a| format!("({a} IS NULL)")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("(CASE WHEN {a} THEN {b} ELSE {c} END)")),
        ]
    })
}

proptest! {
    /// The same text with constants in the place of its columns folds to the value it has over the row.
    #[test]
    fn folding_is_evaluation(
        text in any_expression(),
        i in prop::option::of(-3_i64..6),
        f in prop::option::of(-1.5_f64..3.0),
        t in prop::option::of("[aÄx%]{0,3}"),
        b in prop::option::of(any::<bool>()),
    ) {
        let types = [("i", ColumnType::Bigint), ("f", ColumnType::Double), ("t", ColumnType::Text), ("b", ColumnType::Boolean)];
        let columns: Vec<_> = types.iter().map(|(name, ty)| (Arc::from(*name), Some(*ty))).collect();
        let row = [
            i.map_or(Datum::Null, Datum::Int),
            f.map_or(Datum::Null, Datum::Float),
            t.as_deref().map_or(Datum::Null, Datum::Text),
            b.map_or(Datum::Null, Datum::Bool),
        ];
        let shown = |v: Option<String>| v.unwrap_or_else(|| "NULL".to_owned());
        let constants = [
            ("i", shown(i.map(|i| format!("({i})")))),
            ("f", shown(f.map(|f| format!("({f:?})")))),
            ("t", shown(t.clone().map(|t| format!("'{t}'")))),
            ("b", shown(b.map(|b| b.to_string()))),
        ];
        let folded: String = words(&text)
            .map(|word| constants.iter().find(|(name, _)| *name == word).map_or(word, |(_, value)| value))
            .collect();
        let arena = Bump::new();
        let over_row = expression(&text, &columns).unwrap_or_else(|e| panic!("{text}: {e}"));
        let over_nothing = expression(&folded, &columns).unwrap_or_else(|e| panic!("{folded}: {e}"));
        prop_assert!(over_nothing.slots().is_empty());
        let (one, other) = (over_row.eval(&row, &arena), over_nothing.eval(&[], &arena));
        prop_assert!(one == other, "{text} is {one:?}, {folded} is {other:?}");
    }
}

/// Cuts a text into words and what is between them; quoted text stays whole.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match first {
            '\'' => rest[1..].find('\'').map_or(rest.len(), |i| i + 2),
            c if c.is_alphanumeric() => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}
