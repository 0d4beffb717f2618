//! `cargo xtask tidy`: the house rules that rustfmt and clippy cannot check.
//!
//! **In** every file that git tracks or would track. **Out** nothing, or every breach as `file:line: rule`. **Invariant:** rules
//! are pure functions from path and text to breaches, tested on small strings. **Not here:** dependencies (`deps`).

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

mod guarantees;
mod links;
mod rust;
mod text;
mod web;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    /// Counted from 1.
    line: usize,
    rule: String,
}

impl Breach {
    fn at(index: usize, rule: impl Into<String>) -> Self {
        Self { line: index + 1, rule: rule.into() }
    }
}

/// Checks every file of the repository.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = files(root)?;
    let tests = rust::test_files(&files);
    let mut breaches = Vec::new();
    for (path, text) in &files {
        let mut found = text::check(path, text);
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("rs") => found.extend(rust::check(path, text, tests.contains(path))),
            Some("md") => found.extend(links::check(path, text, &files)),
            Some("js" | "mjs" | "css" | "html") => found.extend(web::check(path, text)),
            _ => {}
        }
        if path == guarantees::PAGE {
            found.extend(guarantees::check(text, &files));
        }
        breaches.extend(found.into_iter().map(|b| format!("{path}:{}: {}", b.line, b.rule)));
    }
    if breaches.is_empty() {
        println!("tidy: {} files keep the rules", files.len());
        return Ok(());
    }
    breaches.iter().for_each(|b| println!("{b}"));
    bail!("{} breaches of the house rules", breaches.len())
}

/// Returns path and text of every file, with `/` between folders; a file that is not UTF-8 (a picture) has empty text.
fn files(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().context("git does not start")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let mut files = BTreeMap::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // Tracked, but deleted and not yet committed.
        let Ok(bytes) = std::fs::read(root.join(name)) else { continue };
        files.insert(name.to_owned(), String::from_utf8(bytes).unwrap_or_default());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_read_through_git() {
        let files = files(&crate::root()).expect("git answers");
        assert!(files.contains_key("xtask/src/tidy.rs"), "this file is missing");
        assert!(files.keys().all(|name| !name.starts_with("target/")), "target is not ours");
    }
}
