//! Messages as text in, tokens and JSON out.

use std::{fmt::Write as _, sync::Arc};

use bumpalo::Bump;
use expect_test::{Expect, expect};

use super::*;
use crate::{
    scan::Token,
    value::{Datum, Value},
};

/// A message with a field of each shape, which holds itself; field 9 is of proto2.
fn schema() -> Arc<Schema> {
    let field = |name: &str, number, ty, label| Field {
        name: name.into(),
        number,
        ty,
        label,
        oneof: None,
        default: None,
    };
    let one = |name, number, ty| field(name, number, ty, Label::Implicit);
    let may = |name, number, ty| field(name, number, ty, Label::Explicit);
    let of = |oneof, field| Field { oneof: Some(oneof), ..field };
    let mut root = vec![
        one("id", 1, Type::Text),
        one("n", 2, Type::Uint64),
        may("opt", 3, Type::Sint32),
        one("x", 4, Type::Float),
        one("raw", 5, Type::Bytes),
        one("state", 6, Type::Enum(0)),
        may("user", 7, Type::Message(0)),
        field("ints", 8, Type::Int32, Label::Repeated),
        Field { default: Some(Value::Int(42)), ..may("old", 9, Type::Int64) },
        field("labels", 10, Type::Message(1), Label::Map),
        of(0, may("cash", 11, Type::Int64)),
        of(0, may("card", 12, Type::Message(0))),
        may("at", 13, Type::Message(3)),
        may("span", 14, Type::Message(4)),
        may("some", 15, Type::Message(5)),
        may("group", 16, Type::Group(0)),
        field("users", 17, Type::Message(2), Label::Map),
        field("many", 18, Type::Message(0), Label::Repeated),
    ];
    root.push(one("far", 536_870_911, Type::Fixed64));
    let entry = |value: Field| vec![one("key", 1, Type::Text), value];
    let halves = || vec![one("seconds", 1, Type::Int64), one("nanos", 2, Type::Int32)];
    let messages = vec![
        ("R", root),
        ("R.LabelsEntry", entry(one("value", 2, Type::Int32))),
        ("R.UsersEntry", vec![one("key", 1, Type::Sint64), may("value", 2, Type::Message(0))]),
        ("google.protobuf.Timestamp", halves()),
        ("google.protobuf.Duration", halves()),
        ("google.protobuf.Int64Value", vec![one("value", 1, Type::Int64)]),
    ];
    let messages = messages.into_iter().map(|(name, fields)| Message { name: name.into(), fields }).collect();
    let values = vec![(0, "NEW".into()), (1, "PAID".into()), (-5, "LOST".into()), (1, "ALIAS".into())];
    Arc::new(Schema::new(messages, vec![Enum { values }], 0).unwrap())
}

/// Writes a message the way protoscope does, but smaller: `7:{1:"a"} 2:5 8:h0102` are a message in field 7, a varint and bytes;
/// `16!{…}` is a group.
fn message(text: &str) -> Vec<u8> {
    let mut rest = text;
    let out = fields(&mut rest);
    assert_eq!(rest, "", "{text}");
    out
}

fn fields(rest: &mut &str) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        *rest = rest.trim_start();
        let Some(end) = rest.find([':', '!']).filter(|_| !rest.starts_with('}')) else { return out };
        let number: u64 = rest[..end].parse().unwrap();
        let is_group = rest[end..].starts_with('!');
        *rest = &rest[end + 1..];
        let word = |rest: &mut &str| {
            let end = rest.find([' ', '}']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            *rest = after;
            word.to_owned()
        };
        match rest.as_bytes()[0] {
            b'{' => {
                *rest = &rest[1..];
                let inner = fields(rest);
                *rest = &rest[1..];
                if is_group {
                    varint(number << 3 | 3, &mut out);
                    out.extend(inner);
                    varint(number << 3 | 4, &mut out);
                } else {
                    piece(number, &inner, &mut out);
                }
            }
            b'"' => {
                let end = rest[1..].find('"').unwrap() + 1;
                piece(number, &rest.as_bytes()[1..end], &mut out);
                *rest = &rest[end + 1..];
            }
            b'h' => {
                let hex = word(rest);
                let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
                piece(number, &(1..hex.len()).step_by(2).map(byte).collect::<Vec<_>>(), &mut out);
            }
            b'f' => {
                varint(number << 3 | 5, &mut out);
                out.extend(word(rest)[1..].parse::<f32>().unwrap().to_le_bytes());
            }
            b'w' => {
                varint(number << 3 | 1, &mut out);
                out.extend(word(rest)[1..].parse::<u64>().unwrap().to_le_bytes());
            }
            _ => {
                varint(number << 3, &mut out);
                let value: i128 = word(rest).parse().unwrap();
                varint(value as u64, &mut out);
            }
        }
    }
}

