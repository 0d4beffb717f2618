//! CSV: a header and rows become JSON objects.
//!
//! **In** any reader. **Out** one object a row, members in the order of the header.
//! **Invariant:** a field that is a number by JSON's grammar is written as it stands, so no digit changes (`007` and `+1` are
//! text); an empty field, or the text that means missing, is null.

use std::io::Read;

use anyhow::{Context, bail};
use csv::{ByteRecord, Reader, ReaderBuilder};
use windrow_core::value::write_text;

use crate::cli::failure::Failure;

/// Rows of a CSV file as lines of JSON.
pub(super) struct CsvLines {
    reader: Reader<Box<dyn Read + Send>>,
    /// `"name":` of each column.
    names: Vec<Vec<u8>>,
    record: ByteRecord,
    null: Option<String>,
}

impl CsvLines {
    pub(super) fn new(input: Box<dyn Read + Send>, null: Option<String>) -> Result<Self, Failure> {
        let mut reader = ReaderBuilder::new().from_reader(input);
        let header = reader.headers().context("cannot read the header")?;
        let mut names = Vec::with_capacity(header.len());
        for name in header {
            let mut out = Vec::new();
            write_text(name.trim_start_matches('\u{feff}'), &mut out);
            out.push(b':');
            names.push(out);
        }
        Ok(Self { reader, names, record: ByteRecord::new(), null })
    }

    /// Appends the next row; returns how many bytes of the input were read for it, 0 at the end.
    pub(super) fn push(&mut self, out: &mut Vec<u8>) -> Result<u64, Failure> {
        let before = self.reader.position().byte();
        if !self.reader.read_byte_record(&mut self.record).context("cannot read the CSV")? {
            return Ok(0);
        }
        out.push(b'{');
        for (i, (name, field)) in self.names.iter().zip(&self.record).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            self.push_field(field, out)?;
        }
        out.extend_from_slice(b"}\n");
        Ok((self.reader.position().byte() - before).max(1))
    }

    fn push_field(&self, field: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let Ok(text) = std::str::from_utf8(field) else {
            bail!("row {} is not UTF-8", self.record.position().map_or(0, |p| p.line()));
        };
        if text.is_empty() || self.null.as_deref() == Some(text) {
            out.extend_from_slice(b"null");
        } else if is_number(text) {
            out.extend_from_slice(field);
        } else {
            write_text(text, out);
        }
        Ok(())
    }
}

/// JSON's grammar: `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_objects_and_no_digit_changes() {
        let input = "\u{feff}year,name,delay,\"a \"\"b\"\"\"\n2013,N14228,2.50,x\n2013,007,NA,\n,\"a,b\nc\",-1e5,+1\n";
        let mut csv = CsvLines::new(Box::new(input.as_bytes()), Some("NA".into())).unwrap();
        let mut out = Vec::new();
        while csv.push(&mut out).unwrap() > 0 {}
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"year":2013,"name":"N14228","delay":2.50,"a \"b\"":"x"}
{"year":2013,"name":"007","delay":null,"a \"b\"":null}
{"year":null,"name":"a,b\nc","delay":-1e5,"a \"b\"":"+1"}
"#
        );
    }

    #[test]
    fn numbers_are_what_json_calls_one() {
        for (text, want) in [
            ("0", true),
            ("-0.5", true),
            ("1e9", true),
            ("1E-9", true),
            ("12.", false),
            (".5", false),
            ("01", false),
            ("1e", false),
            ("-", false),
            ("NaN", false),
            ("1 ", false),
            ("0x1", false),
        ] {
            assert_eq!(is_number(text), want, "{text}");
            assert_eq!(
                serde_json::from_str::<serde_json::Number>(text).is_ok() && !text.ends_with(' '),
                want,
                "{text}"
            );
        }
    }
}
