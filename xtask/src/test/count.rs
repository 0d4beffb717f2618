//! Counts: what a test runner's closing lines say.
//!
//! **In** one line of a runner's output. **Out** the tests it reports as passed, failed, ignored. **Invariant:** only closing lines
//! count (`test result:` of libtest; `pass`, `fail`, `skipped`, `cancelled`, `todo` of node's runner), so nothing is counted twice.
//! **Not here:** running programs (`suite`).

use std::ops::AddAssign;

/// Tests by outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

impl Count {
    /// One check that holds.
    pub(super) fn ok() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One suite that could not tell.
    pub(super) fn broken() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// Reads one line of output; anything but a closing line is zero.
    pub(super) fn of_line(line: &str) -> Self {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test result: ") {
            return libtest(rest);
        }
        match line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# ")) {
            Some(rest) => node(rest),
            None => Self::default(),
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// `ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
fn libtest(rest: &str) -> Count {
    let mut count = Count::default();
    for part in rest.split([';', '.']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next())
        else {
            continue;
        };
        match what {
            "passed" => count.passed = number,
            "failed" => count.failed = number,
            "ignored" => count.ignored = number,
            _ => {}
        }
    }
    count
}

/// `pass 5`; a cancelled test is one that a deadline or a crash took, so it failed.
fn node(rest: &str) -> Count {
    let mut words = rest.split(' ');
    let (Some(what), Some(Ok(number)), None) = (words.next(), words.next().map(str::parse), words.next())
    else {
        return Count::default();
    };
    match what {
        "pass" => Count { passed: number, ..Count::default() },
        "fail" | "cancelled" => Count { failed: number, ..Count::default() },
        "skipped" | "todo" => Count { ignored: number, ..Count::default() },
        _ => Count::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, passed: u64, failed: u64, ignored: u64) {
        assert_eq!(Count::of_line(line), Count { passed, failed, ignored }, "{line}");
    }

    #[test]
    fn closing_lines_count_and_other_lines_do_not() {
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            12,
            0,
            1,
        );
        check("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", 4, 2, 0);
        check("test a::b ... ok", 0, 0, 0);
        check("ℹ pass 5", 5, 0, 0);
        check("ℹ fail 2", 0, 2, 0);
        check("# cancelled 1", 0, 1, 0);
        check("# skipped 3", 0, 0, 3);
        check("ℹ tests 7", 0, 0, 0);
        check("# pass the salt", 0, 0, 0);
    }
}
