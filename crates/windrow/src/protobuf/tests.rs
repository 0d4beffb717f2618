//! What files become, and what is wrong with them.

use std::fmt::Write;

use expect_test::{Expect, expect};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use windrow_core::registry::{Reference, SchemaKind};

use super::*;

const SHOP: &str = r#"syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "parts/user.proto";
message Order {
  string id = 3;
  shop.parts.User by = 1;
  google.protobuf.Timestamp at = 2;
  map<string, int32> counts = 4;
  repeated Item items = 5;
  optional int64 tip = 6;
  oneof paid { bool cash = 7; string card = 300; }
  message Item { string name = 1; }
}
message Refund { Order of = 1; }
"#;

const USER: &str =
    "syntax = \"proto2\"; package shop.parts; message User { optional int32 nr = 1 [default = 7]; }";

fn check(files: &[(&str, &str)], message: Option<&str>, expected: Expect) {
    let texts = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let told = match Compiled::in_memory(files[0].0, texts).and_then(|file| file.schema(message)) {
        Ok(schema) => schema.columns().iter().fold(format!("{}\n", schema.name()), |mut out, column| {
            let ty = column.ty.map_or("any", |ty| ty.name());
            writeln!(out, "  {} {ty}", column.name).unwrap();
            out
        }),
        Err(Mistake { place, message, hint }) => {
            let place =
                place.map(|(file, line, column)| format!("{file}:{line}:{column}: ")).unwrap_or_default();
            let hint = hint.map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
            format!("{place}{message}\n{hint}")
        }
    };
    expected.assert_eq(&told);
}

