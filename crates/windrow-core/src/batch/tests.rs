//! What holds for every batch: it comes back as it was built, and no bytes at all can do harm.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn build(codec: Compression, rows: &[Row], base_offset: i64) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp_ms, key, value, headers) in rows {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        builder.push(*timestamp_ms, key.as_deref(), value.as_deref(), headers).unwrap();
    }
    builder.build(base_offset, -1, -1, -1, false)
}

/// Three records: plain, null key with headers, tombstone.
fn sample(codec: Compression) -> Bytes {
    let header = vec![("h".to_owned(), Some(b"1".to_vec())), ("n".to_owned(), None)];
    build(
        codec,
        &[
            (1_000, Some(b"a".to_vec()), Some(b"one".to_vec()), vec![]),
            (990, None, Some(vec![]), header),
            (1_005, Some(b"b".to_vec()), None, vec![]),
        ],
        7,
    )
}

fn render(bytes: &Bytes) -> String {
    let (batch, _) = match Batch::parse(bytes) {
        Ok(parsed) => parsed,
        Err(e) => return format!("{e}\n"),
    };
    render_records(batch.records())
}

fn render_records(records: Records<'_>) -> String {
    let text =
        |b: Option<&[u8]>| b.map_or("null".to_owned(), |b| format!("{:?}", String::from_utf8_lossy(b)));
    records
        .map(|r| {
            let (key, value) = (text(r.key), text(r.value));
            format!("{} @{} {key}={value} {:?}\n", r.offset, r.timestamp_ms, r.headers)
        })
        .collect()
}

fn check(bytes: &Bytes, expected: Expect) {
    expected.assert_eq(&render(bytes));
}

/// Changes one field of the header and makes the CRC right again, as someone hostile would.
fn patched(bytes: &Bytes, at: usize, with: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    resealed(bytes)
}

fn resealed(mut bytes: Vec<u8>) -> Bytes {
    if bytes.len() >= CRC_FROM {
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]).to_be_bytes();
        bytes[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc);
    }
    bytes.into()
}

