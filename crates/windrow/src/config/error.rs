//! What is wrong with a configuration, and where.
//!
//! **In** byte offsets from the parser. **Out** [`ConfigError`]s with file, line and column, ready to print.
//! **Invariant:** values are shown as they stand in the file, never after substitution: no secret gets into a message.
//! **Not here:** what is right (`reader` and one file per table).

use std::{cell::RefCell, fmt, sync::Arc};

use super::variables::Variables;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// File name as the user gave it.
    pub file: Arc<str>,
    /// Line, from 1; 0 when the mistake has no place (a file that cannot be read).
    pub line: usize,
    /// Column in characters, from 1; 0 when the mistake has no place.
    pub column: usize,
    /// What is wrong: the rule and the value.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl ConfigError {
    /// Makes an error about the whole file.
    pub fn whole(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, message: message.into(), hint: None }
    }

    /// Adds a way out.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            _ => write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The text being read, and the mistakes found so far.
pub(super) struct Source<'a> {
    pub(super) name: Arc<str>,
    pub(super) text: &'a str,
    pub(super) variables: &'a Variables,
    wrong: RefCell<Vec<(usize, ConfigError)>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &str, text: &'a str, variables: &'a Variables) -> Self {
        Self { name: name.into(), text, variables, wrong: RefCell::default() }
    }

    /// Notes a mistake at a byte offset.
    pub(super) fn wrong(&self, offset: usize, message: impl Into<String>, hint: Option<String>) {
        let (line, column) = self.place(offset);
        let file = self.name.clone();
        let error = ConfigError { file, line, column, message: message.into(), hint };
        self.wrong.borrow_mut().push((offset, error));
    }

    /// Notes a mistake of another file, which is named at a byte offset here.
    pub(super) fn elsewhere(&self, offset: usize, error: ConfigError) {
        self.wrong.borrow_mut().push((offset, error));
    }

    /// Line and column of a byte offset, both from 1.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Returns all mistakes in the order of the file.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let mut wrong = self.wrong.into_inner();
        wrong.sort_by_key(|(offset, _)| *offset);
        wrong.into_iter().map(|(_, error)| error).collect()
    }
}
