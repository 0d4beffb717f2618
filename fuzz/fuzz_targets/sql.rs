//! Any text as a condition and as a query: a plan or an error with a place, in bounded time and stack.

#![no_main]

use std::sync::Arc;

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use windrow_core::{
    spec::{Emit, Format, LatePolicy, OnBad, OnFull, StreamSpec, TimeSpec, ViewSpec},
    sql,
    topics::Topics,
    value::{ColumnType, Datum},
};

fuzz_target!(|text: &str| {
    let columns: [(Arc<str>, _); 4] = [
        ("a".into(), Some(ColumnType::Bigint)),
        ("t".into(), Some(ColumnType::Text)),
        ("j".into(), Some(ColumnType::Json)),
        ("x".into(), None),
    ];
    match sql::filter(text, &columns) {
        Ok(filter) => {
            let row = [Datum::Int(7), Datum::Text("ä%"), Datum::Json("{\"k\": [1, \"v\"]}"), Datum::Float(2.5)];
            let arena = Bump::new();
            if let (true, Some((column, values))) = (filter.expr.holds(&row, &arena), &filter.equality) {
                assert!(values.contains(&row[*column].to_value()), "{text}");
            }
        }
        Err(error) => assert!(error.line > 0 && error.column > 0),
    }
    let _ = sql::plan(&[Arc::new(stream())], &[Arc::new(view(text))]);
});

fn stream() -> StreamSpec {
    StreamSpec {
        name: "s".into(),
        topics: Topics::One("s".into()),
        format: Format::Json,
        key_format: Format::Text,
        columns: Vec::new(),
        time: TimeSpec::Record,
        lateness_ms: 0,
        max_ahead_ms: 0,
        idle_ms: None,
        on_bad: OnBad::Skip,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: Vec::new(),
        keep: 0,
        row_filter: None,
        until_end: false,
    }
}

fn view(text: &str) -> ViewSpec {
    ViewSpec {
        name: "v".into(),
        sql: text.to_owned(),
        emit: Emit::Changes,
        grace_ms: 0,
        late: LatePolicy::Drop,
        retain_ms: None,
        topic: None,
        state_max_bytes: 1 << 20,
        on_full: OnFull::Stop,
    }
}
