//! Any bytes: the scanner and serde_json must agree on whether they are a document, and on the members of an object.
#![no_main]

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use windrow_core::{
    scan::{RowFields, ScanError},
    value::Datum,
};

const NAMES: [&str; 4] = ["a", "b", "", "a.b"];

/// A member of this name is not a member to serde_json, which hands raw values around by it.
const MAGIC: &[u8] = b"$serde_json::private";

fuzz_target!(|bytes: &[u8]| {
    if bytes.windows(MAGIC.len()).any(|window| window == MAGIC) {
        return;
    }
    let theirs = serde_json::from_slice::<Value>(bytes);
    let fields = RowFields::new(&NAMES.map(|name| (name.into(), None)));
    let (arena, mut row) = (Bump::new(), Vec::new());
    match (fields.read(bytes, &arena, &mut row), theirs) {
        (Ok(()), Ok(Value::Object(members))) => {
            for (name, ours) in NAMES.iter().zip(&row).take(3) {
                assert!(same(*ours, members.get(*name)), "{name:?}: {ours:?}");
            }
        }
        (Err(ScanError::NotAnObject), Ok(other)) => assert!(!other.is_object()),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("ours {ours:?}, serde_json {theirs:?}"),
    }
});

fn same(ours: Datum<'_>, theirs: Option<&Value>) -> bool {
    match (ours, theirs) {
        (Datum::Null, None | Some(Value::Null)) => true,
        (Datum::Bool(a), Some(Value::Bool(b))) => a == *b,
        (Datum::Text(a), Some(Value::String(b))) => a == b,
        (Datum::Json(a), Some(b)) => serde_json::from_str::<Value>(a).is_ok_and(|a| a == *b),
        (Datum::Int(a), Some(b)) => b.as_i64() == Some(a) || (a == 0 && b.as_f64() == Some(0.0)),
        // Past 64 bits serde_json has doubles only.
        (Datum::Wide(a), Some(b)) => {
            b.as_u64().map_or_else(|| b.as_f64() == Some(*a as f64), |b| *a == i128::from(b))
        }
        (Datum::Float(a), Some(b)) => b.as_f64().is_some_and(|b| a.to_bits() == b.to_bits()),
        _ => false,
    }
}
