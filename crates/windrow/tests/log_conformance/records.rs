//! Records come back as they were written, in their order.

use bytes::Bytes;
use windrow::log::{From, LogError, Outgoing, Tp};
use windrow_core::batch::Compression;

use crate::{
    bed::{Bed, Got, QUIET, expect_end, numbered, outgoing, spec, take, unique, values},
    eventually::within,
};

pub(crate) async fn topics_are_made_once_and_described(bed: Bed) {
    let spec = spec(&unique("made"), 3);
    assert!(bed.log.topic(&spec.name).await.unwrap().is_none());
    assert!(bed.log.create_topic(&spec).await.unwrap());
    assert!(!bed.log.create_topic(&spec).await.unwrap());
    let info = bed.log.topic(&spec.name).await.unwrap().unwrap();
    assert_eq!((&info.name, info.partitions), (&spec.name, 3));
    assert_ne!(info.epoch, 0);
    assert!(bed.log.topics().await.unwrap().contains(&info));
}

pub(crate) async fn records_keep_their_order_and_get_growing_offsets(bed: Bed) {
    let topic = bed.topic(2).await;
    let tps = [Tp::new(topic.clone(), 0), Tp::new(topic, 1)];
    for part in 0..3 {
        let range = part * 100..(part + 1) * 100;
        // Both partitions in one transaction, taking turns.
        let pairs = numbered(&tps[0], range.clone()).into_iter().zip(numbered(&tps[1], range));
        bed.write(pairs.flat_map(|(a, b)| [a, b]).collect()).await;
    }
    let got = bed.read(&tps, 600).await;
    for tp in &tps {
        let of_one: Vec<Got> = got.iter().filter(|g| g.tp == *tp).cloned().collect();
        assert_eq!(values(&of_one), (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(of_one.windows(2).all(|w| w[0].offset < w[1].offset));
        assert_eq!(of_one[0].offset, 0);
    }
    for (end, tp) in bed.log.ends(&tps).await.unwrap().iter().zip(&tps) {
        let last = got.iter().rfind(|g| g.tp == *tp).unwrap().offset;
        assert!(
            end.earliest == 0 && end.last_stable == end.high_watermark && end.last_stable > last,
            "{end:?}"
        );
    }
}

pub(crate) async fn nulls_headers_and_timestamps_come_back(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let header = |name, value: &'static str| (name, Bytes::from_static(value.as_bytes()));
    let with_headers = Outgoing {
        headers: vec![header("a", "1"), header("b", ""), header("a", "2")],
        ..outgoing(&tp, Some("k"), Some("ü"), 1_700_000_000_001)
    };
    bed.write(vec![
        outgoing(&tp, None, None, 1),
        outgoing(&tp, Some(""), Some(""), 1_700_000_000_000),
        with_headers,
        outgoing(&tp, Some("k"), None, 5),
    ])
    .await;
    let got = bed.read(std::slice::from_ref(&tp), 4).await;
    let fields: Vec<_> = got.iter().map(|g| (g.key.as_deref(), g.value.as_deref(), g.timestamp_ms)).collect();
    assert_eq!(
        fields,
        [
            (None, None, 1),
            (Some(""), Some(""), 1_700_000_000_000),
            (Some("k"), Some("ü"), 1_700_000_000_001),
            (Some("k"), None, 5)
        ]
    );
    let headers = [("a", "1"), ("b", ""), ("a", "2")];
    assert_eq!(got[2].headers, headers.map(|(n, v)| (n.to_owned(), Some(v.to_owned()))));
    assert!(got[3].headers.is_empty());
}

pub(crate) async fn every_compression_is_read(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let mut all = Vec::new();
    for codec in Compression::ALL {
        let values: Vec<String> = (0..500).map(|n| format!("{codec:?} {n} {}", "x".repeat(n % 50))).collect();
        bed.write_compressed(&tp, codec, &values).await;
        all.extend(values);
    }
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Earliest).await;
    let got = take(&mut *reader, all.len()).await;
    assert_eq!(values(&got), all);
    let mut reader = bed.reader(&[tp], From::Earliest).await;
    let mut codecs = Vec::new();
    within("see every codec", async {
        while codecs.len() < Compression::ALL.len() {
            for batch in reader.next().await.unwrap().iter().flat_map(|answer| &answer.batches) {
                if !codecs.contains(&batch.compression()) {
                    codecs.push(batch.compression());
                }
            }
        }
    })
    .await;
    assert_eq!(codecs, Compression::ALL);
}

pub(crate) async fn a_reader_starts_where_it_is_told(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    bed.write(numbered(&tp, 0..50)).await;
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Offset(17)).await;
    let got = take(&mut *reader, 33).await;
    assert_eq!((got[0].offset, got[0].value.as_deref()), (17, Some("17")));
    // Moved while reading: nothing of the old position comes.
    reader.assign(tp.clone(), From::Offset(48));
    assert_eq!(values(&take(&mut *reader, 2).await), ["48", "49"]);

    let mut latest = bed.reader(std::slice::from_ref(&tp), From::Latest).await;
    expect_end(&mut *latest).await;
    bed.write(numbered(&tp, 50..52)).await;
    assert_eq!(values(&take(&mut *latest, 2).await), ["50", "51"]);
}

pub(crate) async fn an_unassigned_partition_is_silent(bed: Bed) {
    let topic = bed.topic(2).await;
    let tps = [Tp::new(topic.clone(), 0), Tp::new(topic, 1)];
    let mut reader = bed.reader(&tps, From::Earliest).await;
    expect_end(&mut *reader).await;
    reader.unassign(&tps[0]);
    bed.write(numbered(&tps[0], 0..10)).await;
    bed.write(numbered(&tps[1], 0..10)).await;
    assert!(take(&mut *reader, 10).await.iter().all(|g| g.tp == tps[1]));
    reader.unassign(&tps[1]);
    let nothing = tokio::time::timeout(QUIET, reader.next()).await;
    assert!(nothing.is_err(), "without partitions it waits: {nothing:?}");
}

pub(crate) async fn a_record_that_is_too_large_is_refused(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let large = "x".repeat(2 << 20);
    let mut writer = bed.writer(&unique("w")).await;
    writer.begin().await.unwrap();
    let sent = within("refuse", async {
        match writer.send(vec![outgoing(&tp, None, Some(&large), 1_000)]).await {
            Ok(()) => writer.commit().await,
            Err(e) => Err(e),
        }
    })
    .await;
    assert!(matches!(&sent, Err(LogError::Refused { topic, .. }) if *topic == tp.topic), "{sent:?}");
    within("go on", async {
        writer.abort().await.unwrap();
        writer.begin().await.unwrap();
        writer.send(numbered(&tp, 0..1)).await.unwrap();
        writer.commit().await.unwrap();
    })
    .await;
    assert_eq!(values(&bed.read(&[tp], 1).await), ["0"]);
}
