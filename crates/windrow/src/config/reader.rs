//! The reader of one table: takes keys out of it, one call a key, and notes every mistake with its place.
//!
//! **In** a parsed TOML table. **Out** typed values; `None` when a key is absent or wrong (then it is noted).
//! **Invariant:** a key that no call asked for is an unknown key: [`Reader::finish`] says so, so no list of keys can go stale.
//! **Not here:** which keys there are (one file per table).

use std::{cell::RefCell, ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use windrow_core::suggest::closest;

use super::{error::Source, units};

/// One table, or the absence of one (every key is then absent).
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source<'a>,
    /// `[views.likes]`, for messages; empty for the file's top.
    pub(super) title: String,
    table: Option<&'a DeTable<'a>>,
    offset: usize,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        title: impl Into<String>,
        table: Option<&'a DeTable<'a>>,
        offset: usize,
    ) -> Self {
        Self { source, title: title.into(), table, offset, asked: RefCell::default() }
    }

    /// Offset of a key's value, or of the table's header when the key is absent.
    pub(super) fn offset(&self, key: &str) -> usize {
        self.find(key).map_or(self.offset, |v| v.span().start)
    }

    /// Notes a mistake at a key's value.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>, hint: Option<String>) {
        self.source.wrong(self.offset(key), message, hint);
    }

    /// Tells whether the key is there.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Notes each key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.into_inner();
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.as_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            let hint = match closest(name, asked.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("known keys are {}", join(asked.iter().copied())),
            };
            let place = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
            self.source.wrong(key.span().start, format!("unknown key `{name}`{place}"), Some(hint));
        }
    }

    /// A key that is part of the language but does nothing yet.
    pub(super) fn later(&self, key: &'static str) {
        if self.has(key) {
            let name = if self.title.is_empty() { format!("[{key}]") } else { format!("`{key}`") };
            self.wrong(key, format!("{name} is not available yet"), Some("remove it".to_owned()));
        }
    }

    /// A text, filled in.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        self.text_of(key, value)
    }

    /// A text that `read` understands; `what` finishes the sentence "`key` must be …".
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let result = read(&text);
        if result.is_none() {
            self.wrong(key, format!("`{key}` must be {what}, not {}", self.shown(key)), None);
        }
        result
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, key: &'static str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.parsed(key, "a duration such as \"250ms\", \"5m\" or \"30d\"", units::duration)?;
        let (low, high) = (units::show_duration(*bounds.start()), units::show_duration(*bounds.end()));
        self.within(key, value, &bounds, &low, &high)
    }

    /// A size within bounds.
    pub(super) fn size(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = self.parsed(key, "a size such as \"512KiB\" or \"64MiB\"", units::size)?;
        let (low, high) = (units::show_size(*bounds.start()), units::show_size(*bounds.end()));
        self.within(key, value, &bounds, &low, &high)
    }

    /// A whole number within bounds; a text that holds one is fine.
    pub(super) fn number(&self, key: &'static str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?;
        let read = match value.get_ref() {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok(),
            DeValue::String(_) => self.text_of(key, value)?.trim().parse().ok(),
            _ => None,
        };
        let Some(n) = read else {
            self.wrong(key, format!("`{key}` must be a whole number, not {}", self.shown(key)), None);
            return None;
        };
        self.within(key, n, &bounds, &bounds.start().to_string(), &bounds.end().to_string())
    }

    /// `true` or `false`; a text that says so is fine.
    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let read = match value.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            DeValue::String(_) => self.text_of(key, value)?.trim().parse().ok(),
            _ => None,
        };
        if read.is_none() {
            self.wrong(key, format!("`{key}` must be true or false, not {}", self.shown(key)), None);
        }
        read
    }

    /// One of a few words. `later` are words of the language that do nothing yet.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
        later: &[&'static str],
    ) -> Option<T> {
        let text = self.text(key)?;
        self.word(key, self.offset(key), &text, words, later)
    }

    /// One word of a list of choices.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        offset: usize,
        text: &str,
        words: &[(&'static str, T)],
        later: &[&'static str],
    ) -> Option<T> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        if later.contains(&text) {
            let hint = format!("available are {}", join(names));
            self.source.wrong(offset, format!("`{key}` = \"{text}\" is not available yet"), Some(hint));
            return None;
        }
        let hint = closest(text, names.clone().chain(later.iter().copied()));
        let hint = hint.map(|close| format!("did you mean \"{close}\"?"));
        self.source.wrong(offset, format!("`{key}` must be one of {}", join(names)), hint);
        None
    }

    /// A text or a list of texts, each with its offset.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<(String, usize)>> {
        let value = self.value(key)?;
        let one = |v: &'a Spanned<DeValue<'a>>| Some((self.text_of(key, v)?, v.span().start));
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().filter_map(one).collect()),
            _ => one(value).map(|text| vec![text]),
        }
    }

    /// A whole number or a list of them, each with its offset; a text that holds one is fine.
    pub(super) fn numbers(&self, key: &'static str) -> Option<Vec<(i64, usize)>> {
        let value = self.value(key)?;
        let one = |v: &'a Spanned<DeValue<'a>>| {
            let number = match v.get_ref() {
                DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok(),
                DeValue::String(_) => self.text_of(key, v)?.trim().parse().ok(),
                _ => None,
            };
            if number.is_none() {
                let message = format!("`{key}` must be whole numbers, not {}", self.shown(key));
                self.source.wrong(v.span().start, message, None);
            }
            Some((number?, v.span().start))
        };
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().filter_map(one).collect()),
            _ => one(value).map(|number| vec![number]),
        }
    }

    /// The table of that key; an absent one reads as empty.
    pub(super) fn table(&self, key: &'static str) -> Reader<'a> {
        let title =
            if self.title.is_empty() { format!("[{key}]") } else { format!("`{key}` of {}", self.title) };
        let found = self.value(key);
        let table = found.and_then(|v| self.as_table(key, v));
        Reader::new(self.source, title, table, found.map_or(self.offset, |v| v.span().start))
    }

    /// The named tables below a key (`[streams.*]`), in the order of the file, each with its name's offset.
    pub(super) fn tables(&self, key: &'static str) -> Vec<(String, usize, Reader<'a>)> {
        let Some(table) = self.value(key).and_then(|v| self.as_table(key, v)) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, value) in table {
            let text = name.as_ref().to_string();
            let title = format!("[{key}.{text}]");
            if let Some(inner) = self.as_table(&title, value) {
                let reader = Reader::new(self.source, title, Some(inner), value.span().start);
                all.push((text, name.span().start, reader));
            }
        }
        all.sort_by_key(|(_, offset, _)| *offset);
        all
    }

    /// A free table of texts, `a.b = "x"` read like `"a.b" = "x"`; each with its offset, in the order of the file.
    pub(super) fn pairs(&self, key: &'static str) -> Vec<(String, String, usize)> {
        let mut out = Vec::new();
        if let Some(table) = self.value(key).and_then(|v| self.as_table(key, v)) {
            self.flatten(key, "", table, &mut out);
        }
        out.sort_by_key(|(_, _, offset)| *offset);
        out
    }

    fn flatten(
        &self,
        key: &str,
        prefix: &str,
        table: &'a DeTable<'a>,
        out: &mut Vec<(String, String, usize)>,
    ) {
        for (name, value) in table {
            let name = format!("{prefix}{}", name.as_ref());
            let text = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.flatten(key, &format!("{name}."), inner, out);
                    continue;
                }
                DeValue::Integer(i) => Some(i.to_string()),
                DeValue::Boolean(b) => Some(b.to_string()),
                _ => self.text_of(key, value),
            };
            out.extend(text.map(|text| (name, text, value.span().start)));
        }
    }

    fn as_table(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Option<&'a DeTable<'a>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let kind = value.get_ref().type_str();
            self.source.wrong(value.span().start, format!("`{name}` must be a table, not {}", a(kind)), None);
        }
        table
    }

    /// Fills in a text value, noting what is wrong with it.
    fn text_of(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let offset = value.span().start;
        let DeValue::String(text) = value.get_ref() else {
            let kind = value.get_ref().type_str();
            self.source.wrong(offset, format!("`{key}` must be text in quotes, not {}", a(kind)), None);
            return None;
        };
        match self.source.variables.fill(text) {
            Ok(filled) => Some(filled),
            Err(why) => {
                let hint = why.contains("is not set").then(|| {
                    "set it in the environment or in a file given by --env-file, or write a default: ${NAME:-default}"
                        .to_owned()
                });
                self.source.wrong(offset, why, hint);
                None
            }
        }
    }

    fn within<T: PartialOrd>(
        &self,
        key: &str,
        value: T,
        bounds: &RangeInclusive<T>,
        low: &str,
        high: &str,
    ) -> Option<T> {
        if bounds.contains(&value) {
            return Some(value);
        }
        let shown = self.shown(key);
        self.wrong(key, format!("`{key}` must be from {low} to {high}, not {shown}"), None);
        None
    }

    /// The value as it stands in the file: what a variable holds is never shown.
    pub(super) fn shown(&self, key: &str) -> String {
        let text = self.find(key).and_then(|v| self.source.text.get(v.span())).unwrap_or_default();
        match text.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        }
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(name, _)| name.as_ref() == key).map(|(_, value)| value)
    }
}

/// `a, b and c`, each in backticks.
pub(super) fn join<'t>(words: impl Iterator<Item = &'t str>) -> String {
    let words: Vec<String> = words.map(|w| format!("`{w}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {kind}")
}
