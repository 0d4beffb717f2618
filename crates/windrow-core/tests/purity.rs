//! The core is pure: whatever it depends on, directly or not, brings no runtime, no network and no storage.

use std::{collections::BTreeSet, process::Command};

/// Crates that would make the core impure, by why.
const IMPURE: [(&str, &[&str]); 4] = [
    (
        "an async runtime",
        &["tokio", "async-std", "smol", "async-executor", "async-io", "futures-executor", "rayon"],
    ),
    (
        "the network",
        &[
            "mio",
            "socket2",
            "hyper",
            "axum",
            "reqwest",
            "ureq",
            "tungstenite",
            "rdkafka",
            "rdkafka-sys",
            "rustls",
        ],
    ),
    ("storage", &["fjall", "lsm-tree", "sled", "rocksdb", "redb", "memmap2", "tempfile", "fs2"]),
    (
        "the environment",
        &["clap", "tracing-subscriber", "dotenvy", "signal-hook", "num_cpus", "getrandom", "rand"],
    ),
];

/// Returns the names of all crates that are linked into the core, without those of its tests and build scripts.
fn dependencies() -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "windrow-core", "--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", "{p}", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("cargo writes UTF-8");
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_core_links_no_runtime_no_network_and_no_storage() {
    let linked = dependencies();
    assert!(linked.contains("sqlparser"), "the tree was not read: {linked:?}");
    let found: Vec<String> = IMPURE
        .iter()
        .flat_map(|(why, names)| names.iter().map(move |name| (why, name)))
        .filter(|(_, name)| linked.contains(**name))
        .map(|(why, name)| format!("{name} ({why})"))
        .collect();
    assert!(found.is_empty(), "windrow-core depends on {}", found.join(", "));
}

/// What the standard library has for the same things is seen in the sources.
#[test]
fn the_core_asks_for_no_clock_file_socket_or_thread() {
    const ASKED: [&str; 8] = [
        "std::net",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
    ];
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let (mut files, mut found) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // What unit tests ask for is their own affair.
            if path.file_stem().is_some_and(|stem| stem == "tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let asked = ASKED.iter().filter(|asked| text.contains(**asked));
            found.extend(asked.map(|asked| format!("{} asks for {asked}", path.display())));
        }
    }
    assert!(files > 20, "the sources were not read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
