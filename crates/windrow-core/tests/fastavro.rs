//! Avro against fastavro: what it writes is read here as it reads it back itself.
//!
//! **In** cases of `fastavro/cases.py`. **Out** nothing. fastavro comes from the package index at the first run and stays below
//! `target/`; without Python or the network the tests fail and say what to install.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/cases.rs"]
mod cases;
#[path = "common/python.rs"]
mod python;

use std::{fmt::Write as _, sync::Arc};

use bumpalo::Bump;
use cases::{bytes, cases, same, seed};
use serde_json::Value;
use windrow_core::{
    avro::{Registered, Schema},
    batch::{Batch, BatchBuilder, Compression},
    decode::{BadReason, Decoder, write_members},
    engine::{Task, TaskOptions},
    plan::{SourceColumn, Stage},
    registry::{Answer, Pupil, SchemaKind},
    spec::{Emit, Format, LatePolicy, OnBad, OnFull, StreamSpec, TimeSpec, TimeUnit, ViewSpec},
    sql,
    topics::Topics,
    value::ColumnType,
};

/// The version that the cases were made for.
const PACKAGE: &str = "fastavro==1.12.1";

/// Of a run, which `WINDROW_SEED=… cargo test -p windrow-core --test fastavro` replays.
const CASES: u64 = 400;

struct Case {
    schema: String,
    /// What became of it.
    reader: Value,
    bytes: Vec<u8>,
    /// `None` when the reader's schema cannot read the value.
    row: Option<Value>,
}

fn cases_of(seed: u64, count: u64, mode: &[&str]) -> Vec<Case> {
    let case = |case: Value| Case {
        schema: case["schema"].to_string(),
        bytes: bytes(&case["hex"]),
        reader: case["reader"].clone(),
        row: case["row"].as_str().map(|row| serde_json::from_str(row).unwrap()),
    };
    cases("fastavro/cases.py", PACKAGE, (seed, count), mode).into_iter().map(case).collect()
}

fn spec(schema: &str, time: TimeSpec) -> StreamSpec {
    let schema = Schema::parse(schema).unwrap_or_else(|e| panic!("{e}: {schema}"));
    spec_of(Format::Avro(Arc::new(schema)), time)
}

fn spec_of(format: Format, time: TimeSpec) -> StreamSpec {
    StreamSpec {
        name: "s".into(),
        topics: Topics::One("s".into()),
        format,
        key_format: Format::Text,
        columns: Vec::new(),
        time,
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
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

fn batch(values: &[&[u8]]) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(1_485_907_200_000, None, Some(value), []).unwrap();
    }
    Batch::parse(&builder.build(0, -1, -1, -1, false)).unwrap().0
}

#[test]
fn whole_rows_and_single_columns_are_what_fastavro_reads_back() {
    let seed = seed();
    println!("replay: WINDROW_SEED={seed} cargo test -p windrow-core --test fastavro");
    let cases = cases_of(seed, CASES, &[]);
    assert_eq!(cases.len() as u64, 1 + 4 * CASES);
    for Case { schema, bytes, row, .. } in &cases {
        let row = row.as_ref().unwrap();
        let spec = spec(schema, TimeSpec::Record);
        let ours = whole(&spec, bytes).unwrap_or_else(|bad| panic!("{bad}: {schema} {bytes:x?}"));
        assert!(same(&ours, row), "ours {ours}\ntheirs {row}\n{schema}");
        each_alone(&spec, bytes, row, schema);
    }
}

/// The row of a value.
fn whole(spec: &StreamSpec, bytes: &[u8]) -> Result<Value, BadReason> {
    let mut ours = Vec::new();
    write_members(spec, bytes, &mut ours)?;
    if let Some(first) = ours.first_mut() {
        *first = b'{';
    } else {
        ours.push(b'{');
    }
    ours.push(b'}');
    Ok(serde_json::from_slice(&ours).unwrap())
}

