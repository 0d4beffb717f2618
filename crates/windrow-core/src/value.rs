//! Values: what one column of one row holds, borrowed while folding and owned in state.
//!
//! **In** scanned bytes and literals. **Out** comparison, hashing, canonical JSON.
//! **Invariant:** numbers compare and hash by value (`1` equals `1.0`); text and numbers never compare; NULL is missing.
//! 64-bit integers are never passed through a float.
//! **Not here:** reading JSON (`scan`), expressions (`expr`).

use std::cmp::Ordering;

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Type of a column, as declared in the configuration or inferred by the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// 64-bit signed integer.
    Bigint,
    /// IEEE 754 double.
    Double,
    /// A JSON number as it was written, integer or double: what the planner infers from arithmetic and comparison.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Exact decimal, kept as its digits.
    Decimal,
    /// Milliseconds since the Unix epoch.
    Timestamp,
    /// Any JSON document, kept as its bytes.
    Json,
    /// Raw bytes.
    Bytes,
}

impl ColumnType {
    /// Every type with its SQL and configuration name, in the documented order.
    pub const NAMES: [(&'static str, ColumnType); 9] = [
        ("text", ColumnType::Text),
        ("bigint", ColumnType::Bigint),
        ("double", ColumnType::Double),
        ("number", ColumnType::Number),
        ("boolean", ColumnType::Boolean),
        ("decimal", ColumnType::Decimal),
        ("timestamp", ColumnType::Timestamp),
        ("json", ColumnType::Json),
        ("bytes", ColumnType::Bytes),
    ];

    /// Returns the name used in configurations, SQL and `GET /api/channels`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, t)| *t == self).map_or("text", |(n, _)| n)
    }

    /// Returns the type of that name, or `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
    }
}

