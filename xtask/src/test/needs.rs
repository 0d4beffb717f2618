//! Needs: the programs a suite runs on, found or installed.
//!
//! **In** names of needs. **Out** nothing, or an error that holds the one command to run. **Invariant:** system packages are
//! installed only when asked (`--install`, `CI=true`). **Not here:** other user-level packages (npm, pip, Maven), which suites
//! fetch themselves below `target/` and `node_modules/`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

/// A need: programs of which one must answer `version`, and the Debian packages that bring it.
struct Need {
    name: &'static str,
    programs: &'static [&'static str],
    version: &'static str,
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need { name: "git", programs: &["git"], version: "--version", packages: &["git"] },
    Need { name: "cc", programs: &["cc"], version: "--version", packages: &["build-essential"] },
    // OpenSSL is built from source: by make, and by a perl with its usual modules, which a bare Debian lacks.
    Need { name: "make", programs: &["make"], version: "--version", packages: &["build-essential"] },
    Need { name: "perl", programs: &["perl"], version: "-MIPC::Cmd", packages: &["perl"] },
    Need { name: "java", programs: &["java"], version: "-version", packages: &["default-jre-headless"] },
    Need { name: "mvn", programs: &["mvn"], version: "--version", packages: &["maven"] },
    Need {
        name: "python3",
        programs: &["python3"],
        version: "--version",
        packages: &["python3", "python3-pip"],
    },
    Need { name: "node", programs: &["node"], version: "--version", packages: &["nodejs"] },
    Need { name: "npm", programs: &["npm"], version: "--version", packages: &["npm"] },
    Need { name: "chromium", programs: CHROMIUM, version: "--version", packages: &["chromium"] },
];

const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Makes sure that everything named is there, installing it if `install`.
pub(super) fn ensure<'a>(names: impl Iterator<Item = &'a &'static str>, install: bool) -> Result<()> {
    let names: Vec<_> = names.collect();
    let wanted = || NEEDS.iter().filter(|need| names.iter().any(|name| **name == need.name));
    let packages: Vec<_> = wanted().filter(|n| !n.met()).flat_map(|n| n.packages).copied().collect();
    if packages.is_empty() {
        return Ok(());
    }
    ensure!(
        install,
        "programs are missing; install them with\n\n    sudo apt-get install -y {}\n\nor run `cargo xtask test --install`",
        packages.join(" ")
    );
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq"], packages.as_slice()].concat())?;
    match wanted().find(|need| !need.met()) {
        Some(need) => {
            bail!(
                "{} is missing, or older than needed, also after installing {}",
                need.name,
                need.packages.join(" ")
            )
        }
        None => Ok(()),
    }
}

/// Returns the Chromium to drive.
pub(super) fn chromium() -> Result<String> {
    let found =
        CHROMIUM.iter().find(|program| answers(program, "--version")).context("there is no chromium")?;
    let which = Command::new("sh").args(["-c", &format!("command -v {found}")]).output()?;
    Ok(String::from_utf8_lossy(&which.stdout).trim().to_owned())
}

/// The browser tests move time by hand with node's own mock timers.
const NODE_MIN: u32 = 20;

/// Returns a node that is new enough: the machine's, or one that npm brings into `target/node`.
pub(super) fn node(target: &Path) -> Result<PathBuf> {
    let home = target.join("node");
    let own = home.join("node_modules/.bin/node");
    if let Some(found) = [PathBuf::from("node"), own.clone()].into_iter().find(|program| node_is_new(program))
    {
        return Ok(found);
    }
    std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "node@22", "--prefix"]).arg(&home).stdin(Stdio::null());
    let status = npm.status().context("npm does not start")?;
    ensure!(status.success() && node_is_new(&own), "npm did not bring node {NODE_MIN} or newer: {status}");
    Ok(own)
}

fn node_is_new(program: &Path) -> bool {
    let version = Command::new(program).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= NODE_MIN)
}

/// Tells whether the program runs and answers.
pub(super) fn answers(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Need {
    fn met(&self) -> bool {
        self.programs.iter().any(|program| answers(program, self.version))
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        command.args(["-n", "apt-get"]);
    }
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    println!("$ apt-get {}", arguments.join(" "));
    let status = command.status().context("apt-get does not start")?;
    ensure!(status.success(), "apt-get {} ended with {status}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_names_needs_that_exist() {
        for name in super::super::SUITES.iter().flat_map(|suite| suite.needs) {
            assert!(NEEDS.iter().any(|need| need.name == *name), "{name}");
        }
    }
}
