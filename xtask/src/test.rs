//! `cargo xtask test`: every check and every test, on real parts, with one line of truth at the end.
//!
//! **In** nothing but the repository and the package clients. **Out** the runners' own lines as they come, a table of suites with their
//! times, and the last line `N passed, N failed`. **Invariant:** a suite that cannot run is a failure, never a skip; a suite that
//! dies without a closing line counts as one failure; each suite has a deadline. **Not here:** how lines become counts
//! (`count`), how a program runs (`suite`), what must be on the machine (`needs`).
//!
//! Order: cheap checks first; `clippy` and `doc` share one build, all tests share the other.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{deps, flights, kafka::Running, root, target, tidy};

mod count;
mod needs;
mod socketio;
mod suite;

use count::Count;

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only these suites (default: all, in the order that `--list` shows)
    suites: Vec<String>,
    /// Show the suites and leave
    #[arg(long)]
    list: bool,
    /// Install missing system packages (as `CI=true` does); without it the one command to run is printed
    #[arg(long)]
    install: bool,
    /// Let the browser suite take README's picture anew (docs/dashboard.png)
    #[arg(long)]
    screenshot: bool,
}

/// One suite: a name, what it needs on the machine, how long it may take, and how it runs.
struct Suite {
    name: &'static str,
    about: &'static str,
    needs: &'static [&'static str],
    deadline: Duration,
    run: fn(&Bench, Duration) -> Result<Count>,
}

const MINUTE: Duration = Duration::from_secs(60);

const SUITES: &[Suite] = &[
    Suite { name: "fmt", about: "rustfmt", needs: &[], deadline: MINUTE, run: fmt },
    Suite {
        name: "tidy",
        about: "house rules that clippy cannot check",
        needs: &["git"],
        deadline: MINUTE,
        run: tidy_,
    },
    Suite { name: "deny", about: "licences, bans, sources", needs: &[], deadline: MINUTE, run: deny },
    Suite {
        name: "clippy",
        about: "clippy on all targets and those of fuzzing, warnings are errors",
        needs: &["cc", "make", "perl"],
        deadline: MINUTE.saturating_mul(12),
        run: clippy,
    },
    Suite {
        name: "doc",
        about: "rustdoc, warnings are errors",
        needs: &["cc", "make", "perl"],
        deadline: MINUTE.saturating_mul(8),
        run: doc,
    },
    Suite {
        name: "rust",
        about: "unit, property and integration tests, on the embedded log and on a real Kafka",
        needs: &["cc", "make", "perl", "java", "mvn", "python3"],
        deadline: MINUTE.saturating_mul(25),
        run: rust,
    },
    Suite {
        name: "browser",
        about: "the dashboard's modules in node; the dashboard, WebSocket and EventSource in Chromium",
        needs: &["cc", "make", "perl", "node", "npm", "chromium"],
        deadline: MINUTE.saturating_mul(12),
        run: browser,
    },
    Suite {
        name: "socketio",
        about: "real Socket.IO clients of six generations, and both protocols on the bare wire",
        needs: &["cc", "make", "perl", "node", "npm", "chromium", "python3"],
        deadline: MINUTE.saturating_mul(12),
        run: socketio::run,
    },
];

/// What suites share.
struct Bench {
    root: PathBuf,
    screenshot: bool,
}

/// Runs the suites and prints the verdict; an error means that something failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        SUITES.iter().for_each(|s| println!("{:8} {}", s.name, s.about));
        return Ok(());
    }
    let chosen = choose(&args.suites)?;
    let install = args.install || std::env::var("CI").is_ok_and(|v| v == "true" || v == "1");
    needs::ensure(chosen.iter().flat_map(|s| s.needs), install)?;

    let bench = Bench { root: root(), screenshot: args.screenshot };
    let mut table = Vec::new();
    for suite in chosen {
        println!("\n==> {}: {}", suite.name, suite.about);
        let begun = Instant::now();
        let count = (suite.run)(&bench, suite.deadline).unwrap_or_else(|error| {
            println!("{}: {error:#}", suite.name);
            Count::broken()
        });
        table.push((suite.name, begun.elapsed(), count));
    }
    verdict(&table)
}

