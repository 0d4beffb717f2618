//! Rules for `docs/GUARANTEES.md`: every promise names a test, and the test is there.
//!
//! **In** the page and all files. **Out** breaches. A test is named by a link, `[file::name](path)`: the file without `.rs` (or its
//! folder, where it is called `tests` or `main`) and the function. A script is named by a link to it.
//!
//! **Invariant:** a function that nobody runs is no test. **Not here:** whether links lead somewhere at all (`links`).

use std::collections::BTreeMap;

use super::{Breach, links};

pub(super) const PAGE: &str = "docs/GUARANTEES.md";

/// Where scripts are.
const SCRIPTS: &str = "crates/windrow-core/testdata/";

pub(super) fn check(text: &str, files: &BTreeMap<String, String>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let lines: Vec<_> = links::prose(text).collect();
    for (at, (i, line)) in lines.iter().enumerate() {
        let mut proofs = 0;
        for (name, target) in named(line) {
            let file = links::resolve(PAGE, target);
            if let Some((stem, test)) = name.split_once("::") {
                proofs += 1;
                if stem != called(&file) || !is_run(&file, test, files) {
                    breaches.push(Breach::at(*i, format!("there is no such test: {name} in {file}")));
                }
            } else if file.starts_with(SCRIPTS) {
                proofs += 1;
            }
        }
        let is_head = lines.get(at + 1).is_some_and(|(_, next)| is_rule(next));
        if line.starts_with('|') && !is_rule(line) && !is_head && proofs == 0 {
            breaches.push(Breach::at(
                *i,
                "a promise without a test; what is not proven goes to what does not hold",
            ));
        }
    }
    breaches
}

/// Text and target of each link.
fn named(line: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let name = line[..at].rsplit('[').next().unwrap_or_default();
        let target = line[at + 2..].split(')').next().unwrap_or_default();
        found.push((name.trim_matches('`'), target));
    }
    found
}

/// The line between a table's head and its body.
fn is_rule(line: &str) -> bool {
    line.starts_with("|-")
}

/// The name by which the page calls a file.
fn called(file: &str) -> &str {
    let mut parts = file.trim_end_matches(".rs").rsplit('/');
    let stem = parts.next().unwrap_or_default();
    if matches!(stem, "tests" | "main") { parts.next().unwrap_or_default() } else { stem }
}

/// Whether a function carries an attribute that makes it a test, or its room's list names it as a case.
fn is_run(file: &str, test: &str, files: &BTreeMap<String, String>) -> bool {
    let Some(text) = files.get(file) else { return false };
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    let declares =
        |line: &str| line.split_once("fn ").is_some_and(|(_, rest)| rest.starts_with(&format!("{test}(")));
    let Some(at) = lines.iter().position(|line| declares(line)) else {
        return false;
    };
    let above = || lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
    let is_test = above().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let is_left_out = above().any(|line| line.starts_with("#[ignore"));
    let case = format!("{}::{test},", called(file));
    is_test && !is_left_out || files.iter().any(|(name, text)| name.ends_with(".rs") && lists(text, &case))
}

/// Whether a list of cases has this one.
fn lists(text: &str, case: &str) -> bool {
    text.lines().any(|line| line.trim() == case)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "\
/// Says why.
#[test]
fn a_window_is_final_once() {}
    #[tokio::test(flavor = \"multi_thread\")]
    /// Says why.
    async fn it_waits() {}
#[test]
#[ignore = \"the other half\"]
fn it_is_a_half() {}
#[test]
fn another() {}
fn it_helps() {}
// #[test]
// fn it_was() {}
pub(crate) async fn on_both() {}
";

    fn rules(text: &str) -> Vec<String> {
        let files = [
            ("crates/w/tests/kills.rs", TESTS),
            ("crates/w/tests/chaos/main.rs", TESTS),
            ("crates/w/src/journal/tests.rs", TESTS),
            ("crates/w/tests/suite/groups.rs", TESTS),
            ("crates/w/tests/suite.rs", "on_both_logs! {\n    groups::on_both,\n}\n"),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        check(text, &files).into_iter().map(|b| format!("{} {}", b.line, b.rule)).collect()
    }

    #[test]
    fn a_promise_names_a_test_that_is_there_and_run() {
        for good in [
            "| holds | [`kills::a_window_is_final_once`](../crates/w/tests/kills.rs) |",
            "| holds | [kills::it_waits](../crates/w/tests/kills.rs) |",
            "| holds | [chaos::another](../crates/w/tests/chaos/main.rs) |",
            "| holds | [journal::another](../crates/w/src/journal/tests.rs) |",
            "| holds | [groups::on_both](../crates/w/tests/suite/groups.rs) |",
            "| holds | [jump](../crates/windrow-core/testdata/jump.txt) |",
            "| fault | test |\n|---|---|",
            "Words, and a [link](../README.md).",
            "```\n| a picture |\n```",
        ] {
            assert!(rules(good).is_empty(), "{good}: {:?}", rules(good));
        }
        for bad in [
            "[kills::it_was_renamed](../crates/w/tests/kills.rs)",
            "[kills::it_helps](../crates/w/tests/kills.rs)",
            "[kills::it_was](../crates/w/tests/kills.rs)",
            "[kills::it](../crates/w/tests/kills.rs)",
            "[kills::it_is_a_half](../crates/w/tests/kills.rs)",
            "[kills::on_both](../crates/w/tests/kills.rs)",
            "[kills::another](../crates/w/tests/gone.rs)",
            "[other::another](../crates/w/tests/kills.rs)",
            "[main::another](../crates/w/tests/chaos/main.rs)",
        ] {
            assert!(
                rules(bad).len() == 1 && rules(bad)[0].starts_with("1 there is no such test"),
                "{bad}: {:?}",
                rules(bad)
            );
        }
        let bare = rules("| fault | test |\n|---|---|\n| holds | trust us |");
        assert!(bare.len() == 1 && bare[0].starts_with("3 a promise without a test"), "{bare:?}");
    }
}
