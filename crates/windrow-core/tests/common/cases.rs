//! Cases that a script in Python makes with the library that a format is held against.
//!
//! **In** the script and its arguments. **Out** one JSON document a case. **Invariant:** what is random has a seed, which may be set.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use crate::python;

/// Returns the seed of this run: `WINDROW_SEED`, or one by the clock. Whoever takes it prints it.
pub(crate) fn seed() -> u64 {
    std::env::var("WINDROW_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(by_clock)
}

fn by_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() % 1_000_000)
}

/// Runs `tests/SCRIPT SEED COUNT MODE…` with a package, and reads the lines it prints.
pub(crate) fn cases(script: &str, package: &str, (seed, count): (u64, u64), mode: &[&str]) -> Vec<Value> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut python = Command::new("python3");
    python.arg(script).args([seed.to_string(), count.to_string()]).args(mode);
    let output = python.env("PYTHONPATH", python::packages(&[package])).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads bytes that a case gives in hexadecimal digits.
pub(crate) fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// Tells whether two documents hold the same. Whole doubles are written without a point here, and Python has its own way to write
/// large ones.
pub(crate) fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => ours == theirs,
    }
}
