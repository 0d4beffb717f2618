//! `bench engine`, second group: decoding 3 of 12 fields out of each format.
//!
//! **Floor:** serde_json walks over the same records and reads nothing. **Not here:** folding, which does not know formats.

use std::{fmt::Write, sync::Arc};

use anyhow::{Result, ensure};
use bumpalo::Bump;
use windrow_core::{
    avro,
    batch::{Batch, BatchBuilder, Compression},
    decode::Decoder,
    plan::SourceColumn,
    protobuf,
    registry::{Answer, Frame, Pupil, SchemaKind},
    spec::{Format, StreamSpec, TimeSpec},
    value::ColumnType,
};

use super::{
    data,
    meter::Meter,
    report::{Figure, Group},
};
use crate::config::{Variables, parse};

pub(super) const FIELDS: [(&str, ColumnType); 12] = [
    ("ts", ColumnType::Bigint),
    ("user", ColumnType::Text),
    ("video", ColumnType::Text),
    ("org", ColumnType::Bigint),
    ("amount", ColumnType::Double),
    ("ratio", ColumnType::Double),
    ("country", ColumnType::Text),
    ("agent", ColumnType::Text),
    ("session", ColumnType::Text),
    ("clicks", ColumnType::Bigint),
    ("paid", ColumnType::Boolean),
    ("position", ColumnType::Bigint),
];

/// In the front, in the middle, and behind: nothing is won by stopping early.
const WANTED: [usize; 3] = [0, 6, 11];

/// Under which the schema is known.
const SCHEMA_ID: u32 = 7;

/// Distinct records: what a format's branches cannot learn by heart.
pub(super) const DISTINCT: u64 = 10_000;

/// A record's fields, as each format writes them.
pub(super) enum Cell {
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
}

/// Measures each format over as many records.
pub(super) fn group(records: u64) -> Result<Group> {
    let schema: String = FIELDS.iter().fold(String::new(), |mut out, (name, ty)| {
        let ty = match ty {
            ColumnType::Bigint => "\"long\"",
            ColumnType::Double => "\"double\"",
            ColumnType::Boolean => "\"boolean\"",
            // As most schemas in the field have it.
            _ => "[\"null\", \"string\"]",
        };
        let comma = if out.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(out, r#"{comma}{{"name":"{name}","type":{ty}}}"#);
        out
    });
    let text = format!(r#"{{"type":"record","name":"Click","fields":[{schema}]}}"#);
    let schema = avro::Schema::parse(&text)?;
    let registered = avro::Registered::default();
    let answer = Answer { kind: SchemaKind::Avro, text, references: Vec::new() };
    registered.teach(SCHEMA_ID, &answer).map_err(anyhow::Error::msg)?;
    let mut figures = vec![floor(records)?];
    for (name, format, write) in [
        ("json", Format::Json, json as fn(&[Cell]) -> Vec<u8>),
        ("csv", Format::Csv, csv),
        ("avro", Format::Avro(Arc::new(schema)), datum),
        ("avro-registry", Format::AvroRegistry(Arc::new(registered)), framed),
        ("protobuf", Format::Protobuf(Arc::new(messages()?)), message),
    ] {
        figures.push(figure(name, format, write, records)?);
    }
    Ok(Group { name: "decoding 3 of 12 fields".into(), figures })
}

/// Proves each record to be JSON, and keeps nothing of it.
fn floor(records: u64) -> Result<Figure> {
    let values: Vec<Vec<u8>> = (0..DISTINCT).map(|i| json(&cells(i))).collect();
    let meter = Meter::own()?;
    for value in values.iter().cycle().take(usize::try_from(records)?) {
        std::hint::black_box(serde_json::from_slice::<serde::de::IgnoredAny>(value)?);
    }
    let cost = meter.stop()?;
    let ns = cost.cpu.as_secs_f64() * 1e9 / records.max(1) as f64;
    Ok(Figure::new("serde_json, skip", records, cost).note("ns a record", format!("{ns:.0}")))
}

fn figure(name: &str, format: Format, write: fn(&[Cell]) -> Vec<u8>, records: u64) -> Result<Figure> {
    let values: Vec<Vec<u8>> = (0..DISTINCT).map(|i| write(&cells(i))).collect();
    let bytes = values.iter().map(Vec::len).sum::<usize>() as u64 / DISTINCT;
    let batches: Vec<Batch> = values.chunks(data::PER_BATCH as usize).map(batch).collect::<Result<_>>()?;
    let decoder = Decoder::for_columns(&spec(format)?, &WANTED.map(|i| column(FIELDS[i])));
    let mut mistyped = vec![0; decoder.width()];
    let mut arena = Bump::new();
    let mut count = 0;
    let meter = Meter::own()?;
    for batch in batches.iter().cycle() {
        if count >= records {
            break;
        }
        let mut row = Vec::new();
        for record in batch.records() {
            decoder.decode(("clicks", 0), &record, i64::MAX, &arena, &mut row, &mut mistyped)?;
            count += 1;
        }
        drop(row);
        arena.reset();
    }
    let cost = meter.stop()?;
    ensure!(mistyped.iter().all(|n| *n == 0), "a column of {name} has another type than it was written with");
    let ns = cost.cpu.as_secs_f64() * 1e9 / count.max(1) as f64;
    Ok(Figure::new(name, count, cost).note("ns a record", format!("{ns:.0}")).note("bytes", bytes))
}

fn column((name, ty): (&str, ColumnType)) -> SourceColumn {
    SourceColumn { name: name.into(), ty: Some(ty) }
}

fn spec(format: Format) -> Result<StreamSpec> {
    let text = "[streams.clicks]";
    let config =
        parse(text, "bench", &Variables::default()).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
    let mut spec = StreamSpec::clone(&config.streams["clicks"].spec);
    if format == Format::Csv {
        spec.columns = FIELDS.map(|(name, ty)| (name.into(), ty)).into();
    }
    spec.format = format;
    spec.time = TimeSpec::Record;
    Ok(spec)
}

fn batch(values: &[Vec<u8>]) -> Result<Batch> {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(data::START_MS, None, Some(value), [])?;
    }
    Ok(Batch::parse(&builder.build(0, -1, -1, -1, false))?.0)
}

pub(super) fn cells(i: u64) -> Vec<Cell> {
    let n = i.cast_signed();
    vec![
        Cell::Int(data::START_MS + n * 7),
        Cell::Text(format!("u{:07}", i * 31 % data::USERS)),
        Cell::Text(format!("v{:05}", i * 17 % 1_000)),
        Cell::Int(10 + n % 90),
        Cell::Float((n % 10_000) as f64 / 100.0 + 0.005),
        Cell::Float((n % 1_000) as f64 / 1_000.0 + 0.0005),
        Cell::Text(["DE", "US", "FR", "BR"][(i % 4) as usize].to_owned()),
        Cell::Text("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36".to_owned()),
        Cell::Text(format!("{:032x}", u128::from(i) * 0x9E37_79B9_7F4A_7C15_F39C)),
        Cell::Int(n % 50),
        Cell::Bool(i.is_multiple_of(3)),
        Cell::Int(n * 1_000_003),
    ]
}

fn json(cells: &[Cell]) -> Vec<u8> {
    let members: Vec<String> = FIELDS
        .iter()
        .zip(cells)
        .map(|((name, _), cell)| match cell {
            Cell::Int(n) => format!("\"{name}\":{n}"),
            Cell::Float(x) => format!("\"{name}\":{x}"),
            Cell::Text(text) => format!("\"{name}\":\"{text}\""),
            Cell::Bool(b) => format!("\"{name}\":{b}"),
        })
        .collect();
    format!("{{{}}}", members.join(",")).into()
}

fn csv(cells: &[Cell]) -> Vec<u8> {
    let fields: Vec<String> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Int(n) => n.to_string(),
            Cell::Float(x) => x.to_string(),
            Cell::Text(text) => text.clone(),
            Cell::Bool(b) => b.to_string(),
        })
        .collect();
    fields.join(",").into()
}

