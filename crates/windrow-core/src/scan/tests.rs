//! The scanner against serde_json: one verdict, one set of values, on written, generated and mutated documents.

use expect_test::{Expect, expect};
use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use super::*;

/// Scans for the names and prints what came out, one line a name.
fn check(names: &[&str], object: &str, expect: Expect) {
    let columns: Vec<_> = names.iter().map(|n| (Arc::from(*n), None)).collect();
    let (arena, mut row, mut out) = (Bump::new(), Vec::new(), String::new());
    match RowFields::new(&columns).read(object.as_bytes(), &arena, &mut row) {
        Ok(()) => names.iter().zip(&row).for_each(|(n, d)| out += &format!("{n} = {d:?}\n")),
        Err(error) => out = format!("{error}\n"),
    }
    expect.assert_eq(&out);
}

/// Tells how a number of ours relates to serde_json's.
fn same_number(ours: Datum<'_>, theirs: &serde_json::Number) -> bool {
    match ours {
        // serde_json reads -0 as a double; as a value it is 0.
        Datum::Int(i) => theirs.as_i64() == Some(i) || (i == 0 && theirs.as_f64() == Some(0.0)),
        Datum::Wide(w) => match theirs.as_u64() {
            Some(u) => *w == i128::from(u),
            None => theirs.as_f64() == Some(*w as f64),
        },
        Datum::Float(f) => theirs.as_f64().is_some_and(|t| t.to_bits() == f.to_bits()),
        _ => false,
    }
}

fn same(ours: Datum<'_>, theirs: Option<&Value>) -> bool {
    match (ours, theirs) {
        (Datum::Null, None | Some(Value::Null)) => true,
        (Datum::Bool(a), Some(Value::Bool(b))) => a == *b,
        (Datum::Text(a), Some(Value::String(b))) => a == b,
        (Datum::Json(a), Some(b @ (Value::Array(_) | Value::Object(_)))) => {
            serde_json::from_str::<Value>(a).is_ok_and(|a| a == *b)
        }
        (number, Some(Value::Number(theirs))) => same_number(number, theirs),
        _ => false,
    }
}

/// Names that the generator favours, so that members repeat and are found.
const NAMES: [&str; 6] = ["a", "b", "user.id", "user", "é\"\n", ""];

fn looked_up<'v>(document: &'v Value, name: &str) -> Option<&'v Value> {
    let object = document.as_object()?;
    object.get(name).or_else(|| {
        let (head, rest) = name.split_once('.')?;
        looked_up(object.get(head)?, rest)
    })
}

