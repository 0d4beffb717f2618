//! Formats: what fits together, and mistakes in schema files told with the place in that file.

use super::*;

const SCHEMA: &str = r#"{"type": "record", "name": "R", "fields": [
    {"name": "s", "type": "double"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "user", "type": ["null", {"type": "record", "name": "U", "fields": [{"name": "id", "type": "long"}]}]}
]}"#;

const PROTO: &str = r#"syntax = "proto3";
package p;
import "google/protobuf/timestamp.proto";
message R {
  double s = 1;
  google.protobuf.Timestamp at = 2;
  User user = 3;
}
message User { int64 id = 1; }
"#;

/// Checks a configuration that lies beside some schemas.
fn check_beside(text: &str, expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.avsc"), SCHEMA).unwrap();
    std::fs::write(folder.path().join("bad.avsc"), SCHEMA.replace("\"double\"", "\"duoble\"")).unwrap();
    std::fs::write(folder.path().join("cut.avsc"), &SCHEMA[..60]).unwrap();
    std::fs::write(folder.path().join("good.proto"), PROTO).unwrap();
    std::fs::write(folder.path().join("bad.proto"), PROTO.replace("double s", "duoble s")).unwrap();
    std::fs::write(folder.path().join("bad.desc"), PROTO).unwrap();
    let file = folder.path().join("w.toml");
    let rendered = match parse(text, &file.display().to_string(), &variables()) {
        Ok(_) => "fine\n".to_owned(),
        Err(errors) => errors.iter().map(|e| format!("{e}\n")).collect(),
    };
    expected.assert_eq(&rendered.replace(&format!("{}/", folder.path().display()), ""));
}

