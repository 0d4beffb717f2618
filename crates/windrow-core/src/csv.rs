//! CSV: the fields of one record, in place.
//!
//! **In** the text of one record: fields with commas between, in quotes where they hold commas, quotes or line ends; no header line.
//! **Out** a [`Field`] per column.
//! **Invariant:** strict: a quote inside of a field without quotes, or text behind a closing quote, is refused, never guessed at.
//! **Not here:** names and types of columns (the stream's `columns`).
//!
//! Source: RFC 4180.

use std::borrow::Cow;

/// One field as it stands in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// Without its quotes.
    pub(crate) raw: &'a str,
    pub(crate) is_quoted: bool,
}

impl<'a> Field<'a> {
    /// Reads the text; doubled quotes become one.
    pub(crate) fn text(self) -> Cow<'a, str> {
        if self.is_quoted && self.raw.contains('"') {
            Cow::Owned(self.raw.replace("\"\"", "\""))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// Hands each field to `each`, with its index, and returns how many there were; `None` when the text is not one record of CSV.
pub(crate) fn fields<'a>(record: &'a str, mut each: impl FnMut(usize, Field<'a>)) -> Option<usize> {
    let record = record.strip_suffix('\n').unwrap_or(record);
    let mut rest = record.strip_suffix('\r').unwrap_or(record);
    let mut count = 0;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(inside) => {
                let end = closing(inside)?;
                (Field { raw: &inside[..end], is_quoted: true }, &inside[end + 1..])
            }
            None => {
                let end = memchr::memchr(b',', rest.as_bytes()).unwrap_or(rest.len());
                let raw = &rest[..end];
                if memchr::memchr3(b'"', b'\n', b'\r', raw.as_bytes()).is_some() {
                    return None;
                }
                (Field { raw, is_quoted: false }, &rest[end..])
            }
        };
        each(count, field);
        count += 1;
        if behind.is_empty() {
            return Some(count);
        }
        rest = behind.strip_prefix(',')?;
    }
}

/// Finds the quote that closes; two quotes are one of the text.
fn closing(inside: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let mut from = 0;
    loop {
        let at = from + memchr::memchr(b'"', &bytes[from..])?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn records_are_split_as_rfc_4180_says_and_nothing_is_guessed() {
        let mut out = String::new();
        for record in [
            "",
            "a",
            "a,b",
            ",",
            "a,,",
            "\"a,b\",c",
            "\"a\"\"b\"",
            "\"\"",
            "\"a\nb\",c\r\n",
            "a\n",
            " a , \"b\"",
            "a\"b",
            "\"a\"b",
            "\"a",
            "a\nb",
            "ä,\"ö\"",
        ] {
            let mut all = Vec::new();
            let count = fields(record, |_, field| all.push((field.text().into_owned(), field.is_quoted)));
            let told = count.map(|_| {
                all.iter().map(|(t, q)| format!("<{t}>{}", if *q { "q" } else { "" })).collect::<String>()
            });
            out += &format!("{record:?} -> {}\n", told.as_deref().unwrap_or("refused"));
        }
        expect![[r#"
            "" -> <>
            "a" -> <a>
            "a,b" -> <a><b>
            "," -> <><>
            "a,," -> <a><><>
            "\"a,b\",c" -> <a,b>q<c>
            "\"a\"\"b\"" -> <a"b>q
            "\"\"" -> <>q
            "\"a\nb\",c\r\n" -> <a
            b>q<c>
            "a\n" -> <a>
            " a , \"b\"" -> refused
            "a\"b" -> refused
            "\"a\"b" -> refused
            "\"a" -> refused
            "a\nb" -> refused
            "ä,\"ö\"" -> <ä><ö>q
        "#]]
        .assert_eq(&out);
    }
}
