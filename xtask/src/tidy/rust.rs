//! Rules for Rust files: a header, a bounded length, reasons for what may panic or be skipped, a pure core.
//!
//! **In** path, text, and whether the file holds tests only. **Out** breaches. **Invariant:** inline `#[cfg(test)]` modules count as
//! tests; comments and text in them never break a rule about code. **Not here:** what clippy sees.

use std::collections::{BTreeMap, BTreeSet};

use super::Breach;

/// A file's hard limit outside tests; style.md's usual most is 390.
const LINES_MAX: usize = 500;

/// What the core may not name: clocks, sockets, threads and the environment come in as arguments.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "jiff::Zoned::now",
    "Timestamp::now",
];

/// Returns the files that are only compiled for tests: by folder, by name, or because their parent says `#[cfg(test)] mod …;`.
pub(super) fn test_files(files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let named = path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("fuzz/");
        if named {
            tests.insert(path.clone());
        }
        let stem = path.trim_end_matches(".rs");
        let root = ["lib", "main"].iter().any(|r| stem.ends_with(&format!("/{r}")));
        let folder = if root { stem.rsplit_once('/').map_or("", |(folder, _)| folder) } else { stem };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            if let Some(name) = pair[1].strip_suffix(';').and_then(|l| l.split("mod ").nth(1)) {
                tests.insert(format!("{folder}/{name}.rs"));
            }
        }
    }
    tests
}

pub(super) fn check(path: &str, text: &str, tests_only: bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(Breach::at(
            0,
            "the file opens with `//!`: what comes in, what goes out, what must stay true",
        ));
    }
    let lines: Vec<&str> = text.lines().collect();
    let in_tests = if tests_only { vec![true; lines.len()] } else { test_lines(&lines) };
    let length = in_tests.iter().filter(|in_test| !**in_test).count();
    if length > LINES_MAX {
        breaches.push(Breach::at(LINES_MAX, format!("{length} lines; at most {LINES_MAX} outside tests")));
    }
    let core = path.starts_with("crates/windrow-core/src/");
    for (i, line) in lines.iter().enumerate() {
        let code = code(line);
        if code.trim() == "#[ignore]" {
            breaches.push(Breach::at(i, "`#[ignore]` needs a reason: `#[ignore = \"…\"]`"));
        }
        if in_tests[i] {
            continue;
        }
        // Names of calls in a text, no calls.
        if (code.contains(".unwrap()") || code.contains(".expect(")) && !reasoned(&lines, i) {
            breaches.push(Breach::at(i, "a comment on this line or above it says why this cannot panic"));
        }
        if let Some(name) = IMPURE.iter().find(|name| core && code.contains(*name)) {
            breaches.push(Breach::at(i, format!("the core is pure; {name} comes in as an argument")));
        }
    }
    breaches
}

/// Cuts off the comment. `//` inside a text (an address) stays.
fn code(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count().is_multiple_of(2));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// A comment beside the line, or directly above the statement that the line belongs to.
fn reasoned(lines: &[&str], at: usize) -> bool {
    if code(lines[at]).len() < lines[at].len() {
        return true;
    }
    // A chain's `.expect(` stands below its statement's first line.
    let above = lines[..at].iter().rev().map(|l| l.trim()).find(|l| !continues(l));
    let chained = lines[at].trim_start().starts_with('.');
    let direct = at.checked_sub(1).is_some_and(|i| remark(lines[i]));
    direct || (chained && above.is_some_and(remark))
}

/// A comment that is not documentation.
fn remark(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") && !line.starts_with("///") && !line.starts_with("//!")
}

fn continues(line: &str) -> bool {
    !line.starts_with("//") && !line.ends_with([';', '{', '}']) && !line.is_empty()
}