fn choose(names: &[String]) -> Result<Vec<&'static Suite>> {
    for name in names {
        ensure!(
            SUITES.iter().any(|s| s.name == *name),
            "there is no suite {name}; `cargo xtask test --list` shows them"
        );
    }
    Ok(SUITES.iter().filter(|s| names.is_empty() || names.iter().any(|n| n == s.name)).collect())
}

fn verdict(table: &[(&str, Duration, Count)]) -> Result<()> {
    println!("\nsuite       seconds  passed  failed  ignored");
    let mut sum = Count::default();
    for (name, took, count) in table {
        println!(
            "{name:10} {:>8.0} {:>7} {:>7} {:>8}",
            took.as_secs_f64(),
            count.passed,
            count.failed,
            count.ignored
        );
        sum += *count;
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed > 0 {
        bail!("some tests failed");
    }
    Ok(())
}

impl Bench {
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments).current_dir(&self.root);
        cargo
    }
}

fn fmt(bench: &Bench, deadline: Duration) -> Result<Count> {
    suite::check(&mut bench.cargo(&["fmt", "--all", "--check"]), deadline)
}

fn tidy_(bench: &Bench, _: Duration) -> Result<Count> {
    tidy::run(&bench.root)?;
    Ok(Count::ok())
}

/// With `cargo-deny` on the machine, all of `deny.toml`; without it, its licences, bans and sources by our own reading of it.
fn deny(bench: &Bench, deadline: Duration) -> Result<Count> {
    if needs::answers("cargo-deny", "--version") {
        return suite::check(&mut bench.cargo(&["deny", "check", "licenses", "bans", "sources"]), deadline);
    }
    deps::check(&bench.root)?;
    Ok(Count::ok())
}

fn clippy(bench: &Bench, deadline: Duration) -> Result<Count> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    suite::check(&mut bench.cargo(&arguments), deadline)?;
    let arguments = ["clippy", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--", "-D", "warnings"];
    let mut fuzz = bench.cargo(&arguments);
    // Nothing is linked, so that the library, which is C++, need not be built.
    fuzz.env("CUSTOM_LIBFUZZER_PATH", "nowhere/libfuzzer.a").env("CARGO_TARGET_DIR", target(&bench.root));
    suite::check(&mut fuzz, deadline)
}

fn doc(bench: &Bench, deadline: Duration) -> Result<Count> {
    let mut cargo = bench.cargo(&["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
    suite::check(cargo.env("RUSTDOCFLAGS", "-D warnings"), deadline)
}

fn rust(bench: &Bench, deadline: Duration) -> Result<Count> {
    // Compiled before Kafka starts: a broker that starves on two busy cores while it starts is no test of ours.
    suite::check(&mut bench.cargo(&["test", "--workspace", "--locked", "--no-run"]), deadline)?;
    let flights = flights::table()?;
    let kafka = Running::start()?;
    let mut cargo = bench.cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    cargo.env("WINDROW_TEST_KAFKA", &kafka.address).env("WINDROW_TEST_FLIGHTS", flights);
    suite::tests(&mut cargo, deadline)
}

fn browser(bench: &Bench, deadline: Duration) -> Result<Count> {
    let folder = bench.root.join("tests/browser");
    suite::check(
        Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder),
        5 * MINUTE,
    )?;
    suite::check(&mut bench.cargo(&["build", "--workspace", "--locked"]), deadline)?;
    let binary = target(&bench.root).join("debug/windrow");
    let mut node = Command::new(needs::node(&target(&bench.root))?);
    node.args(["--test", "--test-reporter=spec"]).args(test_files(&folder)?).current_dir(&folder);
    node.env("WINDROW_BIN", binary).env("WINDROW_CHROMIUM", needs::chromium()?);
    if bench.screenshot {
        node.env("WINDROW_SCREENSHOT", "1");
    }
    suite::tests(&mut node, deadline)
}

fn test_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} is missing", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no *.test.mjs", folder.display());
    Ok(files)
}
