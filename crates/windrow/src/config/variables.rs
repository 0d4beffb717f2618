//! Variables: `${A}` inside the strings of a configuration, from the environment and from a `.env` file.
//!
//! **In** parsed strings (so a quote in a password does no harm). **Out** the same strings, filled in.
//! `${A}` · `${A:-default}` when unset or empty · nested `${A:-${B:-4}}` · `$$` for a dollar · any other `$` stands for itself.
//! **Invariant:** what a variable holds is never looked into again, and never printed.

use std::{collections::BTreeMap, fmt, path::Path};

use super::error::ConfigError;

/// Deepest nesting of defaults: no configuration needs more, and the parser recurses.
const DEPTH_MAX: usize = 16;

/// Names and what they stand for.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl Variables {
    /// Takes the variables of this process; those that are not UTF-8 are left out.
    pub fn from_process() -> Self {
        std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect()
    }

    /// Adds the variables of a `.env` file. Those already known stay as they are: the environment wins.
    ///
    /// - **Errors:** the file cannot be read, or a line is not `NAME=value`; values are not shown.
    pub fn with_file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::whole(&name, format!("cannot be read: {e}")))?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = env_line(line) else {
                let mut error = ConfigError::whole(&name, "a line must be `NAME=value`");
                (error.line, error.column) = (index + 1, 1);
                return Err(error);
            };
            self.0.entry(key.to_owned()).or_insert(value);
        }
        Ok(self)
    }

    /// Fills in a string.
    ///
    /// - **Errors:** a sentence that names the variable that is missing, or says what is malformed.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        let (filled, rest) = self.fill_until(text, false, 0)?;
        debug_assert!(rest.is_empty());
        Ok(filled)
    }

    /// Fills in up to the end, or up to the brace that closes a default; returns what is behind it.
    fn fill_until<'t>(&self, text: &'t str, nested: bool, depth: usize) -> Result<(String, &'t str), String> {
        if depth > DEPTH_MAX {
            return Err(format!("defaults may nest at most {DEPTH_MAX} deep"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '}']) {
            out.push_str(&rest[..at]);
            let found = &rest[at..];
            if let Some(behind) = found.strip_prefix("$$") {
                out.push('$');
                rest = behind;
            } else if let Some(inside) = found.strip_prefix("${") {
                let (value, behind) = self.one(inside, depth)?;
                out.push_str(&value);
                rest = behind;
            } else if nested && found.starts_with('}') {
                return Ok((out, &found[1..]));
            } else {
                out.push_str(&found[..1]);
                rest = &found[1..];
            }
        }
        if nested {
            return Err("`${` is not closed by `}`; write `$$` for a dollar sign".to_owned());
        }
        out.push_str(rest);
        Ok((out, ""))
    }

    /// One variable, from behind `${` to behind its `}`.
    fn one<'t>(&self, inside: &'t str, depth: usize) -> Result<(String, &'t str), String> {
        let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
        let (name, behind) = inside.split_at(end);
        if name.is_empty() {
            return Err("a variable's name must stand behind `${`; write `$$` for a dollar sign".to_owned());
        }
        let value = self.0.get(name);
        if let Some(behind) = behind.strip_prefix(":-") {
            let (default, behind) = self.fill_default(value, behind, depth)?;
            return Ok((default, behind));
        }
        let Some(behind) = behind.strip_prefix('}') else {
            return Err(format!("`}}` or `:-` must follow `${{{name}`"));
        };
        match value {
            Some(value) => Ok((value.clone(), behind)),
            None => Err(format!("variable `{name}` is not set")),
        }
    }

    /// A default is read even when it is not used, but then what is missing in it does not matter.
    fn fill_default<'t>(
        &self,
        value: Option<&String>,
        behind: &'t str,
        depth: usize,
    ) -> Result<(String, &'t str), String> {
        match value.filter(|v| !v.is_empty()) {
            Some(value) => Ok((value.clone(), skip_default(behind)?)),
            None => self.fill_until(behind, true, depth + 1),
        }
    }
}

