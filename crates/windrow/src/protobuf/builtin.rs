//! Built in: files that schemas import although nobody registers them: a registry and its clients hold them themselves.
//!
//! **In** the name of an import. **Out** a text with the messages and options that such files may name.
//! **Not here:** `google/protobuf/…`, which comes with the compiler.
//!
//! Source: Confluent Schema Registry, "Protobuf serializer": known types.

/// Notes for data contracts: options alone, which change nothing that is read.
const META: &str = r#"syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
"#;

const DECIMAL: &str = r#"syntax = "proto3";
package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
"#;

/// Returns the text of a file that is built in.
pub(super) fn text(name: &str) -> Option<&'static str> {
    match name {
        "confluent/meta.proto" => Some(META),
        // The folder had an `s` once.
        "confluent/type/decimal.proto" | "confluent/types/decimal.proto" => Some(DECIMAL),
        _ => None,
    }
}
