//! Dependencies: what the dependency graph may hold. Reads `deny.toml`, so that machines without `cargo-deny` keep its rules too.
//!
//! **In** `cargo metadata` and `deny.toml`. **Out** nothing, or every breach. **Invariant:** each package's licence expression is
//! satisfied by the allow list; every package comes from the registry; `windrow-core` reaches no runtime, network or storage.
//! **Not here:** advisories, which need a database from the network: `cargo deny check advisories`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// What `windrow-core` must never reach: whoever adds one of these gave the core a clock, a socket, a task or a disk.
const IMPURE: &[&str] = &[
    "async-std",
    "axum",
    "fjall",
    "futures-executor",
    "hyper",
    "kafka-protocol",
    "lsm-tree",
    "mio",
    "polling",
    "rdkafka",
    "rdkafka-sys",
    "rocksdb",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tungstenite",
    "ureq",
];

/// Checks licences, sources and the purity of the core.
pub(crate) fn check(root: &Path) -> Result<()> {
    let graph = Graph::read(root)?;
    let text = std::fs::read_to_string(root.join("deny.toml")).context("deny.toml")?;
    let deny: toml::Table = text.parse().context("deny.toml")?;
    let allow = words(&deny, "licenses", "allow");
    let banned: BTreeSet<String> = deny
        .get("bans")
        .and_then(|t| t.get("deny"))
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("crate")?.as_str().map(str::to_owned))
        .collect();

    let mut breaches = graph.licences(&allow);
    breaches.extend(graph.sources());
    breaches
        .extend(graph.names().filter(|n| banned.contains(*n)).map(|n| format!("{n} is banned by deny.toml")));
    breaches.extend(graph.impurities());
    if breaches.is_empty() {
        println!("{} packages: licences, bans and sources are as deny.toml wants them", graph.packages.len());
        return Ok(());
    }
    bail!("dependencies break rules:\n  {}", breaches.join("\n  "));
}

fn words(table: &toml::Table, section: &str, key: &str) -> BTreeSet<String> {
    let list = table.get(section).and_then(|t| t.get(key)).and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

struct Package {
    name: String,
    licence: Option<String>,
    source: Option<String>,
}

struct Graph {
    packages: BTreeMap<String, Package>,
    /// Normal and build dependencies, by package id; tests may use what they like.
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read(root: &Path) -> Result<Self> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let output = cargo.args(["metadata", "--format-version=1", "--locked"]).current_dir(root).output()?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let mut packages = BTreeMap::new();
        for package in metadata["packages"].as_array().context("metadata has no packages")? {
            let id = text(&package["id"]).context("a package has no id")?;
            let name = text(&package["name"]).context("a package has no name")?;
            packages.insert(
                id,
                Package { name, licence: text(&package["license"]), source: text(&package["source"]) },
            );
        }
        let mut edges = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().context("metadata has no graph")? {
            let deps = node["deps"].as_array().into_iter().flatten();
            let shipped = deps.filter(|dep| {
                dep["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"] != "dev")
            });
            let ids = shipped.filter_map(|dep| text(&dep["pkg"])).collect();
            edges.insert(text(&node["id"]).context("a node has no id")?, ids);
        }
        Ok(Self { packages, edges })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.values().map(|package| package.name.as_str())
    }

    fn licences(&self, allow: &BTreeSet<String>) -> Vec<String> {
        let bad = self.packages.values().filter_map(|package| match &package.licence {
            None => Some(format!("{} names no licence", package.name)),
            Some(l) if allowed(l, allow) => None,
            Some(l) => Some(format!("{} is under {l}, which deny.toml does not allow", package.name)),
        });
        bad.collect()
    }

    fn sources(&self) -> Vec<String> {
        let foreign = self.packages.values().filter_map(|package| match &package.source {
            None => None, // of this workspace
            Some(source) if source.starts_with("registry+") => None,
            Some(source) => Some(format!("{} comes from {source}, not from the registry", package.name)),
        });
        foreign.collect()
    }

    fn impurities(&self) -> Vec<String> {
        let Some((start, _)) = self.packages.iter().find(|(_, p)| p.name == "windrow-core") else {
            return vec!["there is no windrow-core".to_owned()];
        };
        let mut seen = BTreeSet::from([start]);
        let mut queue = vec![start];
        while let Some(id) = queue.pop() {
            let next = self.edges.get(id).into_iter().flatten();
            queue.extend(next.filter(|id| seen.insert(id)));
        }
        let names = seen.iter().filter_map(|id| self.packages.get(*id)).map(|p| p.name.as_str());
        names
            .filter(|n| IMPURE.contains(n))
            .map(|n| format!("windrow-core reaches {n}; it must stay pure"))
            .collect()
    }
}

/// Tells whether an SPDX expression is satisfied by the allowed licences. `/` is the old way to write OR.
fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let holds = any(&mut rest, allow);
    holds && rest.is_empty()
}

fn any(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let mut holds = all(rest, allow);
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        holds |= all(rest, allow);
    }
    holds
}

fn all(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let mut holds = one(rest, allow);
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        holds &= one(rest, allow);
    }
    holds
}

fn one(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let Some((first, mut tail)) = rest.split_first() else { return false };
    if *first == "(" {
        let holds = any(&mut tail, allow);
        let closed = tail.first() == Some(&")");
        *rest = tail.get(1..).unwrap_or_default();
        return holds && closed;
    }
    let mut name = (*first).to_owned();
    if let ["WITH", exception, after @ ..] = tail {
        name = format!("{name} WITH {exception}");
        tail = after;
    }
    *rest = tail;
    allow.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_holds_when_the_allowed_licences_satisfy_it() {
        let allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Unlicense",
            "MIT AND (Zlib OR Apache-2.0)",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(allowed(good, &allow), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT)", "", "GPL-2.0 WITH LLVM-exception"] {
            assert!(!allowed(bad, &allow), "{bad}");
        }
    }

    #[test]
    fn the_core_pulls_in_no_runtime_network_or_storage() {
        let graph = Graph::read(&crate::root()).expect("cargo metadata answers");
        assert_eq!(graph.impurities(), Vec::<String>::new());
    }
}
