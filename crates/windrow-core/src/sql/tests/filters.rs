//! Subscribers' conditions: one text for all spellings, and an equality to look them up by.

use std::{fmt::Write as _, sync::Arc};

use bumpalo::Bump;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{
    super::{Filter, filter, stream_filter},
    streams,
};
use crate::value::{ColumnType, Datum, Value};

fn columns() -> Vec<(Arc<str>, Option<ColumnType>)> {
    vec![
        ("id".into(), Some(ColumnType::Text)),
        ("count".into(), Some(ColumnType::Bigint)),
        ("x".into(), None),
        ("final".into(), Some(ColumnType::Boolean)),
        ("window_start".into(), Some(ColumnType::Timestamp)),
        ("user.id".into(), Some(ColumnType::Text)),
    ]
}

fn show(filter: &Filter) -> String {
    let mut text = format!("{} reads {:?}", filter.canonical, filter.columns);
    if let Some((column, values)) = &filter.equality {
        let values: Vec<_> = values.iter().map(|v| v.datum()).collect();
        write!(text, " by {column} in {values:?}").unwrap();
    }
    text
}

#[track_caller]
fn check(texts: &[&str], want: Expect) {
    let shown: String = texts
        .iter()
        .map(|text| match filter(text, &columns()) {
            Ok(filter) => format!("{}\n", show(&filter)),
            Err(error) => format!("{error}\n"),
        })
        .collect();
    want.assert_eq(&shown);
}

