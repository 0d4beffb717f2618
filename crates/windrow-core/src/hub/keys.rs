//! Keys: values as bytes that are equal where the values compare equal, for the filter index and for ranges of the table.
//!
//! **Invariant:** two values that compare equal have equal index keys; a prefix is given only where every row whose first key
//! column equals the value begins with it.

use crate::value::{Datum, Value};

/// Returns the distinct index keys of the values.
pub(super) fn index_keys(values: &[Value]) -> Vec<Box<[u8]>> {
    let mut keys: Vec<Box<[u8]>> =
        values.iter().filter_map(|v| index_key(v.datum())).map(Vec::into_boxed_slice).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Returns bytes that are equal for values that compare equal; `None` for NULL, which equals nothing.
pub(super) fn index_key(datum: Datum<'_>) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(24);
    match datum {
        Datum::Null => return None,
        // A double past 2^53 may equal an integer; below, the canonical JSON is the integer's already.
        Datum::Float(f) if f.fract() == 0.0 && f.abs() < 1e38 => {
            Datum::Wide(&(f as i128)).write_json(&mut key)
        }
        Datum::Bytes(bytes) => {
            key.push(b'b');
            key.extend_from_slice(bytes);
        }
        Datum::Json(json) => {
            key.push(b'j');
            key.extend_from_slice(json.as_bytes());
        }
        other => other.write_json(&mut key),
    }
    Some(key)
}

/// Returns how the keys of rows begin whose first key column has one of these values, sorted; `None` when the values do
/// not tell (doubles, and integers that a double may equal, are not written in one way only).
pub(super) fn key_prefixes(values: &[Value]) -> Option<Vec<Box<[u8]>>> {
    const EXACT_MAX: u64 = 1 << 53;
    let prefix = |value: &Value| match value.datum() {
        Datum::Int(i) | Datum::Timestamp(i) if i.unsigned_abs() >= EXACT_MAX => None,
        datum @ (Datum::Bool(_) | Datum::Int(_) | Datum::Timestamp(_) | Datum::Text(_)) => {
            let mut out = vec![b'['];
            datum.write_json(&mut out);
            Some(out.into_boxed_slice())
        }
        _ => None,
    };
    let mut all: Vec<_> = values.iter().map(prefix).collect::<Option<_>>()?;
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_compare_equal_have_one_key() {
        let key = |datum: Datum<'_>| index_key(datum);
        assert_eq!(key(Datum::Int(3)), key(Datum::Float(3.0)));
        assert_eq!(key(Datum::Int(1 << 60)), key(Datum::Float((1_i64 << 60) as f64)));
        assert_eq!(key(Datum::Int(3)), key(Datum::Timestamp(3)));
        assert_ne!(key(Datum::Int(3)), key(Datum::Text("3")));
        assert_ne!(key(Datum::Text("true")), key(Datum::Bool(true)));
        assert_eq!(key(Datum::Null), None);
    }

    #[test]
    fn a_prefix_is_given_only_where_a_value_is_written_in_one_way() {
        let text = |values: &[Value]| {
            key_prefixes(values)
                .map(|all| all.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>())
        };
        let some = |all: &[&str]| Some(all.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(text(&[Value::Text("b".into()), Value::Text("a".into())]), some(&["[\"a\"", "[\"b\""]));
        assert_eq!(text(&[Value::Int(1), Value::Int(1)]), some(&["[1"]));
        assert_eq!(text(&[Value::Float(1.0)]), None);
        assert_eq!(text(&[Value::Int(1 << 53)]), None);
        assert_eq!(text(&[Value::Null]), None);
    }
}
