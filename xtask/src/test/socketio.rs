//! The suite `socketio`: real Socket.IO clients of many ages, and both protocols on the bare wire, against the real program.
//!
//! **In** `tests/socketio`, npm and pip. **Out** a [`Count`]. **Invariant:** each Python client has a folder of its own below
//! `target/socketio`, made whole or not at all, and made anew when its list of versions changes. **Not here:** what is expected of
//! the clients (`tests/socketio/features.mjs`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Bench, Count, MINUTE, needs, suite, test_files};
use crate::target;

/// Generations of python-socketio, and the version that an original speaks with, each with its list of versions, `python-N.txt`.
const PYTHONS: [&str; 3] = ["4", "5", "5.7"];
const FETCH: Duration = MINUTE.saturating_mul(5);

pub(super) fn run(bench: &Bench, deadline: Duration) -> Result<Count> {
    let folder = bench.root.join("tests/socketio");
    // The page in Chromium is driven by the other suite's driver.
    for packages in [&folder, &bench.root.join("tests/browser")] {
        suite::check(
            Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(packages),
            FETCH,
        )?;
    }
    suite::check(&mut bench.cargo(&["build", "--workspace", "--locked"]), deadline)?;
    let target = target(&bench.root);
    let mut node = Command::new(needs::node(&target)?);
    node.args(["--test", "--test-reporter=spec"]).args(test_files(&folder)?).current_dir(&folder);
    node.env("WINDROW_BIN", target.join("debug/windrow")).env("WINDROW_CHROMIUM", needs::chromium()?);
    for generation in PYTHONS {
        let packages = python(&folder, &target, generation)?;
        node.env(format!("WINDROW_PYTHON_SOCKETIO_{generation}"), packages);
    }
    suite::tests(&mut node, deadline)
}

/// Returns the folder that holds what `python-N.txt` lists, fetching it at the first call.
fn python(folder: &Path, target: &Path, generation: &str) -> Result<PathBuf> {
    let list = folder.join(format!("python-{generation}.txt"));
    let wanted = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let packages = target.join(format!("socketio/python-{generation}"));
    let stamp = packages.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(packages);
    }
    let part = packages.with_extension("part");
    for old in [&packages, &part] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "-q", "--no-deps", "--root-user-action=ignore", "--target"]);
    suite::check(pip.arg(&part).arg("-r").arg(&list), FETCH)?;
    fs::write(part.join("installed.txt"), wanted)?;
    fs::rename(&part, &packages)?;
    Ok(packages)
}
