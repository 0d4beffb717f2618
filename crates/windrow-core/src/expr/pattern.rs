//! Patterns: `LIKE`, `ILIKE` and regular expressions, compiled once.
//!
//! **Invariant:** matching takes time linear in the text; a compiled pattern stays below [`REGEX_MAX_BYTES`].

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};

/// Most memory that one compiled regular expression may take.
pub(crate) const REGEX_MAX_BYTES: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatternKind {
    Like,
    ILike,
    Regex,
    IRegex,
}

#[derive(Debug)]
pub(crate) struct Pattern {
    kind: PatternKind,
    /// The pattern as the user wrote it, escapes rewritten to `\`.
    source: Box<str>,
    matcher: Matcher,
}

#[derive(Debug)]
enum Matcher {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<Finder<'static>>),
    Regex(Regex),
}

/// A piece of a LIKE pattern.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    One,
    Many,
}

impl Pattern {
    /// Compiles `LIKE` or `ILIKE`.
    ///
    /// - **Errors:** a sentence, when the escape character is the last.
    pub(crate) fn like(source: &str, escape: Option<char>, insensitive: bool) -> Result<Self, String> {
        let pieces = pieces(source, escape)?;
        let kind = if insensitive { PatternKind::ILike } else { PatternKind::Like };
        let matcher = match pieces.as_slice() {
            _ if insensitive => like_regex(&pieces, true)?,
            [] => Matcher::Exact("".into()),
            [Piece::Text(t)] => Matcher::Exact(t.as_str().into()),
            [Piece::Text(t), Piece::Many] => Matcher::Prefix(t.as_str().into()),
            [Piece::Many, Piece::Text(t)] => Matcher::Suffix(t.as_str().into()),
            [Piece::Many, Piece::Text(t), Piece::Many] => {
                Matcher::Contains(Box::new(Finder::new(t).into_owned()))
            }
            pieces => like_regex(pieces, false)?,
        };
        Ok(Self { kind, source: canonical(&pieces).into(), matcher })
    }

    /// Compiles a regular expression.
    ///
    /// - **Errors:** a sentence, when it is malformed or too large.
    pub(crate) fn regex(source: &str, insensitive: bool) -> Result<Self, String> {
        let kind = if insensitive { PatternKind::IRegex } else { PatternKind::Regex };
        let matcher = Matcher::Regex(compile(source, insensitive)?);
        Ok(Self { kind, source: source.into(), matcher })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match &self.matcher {
            Matcher::Exact(t) => text == &**t,
            Matcher::Prefix(t) => text.starts_with(&**t),
            Matcher::Suffix(t) => text.ends_with(&**t),
            Matcher::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            PatternKind::Like => "like",
            PatternKind::ILike => "ilike",
            PatternKind::Regex => "regex",
            PatternKind::IRegex => "iregex",
        }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

fn pieces(source: &str, escape: Option<char>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            _ if Some(c) == escape => {
                chars.next().ok_or_else(|| format!("the LIKE pattern ends with its escape character {c}"))?
            }
            '%' => {
                if pieces.last() != Some(&Piece::Many) {
                    pieces.push(Piece::Many);
                }
                continue;
            }
            '_' => {
                pieces.push(Piece::One);
                continue;
            }
            c => c,
        };
        match pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(literal),
            _ => pieces.push(Piece::Text(literal.into())),
        }
    }
    Ok(pieces)
}

fn canonical(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::One => out.push('_'),
            Piece::Many => out.push('%'),
            Piece::Text(text) => {
                for c in text.chars() {
                    if matches!(c, '%' | '_' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
            }
        }
    }
    out
}

fn like_regex(pieces: &[Piece], insensitive: bool) -> Result<Matcher, String> {
    let mut source = String::from(r"(?s)\A");
    for piece in pieces {
        match piece {
            Piece::One => source.push('.'),
            Piece::Many => source.push_str(".*"),
            Piece::Text(text) => source.push_str(&regex::escape(text)),
        }
    }
    source.push_str(r"\z");
    compile(&source, insensitive).map(Matcher::Regex)
}

fn compile(source: &str, insensitive: bool) -> Result<Regex, String> {
    RegexBuilder::new(source)
        .case_insensitive(insensitive)
        .size_limit(REGEX_MAX_BYTES)
        .dfa_size_limit(REGEX_MAX_BYTES)
        .nest_limit(50)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the pattern takes more than {} KiB when compiled", REGEX_MAX_BYTES >> 10)
            }
            // The last line says what is wrong; the ones before draw it.
            other => {
                let text = other.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                format!("the pattern is not a regular expression: {reason}")
            }
        })
}