/// Marks the lines of inline `#[cfg(test)]` modules and items, up to the brace that closes them.
fn test_lines(lines: &[&str]) -> Vec<bool> {
    let mut marks = vec![false; lines.len()];
    let mut i = 0;
    while i < lines.len() {
        if lines[i].trim() != "#[cfg(test)]" {
            i += 1;
            continue;
        }
        let indent = lines[i].len() - lines[i].trim_start().len();
        // A block ends at its brace alone: texts in it may hold anything, at any indent.
        let block = lines.get(i + 1).is_some_and(|line| line.ends_with('{'));
        let end = (i + 1..lines.len())
            .find(|&j| match block {
                true => lines[j].trim_end() == format!("{}}}", &lines[i][..indent]),
                false => lines[j].ends_with([';', '}']),
            })
            .unwrap_or(lines.len() - 1);
        marks[i..=end].fill(true);
        i = end + 1;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<usize> {
        check(path, text, false).into_iter().map(|b| b.line).collect()
    }

    #[test]
    fn a_file_opens_with_its_contract() {
        assert_eq!(rules("a.rs", "fn a() {}\n"), [1]);
        assert!(rules("a.rs", "//! A.\nfn a() {}\n").is_empty());
    }

    #[test]
    fn a_long_file_breaks_the_rule_and_its_tests_do_not_count() {
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(500));
        assert_eq!(rules("a.rs", &long), [501]);
        let tested = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn a() {}\n".repeat(500));
        assert!(rules("a.rs", &tested).is_empty());
    }

    #[test]
    fn what_may_panic_has_a_reason() {
        assert_eq!(rules("a.rs", "//! A.\nlet a = b.unwrap();\n"), [2]);
        assert_eq!(rules("a.rs", "//! A.\nlet a = b\n    .expect(\"c\");\n"), [3]);
        for good in [
            "//! A.\nlet a = b.unwrap(); // b was just set\n",
            "//! A.\n// b was just set\nlet a = b.unwrap();\n",
            "//! A.\n// b was just set\nlet a = b\n    .c()\n    .expect(\"c\");\n",
            "//! A.\n// never .unwrap() here\n",
            "//! A.\n#[cfg(test)]\nmod tests {\n    fn a() { b.unwrap(); }\n}\n",
        ] {
            assert!(rules("a.rs", good).is_empty(), "{good}");
        }
    }

    #[test]
    fn code_after_the_tests_is_code_again() {
        assert_eq!(
            rules("a.rs", "//! A.\n#[cfg(test)]\nmod tests {\n    a();\n}\nfn b() { c.unwrap() }\n"),
            [6]
        );
        assert_eq!(rules("a.rs", "//! A.\n#[cfg(test)]\nmod tests;\nfn b() { c.unwrap() }\n"), [4]);
        let text = "//! A.\n#[cfg(test)]\nmod tests {\n    const A: &str = r\"\nx;\n\";\n    a.unwrap();\n}\nb.unwrap();\n";
        assert_eq!(rules("a.rs", text), [9]);
    }

    #[test]
    fn a_skipped_test_has_a_reason() {
        assert_eq!(rules("a.rs", "//! A.\n#[ignore]\n"), [2]);
        assert!(rules("a.rs", "//! A.\n#[ignore = \"needs a terminal\"]\n").is_empty());
    }

    #[test]
    fn the_core_has_no_clock_and_the_product_may() {
        let text = "//! A.\nuse std::time::Instant;\n";
        assert_eq!(rules("crates/windrow-core/src/a.rs", text), [2]);
        assert!(rules("crates/windrow/src/a.rs", text).is_empty());
        assert!(
            rules("crates/windrow-core/src/a.rs", "//! A.\nuse std::time::Duration; // not std::env\n")
                .is_empty()
        );
    }

    #[test]
    fn files_behind_cfg_test_are_tests() {
        let files = BTreeMap::from([
            ("a/src/b.rs".to_owned(), "#[cfg(test)]\npub(crate) mod c;\n".to_owned()),
            ("a/src/lib.rs".to_owned(), "#[cfg(test)]\nmod d;\n".to_owned()),
            ("a/tests/e.rs".to_owned(), String::new()),
        ]);
        let found: Vec<_> = test_files(&files).into_iter().collect();
        assert_eq!(found, ["a/src/b/c.rs", "a/src/d.rs", "a/tests/e.rs"]);
    }
}
