//! Every example's configuration, and README's, loads and plans, with nothing set in the environment but what its README names.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{path::PathBuf, sync::Arc};

use windrow::config::{self, Config, Variables};

fn configurations() -> Vec<PathBuf> {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let folders = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect()
}

#[test]
fn every_example_loads_and_plans() {
    let all = configurations();
    assert!(all.len() >= 2, "{all:?}");
    for path in all {
        plan(&config::load(&path, &Variables::default()).unwrap_or_else(|errors| panic!("{errors:?}")));
    }
}

#[test]
fn readme_s_configuration_loads_and_plans() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    plan(
        &config::parse(text, "README.md", &Variables::default())
            .unwrap_or_else(|errors| panic!("{errors:?}")),
    );
}

fn plan(config: &Config) {
    let streams: Vec<_> = config.streams.values().map(|stream| stream.spec.clone()).collect();
    let views: Vec<_> = config.views.iter().map(|view| Arc::clone(&view.spec)).collect();
    let plans = windrow_core::sql::plan(&streams, &views).unwrap_or_else(|errors| panic!("{errors:?}"));
    for plan in &plans {
        let partitions = config.streams[&*plan.spec.name].partitions;
        for view in &plan.views {
            windrow_core::plan::local(plan, view, partitions).unwrap();
        }
    }
}

#[test]
fn every_configuration_in_the_documentation_loads() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut seen = 0;
    for name in ["CONFIG.md", "OPERATING.md"] {
        let text = std::fs::read_to_string(docs.join(name)).unwrap();
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            if let Err(errors) = config::parse(block, name, &Variables::default()) {
                panic!("block {} of {name}: {errors:#?}", number + 1);
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_documented_limits_are_the_defaults() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONFIG.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let table = text.split("### `[limits]`").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split("` | `");
        Some(format!("{} = {}\n", cells.next()?, cells.next()?.split('`').next()?))
    });
    let limits: String = rows.collect();
    assert_eq!(limits.lines().count(), 15, "{limits}");
    let written =
        config::parse(&format!("[streams.s]\n[limits]\n{limits}"), "docs", &Variables::default()).unwrap();
    let default = config::parse("[streams.s]\n", "none", &Variables::default()).unwrap();
    assert_eq!(format!("{:?}", written.limits), format!("{:?}", default.limits));
}
