//! Expressions in, values out; folding and evaluation agree.

use std::sync::Arc;

use bumpalo::Bump;
use expect_test::{Expect, expect};

use crate::{
    sql::tests::expression,
    value::{ColumnType, Datum},
};

mod folding;

const DOCUMENT: &str = r#" {"a": {"b": [1, 2.5, "drei", null, true, {"x": 1}]}, "n": 12345678901234567890, "d": 1, "d": 2, "ü\n": "\u00fc"} "#;

/// The row of every table below.
fn row() -> Vec<(&'static str, ColumnType, Datum<'static>)> {
    vec![
        ("i", ColumnType::Bigint, Datum::Int(5)),
        ("big", ColumnType::Bigint, Datum::Int(i64::MAX)),
        ("f", ColumnType::Double, Datum::Float(2.5)),
        ("t", ColumnType::Text, Datum::Text("Straße")),
        ("b", ColumnType::Boolean, Datum::Bool(true)),
        ("j", ColumnType::Json, Datum::Json(DOCUMENT)),
        ("ts", ColumnType::Timestamp, Datum::Timestamp(1_700_000_000_123)),
        ("n", ColumnType::Number, Datum::Null),
        ("nt", ColumnType::Text, Datum::Null),
        ("nb", ColumnType::Boolean, Datum::Null),
        // A value of another type than the column's never gets here; this is what must not panic all the same.
        ("odd", ColumnType::Number, Datum::Text("x")),
    ]
}

fn evaluate(text: &str) -> String {
    let columns: Vec<_> = row().iter().map(|(name, ty, _)| (Arc::from(*name), Some(*ty))).collect();
    let values: Vec<_> = row().iter().map(|(_, _, value)| *value).collect();
    let expr = expression(text, &columns).unwrap_or_else(|error| panic!("{text}: {error}"));
    let arena = Bump::new();
    match expr.eval(&values, &arena) {
        Datum::Timestamp(ms) => format!("timestamp {ms}"),
        value => {
            let mut json = Vec::new();
            value.write_json(&mut json);
            String::from_utf8(json).unwrap()
        }
    }
}

/// Evaluates what is left of each ` => `, and expects what is right of it.
#[track_caller]
fn check(table: Expect) {
    let texts = table.data.lines().filter_map(|line| line.trim().split_once(" => ")).map(|(text, _)| text);
    let actual: String = texts.map(|text| format!("{text} => {}\n", evaluate(text))).collect();
    table.assert_eq(&actual);
}

