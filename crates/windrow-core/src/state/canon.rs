//! Canonical bytes of values: group keys, elements of sets, values in the journal.
//!
//! **In** [`Datum`]s. **Out** bytes that are equal exactly when the values are equal, and the values back.
//! **Invariant:** self-delimiting, so that a row of values is their concatenation; NULL equals NULL; `1` equals `1.0`;
//! whatever bytes come back from a journal, reading them never panics.
//! **Not here:** JSON, which is for people (`value`).

use bumpalo::Bump;

use crate::value::{ColumnType, Datum, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const WIDE: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const JSON: u8 = 7;
const BYTES: u8 = 8;
const TIMESTAMP: u8 = 9;

/// Doubles below 2^127 fit i128 when they are whole.
const WHOLE_MAX: f64 = 1.701_411_834_604_692_3e38;

/// Appends the bytes that stand for the value when it is compared: numbers by value, whatever their kind.
#[inline]
pub(crate) fn encode(datum: Datum<'_>, out: &mut Vec<u8>) {
    match datum {
        Datum::Text(t) => put(TEXT, t.as_bytes(), out),
        Datum::Float(f) if f.fract() == 0.0 && f.abs() < WHOLE_MAX => put_integer(f as i128, out),
        Datum::Timestamp(i) => put_integer(i128::from(i), out),
        other => encode_exactly(other, out),
    }
}

/// Appends the bytes that give back the very value, kind included.
pub(crate) fn encode_exactly(datum: Datum<'_>, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => out.push(NULL),
        Datum::Bool(b) => out.push(if b { TRUE } else { FALSE }),
        Datum::Int(i) => put_integer(i128::from(i), out),
        Datum::Wide(w) => put_integer(*w, out),
        Datum::Float(f) => {
            out.push(FLOAT);
            out.extend_from_slice(&f.to_le_bytes());
        }
        Datum::Text(t) => put(TEXT, t.as_bytes(), out),
        Datum::Json(j) => put(JSON, j.as_bytes(), out),
        Datum::Bytes(b) => put(BYTES, b, out),
        Datum::Timestamp(i) => {
            out.push(TIMESTAMP);
            put_signed(i, out);
        }
    }
}

fn put_integer(i: i128, out: &mut Vec<u8>) {
    if let Ok(small) = i64::try_from(i) {
        out.push(INT);
        put_signed(small, out);
    } else {
        out.push(WIDE);
        out.extend_from_slice(&i.to_le_bytes());
    }
}