fn piece(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut rest: u64, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn read(value: &[u8], wanted: &[&str]) -> String {
    let (projection, arena) = (Projection::new(schema(), wanted), Bump::new());
    let told = projection.read(value, &arena, |tokens| {
        let pairs = wanted.iter().zip(tokens);
        pairs.map(|(name, token)| format!("{name}={}", show(*token, &arena))).collect::<Vec<_>>().join(" ")
    });
    told.unwrap_or_else(|bad| bad.label().to_owned())
}

fn show(token: Token<'_>, arena: &Bump) -> String {
    match token {
        Token::Of(Datum::Text(text)) => format!("'{text}'"),
        Token::Of(datum) => format!("{datum:?}"),
        Token::Wrong => "wrong".to_owned(),
        other => other.raw(arena).unwrap_or("missing").to_owned(),
    }
}

fn whole(value: &[u8]) -> String {
    let mut out = Vec::new();
    match schema().write_value(value, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(bad) => bad.label().to_owned(),
    }
}

fn check(wanted: &[&str], texts: &[&str], expected: Expect) {
    let line = |text: &&str| format!("{text} -> {}\n", read(&message(text), wanted));
    expected.assert_eq(&texts.iter().map(line).collect::<String>());
}

#[test]
fn absent_is_zero_or_null_as_the_field_says() {
    check(
        &[
            "id", "n", "opt", "x", "raw", "state", "user", "ints", "old", "labels", "cash", "at", "some",
            "far",
        ],
        &[
            "",
            "1:\"a\" 2:18446744073709551615 3:9 4:f23.1 5:hff00 6:1 7:{} 8:7 9:-1 10:{} 11:0 13:{} 15:{} 536870911:w18446744073709551615",
        ],
        expect![[r#"
             -> id='' n=Int(0) opt=missing x=Float(0.0) raw=Bytes([]) state='NEW' user=missing ints=[] old=Int(42) labels={} cash=missing at=missing some=missing far=Int(0)
            1:"a" 2:18446744073709551615 3:9 4:f23.1 5:hff00 6:1 7:{} 8:7 9:-1 10:{} 11:0 13:{} 15:{} 536870911:w18446744073709551615 -> id='a' n=Wide(18446744073709551615) opt=Int(-5) x=Float(23.100000381469727) raw=Bytes([255, 0]) state='PAID' user={} ints=[7] old=Int(-1) labels={"":0} cash=Int(0) at=Timestamp(0) some=Int(0) far=Wide(18446744073709551615)
        "#]],
    );
    // The same inside of a message that is there, and of one that is not.
    check(
        &["user.id", "user.opt", "user.old", "user.ints", "user.user.n"],
        &["", "7:{}", "7:{7:{}}"],
        expect![[r#"
             -> user.id=missing user.opt=missing user.old=missing user.ints=missing user.user.n=missing
            7:{} -> user.id='' user.opt=missing user.old=Int(42) user.ints=[] user.user.n=missing
            7:{7:{}} -> user.id='' user.opt=missing user.old=Int(42) user.ints=[] user.user.n=Int(0)
        "#]],
    );
    let mut out = Vec::new();
    schema().write_members(b"", |name| name == "n", &mut out).unwrap();
    expect![[r#","id":"","opt":null,"x":0,"raw":"","state":"NEW","user":null,"ints":[],"old":42,"labels":{},"cash":null,"card":null,"at":null,"span":null,"some":null,"group":null,"users":{},"many":[],"far":0"#]].assert_eq(std::str::from_utf8(&out).unwrap());
}

#[test]
fn the_last_value_counts_and_pieces_are_merged() {
    check(
        &["id", "user.id", "user.n", "user", "ints"],
        &[
            "1:\"a\" 1:\"b\"",
            "7:{1:\"a\" 2:1} 1:\"x\" 7:{2:2}",
            "7:{1:\"a\"} 7:{}",
            "8:1 8:h0203 8:4",
            "16!{1:\"a\"}",
        ],
        expect![[r#"
            1:"a" 1:"b" -> id='b' user.id=missing user.n=missing user=missing ints=[]
            7:{1:"a" 2:1} 1:"x" 7:{2:2} -> id='x' user.id='a' user.n=Int(2) user={"id":"a","n":2} ints=[]
            7:{1:"a"} 7:{} -> id='' user.id='a' user.n=Int(0) user={"id":"a"} ints=[]
            8:1 8:h0203 8:4 -> id='' user.id=missing user.n=missing user=missing ints=[1,2,3,4]
            16!{1:"a"} -> id='' user.id=missing user.n=missing user=missing ints=[]
        "#]],
    );
}

#[test]
fn a_oneof_holds_what_came_last() {
    check(
        &["cash", "card", "card.id", "card.n"],
        &[
            "11:1",
            "12:{1:\"a\"}",
            "12:{1:\"a\"} 11:1",
            "12:{1:\"a\"} 11:1 12:{2:5}",
            "12:{1:\"a\"} 12:{2:5}",
            // Of another kind, so it is no value of the field.
            "12:{1:\"a\"} 11:\"x\"",
        ],
        expect![[r#"
            11:1 -> cash=Int(1) card=missing card.id=missing card.n=missing
            12:{1:"a"} -> cash=missing card={"id":"a"} card.id='a' card.n=Int(0)
            12:{1:"a"} 11:1 -> cash=Int(1) card=missing card.id=missing card.n=missing
            12:{1:"a"} 11:1 12:{2:5} -> cash=missing card={"n":5} card.id='' card.n=Int(5)
            12:{1:"a"} 12:{2:5} -> cash=missing card={"id":"a","n":5} card.id='a' card.n=Int(5)
            12:{1:"a"} 11:"x" -> cash=missing card={"id":"a"} card.id='a' card.n=Int(0)
        "#]],
    );
    // The same where a whole message is written.
    assert_eq!(whole(&message("12:{1:\"a\"} 11:1 12:{2:5}")), "{\"card\":{\"n\":5}}");
    assert_eq!(whole(&message("12:{1:\"a\"} 11:1")), "{\"cash\":1}");
    // The other member need not be wanted.
    check(
        &["card.id"],
        &["12:{1:\"a\"} 11:1"],
        expect![[r#"
        12:{1:"a"} 11:1 -> card.id=missing
    "#]],
    );
}

#[test]
fn paths_lead_into_maps_by_their_keys() {
    check(
        &["labels", "labels.a", "labels.b.c", "users.-2.id", "users.-2.opt", "users.3"],
        &[
            "10:{1:\"a\" 2:1} 10:{1:\"b.c\" 2:2} 10:{1:\"a\"}",
            "10:{2:7}",
            "17:{1:3 2:{1:\"x\" 3:2}} 17:{1:6}",
            // A later entry of the same key replaces the one before.
            "17:{1:3 2:{1:\"x\" 3:2}} 17:{2:{1:\"y\"} 1:3}",
            "17:{1:3 2:{1:\"x\"}} 17:{1:3}",
        ],
        expect![[r#"
            10:{1:"a" 2:1} 10:{1:"b.c" 2:2} 10:{1:"a"} -> labels={"a":0,"b.c":2} labels.a=Int(0) labels.b.c=Int(2) users.-2.id=missing users.-2.opt=missing users.3=missing
            10:{2:7} -> labels={"":7} labels.a=missing labels.b.c=missing users.-2.id=missing users.-2.opt=missing users.3=missing
            17:{1:3 2:{1:"x" 3:2}} 17:{1:6} -> labels={} labels.a=missing labels.b.c=missing users.-2.id='x' users.-2.opt=Int(1) users.3={}
            17:{1:3 2:{1:"x" 3:2}} 17:{2:{1:"y"} 1:3} -> labels={} labels.a=missing labels.b.c=missing users.-2.id='y' users.-2.opt=missing users.3=missing
            17:{1:3 2:{1:"x"}} 17:{1:3} -> labels={} labels.a=missing labels.b.c=missing users.-2.id='' users.-2.opt=missing users.3=missing
        "#]],
    );
}

#[test]
fn enums_are_names_or_digits_and_times_are_checked() {
    check(
        &["state", "at", "span", "some"],
        &[
            "6:1",
            "6:-5",
            "6:7",
            "13:{1:1700000000 2:999999999}",
            "13:{1:-1 2:1}",
            "13:{1:253402300800}",
            "13:{2:-1}",
            "14:{1:3 2:50000000}",
            "14:{1:-3 2:-1}",
            "14:{1:1 2:-1}",
            "15:{1:9223372036854775807}",
        ],
        expect![[r#"
            6:1 -> state='PAID' at=missing span=missing some=missing
            6:-5 -> state='LOST' at=missing span=missing some=missing
            6:7 -> state='7' at=missing span=missing some=missing
            13:{1:1700000000 2:999999999} -> state='NEW' at=Timestamp(1700000000999) span=missing some=missing
            13:{1:-1 2:1} -> state='NEW' at=Timestamp(-1000) span=missing some=missing
            13:{1:253402300800} -> state='NEW' at=wrong span=missing some=missing
            13:{2:-1} -> state='NEW' at=wrong span=missing some=missing
            14:{1:3 2:50000000} -> state='NEW' at=missing span=3.05 some=missing
            14:{1:-3 2:-1} -> state='NEW' at=missing span=-3.000000001 some=missing
            14:{1:1 2:-1} -> state='NEW' at=missing span=wrong some=missing
            15:{1:9223372036854775807} -> state='NEW' at=missing span=missing some=Int(9223372036854775807)
        "#]],
    );
    expect![[r#"{"state":7,"ints":[0,1],"at":-1000,"span":-0.5,"some":0,"many":[{},{"state":"LOST"}]}"#]]
        .assert_eq(&whole(&message("6:7 13:{1:-1 2:1} 14:{2:-500000000} 15:{} 18:{6:0} 18:{6:-5} 8:h0001")));
}

#[test]
fn json_leaves_out_what_is_absent() {
    expect![[r#"{"opt":0,"x":0,"user":{"n":18446744073709551615,"raw":"/w=="},"ints":[1],"labels":{"a":9,"b":2},"card":{},"group":{"old":1},"users":{"0":{}},"many":[{}]}"#]].assert_eq(&whole(&message(
        "1:\"\" 2:0 3:0 4:f-0.0 7:{2:18446744073709551615 5:hff} 8:h01 10:{1:\"a\"} 10:{1:\"b\" 2:2} 10:{1:\"a\" 2:9} 11:1 12:{} 16!{9:1} 17:{} 18:{} 99:5",
    )));
    assert_eq!(whole(b""), "{}");
    assert_eq!(read(&message("1:\"a\" 99:{}"), &["", "id"]), "={\"id\":\"a\"} id='a'");
}

#[test]
fn what_bytes_say_is_checked_against_what_is_there() {
    let mut out = String::new();
    for (about, bytes) in [
        ("no value", &b"\x08"[..]),
        ("a varint without an end", b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
        ("a number of field 0", b"\x00\x01"),
        ("a tag of more than 32 bits", b"\x88\x80\x80\x80\x80\x01\x01"),
        ("a tag of six bytes", b"\x8a\x80\x80\x80\x80\x00\x01a"),
        ("kind 6", b"\x0e\x01"),
        ("kind 7", b"\x0f\x01"),
        ("a length past the end", b"\x0a\x05a"),
        ("a length of 2^63", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
        ("four bytes of which three are there", b"\x25\x00\x00\x00"),
        ("a group without an end", b"\x83\x01\x0a\x01a"),
        ("an end without a group", b"\x84\x01"),
        ("a group with another's end", b"\x83\x01\x8c\x01"),
        ("an unknown group", b"\xbb\x06\x08\x01\xbc\x06"),
        ("packed numbers cut off", b"\x42\x01\x80"),
        ("a message in a message cut off", b"\x3a\x02\x0a\x05"),
        ("a message in an entry cut off", b"\x8a\x01\x04\x12\x02\x0a\x05"),
        ("text that is not UTF-8", b"\x0a\x01\xff"),
        ("a map's key that is not UTF-8", b"\x52\x03\x0a\x01\xff"),
        ("text in a varint", b"\x08\x01"),
        ("a message in a varint", b"\x38\x01"),
        ("a tag longer than it need be", b"\x8a\x80\x00\x01a"),
    ] {
        assert_eq!(
            whole(bytes).contains('{'),
            read(bytes, &["id", "labels.a", "users.1.id"]).contains('='),
            "{about}"
        );
        writeln!(out, "{about}: {}", whole(bytes)).unwrap();
    }
    expect![[r#"
        no value: not_protobuf
        a varint without an end: not_protobuf
        a number of field 0: not_protobuf
        a tag of more than 32 bits: not_protobuf
        a tag of six bytes: not_protobuf
        kind 6: not_protobuf
        kind 7: not_protobuf
        a length past the end: not_protobuf
        a length of 2^63: not_protobuf
        four bytes of which three are there: not_protobuf
        a group without an end: not_protobuf
        an end without a group: not_protobuf
        a group with another's end: not_protobuf
        an unknown group: {}
        packed numbers cut off: not_protobuf
        a message in a message cut off: not_protobuf
        a message in an entry cut off: not_protobuf
        text that is not UTF-8: not_utf8
        a map's key that is not UTF-8: not_utf8
        text in a varint: {}
        a message in a varint: {}
        a tag longer than it need be: {"id":"a"}
    "#]]
    .assert_eq(&out);
}

#[test]
fn the_verdict_does_not_depend_on_what_is_wanted() {
    let value = message(
        "1:\"aä\" 2:300 3:5 4:f1.5 5:hff 6:1 7:{1:\"u\" 7:{2:1}} 8:h0102 10:{1:\"k\" 2:3} 12:{1:\"c\"} 13:{1:5 2:6} 15:{1:1} 16!{1:\"g\" 16!{}} 17:{1:4 2:{1:\"m\"}} 18:{} 77:\"?\"",
    );
    let wants: [&[&str]; 5] = [
        &[],
        &["id"],
        &["user.id", "user.user", "labels.k"],
        &["users.2.id", "at", "ints", "many"],
        &["card", "group.id", ""],
    ];
    let is_bad = |told: String| ["not_protobuf", "not_utf8", "too_deep"].contains(&&*told).then_some(told);
    let mut verdicts = std::collections::BTreeMap::<Option<String>, usize>::new();
    let mut compare = |bent: &[u8]| {
        let verdict = is_bad(whole(bent));
        for wanted in wants {
            assert_eq!(is_bad(read(bent, wanted)), verdict, "{wanted:?} {bent:x?}");
        }
        *verdicts.entry(verdict).or_default() += 1;
    };
    for cut in 0..=value.len() {
        compare(&value[..cut]);
    }
    for index in 0..value.len() {
        for byte in [0, 1, 0x0A, 0x7F, 0x80, 0xFF, value[index] ^ 7] {
            let mut bent = value.clone();
            bent[index] = byte;
            compare(&bent);
        }
    }
    assert!(verdicts.len() >= 3 && verdicts.values().all(|count| *count > 5), "{verdicts:?}");
}

#[test]
fn depth_is_bounded_wherever_it_comes_from() {
    let nested = |levels: usize, number: u64| {
        (0..levels).fold(Vec::new(), |inner, _| {
            let mut out = Vec::new();
            piece(number, &inner, &mut out);
            out
        })
    };
    let groups = |levels: usize, number: u64| {
        let mut out = Vec::new();
        (0..levels).for_each(|_| varint(number << 3 | 3, &mut out));
        (0..levels).for_each(|_| varint(number << 3 | 4, &mut out));
        out
    };
    for (about, most, make) in [
        ("messages", 126, &(|levels| nested(levels, 7)) as &dyn Fn(usize) -> Vec<u8>),
        ("lists of messages", 63, &|levels| nested(levels, 18)),
        ("groups", 126, &|levels| groups(levels, 16)),
        ("unknown groups", 126, &|levels| groups(levels, 99)),
    ] {
        for (levels, verdict) in [(most, true), (most + 1, false), (5_000, false)] {
            let value = make(levels);
            for told in [whole(&value), read(&value, &["user.user.id"]), read(&value, &["many", "group", ""])]
            {
                assert_eq!(told != "too_deep", verdict, "{levels} {about}: {told}");
            }
        }
        // What is written is as deep as JSON may be.
        let json = whole(&make(most));
        assert!(crate::scan::document(json.as_bytes()).is_ok(), "{about}: {json}");
    }
}

#[test]
fn descriptors_that_do_not_hold_together_are_refused() {
    let field = |number, ty, label| Field { name: "a".into(), number, ty, label, oneof: None, default: None };
    let told = |fields: Vec<Field>| {
        let messages = vec![Message { name: "A".into(), fields }];
        Schema::new(messages, Vec::new(), 0).map(|_| ()).map_err(|unfit| unfit.to_string())
    };
    let broken = Err("the message A does not hold together".to_owned());
    assert_eq!(told(vec![field(1, Type::Message(0), Label::Explicit)]), Ok(()));
    for fields in [
        vec![field(1, Type::Message(1), Label::Explicit)],
        vec![field(1, Type::Enum(0), Label::Explicit)],
        vec![field(0, Type::Bool, Label::Explicit)],
        vec![field(1, Type::Bool, Label::Explicit), field(1, Type::Bool, Label::Explicit)],
        vec![field(1, Type::Message(0), Label::Map)],
        vec![Field { oneof: Some(1), ..field(1, Type::Bool, Label::Explicit) }],
    ] {
        assert_eq!(told(fields), broken);
    }
    let wide = (1..=65_535).map(|number| field(number, Type::Bool, Label::Implicit)).collect();
    assert_eq!(told(wide), Err("the message A has more than 65535 fields".to_owned()));
}