#[test]
fn logic_has_three_values() {
    check(expect![[r#"
        b AND nb => null
        NOT b AND nb => false
        b OR nb => true
        NOT b OR nb => null
        NOT nb => null
        nb AND nb => null
        nb IS NULL => true
        nb IS NOT NULL => false
        nb IS TRUE => false
        nb IS NOT TRUE => true
        b IS FALSE => false
        nb IS UNKNOWN => true
        n = n => null
        n <> 1 => null
        n IS DISTINCT FROM 1 => true
        n IS NOT DISTINCT FROM NULL => true
        i IS DISTINCT FROM 5.0 => false
        odd = 1 => null
        odd IS DISTINCT FROM 1 => true
        odd + 1 => null
    "#]]);
}

#[test]
fn members_and_ranges() {
    check(expect![[r#"
        i IN (1, 5) => true
        i IN (5.0) => true
        i IN (1, 2) => false
        i IN (1, NULL) => null
        i IN (5, NULL) => true
        i NOT IN (1, NULL) => null
        n IN (1) => null
        i IN (1, n) => null
        i IN (n, f * 2) => true
        t IN ('a', 'Straße') => true
        odd IN (1, 2) => null
        i BETWEEN 5 AND 6 => true
        i NOT BETWEEN 5 AND 6 => false
        i BETWEEN 6 AND n => false
        i BETWEEN 1 AND n => null
        big IN (9223372036854775808, 9223372036854775807) => true
        big = 9223372036854775807.0 => false
    "#]]);
}

#[test]
fn integers_are_exact_and_division_is_by_value() {
    check(expect![[r#"
        i + 2 => 7
        i - 7 => -2
        i * 3 => 15
        i / 5 => 1
        i / 2 => 2.5
        -7 / 2 => -3.5
        div(-7, 2) => -3
        div(7.5, 2) => 3
        i % 3 => 2
        -7 % 3 => -1
        f % 2 => 0.5
        i / 0 => null
        i % 0 => null
        f / 0 => null
        div(i, 0) => null
        1e308 * 10 => null
        big + 1 => 9223372036854775808
        big * big => 85070591730234615847396907784232501249
        -big - 2 => -9223372036854775809
        (big + 1) - 1 => 9223372036854775807
        big * big * big => null
        -9223372036854775808 => -9223372036854775808
        i + f => 7.5
        i + n => null
        - f => -2.5
        abs(-9223372036854775808) => 9223372036854775808
        1_000 + 1 => 1001
        ts + interval '1 second' => timestamp 1700000001123
        ts - ts => 0
        ts - 123 => timestamp 1700000000000
    "#]]);
}

#[test]
fn rounding_is_half_away_from_zero_on_the_written_digits() {
    check(expect![[r#"
        round(2.5) => 3
        round(-2.5) => -3
        round(2.675, 2) => 2.68
        round(1.005, 2) => 1.01
        round(-1.005, 2) => -1.01
        round(9.999, 2) => 10
        round(99.5) => 100
        round(1234.5, -2) => 1200
        round(i, 2) => 5
        round(1250, -2) => 1300
        round(-1250, -2) => -1300
        round(0.1, 20) => 0.1
        round(1e22, 2) => 10000000000000000000000
        round(1.5e-7, 8) => 1.5e-7
        round(n, 2) => null
        floor(-2.5) => -3
        ceil(-2.5) => -2
        ceiling(2.1) => 3
        floor(i) => 5
        greatest(1, f, n) => 2.5
        least(i, f) => 2.5
    "#]]);
}

#[test]
fn text_counts_characters() {
    check(expect![[r#"
            length(t) => 6
            upper(t) => "STRASSE"
            lower('ÄB') => "äb"
            t || '!' || i || f || b => "Straße!52.5true"
            t || nt => null
            concat(t, nt, i) => "Straße5"
            substr(t, 5) => "ße"
            substr(t, 2, 3) => "tra"
            substring(t FROM 2 FOR 1) => "t"
            substr(t, 0, 2) => "S"
            substr(t, 9) => ""
            substr(t, 1, -1) => null
            trim('  x ') => "x"
            trim(LEADING 'S' FROM t) => "traße"
            ltrim('xxa', 'x') => "a"
            rtrim(' a ') => " a"
            btrim('xax', 'x') => "a"
            replace(t, 'ß', 'ss') => "Strasse"
            replace(t, '', 'x') => "Straße"
            starts_with(t, 'Str') => true
            ends_with(t, 'ße') => true
            contains(t, 'tr') => true
            lower(nt) => null
            char_length('') => 0
        "#]]);
}

#[test]
fn patterns_match_the_whole_text_and_expressions_a_part() {
    assert_eq!(evaluate("'x\ny' LIKE 'x_y'"), "true");
    check(expect![[r#"
        t LIKE 'Str%' => true
        t LIKE '%ße' => true
        t LIKE '%tra%' => true
        t LIKE 'Straße' => true
        t LIKE 'S_r%e' => true
        t LIKE '_____' => false
        t LIKE 'str%' => false
        t ILIKE 'STR%' => true
        t NOT LIKE '%' => false
        nt LIKE '%' => null
        t LIKE NULL => null
        '50%' LIKE '50\%' => true
        'a.c' LIKE 'a.c' => true
        'abc' LIKE 'a.c' => false
        'a_c' LIKE 'a!_c' ESCAPE '!' => true
        t ~ '^S' => true
        t ~* '^s' => true
        t !~ 'x' => true
        regexp_like(t, 'RA', 'i') => true
        t ~ 'ra.e$' => true
        t ~~ 'S%' => true
    "#]]);
}

#[test]
fn choices_take_the_first_that_holds() {
    check(expect![[r#"
        CASE WHEN nb THEN 1 WHEN b THEN 2 ELSE 3 END => 2
        CASE WHEN NOT b THEN 1 END => null
        CASE i WHEN 1 THEN 'a' WHEN 5.0 THEN 'b' END => "b"
        CASE n WHEN NULL THEN 1 ELSE 2 END => 2
        coalesce(n, i, 1) => 5
        coalesce(n, n) => null
        nullif(i, 5) => null
        nullif(i, 6) => 5
        nullif(n, 1) => null
    "#]]);
}

#[test]
fn casts_are_null_when_there_is_no_such_form() {
    check(expect![[r#"
        CAST('12' AS bigint) => 12
        ' 12 '::bigint => 12
        '12.5'::bigint => 13
        'x'::bigint => null
        2.5::bigint => 3
        3.5::bigint => 4
        1e19::bigint => null
        '1e3'::double => 1000
        'inf'::double => null
        i::text => "5"
        f::text => "2.5"
        b::text => "true"
        ts::text => "2023-11-14T22:13:20.123Z"
        n::text => null
        '2023-11-14T22:13:20Z'::timestamp => timestamp 1700000000000
        '2023-11-14T23:13:20.5+01:00'::timestamp => timestamp 1700000000500
        'x'::timestamp => null
        1700000000000::timestamp => timestamp 1700000000000
        timestamp '2023-11-14T22:13:20Z' => timestamp 1700000000000
        'TRUE'::boolean => true
        0::boolean => false
        '1'::boolean => null
        '[1, 2]'::json => [1, 2]
        '{'::json => null
        j->'a'->'b'->0 = '1'::json::bigint => true
        '1.50'::number => 1.5
        b::bigint => 1
    "#]]);
}

#[test]
fn paths_reach_into_documents() {
    assert_eq!(evaluate("j->>'ü\n' = 'ü'"), "true");
    check(expect![[r#"
        j->'a' => {"b": [1, 2.5, "drei", null, true, {"x": 1}]}
        j->'a'->'b'->0 => 1
        j->'a'->'b'->>1 => "2.5"
        j->'a'->'b'->2 => "drei"
        j->'a'->'b'->>2 => "drei"
        j->'a'->'b'->3 => null
        j->'a'->'b'->-1 => {"x": 1}
        j->'a'->'b'->(-1)->'x' + 1 => 2
        j->'a'->'b'->9 => null
        j->'a'->'b'->-9 => null
        j->'missing' => null
        j->0 => null
        j->'n' => 12345678901234567890
        j->>'n' => "12345678901234567890"
        j->'d' => 2
        j->'d' > 1 => true
        j->>'a' || '!' => "{\"b\": [1, 2.5, \"drei\", null, true, {\"x\": 1}]}!"
        json_array(i, t, n, b, j->'a'->'b'->5) => [5,"Straße",null,true,{"x": 1}]
        json_object('id', t, 'n': n) => {"id":"Straße","n":null}
        json_object('x': json_array()) => {"x":[]}
        json_object(nt, 1, 'y', 2) => {"y":2}
    "#]]);
}

#[test]
fn times_are_cut_to_units() {
    check(expect![[r#"
        date_trunc('second', ts) => timestamp 1700000000000
        date_trunc('hour', ts) => timestamp 1699999200000
        date_trunc('day', ts)::text => "2023-11-14T00:00:00Z"
        date_trunc('week', ts)::text => "2023-11-13T00:00:00Z"
        date_trunc('week', 0::timestamp)::text => "1969-12-29T00:00:00Z"
        date_trunc('day', (-1)::timestamp)::text => "1969-12-31T00:00:00Z"
        ts > '2023-11-14T22:13:20Z' => true
        ts BETWEEN '2023-11-14T00:00:00Z' AND '2023-11-15T00:00:00Z' => true
        ts = 1700000000123 => true
    "#]]);
}

#[test]
fn canonical_texts_are_pinned_because_fingerprints_hash_them() {
    let columns: Vec<_> = row().iter().map(|(name, ty, _)| (Arc::from(*name), Some(*ty))).collect();
    let texts = [
        "NOT (b AND nb) OR i IS NULL OR nb IS TRUE OR b IS NOT FALSE",
        "i = 1 OR 2 = i OR i IN (4, 3)",
        "i IN (n, 1, NULL) AND f BETWEEN 1 AND 2.50 AND i IS DISTINCT FROM 5",
        "t LIKE 'a\\%%' OR t ILIKE 'b' OR t ~ 'c' OR t ~* 'd''e'",
        "-i + 1 * 2 - i / 3 % f",
        "CASE i WHEN 1 THEN t || '!' END",
        "CASE WHEN b THEN 1 ELSE 2.0 END",
        "json_array(j->'a', j->>0, i::text, t::timestamp, ts = '2023-11-14T22:13:20Z')",
        "json_object('a', coalesce(n, nullif(i, 1)), 'b', greatest(i, 1), 'c', least(i, 1), 'd', concat(t, t))",
        "json_array(abs(i), ceil(f), floor(f), round(f), round(f, 2), div(i, 2), date_trunc('week', ts))",
        "json_array(lower(t), upper(t), length(t), replace(t, 'a', 'b'), substr(t, 1, 2), trim(t), ltrim(t, 'x'))",
        "json_array(starts_with(t, 'a'), ends_with(t, 'a'), contains(t, 'a'), '{}'::json)",
    ];
    let shown: String =
        texts.iter().map(|text| format!("{}\n", expression(text, &columns).unwrap())).collect();
    expect![[r#"
        (not((#4 AND #9)) OR is_null(#0) OR is_true(#9) OR not(is_false(#4)))
        in(#0; 1, 2, 3, 4)
        (in(#0, #7; 1, NULL) AND between(#2, 1, 2.5) AND distinct(#0, 5))
        (like(#3, 'a\%%') OR ilike(#3, 'b') OR regex(#3, 'c') OR iregex(#3, 'd''e'))
        (((0 - #0) + 2) - ((#0 / 3) % #2))
        switch(#0, 1, (#3 || '!'), NULL)
        case(#4, 1, 2)
        jsonarray((#5->'a'), (#5->>0), text(#0), timestamp(#3), (#6 = timestamp 1700000000000))
        jsonobject('a', coalesce(#7, nullif(#0, 1)), 'b', greatest(#0, 1), 'c', least(#0, 1), 'd', concatall(#3, #3))
        jsonarray(abs(#0), ceil(#2), floor(#2), round(#2), round(#2, 2), div(#0, 2), date_trunc[604800000-259200000](#6))
        jsonarray(lower(#3), upper(#3), length(#3), replace(#3, 'a', 'b'), substr(#3, 1, 2), trim[true,true](#3), trim[true,false](#3, 'x'))
        jsonarray(startswith(#3, 'a'), endswith(#3, 'a'), contains(#3, 'a'), json '{}')
    "#]].assert_eq(&shown);
}