#[test]
fn an_equality_that_every_match_fulfils_is_found() {
    check(
        &[
            "id = 'a'",
            "'a' = id",
            "id IN ('b', 'a', 'b')",
            "id = 'a' OR id = 'b'",
            "(id = 'a' OR id = 'b') AND count > 5",
            "count > 5 AND (count < 9 AND id IN ('a'))",
            "id = 'a' AND count IN (1, 2, 3)",
            "user.id = 'u' AND NOT final",
            "\"user.id\" = 'u'",
            "x = 1 OR x = 2.0",
            "x IN (1, 'one')",
            "window_start = '1970-01-01T00:01:00Z'",
        ],
        expect![[r#"
            ("id" = 'a') reads [0] by 0 in [Text("a")]
            ("id" = 'a') reads [0] by 0 in [Text("a")]
            in("id"; 'a', 'b') reads [0] by 0 in [Text("a"), Text("b")]
            in("id"; 'a', 'b') reads [0] by 0 in [Text("a"), Text("b")]
            (in("id"; 'a', 'b') AND ("count" > 5)) reads [0, 1] by 0 in [Text("a"), Text("b")]
            (("count" > 5) AND ("count" < 9) AND ("id" = 'a')) reads [0, 1] by 0 in [Text("a")]
            (("id" = 'a') AND in("count"; 1, 2, 3)) reads [0, 1] by 0 in [Text("a")]
            (("user.id" = 'u') AND not("final")) reads [3, 5] by 5 in [Text("u")]
            ("user.id" = 'u') reads [5] by 5 in [Text("u")]
            in("x"; 1, 2) reads [2] by 2 in [Int(1), Float(2.0)]
            line 1, column 10: `x` is a number and `'one'` is text: they never compare
            ("window_start" = timestamp 60000) reads [4] by 4 in [Timestamp(60000)]
        "#]],
    );
}

#[test]
fn what_is_no_such_equality_is_left_to_evaluation() {
    check(
        &[
            "id <> 'a'",
            "NOT id = 'a'",
            "id NOT IN ('a')",
            "id = 'a' OR count = 1",
            "id = user.id",
            "lower(id) = 'a'",
            "id = NULL",
            "id IN ('a', NULL)",
            "id IN ('a', user.id)",
            "final",
            "true",
            "1 = 2 AND id = 'a'",
            "id IS NOT DISTINCT FROM 'a'",
        ],
        expect![[r#"
            ("id" <> 'a') reads [0]
            not(("id" = 'a')) reads [0]
            not(("id" = 'a')) reads [0]
            (("id" = 'a') OR ("count" = 1)) reads [0, 1]
            ("id" = "user.id") reads [0, 5]
            (lower("id") = 'a') reads [0]
            NULL reads []
            in("id"; 'a', NULL) reads [0]
            in("id", "user.id"; 'a') reads [0, 5]
            "final" reads [3]
            true reads []
            false reads []
            not(distinct("id", 'a')) reads [0]
        "#]],
    );
}

#[test]
fn errors_carry_their_column() {
    check(
        &[
            "",
            "  ",
            "id =",
            "id = 'a",
            "id = 'a' AN count > 1",
            "di = 'a'",
            "count = 'a'",
            "count",
            "count(*) > 1",
            "id = 'a'; DROP TABLE clicks",
            "id IN (SELECT id FROM clicks)",
            "id = $1",
            "id[1] = 'a'",
        ],
        expect![[r#"
            line 1, column 1: the filter is empty
            line 1, column 1: the filter is empty
            line 1, column 1: expected an expression, found the end
            line 1, column 6: unterminated string literal
            line 1, column 10: expected the end of the text, found AN (did you mean `AND`?)
            line 1, column 1: the channel has no column `di` (did you mean `id`?)
            line 1, column 9: `count` is a number and `'a'` is text: they never compare
            line 1, column 1: column `count` is a number (the channel says so), but is used as a condition here (a column has one type; CAST makes another)
            line 1, column 1: count() cannot be used here: aggregates are for the views' SELECT and HAVING
            line 1, column 9: expected the end of the text, found ;
            line 1, column 1: subqueries are not part of this language
            line 1, column 6: $1 is a placeholder: write the value itself
            line 1, column 1: brackets don't reach into a value (members are written payload->'name' and elements payload->0)
        "#]],
    );
}

#[test]
fn one_text_stands_for_all_spellings() {
    let canonical = |text: &str| filter(text, &columns()).unwrap_or_else(|e| panic!("{text}: {e}")).canonical;
    for (one, other) in [
        ("id = 'a'", "( \"id\"='a' )"),
        ("id = 'a'", "id IN ('a')"),
        ("id IN ('a', 'b')", "id = 'b' or id = 'a'"),
        ("count > 2", "count>1+1 AND true"),
        ("count > 2", "count > 2.0"),
        ("id = 'a' AND count > 2 AND final", "id = 'a' AND (count > 2 AND final)"),
        ("count % 2 = 0", "mod(count, 2) = 0"),
        ("id LIKE 'a%%'", "id LIKE 'a%' ESCAPE '!'"),
    ] {
        assert_eq!(canonical(one), canonical(other), "{one} | {other}");
    }
    let fixed = filter("id = 'a'", &columns()).unwrap().hash;
    assert_eq!(fixed, 8_895_559_584_800_876_605, "positions of clients hold this hash");
}

#[test]
fn a_streams_filter_says_which_columns_it_reads() {
    let (clicks, flights) = (&streams()[0], &streams()[1]);
    let (filter, columns) =
        stream_filter("video = 'a' AND _offset > 5 AND payload->>'x' IS NULL", clicks).unwrap();
    let columns: Vec<_> = columns.iter().map(|c| format!("{} {:?}", c.name, c.ty)).collect();
    expect![[r#"(("video" = 'a') AND ("_offset" > 5) AND is_null(("payload"->>'x'))) reads [0, 1, 2] by 0 in [Text("a")] over ["video Some(Text)", "_offset Some(Bigint)", "payload Some(Json)"]"#]].assert_eq(&format!("{} over {columns:?}", show(&filter)));
    assert!(stream_filter("vidoe = 'a'", flights).is_err());
}

/// Conditions over two columns, with few constants so that they often hold.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a = 1".to_owned()),
        Just("a = 2".to_owned()),
        Just("b = 1".to_owned()),
        Just("b IN (1, 3)".to_owned()),
        Just("a IN (2, NULL)".to_owned()),
        Just("a <> 1".to_owned()),
        Just("a IS NULL".to_owned()),
        Just("b > 1".to_owned()),
        Just("a = b".to_owned()),
        Just("true".to_owned()),
        Just("NULL".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|c| format!("({})", c.join(" AND "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|c| format!("({})", c.join(" OR "))),
            inner.prop_map(|c| format!("(NOT {c})")),
        ]
    })
}

proptest! {
    #[test]
    fn no_match_is_missed_by_the_equality(text in condition()) {
        let columns = [("a".into(), Some(ColumnType::Bigint)), ("b".into(), Some(ColumnType::Bigint))];
        let filter = filter(&text, &columns).unwrap();
        let values = [Datum::Null, Datum::Int(1), Datum::Int(2), Datum::Int(3)];
        for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
            let row = [a, b];
            if let (true, Some((column, wanted))) = (filter.expr.holds(&row, &Bump::new()), &filter.equality) {
                prop_assert!(wanted.contains(&row[*column].to_value()), "{text} holds for {row:?}");
            }
        }
    }

    #[test]
    fn the_canonical_text_depends_on_the_meaning(text in condition()) {
        let columns: Vec<(Arc<str>, _)> = vec![("a".into(), Some(ColumnType::Bigint)), ("b".into(), Some(ColumnType::Bigint))];
        let one = filter(&text, &columns).unwrap();
        let other = filter(&format!("({}) AND true", text.to_lowercase()), &columns).unwrap();
        prop_assert_eq!(one.canonical, other.canonical);
    }
}

#[test]
fn values_of_the_equality_are_those_of_the_text() {
    let found = filter("count IN (1, 2.5, 9223372036854775808)", &columns()).unwrap().equality.unwrap();
    assert_eq!(found.0, 1);
    assert_eq!(found.1, [Value::Int(1), Value::Float(2.5), Value::Wide(Box::new(1 << 63))]);
}