/// As JSON every column is what it is in the row, without the others being read.
fn each_alone(spec: &StreamSpec, bytes: &[u8], row: &Value, schema: &str) {
    for (name, theirs) in row.as_object().unwrap() {
        let columns = [SourceColumn { name: name.as_str().into(), ty: Some(ColumnType::Json) }];
        let decoder = Decoder::for_columns(spec, &columns);
        let (arena, mut datums, batch) = (Bump::new(), Vec::new(), batch(&[bytes]));
        let record = batch.records().next().unwrap();
        decoder.decode(("s", 0), &record, i64::MAX, &arena, &mut datums, &mut [0]).unwrap();
        let mut ours = Vec::new();
        datums[0].write_json(&mut ours);
        let ours: Value = serde_json::from_slice(&ours).unwrap();
        assert!(same(&ours, theirs), "{name}: ours {ours}, theirs {theirs}\n{schema}");
    }
}

#[test]
fn what_was_written_with_another_schema_is_what_fastavro_makes_of_it() {
    let seed = seed();
    println!("replay: WINDROW_SEED={seed} cargo test -p windrow-core --test fastavro");
    let cases = cases_of(seed, CASES, &["evolved"]);
    let mut refused = 0;
    for Case { schema, reader, bytes, row } in &cases {
        let reader = reader.to_string();
        let about = format!("{schema}\nas {reader}");
        let registered = Registered::new(Some(Arc::new(Schema::parse(&reader).unwrap())));
        let answer = Answer { kind: SchemaKind::Avro, text: schema.clone(), references: Vec::new() };
        // Whether it can be read is told by each record.
        let told = registered.teach(7, &answer);
        let spec = spec_of(Format::AvroRegistry(Arc::new(registered)), TimeSpec::Record);
        let framed = [&[0, 0, 0, 0, 7], bytes.as_slice()].concat();
        match (whole(&spec, &framed), row) {
            (Ok(ours), Some(row)) => {
                assert!(same(&ours, row), "ours {ours}\ntheirs {row}\n{about}");
                each_alone(&spec, &framed, row, &about);
            }
            (Err(BadReason::SchemaMismatch), None) => refused += 1,
            // What they find out where a value needs it, we say of the schemas.
            (Err(BadReason::SchemaMismatch), Some(_)) if told.is_err() => refused += 1,
            (ours, theirs) => panic!("ours {ours:?}\ntheirs {theirs:?}\n{told:?}\n{about}\n{bytes:x?}"),
        }
    }
    let all = cases.len();
    assert!((all / 50..all / 2).contains(&refused), "{refused} of {all} were refused");
}

#[test]
fn a_query_over_sensors_of_bare_avro_reads_paths_into_their_map() {
    let readings = cases_of(0, 0, &[]).remove(0);
    let time = TimeSpec::Column { column: "timestamp".into(), unit: TimeUnit::Seconds };
    let view = ViewSpec {
        name: "v".into(),
        sql: "SELECT data.name AS name, data.CC_1 AS on, max(data.TSOPO) AS max, sum(data.big) AS sum, count(data.none) AS none \
              FROM s GROUP BY data.name, data.CC_1, tumble(interval '1 minute')"
            .to_owned(),
        emit: Emit::Changes,
        grace_ms: 0,
        late: LatePolicy::Drop,
        retain_ms: None,
        topic: None,
        state_max_bytes: 1 << 20,
        on_full: OnFull::Stop,
    };
    let plans = sql::plan(&[Arc::new(spec(&readings.schema, time))], &[Arc::new(view)]).unwrap();
    let plan = Arc::new(plans.into_iter().next().unwrap());
    let mut task = Task::new(plan, &[Stage::Local], &[0], "s".into(), 0, TaskOptions::default()).unwrap();
    task.start(0);
    let cut = &readings.bytes[..readings.bytes.len() - 1];
    task.fold(&batch(&[&readings.bytes, cut, &readings.bytes]), 1_500_000_000_000).unwrap();
    let mut out = Vec::new();
    task.cut(1_500_000_000_000, &mut out);
    assert_eq!(task.stats().bad, 1);
    let mut rows = String::new();
    for value in
        out.iter().filter_map(|record| record.value.as_deref()).filter(|value| value.starts_with(b"{\"name"))
    {
        writeln!(rows, "{}", String::from_utf8_lossy(value)).unwrap();
    }
    expect_test::expect![[r#"
        {"name":"chillii","on":true,"max":23.100000381469727,"sum":9223372036854775808,"none":0,"window_start":1485907200000,"window_end":1485907260000,"final":false,"seq":1}
    "#]].assert_eq(&rows);
}
