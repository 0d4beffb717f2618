//! Generated schemas and values: what is encoded from a tree is read back as that tree.
//!
//! **In** a seed. **Out** a schema, a value's bytes, its JSON, and the JSON behind each path.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use bumpalo::Bump;
use proptest::prelude::*;

use super::{Projection, Schema, long, text};

enum Ty {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Date,
    Micros,
    Fixed(usize),
    Enum(usize),
    Array(Box<Ty>),
    Map(Box<Ty>),
    Union(Vec<Ty>),
    Record(Vec<Ty>),
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Small numbers and large ones.
    fn long(&mut self) -> i64 {
        let shift = self.below(64);
        self.next().cast_signed() >> shift
    }

    fn ty(&mut self, depth: usize) -> Ty {
        let kinds = if depth == 0 { 12 } else { 17 };
        match self.below(kinds) {
            0 => Ty::Null,
            1 => Ty::Boolean,
            2 => Ty::Int,
            3 => Ty::Long,
            4 => Ty::Float,
            5 => Ty::Double,
            6 => Ty::Bytes,
            7 => Ty::Text,
            8 => Ty::Date,
            9 => Ty::Micros,
            10 => Ty::Fixed(self.below(20)),
            11 => Ty::Enum(1 + self.below(4)),
            12 => Ty::Array(Box::new(self.ty(depth - 1))),
            13 => Ty::Map(Box::new(self.ty(depth - 1))),
            14 => Ty::Union(vec![Ty::Null, self.record(depth - 1)]),
            15 => {
                Ty::Union(vec![Ty::Text, Ty::Bytes, Ty::Float, Ty::Long, Ty::Int, Ty::Boolean, Ty::Enum(2)])
            }
            _ => self.record(depth - 1),
        }
    }

    fn record(&mut self, depth: usize) -> Ty {
        let fields = self.below(6);
        Ty::Record((0..fields).map(|_| self.ty(depth)).collect())
    }
}

