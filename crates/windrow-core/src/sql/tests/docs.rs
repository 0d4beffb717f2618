//! The language's page: its examples are planned, and it knows every function.

use super::{
    super::{aggregate, call, filter, plan},
    streams, view,
};
use crate::value::ColumnType;

const PAGE: &str = include_str!("../../../../../docs/SQL.md");

/// Returns the fenced blocks in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    PAGE.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_query_of_the_page_is_planned() {
    let views: Vec<_> =
        blocks("sql").iter().enumerate().map(|(i, sql)| view(&format!("example_{i}"), sql)).collect();
    assert!(views.len() >= 8, "found {}", views.len());
    if let Err(errors) = plan(&streams(), &views) {
        panic!("{}", errors.iter().map(|e| format!("{e}\n")).collect::<String>());
    }
}

#[test]
fn every_condition_of_the_page_is_compiled() {
    let columns = [
        ("id".into(), Some(ColumnType::Text)),
        ("count".into(), Some(ColumnType::Bigint)),
        ("window_start".into(), Some(ColumnType::Timestamp)),
        ("final".into(), Some(ColumnType::Boolean)),
    ];
    let conditions: Vec<_> = blocks("where").iter().flat_map(|block| block.lines()).collect();
    assert!(conditions.len() >= 4);
    for condition in conditions {
        filter(condition, &columns).unwrap_or_else(|error| panic!("{condition}: {error}"));
    }
}

#[test]
fn the_page_names_every_function() {
    for name in call::names().chain(aggregate::NAMES).chain(aggregate::NOT_YET) {
        assert!(PAGE.contains(name), "docs/SQL.md does not name {name}");
    }
}