/// One borrowed value. Text and bytes point into the record or into the batch's arena.
///
/// The tag is as wide as what stands beside it, so that copies move words: a smaller one is written and read in pieces that do not
/// match, for which the processor waits.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub enum Datum<'a> {
    /// Missing.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not: sums overflow into this, never silently.
    Wide(&'a i128),
    /// A double; never NaN or infinite (those are `Null`).
    Float(f64),
    /// UTF-8 text, unescaped.
    Text(&'a str),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// A JSON document as it stands in the record.
    Json(&'a str),
    /// Raw bytes.
    Bytes(&'a [u8]),
}

/// One owned value, for state and literals.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// Missing.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not.
    Wide(Box<i128>),
    /// A double, finite.
    Float(f64),
    /// UTF-8 text.
    Text(Box<str>),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// A JSON document.
    Json(Box<str>),
    /// Raw bytes.
    Bytes(Box<[u8]>),
}

impl Value {
    /// Borrows the value.
    pub fn datum(&self) -> Datum<'_> {
        match self {
            Value::Null => Datum::Null,
            Value::Bool(b) => Datum::Bool(*b),
            Value::Int(i) => Datum::Int(*i),
            Value::Wide(w) => Datum::Wide(w),
            Value::Float(f) => Datum::Float(*f),
            Value::Text(t) => Datum::Text(t),
            Value::Timestamp(t) => Datum::Timestamp(*t),
            Value::Json(j) => Datum::Json(j),
            Value::Bytes(b) => Datum::Bytes(b),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.datum() == other.datum()
    }
}

impl<'a> Datum<'a> {
    /// Copies the value out of the record.
    pub fn to_value(self) -> Value {
        match self {
            Datum::Null => Value::Null,
            Datum::Bool(b) => Value::Bool(b),
            Datum::Int(i) => Value::Int(i),
            Datum::Wide(w) => Value::Wide(Box::new(*w)),
            Datum::Float(f) => Value::Float(f),
            Datum::Text(t) => Value::Text(t.into()),
            Datum::Timestamp(t) => Value::Timestamp(t),
            Datum::Json(j) => Value::Json(j.into()),
            Datum::Bytes(b) => Value::Bytes(b.into()),
        }
    }

    /// Tells whether the value is missing.
    pub fn is_null(self) -> bool {
        matches!(self, Datum::Null)
    }

    /// Returns the double, or NULL when it is not finite.
    pub fn float(f: f64) -> Self {
        if f.is_finite() { Datum::Float(f) } else { Datum::Null }
    }

    /// Compares two values of comparable kinds, NULL with nothing.
    ///
    /// - **Errors:** `None` when either is NULL or the kinds never compare (text with a number).
    pub fn compare(self, other: Datum<'_>) -> Option<Ordering> {
        use Datum::*;
        match (self, other) {
            (Bool(a), Bool(b)) => Some(a.cmp(&b)),
            (Text(a), Text(b)) => Some(a.cmp(b)),
            (Json(a), Json(b)) => Some(a.cmp(b)),
            (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
            (Float(a), Float(b)) => a.partial_cmp(&b),
            (Float(a), b) => compare_float_int(a, b.integer()?),
            (a, Float(b)) => compare_float_int(b, a.integer()?).map(Ordering::reverse),
            (a, b) => Some(a.integer()?.cmp(&b.integer()?)),
        }
    }

    /// Returns the exact integer behind an `Int`, `Wide` or `Timestamp`.
    pub fn integer(self) -> Option<i128> {
        match self {
            Datum::Int(i) | Datum::Timestamp(i) => Some(i128::from(i)),
            Datum::Wide(w) => Some(*w),
            _ => None,
        }
    }

    /// Appends the canonical JSON of the value: equal values give equal bytes.
    ///
    /// - **Shape:** integral doubles below 2^127 are written as integers; other doubles as their shortest
    ///   round-trip digits; text with the fewest escapes; bytes as text in base64.
    pub fn write_json(self, out: &mut Vec<u8>) {
        match self {
            Datum::Null => out.extend_from_slice(b"null"),
            Datum::Bytes(b) => write_text(&BASE64_STANDARD.encode(b), out),
            Datum::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
            Datum::Int(i) | Datum::Timestamp(i) => {
                out.extend_from_slice(itoa::Buffer::new().format(i).as_bytes());
            }
            Datum::Wide(w) => out.extend_from_slice(itoa::Buffer::new().format(*w).as_bytes()),
            Datum::Float(f) => write_float(f, out),
            Datum::Text(t) => write_text(t, out),
            Datum::Json(j) => out.extend_from_slice(j.as_bytes()),
        }
    }
}

impl PartialEq for Datum<'_> {
    /// Equality for grouping: NULL equals NULL, numbers by value.
    fn eq(&self, other: &Self) -> bool {
        (self.is_null() && other.is_null()) || self.compare(*other) == Some(Ordering::Equal)
    }
}

/// 2^127: every integral double below it is an `i128`, and has to be written as an equal integer would be.
const INTEGER_MAX: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

fn compare_float_int(f: f64, i: i128) -> Option<Ordering> {
    if !f.is_finite() {
        return None;
    }
    // i128 covers every i64 and every sum of them; doubles beyond it saturate, which keeps the order right.
    let whole = f.trunc() as i128;
    Some(whole.cmp(&i).then(f.fract().partial_cmp(&0.0)?))
}

fn write_float(f: f64, out: &mut Vec<u8>) {
    if !f.is_finite() {
        out.extend_from_slice(b"null");
    } else if f.fract() == 0.0 && f.abs() < INTEGER_MAX {
        out.extend_from_slice(itoa::Buffer::new().format(f as i128).as_bytes());
    } else {
        // serde_json writes the shortest digits that read back to the same double.
        let _ = serde_json::to_writer(out, &f);
    }
}

/// Appends `text` as a JSON string with the fewest escapes.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(d: Datum<'_>) -> String {
        let mut out = Vec::new();
        d.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_compare_by_value_and_never_with_text() {
        let wide = i128::from(i64::MAX) + 1;
        for (a, b, want) in [
            (Datum::Int(1), Datum::Float(1.0), Some(Ordering::Equal)),
            (
                Datum::Int(9_007_199_254_740_993),
                Datum::Float(9_007_199_254_740_992.0),
                Some(Ordering::Greater),
            ),
            (Datum::Float(-1.5), Datum::Int(-1), Some(Ordering::Less)),
            (Datum::Wide(&wide), Datum::Int(i64::MAX), Some(Ordering::Greater)),
            (Datum::Text("1"), Datum::Int(1), None),
            (Datum::Null, Datum::Null, None),
        ] {
            assert_eq!(a.compare(b), want, "{a:?} {b:?}");
        }
    }

    #[test]
    fn canonical_json_is_equal_for_equal_values() {
        assert_eq!(json(Datum::Float(3.0)), json(Datum::Int(3)));
        assert_eq!(json(Datum::Float(1e18)), json(Datum::Int(1_000_000_000_000_000_000)));
        assert_eq!(json(Datum::Float(1e22)), json(Datum::Wide(&10_i128.pow(22))));
        assert_eq!(json(Datum::Float(1e39)), "1e+39");
        assert_eq!(json(Datum::Float(0.1)), "0.1");
        assert_eq!(json(Datum::Float(-0.0)), "0");
        assert_eq!(json(Datum::Text("a\"\n\u{1}é")), "\"a\\\"\\n\\u0001é\"");
        assert_eq!(json(Datum::Int(i64::MIN)), "-9223372036854775808");
    }
}