#[test]
fn columns_are_in_the_order_of_the_file_and_well_known_types_need_none() {
    let files = [("order.proto", SHOP), ("parts/user.proto", USER)];
    check(
        &files,
        Some("shop.Order"),
        expect![[r#"
        shop.Order
          id text
          by json
          at timestamp
          counts json
          items json
          tip bigint
          cash boolean
          card text
    "#]],
    );
    check(
        &files,
        Some("shop.Order.Item"),
        expect![[r#"
        shop.Order.Item
          name text
    "#]],
    );
    check(
        &files,
        Some("shop.parts.User"),
        expect![[r#"
        shop.parts.User
          nr bigint
    "#]],
    );
    check(
        &files[1..],
        None,
        expect![[r#"
        shop.parts.User
          nr bigint
    "#]],
    );
}

#[test]
fn a_message_that_is_not_named_or_not_there_is_asked_for() {
    let files = [("order.proto", SHOP), ("parts/user.proto", USER)];
    check(
        &files,
        None,
        expect![[r#"
        the schema has 2 messages: shop.Order, shop.Refund
          hint: name the one that is meant
    "#]],
    );
    check(
        &files,
        Some("Order"),
        expect![[r#"
        the schema has no message `Order`
          hint: did you mean `shop.Order`?
    "#]],
    );
    check(
        &files,
        Some("shop.Ordre"),
        expect![[r#"
        the schema has no message `shop.Ordre`
          hint: did you mean `shop.Order`?
    "#]],
    );
    check(
        &files,
        Some("nothing.like.it"),
        expect![[r#"
        the schema has no message `nothing.like.it`
          hint: its messages are shop.parts.User, shop.Order, shop.Order.Item, shop.Refund
    "#]],
    );
    check(
        &[("a.proto", "syntax = \"proto3\"; enum E { A = 0; }")],
        None,
        expect![[r#"
        the schema has no message
    "#]],
    );
}

#[test]
fn mistakes_have_their_place_in_the_file_that_holds_them() {
    let with = |text: &str| format!("syntax = \"proto3\";\n{text}\n");
    let mut deep = with("");
    (0..5_000).for_each(|i| write!(deep, "message A{i} {{").unwrap());
    for (text, expected) in [
        (
            with("mesage A {}"),
            expect![[r#"
            a.proto:2:1: expected `enum`, `extend`, `import`, `message`, `option`, `service`, `package` or `;`, but found `mesage`
        "#]],
        ),
        (
            with("message A {\n  string a = 1\n}"),
            expect![[r#"
            a.proto:4:1: expected `;` or `[`, but found `}`
        "#]],
        ),
        (
            with("message A {\n  Ording a = 1;\n}"),
            expect![[r#"
            a.proto:3:3: name `Ording` is not defined
              hint: is an import missing?
        "#]],
        ),
        (
            with("message A {\n  string a = 1;\n  string b = 1;\n}"),
            expect![[r#"
            a.proto:3:14: field number `1` is already used
        "#]],
        ),
        (
            with("message A {\n  string a = 1;\n  string a = 2;\n}"),
            expect![[r#"
            a.proto:3:10: camel-case name of field `a` conflicts with field `a`
        "#]],
        ),
        (
            with("message A {\n  string a = 0;\n}"),
            expect![[r#"
            a.proto:3:14: message numbers must be between 1 and 536870911
        "#]],
        ),
        (
            with("message A {\n  required string a = 1;\n}"),
            expect![[r#"
            a.proto:3:3: required fields are not allowed in proto3 syntax
        "#]],
        ),
        (
            with("import \"b.proto\";\nmessage A {}"),
            expect![[r#"
            a.proto:2:1: import `b.proto` not found
              hint: imports begin at the folder of the schema
        "#]],
        ),
        (
            with("import \"../b.proto\";\nmessage A {}"),
            expect![[r#"
            a.proto:2:8: invalid group name
              hint: imports may not contain backslashes, repeated forward slashes, `.` or `..` components
        "#]],
        ),
        (
            with("import \"a.proto\";\nmessage A {}"),
            expect![[r#"
            a.proto:1:1: import cycle detected: a.proto -> a.proto
        "#]],
        ),
        (
            "edition = \"2023\"; message A {}".to_owned(),
            expect![[r#"
            a.proto:1:1: expected `enum`, `extend`, `import`, `message`, `option`, `service`, `package` or `;`, but found `edition`
              hint: editions are not read; write syntax = "proto3"
        "#]],
        ),
        (
            deep,
            expect![[r#"
            a.proto nests deeper than 64 braces
        "#]],
        ),
    ] {
        check(&[("a.proto", &text)], None, expected);
    }
    check(
        &[("order.proto", SHOP), ("parts/user.proto", "syntax = \"proto3\";\nmessage User { int23 a = 1; }")],
        Some("shop.Order"),
        expect![[r#"
            parts/user.proto:2:16: name `int23` is not defined
              hint: did you mean `int32`?
        "#]],
    );
}

#[test]
fn a_registered_file_has_each_message_at_its_place() {
    let place = |text: &str, path: &[usize]| {
        let references = vec![Reference { name: "parts/user.proto".to_owned(), text: USER.to_owned() }];
        let file =
            registered(&Answer { kind: SchemaKind::Protobuf, text: text.to_owned(), references }).unwrap();
        file.message(path).map(|message| message.name().to_string())
    };
    let descriptor = {
        let mut texts = HashMap::from([("parts/user.proto".to_owned(), USER.to_owned())]);
        texts.insert("order.proto".to_owned(), SHOP.to_owned());
        BASE64_STANDARD.encode(Compiled::in_memory("order.proto", texts).unwrap().descriptor())
    };
    for text in [SHOP, &descriptor] {
        assert_eq!(place(text, &[0]).as_deref(), Some("shop.Order"));
        assert_eq!(place(text, &[1]).as_deref(), Some("shop.Refund"));
        // The map before it is no message that is declared.
        assert_eq!(place(text, &[0, 0]).as_deref(), Some("shop.Order.Item"));
        assert_eq!(place(text, &[0, 1]).as_deref(), Some("shop.Order.Item"));
        for nowhere in [&[][..], &[2], &[0, 2], &[0, 0, 0]] {
            assert_eq!(place(text, nowhere), None);
        }
    }
}

#[test]
fn what_registries_hold_themselves_need_not_be_registered() {
    let text = r#"syntax = "proto3";
        import "confluent/meta.proto";
        import "confluent/type/decimal.proto";
        message A {
          option (confluent.message_meta).doc = "a price";
          confluent.type.Decimal price = 1 [(confluent.field_meta) = { doc: "in cents", tags: ["money"] }];
        }"#;
    let answer = Answer { kind: SchemaKind::Protobuf, text: text.to_owned(), references: Vec::new() };
    let schema = registered(&answer).unwrap().message(&[0]).unwrap();
    assert_eq!(schema.column("price.scale"), Some(windrow_core::value::ColumnType::Bigint));
}

#[test]
fn a_registered_file_that_cannot_be_read_says_why() {
    let told = |text: &str| {
        let answer = Answer { kind: SchemaKind::Protobuf, text: text.to_owned(), references: Vec::new() };
        registered(&answer).map(|_| ()).unwrap_err()
    };
    let mut out = String::new();
    for text in [SHOP, "message A {", "", "AAAA"] {
        writeln!(out, "{}", told(text)).unwrap();
    }
    expect![[r#"
        (registered).proto:4:1: import `parts/user.proto` not found
        (registered).proto:1:1: expected a message field, oneof, reserved range, enum, message, option or `}`, but reached end of file
        the schema has no message
        (registered).proto:1:1: expected `enum`, `extend`, `import`, `message`, `option`, `service`, `package` or `;`, but found `AAAA`
    "#]].assert_eq(&out);
}

#[test]
fn descriptors_of_editions_are_refused() {
    let texts = HashMap::from([("a.proto".to_owned(), "message A {}".to_owned())]);
    let mut file = Compiled::in_memory("a.proto", texts).unwrap().descriptor();
    // Field 12, as `protoc` writes it for an edition.
    file.extend_from_slice(b"\x62\x08editions");
    let answer =
        Answer { kind: SchemaKind::Protobuf, text: BASE64_STANDARD.encode(&file), references: Vec::new() };
    let why = registered(&answer).unwrap_err();
    assert_eq!(why, "(registered).proto is of `editions`, and only proto2 and proto3 are read");

    let set = [&[0x0A, file.len() as u8][..], &file].concat();
    let why = Compiled::decode(&set).unwrap_err().message;
    assert_eq!(why, "a.proto is of `editions`, and only proto2 and proto3 are read");
}
