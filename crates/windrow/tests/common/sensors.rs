//! Records of sensors, made by hand: bare Avro of `kafka.timestamp-data.avsc` of the example `sensor-mirror`.
//!
//! **In** a time and values. **Out** the bytes of one datum, without header or container.

#![allow(dead_code, reason = "each test uses what it needs")]

/// One value of the schema's union.
pub(crate) enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Float(f32),
    Long(i64),
    Int(i32),
    Bool(bool),
}

pub(crate) fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A datum as the producers of the original wrote it, without header or container.
pub(crate) fn record(timestamp: f64, data: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut out = timestamp.to_le_bytes().to_vec();
    let block = |bytes: &[u8], out: &mut Vec<u8>| {
        long(bytes.len() as i64, out);
        out.extend_from_slice(bytes);
    };
    if !data.is_empty() {
        long(data.len() as i64, &mut out);
    }
    for (name, value) in data {
        block(name.as_bytes(), &mut out);
        match value {
            Value::Text(text) => {
                out.push(0);
                block(text.as_bytes(), &mut out);
            }
            Value::Bytes(bytes) => {
                out.push(2);
                block(bytes, &mut out);
            }
            Value::Float(float) => {
                out.push(4);
                out.extend_from_slice(&float.to_le_bytes());
            }
            Value::Long(n) => {
                out.push(6);
                long(*n, &mut out);
            }
            Value::Int(n) => {
                out.push(8);
                long(i64::from(*n), &mut out);
            }
            Value::Bool(b) => out.extend_from_slice(&[10, u8::from(*b)]),
        }
    }
    out.push(0);
    out
}