#[test]
fn schemas_lie_beside_the_configuration_and_their_mistakes_have_their_own_place() {
    check_beside(
        r#"
[streams.a]
format = "avro"
schema = "bad.avsc"
until = "x"
[streams.b]
format = "avro"
schema = "cut.avsc"
[streams.c]
format = "avro"
schema = "none.avsc"
[streams.d]
key_format = "avro"
key_schema = "bad.avsc"
"#,
        expect![[r#"
            bad.avsc:2:27: there is no type `duoble`
              hint: did you mean "double"?
            w.toml:5:9: `until` must be one of `end`
            cut.avsc:2:16: not JSON: EOF while parsing an object
            w.toml:11:10: the schema "none.avsc" cannot be read: No such file or directory (os error 2)
              hint: names of files begin at the folder of the configuration
            bad.avsc:2:27: there is no type `duoble`
              hint: did you mean "double"?
        "#]],
    );
    check_beside(
        r#"
[streams.a]
format = "avro"
schema = "good.avsc"
key_format = "avro"
key_schema = "good.avsc"
keyed_by = ["user.id", "_key.user.id"]
time = { column = "at" }
[streams.b]
format = "csv"
columns = { id = "text", ts = "double" }
time = { column = "ts", unit = "s" }
key_format = "bytes"
[streams.c]
format = "bytes"
"#,
        expect![[r#"
            fine
        "#]],
    );
}

#[test]
fn what_does_not_fit_the_format_is_named() {
    check_beside(
        r#"
[streams.a]
format = "avro"
[streams.b]
schema = "good.avsc"
[streams.c]
format = "csv"
key_format = "csv"
[streams.d]
format = "avro"
schema = "good.avsc"
columns = { s = "double" }
[streams.e]
format = "avro"
schema = "good.avsc"
latest_by = "user.nr"
time = { column = "sec", unit = "s" }
[streams.f]
format = "avro"
schema = "good.avsc"
time = { column = "s" }
[streams.g]
format = "avro"
schema = "good.avsc"
time = { column = "user", unit = "s" }
[streams.h]
format = "csv"
columns = { id = "text", ts = "double" }
time = { column = "id", unit = "s" }
keyed_by = "di"
[streams.i]
format = "avr"
schema = "good.avsc"
"#,
        expect![[r#"
            w.toml:3:10: `format` = "avro" needs `schema`
              hint: write schema = "name.avsc"
            w.toml:5:10: `schema` is for `format` = `avro`, `avro-registry` and `protobuf`
              hint: write format = "avro", or remove it
            w.toml:7:10: `format` = "csv" needs `columns`
              hint: name all fields in their order: columns = { id = "text", price = "double" }
            w.toml:8:14: `key_format` must be one of `text`, `json`, `bytes`, `avro`, `avro-registry`, `json-registry`, `protobuf` and `protobuf-registry`
            w.toml:12:11: the columns of `format` = "avro" are those of its schema
              hint: remove it; CAST in a query makes another type
            w.toml:16:13: `latest_by` names `user.nr`, which is no column
              hint: the columns are `s`, `at` and `user`
            w.toml:17:19: `column` names `sec`, which is no column
              hint: the columns are `s`, `at` and `user`
            w.toml:21:8: `time` of [streams.f] lacks `unit`
              hint: write time = { column = "ts", unit = "ms" }
            w.toml:25:34: the time column `user` is json, but its unit needs a number
            w.toml:29:32: the time column `id` is text, but its unit needs a number
            w.toml:30:12: `keyed_by` names `di`, which is no column
              hint: did you mean `id`?
            w.toml:32:10: `format` must be one of `json`, `text`, `bytes`, `csv`, `avro`, `avro-registry`, `json-registry`, `protobuf` and `protobuf-registry`
              hint: did you mean "avro"?
        "#]],
    );
}

#[test]
fn a_stream_s_condition_and_its_bytes_are_checked_against_its_format() {
    check_beside(
        r#"
[streams.a]
format = "avro"
schema = "good.avsc"
bytes = "tagged"
where = "user IS NOT NULL AND s > 1"
latest_by = ["_topic", "user.id"]
[streams.b]
format = "avro"
schema = "good.avsc"
where = "usr IS NOT NULL"
[streams.c]
where = "data::text <> '{}'"
bytes = "tagged"
[streams.d]
where = "_offset >"
columns = { data = "json" }
"#,
        expect![[r#"
            w.toml:11:9: `where` of [streams.b]: the channel has no column `usr`
              hint: did you mean `user`?
            w.toml:13:9: `where` of [streams.c]: the channel has no column `data`
              hint: the columns are _topic, _partition, _offset, _timestamp, _key
            w.toml:14:9: `bytes` is for `format` = "avro" and "avro-registry"
              hint: remove it
            w.toml:16:9: `where` of [streams.d]: expected an expression, found the end
              hint: name what it reads in `columns`
        "#]],
    );
}

#[test]
fn a_schema_of_protobuf_has_messages_of_which_one_is_meant() {
    check_beside(
        r#"
[streams.a]
format = "protobuf"
schema = "bad.proto"
[streams.b]
format = "protobuf"
schema = "good.proto"
[streams.c]
format = "protobuf"
schema = "good.proto"
message = "p.r"
[streams.d]
format = "protobuf"
schema = "bad.desc"
message = "p.R"
[streams.e]
format = "protobuf"
[streams.f]
format = "protobuf"
schema = "none.proto"
[streams.g]
message = "p.R"
[streams.h]
key_format = "protobuf"
key_schema = "good.proto"
key_message = "p.User"
format = "protobuf"
schema = "good.proto"
message = "p.R"
columns = { s = "double" }
"#,
        expect![[r#"
            bad.proto:5:3: name `duoble` is not defined
              hint: did you mean `double`?
            w.toml:7:10: the schema has 2 messages: p.R, p.User
              hint: write message = "p.R"
            w.toml:11:11: the schema has no message `p.r`
              hint: did you mean `p.R`?
            w.toml:14:10: not a descriptor set: failed to decode file descriptor set
              hint: make one with: protoc --include_imports --descriptor_set_out=name.desc name.proto
            w.toml:17:10: `format` = "protobuf" needs `schema`
              hint: write schema = "name.proto"
            w.toml:20:10: the schema none.proto cannot be read: No such file or directory (os error 2)
              hint: names of files begin at the folder of the configuration
            w.toml:22:11: `message` is for `format` = `protobuf`
              hint: write format = "protobuf", or remove it
            w.toml:30:11: the columns of `format` = "protobuf" are those of its schema
              hint: remove it; CAST in a query makes another type
        "#]],
    );
    check_beside(
        r#"
[streams.a]
format = "protobuf"
schema = "good.proto"
message = "p.R"
key_format = "protobuf"
key_schema = "good.proto"
key_message = "p.User"
keyed_by = ["user.id", "_key.id"]
time = { column = "at" }
"#,
        expect![[r#"
            fine
        "#]],
    );
}