/// The claim of this file, for one document.
fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Value>(bytes);
    let shown = String::from_utf8_lossy(bytes);
    prop_assert_eq!(document(bytes).is_ok(), theirs.is_ok(), "verdict on {}", shown);
    let columns: Vec<_> = NAMES.iter().map(|n| (Arc::from(*n), None)).collect();
    let (arena, mut row) = (Bump::new(), Vec::new());
    let ours = RowFields::new(&columns).read(bytes, &arena, &mut row);
    match theirs {
        Ok(value @ Value::Object(_)) => {
            prop_assert_eq!(ours, Ok(()), "verdict on {}", shown);
            for (name, datum) in NAMES.iter().zip(&row) {
                let theirs = looked_up(&value, name);
                prop_assert!(same(*datum, theirs), "{name:?}: {datum:?}, serde_json {theirs:?}, in {shown}");
            }
        }
        Ok(_) => prop_assert_eq!(ours, Err(ScanError::NotAnObject)),
        Err(_) => prop_assert!(ours.is_err(), "accepted {}", shown),
    }
    Ok(())
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -!#-\\[\\]-~]{0,20}",
        "\\PC{0,6}".prop_map(|s| s.replace(['"', '\\'], "")),
        Just(r"\n".into()),
        Just(r#"\""#.into()),
        Just(r"\/\b\f\r\t\\".into()),
        "\\\\u[0-9a-fA-F]{4}",
        Just(r"\ud83d\ude00".into()),
        Just(r"\uD800".into()),
        Just("\u{1}".into()),
    ];
    prop_oneof![
        3 => proptest::sample::select(&[r#""a""#, r#""b""#, r#""user.id""#, r#""user""#, r#""id""#, r#""é\"\n""#, r#""""#, r#""\u0061""#][..])
            .prop_map(String::from),
        1 => proptest::collection::vec(piece, 0..4).prop_map(|p| format!("\"{}\"", p.concat())),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i128>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| if n.is_finite() { format!("{n:e}") } else { "0".into() }),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        "[1-9][0-9]{30,50}",
        "[1-9][0-9]{306,310}",
        "-?0{0,2}[0-9]?\\.?[0-9]?[eE]?[+-]?[0-9]{0,2}",
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t\r "), 1 => Just("   ")]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        number(),
        proptest::sample::select(&["true", "false", "null"][..]).prop_map(String::from)
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..5), space())
                .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},{s}")))),
            object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (string(), space(), value).prop_map(|(name, s, value)| format!("{name}{s}:{s}{value}"));
    (proptest::collection::vec(member, 0..7), space())
        .prop_map(|(members, s)| format!("{{{s}{}{s}}}{s}", members.join(&format!("{s},{s}"))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn every_generated_document_gets_serde_jsons_verdict_and_values(text in object(json())) {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn every_mutated_document_gets_serde_jsons_verdict_and_values(
        text in prop_oneof![4 => object(json()), 1 => json()],
        mutations in proptest::collection::vec((0..4_u8, any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (kind, at, byte) in mutations {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes.truncate(at),
                1 => { bytes.remove(at); }
                2 => bytes[at] = byte,
                _ => bytes.insert(at, br#"{}[]",:\0e-. u"#[usize::from(byte) % 14]),
            }
        }
        agrees(&bytes)?;
    }
}

#[test]
fn every_prefix_of_a_document_is_refused() {
    let whole = r#"{"a": [1, {"b": "x\u00e9\ud83d\ude00"}, -2.5e3, true, null], "c": ""}"#;
    for end in 0..whole.len() {
        assert!(
            document(&whole.as_bytes()[..end]).is_err(),
            "{}",
            String::from_utf8_lossy(&whole.as_bytes()[..end])
        );
    }
    agrees(whole.as_bytes()).unwrap();
}

#[test]
fn strings_that_cross_blocks_get_serde_jsons_verdict_and_values() {
    let strings = [
        r#"\""#,
        r#"\\"#,
        r#"\\\""#,
        r#"\u00e9"#,
        r#"\ud83d\ude00"#,
        r#"\ud83d\u0041"#,
        r#"\ud83d"#,
        r#"\u00"#,
        r#"\x"#,
        "é😀",
        "\n",
        "\u{1f}",
        "\\\n",
    ];
    for (special, pad) in strings.iter().flat_map(|special| (0..140).map(move |pad| (special, pad))) {
        let x = "x".repeat(pad);
        for text in [
            format!(
                r#"{{"a":"{x}{special}","b":[{{"c{special}":"{special}"}}],"user":{{"id":"{special}"}}}}"#
            ),
            format!(
                "{{\n{}\"a\"\r\n:\t\"{special}{x}\"\n,\n\n\"b\": [\n\"{special}\", 1.5\n]\n}}",
                " ".repeat(pad)
            ),
            format!(r#"{{"a":"{x}{special}"#),
        ] {
            agrees(text.as_bytes()).unwrap();
        }
    }
}

#[test]
fn numbers_of_every_length_get_serde_jsons_verdict_and_values() {
    let (nines, zeros) = ("9".repeat(40), "0".repeat(40));
    for len in 0..=40 {
        for digits in [&nines[..len], &zeros[..len]] {
            for number in [
                digits.to_owned(),
                format!("-{digits}"),
                format!("1.{digits}"),
                format!("{digits}.5e-{len}"),
                format!("1e{digits}"),
                format!("{digits}x"),
            ] {
                agrees(format!(r#"{{"a":{number},"b":[{number}]}}"#).as_bytes()).unwrap();
                agrees(format!(r#"{{"a":{number}}}"#).as_bytes()).unwrap();
            }
        }
    }
}

#[test]
fn depth_ends_where_serde_jsons_does() {
    for depth in [1, 126, 127, 128, 129, 10_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(document(text.as_bytes()).is_ok(), depth <= DEPTH_MAX, "{depth}");
            agrees(text.as_bytes()).unwrap();
        }
    }
    assert_eq!(document("[".repeat(10_000).as_bytes()).unwrap_err(), ScanError::TooDeep);
}

#[test]
fn values_keep_their_exact_meaning() {
    check(
        &["i", "neg", "u", "w", "big", "d", "e", "t", "s", "o", "n", "none"],
        r#" { "i":9223372036854775807, "neg":-9223372036854775808, "u":18446744073709551615,
            "w":-170141183460469231731687303715884105728, "big":1700000000000000000000000000000000000000000,
            "d":0.1, "e":1E2, "t":true, "s":"a\n\u00e9\ud83d\ude00", "o":{"x" : [1]}, "n":null } "#,
        expect![[r#"
            i = Int(9223372036854775807)
            neg = Int(-9223372036854775808)
            u = Wide(18446744073709551615)
            w = Wide(-170141183460469231731687303715884105728)
            big = Float(1.7e42)
            d = Float(0.1)
            e = Float(100.0)
            t = Bool(true)
            s = Text("a\né😀")
            o = Json("{\"x\" : [1]}")
            n = Null
            none = Null
        "#]],
    );
}

#[test]
fn dotted_names_mean_the_exact_member_first_then_the_path() {
    let names = &["user.id", "user.a.b", "user"];
    check(
        names,
        r#"{"user":{"id":1,"a":{"b":2}}}"#,
        expect![[r#"
        user.id = Int(1)
        user.a.b = Int(2)
        user = Json("{\"id\":1,\"a\":{\"b\":2}}")
    "#]],
    );
    check(
        names,
        r#"{"user":{"id":1,"a.b":3,"a":{"b":2}},"user.id":null}"#,
        expect![[r#"
        user.id = Null
        user.a.b = Int(3)
        user = Json("{\"id\":1,\"a.b\":3,\"a\":{\"b\":2}}")
    "#]],
    );
    check(
        names,
        r#"{"user":[{"id":1}]}"#,
        expect![[r#"
        user.id = Null
        user.a.b = Null
        user = Json("[{\"id\":1}]")
    "#]],
    );
}

#[test]
fn the_last_of_members_with_one_name_counts() {
    check(
        &["a"],
        r#"{"a":1,"\u0061":2}"#,
        expect![[r#"
        a = Int(2)
    "#]],
    );
}

#[test]
fn more_names_than_the_stack_holds_are_found_too() {
    let names: Vec<String> = (0..40).map(|i| format!("column_{i}")).collect();
    let object = format!("{{{}}}", names.iter().map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","));
    let columns: Vec<_> = names.iter().map(|n| (Arc::from(n.as_str()), None)).collect();
    let (arena, mut row) = (Bump::new(), Vec::new());
    RowFields::new(&columns).read(object.as_bytes(), &arena, &mut row).unwrap();
    assert!(row.len() == 40 && row.iter().all(|d| *d == Datum::Int(1)));
}

#[test]
fn types_take_what_they_say_and_the_rest_is_null() {
    let object = r#"{"v":"x","i":3,"whole":3.0,"half":3.5,"wide":9223372036854775808,"t":"2024-02-29T23:59:59.9999Z","b":true}"#;
    let mut out = String::new();
    for (name, ty) in ColumnType::NAMES {
        let columns: Vec<_> =
            ["v", "i", "whole", "half", "wide", "t", "b"].map(|n| (Arc::from(n), Some(ty))).into();
        let (arena, mut row) = (Bump::new(), Vec::new());
        RowFields::new(&columns).read(object.as_bytes(), &arena, &mut row).unwrap();
        out += &format!("{name}: {row:?}\n");
    }
    expect![[r#"
        text: [Text("x"), Null, Null, Null, Null, Text("2024-02-29T23:59:59.9999Z"), Null]
        bigint: [Null, Int(3), Int(3), Null, Wide(9223372036854775808), Null, Null]
        double: [Null, Float(3.0), Float(3.0), Float(3.5), Float(9.223372036854776e18), Null, Null]
        number: [Null, Int(3), Float(3.0), Float(3.5), Wide(9223372036854775808), Null, Null]
        boolean: [Null, Null, Null, Null, Null, Null, Bool(true)]
        decimal: [Null, Int(3), Float(3.0), Float(3.5), Wide(9223372036854775808), Null, Null]
        timestamp: [Null, Timestamp(3), Timestamp(3), Null, Null, Timestamp(1709251199999), Null]
        json: [Json("\"x\""), Json("3"), Json("3.0"), Json("3.5"), Json("9223372036854775808"), Json("\"2024-02-29T23:59:59.9999Z\""), Json("true")]
        bytes: [Bytes([120]), Null, Null, Null, Null, Bytes([50, 48, 50, 52, 45, 48, 50, 45, 50, 57, 84, 50, 51, 58, 53, 57, 58, 53, 57, 46, 57, 57, 57, 57, 90]), Null]
    "#]].assert_eq(&out);
}
