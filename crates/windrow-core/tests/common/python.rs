//! Python packages for tests: each list in a folder of its own below `target/`, fetched at the first run.
//!
//! **In** pinned packages. **Out** a folder for `PYTHONPATH`, or a failure that says what to install.
//! **Invariant:** a folder appears whole or not at all, whoever makes it.
//! **Not here:** the scripts that need them (one test each).

use std::{path::PathBuf, process::Command};

/// Installs packages, once.
pub(crate) fn packages(pinned: &[&str]) -> PathBuf {
    let name = pinned.join("+").replace("==", "-").replace(['[', ']', ','], "_");
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !home.exists() {
        let part = home.with_extension(format!("part{}", std::process::id()));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--target"])
            .arg(&part)
            .args(pinned);
        let output =
            pip.output().expect("python3 does not start; install it: apt-get install -y python3 python3-pip");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let list = pinned.join(" ");
        assert!(
            output.status.success(),
            "{list} is needed, and `python3 -m pip install {list}` failed:\n{told}"
        );
        // Whoever was first may have won.
        if std::fs::rename(&part, &home).is_err() {
            let _ = std::fs::remove_dir_all(&part);
        }
    }
    home
}