/// Finds the end of a default that is not needed.
fn skip_default(text: &str) -> Result<&str, String> {
    let mut depth = 1;
    let mut rest = text;
    while let Some(at) = rest.find(['$', '}']) {
        let found = &rest[at..];
        if let Some(behind) = found.strip_prefix('}') {
            depth -= 1;
            if depth == 0 {
                return Ok(behind);
            }
            rest = behind;
        } else if let Some(behind) = found.strip_prefix("${") {
            depth += 1;
            rest = behind;
        } else {
            rest = found.strip_prefix("$$").unwrap_or(&found[1..]);
        }
    }
    Err("`${` is not closed by `}`; write `$$` for a dollar sign".to_owned())
}

/// `NAME=value`, `export NAME="value"`, `NAME='value'`, `NAME=value # comment`.
fn env_line(line: &str) -> Option<(&str, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let value = match value.chars().next() {
        Some('\'') => value[1..].split_once('\'')?.0.to_owned(),
        Some('"') => double_quoted(&value[1..])?,
        _ => value.split_once(" #").map_or(value, |(v, _)| v.trim_end()).to_owned(),
    };
    Some((name, value))
}

fn double_quoted(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_filled_in() {
        let vars: Variables =
            [("A", "1"), ("EMPTY", ""), ("Q", "say \"${A}\""), ("B", "b")].into_iter().collect();
        for (text, want) in [
            ("plain", Ok("plain")),
            ("${A}", Ok("1")),
            ("x${A}y${B}", Ok("x1yb")),
            ("${EMPTY}", Ok("")),
            ("${EMPTY:-d}", Ok("d")),
            ("${NOPE:-d}", Ok("d")),
            ("${NOPE:-}", Ok("")),
            ("${NOPE:-${NOR:-4}}", Ok("4")),
            ("${NOPE:-<${B}>}", Ok("<b>")),
            ("${A:-${NOPE}}", Ok("1")),
            ("${A:-$${}}", Ok("1}")),
            ("$$", Ok("$")),
            ("$${A}", Ok("${A}")),
            ("^prod$", Ok("^prod$")),
            ("a$b}", Ok("a$b}")),
            ("${Q}", Ok("say \"${A}\"")),
            ("${NOPE}", Err("variable `NOPE` is not set")),
            ("${NOPE:-${NOR}}", Err("variable `NOR` is not set")),
            ("${A", Err("`}` or `:-` must follow `${A`")),
            ("${A:-x", Err("`${` is not closed by `}`; write `$$` for a dollar sign")),
            ("${}", Err("a variable's name must stand behind `${`; write `$$` for a dollar sign")),
        ] {
            assert_eq!(vars.fill(text).as_deref(), want.map_err(str::to_owned).as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn a_deep_default_is_refused() {
        let text = "${X:-".repeat(1_000) + &"}".repeat(1_000);
        assert!(Variables::default().fill(&text).unwrap_err().contains("at most 16 deep"));
    }

    #[test]
    fn env_lines_are_read() {
        for (line, want) in [
            ("A=1", Some(("A", "1"))),
            ("export A = x y ", Some(("A", "x y"))),
            ("A='a $b # c' # d", Some(("A", "a $b # c"))),
            ("A=\"a\\n\\\"b\\\"\"", Some(("A", "a\n\"b\""))),
            ("A=b # c", Some(("A", "b"))),
            ("A=", Some(("A", ""))),
            ("A", None),
            ("A B=1", None),
            ("A='open", None),
        ] {
            assert_eq!(env_line(line), want.map(|(k, v)| (k, v.to_owned())), "{line}");
        }
    }

    #[test]
    fn debug_shows_names_alone() {
        let vars: Variables = [("PASSWORD", "hunter2")].into_iter().collect();
        assert_eq!(format!("{vars:?}"), "{\"PASSWORD\"}");
    }
}