#[test]
fn records_come_back_under_every_codec() {
    for codec in Compression::ALL {
        let bytes = sample(codec);
        check(
            &bytes,
            expect![[r#"
                7 @1000 "a"="one" {}
                8 @990 null="" {"h": Some("1"), "n": None}
                9 @1005 "b"=null {}
            "#]],
        );
        let (batch, size) = Batch::parse(&bytes).unwrap();
        assert_eq!(size, bytes.len());
        assert_eq!((batch.compression(), batch.len()), (codec, 3));
        assert_eq!((batch.base_offset(), batch.last_offset(), batch.max_timestamp_ms()), (7, 9, 1_005));
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (-1, -1, -1));
        assert!(!batch.is_transactional() && !batch.is_control() && batch.control_type().is_none());
    }
}

#[test]
fn reading_may_start_inside_a_batch() {
    let (batch, _) = Batch::parse(&sample(Compression::Zstd)).unwrap();
    for (from, expected) in [
        (i64::MIN, vec![7, 8, 9]),
        (7, vec![7, 8, 9]),
        (8, vec![8, 9]),
        (9, vec![9]),
        (10, vec![]),
        (i64::MAX, vec![]),
    ] {
        assert_eq!(batch.records_from(from).map(|r| r.offset).collect::<Vec<_>>(), expected, "from {from}");
    }
}

#[test]
fn the_last_header_of_a_name_counts() {
    let header = |value: &[u8]| ("h".to_owned(), Some(value.to_vec()));
    let bytes = build(Compression::None, &[(0, None, None, vec![header(b"1"), header(b"2")])], 0);
    let (batch, _) = Batch::parse(&bytes).unwrap();
    let record = batch.records().next().unwrap();
    assert_eq!(record.headers.len(), 2);
    assert_eq!(record.headers.get("h"), Some(Some(&b"2"[..])));
    assert_eq!(record.headers.get("x"), None);
}

#[test]
fn markers_say_how_a_transaction_ended() {
    for kind in [ControlType::Abort, ControlType::Commit, ControlType::Other(2)] {
        let (batch, _) = Batch::parse(&control_batch(4, 77, 3, kind, 5)).unwrap();
        assert!(batch.is_control() && batch.is_transactional());
        assert_eq!(batch.control_type(), Some(kind));
        assert_eq!((batch.base_offset(), batch.producer_id(), batch.producer_epoch()), (4, 77, 3));
    }
}

#[test]
fn with_log_append_time_every_record_has_the_logs_time() {
    let bytes = patched(&sample(Compression::None), 21, &ATTRIBUTE_LOG_APPEND_TIME.to_be_bytes());
    let (batch, _) = Batch::parse(&patched(&bytes, 35, &2_000_i64.to_be_bytes())).unwrap();
    assert!(batch.is_log_append_time());
    assert!(batch.records().all(|r| r.timestamp_ms == 2_000));
}

#[test]
fn an_offset_is_assigned_without_a_new_crc() {
    let mut bytes = sample(Compression::Lz4).to_vec();
    assign_offset(&mut bytes, 1_000_000);
    let (batch, _) = Batch::parse(&bytes.into()).unwrap();
    assert_eq!(batch.records().map(|r| r.offset).collect::<Vec<_>>(), [1_000_000, 1_000_001, 1_000_002]);
}

#[test]
fn compaction_leaves_holes_and_empty_batches() {
    // The last offset stays when the records at the end are gone.
    let bytes = patched(&sample(Compression::None), 23, &9_i32.to_be_bytes());
    let (batch, _) = Batch::parse(&bytes).unwrap();
    assert_eq!((batch.len(), batch.last_offset()), (3, 16));
    let mut builder = BatchBuilder::new(Compression::None);
    for hole in [0, 3] {
        assert!(builder.skip(hole));
        builder.push(0, None, None, []).unwrap();
    }
    assert!(!builder.skip(i64::from(i32::MAX)));
    let bytes = builder.build(100, -1, -1, -1, false);
    let (batch, _) = Batch::parse(&bytes).unwrap();
    assert_eq!(batch.records().map(|r| r.offset).collect::<Vec<_>>(), [100, 104]);
    let head = BatchHead::read(&bytes).unwrap();
    assert_eq!((head.base_offset, head.last_offset, head.max_timestamp_ms), (100, 104, 0));
    let empty = BatchBuilder::new(Compression::None).build(5, -1, -1, -1, false);
    let (batch, _) = Batch::parse(&empty).unwrap();
    assert!(batch.is_empty() && batch.records().next().is_none());
    assert_eq!(batch.last_offset(), 5);
}

#[test]
fn bad_headers_are_refused_with_the_rule() {
    let good = sample(Compression::None);
    let cases: [(&str, Bytes); 9] = [
        ("crc", {
            let mut b = good.to_vec();
            b[70] ^= 1;
            b.into()
        }),
        ("format", patched(&good, 16, &[1])),
        ("length", patched(&good, 8, &(-1_i32).to_be_bytes())),
        ("short", patched(&good, 8, &20_i32.to_be_bytes())),
        ("large", patched(&good, 8, &i32::MAX.to_be_bytes())),
        ("codec", patched(&good, 21, &7_i16.to_be_bytes())),
        ("count", patched(&good, 57, &2_i32.to_be_bytes())),
        ("many", patched(&good, 57, &i32::MAX.to_be_bytes())),
        ("delta", patched(&good, 23, &1_i32.to_be_bytes())),
    ];
    let text: String = cases.iter().map(|(name, bytes)| format!("{name}: {}", render(bytes))).collect();
    expect![[r#"
        crc: batch at offset 7 has CRC 030bd0d4, its header says b944125a
        format: batch at offset 7 has message format 1, only format 2 is read
        length: bad batch or record at offset 7: negative length
        short: bad batch or record at offset 7: length shorter than a batch header
        large: batch at offset 7 is larger than 67108864 bytes
        codec: bad batch or record at offset 7: unknown compression
        count: bad batch or record at offset 9: bytes after the last record
        many: bad batch or record at offset 10: number cut off
        delta: bad batch or record at offset 9: record offset out of order
    "#]]
    .assert_eq(&text);
}

#[test]
fn cut_bytes_say_how_much_is_missing() {
    let good = sample(Compression::Gzip);
    for have in 0..good.len() {
        let Err(BatchError::Incomplete { have: h, need }) = Batch::parse(&good.slice(..have)) else {
            panic!("cut after {have} bytes");
        };
        assert!(h == have && need > have && need <= good.len(), "{have}: need {need}");
    }
}

#[test]
fn both_shapes_of_snappy_are_read() {
    let framed = sample(Compression::Snappy);
    let plain = sample(Compression::None);
    let block = snap::raw::Encoder::new().compress_vec(&plain[HEADER_BYTES..]).unwrap();
    let mut raw = framed[..HEADER_BYTES].to_vec();
    raw.extend(block);
    let length = (raw.len() - PREFIX_BYTES) as i32;
    assert_eq!(render(&patched(&raw.into(), 8, &length.to_be_bytes())), render(&plain));

    let large = vec![(0, None, Some(vec![b'x'; 100_000]), vec![])];
    assert!(render(&build(Compression::Snappy, &large, 0)).len() > 100_000, "several blocks in one frame");
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    const MAX: usize = 100_000;
    for codec in Compression::ALL.into_iter().filter(|c| *c != Compression::None) {
        for (size, fits) in [(MAX, true), (MAX + 1, false), (MAX * 50, false)] {
            let mut packed = Vec::new();
            codec.compress(&vec![0; size], &mut packed).unwrap();
            let unfolded = codec.decompress(packed.into(), MAX);
            assert_eq!(unfolded.is_ok(), fits, "{codec:?} {size}: {:?}", unfolded.err());
        }
    }
}

#[test]
fn a_batch_takes_no_more_than_its_bound() {
    let half = vec![0; BATCH_MAX_BYTES / 2];
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(0, None, Some(&half), []).unwrap();
    let before = builder.len_bytes();
    assert_eq!(builder.push(0, None, Some(&half), []), Err(BatchError::TooLarge { offset: 1 }));
    assert_eq!((builder.len(), builder.len_bytes()), (1, before));
    assert_eq!(Batch::parse(&builder.build(0, -1, -1, -1, false)).unwrap().0.len(), 1);
}

#[test]
fn murmur2_gives_the_numbers_of_the_java_client() {
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
    }
}

fn codecs() -> impl Strategy<Value = Compression> {
    prop::sample::select(&Compression::ALL[..])
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let headers = prop::collection::vec(("[a-zä]{0,9}", bytes()), 0..4);
    prop::collection::vec((any::<i64>(), bytes(), bytes(), headers), 1..40)
}

/// Whatever the bytes are: an error, or a batch whose records can all be walked.
fn harmless(bytes: &Bytes) {
    if let Ok((batch, size)) = Batch::parse(bytes) {
        assert!(size <= bytes.len());
        assert_eq!(batch.records().count(), batch.len());
        assert!(batch.records().all(|r| r.offset <= batch.last_offset() && r.headers.count() < 1 << 20));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_comes_back(rows in rows(), codec in codecs(), base in 0..i64::MAX - 100) {
        let bytes = build(codec, &rows, base);
        let (batch, size) = Batch::parse(&bytes).unwrap();
        prop_assert_eq!(size, bytes.len());
        prop_assert_eq!(batch.last_offset(), base + rows.len() as i64 - 1);
        prop_assert_eq!(batch.max_timestamp_ms(), rows.iter().map(|r| r.0).max().unwrap());
        let back: Vec<Row> = batch
            .records()
            .map(|r| {
                let headers = r.headers.map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect();
                (r.timestamp_ms, r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), headers)
            })
            .collect();
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn changed_bytes_do_no_harm(
        rows in rows(),
        codec in codecs(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let good = build(codec, &rows, 0);
        let mut bytes = good.to_vec();
        for (at, with) in &changes {
            // The length stays, so that the checks behind the CRC are reached.
            let at = 12 + at.index(bytes.len() - 12);
            bytes[at] = *with;
        }
        bytes[16] = 2;
        harmless(&resealed(bytes));
        harmless(&good.slice(..cut.index(good.len())));
    }

    #[test]
    fn random_bytes_do_no_harm(codec in codecs(), body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = BatchBuilder::new(codec).build_vec();
        bytes.extend(&body);
        let length = (bytes.len() - PREFIX_BYTES) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = codec.id() as u8;
        bytes[57..61].copy_from_slice(&5_i32.to_be_bytes());
        harmless(&resealed(bytes));
        harmless(&body.into());
    }
}
