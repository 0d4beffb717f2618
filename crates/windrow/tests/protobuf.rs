//! Protobuf against the language's own library: what it writes is read here as it reads it back itself, and what it refuses is bad here.
//!
//! **In** cases of `protobuf/cases.py`. **Out** nothing. The package comes from the index at the first run and stays below `target/`;
//! without Python or the network the tests fail and say what to install.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../windrow-core/tests/common/cases.rs"]
mod cases;
#[path = "../../windrow-core/tests/common/python.rs"]
mod python;
#[path = "protobuf/written.rs"]
mod written;

use std::{path::Path, sync::Arc};

use bumpalo::Bump;
use cases::{bytes, cases, same, seed};
use serde_json::Value;
use windrow::config::{Variables, parse};
use windrow_core::{
    batch::Record,
    decode::{BadReason, Decoder, write_members},
    plan::SourceColumn,
    spec::StreamSpec,
    value::ColumnType,
};

/// The version that the cases were made for.
const PACKAGE: &str = "protobuf==7.36.2";

/// Of a run, which `WINDROW_SEED=… cargo test -p windrow --test protobuf` replays.
const CASES: u64 = 200;

fn spec(folder: &Path, schema: &str, message: &str) -> Arc<StreamSpec> {
    let text = format!("[streams.s]\nformat = \"protobuf\"\nschema = \"{schema}\"\nmessage = \"{message}\"");
    let config = parse(&text, &folder.join("w.toml").display().to_string(), &Variables::default());
    config.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).streams["s"].spec.clone()
}

fn row(spec: &StreamSpec, value: &[u8]) -> Result<Value, BadReason> {
    let mut out = Vec::new();
    write_members(spec, value, &mut out)?;
    out[0] = b'{';
    out.push(b'}');
    Ok(serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out))))
}

/// One column, as JSON, without the others being read.
fn column(spec: &StreamSpec, name: &str, value: &[u8]) -> Result<Value, BadReason> {
    let decoder =
        Decoder::for_columns(spec, &[SourceColumn { name: name.into(), ty: Some(ColumnType::Json) }]);
    let record =
        Record { offset: 0, timestamp_ms: 0, key: None, value: Some(value), headers: Default::default() };
    let (arena, mut datums) = (Bump::new(), Vec::new());
    decoder.decode(("s", 0), &record, i64::MAX, &arena, &mut datums, &mut [0])?;
    let mut out = Vec::new();
    datums[0].write_json(&mut out);
    Ok(serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out))))
}

#[test]
fn rows_and_columns_are_what_the_languages_own_library_reads() {
    let seed = seed();
    println!("replay: WINDROW_SEED={seed} cargo test -p windrow --test protobuf");
    let (mut read, mut refused) = (0, 0);
    for case in cases("protobuf/cases.py", PACKAGE, (seed, CASES), &[]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.proto"), case["proto"].as_str().unwrap()).unwrap();
        std::fs::write(folder.path().join("a.desc"), bytes(&case["set"])).unwrap();
        let message = case["message"].as_str().unwrap();
        let spec = spec(folder.path(), "a.proto", message);
        assert_eq!(spec.format, self::spec(folder.path(), "a.desc", message).format, "{}", case["proto"]);
        for value in case["values"].as_array().unwrap() {
            let (bytes, theirs) = (bytes(&value["hex"]), &value["row"]);
            let about = || format!("{}\n{}", case["proto"].as_str().unwrap(), value["hex"]);
            if theirs.is_null() {
                refused += 1;
                let told = row(&spec, &bytes);
                assert!(told.is_err(), "ours {told:?}, theirs refused\n{}", about());
                continue;
            }
            read += 1;
            let ours = row(&spec, &bytes).unwrap_or_else(|bad| panic!("{bad}, theirs {theirs}\n{}", about()));
            assert!(same(&ours, theirs), "ours {ours}\ntheirs {theirs}\n{}", about());
            for (name, theirs) in theirs.as_object().unwrap() {
                let ours = column(&spec, name, &bytes).unwrap();
                let theirs = match theirs {
                    Value::Number(number) if ours.is_string() => &Value::String(number.to_string()),
                    theirs => theirs,
                };
                assert!(same(&ours, theirs), "{name}: ours {ours}, theirs {theirs}\n{}", about());
            }
        }
    }
    assert!(read > 1_000 && refused > 100, "{read} read and {refused} refused are too few to say much");
}
