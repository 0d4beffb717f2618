//! Tables and properties of aggregates.

use std::fmt::Write as _;

use bumpalo::Bump;
use expect_test::{Expect, expect};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Column, Sum, exact::Exact, round_ratio};
use crate::{plan::AggregateKind, state::canon::Reader, value::Datum};

/// Folds values into one cell per kind of aggregate and shows the results, also after a trip through the journal.
fn check(rows: &[(&str, &[Datum<'_>])], expect: Expect) {
    let kinds = [
        ("count", AggregateKind::Count),
        ("distinct", AggregateKind::CountDistinct),
        ("sum", AggregateKind::Sum),
        ("avg", AggregateKind::Avg),
        ("min", AggregateKind::Min),
        ("max", AggregateKind::Max),
    ];
    let mut out = String::new();
    for (name, values) in rows {
        write!(out, "{name}:").unwrap();
        for (kind_name, kind) in kinds {
            let mut column = Column::new(kind);
            column.push();
            values.iter().for_each(|value| {
                column.fold(0, *value);
            });
            write!(out, " {kind_name}={}", result(&column)).unwrap();
            let mut journal = Vec::new();
            column.encode(0, 0, usize::MAX, &mut journal);
            let mut restored = Column::new(kind);
            restored.push();
            restored.apply(0, &mut Reader(&journal)).unwrap();
            assert_eq!(result(&restored), result(&column), "{name} {kind_name} after the journal");
            for at in 0..=values.len() {
                let (front, back) = values.split_at(at);
                for parts in [[front, back], [back, front]] {
                    let merged = merged(kind, &parts);
                    assert_eq!(result(&merged), result(&column), "{name} {kind_name} in two parts at {at}");
                }
            }
        }
        out.push('\n');
    }
    expect.assert_eq(&out);
}

/// Folds each part into a cell of its own, and merges those.
fn merged(kind: AggregateKind, parts: &[&[Datum<'_>]]) -> Column {
    let mut whole = Column::new(kind);
    whole.push();
    let mut grown = 0;
    for part in parts {
        let mut column = Column::new(kind);
        column.push();
        part.iter().for_each(|value| {
            column.fold(0, *value);
        });
        let mut partial = Vec::new();
        column.encode(0, 0, usize::MAX, &mut partial);
        column.encode_nothing(&mut partial);
        let mut reader = Reader(&partial);
        grown += whole.merge(0, &mut reader).unwrap();
        assert_eq!(whole.merge(0, &mut reader), Some(0), "nothing adds nothing");
        assert!(reader.is_empty());
    }
    assert!(grown >= 0);
    whole
}

fn result(column: &Column) -> String {
    let arena = Bump::new();
    let mut out = Vec::new();
    column.result(0, &arena).write_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn results_of_all_kinds() {
    let wide = i128::from(i64::MAX) * 4;
    check(
        &[
            ("nothing", &[]),
            ("nulls", &[Datum::Null, Datum::Null]),
            ("integers", &[Datum::Int(1), Datum::Int(2), Datum::Int(2)]),
            (
                "kinds that never compare",
                &[Datum::Text("b"), Datum::Int(7), Datum::Bool(true), Datum::Text("a")],
            ),
            ("thirds", &[Datum::Int(1), Datum::Int(0), Datum::Int(0)]),
            ("mixed", &[Datum::Int(1), Datum::Float(0.5), Datum::Float(1.0)]),
            ("tenths", &[Datum::Float(0.1); 10]),
            ("past 64 bits", &[Datum::Int(i64::MAX), Datum::Int(i64::MAX)]),
            ("and back", &[Datum::Int(i64::MAX), Datum::Int(i64::MAX), Datum::Int(-i64::MAX)]),
            ("wide", &[Datum::Wide(&wide), Datum::Int(-1)]),
            ("past 128 bits", &[Datum::Wide(&i128::MAX), Datum::Int(1)]),
            ("back in 128", &[Datum::Wide(&i128::MAX), Datum::Int(1), Datum::Int(-1)]),
            ("lowest", &[Datum::Wide(&i128::MIN)]),
            ("through infinity", &[Datum::Float(f64::MAX), Datum::Float(f64::MAX), Datum::Float(-f64::MAX)]),
            ("past doubles", &[Datum::Float(f64::MAX), Datum::Float(f64::MAX)]),
            ("cancelled", &[Datum::Float(1e300), Datum::Float(1.0), Datum::Float(-1e300)]),
            ("subnormal", &[Datum::Float(5e-324), Datum::Float(5e-324), Datum::Float(5e-324)]),
            ("2^53 + 1", &[Datum::Int(9_007_199_254_740_993)]),
            ("text", &[Datum::Text("b"), Datum::Text("a"), Datum::Text("b")]),
            ("times", &[Datum::Timestamp(5), Datum::Timestamp(3)]),
        ],
        expect![[r#"
            nothing: count=0 distinct=0 sum=null avg=null min=null max=null
            nulls: count=0 distinct=0 sum=null avg=null min=null max=null
            integers: count=3 distinct=2 sum=5 avg=1.6666666666666667 min=1 max=2
            kinds that never compare: count=4 distinct=4 sum=7 avg=7 min=true max="b"
            thirds: count=3 distinct=2 sum=1 avg=0.3333333333333333 min=0 max=1
            mixed: count=3 distinct=2 sum=2.5 avg=0.8333333333333334 min=0.5 max=1
            tenths: count=10 distinct=1 sum=1 avg=0.1 min=0.1 max=0.1
            past 64 bits: count=2 distinct=1 sum=18446744073709551614 avg=9223372036854775808 min=9223372036854775807 max=9223372036854775807
            and back: count=3 distinct=2 sum=9223372036854775807 avg=3074457345618258432 min=-9223372036854775807 max=9223372036854775807
            wide: count=2 distinct=2 sum=36893488147419103227 avg=18446744073709551616 min=-1 max=36893488147419103228
            past 128 bits: count=2 distinct=2 sum=null avg=85070591730234615865843651857942052864 min=1 max=170141183460469231731687303715884105727
            back in 128: count=3 distinct=3 sum=170141183460469231731687303715884105727 avg=56713727820156407428984779325531226112 min=-1 max=170141183460469231731687303715884105727
            lowest: count=1 distinct=1 sum=-170141183460469231731687303715884105728 avg=-1.7014118346046923e+38 min=-170141183460469231731687303715884105728 max=-170141183460469231731687303715884105728
            through infinity: count=3 distinct=2 sum=1.7976931348623157e+308 avg=5.992310449541053e+307 min=-1.7976931348623157e+308 max=1.7976931348623157e+308
            past doubles: count=2 distinct=1 sum=null avg=1.7976931348623157e+308 min=1.7976931348623157e+308 max=1.7976931348623157e+308
            cancelled: count=3 distinct=3 sum=1 avg=0.3333333333333333 min=-1e+300 max=1e+300
            subnormal: count=3 distinct=1 sum=1.5e-323 avg=5e-324 min=5e-324 max=5e-324
            2^53 + 1: count=1 distinct=1 sum=9007199254740993 avg=9007199254740992 min=9007199254740993 max=9007199254740993
            text: count=3 distinct=2 sum=null avg=null min="a" max="b"
            times: count=2 distinct=2 sum=8 avg=4 min=3 max=5
        "#]],
    );
}

#[test]
fn fractions_round_once_to_the_nearest_double_ties_to_even() {
    for (negative, magnitude, exponent, divisor, want) in [
        (false, vec![1], 0, 3, Some(1.0 / 3.0)),
        (true, vec![2], 0, 3, Some(-2.0 / 3.0)),
        (false, vec![], 0, 7, Some(0.0)),
        // 2^53 + 1 lies between two doubles, and the even one is below; 2^53 + 3 has it above.
        (false, vec![1, 1 << 21], 0, 1, Some(9_007_199_254_740_992.0)),
        (false, vec![3, 1 << 21], 0, 1, Some(9_007_199_254_740_996.0)),
        // A remainder of the division breaks the tie.
        (false, vec![3, 3 << 21], 0, 3, Some(9_007_199_254_740_992.0)),
        (false, vec![4, 3 << 21], 0, 3, Some(9_007_199_254_740_994.0)),
        // Half of the smallest subnormal is a tie with zero, three halves one with two.
        (false, vec![1], -1074, 2, Some(0.0)),
        (false, vec![3], -1074, 2, Some(1e-323)),
        (false, vec![1], -1074, 1, Some(5e-324)),
        (false, vec![u32::MAX, u32::MAX >> 11], -1075, 1, Some(f64::MIN_POSITIVE)),
        (false, vec![u32::MAX, u32::MAX >> 11], 971, 1, Some(f64::MAX)),
        (false, vec![1], 1024, 1, None),
        (false, vec![1], 1024, 2, Some(2_f64.powi(1023))),
    ] {
        assert_eq!(
            round_ratio(negative, &magnitude, exponent, divisor),
            want,
            "{magnitude:?}·2^{exponent}/{divisor}"
        );
    }
}

fn double() -> impl Strategy<Value = f64> {
    let any_bits = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |f| f.is_finite());
    prop_oneof![
        any_bits,
        -1e6..1e6,
        select(vec![f64::MAX, -f64::MAX, 5e-324, -5e-324, f64::MIN_POSITIVE, 1.0, 0.1, -0.0])
    ]
}

/// Values for every kind of aggregate.
fn value() -> impl Strategy<Value = Datum<'static>> {
    prop_oneof![
        4 => any::<i64>().prop_map(Datum::Int),
        2 => (-3..4_i64).prop_map(Datum::Int),
        4 => double().prop_map(Datum::Float),
        2 => select(vec!["", "a", "b"]).prop_map(Datum::Text),
        1 => any::<bool>().prop_map(Datum::Bool),
        1 => Just(Datum::Null),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_addends_and_trips_through_the_journal_do_not_matter(
        mut doubles in vec(double(), 1..30),
        integers in vec(any::<i128>(), 0..4),
        seed in any::<u64>(),
    ) {
        let sum = |doubles: &[f64]| {
            let mut sum = Sum::default();
            for (i, double) in doubles.iter().enumerate() {
                sum.add(Datum::Float(*double));
                if seed >> (i % 64) & 1 == 1 {
                    let mut bytes = Vec::new();
                    sum.encode(&mut bytes);
                    sum = Sum::decode(&mut Reader(&bytes)).unwrap();
                }
            }
            for integer in &integers {
                sum.add(Datum::Wide(integer));
            }
            let mut bytes = Vec::new();
            sum.encode(&mut bytes);
            (bytes, format!("{:?}", sum.mean(1)), format!("{:?}", sum.mean(7)))
        };
        let forward = sum(&doubles);
        doubles.reverse();
        prop_assert_eq!(&sum(&doubles), &forward);
        doubles.sort_by(f64::total_cmp);
        prop_assert_eq!(&sum(&doubles), &forward);
    }

    #[test]
    fn one_double_comes_back_as_it_was(f in double()) {
        let mut exact = Exact::default();
        exact.add_double(f);
        prop_assert_eq!(exact.over(1), Some(f));
        exact.add_double(f);
        prop_assert_eq!(exact.over(2), Some(f));
        exact.add_double(-f);
        exact.add_double(-f);
        prop_assert_eq!(exact.over(1), Some(0.0));
    }

    #[test]
    fn small_means_equal_division(sum in -(1_i64 << 53)..(1_i64 << 53), count in 1_u64..1 << 53) {
        // Both are exact doubles, so one division is correctly rounded.
        let mut exact = Exact::default();
        exact.add_integer(i128::from(sum));
        prop_assert_eq!(exact.over(count), Some(sum as f64 / count as f64));
        prop_assert_eq!(exact.to_integer(), Some(i128::from(sum)));
    }

    #[test]
    fn integers_of_any_width_stay_exact(integers in vec(any::<i128>().prop_map(|i| i / 64), 0..40)) {
        let mut exact = Exact::default();
        integers.iter().for_each(|i| exact.add_integer(*i));
        prop_assert_eq!(exact.to_integer(), Some(integers.iter().sum::<i128>()));
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in vec(any::<u8>(), 0..80)) {
        for kind in [AggregateKind::Count, AggregateKind::CountDistinct, AggregateKind::Sum, AggregateKind::Avg, AggregateKind::Min] {
            let mut column = Column::new(kind);
            column.push();
            if column.apply(0, &mut Reader(&bytes)).is_some() {
                column.fold(0, Datum::Float(1e300));
                column.fold(0, Datum::Int(-1));
                column.result(0, &Bump::new());
            }
        }
    }

    #[test]
    fn cells_merge_to_what_one_cell_would_be_however_values_are_spread(
        values in vec((value(), 0..4_usize), 0..30),
    ) {
        let all: Vec<_> = values.iter().map(|(value, _)| *value).collect();
        let parts: Vec<Vec<_>> = (0..4)
            .rev()
            .map(|part| values.iter().filter(|(_, at)| *at == part).map(|(value, _)| *value).collect())
            .collect();
        let parts: Vec<&[Datum<'_>]> = parts.iter().map(Vec::as_slice).collect();
        for kind in [
            AggregateKind::Count,
            AggregateKind::CountDistinct,
            AggregateKind::Sum,
            AggregateKind::Avg,
            AggregateKind::Min,
            AggregateKind::Max,
        ] {
            let (whole, merged) = (merged(kind, &[&all]), merged(kind, &parts));
            prop_assert_eq!(result(&merged), result(&whole), "{:?}", kind);
        }
    }
}

proptest! {
    #[test]
    fn looking_ahead_gives_what_folding_would(raw in proptest::collection::vec(0..8_u8, 0..12), next in 0..8_u8) {
        const WIDE: i128 = 1 << 100;
        let datum = |i: u8| match i {
            0 => Datum::Null,
            1 => Datum::Int(i64::MAX),
            2 => Datum::Float(0.1),
            3 => Datum::Wide(&WIDE),
            4 => Datum::Text("b"),
            5 => Datum::Text("a"),
            6 => Datum::Timestamp(-7),
            _ => Datum::Int(3),
        };
        use AggregateKind::{Avg, Count, Max, Min, Sum};
        for kind in [Count, Sum, Avg, Min, Max] {
            let (arena, mut column) = (Bump::new(), Column::new(kind));
            let alone = format!("{:?}", column.result_with(None, datum(next), &arena));
            column.push();
            raw.iter().for_each(|i| { column.fold(0, datum(*i)); });
            let ahead = format!("{:?}", column.result_with(Some(0), datum(next), &arena));
            column.fold(0, datum(next));
            prop_assert_eq!(&ahead, &format!("{:?}", column.result(0, &arena)));
            if raw.is_empty() {
                prop_assert_eq!(&alone, &ahead);
            }
        }
    }
}
