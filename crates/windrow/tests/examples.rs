//! Every example's configuration loads and plans, with nothing set in the environment but what its README names.

use std::{path::PathBuf, sync::Arc};

use windrow::config::{self, Variables};

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
        let config = config::load(&path, &Variables::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
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
}