fn framed(cells: &[Cell]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::write(SCHEMA_ID, &mut out);
    out.extend(datum(cells));
    out
}

fn datum(cells: &[Cell]) -> Vec<u8> {
    let mut out = Vec::new();
    for cell in cells {
        match cell {
            Cell::Int(n) => long(*n, &mut out),
            Cell::Float(x) => out.extend(x.to_le_bytes()),
            Cell::Text(text) => {
                long(1, &mut out);
                long(text.len() as i64, &mut out);
                out.extend_from_slice(text.as_bytes());
            }
            Cell::Bool(b) => out.push(u8::from(*b)),
        }
    }
    out
}

fn messages() -> Result<protobuf::Schema> {
    use protobuf::{Field, Label, Message, Type};
    let field = |(number, (name, ty)): (u32, &(&str, ColumnType))| Field {
        name: (*name).into(),
        number,
        ty: match ty {
            ColumnType::Bigint => Type::Int64,
            ColumnType::Double => Type::Double,
            ColumnType::Boolean => Type::Bool,
            _ => Type::Text,
        },
        label: Label::Implicit,
        oneof: None,
        default: None,
    };
    let fields = (1..).zip(&FIELDS).map(field).collect();
    Ok(protobuf::Schema::new(vec![Message { name: "Click".into(), fields }], Vec::new(), 0)?)
}

fn message(cells: &[Cell]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, cell) in (1_u8..).zip(cells) {
        match cell {
            Cell::Int(n) => {
                out.push(number << 3);
                varint(n.cast_unsigned(), &mut out);
            }
            Cell::Float(x) => {
                out.push(number << 3 | 1);
                out.extend(x.to_le_bytes());
            }
            Cell::Text(text) => {
                out.push(number << 3 | 2);
                varint(text.len() as u64, &mut out);
                out.extend_from_slice(text.as_bytes());
            }
            Cell::Bool(b) => out.extend([number << 3, u8::from(*b)]),
        }
    }
    out
}

fn long(value: i64, out: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

fn varint(mut rest: u64, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