#[inline]
fn put(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_unsigned(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a number in groups of seven bits, lowest first.
#[inline]
pub(crate) fn put_unsigned(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number, small magnitudes short.
pub(crate) fn put_signed(n: i64, out: &mut Vec<u8>) {
    put_unsigned(((n << 1) ^ (n >> 63)) as u64, out);
}

/// Reads canonical bytes and numbers off the front; `None` when they are damaged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    pub(crate) fn len(&mut self) -> Option<usize> {
        usize::try_from(self.unsigned()?).ok()
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let n = self.unsigned()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// Reads a length and that many bytes.
    pub(crate) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        self.bytes(len)
    }

    /// Reads one value; a type that groups by more than the bytes say gets its kind back.
    pub(crate) fn datum(&mut self, ty: Option<ColumnType>, arena: &'a Bump) -> Option<Datum<'a>> {
        Some(match self.byte()? {
            NULL => Datum::Null,
            FALSE => Datum::Bool(false),
            TRUE => Datum::Bool(true),
            INT => typed_integer(self.signed()?, ty),
            WIDE => typed_wide(i128::from_le_bytes(self.array()?), ty, arena),
            FLOAT => Datum::float(f64::from_le_bytes(self.array()?)),
            TEXT => Datum::Text(std::str::from_utf8(self.prefixed()?).ok()?),
            JSON => Datum::Json(std::str::from_utf8(self.prefixed()?).ok()?),
            BYTES => Datum::Bytes(self.prefixed()?),
            TIMESTAMP => Datum::Timestamp(self.signed()?),
            _ => return None,
        })
    }

    /// Reads one value into memory of its own.
    pub(crate) fn value(&mut self) -> Option<Value> {
        let arena = Bump::new();
        let datum = Reader(self.0).datum(None, &arena)?.to_value();
        self.skip_value()?;
        Some(datum)
    }

    /// Passes over one value whose text must be UTF-8.
    pub(crate) fn skip_text_value(&mut self) -> Option<()> {
        let is_text = matches!(self.0.first(), Some(&(TEXT | JSON)));
        let value = self.skip_value()?;
        if is_text {
            let mut reader = Reader(&value[1..]);
            std::str::from_utf8(reader.prefixed()?).ok()?;
        }
        Some(())
    }

    /// Passes over one value and returns its bytes.
    pub(crate) fn skip_value(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        match self.byte()? {
            NULL | FALSE | TRUE => {}
            INT | TIMESTAMP => {
                self.signed()?;
            }
            WIDE => {
                self.bytes(16)?;
            }
            FLOAT => {
                self.bytes(8)?;
            }
            TEXT | JSON | BYTES => {
                self.prefixed()?;
            }
            _ => return None,
        }
        Some(&before[..before.len() - self.0.len()])
    }
}

fn typed_integer<'a>(i: i64, ty: Option<ColumnType>) -> Datum<'a> {
    match ty {
        Some(ColumnType::Timestamp) => Datum::Timestamp(i),
        // Only a whole double that came as a double is certain to come back the same.
        Some(ColumnType::Double) if (i as f64) as i128 == i128::from(i) => Datum::Float(i as f64),
        _ => Datum::Int(i),
    }
}

fn typed_wide<'a>(w: i128, ty: Option<ColumnType>, arena: &'a Bump) -> Datum<'a> {
    match ty {
        Some(ColumnType::Double) if (w as f64) < WHOLE_MAX && (w as f64) as i128 == w => {
            Datum::Float(w as f64)
        }
        _ => Datum::Wide(arena.alloc(w)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(datum: Datum<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(datum, &mut out);
        out
    }

    const WIDE_VALUE: i128 = 1 << 80;

    fn samples() -> Vec<Datum<'static>> {
        vec![
            Datum::Null,
            Datum::Bool(false),
            Datum::Bool(true),
            Datum::Int(0),
            Datum::Float(-0.0),
            Datum::Int(1),
            Datum::Float(1.0),
            Datum::Timestamp(1),
            Datum::Int(-1),
            Datum::Int(i64::MAX),
            Datum::Float(9_223_372_036_854_775_808.0),
            Datum::Wide(&WIDE_VALUE),
            Datum::Float(1_208_925_819_614_629_174_706_176.0),
            Datum::Float(0.1),
            Datum::Float(1e300),
            Datum::Text(""),
            Datum::Text("1"),
            Datum::Text("ab"),
            Datum::Json("{}"),
            Datum::Bytes(b"ab"),
        ]
    }

    #[test]
    fn bytes_are_equal_exactly_when_values_are() {
        for a in samples() {
            for b in samples() {
                assert_eq!(bytes(a) == bytes(b), a == b, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn values_come_back_and_rows_of_them_too() {
        let arena = Bump::new();
        let mut row = Vec::new();
        samples().iter().for_each(|d| encode_exactly(*d, &mut row));
        let mut reader = Reader(&row);
        for want in samples() {
            let got = reader.datum(None, &arena).unwrap();
            assert_eq!(format!("{got:?}"), format!("{want:?}"));
        }
        assert!(reader.is_empty());
        let mut reader = Reader(&row);
        samples().iter().for_each(|_| assert!(reader.skip_value().is_some()));
        assert!(reader.is_empty());
    }

    #[test]
    fn a_column_type_brings_the_kind_back_after_grouping() {
        let arena = Bump::new();
        for (datum, ty, want) in [
            (Datum::Float(3.0), Some(ColumnType::Double), "Float(3.0)"),
            (Datum::Float(1e30), Some(ColumnType::Double), "Float(1e30)"),
            (Datum::Timestamp(5), Some(ColumnType::Timestamp), "Timestamp(5)"),
            (Datum::Float(3.0), None, "Int(3)"),
        ] {
            let encoded = bytes(datum);
            let got = Reader(&encoded).datum(ty, &arena).unwrap();
            assert_eq!(format!("{got:?}"), want);
        }
    }

    #[test]
    fn damaged_bytes_are_none() {
        let arena = Bump::new();
        for bad in [&[][..], &[99], &[TEXT, 5, b'a'], &[TEXT, 1, 0xff], &[INT], &[WIDE, 1], &[INT, 0xff]] {
            assert!(Reader(bad).datum(None, &arena).is_none(), "{bad:?}");
        }
        let mut endless = vec![INT];
        endless.extend([0x80; 20]);
        assert!(Reader(&endless).skip_value().is_none());
    }
}