/// Writes a schema; named types are numbered.
fn schema(ty: &Ty, names: &mut usize, out: &mut String) {
    let mut name = || {
        *names += 1;
        format!("N{names}")
    };
    match ty {
        Ty::Null => out.push_str("\"null\""),
        Ty::Boolean => out.push_str("\"boolean\""),
        Ty::Int => out.push_str("\"int\""),
        Ty::Long => out.push_str("\"long\""),
        Ty::Float => out.push_str("\"float\""),
        Ty::Double => out.push_str("\"double\""),
        Ty::Bytes => out.push_str("\"bytes\""),
        Ty::Text => out.push_str("\"string\""),
        Ty::Date => out.push_str(r#"{"type":"int","logicalType":"date"}"#),
        Ty::Micros => out.push_str(r#"{"type":"long","logicalType":"timestamp-micros"}"#),
        Ty::Fixed(size) => write!(out, r#"{{"type":"fixed","name":"{}","size":{size}}}"#, name()).unwrap(),
        Ty::Enum(symbols) => {
            let all: Vec<String> = (0..*symbols).map(|i| format!("\"S{i}\"")).collect();
            write!(out, r#"{{"type":"enum","name":"{}","symbols":[{}]}}"#, name(), all.join(",")).unwrap();
        }
        Ty::Array(items) => {
            out.push_str(r#"{"type":"array","items":"#);
            schema(items, names, out);
            out.push('}');
        }
        Ty::Map(values) => {
            out.push_str(r#"{"type":"map","values":"#);
            schema(values, names, out);
            out.push('}');
        }
        Ty::Union(branches) => {
            out.push('[');
            for (i, branch) in branches.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                schema(branch, names, out);
            }
            out.push(']');
        }
        Ty::Record(fields) => {
            write!(out, r#"{{"type":"record","name":"{}","fields":["#, name()).unwrap();
            for (i, field) in fields.iter().enumerate() {
                write!(out, r#"{}{{"name":"f{i}","type":"#, if i > 0 { "," } else { "" }).unwrap();
                schema(field, names, out);
                out.push('}');
            }
            out.push_str("]}");
        }
    }
}

/// One value, and what should be read of it.
#[derive(Default)]
struct Made {
    bytes: Vec<u8>,
    /// JSON behind each path that is there.
    paths: BTreeMap<String, String>,
}

impl Made {
    /// Makes a value and returns its JSON; `path` is `None` where none leads to.
    fn value(&mut self, ty: &Ty, path: Option<&str>, random: &mut Random) -> String {
        let json = match ty {
            Ty::Union(branches) => {
                let branch = random.below(branches.len());
                long(branch as i64, &mut self.bytes);
                return self.value(&branches[branch], path, random);
            }
            Ty::Record(fields) => {
                let mut members = Vec::new();
                for (i, field) in fields.iter().enumerate() {
                    let inner =
                        path.map(|p| if p.is_empty() { format!("f{i}") } else { format!("{p}.f{i}") });
                    members.push(format!("\"f{i}\":{}", self.value(field, inner.as_deref(), random)));
                }
                format!("{{{}}}", members.join(","))
            }
            Ty::Array(items) => {
                let all = self.blocks(random, |made, random, _| made.value(items, None, random));
                format!("[{}]", all.join(","))
            }
            Ty::Map(values) => {
                let all = self.blocks(random, |made, random, index| {
                    let key = format!("k{index}");
                    text(&key, &mut made.bytes);
                    let inner = path.map(|p| if p.is_empty() { key.clone() } else { format!("{p}.{key}") });
                    format!("\"{key}\":{}", made.value(values, inner.as_deref(), random))
                });
                format!("{{{}}}", all.join(","))
            }
            scalar => self.scalar(scalar, random),
        };
        if let Some(path) = path {
            self.paths.insert(path.to_owned(), json.clone());
        }
        json
    }

    /// Blocks of one or two items, with and without their size.
    fn blocks(
        &mut self,
        random: &mut Random,
        mut item: impl FnMut(&mut Self, &mut Random, usize) -> String,
    ) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..random.below(3) {
            let (count, start) = (1 + random.below(2), self.bytes.len());
            for _ in 0..count {
                let index = all.len();
                all.push(item(self, random, index));
            }
            let block = self.bytes.split_off(start);
            if random.below(2) == 0 {
                long(count as i64, &mut self.bytes);
            } else {
                long(-(count as i64), &mut self.bytes);
                long(block.len() as i64, &mut self.bytes);
            }
            self.bytes.extend(block);
        }
        self.bytes.push(0);
        all
    }

    fn scalar(&mut self, ty: &Ty, random: &mut Random) -> String {
        match ty {
            Ty::Boolean => {
                let value = random.below(2) == 1;
                self.bytes.push(u8::from(value));
                value.to_string()
            }
            Ty::Int | Ty::Date => {
                let value = random.long() as i32;
                long(i64::from(value), &mut self.bytes);
                let is_date = matches!(ty, Ty::Date);
                (i64::from(value) * if is_date { 86_400_000 } else { 1 }).to_string()
            }
            Ty::Long => {
                let value = random.long();
                long(value, &mut self.bytes);
                value.to_string()
            }
            Ty::Micros => {
                let (ms, rest) = (random.long() / 2_000, random.below(1_000) as i64);
                long(ms * 1_000 + rest, &mut self.bytes);
                ms.to_string()
            }
            Ty::Float => {
                // Never whole: those are written without a point.
                let value = (random.below(1 << 16) as f32) / 8.0 + 0.0625;
                self.bytes.extend(value.to_le_bytes());
                value.to_string()
            }
            Ty::Double => {
                let value = (random.below(1 << 30) as f64) / 8.0 - 0.0625;
                self.bytes.extend(value.to_le_bytes());
                value.to_string()
            }
            Ty::Bytes | Ty::Fixed(_) => {
                let size = if let Ty::Fixed(size) = ty { *size } else { random.below(9) };
                if matches!(ty, Ty::Bytes) {
                    long(size as i64, &mut self.bytes);
                }
                let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
                self.bytes.extend(&bytes);
                use base64::prelude::{BASE64_STANDARD, Engine as _};
                format!("\"{}\"", BASE64_STANDARD.encode(bytes))
            }
            Ty::Text => {
                let value = ["", "a", "ä\"\n", "längerer Text\u{1F32A}"][random.below(4)];
                text(value, &mut self.bytes);
                serde_json::to_string(value).unwrap()
            }
            Ty::Enum(symbols) => {
                let symbol = random.below(*symbols);
                long(symbol as i64, &mut self.bytes);
                format!("\"S{symbol}\"")
            }
            _ => "null".to_owned(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn values_are_read_back_as_the_tree_they_were_made_of(seed in any::<u64>()) {
        let mut random = Random(seed);
        let ty = random.record(3);
        let mut described = String::new();
        schema(&ty, &mut 0, &mut described);
        let read = Schema::parse(&described).map_err(|e| TestCaseError::fail(format!("{e}: {described}")))?;
        let mut made = Made::default();
        let json = made.value(&ty, Some(""), &mut random);

        let mut whole = Vec::new();
        read.write_value(&made.bytes, &mut whole).map_err(|e| TestCaseError::fail(format!("{e}: {described}")))?;
        prop_assert_eq!(std::str::from_utf8(&whole).unwrap(), json);

        let wanted: Vec<(&String, &String)> = made.paths.iter().filter(|_| random.below(3) == 0).collect();
        let names: Vec<&str> = wanted.iter().map(|(path, _)| path.as_str()).collect();
        let arena = Bump::new();
        let read = Arc::new(read);
        let told = Projection::new(read.clone(), &names).read(&made.bytes, &arena, |tokens| {
            tokens.iter().map(|token| token.raw(&arena).unwrap_or("missing").to_owned()).collect::<Vec<_>>()
        });
        let told = told.map_err(|e| TestCaseError::fail(format!("{e}: {described} {names:?}")))?;
        for ((path, want), got) in wanted.iter().zip(told) {
            prop_assert_eq!(&got, *want, "{} of {}", path, described);
            prop_assert!(read.column(path).is_some() || path.is_empty(), "{} is no column of {}", path, described);
        }
        if !made.bytes.is_empty() {
            let cut = &made.bytes[..random.below(made.bytes.len())];
            let is_refused = Projection::new(read.clone(), &names).read(cut, &arena, |_| ()).is_err();
            prop_assert_eq!(is_refused, read.write_value(cut, &mut Vec::new()).is_err());
            prop_assert!(is_refused, "{:x?} of {:x?}", cut, made.bytes);
        }
    }
}
